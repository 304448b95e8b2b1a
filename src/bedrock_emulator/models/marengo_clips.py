"""Marengo, asynchronous: clips of audio and video, and all that the synchronous call takes.

Uncertain: the order of the entries (here by what they are of, then by time); that without a scope only clips come; that
the audio of 2.7 says which option it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import schema
from ..errors import malformed, validation
from ..vectors import fuse, unit
from . import clips, marengo, media
from .files import File, Objects, seconds
from .marengo import V2
from .marengo_schema import V2_OPTIONS, V3_OPTIONS, check
from .segment import Part

_FILE = "output.json"
_EVENLY_S = 10  # about, where audio is not cut as the caller says
_MIN_SHOT_S, _FIXED_S = 4, 6  # by default
_MAX_SECONDS = {"twelvelabs.marengo-embed-2-7-v1:0": 7200, "twelvelabs.marengo-embed-3-0-v1:0": 14_400}


def validate(model_id: str, body: dict[str, Any]) -> None:
    """Raise AwsError for a body that Marengo refuses before it reads the input."""
    if failure := check(body, flat=model_id == V2, clips=True):
        raise malformed(schema.describe(failure, pointers=False))


def parts(model_id: str, body: dict[str, Any], objects: Objects) -> list[Part]:
    """Return the one part of a valid body. Raises AwsError for an input that is bad."""
    kind: str = body["inputType"]
    if kind not in ("audio", "video"):
        return [Part("", _FILE, [marengo.still(model_id, body, objects)])]
    part: dict[str, Any] = body if model_id == V2 else body[kind]
    file = marengo.find(kind, part["mediaSource"], objects)
    container = media.sniff(file.beginning())
    if container is None or container in ("png", "jpeg", "gif", "webp"):
        raise validation(f"The {kind} is of no supported format.")
    start, end = _span(model_id, part, seconds(file, container, kind))
    if model_id == V2:
        return [Part("", _FILE, _v2(kind, part, file, start, end))]
    return [Part("", _FILE, _v3(model_id, kind, part, file, start, end))]


def _span(model_id: str, part: dict[str, Any], whole: float) -> tuple[float, float]:
    """Return where the part of the clip that is wanted begins and ends."""
    if whole > _MAX_SECONDS[model_id]:
        raise validation(f"The clip is longer than {_MAX_SECONDS[model_id]} seconds.")
    start = float(part.get("startSec", 0))
    until = part.get("endSec", start + part["lengthSec"] if "lengthSec" in part else whole)
    if start >= min(whole, until):
        raise validation("There is nothing between the start and the end that are asked for.")
    return start, float(min(whole, until))


def _v2(kind: str, part: dict[str, Any], file: File, start: float, end: float) -> Iterator[dict[str, Any]]:
    if length := part.get("useFixedLengthSec"):
        pieces = clips.evenly(start, end, length)
    elif kind == "audio":
        pieces = clips.alike(start, end, _EVENLY_S)
    else:
        pieces = clips.by_shots(file, start, end, part.get("minClipSec", _MIN_SHOT_S))
    for option in _ordered(part.get("embeddingOption"), V2_OPTIONS.get(kind, ("audio",))):
        for from_s, to_s in pieces:
            yield {**_embed(V2, [option], file, from_s, to_s), "embeddingOption": option, **_times(from_s, to_s)}


def _v3(
    model_id: str, kind: str, part: dict[str, Any], file: File, start: float, end: float
) -> Iterator[dict[str, Any]]:
    options = _ordered(part.get("embeddingOption"), V3_OPTIONS[kind])
    types = part.get("embeddingType", ["separate_embedding"])
    wanted = [(option, [option]) for option in options] if "separate_embedding" in types else []
    if "fused_embedding" in types:
        wanted.append(("fused", options))
    scopes = {"clip": _v3_pieces(kind, part, file, start, end), "asset": [(start, end)]}
    for scope in _ordered(part.get("embeddingScope"), ("clip",), ("clip", "asset")):
        for name, fused in wanted:
            for from_s, to_s in scopes[scope]:
                vector = _embed(model_id, fused, file, from_s, to_s)
                yield {**vector, "embeddingOption": name, "embeddingScope": scope, **_times(from_s, to_s)}


def _v3_pieces(kind: str, part: dict[str, Any], file: File, start: float, end: float) -> list[tuple[float, float]]:
    how = part.get("segmentation", {"method": "dynamic" if kind == "video" else "alike"})
    match how["method"]:
        case "fixed":
            return clips.evenly(start, end, how.get("fixed", {}).get("durationSec", _FIXED_S))
        case "dynamic":
            return clips.by_shots(file, start, end, how.get("dynamic", {}).get("minDurationSec", _MIN_SHOT_S))
    return clips.alike(start, end, _EVENLY_S)


def _ordered(asked: list[str] | None, default: tuple[str, ...], known: tuple[str, ...] = ()) -> list[str]:
    """Return what is asked for, each once, in the order in which the model knows it."""
    return list(default) if asked is None else [name for name in known or default if name in asked]


def _embed(model_id: str, options: list[str], file: File, start: float, end: float) -> dict[str, Any]:
    space = marengo.SPACES[model_id]
    total = fuse([clips.of_segment(space, option, file, start, end) for option in options])
    return {"embedding": unit(space, total, space.size).astype(np.float32)}


def _times(start: float, end: float) -> dict[str, float]:
    return {"startSec": start, "endSec": end}
