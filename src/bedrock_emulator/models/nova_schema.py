"""The schema of Nova's bodies, synchronous and segmented: which members there are, and their values.

Uncertain: what is refused beyond the documented rules, and in which words; that a segmented call takes media only from
S3 (the page says so) but a text also inline (its schema shows it). `bucketOwner`, which the page does not have, is
refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import schema
from . import media

DIMENSIONS = (3072, 1024, 384, 256)
#: Tokens of the hidden prompt: 2, 15 and 19 were seen, the others are guesses.
PROMPTS = {
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
_DETAILS = ("STANDARD_IMAGE", "DOCUMENT_IMAGE")
_MODES = ("AUDIO_VIDEO_COMBINED", "AUDIO_VIDEO_SEPARATE")
_TRUNCATIONS = ("START", "END", "NONE")
_MAX_CHARS, _MAX_CHARS_CUT = 8192, 50_000
#: of each kind of input: the member that says how long a segment is, its least and most
_SEGMENTS = {"text": ("maxLengthChars", 800, 50_000)} | dict.fromkeys(("audio", "video"), ("durationSeconds", 1, 30))


class Task(NamedTuple):
    """One of Nova's tasks: its name, the member with its parameters."""

    name: str
    params: str
    segmented: bool


SINGLE = Task("SINGLE_EMBEDDING", "singleEmbeddingParams", False)
SEGMENTED = Task("SEGMENTED_EMBEDDING", "segmentedEmbeddingParams", True)


def check(body: dict[str, Any], task: Task) -> schema.Failure | None:
    """Return what is wrong with a body for a task."""
    if "taskType" not in body:
        # The schema seems to be shared with Nova's other models, and this to be its other branch.
        return schema.Leaf("#", "required key [messages] not found")
    if failure := schema.one_of("#/taskType", body["taskType"], (task.name,)):
        return failure
    known = ("schemaVersion", "taskType", task.params)
    failures = schema.members(body, required=known[2:], known=known)
    for key, value in body.items():
        if key == "schemaVersion":
            failures.append(schema.one_of("#/schemaVersion", value, ("nova-multimodal-embed-v1",)))
        elif key == task.params:
            failures.append(_check_params(f"#/{key}", value, task))
    return schema.group(failures)


def _check_params(pointer: str, params: object, task: Task) -> schema.Failure | None:
    if not isinstance(params, dict):
        return schema.expect_type(pointer, "JSONObject", params)
    inputs = ("text", *_FORMATS)
    known = ("embeddingPurpose", "embeddingDimension", *inputs)
    failures = schema.members(params, required=known[:1], known=known, pointer=pointer)
    failures.append(schema.exactly_one(pointer, params, inputs))
    for key, value in params.items():
        at = f"{pointer}/{key}"
        match key:
            case "embeddingPurpose":
                failures.append(schema.one_of(at, value, tuple(PROMPTS)))
            case "embeddingDimension":
                failures.append(schema.one_of(at, value, DIMENSIONS))
            case "text":
                failures.append(_check_text(at, value, task))
            case "image" | "audio" | "video":
                failures.append(_check_file(at, key, value, task))
    return schema.group(failures)


def _check_text(pointer: str, part: object, task: Task) -> schema.Failure | None:
    if not isinstance(part, dict):
        return schema.expect_type(pointer, "JSONObject", part)
    required = ("truncationMode", *_segmentation("text", task))
    failures = schema.members(part, required=required, known=(*required, "value", "source"), pointer=pointer)
    failures.append(schema.exactly_one(pointer, part, ("value", "source")))
    for key, value in part.items():
        match key:
            case "truncationMode":
                failures.append(schema.one_of(f"{pointer}/{key}", value, _TRUNCATIONS))
            case "value":
                longest = _MAX_CHARS if part.get("truncationMode") == "NONE" else _MAX_CHARS_CUT
                longest_here = None if task.segmented else longest
                failures.append(schema.string(f"{pointer}/{key}", value, shortest=1, longest=longest_here))
            case "source":  # of a text, only an object in S3
                failures.append(_check_source(f"{pointer}/{key}", value, ("s3Location",)))
            case "segmentationConfig" if task.segmented:
                failures.append(_check_segmentation(f"{pointer}/{key}", "text", value))
    return schema.group(failures)


def _check_file(pointer: str, kind: str, part: object, task: Task) -> schema.Failure | None:
    if not isinstance(part, dict):
        return schema.expect_type(pointer, "JSONObject", part)
    mode = ("embeddingMode",) if kind == "video" else ()
    required = ("format", "source", *mode, *_segmentation(kind, task))
    known = (*required, "detailLevel") if kind == "image" else required
    failures = schema.members(part, required=required, known=known, pointer=pointer)
    for key in (key for key in part if key in known):
        at, value = f"{pointer}/{key}", part[key]
        match key:
            case "format":
                failures.append(schema.one_of(at, value, _FORMATS[kind]))
            case "source":
                known_sources = ("s3Location",) if task.segmented else ("bytes", "s3Location")
                failures.append(_check_source(at, value, known_sources))
            case "detailLevel":
                failures.append(schema.one_of(at, value, _DETAILS))
            case "embeddingMode":
                failures.append(schema.one_of(at, value, _MODES))
            case "segmentationConfig":
                failures.append(_check_segmentation(at, kind, value))
    return schema.group(failures)


def _segmentation(kind: str, task: Task) -> tuple[str, ...]:
    """Return the member that says how an input is cut, where there has to be one."""
    return ("segmentationConfig",) if task.segmented and kind in _SEGMENTS else ()


def _check_segmentation(pointer: str, kind: str, value: object) -> schema.Failure | None:
    if not isinstance(value, dict):
        return schema.expect_type(pointer, "JSONObject", value)
    name, least, most = _SEGMENTS[kind]
    failures = schema.members(value, known=(name,), pointer=pointer)
    if name in value:
        failures.append(schema.whole(f"{pointer}/{name}", value[name], least, most))
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
