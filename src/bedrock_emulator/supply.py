"""What quotas are made of: supplies that calls take from, and others who take from them too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Protocol, Self


class Supply(Protocol):
    """What calls take from: `level` is what there is, under 0 a debt, and `size` the most there can be."""

    size: float
    level: float

    @property
    def rate(self) -> float:
        """How much comes a second."""

    def advance(self, now: float) -> None:
        """Add what has come until now."""

    @property
    def horizon_s(self) -> float:
        """How far back it matters what was taken."""

    @property
    def portion(self) -> float:
        """How much others take at once: small beside what there is."""


@dataclass(slots=True)
class Bucket:
    """Fills evenly. `at`: the time of its level."""

    size: float
    rate: float
    level: float
    at: float

    @classmethod
    def full(cls, size: float, rate: float, at: float) -> Self:
        """Return one that is full."""
        return cls(size, rate, size, at)

    def advance(self, now: float) -> None:
        """Fill up to now."""
        self.level = min(self.size, self.level + max(0.0, now - self.at) * self.rate)
        self.at = now

    @property
    def horizon_s(self) -> float:
        """As good as the time it takes to fill."""
        return self.size / self.rate + 1.0

    @property
    def portion(self) -> float:
        """What comes in a hundredth of a second."""
        return max(1.0, self.rate / 100)


@dataclass(slots=True)
class Window:
    """Is full at `start`, and again every `length_s`; what one leaves is not there in the next, debts are forgotten."""

    size: float
    length_s: float
    start: float
    level: float

    @classmethod
    def full(cls, size: float, length_s: float, start: float) -> Self:
        """Return one that is full."""
        return cls(size, length_s, start, size)

    def advance(self, now: float) -> None:
        """Begin the window of now when it is another one."""
        if passed := math.floor((now - self.start) / self.length_s):
            self.start += passed * self.length_s
            self.level = self.size

    @property
    def rate(self) -> float:
        """The average."""
        return self.size / self.length_s

    @property
    def horizon_s(self) -> float:
        """One window."""
        return self.length_s

    @property
    def portion(self) -> float:
        """A thousandth of the whole."""
        return max(1.0, self.size / 1000)


@dataclass(slots=True)
class Others:
    """Who else uses the account: they take a share of what comes, at random times, when it is there."""

    every_s: float  # on average
    rng: Random
    next_at: float

    @classmethod
    def of(cls, share: float, supply: Supply, rng: Random, now: float) -> Others:
        """Return others that take this share of a supply."""
        every_s = supply.portion / (share * supply.rate)
        return cls(every_s, rng, now + rng.expovariate(1 / every_s))

    def take(self, supply: Supply, now: float) -> None:
        """Take what they took until now."""
        self.next_at = max(self.next_at, now - supply.horizon_s)
        while self.next_at <= now:
            supply.advance(self.next_at)
            if supply.level >= supply.portion:
                supply.level -= supply.portion
            self.next_at += self.rng.expovariate(1 / self.every_s)
