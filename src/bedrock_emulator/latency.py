"""How long model calls take: `/_emulator/latency`, and what the command line says of it.

A profile is a constant, or a lognormal distribution given by its median and 95th percentile; above the 99th percentile
a Pareto tail may take over. What a call draws is decided by the profile's seed and by how many calls it had before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from statistics import NormalDist
from typing import Any

from .settings import Settings
from .table import Names, Table, matches

_MATCH = ("model", "region", "account")
_NORMAL = NormalDist()
_P95, _P99 = _NORMAL.inv_cdf(0.95), _NORMAL.inv_cdf(0.99)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """`median_s`, `p95_s`; `alpha` of a Pareto tail above the 99th percentile, None for none; it ends at `cap_s`."""

    median_s: float
    p95_s: float
    alpha: float | None = None
    cap_s: float = 60.0

    def quantile(self, share: float) -> float:
        """Return the seconds that this share of calls, over 0 and under 1, do not exceed."""
        if self.alpha is None or share <= 0.99:
            return self._body(_NORMAL.inv_cdf(share))
        start_s = self._body(_P99)
        return min(max(start_s, self.cap_s), start_s * math.pow((1 - share) / 0.01, -1 / self.alpha))

    def _body(self, deviations: float) -> float:
        return self.median_s * math.exp(deviations * math.log(self.p95_s / self.median_s) / _P95)


@dataclass(slots=True)
class Latency:
    """One profile: `quantile` says how it is spread; a `hang` share of calls is never answered."""

    id: int
    posted: dict[str, Any]
    match: dict[str, str]
    quantile: Callable[[float], float]
    per_token_s: float
    hang: float
    rng: Random
    calls: int = field(default=0)

    def draw(self, tokens: int) -> float | None:
        """Return the seconds of one call with so many tokens, or None when it hangs."""
        self.calls += 1
        if self.hang and self.rng.random() < self.hang:
            return None
        share = max(self.rng.random(), 1e-12)  # 0 has no quantile
        return self.quantile(share) + self.per_token_s * tokens

    def as_json(self) -> dict[str, Any]:
        """Return the profile as posted, with its id and for how many calls it spoke."""
        return {"id": self.id, **self.posted, "calls": self.calls}


class LatencyTable(Table[Latency]):
    """The profiles that are on: of those that mean a call the newest speaks.

    `base_s` and `base` are there before any is posted, and again when all are deleted.
    """

    def __init__(self, base_s: float = 0.0, base: Iterable[Latency] = ()) -> None:
        super().__init__()
        self._base_s = base_s
        self._base = tuple(base)

    def post(self, body: object) -> dict[str, Any]:
        """Add a profile. Raises BadSettingError, which names the member that is wrong."""
        return self.keep(read(body, self.next_id))

    def draw(self, names: Names, tokens: int) -> float | None:
        """Return the seconds that a call takes, or None when it hangs."""
        for latency in (*reversed(self._entries.values()), *reversed(self._base)):
            if matches(latency.match, names):
                return latency.draw(tokens)
        return self._base_s


def read(body: object, number: int = 0) -> Latency:
    """Return the profile in a posted body. Raises BadSettingError."""
    settings = Settings(body)
    latency = Latency(
        id=number,
        posted=settings.posted,
        match=settings.texts("match", _MATCH),
        quantile=_read_quantile(settings),
        per_token_s=settings.number("per_token_ms", 0.0) / 1000,
        hang=settings.number("hang", 0.0, most=1.0),
        rng=Random(settings.whole("seed", 0)),  # noqa: S311  # repeatable on purpose
    )
    settings.done()
    return latency


def _read_quantile(settings: Settings) -> Callable[[float], float]:
    constant_ms, median_ms = settings.number("constant_ms", None), settings.number("median_ms", None)
    if (constant_ms is None) == (median_ms is None):
        raise settings.refuse("median_ms", "is needed, or constant_ms; not both")
    if median_ms is None:
        return lambda _: (constant_ms or 0.0) / 1000
    p95_ms = settings.number("p95_ms", None)
    if median_ms == 0 or p95_ms is None or p95_ms < median_ms:
        raise settings.refuse("p95_ms", "must be a number from median_ms on, and that over 0")
    alpha = settings.number("tail_alpha", None)
    if alpha == 0:
        raise settings.refuse("tail_alpha", "must be over 0")
    cap_s = settings.number("tail_cap_ms", 60_000.0) / 1000
    return Lognormal(median_ms / 1000, p95_ms / 1000, alpha, cap_s).quantile
