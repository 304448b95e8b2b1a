"""A token bucket: a rate, of which a little may be saved up."""

from __future__ import annotations

from typing import Final

_BURST_S: Final = 0.1  # of the rate that may be saved up
_SPARED: Final = 0.5  # of what may be saved up is left alone by who spares


class Bucket:
    """What may be spent now, refilled at a steady rate. It may be overdrawn: what is owed is waited for."""

    def __init__(self, per_s: float, now: float) -> None:
        self.per_s = per_s
        self._level = self._most()
        self._at = now

    def _most(self) -> float:
        return max(1.0, self.per_s * _BURST_S)

    def _refill(self, now: float) -> None:
        self._level = min(self._most(), self._level + (now - self._at) * self.per_s)
        self._at = now

    def wait_s(self, now: float, *, sparing: bool = False) -> float:
        """Return the seconds until something may be spent; `sparing`: and half of what may be saved up is left."""
        self._refill(now)
        needed = max(1.0, self._most() * _SPARED) if sparing else 1.0
        return 0.0 if self._level >= needed else (needed - self._level) / self.per_s

    def spend(self, amount: float, now: float) -> None:
        """Take `amount`; a negative one gives back."""
        self._refill(now)
        self._level = min(self._most(), self._level - amount)

    def set_rate(self, per_s: float, now: float) -> None:
        """Go on at another rate."""
        self._refill(now)
        self.per_s = per_s

    def level(self, now: float) -> float:
        """Return what may be spent now."""
        self._refill(now)
        return self._level
