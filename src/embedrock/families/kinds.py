"""What an item is, for families whose `input_type` says it."""

from __future__ import annotations

from embedrock.errors import BadRequest
from embedrock.families.parameters import Wanted
from embedrock.inputs import Fused, Item


def kind_of(item: Item) -> str:
    """Return text, image, audio or video; fused for several parts; unknown for an object not looked at yet."""
    if isinstance(item, str):
        return "text"
    return "fused" if isinstance(item, Fused) else item.kind or "unknown"


def check_said(wanted: Wanted, kind: str) -> None:
    """Raise BadRequest when the caller's `input_type` says something else than `kind`."""
    said = wanted.values.get("input_type", kind)
    if said != kind:
        raise BadRequest(f"'input_type' is {said}, and there is {kind}.", param="input_type", code="invalid_value")
