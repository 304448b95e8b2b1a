"""What Bedrock's embedding models are, and what callers may call them.

`models.toml` holds the facts, `specs` reads and checks them, `names` finds the model behind a name.
"""

from embedrock.catalog.aliases import Alias
from embedrock.catalog.names import Names, Target, place
from embedrock.catalog.specs import MODELS, MediaLimits, ModelSpec, Prices, Quota, Range, Segmentation, read_models

__all__ = [
    "MODELS",
    "Alias",
    "MediaLimits",
    "ModelSpec",
    "Names",
    "Prices",
    "Quota",
    "Range",
    "Segmentation",
    "Target",
    "place",
    "read_models",
]
