"""Quotas: so many requests and tokens in a time, for each model, region and account. `/_emulator/quotas`.

Known is that tokens are reserved when a call begins and corrected when it ends, and that the profiles of a model have
quotas of their own. What is unknown can be set: how much of the rate can be saved up (`burst_s`, `burst`), and whether
it comes evenly or all at once (`window_s`). Uncertain: that a day ends at midnight of UTC.

Each limit is a supply that calls take from. A call that needs more than there can ever be is let through when the
supply is full, and leaves a debt; one that is refused takes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from . import json_body
from .errors import AwsError, throttled
from .settings import Settings
from .supply import Bucket, Others, Supply, Window
from .table import Names, Table, matches

_MATCH = ("model", "region", "account")
_DAY_S = 86_400.0
_CHARACTERS_A_TOKEN = 4  # of what is reserved; uncertain, AWS does not say how it estimates
_ROUNDING = 1e-9

_EPOCH = time.time() - time.monotonic()


def now() -> float:
    """Return seconds since 1970, by a clock that is never set."""
    return _EPOCH + time.monotonic()


@dataclass(slots=True)
class Limit:
    """One limit of one account. `of`: what it limits, one of `errors.QUOTAS`."""

    of: str
    supply: Supply
    others: Others | None

    def has(self, amount: float, at: float) -> bool:
        """Tell whether there is so much by then, or as much as there can be."""
        if self.others:
            self.others.take(self.supply, at)
        self.supply.advance(at)
        wanted = min(amount, self.supply.size)
        return wanted > 0 and self.supply.level + _ROUNDING >= wanted

    def change(self, amount: float) -> None:
        """Add to the supply, or take from it."""
        self.supply.level = min(self.supply.size, self.supply.level + amount)


@dataclass(slots=True)
class Counts:
    """Calls that were let through, their tokens, calls that were refused."""

    used: int = 0
    used_tokens: int = 0
    throttled: int = 0

    def as_json(self) -> dict[str, int]:
        """Return them by name."""
        return {"used": self.used, "used_tokens": self.used_tokens, "throttled": self.throttled}


@dataclass(slots=True)
class Account:
    """The limits of one account for one model in one region, and what it did."""

    limits: Sequence[Limit]
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that asks to be let through.

    `quota_of`: the model's id, or the profile's, whose quota it is; `names`: by what a match may mean it.
    """

    quota_of: str
    region: str
    account: str
    body: bytes
    names: Names

    @property
    def key(self) -> tuple[str, str, str]:
        """What each has limits of its own."""
        return self.quota_of, self.region, self.account


