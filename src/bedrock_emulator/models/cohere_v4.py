"""Cohere Embed v4: up to 96 texts, images, or mixtures of both a call; tokens are only in a header.

Quirks, seen live unless marked: the answer is by type also when no type was asked for (AWS's page shows a plain list);
whatever is wrong with a body, the message is the same; `START` and `END` cut as well as `LEFT` and `RIGHT`, which the
page has. Reported, and kept as a trap: several `images` with the purpose `image` come back as one vector of them all,
with another purpose as one each.

From AWS's page, with no live answer seen: everything about images and mixtures. Uncertain: the default of `truncate`,
here Cohere's own; that `max_tokens` is held against each text of a mixture; that the facts of images are not echoed.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from ..errors import AwsError, validation
from ..tokens import Pieces
from ..vectors import Ints, Space, bfloat16, fuse, of_text, unit
from . import cohere_output, looks, media, pictures
from .answer import Answer
from .cohere_output import TYPES
from .files import Objects

MODEL_IDS: tuple[str, ...] = ("cohere.embed-v4:0",)

_SPACE = Space("cohere.embed-v4:0", 1536)
_INPUTS = ("texts", "images", "inputs")
_FIELDS = ("input_type", *_INPUTS, "embedding_types", "output_dimension", "max_tokens", "truncate")
_PURPOSES = ("search_document", "search_query", "classification", "clustering", "image")
_TRUNCATE = ("NONE", "START", "LEFT", "END", "RIGHT")
_DIMENSIONS = (1536, 1024, 512, 256)
_MAX_INPUTS = 96
_MAX_TOKENS = 128_000
_MAX_IMAGE_BYTES = 5_000_000  # decoded
_IMAGE_URIS = {f"data:image/{name};base64": name for name in pictures.ALL} | {"data:image/jpg;base64": "jpeg"}
_FEWEST_PIXELS, _MOST_PIXELS = 3_136, 2_458_624  # smaller and larger images are scaled to these
_PIECES = Pieces(word=7)


def invoke(model_id: str, body: dict[str, Any], objects: Objects) -> Answer:  # noqa: ARG001
    """Return the answer of the model. Source: AWS Bedrock User Guide, Cohere Embed v4, and live recordings."""
    if not _is_valid(body):
        raise _malformed()
    totals, tokens = [], 0
    for parts in _inputs(body):
        read = [_embed(part, body) for part in parts]
        totals.append(fuse([total for total, _ in read]))
        tokens += sum(count for _, count in read)
    items = len(totals)
    if "images" in body and body["input_type"] == "image":
        totals = [fuse(totals)]
    # Documents are the plain case, other purposes turn the vector a little; an image is the same for both.
    accent = "" if body["input_type"] in ("search_document", "image") else body["input_type"]
    dimensions = body.get("output_dimension", _SPACE.size)
    rows = bfloat16(np.array([unit(_SPACE, total, dimensions, accent=accent) for total in totals]))
    echo = {key: value for key, value in body.items() if key in ("texts", "inputs")}
    return Answer(cohere_output.answer(rows, body.get("embedding_types", ("float",)), echo), tokens, items)


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    """Return one vector per input: the floats, or the first of the other types when no floats were asked for."""
    return cohere_output.vectors(answer)


class _Part(NamedTuple):
    """A text, or the data URI of an image."""

    kind: Literal["text", "image_url"]
    value: str


def _inputs(body: dict[str, Any]) -> list[list[_Part]]:
    """Return the parts of each input."""
    if "texts" in body:
        return [[_Part("text", text)] for text in body["texts"]]
    if "images" in body:
        return [[_Part("image_url", uri)] for uri in body["images"]]
    return [[_Part(part["type"], _value(part)) for part in item["content"]] for item in body["inputs"]]


def _value(part: dict[str, Any]) -> str:
    """Return a part's text or data URI, which some write as `{"url": …}`, as in Cohere's own API."""
    value: str | dict[str, str] = part[part["type"]]
    return value["url"] if isinstance(value, dict) else value


def _embed(part: _Part, body: dict[str, Any]) -> tuple[Ints, int]:
    """Return the features of a part, and its tokens."""
    if part.kind == "image_url":
        picture = _open(part.value)
        pixels = min(max(picture.pixels, _FEWEST_PIXELS), _MOST_PIXELS)
        return looks.of_picture(_SPACE, picture), pixels * 4 // 784  # AWS's page: about that many
    text, most = part.value, body.get("max_tokens", _MAX_TOKENS)
    tokens = _PIECES.count(text)
    if tokens > most:
        truncate = body.get("truncate", "END")
        if truncate == "NONE":
            raise validation("Input is too long for requested model.")  # of v3; uncertain here
        text, tokens = _PIECES.cut(text, most, keep_end=truncate in ("START", "LEFT")), most
    return of_text(_SPACE, text), max(1, tokens)


def _open(uri: str) -> pictures.Picture:
    head, _, encoded = uri.partition(",")
    try:
        data = media.decode(encoded)
        if len(data) <= _MAX_IMAGE_BYTES:
            return pictures.read(data, (_IMAGE_URIS[head],))
    except (KeyError, ValueError):
        pass
    raise _malformed() from None


def _malformed() -> AwsError:
    return validation("Malformed request. Please check your parameter/values and try again.")


def _is_valid(body: dict[str, Any]) -> bool:
    """Tell whether a body keeps the schema."""
    if not body.keys() <= set(_FIELDS) or sum(key in body for key in _INPUTS) != 1 or "input_type" not in body:
        return False
    if "texts" in body and body["input_type"] == "image":
        return False
    return all(_keeps(key, value) for key, value in body.items())


def _keeps(key: str, value: Any) -> bool:
    match key:
        case "texts" | "images":
            return _is_list(value, _MAX_INPUTS) and all(isinstance(item, str) for item in value)
        case "inputs":
            return _is_list(value, _MAX_INPUTS) and all(map(_is_input, value))
        case "embedding_types":
            return _is_list(value, None) and all(item in TYPES for item in value)
        case "max_tokens":
            return type(value) is int and 0 < value <= _MAX_TOKENS
        case "output_dimension":
            return type(value) is int and value in _DIMENSIONS
    return isinstance(value, str) and value in (_PURPOSES if key == "input_type" else _TRUNCATE)


def _is_list(value: object, most: int | None) -> bool:
    return isinstance(value, list) and len(value) > 0 and (most is None or len(value) <= most)


def _is_input(item: object) -> bool:
    return (
        isinstance(item, dict)
        and item.keys() == {"content"}
        and _is_list(item["content"], None)
        and all(map(_is_part, item["content"]))
    )


def _is_part(part: object) -> bool:
    match part:
        case {"type": "text", "text": str(), **rest} | {"type": "image_url", "image_url": str(), **rest}:
            return not rest
        case {"type": "image_url", "image_url": {"url": str(), **more}, **rest}:
            return not (more or rest)
    return False
