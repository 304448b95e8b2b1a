"""Lets requests in by their callers' limits, and keeps what they take.

Requests at once and requests a minute are counted before the body is read; so is a key whose tokens are spent. What a
request takes of the tokens is known when its inputs are, as an estimate, and put right by what Bedrock counted.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from embedrock.errors import BadRequest, RateLimited, TokensLimited
from embedrock.service.callers import Caller
from embedrock.service.limits import Bucket, Limits, Standing

if TYPE_CHECKING:
    from embedrock.service.shared_limits import SharedLimits, Taken

_KEPT: Final = 10_000  # callers with something owed; beyond, those that owe nothing are forgotten
_BUSY_WAIT_MS: Final = 1000  # when one of the requests under way ends is anybody's guess


class _Account:
    """What one caller has taken."""

    __slots__ = ("concurrency", "limits", "requests", "tokens", "under_way")

    def __init__(self, limits: Limits, share: int) -> None:
        self.limits = limits
        self.requests = None if limits.requests is None else Bucket(limits.requests, share)
        self.tokens = None if limits.tokens is None else Bucket(limits.tokens, share)
        self.concurrency = None if limits.concurrency is None else max(1, limits.concurrency // share)
        self.under_way = 0

    def is_idle(self, now_ns: int) -> bool:
        buckets = (self.requests, self.tokens)
        return not self.under_way and all(bucket is None or bucket.is_full(now_ns) for bucket in buckets)


class Admission:
    """One request of a caller with limits. The standings are for the answer's headers; None: there is no such limit."""

    __slots__ = ("_account", "_clock", "_estimate", "_inside", "_name", "_seat", "_shared", "requests", "tokens")

    def __init__(
        self, account: _Account, clock: Callable[[], int], name: str = "", shared: SharedLimits | None = None
    ) -> None:
        self._account = account
        self._clock = clock
        self._name = name
        self._shared = shared
        self._seat: str | None = None  # among all replicas
        self._inside = False
        self._estimate = 0
        self.requests: Standing | None = None
        self.tokens: Standing | None = None

    async def enter(self) -> None:
        """Count the request. Raises RateLimited."""
        account, now = self._account, self._clock()
        if account.tokens is not None:
            self.tokens = account.tokens.look(now)
        if account.requests is not None:
            self.requests = account.requests.look(now)
        if account.concurrency is not None and account.under_way >= account.concurrency:
            raise self._crowded()
        if self.tokens is not None and self.tokens.wait_ms:
            raise _over(TokensLimited, self.tokens)
        if account.requests is not None:
            self.requests = account.requests.take(1, now)
            if self.requests.wait_ms:
                raise _over(RateLimited, self.requests)
        account.under_way += 1
        self._inside = True
        if self._shared is not None:
            await self._enter_shared(self._shared)

    async def _enter_shared(self, shared: SharedLimits) -> None:
        account = self._account
        seat = secrets.token_hex(8)
        if account.concurrency is not None:
            self._seat = seat  # given back also when it was never taken
        taken = await shared.enter(self._name, account.limits, seat)
        if taken is None:
            return
        self.requests, self.tokens = taken.requests, taken.tokens
        if taken.refused is None:
            return
        self._seat = None
        if account.requests is not None:
            account.requests.correct(-1, self._clock())
        raise self._refused(taken)

    async def spend(self, tokens: int) -> None:
        """Take about so many tokens. Raises RateLimited, or BadRequest when it is more than a minute's worth."""
        bucket = self._account.tokens
        if bucket is None:
            return
        if tokens > bucket.limit:
            raise BadRequest(
                f"The request has about {tokens} tokens, more than the {bucket.limit} a minute of this key.",
                param="input",
                code="request_tokens_exceeded",
            )
        self.tokens = bucket.take(tokens, self._clock())
        if self.tokens.wait_ms:
            raise _over(TokensLimited, self.tokens)
        if self._shared is not None:
            taken = await self._shared.spend(self._name, self._account.limits, tokens)
            if taken is not None and taken.tokens is not None:
                self.tokens = taken.tokens
            if taken is not None and taken.refused is not None:
                bucket.correct(-tokens, self._clock())
                raise self._refused(taken)
        self._estimate = tokens

    def correct(self, tokens: int) -> None:
        """Say how many tokens it was in truth; 0 where nothing came of it."""
        bucket = self._account.tokens
        if bucket is None:
            return
        more, self._estimate = tokens - self._estimate, 0
        bucket.correct(more, self._clock())
        if self._shared is None:
            self.tokens = bucket.look(self._clock())
            return
        self._shared.correct(self._name, self._account.limits, more)
        if self.tokens is not None:  # as it will be in a moment
            limit, remaining, reset_ms, _ = self.tokens
            reset_ms = max(0, reset_ms + more * 60_000 // limit)
            self.tokens = Standing(limit, min(limit, max(0, remaining - more)), reset_ms)

    def leave(self) -> None:
        """Say that the request has ended, whether it was let in or not, and give back what it did not use."""
        if self._estimate:
            self.correct(0)
        if self._seat is not None and self._shared is not None:
            self._shared.leave(self._name, self._seat)
            self._seat = None
        if self._inside:
            self._inside = False
            self._account.under_way -= 1

    def _crowded(self) -> RateLimited:
        most = self._account.limits.concurrency
        return RateLimited(f"As many requests of this key are under way as may be: {most}.", wait_ms=_BUSY_WAIT_MS)

    def _refused(self, taken: Taken) -> RateLimited:
        if taken.refused == "tokens" and self.tokens is not None:
            return _over(TokensLimited, self.tokens._replace(wait_ms=taken.wait_ms))
        if taken.refused == "requests" and self.requests is not None:
            return _over(RateLimited, self.requests._replace(wait_ms=taken.wait_ms))
        return self._crowded()


class Door:
    """All callers' accounts of what they have taken, in this process, one of `share` at the same port.

    With `shared` limits a request has to be within those, and within the limits of this process by itself: those
    hold when the others are lost.
    """

    def __init__(
        self, share: int = 1, clock: Callable[[], int] = time.monotonic_ns, shared: SharedLimits | None = None
    ) -> None:
        self._share = 1 if shared is not None else share
        self._clock = clock
        self._shared = shared
        self._accounts: dict[str, _Account] = {}

    def open(self, caller: Caller) -> Admission:
        """Return the admission of one request, which still has to enter."""
        account = self._accounts.get(caller.name)
        if account is None or account.limits != caller.limits:
            if len(self._accounts) >= _KEPT:
                self._forget()
            account = self._accounts[caller.name] = _Account(caller.limits, self._share)
        return Admission(account, self._clock, caller.name, self._shared)

    def _forget(self) -> None:
        now = self._clock()
        self._accounts = {name: account for name, account in self._accounts.items() if not account.is_idle(now)}


def _over(kind: type[RateLimited], standing: Standing) -> RateLimited:
    return kind(
        f"This key has reached its limit of {standing.limit} {kind.type} a minute; try again in "
        f"{standing.wait_ms / 1000:.3f} s.",
        wait_ms=standing.wait_ms,
    )
