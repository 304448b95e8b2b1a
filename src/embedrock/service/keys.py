"""Keys: 256 random bits each, known to the gateway only by their HMAC under its secret.

A key is looked up once in a few seconds, whoever sends it and however often. What was found holds on while the
database is away, for a while: what a key may does not change that often.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from embedrock.errors import InternalError, StoreUnavailable, Unauthenticated
from embedrock.service import policy
from embedrock.service.callers import Budgets, Caller
from embedrock.service.key_form import FORM, digest
from embedrock.service.limits import Limits
from embedrock.store import Store, keys
from embedrock.telemetry import LOGGER
from embedrock.upstream.guardrail import Guardrail

_FRESH_S: Final = 2.0  # a key that is revoked works no longer than this
_STALE_S: Final = 900.0  # the same while the database is away
_WAIT_S: Final = 1.0  # for a database that does not answer, before what was found earlier is taken
_KEPT: Final = 20_000  # keys that were looked up, wrong ones too

_log = logging.getLogger(LOGGER)


class _Found(NamedTuple):
    """What a digest leads to; None: nobody, or nobody any more."""

    caller: Caller | None
    expires_at: int | None
    at: float


class Keys:
    """Finds whose a key is.

    `store` and `secret` give None as long as there are no keys: nothing is made to look one up. `usual`: limits of
    keys that have none of their own.
    """

    def __init__(
        self,
        store: Callable[[], Awaitable[Store | None]],
        secret: Callable[[], bytes | None],
        usual: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._secret = secret
        self._usual = usual
        self._clock = clock
        self._today = today
        self._found: OrderedDict[bytes, _Found] = OrderedDict()
        self._looking: dict[bytes, tuple[asyncio.Task[_Found], float]] = {}  # and since when

    async def any_usable(self) -> bool:
        """Return whether there is a key that somebody may use. Raises StoreUnavailable."""
        store, now = await self._store(), self._now_us()
        return store is not None and await store.read(lambda tx: keys.any_usable(tx, now))

    async def find(self, token: bytes) -> Caller:
        """Return whose the key is. Raises Unauthenticated, or StoreUnavailable when nobody can tell."""
        secret = self._secret() if FORM.fullmatch(token) else None
        if secret is None:
            raise wrong()
        known = digest(secret, token)
        found = self._found.get(known)
        if found is None or found.at + _FRESH_S <= self._clock():
            found = await self._look(known)
        if found.caller is None:
            raise wrong()
        if found.expires_at is not None and found.expires_at <= self._now_us():
            raise Unauthenticated("This key has expired.", code="expired_api_key")
        return found.caller

    async def _look(self, known: bytes) -> _Found:
        """Look a digest up, once for all who ask."""
        now = asyncio.get_running_loop().time()
        task, since = self._looking.get(known, (None, now))
        if task is None:
            task = asyncio.create_task(self._looked_up(known))
            self._looking[known] = task, now
            task.add_done_callback(lambda task: self._looked(known, task))
        old = self._old(known)
        if old is not None:
            await asyncio.wait([task], timeout=max(0.0, since + _WAIT_S - now))
            if not task.done():
                return old
        return await asyncio.shield(task)

    def _old(self, known: bytes) -> _Found | None:
        """Return what was found earlier, if that holds while the database is away."""
        old = self._found.get(known)
        return None if old is None or old.at + _STALE_S <= self._clock() else old

    async def _looked_up(self, known: bytes) -> _Found:
        now = self._clock()
        try:
            store = await self._store()
            row = None if store is None else await store.read(lambda tx: keys.find(tx, known))
        except StoreUnavailable:
            old = self._old(known)
            if old is None:
                raise
            return old
        usable = row is not None and row.revoked_at is None
        found = _Found(self._caller(row) if row is not None and usable else None, row and row.expires_at, now)
        self._found[known] = found
        self._found.move_to_end(known)
        if len(self._found) > _KEPT:
            self._found.popitem(last=False)
        return found

    def _looked(self, known: bytes, task: asyncio.Task[_Found]) -> None:
        del self._looking[known]
        if not task.cancelled():
            task.exception()  # nobody may be left to look at it; that is no mistake

    def _caller(self, row: keys.Key) -> Caller:
        try:
            may = policy.read(row.policy)
        except ValueError:
            _log.error("the policy of key %s cannot be read; the key is refused", row.id)
            raise InternalError("What this key may cannot be read.") from None
        own = (may.requests_per_minute, may.tokens_per_minute, may.concurrency)
        return Caller(
            name=row.root,
            limits=Limits(*(mine if mine is not None else usual for mine, usual in zip(own, self._usual, strict=True))),
            account=row.account,
            key=row.id,
            models=None if may.models is None else frozenset(may.models),
            routes=None if may.routes is None else frozenset(may.routes),
            budgets=Budgets(may.budget_day, may.budget_month, may.budget_total),
            params=may.params,
            shares_calls=may.shares_calls,
            guardrail=None if may.guardrail is None else Guardrail(*may.guardrail),
            s3_prefixes=may.s3_prefixes,
        )

    def _now_us(self) -> int:
        return int(self._today() * 1_000_000)


def wrong() -> Unauthenticated:
    """Return the error for any key that is not one of this gateway, whatever is the matter with it."""
    return Unauthenticated("Incorrect API key provided: it is not one of this gateway.", code="invalid_api_key")
