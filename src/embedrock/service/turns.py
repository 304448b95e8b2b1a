"""Who waits for a start, and whose turn it is: lines by caller, served in turn, in two classes.

A caller with two thousand texts does not stand before another with one. Large requests and batches are a class of
their own; they get what the others leave, and at least one start in twenty.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

_BULK_TURN: Final = 20  # each so many starts, one goes to the bulk class if it waits


@dataclass(slots=True, eq=False)
class Waiting:
    """One call in line."""

    start: asyncio.Future[None]
    tokens: int
    caller: str
    bulk: bool


_Lines = OrderedDict[str, OrderedDict[Waiting, None]]  # who waits, by caller


class Turns:
    """All lines of one place."""

    def __init__(self) -> None:
        self._lines: tuple[_Lines, _Lines] = (OrderedDict(), OrderedDict())
        self._planned: tuple[dict[str, int], dict[str, int]] = ({}, {})  # calls of admitted requests, not in line yet
        self._taken = 1  # the first turn is not the bulk class's
        self._passed: set[str] = set()  # who started with one call since one with more in line did
        self.waiting = 0
        self.tokens = 0  # of the calls that wait

    def __len__(self) -> int:
        return sum(map(len, self._lines))

    def length(self, caller: str, bulk: bool) -> int:
        """Return how many calls of a caller wait."""
        return len(self._lines[bulk].get(caller, ()))

    def join(self, waiting: Waiting) -> None:
        """Stand at the end of the caller's line."""
        self._lines[waiting.bulk].setdefault(waiting.caller, OrderedDict())[waiting] = None
        self.waiting += 1
        self.tokens += waiting.tokens

    def leave(self, waiting: Waiting) -> None:
        """Go out of line, if still in it."""
        lines = self._lines[waiting.bulk]
        line = lines.get(waiting.caller)
        if line is None or waiting not in line:
            return
        del line[waiting]
        if not line:
            del lines[waiting.caller]
        self.waiting -= 1
        self.tokens -= waiting.tokens

    def take(self, wait_s: Callable[[bool], float]) -> tuple[Waiting | None, float]:
        """Take who starts now out of line, or return None and the seconds until somebody may.

        `wait_s` tells how long a start has to wait, given whether it has to spare what is kept for callers with one
        call in line. Those start out of turn where another has to spare, but pass it only once.
        """
        lines, caller, sparing = self._turn()
        seconds = wait_s(sparing)
        if sparing and seconds > 0:
            lone = [name for name, line in self._lines[0].items() if len(line) == 1]
            fresh = next((name for name in lone if name not in self._passed), None)
            if fresh is not None:
                lines, caller, sparing = self._lines[0], fresh, False
            if lone:
                seconds = wait_s(False)
        if seconds > 0:
            return None, seconds
        if sparing:
            self._passed.clear()
        else:
            self._passed.add(caller)
        self._taken += 1
        waiting = next(iter(lines[caller]))
        lines.move_to_end(caller)
        self.leave(waiting)
        return waiting, 0.0

    @contextmanager
    def expecting(self, calls: int, caller: str, bulk: bool) -> Iterator[Callable[[], None]]:
        """Expect so many calls of a request. Yields what is called when one of them has come."""
        planned, left = self._planned[bulk], calls

        def come() -> None:
            nonlocal left
            left -= 1
            change(-1)

        def change(by: int) -> None:
            planned[caller] = planned.get(caller, 0) + by
            if not planned[caller]:
                del planned[caller]

        change(calls)
        try:
            yield come
        finally:
            change(-left)

    def until(self, calls: int, caller: str, bulk: bool) -> float:
        """Return how many calls will have started when so many more of a caller have."""
        if not (self.waiting or self._planned[0] or self._planned[1]):
            return calls
        same, others = self._load(bulk), sum(self._load(not bulk).values())
        turn = served(same, caller, calls)
        return turn + min(others, turn * (_BULK_TURN - 1) if bulk else turn / (_BULK_TURN - 1))

    def _load(self, bulk: bool) -> dict[str, int]:
        load = dict(self._planned[bulk])
        for caller, line in self._lines[bulk].items():
            load[caller] = load.get(caller, 0) + len(line)
        return load

    def _turn(self) -> tuple[_Lines, str, bool]:
        """Return whose turn it is, in which class, and whether it has to spare what is kept for lone calls."""
        interactive, bulk = self._lines
        if bulk and (not interactive or self._taken % _BULK_TURN == 0):
            return bulk, next(iter(bulk)), not interactive
        caller, line = next(iter(interactive.items()))
        return interactive, caller, len(line) > 1


def served(lines: Mapping[str, int], caller: str, more: int) -> int:
    """Return how many are served until so many more of a caller are, when lines of such lengths take turns."""
    mine = lines.get(caller, 0) + more
    return mine + sum(min(length, mine) for other, length in lines.items() if other != caller)
