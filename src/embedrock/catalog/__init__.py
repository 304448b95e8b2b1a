"""What Bedrock's embedding models are, and what callers may call them.

`models.toml` holds the facts, `specs` reads and checks them, `names` finds the model behind a name.
"""

from embedrock.catalog.names import Names, Target
from embedrock.catalog.specs import MODELS, MediaLimits, ModelSpec, Prices, Quota, Range, Segmentation, read_models

__all__ = [
    "MODELS",
    "MediaLimits",
    "ModelSpec",
    "Names",
    "Prices",
    "Quota",
    "Range",
    "Segmentation",
    "Target",
    "read_models",
]
