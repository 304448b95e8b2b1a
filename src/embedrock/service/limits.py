"""How much a key may ask: requests and tokens a minute, by GCRA, and requests at once.

GCRA keeps one number a bucket: when all that was taken will be paid back. What comes faster than the rate pushes that
time into the future, by a minute's worth at most. Here nothing is rounded: times are nanoseconds, times the limit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_MINUTE_NS: Final = 60 * 10**9
_MS: Final = 10**6


class Limits(NamedTuple):
    """What one key may ask; None: as much as it likes."""

    requests: int | None = None  # a minute
    tokens: int | None = None  # a minute
    concurrency: int | None = None  # requests at once

    def __bool__(self) -> bool:
        """Whether there is a limit at all."""
        return self != (None, None, None)


UNLIMITED: Final = Limits()


class Standing(NamedTuple):
    """How a bucket stands. `wait_ms`: until what was asked for may be had; 0: it is had."""

    limit: int  # a minute
    remaining: int
    reset_ms: int  # until all of it is there again
    wait_ms: int = 0


class Bucket:
    """One key's requests, or tokens, a minute; a minute's worth may come at once.

    `share`: among so many processes, that know nothing of each other; each takes a part of the limit, and what it
    tells of the whole is what it knows of its part.
    """

    __slots__ = ("_burst", "_debt_ends", "_rate", "_share", "limit")

    def __init__(self, limit: int, share: int = 1) -> None:
        self.limit = limit
        self._share = share
        self._rate = limit  # in units a minute times `share`: an integer
        self._burst = max(limit, share)  # as the rate: at least one unit
        self._debt_ends = 0

    def take(self, amount: int, now_ns: int) -> Standing:
        """Take `amount`, which is not above the limit, if that much is there now."""
        start = max(self._debt_ends, now_ns * self._rate)
        ends = start + amount * self._share * _MINUTE_NS
        late = ends - self._burst * _MINUTE_NS - now_ns * self._rate
        if late > 0:
            return self._standing(start, now_ns, late)
        self._debt_ends = ends
        return self._standing(ends, now_ns, 0)

    def look(self, now_ns: int) -> Standing:
        """Take nothing; `wait_ms` is until something could be taken."""
        start = max(self._debt_ends, now_ns * self._rate)
        late = start + self._share * _MINUTE_NS - self._burst * _MINUTE_NS - now_ns * self._rate
        return self._standing(start, now_ns, late)

    def correct(self, amount: int, now_ns: int) -> None:
        """Take `amount` more than was thought, even if it is not there; a negative one is given back."""
        self._debt_ends = max(self._debt_ends, now_ns * self._rate) + amount * self._share * _MINUTE_NS

    def is_full(self, now_ns: int) -> bool:
        """Whether nothing is owed: the bucket is as good as new."""
        return self._debt_ends <= now_ns * self._rate

    def _standing(self, ends: int, now_ns: int, late: int) -> Standing:
        owed = ends - now_ns * self._rate
        remaining = (self._burst * _MINUTE_NS - owed) // _MINUTE_NS
        wait, reset = (max(0, -(-span // (self._rate * _MS))) for span in (late, owed))
        return Standing(self.limit, min(self.limit, max(0, remaining)), reset, wait)
