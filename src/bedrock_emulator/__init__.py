"""A local Bedrock for embedding models: same paths, bodies, refusals; vectors made from the words of the text.

Start it with `python -m bedrock_emulator`. What it answers can be computed in any process with `expected_vectors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["expected_segments", "expected_vectors"]


def expected_vectors(
    model_id: str, body: dict[str, Any] | bytes | str, objects: Mapping[str, bytes] | None = None
) -> list[list[float]]:
    """Return the vectors the emulator answers for an InvokeModel body, in the order of the answer.

    That is one per input, but two for a video with its sound apart (Nova), and one for inputs that are fused. The
    numbers are the float64 values of the printed text, so they equal a parsed answer exactly. Floats when the body asks
    for them, else the numbers of the first other type asked for. `model_id` may also be the id of an inference profile,
    of whatever region. `objects`: what is in S3, by URI; a file has the same vector there and inline.

    For a body that only StartAsyncInvoke takes, the vectors of `expected_segments`.

    Raises KeyError for a model the emulator does not embed with, `errors.AwsError` for a body it refuses.
    """
    # Here, because pytest imports this package at every start, for the plugin, and most runs embed nothing.
    import orjson

    from . import json_body
    from .catalog import base_id
    from .models import FAMILIES, segmented
    from .models.files import among

    if isinstance(body, dict):
        body = json.dumps(body)  # not orjson, which refuses lone surrogates
    sent = body.encode() if isinstance(body, str) else body
    model_id = base_id(model_id)
    family = FAMILIES[model_id]
    parsed = json_body.parse(sent)
    if segmented.is_only_asynchronous(model_id, parsed):
        return [entry["embedding"] for entry in expected_segments(model_id, parsed, objects)]
    return family.vectors(orjson.loads(family.invoke(model_id, parsed, among(objects or {})).body))


def expected_segments(
    model_id: str, model_input: dict[str, Any], objects: Mapping[str, bytes] | None = None
) -> list[dict[str, Any]]:
    """Return the segments that the emulator writes into S3 for the `modelInput` of a StartAsyncInvoke.

    In the order of the output files, as they stand there. Marengo's are the entries of `data` in `output.json`:
    `embedding`, and for audio and video `embeddingOption`, `startSec`, `endSec`, in 3.0 also `embeddingScope`. Nova's
    are the lines of its files, in the order of `embeddingResults`: `embedding`, `segmentMetadata`, `status`, and here
    also the `embeddingType` of the file. `objects`: what is in S3, by URI.

    Raises KeyError for a model without asynchronous calls, `errors.AwsError` for a body or an input it refuses.
    """
    import orjson

    from .models import segmented
    from .models.files import among
    from .models.segment import dumps

    if model_id not in segmented.MODEL_IDS:
        raise KeyError(model_id)
    segmented.validate(model_id, model_input)
    found = segmented.parts(model_id, model_input, among(objects or {}))
    return [
        orjson.loads(dumps(entry)) | ({"embeddingType": part.kind} if part.kind else {})
        for part in found
        for entry in part.entries
    ]
