"""How many inputs go into which call. Pure.

Inputs keep their order, and a call's are neighbours: the answer is put together by position. A call holds what the
model takes in one, and at most what Bedrock takes in a body.
"""

from __future__ import annotations

from collections.abc import Sequence

from embedrock.catalog import ModelSpec
from embedrock.inputs import Fused, Item
from embedrock.service.checks import MAX_CALL_BYTES, json_bytes


def plan(spec: ModelSpec, items: Sequence[Item], *, texts_only: bool) -> list[range]:
    """Return the positions of each call's items, in order; together they are all of `items`."""
    most = spec.max_inputs_per_call
    if texts_only and (most == 1 or spec.max_input_chars):  # so short that a call's texts always fit
        return [range(at, min(at + most, len(items))) for at in range(0, len(items), most)]
    if len(items) == 1:
        return [range(1)]
    calls: list[range] = []
    start, size, kind = 0, 0, ""
    for position, item in enumerate(items):
        weight, of = json_bytes(item), _kind(spec, item)
        full = position - start >= _most(spec, of) or size + weight > MAX_CALL_BYTES
        if position > start and (full or of != kind):
            calls.append(range(start, position))
            start, size = position, 0
        size, kind = size + weight, of
    calls.append(range(start, len(items)))
    return calls


def _kind(spec: ModelSpec, item: Item) -> str:
    """Return a word that is the same for items which may share a call."""
    if isinstance(item, str):
        return "text"
    if spec.mixed_calls:
        return "text"
    return "fused" if isinstance(item, Fused) else "media"


def _most(spec: ModelSpec, kind: str) -> int:
    if kind == "text":
        return spec.max_inputs_per_call
    return (spec.max_fused_per_call if kind == "fused" else spec.max_images_per_call) or 1
