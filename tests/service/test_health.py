"""When a way is not tried at all, and when calls are not tried again."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

from embedrock.errors import EmbedrockError, Retry, Unavailable
from embedrock.service.attempts import Call, Patience
from embedrock.service.health import Health
from embedrock.service.pacer import Pacer
from embedrock.service.ways import Way
from embedrock.telemetry import Metrics
from embedrock.upstream.bedrock import Bedrock

from .virtual_time import run

NOWHERE = Bedrock("us-east-1", "http://127.0.0.1:1", credentials=None, bearer="none")


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def admitted(health: Health) -> bool:
    try:
        health.admit()
    except Unavailable as exc:
        assert (exc.status, exc.code, exc.retry_after_s) == (503, "upstream_unavailable", 1)
        return False
    return True


def fail(health: Health, clock: Clock, *, times: int, for_s: float) -> None:
    """Have calls fail at equal distances, the first now, the last after so many seconds."""
    begun = clock.now
    for number in range(times):
        clock.now = begun + number * for_s / max(1, times - 1)
        health.failed()


@pytest.mark.parametrize(
    "times, for_s, closes",
    [
        (100, 0.9, False),  # a blip, however many calls it hits
        (4, 30.0, False),  # too few to tell
        (5, 0.99, False),
        (5, 1.0, True),
        (100, 1.0, True),
        (5, 3600.0, True),  # at low traffic
    ],
)
def test_way_is_closed_after_a_second_of_nothing_but_failures(times: int, for_s: float, closes: bool) -> None:
    clock = Clock()
    health = Health(clock)

    fail(health, clock, times=times, for_s=for_s)

    assert health.is_closed is closes
    assert admitted(health) is not closes


def test_one_success_among_failures_keeps_a_way_open() -> None:
    clock = Clock()
    health = Health(clock)
    for _ in range(20):
        fail(health, clock, times=4, for_s=3.0)
        clock.now += 11
        health.succeeded()
        assert not health.is_closed


@pytest.mark.parametrize("good, bad, closes", [(1, 1, True), (2, 1, False), (10, 1, False), (1, 3, True)])
def test_way_is_closed_when_half_of_the_calls_fail(good: int, bad: int, closes: bool) -> None:
    clock = Clock()
    health = Health(clock)
    ever = False
    for number in range(200):
        clock.now += 0.04
        if number % (good + bad) < bad:
            health.failed()
        else:
            health.succeeded()
        ever |= health.is_closed

    assert ever is closes


def test_failures_of_long_ago_are_forgotten_and_so_is_the_traffic_around_them() -> None:
    clock = Clock()
    health = Health(clock)
    fail(health, clock, times=15, for_s=0.5)
    health.succeeded()
    clock.now += 10.1
    for _ in range(1000):
        clock.now += 0.001
        health.succeeded()
    assert len(health._lately) == 0, "nothing is kept of good times"

    fail(health, clock, times=4, for_s=1.0)
    assert not health.is_closed


def test_what_is_kept_is_bounded_by_time() -> None:
    clock = Clock()
    health = Health(clock)
    for number in range(10_000):
        clock.now += 0.01
        health.failed() if number % 50 == 0 else health.succeeded()
        assert len(health._lately) <= 1001

    assert not health.is_closed
    assert health._failures == sum(failed for _, failed in health._lately)


def test_closed_way_is_asked_once_a_second_until_it_answers() -> None:
    clock = Clock()
    health = Health(clock)
    fail(health, clock, times=5, for_s=1.0)
    closed_at = clock.now
    probes: list[float] = []
    for number in range(1, 1000):
        clock.now = closed_at + number / 100
        assert health.admits is (not probes or clock.now - probes[-1] >= 1.0) if number >= 100 else not health.admits
        if admitted(health):
            probes.append(clock.now)
            health.failed()
    assert [round(at - closed_at, 2) for at in probes] == [float(second) for second in range(1, 10)]

    clock.now += 1
    assert admitted(health)
    assert not admitted(health), "the probe is under way"
    health.succeeded()
    assert not health.is_closed
    assert all(admitted(health) for _ in range(100))


def test_refusal_or_throttle_says_that_bedrock_is_there() -> None:
    clock = Clock()
    health = Health(clock)
    fail(health, clock, times=4, for_s=1.0)
    health.answered()
    health.failed()
    assert not health.is_closed, "not nothing but failures"

    fail(health, clock, times=5, for_s=1.0)
    assert health.is_closed
    health.answered()
    assert not health.is_closed


def test_way_that_was_closed_begins_anew() -> None:
    clock = Clock()
    health = Health(clock)
    fail(health, clock, times=50, for_s=1.0)
    health.succeeded()

    fail(health, clock, times=4, for_s=1.0)
    assert not health.is_closed
    clock.now += 0.1
    health.failed()
    assert health.is_closed


def test_retries_are_paid_from_a_budget_that_successes_refill() -> None:
    health = Health(Clock())

    assert sum(health.may_retry() for _ in range(100)) == 35
    for _ in range(13):
        health.succeeded()
    assert health.may_retry(), "10 were left, and 13 came"
    assert not health.may_retry()
    for _ in range(10_000):
        health.succeeded()
    assert sum(health.may_retry() for _ in range(100)) == 35, "there is no saving up"


# ---------------------------------------------------------------- an outage


class Outage:
    """A Bedrock that fails between two times."""

    def __init__(self, begins_s: float, ends_s: float, latency_s: float) -> None:
        self._from, self._to = time.monotonic() + begins_s, time.monotonic() + ends_s
        self._latency_s = latency_s
        self.calls = 0
        self.calls_during = 0

    @property
    def is_on(self) -> bool:
        return self._from <= time.monotonic() < self._to

    async def send(self, way: Way, timeout_s: float) -> str:  # noqa: ARG002
        self.calls += 1
        self.calls_during += self.is_on
        await asyncio.sleep(self._latency_s)
        if self.is_on:
            raise Unavailable("down", retry=Retry.TRANSIENT)
        return "answer"


@pytest.mark.parametrize("latency_s", [0.002, 0.05, 2.0])
def test_outage_of_a_minute_is_not_made_worse_by_trying_again(
    monkeypatch: pytest.MonkeyPatch, latency_s: float
) -> None:
    """50 requests a second; calls per request while all fail, and who is served when the end has come."""
    monkeypatch.setattr("embedrock.service.attempts.random", Random(1).random)
    during: list[bool] = []
    after: list[bool] = []

    async def main() -> Outage:
        way = Way(NOWHERE, Pacer(clock=time.monotonic), "us-east-1", health=Health(time.monotonic))
        outage = Outage(10, 70, latency_s)
        patience = Patience(Metrics(), 30.0)

        async def request() -> None:
            to = during if outage.is_on else after
            try:
                await patience.call((way,), Call(outage.send, len, "m", time.monotonic() + 10))
            except EmbedrockError:
                to.append(False)
            else:
                to.append(True)

        async with asyncio.TaskGroup() as group:
            for number in range(4000):
                if number == 50 * 75:
                    after.clear()
                group.create_task(request())
                await asyncio.sleep(0.02)
        assert (way.pacer.in_flight, way.pacer.waiting) == (0, 0)
        return outage

    outage = run(main)

    assert len(during) == pytest.approx(3000, abs=5)
    assert 60 <= outage.calls_during <= 1.10 * len(during)
    assert sum(during) <= 0.05 * len(during)
    assert all(after), "five seconds after its end nothing is left of it"
    assert len(after) >= 200


def test_single_failures_cost_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """At one call in a hundred: all are served, with two more calls in a hundred at most."""
    monkeypatch.setattr("embedrock.service.attempts.random", Random(1).random)
    draw = Random(2)
    calls = 0

    async def send(way: Way, timeout_s: float) -> str:  # noqa: ARG001
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.05)
        if draw.random() < 0.01:
            raise Unavailable("blip", retry=Retry.TRANSIENT)
        return "answer"

    async def main() -> None:
        way = Way(NOWHERE, Pacer(clock=time.monotonic), "us-east-1", health=Health(time.monotonic))
        patience = Patience(Metrics(), 30.0)
        async with asyncio.TaskGroup() as group:
            for _ in range(5000):
                group.create_task(patience.call((way,), Call(send, len, "m", time.monotonic() + 10)))
                await asyncio.sleep(0.02)

    run(main)

    assert 5000 < calls <= 1.02 * 5000
