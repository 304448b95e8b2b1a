"""One call to AWS, tried until it answers or trying again makes no sense; paced, and every attempt counted.

The only layer that tries again: an attempt is a start from the pacer, sending, reading all, parsing, checking.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import random
from typing import Final, Generic, TypeVar

from embedrock.errors import BadRequest, EmbedrockError, InvalidUpstream, Retry, UpstreamThrottled, UpstreamTimeout
from embedrock.service.retry import next_wait
from embedrock.service.ways import Way
from embedrock.telemetry import Metrics

T = TypeVar("T")

_FAILURES: Final = (Retry.TRANSIENT, Retry.ONCE)  # what counts against a way's health, and the budget of retries
_TRIED_S: Final = 5.0  # of waiting elsewhere that a call prefers to a way on which it failed
_FAIR_S: Final = 5.0  # a caller who gives a call less and times out says nothing of Bedrock


@dataclass(slots=True)
class Call(Generic[T]):
    """What to send, and for whom. Not frozen: that takes twice as long to make, and there is one a call."""

    send: Callable[[Way, float], Awaitable[T]]  # to a way, within so many seconds
    spent: Callable[[T], int | None]  # the tokens AWS counted
    label: str  # the model, in the metrics
    deadline: float
    tokens: int = 0  # about how many, where the pacer wants to know
    caller: str = ""  # callers take turns
    bulk: bool = False
    retries: int | None = None  # how often the caller wants it tried again at most; None: as often as makes sense
    estimate: Callable[[], int] = int  # of the tokens, for when the pacer comes to want them


@dataclass(frozen=True, slots=True)
class Patience:
    """How attempts are made, whatever is called."""

    metrics: Metrics
    attempt_timeout_s: float

    async def call(self, ways: Sequence[Way], call: Call[T], *, started: Way | None = None) -> tuple[T, Way]:
        """Return what `call.send` returns, and the way that answered.

        Each attempt takes the way with the shortest wait, one that has not failed it yet if there is any.
        `started`: a way whose pacer has given its start already.
        Raises the last attempt's EmbedrockError. None is waited for beyond the deadline.
        """
        tried: list[Way] = []
        failures: Counter[Retry] = Counter()
        for attempt in itertools.count(1):
            way = started or await start(ways, call.tokens, call.deadline, call.caller, call.bulk, tried)
            started = None
            begun = time.monotonic()
            outcome, spent = "internal_error", None
            try:
                found = await call.send(way, min(self.attempt_timeout_s, call.deadline - begun))
                outcome, spent = "ok", call.spent(found)
                way.pacer.succeeded(spent or 0)
                way.health.succeeded()
                return found, way
            except EmbedrockError as exc:
                outcome = exc.code or "invalid_request"
                if isinstance(exc, BadRequest):
                    spent = 0  # what AWS refuses it does not count; a throttle is another matter: it is to slow us
                elif isinstance(exc, UpstreamThrottled) and not call.tokens:
                    call.tokens = call.estimate()  # it may be for tokens, which nobody counted so far
                tried.append(way)
                failures[exc.retry] += 1  # each kind has its own patience: throttles say nothing of the network
                wait_s = self._wait_s(
                    exc, attempt if call.retries is not None else failures[exc.retry], call, way, begun
                )
                if wait_s is None:
                    raise
            except asyncio.CancelledError:
                outcome = "cancelled"
                raise
            finally:
                way.pacer.ended(call.tokens, spent)
                self.metrics.upstream_call(call.label, way.region, outcome, time.monotonic() - begun)
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    def _wait_s(self, error: EmbedrockError, attempt: int, call: Call[T], way: Way, begun: float) -> float | None:
        """Return how long to wait before the next attempt; None: make none. Learns from the error."""
        hurried = begun + min(_FAIR_S, self.attempt_timeout_s) > call.deadline <= time.monotonic()
        failure = error.retry in _FAILURES and not hurried
        if isinstance(error, UpstreamThrottled):
            way.pacer.throttled(tokens=error.of_tokens)
            way.health.answered()
        elif isinstance(error, BadRequest):
            way.health.answered()
        elif failure and not isinstance(error, InvalidUpstream):  # an odd answer is of a text, not of the way
            way.health.failed()
        wait_s = next_wait(error, attempt, random, call.retries)
        if wait_s is None or time.monotonic() + wait_s >= call.deadline:
            return None
        return None if failure and not way.health.may_retry() else wait_s


async def start(
    ways: Sequence[Way],
    tokens: int,
    deadline: float,
    caller: str,
    bulk: bool = False,
    tried: Sequence[Way] = (),
) -> Way:
    """Return the way on which a call of about so many tokens may start now; whoever asked calls its pacer's `ended`.

    Raises Unavailable when no way is well, UpstreamTimeout when the start does not come before the deadline, and
    Overloaded.
    """
    while True:
        way = ways[0] if len(ways) == 1 else choose(ways, tokens, tried)
        way.health.check()
        if not way.pacer.try_start(tokens):
            await _in_time(way.pacer.start(tokens, caller=caller, bulk=bulk), deadline)
        if way.health.admits:
            way.health.admit()
            return way
        way.pacer.give_back(tokens)  # Bedrock began to fail while this call waited


async def _in_time(coming: Awaitable[None], deadline: float) -> None:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            await coming
    except TimeoutError:
        raise UpstreamTimeout("The request's time passed while it waited for its turn at Bedrock's quota.") from None


def choose(ways: Sequence[Way], tokens: int, tried: Sequence[Way] = ()) -> Way:
    """Return the way to take: well before ill, with the shortest wait, not `tried` yet, least busy.

    A way that was ill and is due to be asked again counts as well: nothing else would find out that it is.
    """

    def cost(way: Way) -> tuple[bool, float, int]:
        wait_s = way.pacer.projected_s(1, tokens) + tried.count(way) * _TRIED_S
        return not way.health.admits, wait_s, way.pacer.in_flight

    return min(ways, key=cost)
