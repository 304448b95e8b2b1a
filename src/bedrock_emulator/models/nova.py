"""Nova Multimodal Embeddings, synchronous: one text, image, clip of audio or video a call; tokens are only in a header.

Quirks, seen live unless marked: a body without `taskType`, such as Titan's, is told that it lacks `messages`; purposes
of retrieval add some 15 to 20 tokens; a text that is cut says after which character (documented); sound and pictures
of a video can have a vector each (documented).

Uncertain: that texts longer than 8,192 characters, the documented limit, are refused only with NONE (callers report up
to 50,000 with END, and that the limit is not kept at all); that only texts have a token header. An object in S3 has the
vector of the same file inline.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .. import schema
from ..errors import malformed, validation
from ..tokens import Pieces
from ..vectors import Ints, Space, fuse, of_name, of_text, unit
from . import looks, media, pictures
from .answer import Answer
from .files import File, Objects, known_seconds
from .nova_schema import PROMPTS, SINGLE, check

MODEL_IDS: tuple[str, ...] = ("amazon.nova-2-multimodal-embeddings-v1:0",)

SPACE = Space("amazon.nova-2-multimodal-embeddings-v1:0", 3072)
_SAME = {"mpg": "mpeg", "three_gp": "3gp"}
_PLAIN = ("GENERIC_INDEX", "STANDARD_IMAGE")  # anything else turns the vector a little
_MAX_TOKENS = 8192  # the prompt included, which is uncertain
_MAX_SECONDS, _MAX_CLIP_BYTES = 30, 100_000_000
_PIECES = Pieces(word=10)


def invoke(model_id: str, body: dict[str, Any], objects: Objects) -> Answer:  # noqa: ARG001  # one model
    """Return the answer of Nova. Source: Amazon Nova User Guide, embeddings schema, and live recordings."""
    if failure := check(body, SINGLE):
        raise malformed(schema.describe(failure, pointers=True))
    params: dict[str, Any] = body[SINGLE.params]
    if "text" in params:
        return _embed_text(params, objects)
    if "image" in params:
        return _answer(params, {"IMAGE": of_image(params["image"], objects)})
    if "audio" in params:
        return _answer(params, {"AUDIO": _of_clip("audio", params["audio"], objects)["AUDIO"]})
    both = _of_clip("video", params["video"], objects)
    if params["video"]["embeddingMode"] == "AUDIO_VIDEO_SEPARATE":
        return _answer(params, both)
    return _answer(params, {"AUDIO_VIDEO_COMBINED": fuse(list(both.values()))})


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    """Return the one vector, or those of a video and of its sound."""
    return [entry["embedding"] for entry in answer["embeddings"]]


def _embed_text(params: dict[str, Any], objects: Objects) -> Answer:
    part: dict[str, Any] = params["text"]
    text: str = part["value"] if "value" in part else read_text(find("text", part, objects))
    prompt = PROMPTS[params["embeddingPurpose"]]
    tokens, room = _PIECES.count(text), _MAX_TOKENS - prompt
    cut = None
    if tokens > room:
        if part["truncationMode"] == "NONE":
            raise validation(
                f"400 Bad Request: Too many input tokens. Max input tokens: {_MAX_TOKENS}, "
                f"request input token count: {tokens + prompt} "
            )
        text, tokens = _PIECES.cut(text, room, keep_end=part["truncationMode"] == "START"), room
        cut = len(text)  # uncertain for START: the page only says after which character the text was cut
    return _answer(params, {"TEXT": of_text(SPACE, text)}, tokens=max(1, tokens) + prompt, cut=cut)


def of_image(part: dict[str, Any], objects: Objects) -> Ints:
    """Return the features of an image, inline or in S3."""
    file = find("image", part, objects)
    check_format("image", part, file)
    try:
        return looks.of_picture(SPACE, pictures.read(file.read(), (part["format"],)))
    except pictures.BadPictureError as error:
        raise validation(str(error)) from None


def find(kind: str, part: dict[str, Any], objects: Objects) -> File:
    """Return the file of an input, inline or in S3. Raises AwsError."""
    if location := part["source"].get("s3Location"):
        return objects(location["uri"], None)
    try:
        return File.of(media.decode(part["source"]["bytes"]))
    except ValueError:
        raise validation(f"The {kind} is not valid base64.") from None


def read_text(file: File) -> str:
    """Return the text in a file."""
    try:
        text = file.read().decode()
    except UnicodeDecodeError:
        raise validation("The text is not valid UTF-8.") from None
    if not text:
        raise validation("The text is empty.")
    return text


def check_format(kind: str, part: dict[str, Any], file: File) -> None:
    """Raise AwsError unless a file begins as its format says."""
    if media.sniff(file.beginning()) != _SAME.get(part["format"], part["format"]):
        raise validation(f"The provided {kind} does not match the specified {kind} format.")


def _of_clip(kind: str, part: dict[str, Any], objects: Objects) -> dict[str, Ints]:
    """Return what is seen and what is heard of a clip, by the types of their vectors."""
    file = find(kind, part, objects)
    check_format(kind, part, file)
    seconds = known_seconds(file, part["format"])
    if file.size > _MAX_CLIP_BYTES or (seconds is not None and seconds > _MAX_SECONDS):
        raise validation(f"The {kind} is longer than {_MAX_SECONDS} seconds.")
    return {name: of_name(SPACE, f"{kind} {name}", file.sha256) for name in ("VIDEO", "AUDIO")}


def embedding(params: dict[str, Any], total: Ints) -> NDArray[np.float32]:
    """Return the vector of an input with its parameters."""
    words = params["embeddingPurpose"], params.get("image", {}).get("detailLevel", _PLAIN[1])
    accent = " ".join(word for word in words if word not in _PLAIN)
    return unit(SPACE, total, params.get("embeddingDimension", SPACE.size), accent=accent).astype(np.float32)


def _answer(
    params: dict[str, Any],
    found: dict[str, Ints],
    *,
    tokens: int | None = None,
    cut: int | None = None,
) -> Answer:
    entries: list[dict[str, Any]] = [
        {"embedding": embedding(params, total), "embeddingType": kind} for kind, total in found.items()
    ]
    if cut is not None:
        entries[0]["truncatedCharLength"] = cut
    return Answer(orjson.dumps({"embeddings": entries}, option=orjson.OPT_SERIALIZE_NUMPY), tokens, 1)
