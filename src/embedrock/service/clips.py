"""Sound and film as they are billed: by the second."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from embedrock.catalog import MediaLimits, ModelSpec
from embedrock.inputs import Item
from embedrock.media import Media, S3Object, clip_seconds

_BY_THE_SECOND: Final = ("audio", "video")


def lengths(
    spec: ModelSpec, items: Sequence[Item], values: Mapping[str, Any] = MappingProxyType({})
) -> dict[int, float]:
    """Return the seconds of sound and film by position, as far as the files tell; no more than the model takes.

    `values`: the parameters, which may say where to stop. What is before the start counts.
    """
    found = {}
    end = values.get("end_sec", math.inf)
    if "length_sec" in values:
        end = min(end, values.get("start_sec", 0) + values["length_sec"])
    for position, item in enumerate(items):
        if isinstance(item, Media | S3Object) and item.kind in _BY_THE_SECOND:
            limits = _limits(spec, item)
            most = limits.async_seconds or limits.sync_seconds or math.inf
            found[position] = min(clip_seconds(item), most, end)
    return found


def in_a_call(spec: ModelSpec, item: Item, length: float) -> float:
    """Return the seconds of a clip that was embedded by a call: Bedrock refuses longer ones than the model's limit."""
    return min(length, _limits(spec, item).sync_seconds or math.inf)


def seconds_of(spec: ModelSpec, clips: Sequence[Media | S3Object]) -> tuple[float, float]:
    """Return the seconds of sound and of film in a call.

    An object in S3 at which nobody has looked is taken for the longest that a call takes.
    """
    seconds = dict.fromkeys(_BY_THE_SECOND, 0.0)
    for clip in clips:
        most = _limits(spec, clip).sync_seconds or 0
        seconds[clip.kind or ""] += most if clip.size is None else in_a_call(spec, clip, clip_seconds(clip))
    return seconds["audio"], seconds["video"]


def _limits(spec: ModelSpec, item: Item) -> MediaLimits:
    found: MediaLimits | None = getattr(spec, getattr(item, "kind", ""), None)
    return found or MediaLimits()
