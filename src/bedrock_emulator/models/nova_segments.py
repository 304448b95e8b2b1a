"""Nova Multimodal Embeddings, asynchronous: long texts, audio and video in segments, and images.

Uncertain: that ends of segments are not part of them (the page says both); where a text is cut, here at the last space
that fits; the name of the file for images.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import schema
from ..errors import malformed, validation
from ..vectors import Ints, fuse, of_text
from . import clips, nova
from .files import File, Objects, seconds
from .nova_schema import SEGMENTED, check
from .segment import Part

SUMMARY = "segmented-embedding-result.json"
_FILES = {
    "TEXT": "embedding-text.jsonl",
    "IMAGE": "embedding-image.json",
    "VIDEO": "embedding-video.jsonl",
    "AUDIO": "embedding-audio.jsonl",
    "AUDIO_VIDEO_COMBINED": "embedding-audio-video.jsonl",
}
_CHARS, _SECONDS = 32_000, 5  # of a segment, by default
_MAX_TEXTS, _MAX_CLIPS = 1900, 1434  # segments
_MAX_SECONDS = 7200


def validate(body: dict[str, Any]) -> None:
    """Raise AwsError for a body that Nova refuses before it reads the input."""
    if failure := check(body, SEGMENTED):
        raise malformed(schema.describe(failure, pointers=True))


def parts(body: dict[str, Any], objects: Objects) -> list[Part]:
    """Return the segments of a valid body, one part a type of embedding. Raises AwsError for an input that is bad."""
    params: dict[str, Any] = body[SEGMENTED.params]
    if "text" in params:
        return [_part("TEXT", _texts(params, objects))]
    if "image" in params:
        return [_part("IMAGE", [_entry(params, nova.of_image(params["image"], objects), 0, {})])]
    kind = "audio" if "audio" in params else "video"
    part: dict[str, Any] = params[kind]
    file = nova.find(kind, part, objects)
    nova.check_format(kind, part, file)
    whole = seconds(file, part["format"], kind)
    pieces = clips.evenly(0.0, whole, part["segmentationConfig"].get("durationSeconds", _SECONDS))
    if whole > _MAX_SECONDS or len(pieces) > _MAX_CLIPS:
        raise validation(f"The {kind} is longer than {_MAX_SECONDS} seconds or {_MAX_CLIPS} segments.")
    if kind == "audio":
        types: tuple[str, ...] = ("AUDIO",)
    else:
        types = ("VIDEO", "AUDIO") if part["embeddingMode"] == "AUDIO_VIDEO_SEPARATE" else ("AUDIO_VIDEO_COMBINED",)
    return [_part(name, _clips(params, kind, name, file, pieces)) for name in types]


def source(body: dict[str, Any]) -> str | None:
    """Return the URI of the input, None when it is inline."""
    params: dict[str, Any] = body[SEGMENTED.params]
    part = next(params[key] for key in ("text", "image", "audio", "video") if key in params)
    return part["source"]["s3Location"]["uri"] if "source" in part else None


def dimensions(body: dict[str, Any]) -> int:
    """Return the dimensions that are asked for."""
    size: int = body[SEGMENTED.params].get("embeddingDimension", nova.SPACE.size)
    return size


def cut(text: str, longest: int) -> list[tuple[int, int]]:
    """Return where the segments of a text begin and end: each ends behind the last space that fits."""
    pieces, at = [], 0
    while at < len(text):
        end = min(len(text), at + longest)
        if end < len(text) and (space := text.rfind(" ", at, end)) > at:
            end = space + 1
        pieces.append((at, end))
        at = end
    return pieces


def _part(kind: str, entries: list[dict[str, Any]] | Iterator[dict[str, Any]]) -> Part:
    return Part(kind, _FILES[kind], entries)


def _texts(params: dict[str, Any], objects: Objects) -> Iterator[dict[str, Any]]:
    part: dict[str, Any] = params["text"]
    text = part["value"] if "value" in part else nova.read_text(nova.find("text", part, objects))
    pieces = cut(text, part["segmentationConfig"].get("maxLengthChars", _CHARS))
    if len(pieces) > _MAX_TEXTS:
        raise validation(f"The text has {len(pieces)} segments, the maximum is {_MAX_TEXTS}.")

    def entries() -> Iterator[dict[str, Any]]:
        for number, (start, end) in enumerate(pieces):
            where = {"segmentStartCharPosition": start, "segmentEndCharPosition": end, "truncatedCharLength": 0}
            yield _entry(params, of_text(nova.SPACE, text[start:end]), number, where)

    return entries()


def _clips(
    params: dict[str, Any], kind: str, name: str, file: File, pieces: list[tuple[float, float]]
) -> Iterator[dict[str, Any]]:
    seen_or_heard = ("VIDEO", "AUDIO") if name == "AUDIO_VIDEO_COMBINED" else (name,)
    for number, (start, end) in enumerate(pieces):
        totals = [clips.of_segment(nova.SPACE, f"{kind} {sense}", file, start, end) for sense in seen_or_heard]
        yield _entry(params, fuse(totals), number, {"segmentStartSeconds": start, "segmentEndSeconds": end})


def _entry(params: dict[str, Any], total: Ints, number: int, where: dict[str, Any]) -> dict[str, Any]:
    return {
        "embedding": nova.embedding(params, total),
        "segmentMetadata": {"segmentIndex": number, **where},
        "status": "SUCCESS",
    }
