"""Who pays for a request: an amount is held before Bedrock is called, and the charge settled once, before the answer.

Requests that come while the books are being written are written together. A hold lasts a minute and is renewed while
its request is under way, so what a killed process held is free again soon; its account pays nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from embedrock.errors import IdempotencyInProgress, IdempotencyReused, InsufficientCredits, StoreUnavailable
from embedrock.store import Store, books, claims
from embedrock.store.books import Ask, Budget, Charge, Claim, Claimed, Close, Held, Outcome, Refused
from embedrock.telemetry import LOGGER

_log = logging.getLogger(LOGGER)

HOLD_US: Final = 60_000_000
_BEAT_S: Final = 10.0
_RECONCILE_BEATS: Final = 6
_PATIENCE_S: Final = 5.0  # for settling while the database is away: Bedrock has been paid
_PAUSE_S: Final = 0.2
_LINGER_S: Final = 0.002  # a request that ends waits so long for others, while there are any; or twice, for many
_GROUP: Final = 16  # but not when so many wait
_MOST: Final = 1000  # in a transaction: a statement takes no more than some ten thousand values


def now_us() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1000


class _Asked(NamedTuple):
    ask: Ask
    answer: asyncio.Future[Outcome]


class _Closed(NamedTuple):
    close: Close
    answer: asyncio.Future[Charge]
    until: float


class Ledger:
    """The books of all accounts, for one loop."""

    def __init__(self, store: Store, now: Callable[[], int] = now_us) -> None:
        self._store = store
        self._now = now
        self._asked: list[_Asked] = []
        self._closed: list[_Closed] = []
        self._holding: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._open: dict[str, int] = {}  # the requests under way, and when their holds expire

    def ask(
        self,
        request: str,
        account: str,
        amount: int,
        *,
        budgets: tuple[Budget, ...] = (),
        claim: Claim | None = None,
    ) -> asyncio.Future[Outcome]:
        """Begin to hold an amount for a request. Whoever cancels the future closes the request all the same."""
        ask = Ask(request, account, amount, self._now() + HOLD_US, budgets, claim)
        asked = _Asked(ask, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        self._open[request] = ask.expires_at
        if self._holding is None:
            self._holding = asyncio.create_task(self._hold())
        return asked.answer

    async def hold(
        self,
        request: str,
        account: str,
        amount: int,
        *,
        budgets: tuple[Budget, ...] = (),
        claim: Claim | None = None,
    ) -> Held | Claimed:
        """Hold an amount for a request; or return the answer that its idempotency key had. Raises as `allowed`."""
        return allowed(await self.ask(request, account, amount, budgets=budgets, claim=claim))

    def close(self, close: Close) -> asyncio.Future[Charge]:
        """End a request: its hold is gone, and it is charged when it was answered. Closing it again changes nothing.

        The future may raise StoreUnavailable. It is closed also when nobody waits for the future any more.
        """
        until = time.monotonic() + _PATIENCE_S
        closed = _Closed(close, asyncio.get_running_loop().create_future(), until)
        self._closed.append(closed)
        self._open.pop(close.request, None)
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return closed.answer

    async def remember(self, account: str, claim: str, answer: bytes | None) -> None:
        """Keep the answer of a request that is closed, for its idempotency key; None: it is not kept."""
        await self._store.write(lambda tx: claims.remember(tx, account, claim, answer))

    async def keep(self) -> None:
        """Renew holds, release those that nobody renews, and reconcile; for ever."""
        chores: tuple[Callable[[], Awaitable[object]], ...] = (self._renew, self._expire, self.tidy, self.reconcile)
        beats = 0
        while True:
            for chore in chores if beats % _RECONCILE_BEATS == 0 else chores[:2]:
                try:
                    await chore()
                except StoreUnavailable as exc:
                    _log.warning("%s: %s", exc.code, exc.explained())
                    break
                except Exception as exc:  # it must not keep the others from their work, nor itself from the next time
                    _log.error("ledger: unexpected %s", type(exc).__name__)
            beats += 1
            await asyncio.sleep(_BEAT_S)

    async def tidy(self) -> None:
        """Remove answers of accounts that keep too much for their idempotency keys."""
        if found := await self._store.read(claims.too_many):
            await self._store.write(lambda tx: claims.drop(tx, found))

    async def reconcile(self) -> list[str]:
        """Return the accounts whose books do not balance, and let nothing more be taken from them."""
        found = await self._store.read(books.unbalanced)
        if found:
            _log.error("ledger: the books of %d accounts do not balance; they are frozen: %s", len(found), found[:10])
            await self._store.write(lambda tx: books.freeze(tx, found))
        return found

    async def flush(self) -> None:
        """Return when what is to be written is."""
        while self._holding is not None or self._closing is not None:
            await asyncio.wait([task for task in (self._holding, self._closing) if task is not None])

    async def _renew(self) -> None:
        now = self._now()
        old = [request for request, expires_at in self._open.items() if expires_at < now + HOLD_US // 2]
        if old:
            await self._store.write(lambda tx: books.renew(tx, old, now + HOLD_US))
            self._open |= {request: now + HOLD_US for request in old if request in self._open}

    async def _expire(self) -> None:
        if released := await self._store.write(lambda tx: books.expire(tx, self._now())):
            _log.warning("ledger: released %d holds of requests that ended without a word", released)

    async def _hold(self) -> None:
        """Write the holds that were asked for, and those that are asked for meanwhile."""
        try:
            while self._asked:
                asked, self._asked = self._asked[:_MOST], self._asked[_MOST:]
                # One that was cancelled is closed already; it must not be held after that.
                if asked := [item for item in asked if not item.answer.cancelled()]:
                    await self._post_holds(asked)
        finally:
            self._holding = None

    async def _close(self) -> None:
        """Close the requests that have ended, and those that end meanwhile: a commit takes as many as there are."""
        try:
            while self._closed:
                others = len(self._open)  # that may be about to end
                if others and len(self._closed) < _GROUP:
                    await asyncio.sleep(_LINGER_S if others < _GROUP else 2 * _LINGER_S)
                closed, self._closed = self._closed[:_MOST], self._closed[_MOST:]
                await self._post_closes(closed)
        finally:
            self._closing = None

    async def _post_holds(self, asked: list[_Asked]) -> None:
        asks = [item.ask for item in asked]
        try:
            # Not durable: when the machine stops, so do the requests, and what is no longer held is nobody's. An
            # idempotency key has to be there, though, when its request is settled: the database may be elsewhere.
            durable = any(ask.claim for ask in asks)
            _, outcomes = await self._store.write(lambda tx: books.post(tx, (), asks, self._now()), durable=durable)
        except Exception as exc:  # a mistake of ours must not leave anybody waiting either
            if len(asked) > 1 and not isinstance(exc, StoreUnavailable):
                await asyncio.gather(*(self._post_holds([item]) for item in asked))  # each for itself
                return
            for ask in asks:
                self._open.pop(ask.request, None)
            _fail([item.answer for item in asked], exc)
            return
        for (ask, held), outcome in zip(asked, outcomes, strict=True):
            if not isinstance(outcome, Held):
                self._open.pop(ask.request, None)
            if not held.done():
                held.set_result(outcome)

    async def _post_closes(self, closed: list[_Closed]) -> None:
        closes = [item.close for item in closed]
        try:
            charges, _ = await self._store.write(lambda tx: books.post(tx, closes, (), self._now()))
        except StoreUnavailable as exc:
            now = time.monotonic()
            self._closed = [item for item in closed if item.until >= now] + self._closed
            _fail([item.answer for item in closed if item.until < now], exc)
            if self._closed:
                await asyncio.sleep(_PAUSE_S)
        except Exception as exc:
            if len(closed) > 1:
                await asyncio.gather(*(self._post_closes([item]) for item in closed))  # each for itself
            else:
                _fail([item.answer for item in closed], exc)
        else:
            for (_, settled, _), charge in zip(closed, charges, strict=True):
                if not settled.done():
                    settled.set_result(charge)


def allowed(outcome: Outcome) -> Held | Claimed:
    """Return the outcome, of a request that may go on or whose answer is there already.

    Raises InsufficientCredits, IdempotencyInProgress, IdempotencyReused; StoreUnavailable when the account is frozen.
    """
    if isinstance(outcome, Refused):
        if outcome.frozen:
            raise StoreUnavailable("The books of the account do not balance; the operator has to look at them.")
        kind = next((kind for kind in ("day", "month", "total") if f":{kind}:" in (outcome.budget or "")), "own")
        whose = "the account" if outcome.budget is None else f"the key's budget ({kind})"
        raise InsufficientCredits(
            f"This request is estimated at {_credits(outcome.asked)} credits, and {whose} has "
            f"{_credits(outcome.left)} left."
        )
    if isinstance(outcome, Claimed):
        if outcome.other:
            raise IdempotencyReused("Another request was sent with this idempotency key.", param="idempotency-key")
        if outcome.answer is None:
            raise IdempotencyInProgress("The first request with this idempotency key is under way.")
    return outcome


def _credits(micro: int) -> str:
    return f"{Decimal(micro).scaleb(-6).normalize():f}"


def _fail(answers: Sequence[asyncio.Future[Any]], error: Exception) -> None:
    for answer in answers:
        if not answer.done():
            own = StoreUnavailable(error.message) if isinstance(error, StoreUnavailable) else error
            own.__cause__ = error.__cause__
            answer.set_exception(own)
