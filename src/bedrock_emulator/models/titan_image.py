"""Titan Multimodal Embeddings G1: a text, an image, or both in one vector.

Quirks, from AWS's pages: the image is bare base64, without `data:`; the size asked for is inside `embeddingConfig`;
text and image together give the mean of their two vectors; `message` is where a failure during embedding would stand.

Uncertain, because no live answer was seen: that unknown keys are refused as by Titan's text models; that a text is
counted as by V2; that there is no token header; float32 numbers; the texts of refusals, except those for too many
pixels and too many tokens, which were pasted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .. import schema
from ..errors import AwsError, malformed, validation
from ..tokens import Pieces
from ..vectors import Ints, Space, of_text, unit
from . import looks, media, pictures
from .answer import Answer
from .files import Objects

MODEL_IDS: tuple[str, ...] = ("amazon.titan-embed-image-v1",)

_SPACE = Space("amazon.titan-embed-image-v1", 1024)
_INPUTS = ("inputText", "inputImage")
_DIMENSIONS = (1024, 384, 256)
_MAX_TOKENS = 256  # older pages say 128
_LARGEST = (2048, 2048)
_PIECES = Pieces(word=7)


def invoke(model_id: str, body: dict[str, Any], objects: Objects) -> Answer:  # noqa: ARG001
    """Return the answer of the model. Source: AWS Bedrock User Guide, Titan Multimodal Embeddings."""
    if failure := _check(body):
        raise malformed(schema.describe(failure, pointers=False))
    dimensions = body.get("embeddingConfig", {}).get("outputEmbeddingLength", _SPACE.size)
    parts, tokens = [], None
    if "inputText" in body:
        tokens = 1 + _PIECES.count(body["inputText"])
        if tokens > _MAX_TOKENS:
            raise _bad_request(
                f"Too many input tokens. Max input tokens: {_MAX_TOKENS}, request input token count: {tokens}"
            )
        parts.append(of_text(_SPACE, body["inputText"]))
    if "inputImage" in body:
        parts.append(looks.of_picture(_SPACE, _open(body["inputImage"])))
    answer = {"embedding": _mean(parts, dimensions), "inputTextTokenCount": tokens, "message": None}
    return Answer(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), tokens, 1, in_header=False)


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    """Return the one vector."""
    return [answer["embedding"]]


def _mean(parts: list[Ints], dimensions: int) -> NDArray[np.float32]:
    # AWS: the average. Not brought to length 1 again, which is uncertain.
    found = [unit(_SPACE, part, dimensions).astype(np.float32) for part in parts]
    return (found[0] + found[-1]) / np.float32(2)


def _open(encoded: str) -> pictures.Picture:
    try:
        return pictures.read(media.decode(encoded), ("png", "jpeg"), most=_LARGEST)
    except pictures.TooLargeError:
        raise _bad_request("Image exceeds max pixels allowed.") from None
    except ValueError:
        raise _bad_request("The input image is not a valid base64 encoded PNG or JPEG.") from None


def _bad_request(text: str) -> AwsError:
    return validation(f"400 Bad Request: {text} ")  # Titan's messages end in a space


def _check(body: dict[str, Any]) -> schema.Failure | None:
    failures = schema.members(body, known=(*_INPUTS, "embeddingConfig"))
    if not any(key in body for key in _INPUTS):
        failures.append(schema.group(schema.members(body, required=_INPUTS, known=body)))
    for key, value in body.items():
        match key:
            case "inputText" | "inputImage":
                failures.append(schema.string(f"#/{key}", value, shortest=1))
            case "embeddingConfig":
                failures.append(_check_config(value))
    return schema.group(failures)


def _check_config(value: object) -> schema.Failure | None:
    pointer, key = "#/embeddingConfig", "outputEmbeddingLength"
    if not isinstance(value, dict):
        return schema.expect_type(pointer, "JSONObject", value)
    failures = schema.members(value, known=(key,), pointer=pointer)
    if key in value:
        failures.append(schema.one_of(f"{pointer}/{key}", value[key], _DIMENSIONS))
    return schema.group(failures)
