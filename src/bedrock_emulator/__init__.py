"""A local Bedrock for embedding models: same paths, bodies, refusals; vectors made from the words of the text.

Start it with `python -m bedrock_emulator`. What it answers can be computed in any process with `expected_vectors`.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["expected_vectors"]


def expected_vectors(model_id: str, body: dict[str, Any] | bytes | str) -> list[list[float]]:
    """Return the vectors the emulator answers for an InvokeModel body, in the order of the answer.

    That is one per input, but two for a video with its sound apart (Nova), and one for inputs that are fused. The
    numbers are the float64 values of the printed text, so they equal a parsed answer exactly. Floats when the body asks
    for them, else the numbers of the first other type asked for. `model_id` may also be the id of an inference profile,
    of whatever region.

    Raises KeyError for a model the emulator does not embed with, `errors.AwsError` for a body it refuses.
    """
    # Here, because pytest imports this package at every start, for the plugin, and most runs embed nothing.
    import orjson

    from . import json_body
    from .catalog import base_id
    from .models import FAMILIES

    if isinstance(body, dict):
        body = json.dumps(body)  # not orjson, which refuses lone surrogates
    sent = body.encode() if isinstance(body, str) else body
    model_id = base_id(model_id)
    family = FAMILIES[model_id]
    return family.vectors(orjson.loads(family.invoke(model_id, json_body.parse(sent)).body))
