"""The schemas of Marengo's bodies: 2.7 is flat, 3.0 has an object named like the `inputType`.

Sound and moving pictures are taken by StartAsyncInvoke only. Uncertain: all that is refused beyond types and the values
that AWS's pages list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import schema
from . import media

_SOURCES = ("base64String", "s3Location")


class _Members(NamedTuple):
    """What a kind of input needs, and what else it may have."""

    needs: tuple[str, ...]
    may: tuple[str, ...] = ()


_V2_STILL = {"text": _Members(("inputText",), ("textTruncate",)), "image": _Members(("mediaSource",))}
_V2_CLIPS = {
    "video": _Members(
        ("mediaSource",), ("startSec", "lengthSec", "useFixedLengthSec", "minClipSec", "embeddingOption")
    ),
    "audio": _Members(("mediaSource",), ("startSec", "lengthSec", "useFixedLengthSec")),
}
_V3_STILL = {
    "text": _Members(("inputText",)),
    "image": _Members(("mediaSource",)),
    "text_image": _Members(("inputText", "mediaSource")),
    "multi_input": _Members(("mediaSources",), ("inputText",)),
}
_V3_CLIP = _Members(
    ("mediaSource",), ("startSec", "endSec", "segmentation", "embeddingOption", "embeddingType", "embeddingScope")
)
_V3_CLIPS = {"audio": _V3_CLIP, "video": _V3_CLIP}
#: by kind of input: what can be asked for
V2_OPTIONS = {"video": ("visual-text", "visual-image", "audio")}
V3_OPTIONS = {"video": ("visual", "audio", "transcription"), "audio": ("audio", "transcription")}
_METHODS = {"audio": ("fixed",), "video": ("dynamic", "fixed")}
_LENGTHS = {"fixed": ("durationSec", 1, 10), "dynamic": ("minDurationSec", 1, 5)}


def check(body: dict[str, Any], *, flat: bool, clips: bool) -> schema.Failure | None:
    """Return what is wrong with a body; `flat`: of 2.7; `clips`: audio and video are taken too."""
    if flat:
        return _check_v2(body, _V2_STILL | _V2_CLIPS if clips else _V2_STILL)
    return _check_v3(body, _V3_STILL | _V3_CLIPS if clips else _V3_STILL)


def _check_v2(body: dict[str, Any], kinds: Mapping[str, _Members]) -> schema.Failure | None:
    if failure := _check_kind(body, kinds):
        return failure
    kind = body["inputType"]
    needs = ("inputType", *kinds[kind].needs)
    failures = schema.members(body, required=needs, known=(*needs, *kinds[kind].may))
    failures += [_check_member(f"#/{key}", key, value, V2_OPTIONS.get(kind, ())) for key, value in body.items()]
    if body.get("useFixedLengthSec", 10) < body.get("minClipSec", 0) and not schema.group(failures):
        failures.append(schema.Leaf("#/useFixedLengthSec", "must not be below minClipSec"))
    return schema.group(failures)


def _check_v3(body: dict[str, Any], kinds: Mapping[str, _Members]) -> schema.Failure | None:
    if failure := _check_kind(body, kinds):
        return failure
    kind = body["inputType"]
    needs = ("inputType", kind)
    failures = schema.members(body, required=needs, known=(*needs, "inferenceId"))
    for key, value in body.items():
        if key == "inferenceId":
            failures.append(schema.string("#/inferenceId", value))
        elif key == kind:
            failures.append(_check_part(f"#/{key}", kind, kinds[kind], value))
    return schema.group(failures)


def _check_kind(body: dict[str, Any], kinds: Mapping[str, _Members]) -> schema.Failure | None:
    """Return what is wrong with the kind of input, which decides what else there has to be."""
    if "inputType" not in body:
        return schema.group(schema.members(body, required=("inputType",), known=body))
    return schema.one_of("#/inputType", body["inputType"], tuple(kinds))


def _check_part(pointer: str, kind: str, members: _Members, part: object) -> schema.Failure | None:
    if not isinstance(part, dict):
        return schema.expect_type(pointer, "JSONObject", part)
    known = (*members.needs, *members.may)
    failures = schema.members(part, required=members.needs, known=known, pointer=pointer)
    options = V3_OPTIONS.get(kind, ())
    failures += [_check_member(f"{pointer}/{key}", key, part[key], options) for key in part if key in known]
    if "segmentation" in part:
        failures.append(_check_segmentation(f"{pointer}/segmentation", kind, part["segmentation"]))
    if not schema.group(failures):
        failures.append(_check_together(pointer, kind, part))
    return schema.group(failures)


def _check_together(pointer: str, kind: str, part: dict[str, Any]) -> schema.Failure | None:
    """Return what is wrong with members that are right each for itself."""
    if (
        "fused_embedding" in part.get("embeddingType", ())
        and len(set(part.get("embeddingOption", V3_OPTIONS[kind]))) < 2
    ):
        return schema.Leaf(f"{pointer}/embeddingType", "fused_embedding needs at least two values of embeddingOption")
    if part.get("endSec", float("inf")) <= part.get("startSec", 0):
        return schema.Leaf(f"{pointer}/endSec", "must be after startSec")
    return None


def _check_member(pointer: str, key: str, value: object, options: tuple[str, ...]) -> schema.Failure | None:
    match key:
        case "inputText":
            return schema.string(pointer, value, shortest=1)
        case "textTruncate":
            return schema.one_of(pointer, value, ("end", "none"))
        case "mediaSource":
            return _check_source(pointer, value, ())
        case "mediaSources":
            return _check_sources(pointer, value)
        case "startSec" | "endSec" | "lengthSec":
            return schema.number(pointer, value, 0)
        case "useFixedLengthSec":
            return schema.number(pointer, value, 2, 10)
        case "minClipSec":
            return schema.whole(pointer, value, 1, 5)
        case "embeddingOption" if options:
            return schema.enum_list(pointer, value, options)
        case "embeddingType":
            return schema.enum_list(pointer, value, ("separate_embedding", "fused_embedding"))
        case "embeddingScope":
            return schema.enum_list(pointer, value, ("clip", "asset"))
    return None


def _check_segmentation(pointer: str, kind: str, value: object) -> schema.Failure | None:
    if not isinstance(value, dict):
        return schema.expect_type(pointer, "JSONObject", value)
    if "method" not in value:
        return schema.Leaf(pointer, "required key [method] not found")
    if failure := schema.one_of(f"{pointer}/method", value["method"], _METHODS[kind]):
        return failure
    method = value["method"]
    name, least, most = _LENGTHS[method]
    failures = schema.members(value, known=("method", method), pointer=pointer)
    if method in value:
        inner = value[method]
        if not isinstance(inner, dict):
            return schema.expect_type(f"{pointer}/{method}", "JSONObject", inner)
        failures += schema.members(inner, known=(name,), pointer=f"{pointer}/{method}")
        if name in inner:
            failures.append(schema.number(f"{pointer}/{method}/{name}", inner[name], least, most))
    return schema.group(failures)


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