@dataclass(frozen=True, slots=True)
class Grant:
    """A call that was let through, with what was reserved for it."""

    accounts: Sequence[Account]
    tokens: int

    def settle(self, tokens: int) -> None:
        """Correct what was reserved to what the call took; nothing when it failed."""
        for account in self.accounts:
            account.counts.used_tokens += tokens
            for limit in account.limits:
                if limit.of != "requests":
                    limit.change(self.tokens - tokens)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a posted quota says. `a_second`: requests and tokens, those that are limited."""

    a_second: Mapping[str, float]
    tokens_a_day: float | None
    window_s: float | None
    burst_s: float
    burst: float | None
    share: float
    seed: int

    def limits(self, start: float) -> Sequence[Limit]:
        """Return the limits of one account, in force from `start` on."""
        supplies = {name: self._supply(name, rate, start) for name, rate in self.a_second.items()}
        if self.tokens_a_day is not None:
            supplies["tokens_per_day"] = Window.full(self.tokens_a_day, _DAY_S, start - start % _DAY_S)
        rng = Random(self.seed)  # noqa: S311  # repeatable on purpose
        return [
            Limit(name, supply, Others.of(self.share, supply, rng, start) if self.share and supply.rate else None)
            for name, supply in supplies.items()
        ]

    def _supply(self, name: str, rate: float, start: float) -> Supply:
        if self.window_s is not None:
            return Window.full(rate * self.window_s, self.window_s, start)
        if self.burst is not None and name == "requests":
            return Bucket.full(self.burst, rate, start)
        # At least one can be saved up, so that something gets through, unless nothing ever comes.
        return Bucket.full(max(1.0, rate * self.burst_s) if rate else 0.0, rate, start)


@dataclass(slots=True)
class Quota:
    """One entry: limits that each account has for itself."""

    id: int
    posted: dict[str, Any]
    match: dict[str, str]
    since: float
    terms: _Terms
    accounts: dict[tuple[str, str, str], Account] = field(default_factory=dict)

    def account(self, ask: Ask) -> Account:
        """Return the account that asks."""
        if ask.key not in self.accounts:
            self.accounts[ask.key] = Account(self.terms.limits(self.since))
        return self.accounts[ask.key]

    def as_json(self) -> dict[str, Any]:
        """Return the entry as posted, when it began (seconds since 1970), and what the accounts did, all and each."""
        counts = {key: account.counts.as_json() for key, account in self.accounts.items()}
        total = {name: sum(row[name] for row in counts.values()) for name in Counts().as_json()}
        each = [dict(zip(("model", "region", "account"), key, strict=True)) | row for key, row in counts.items()]
        return {"id": self.id, **self.posted, "since": self.since, **total, "accounts": each}


class QuotaTable(Table[Quota]):
    """The quotas that are on: a call has to be within all that mean it."""

    def __init__(self, clock: Callable[[], float] = now) -> None:
        super().__init__()
        self._clock = clock

    def post(self, body: object) -> dict[str, Any]:
        """Add a quota. Raises BadSettingError, which names the member that is wrong."""
        settings = Settings(body)
        quota = Quota(
            id=self.next_id,
            posted=settings.posted,
            match=settings.texts("match", _MATCH),
            since=self._clock(),
            terms=_read(settings),
        )
        settings.done()
        return self.keep(quota)

    def admit(self, ask: Ask) -> Grant | None:
        """Let a call through; None when no quota means it. Raises AwsError when one is used up."""
        accounts = [quota.account(ask) for quota in self._entries.values() if matches(quota.match, ask.names)]
        if not accounts:
            return None
        limited = {limit.of for account in accounts for limit in account.limits}
        tokens = estimate(ask.body) if limited - {"requests"} else 0
        at = self._clock()
        for account in accounts:
            for limit in account.limits:
                if not limit.has(1 if limit.of == "requests" else tokens, at):
                    account.counts.throttled += 1
                    raise throttled(limit.of)
        for account in accounts:
            account.counts.used += 1
            for limit in account.limits:
                limit.change(-1 if limit.of == "requests" else -tokens)
        return Grant(accounts, tokens)


def estimate(body: bytes) -> int:
    """Return the tokens that are reserved for a body: a quarter of the characters of its texts, at least one."""
    try:
        characters = sum(map(len, json_body.texts(json_body.parse(body))))
    except AwsError:  # it is refused later
        characters = 0
    return max(1, math.ceil(characters / _CHARACTERS_A_TOKEN))


def _read(settings: Settings) -> _Terms:
    a_minute = {name: settings.number(f"{name}_per_minute", None) for name in ("requests", "tokens")}
    shared = settings.nested("shared")
    terms = _Terms(
        a_second={name: value / 60 for name, value in a_minute.items() if value is not None},
        tokens_a_day=settings.number("tokens_per_day", None),
        window_s=settings.number("window_s", None),
        burst_s=settings.number("burst_s", 1.0),
        burst=settings.whole("burst", None),
        share=shared.number("share", 0.0, most=1.0) if shared else 0.0,
        seed=(shared.whole("seed", 0) or 0) if shared else 0,
    )
    if shared:
        shared.done()
    if not terms.a_second and terms.tokens_a_day is None:
        raise settings.refuse("requests_per_minute", "is needed, or tokens_per_minute, or tokens_per_day")
    if terms.window_s is not None:
        if settings.has("burst") or settings.has("burst_s"):
            raise settings.refuse("window_s", "goes without burst and burst_s")
        if not terms.window_s or any(0 < rate * terms.window_s < 1 - _ROUNDING for rate in terms.a_second.values()):
            raise settings.refuse("window_s", "must be long enough for one")
    return terms
