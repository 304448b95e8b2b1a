"""TwelveLabs Marengo, 2.7 and 3.0: a text, an image, in 3.0 also several of them in one vector; no token count.

The two have different bodies and different spaces: 2.7 is flat, 3.0 has an object named like the `inputType`. Sound and
moving pictures go through StartAsyncInvoke only. 2.7 cuts a text that is too long unless told not to, 3.0 refuses it.

From AWS's pages; no live answer was seen. Uncertain: the texts of refusals, which follow the validator of the other
models; float32 numbers of length 1; which formats of images are taken. An object in S3 has the vector of the same file
inline.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .. import schema
from ..errors import malformed, validation
from ..tokens import Pieces
from ..vectors import Ints, Space, fuse, of_text, unit
from . import looks, media, pictures
from .answer import Answer
from .files import File, Objects
from .marengo_schema import check
from .segment import dumps

V2 = "twelvelabs.marengo-embed-2-7-v1:0"
V3 = "twelvelabs.marengo-embed-3-0-v1:0"
MODEL_IDS: tuple[str, ...] = (V2, V3)

SPACES = {V2: Space(V2, 1024), V3: Space(V3, 512)}
_MAX_TOKENS = {V2: 77, V3: 500}
_PIECES = Pieces(word=9)
_MAX_IMAGE_BYTES = 5_000_000  # decoded
_PLACEHOLDER = re.compile("<@([^<>]+)>")


def invoke(model_id: str, body: dict[str, Any], objects: Objects) -> Answer:
    """Return the answer of a model. Source: AWS Bedrock User Guide, TwelveLabs Marengo Embed 2.7 and 3.0."""
    if failure := check(body, flat=model_id == V2, clips=False):
        raise malformed(schema.describe(failure, pointers=False))
    return Answer(dumps({"data": [still(model_id, body, objects)]}), None, 1)


def still(model_id: str, body: dict[str, Any], objects: Objects) -> dict[str, Any]:
    """Return the entry for a text, an image, or several of them."""
    part: dict[str, Any] = body if model_id == V2 else body[body["inputType"]]
    space = SPACES[model_id]
    totals = []
    if "inputText" in part:
        text = _PLACEHOLDER.sub(" ", part["inputText"]) if "mediaSources" in part else part["inputText"]
        totals.append(of_text(space, _fit(model_id, text, cut=model_id == V2 and part.get("textTruncate") != "none")))
    if "mediaSource" in part:
        totals.append(_of_image(space, part["mediaSource"], objects))
    totals += [_of_image(space, source, objects) for source in _in_order(part)]
    return {"embedding": unit(space, fuse(totals), space.size).astype(np.float32)}


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


def find(kind: str, source: dict[str, Any], objects: Objects) -> File:
    """Return the file of a source, inline or in S3. Raises AwsError."""
    if location := source.get("s3Location"):
        return objects(location["uri"], location.get("bucketOwner"))
    try:
        return File.of(media.decode(source["base64String"]))
    except ValueError:
        raise validation(f"The {kind} is not valid base64.") from None


def _of_image(space: Space, source: dict[str, Any], objects: Objects) -> Ints:
    file = find("image", source, objects)
    if file.size > _MAX_IMAGE_BYTES:
        raise validation(f"The image is {file.size} bytes large, the maximum is {_MAX_IMAGE_BYTES}.")
    try:
        return looks.of_picture(space, pictures.read(file.read()))
    except pictures.BadPictureError as error:
        raise validation(str(error)) from None
