"""One request on its way: what is asked, and what has come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from embedrock.catalog import Target
from embedrock.catalog.prices import Billed
from embedrock.families import Family
from embedrock.families.parameters import Wanted
from embedrock.inputs import Fused, Inputs, Item
from embedrock.service.bill import Bill
from embedrock.service.clips import in_a_call
from embedrock.service.ways import Way
from embedrock.upstream.bedrock import Headers
from embedrock.vectors import Render, Segment

V = TypeVar("V")


@dataclass(slots=True)
class Work(Generic[V]):
    """`items` are the inputs that are sent, equal texts once; `firsts` where each stands first in `inputs`."""

    target: Target
    family: Family
    inputs: Inputs
    items: Sequence[Item]
    firsts: Sequence[int] | None  # None: the items are the inputs, one each
    wanted: Wanted
    render: Render[V]
    ways: tuple[Way, ...]
    headers: Headers
    deadline: float
    caller: str
    bulk: bool
    retries: int | None
    shares_calls: bool = True  # with other requests
    bill: Bill | None = None  # of its account, if it has one
    lengths: Mapping[int, float] | None = None  # of sound and film by position, as far as the files tell
    tokens: int = 0
    reported: bool = True
    calls: int = 0
    regions: tuple[str, ...] = ()  # that answered
    truncated: tuple[int, ...] = ()  # positions of items that the model cut
    segments: Mapping[int, Sequence[Segment | None]] | None = None  # by position, of items with several vectors
    seconds: Mapping[int, float] | None = None  # by position, of sound and film that were answered

    def answered(self, region: str) -> None:
        """Remember that a region answered."""
        if region not in self.regions:
            self.regions = (*self.regions, region)

    def counted(
        self, items: Sequence[Item], tokens: int, *, reported: bool, seconds: Mapping[int, float] | None = None
    ) -> None:
        """Remember what a call was, that was answered; `seconds`: of items by their number in `items`."""
        self.tokens += tokens
        self.reported = self.reported and reported
        if self.bill is not None:
            self.bill.add(billed(items, tokens, seconds), reported=reported)

    def timed(self, positions: range) -> Mapping[int, float] | None:
        """Remember the sound and film in a call that was answered; return their seconds, numbered as in the call.

        Bedrock does not tell what it counted.
        """
        if not self.lengths:
            return None
        spec, lengths = self.target.spec, self.lengths
        found = {at: in_a_call(spec, self.items[at], lengths[at]) for at in positions if at in lengths}
        self.seconds = {**(self.seconds or {}), **found}
        return {at - positions.start: length for at, length in found.items()}

    def param(self, position: int) -> str:
        """Return the name of an item as the caller knows it."""
        return self.inputs.param(position if self.firsts is None else self.firsts[position])


def billed(items: Sequence[Item], tokens: int, seconds: Mapping[int, float] | None = None) -> Billed:
    """Return what AWS bills for `items`, of which it counted `tokens`; `seconds`: of items whose length is known."""
    parts = [part for item in items for part in (item.parts if isinstance(item, Fused) else (item,))]
    texts = sum(isinstance(part, str) for part in parts)
    images = sum(not isinstance(part, str) and part.kind == "image" for part in parts)
    lengths = dict.fromkeys(("audio", "video"), 0.0)
    for position, length in (seconds or {}).items():
        kind = getattr(items[position], "kind", None)
        if kind in lengths:
            lengths[kind] += length
    return Billed(tokens, texts, images, lengths["audio"], lengths["video"])
