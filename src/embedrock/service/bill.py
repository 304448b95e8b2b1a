"""What one request takes from its account: held while the request is made ready, settled before it is answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from embedrock.catalog import Target
from embedrock.catalog.prices import Billed, Rate
from embedrock.errors import IdempotencyInProgress
from embedrock.service.callers import Caller
from embedrock.service.ledger import Ledger, allowed, now_us
from embedrock.store import Store, Tx, claims
from embedrock.store.books import Budget, Charge, Claim, Claimed, Close, Held, Outcome


class Rates:
    """What models cost."""

    def __init__(self, credits_per_usd: Decimal) -> None:
        self._credits_per_usd = credits_per_usd
        self._found: dict[tuple[str, Decimal | None], Rate] = {}

    def of(self, target: Target) -> Rate:
        """Return the rate of a model, with the price that an alias has for it."""
        price = target.alias.usd_per_million_tokens if target.alias else None
        rate = self._found.get((target.spec.id, price))
        if rate is None:
            rate = self._found[target.spec.id, price] = Rate(target.spec, self._credits_per_usd, price)
        return rate


class Replay(Exception):
    """The request was answered before, under the same idempotency key; `answer` is as `Bill.remember` got it."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer


class Payer(NamedTuple):
    """Who pays for what is embedded after the request was answered."""

    account: str
    key: str
    budgets: tuple[Budget, ...]


class Bill:
    """One request of an account's key. What is not settled when the request ends is released by `end`."""

    def __init__(self, ledger: Ledger, request: str, caller: Caller, account: str, rates: Rates) -> None:
        self._ledger = ledger
        self._request = request
        self._caller = caller
        self._account = account
        self._rates = rates
        self._target: Target | None = None
        self._asked: asyncio.Future[Outcome] | None = None
        self._billed = Billed()
        self._reported = True
        self._claim: Claim | None = None
        self._budgets: tuple[Budget, ...] = ()
        self._user: str | None = None
        self._metadata: str | None = None
        self._ended = False
        self._charge: Charge | None = None
        self._others = 0

    def another(self) -> Bill:
        """Return a bill for a further call of the same request; MCP's tools make several."""
        self._others += 1
        name = f"{self._request}.{self._others}"
        return Bill(self._ledger, name, self._caller, self._account, self._rates)

    def claim(self, name: str, body: bytes) -> None:
        """Say the request's idempotency key, and the digest of what it asks."""
        self._claim = Claim(name, body)

    def note(self, user: str | None, metadata: Mapping[str, str] | None) -> None:
        """Say what the caller wants written beside the charge."""
        self._user = user
        self._metadata = json.dumps(metadata, separators=(",", ":")) if metadata else None

    def hold(self, target: Target, estimate: Billed) -> None:
        """Begin to hold what the request will probably cost; `held` says when it may go on.

        Of a model that has a price something is held whatever is asked: who has no credits left gets nothing of it.
        """
        self._target = target
        self._budgets = _budgets(self._caller, time.gmtime())
        least = 0 if self._rates.of(target).is_free else 1
        self._asked = self._ledger.ask(
            self._request,
            self._account,
            max(least, self._cost(estimate)),
            budgets=self._budgets,
            claim=self._claim,
        )

    async def held(self) -> None:
        """Return when the request may be sent; one waits at a time. Raises Replay, and as `allowed`."""
        asked = self._asked
        if asked is None:
            return
        outcome = allowed(asked.result() if asked.done() else await asked)
        if isinstance(outcome, Claimed):
            raise Replay(outcome.answer or b"")

    def add(self, billed: Billed, *, reported: bool) -> None:
        """Count what Bedrock bills for a call that was answered."""
        self._billed += billed
        self._reported = self._reported and reported

    @property
    def is_claimed(self) -> bool:
        """Whether the answer is to be remembered."""
        return self._claim is not None and self._charge is not None

    @property
    def first(self) -> str | None:
        """The request that was charged for the same under the idempotency key, if this is its repetition."""
        asked = self._asked
        if asked is None or not asked.done() or asked.cancelled():
            return None
        outcome = asked.result()
        return outcome.first if isinstance(outcome, Held) else None

    @property
    def name(self) -> str:
        """The request, whichever of those that repeat it this is."""
        return self.first or self._request

    def payer(self) -> Payer:
        """Return who pays later."""
        account = "" if self.first else self._account
        return Payer(account, self._caller.key or "", _budgets(self._caller, time.gmtime()))

    def keep(self, tx: Tx) -> None:
        """Use the idempotency key up for what the transaction writes. Raises IdempotencyInProgress: it is another's."""
        if self._claim is None or self.first:
            return
        mine = (self._account, self._claim.name, self._request)
        if not claims.finish(tx, *mine, now_us(), done=claims.ANSWERED):
            raise IdempotencyInProgress("Another request with this idempotency key is under way.")

    async def settle(self) -> Charge | None:
        """Charge the request, which is about to be answered. None: there was nothing to charge.

        Raises StoreUnavailable, and as `held`. A charge that was begun is written also when the caller hangs up.
        """
        if self._charge is None and self._asked is not None:
            await self.held()
            self._ended = True
            self._charge = await self._ledger.close(self._close(answered=True))
        return self._charge

    async def remember(self, answer: bytes | None) -> None:
        """Keep the answer for the request's idempotency key; None: it is too large to be kept."""
        if self._claim is not None:
            await self._ledger.remember(self._account, self._claim.name, answer)

    def end(self) -> None:
        """Release what is held, unless the request was settled; what Bedrock billed nonetheless goes on record."""
        if self._ended or self._asked is None:
            return
        self._ended = True
        if self._asked.done() and not self._asked.cancelled():
            if self._asked.exception() is not None or not isinstance(self._asked.result(), Held):
                return
        else:
            self._asked.cancel()
        self._ledger.close(self._close(answered=False)).add_done_callback(_seen)

    def _close(self, *, answered: bool) -> Close:
        free = self.first is not None
        return Close(
            self._request,
            self._account,
            answered=answered and not free,
            cost=self._cost(self._billed),
            key=self._caller.key or "",
            model=self._target.spec.id if self._target else "",
            tokens=self._billed.tokens,
            reported=self._reported,
            user=self._user,
            metadata=self._metadata,
            claim=None if free or self._claim is None else self._claim.name,
            budgets=() if free else self._budgets,
        )

    def _cost(self, billed: Billed) -> int:
        return 0 if self._target is None else self._rates.of(self._target).micro_credits(billed)


