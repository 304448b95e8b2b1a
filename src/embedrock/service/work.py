"""One request on its way: what is asked, and what has come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from embedrock.catalog import Target
from embedrock.families import Family
from embedrock.families.parameters import Wanted
from embedrock.inputs import Inputs, Item
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
    tokens: int = 0
    reported: bool = True
    calls: int = 0
    regions: tuple[str, ...] = ()  # that answered
    truncated: tuple[int, ...] = ()  # positions of items that the model cut
    segments: Mapping[int, Sequence[Segment | None]] | None = None  # by position, of items with several vectors
    seconds: Mapping[int, float] | None = None  # by position, of items whose length is known

    def answered(self, region: str) -> None:
        """Remember that a region answered."""
        if region not in self.regions:
            self.regions = (*self.regions, region)

    def param(self, position: int) -> str:
        """Return the name of an item as the caller knows it."""
        return self.inputs.param(position if self.firsts is None else self.firsts[position])
