"""Asynchronous calls of all families: what is refused at once, and the segments of what is not."""

from __future__ import annotations

from typing import Any

from . import marengo, marengo_clips, nova, nova_segments
from .files import Objects
from .segment import Part

MODEL_IDS: tuple[str, ...] = (*nova.MODEL_IDS, *marengo.MODEL_IDS)
_CLIPS = ("audio", "video")


def is_nova(model_id: str) -> bool:
    """Tell whether the output is Nova's: a summary, and a file a type of embedding."""
    return model_id in nova.MODEL_IDS


def is_only_asynchronous(model_id: str, body: dict[str, Any]) -> bool:
    """Tell whether a body is one that InvokeModel does not take, but StartAsyncInvoke does."""
    if is_nova(model_id):
        return body.get("taskType") == "SEGMENTED_EMBEDDING"
    return model_id in marengo.MODEL_IDS and body.get("inputType") in _CLIPS


def validate(model_id: str, body: dict[str, Any]) -> None:
    """Raise AwsError for a body that is refused before the input is read."""
    if is_nova(model_id):
        nova_segments.validate(body)
    else:
        marengo_clips.validate(model_id, body)


def parts(model_id: str, body: dict[str, Any], objects: Objects) -> list[Part]:
    """Return the segments of a valid body. Raises AwsError for an input that is bad."""
    if is_nova(model_id):
        return nova_segments.parts(body, objects)
    return marengo_clips.parts(model_id, body, objects)