def _seen(answer: asyncio.Future[Charge]) -> None:
    """Nobody is left to look at a failure; that is no mistake."""
    if not answer.cancelled():
        answer.exception()


class Billing:
    """Makes bills. The books are opened with the first; `store` returns their database."""

    def __init__(self, store: Callable[[], Awaitable[Store]], credits_per_usd: Decimal) -> None:
        self._store = store
        self._rates = Rates(credits_per_usd)
        self._opening = asyncio.Lock()
        self._ledger: Ledger | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def open(self) -> Ledger:
        """Return the ledger; from then on holds are renewed and the books compared. Raises StoreUnavailable."""
        async with self._opening:
            if self._ledger is None:
                self._ledger = Ledger(await self._store())
                self._keeping = asyncio.create_task(self._ledger.keep())
            return self._ledger

    async def bill(self, request: str, caller: Caller, account: str) -> Bill:
        """Return the bill of a request."""
        return Bill(self._ledger or await self.open(), request, caller, account, self._rates)

    async def close(self) -> None:
        """Write what is to be written, and stop."""
        if self._keeping is not None:
            self._keeping.cancel()
        if self._ledger is not None:
            await self._ledger.flush()


def _budgets(caller: Caller, now: time.struct_time) -> tuple[Budget, ...]:
    """Return the budgets of a key that hold now; days and months are those of UTC."""
    budgets = caller.budgets
    if budgets == (None, None, None):
        return ()
    windows = (("day", time.strftime("%Y-%m-%d", now)), ("month", time.strftime("%Y-%m", now)), ("total", ""))
    return tuple(
        Budget(f"{caller.name}:{kind}:{window}", most)
        for (kind, window), most in zip(windows, budgets, strict=True)
        if most is not None
    )
