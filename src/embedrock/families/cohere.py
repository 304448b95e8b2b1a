"""Cohere Embed v3 and v4: many texts a call, tokens only in a header.

`input_type` is required; without a word from the caller it is `search_document`, and v3 wants `image` for an image.
`truncate` and `embedding_types` are always sent: AWS's pages disagree on the default of the one, and the shape of the
answer depends on the other (a list without, an object by type with; both are read).

v3 takes one image a call. v4 takes up to 96 images, texts and mixtures of both; several in its `images` were reported
to come back as one vector, so more than one goes as `inputs`, one vector an item.

Vectors belong to inputs by position: the English v3 echoes the texts in lower case.

Source: AWS Bedrock User Guide, Cohere Embed v3 and v4; the shapes of answers were seen live.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from embedrock.catalog import ModelSpec
from embedrock.errors import BadRequest, InvalidUpstream
from embedrock.families.answer import Answer, header_tokens
from embedrock.families.parameters import Table, Wanted, choice, one_type, whole
from embedrock.families.raw import json_string
from embedrock.inputs import Fused, Item, Part
from embedrock.media import Media
from embedrock.vectors import BROKEN_JSON, Array

_PURPOSES: Final = ("search_document", "search_query", "classification", "clustering")
_INPUT_TYPE: Final = choice(
    "input_type",
    "input_type",
    (*_PURPOSES, "image"),
    "What the vector is for; documents and queries must say it differently. `image` is for images only.",
    default="search_document",
)
_TYPES: Final = one_type("embedding_types", ("float", "int8", "uint8", "binary", "ubinary"))
_CUT_HELP: Final = "Which end of a text that is too long is cut off."

V3: Final = Table(
    (_INPUT_TYPE, choice("truncate", "truncate", ("NONE", "START", "END"), _CUT_HELP, default="NONE"), _TYPES)
)
V4: Final = Table(
    (
        _INPUT_TYPE,
        choice("truncate", "truncate", ("NONE", "START", "END", "LEFT", "RIGHT"), _CUT_HELP, default="NONE"),
        whole("max_tokens", "max_tokens", 1, 128_000, "Cut each input to so many tokens."),
        _TYPES,
    ),
    dimensions=("output_dimension",),
)

_NEXT: Final = re.compile(rb"\s*,\s*(?=\[)")
_END: Final = re.compile(rb"\s*\]\s*\}")
_TAIL: Final = re.compile(rb"\}\s*\Z")


class _FullAnswer(msgspec.Struct):
    embeddings: list[msgspec.Raw] | dict[str, msgspec.Raw]


def check(spec: ModelSpec, item: Item, wanted: Wanted) -> None:  # noqa: ARG001
    """Raise BadRequest when `input_type` says image and `item` is a text."""
    if isinstance(item, str) and wanted.values["input_type"] == "image":
        raise BadRequest("'input_type' is image, and there is a text.", param="input_type", code="invalid_value")


def build_v3(spec: ModelSpec, items: Sequence[Item], wanted: Wanted) -> bytes:  # noqa: ARG001
    """Return the InvokeModel body for up to 96 texts, or one image."""
    body: dict[str, Any] = {"embedding_types": [wanted.kind]}
    if isinstance(items[0], Media):
        body |= {"images": [_image(items[0])], "input_type": "image"}
    else:
        values = wanted.values
        body |= {"texts": items, "input_type": values["input_type"], "truncate": values["truncate"]}
    return msgspec.json.encode(body)


def build_v4(spec: ModelSpec, items: Sequence[Item], wanted: Wanted) -> bytes:  # noqa: ARG001
    """Return the InvokeModel body for up to 96 items of any kind."""
    values = wanted.values
    body: dict[str, Any] = {
        "input_type": values["input_type"],
        "truncate": values["truncate"],
        "embedding_types": [wanted.kind],
    }
    if all(isinstance(item, str) for item in items):
        body["texts"] = items
    elif len(items) == 1 and isinstance(items[0], Media):
        body["images"] = [_image(items[0])]
    else:
        parts = (item.parts if isinstance(item, Fused) else (item,) for item in items)
        body["inputs"] = [{"content": [_part(part) for part in these]} for these in parts]
    if wanted.asked:
        body["output_dimension"] = wanted.dimensions
    if "max_tokens" in values:
        body["max_tokens"] = values["max_tokens"]
    return msgspec.json.encode(body)


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Media):
        # AWS's page has a plain string here; Cohere's own API, and the clients in use, an object.
        return {"type": "image_url", "image_url": {"url": _image(part)}}
    return {"type": "text", "text": part}


def _image(item: Media) -> msgspec.Raw:
    return json_string(item.data_uri)


def parse_response(
    body: bytes | bytearray, headers: Mapping[bytes, bytes], items: Sequence[Item], wanted: Wanted
) -> Answer:
    """Return one vector an item, in order, and the tokens of the call. Raises InvalidUpstream."""
    arrays = _cut(body, len(items), wanted.kind) or _parse_in_full(body, wanted.kind)
    if len(arrays) != len(items):
        raise InvalidUpstream(f"Bedrock answered {len(arrays)} vectors for {len(items)} inputs.")
    return Answer(arrays, header_tokens(headers))


@cache
def _start(kind: str) -> re.Pattern[bytes]:
    return re.compile(rb'\s*\{\s*"embeddings"\s*:\s*\{\s*"%b"\s*:\s*\[\s*(?=\[)' % kind.encode())


def _cut(body: bytes | bytearray, count: int, kind: str) -> list[Array] | None:
    """Return the rows of the usual answer without parsing a number, or None when it is not the usual one."""
    whole = memoryview(body)  # the rows are nearly all of the answer: they are not copied out of it
    arrays: list[Array] = []
    joint = _start(kind).match(body)
    while joint and len(arrays) < count:
        start = joint.end()
        end = body.find(b"]", start) + 1
        arrays.append(whole[start:end])
        joint, last = _NEXT.match(body, end), end
    usual = len(arrays) == count and joint is None and _END.match(body, last) and _TAIL.search(body, len(body) - 8)
    return arrays if usual else None


def _parse_in_full(body: bytes | bytearray, kind: str) -> list[Array]:
    try:
        embeddings = msgspec.json.decode(body, type=_FullAnswer).embeddings
        if isinstance(embeddings, dict):
            embeddings = msgspec.json.decode(embeddings[kind], type=list[msgspec.Raw])
        elif kind != "float":
            raise KeyError(kind)  # a list without types holds floats
    except (*BROKEN_JSON, KeyError) as exc:
        raise InvalidUpstream("Bedrock's answer is not one of Cohere Embed.") from exc
    return [bytes(array) for array in embeddings]
