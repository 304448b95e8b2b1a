"""TwelveLabs Marengo, 2.7 and 3.0: a text, an image, in 3.0 also several of them in one vector; no token count.

The two have different bodies and different spaces: 2.7 is flat, 3.0 has an object named like the `inputType`. Sound and
moving pictures go through StartAsyncInvoke only. 2.7 cuts a text that is too long unless told not to, 3.0 refuses it.

From AWS's pages; no live answer was seen. Uncertain: the texts of refusals, which follow the validator of the other
models; float32 numbers of length 1; which formats of images are taken. Objects in S3 are not read: their vectors come
from the URI.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import orjson

from .. import schema
from ..errors import malformed, validation
from ..tokens import Pieces
from ..vectors import Ints, Space, fuse, of_name, of_text, unit
from . import looks, media, pictures
from .answer import Answer

_V2 = "twelvelabs.marengo-embed-2-7-v1:0"
_V3 = "twelvelabs.marengo-embed-3-0-v1:0"
MODEL_IDS: tuple[str, ...] = (_V2, _V3)

_SPACES = {_V2: Space(_V2, 1024), _V3: Space(_V3, 512)}
_MAX_TOKENS = {_V2: 77, _V3: 500}
_PIECES = Pieces(word=9)
_SOURCES = ("base64String", "s3Location")
_MAX_IMAGE_BYTES = 5_000_000  # decoded
_PLACEHOLDER = re.compile("<@([^<>]+)>")
#: What each kind of input needs and, besides, may have.
_V2_NEEDS = {"text": ("inputText",), "image": ("mediaSource",)}
_V2_MAY = {"text": ("textTruncate",)}
_V3_NEEDS = {
    "text": ("inputText",),
    "image": ("mediaSource",),
    "text_image": ("inputText", "mediaSource"),
    "multi_input": ("mediaSources",),
}
_V3_MAY = {"multi_input": ("inputText",)}


def invoke(model_id: str, body: dict[str, Any]) -> Answer:
    """Return the answer of a model. Source: AWS Bedrock User Guide, TwelveLabs Marengo Embed 2.7 and 3.0."""
    if failure := _check_v2(body) if model_id == _V2 else _check_v3(body):
        raise malformed(schema.describe(failure, pointers=False))
    part: dict[str, Any] = body if model_id == _V2 else body[body["inputType"]]
    space = _SPACES[model_id]
    totals = []
    if "inputText" in part:
        text = _PLACEHOLDER.sub(" ", part["inputText"]) if "mediaSources" in part else part["inputText"]
        totals.append(of_text(space, _fit(model_id, text, cut=model_id == _V2 and part.get("textTruncate") != "none")))
    if "mediaSource" in part:
        totals.append(_of_image(space, part["mediaSource"]))
    totals += [_of_image(space, source) for source in _in_order(part)]
    vector = unit(space, fuse(totals), space.size).astype(np.float32)
    answer = orjson.dumps({"data": [{"embedding": vector}]}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Answer(answer, None, 1)


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    """Return the one vector."""
    return [entry["embedding"] for entry in answer["data"]]


def _fit(model_id: str, text: str, *, cut: bool) -> str:
    """Return a text no longer than the model reads."""
    most = _MAX_TOKENS[model_id]
    tokens = _PIECES.count(text)
    if tokens > most and not cut:
        raise validation(f"The text has {tokens} tokens, the maximum is {most}.")
    return _PIECES.cut(text, most, keep_end=False)


def _in_order(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the images of a `multi_input`: those the text names, as it names them, then the others as listed."""
    listed: list[dict[str, Any]] = part.get("mediaSources", [])
    by_name = {source["name"]: source for source in listed}
    named = list(dict.fromkeys(_PLACEHOLDER.findall(part.get("inputText", "")))) if listed else []
    for name in named:
        if name not in by_name:
            raise validation(f"The text names the media source {name}, which is not there.")
    return [by_name[name] for name in named] + [source for source in listed if source["name"] not in named]


