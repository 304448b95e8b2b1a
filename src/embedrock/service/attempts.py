"""One call to AWS, tried until it answers or trying again makes no sense; every attempt is counted."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import random
from typing import TypeVar

from embedrock.errors import EmbedrockError
from embedrock.service.retry import next_wait
from embedrock.telemetry import Metrics

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How attempts are made, whatever is called."""

    metrics: Metrics
    attempt_timeout_s: float

    async def call(
        self,
        send: Callable[[float], Awaitable[T]],
        *,
        label: str,
        region: Callable[[], str],
        deadline: float,
        retries: int | None = None,
    ) -> tuple[T, int]:
        """Return what `send(timeout_s)` returns, and the number of attempts it took.

        `label` is the model in the metrics, `region()` the region the attempt just made went to; `retries` is how often
        the caller wants it tried again at most, None: as often as makes sense.
        Raises the last attempt's EmbedrockError. None is waited for beyond `deadline`; one that would begin after it
        gets no time, and is not sent.
        """
        for attempt in itertools.count(1):
            started = time.monotonic()
            outcome = "ok"
            try:
                return await send(min(self.attempt_timeout_s, deadline - started)), attempt
            except EmbedrockError as exc:
                outcome = exc.code or "invalid_request"
                wait_s = next_wait(exc, attempt, random, retries)
                if wait_s is None or time.monotonic() + wait_s >= deadline:
                    raise
            except asyncio.CancelledError:
                outcome = "cancelled"
                raise
            finally:
                self.metrics.upstream_call(label, region(), outcome, time.monotonic() - started)
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")
