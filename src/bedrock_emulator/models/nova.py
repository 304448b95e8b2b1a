"""Nova Multimodal Embeddings, synchronous: one text, image, clip of audio or video a call; tokens are only in a header.

Quirks, seen live unless marked: a body without `taskType`, such as Titan's, is told that it lacks `messages`; purposes
of retrieval add some 15 to 20 tokens; a text that is cut says after which character (documented); sound and pictures
of a video can have a vector each (documented).

Uncertain: what is refused beyond the documented rules, and in which words, the one about `messages` excepted; that
texts longer than 8,192 characters, the documented limit, are refused only with NONE (callers report up to 50,000 with
END, and that the limit is not kept at all); that only texts have a token header. `bucketOwner`, which the page does not
have, is refused. Objects in S3 are not read: their vectors come from the URI.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from .. import schema
from ..errors import malformed, validation
from ..tokens import Pieces
from ..vectors import Ints, Space, fuse, of_bytes, of_name, of_text, unit
from . import looks, media, pictures
from .answer import Answer

MODEL_IDS: tuple[str, ...] = ("amazon.nova-2-multimodal-embeddings-v1:0",)

_SPACE = Space("amazon.nova-2-multimodal-embeddings-v1:0", 3072)
_DIMENSIONS = (3072, 1024, 384, 256)
#: Tokens of the hidden prompt: 2, 15 and 19 were seen, the others are guesses.
_PROMPTS = {
    "GENERIC_INDEX": 2,
    "GENERIC_RETRIEVAL": 15,
    "TEXT_RETRIEVAL": 19,
    "IMAGE_RETRIEVAL": 19,
    "VIDEO_RETRIEVAL": 19,
    "DOCUMENT_RETRIEVAL": 19,
    "AUDIO_RETRIEVAL": 19,
    "CLASSIFICATION": 15,
    "CLUSTERING": 15,
}
_FORMATS = {
    "image": ("png", "jpeg", "gif", "webp"),
    "audio": ("mp3", "wav", "ogg"),
    # The page says 3gp, a sister API three_gp.
    "video": ("mp4", "mov", "mkv", "webm", "flv", "mpeg", "mpg", "wmv", "3gp", "three_gp"),
}
_SAME = {"mpg": "mpeg", "three_gp": "3gp"}
_DETAILS = ("STANDARD_IMAGE", "DOCUMENT_IMAGE")
_PLAIN = ("GENERIC_INDEX", "STANDARD_IMAGE")  # anything else turns the vector a little
_MODES = ("AUDIO_VIDEO_COMBINED", "AUDIO_VIDEO_SEPARATE")
_TRUNCATIONS = ("START", "END", "NONE")
_MAX_TOKENS = 8192  # the prompt included, which is uncertain
_MAX_CHARS, _MAX_CHARS_CUT = 8192, 50_000
_MAX_SECONDS = 30
_PIECES = Pieces(word=10)
_PARAMS = "#/singleEmbeddingParams"


def invoke(model_id: str, body: dict[str, Any]) -> Answer:  # noqa: ARG001  # one model
    """Return the answer of Nova. Source: Amazon Nova User Guide, embeddings schema, and live recordings."""
    if failure := _check(body):
        raise malformed(schema.describe(failure, pointers=True))
    params: dict[str, Any] = body["singleEmbeddingParams"]
    if "text" in params:
        return _embed_text(params)
    if "image" in params:
        return _embed_image(params)
    if "audio" in params:
        return _answer(params, {"AUDIO": _of_clip("audio", params["audio"])["AUDIO"]})
    both = _of_clip("video", params["video"])
    if params["video"]["embeddingMode"] == "AUDIO_VIDEO_SEPARATE":
        return _answer(params, both)
    return _answer(params, {"AUDIO_VIDEO_COMBINED": fuse(list(both.values()))})


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    """Return the one vector, or those of a video and of its sound."""
    return [entry["embedding"] for entry in answer["embeddings"]]


def _embed_text(params: dict[str, Any]) -> Answer:
    part: dict[str, Any] = params["text"]
    if "source" in part:
        return _answer(params, {"TEXT": _of_object("text", part)})
    text: str = part["value"]
    prompt = _PROMPTS[params["embeddingPurpose"]]
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
    return _answer(params, {"TEXT": of_text(_SPACE, text)}, tokens=max(1, tokens) + prompt, cut=cut)


def _embed_image(params: dict[str, Any]) -> Answer:
    part: dict[str, Any] = params["image"]
    if "s3Location" in part["source"]:
        total = _of_object("image", part)
    else:
        try:
            picture = pictures.read(_read("image", part), (part["format"],))
        except pictures.BadPictureError as error:
            raise validation(str(error)) from None
        total = looks.of_picture(_SPACE, picture)
    return _answer(params, {"IMAGE": total}, detail=part.get("detailLevel", _PLAIN[1]))


def _of_clip(kind: str, part: dict[str, Any]) -> dict[str, Ints]:
    """Return what is seen and what is heard of a clip, by the types of their vectors."""
    if "s3Location" in part["source"]:
        return {name: _of_object(f"{kind} {name}", part) for name in ("VIDEO", "AUDIO")}
    data = _read(kind, part)
    seconds = media.wav_seconds(data) if part["format"] == "wav" else None  # of the others it is harder to tell
    if seconds is not None and seconds > _MAX_SECONDS:
        raise validation(f"The {kind} is longer than {_MAX_SECONDS} seconds.")
    return {name: of_bytes(_SPACE, f"{kind} {name}", data) for name in ("VIDEO", "AUDIO")}


def _of_object(kind: str, part: dict[str, Any]) -> Ints:
    return of_name(_SPACE, f"s3 {kind}", part["source"]["s3Location"]["uri"])


def _read(kind: str, part: dict[str, Any]) -> bytes:
    """Return an inline file whose bytes begin as its format says."""
    try:
        data = media.decode(part["source"]["bytes"])
    except ValueError:
        raise validation(f"The {kind} is not valid base64.") from None
    if media.sniff(data) != _SAME.get(part["format"], part["format"]):
        raise validation(f"The provided {kind} does not match the specified {kind} format.")
    return data


def _answer(
    params: dict[str, Any],
    found: dict[str, Ints],
    *,
    tokens: int | None = None,
    cut: int | None = None,
    detail: str = _PLAIN[1],
) -> Answer:
    dimensions = params.get("embeddingDimension", _SPACE.size)
    accent = " ".join(word for word in (params["embeddingPurpose"], detail) if word not in _PLAIN)
    entries: list[dict[str, Any]] = [
        {"embedding": unit(_SPACE, total, dimensions, accent=accent).astype(np.float32), "embeddingType": kind}
        for kind, total in found.items()
    ]
    if cut is not None:
        entries[0]["truncatedCharLength"] = cut
    return Answer(orjson.dumps({"embeddings": entries}, option=orjson.OPT_SERIALIZE_NUMPY), tokens, 1)


def _check(body: dict[str, Any]) -> schema.Failure | None:
    if "taskType" not in body:
        # The schema seems to be shared with Nova's other models, and this to be its other branch.
        return schema.Leaf("#", "required key [messages] not found")
    if failure := schema.one_of("#/taskType", body["taskType"], ("SINGLE_EMBEDDING",)):
        return failure
    known = ("schemaVersion", "taskType", "singleEmbeddingParams")
    failures = schema.members(body, required=known[2:], known=known)
    for key, value in body.items():
        match key:
            case "schemaVersion":
                failures.append(schema.one_of("#/schemaVersion", value, ("nova-multimodal-embed-v1",)))
            case "singleEmbeddingParams":
                failures.append(_check_params(value))
    return schema.group(failures)


def _check_params(params: object) -> schema.Failure | None:
    if not isinstance(params, dict):
        return schema.expect_type(_PARAMS, "JSONObject", params)
    inputs = ("text", *_FORMATS)
    known = ("embeddingPurpose", "embeddingDimension", *inputs)
    failures = schema.members(params, required=known[:1], known=known, pointer=_PARAMS)
    failures.append(schema.exactly_one(_PARAMS, params, inputs))
    for key, value in params.items():
        match key:
            case "embeddingPurpose":
                failures.append(schema.one_of(f"{_PARAMS}/{key}", value, tuple(_PROMPTS)))
            case "embeddingDimension":
                failures.append(schema.one_of(f"{_PARAMS}/{key}", value, _DIMENSIONS))
            case "text":
                failures.append(_check_text(f"{_PARAMS}/{key}", value))
            case "image" | "audio" | "video":
                failures.append(_check_file(f"{_PARAMS}/{key}", key, value))
    return schema.group(failures)


def _check_text(pointer: str, part: object) -> schema.Failure | None:
    if not isinstance(part, dict):
        return schema.expect_type(pointer, "JSONObject", part)
    known = ("truncationMode", "value", "source")
    failures = schema.members(part, required=known[:1], known=known, pointer=pointer)
    failures.append(schema.exactly_one(pointer, part, known[1:]))
    for key, value in part.items():
        match key:
            case "truncationMode":
                failures.append(schema.one_of(f"{pointer}/{key}", value, _TRUNCATIONS))
            case "value":
                longest = _MAX_CHARS if part.get("truncationMode") == "NONE" else _MAX_CHARS_CUT
                failures.append(schema.string(f"{pointer}/{key}", value, shortest=1, longest=longest))
            case "source":  # of a text, only an object in S3
                failures.append(_check_source(f"{pointer}/{key}", value, ("s3Location",)))
    return schema.group(failures)


def _check_file(pointer: str, kind: str, part: object) -> schema.Failure | None:
    if not isinstance(part, dict):
        return schema.expect_type(pointer, "JSONObject", part)
    required = ("format", "source", "embeddingMode") if kind == "video" else ("format", "source")
    known = (*required, "detailLevel") if kind == "image" else required
    failures = schema.members(part, required=required, known=known, pointer=pointer)
    for key in (key for key in part if key in known):
        at, value = f"{pointer}/{key}", part[key]
        match key:
            case "format":
                failures.append(schema.one_of(at, value, _FORMATS[kind]))
            case "source":
                failures.append(_check_source(at, value, ("bytes", "s3Location")))
            case "detailLevel":
                failures.append(schema.one_of(at, value, _DETAILS))
            case "embeddingMode":
                failures.append(schema.one_of(at, value, _MODES))
    return schema.group(failures)


def _check_source(pointer: str, source: object, known: tuple[str, ...]) -> schema.Failure | None:
    if not isinstance(source, dict):
        return schema.expect_type(pointer, "JSONObject", source)
    failures = schema.members(source, known=known, pointer=pointer)
    failures.append(schema.exactly_one(pointer, source, known))
    if "bytes" in known and "bytes" in source:
        failures.append(schema.string(f"{pointer}/bytes", source["bytes"], shortest=1))
    if "s3Location" in source:
        failures.append(media.check_object(f"{pointer}/s3Location", source["s3Location"], owner=False))
    return schema.group(failures)