def _of_image(space: Space, source: dict[str, Any]) -> Ints:
    if "s3Location" in source:
        return of_name(space, "s3 image", source["s3Location"]["uri"])
    try:
        data = media.decode(source["base64String"])
    except ValueError:
        raise validation("The image is not valid base64.") from None
    if len(data) > _MAX_IMAGE_BYTES:
        raise validation(f"The image is {len(data)} bytes large, the maximum is {_MAX_IMAGE_BYTES}.")
    try:
        return looks.of_picture(space, pictures.read(data))
    except pictures.BadPictureError as error:
        raise validation(str(error)) from None


def _check_v2(body: dict[str, Any]) -> schema.Failure | None:
    if failure := _check_kind(body, _V2_NEEDS):
        return failure
    kind = body["inputType"]
    needs = ("inputType", *_V2_NEEDS[kind])
    failures = schema.members(body, required=needs, known=(*needs, *_V2_MAY.get(kind, ())))
    failures += [_check_member(f"#/{key}", key, value) for key, value in body.items()]
    return schema.group(failures)


def _check_v3(body: dict[str, Any]) -> schema.Failure | None:
    if failure := _check_kind(body, _V3_NEEDS):
        return failure
    kind = body["inputType"]
    needs = ("inputType", kind)
    failures = schema.members(body, required=needs, known=(*needs, "inferenceId"))
    for key, value in body.items():
        if key == "inferenceId":
            failures.append(schema.string("#/inferenceId", value))
        elif key == kind:
            failures.append(_check_part(f"#/{key}", kind, value))
    return schema.group(failures)


def _check_kind(body: dict[str, Any], kinds: Collection[str]) -> schema.Failure | None:
    """Return what is wrong with the kind of input, which decides what else there has to be."""
    if "inputType" not in body:
        return schema.group(schema.members(body, required=("inputType",), known=body))
    return schema.one_of("#/inputType", body["inputType"], tuple(kinds))


def _check_part(pointer: str, kind: str, part: object) -> schema.Failure | None:
    if not isinstance(part, dict):
        return schema.expect_type(pointer, "JSONObject", part)
    known = (*_V3_NEEDS[kind], *_V3_MAY.get(kind, ()))
    failures = schema.members(part, required=_V3_NEEDS[kind], known=known, pointer=pointer)
    failures += [_check_member(f"{pointer}/{key}", key, part[key]) for key in part if key in known]
    return schema.group(failures)


def _check_member(pointer: str, key: str, value: object) -> schema.Failure | None:
    match key:
        case "inputText":
            return schema.string(pointer, value, shortest=1)
        case "textTruncate":
            return schema.one_of(pointer, value, ("end", "none"))
        case "mediaSource":
            return _check_source(pointer, value, ())
        case "mediaSources":
            return _check_sources(pointer, value)
    return None


def _check_sources(pointer: str, value: object) -> schema.Failure | None:
    if not isinstance(value, list):
        return schema.expect_type(pointer, "JSONArray", value)
    if not value:
        return schema.Leaf(pointer, "expected minimum item count: 1, found: 0")
    return schema.group(_check_source(f"{pointer}/{at}", item, ("name", "mediaType")) for at, item in enumerate(value))


def _check_source(pointer: str, source: object, also: tuple[str, ...]) -> schema.Failure | None:
    if not isinstance(source, dict):
        return schema.expect_type(pointer, "JSONObject", source)
    failures = schema.members(source, required=also, known=(*also, *_SOURCES), pointer=pointer)
    failures.append(schema.exactly_one(pointer, source, _SOURCES))
    for key in (key for key in source if key in (*also, *_SOURCES)):
        at, value = f"{pointer}/{key}", source[key]
        match key:
            case "name" | "base64String":
                failures.append(schema.string(at, value, shortest=1))
            case "mediaType":
                failures.append(schema.one_of(at, value, ("image",)))
            case "s3Location":
                failures.append(media.check_object(at, value, owner=True))
    return schema.group(failures)
