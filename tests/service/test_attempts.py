"""One call, tried until it answers or trying again makes no sense: when, on which way, and every attempt counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from embedrock.errors import (
    BadRequest,
    EmbedrockError,
    InvalidUpstream,
    ModelWarming,
    Retry,
    Unavailable,
    UpstreamThrottled,
    UpstreamTimeout,
)
from embedrock.service.attempts import Call, Patience, choose
from embedrock.service.health import Health
from embedrock.service.pacer import Pacer, Quota
from embedrock.service.retry import POLICIES
from embedrock.service.ways import Way
from embedrock.telemetry import Metrics
from embedrock.upstream.bedrock import Bedrock

from .virtual_time import run

BLIP = Unavailable("blip", retry=Retry.TRANSIENT)
NOWHERE = Bedrock("us-east-1", "http://127.0.0.1:1", credentials=None, bearer="none")


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have chance draw the shortest wait, which is none."""
    monkeypatch.setattr("embedrock.service.attempts.random", lambda: 0.0)
    monkeypatch.setitem(POLICIES, Retry.THROTTLE, replace(POLICIES[Retry.THROTTLE], least=0.0))


class Calls:
    """Fails as told, then answers; keeps the times it was given, and the regions."""

    def __init__(self, failures: Sequence[EmbedrockError] = ()) -> None:
        self._failures: Iterator[EmbedrockError] = iter(failures)
        self.timeouts: list[float] = []
        self.regions: list[str] = []

    async def send(self, way: Way, timeout_s: float) -> str:
        self.timeouts.append(timeout_s)
        self.regions.append(way.region)
        if failure := next(self._failures, None):
            raise failure
        return "answer"


def make_way(region: str = "us-east-1", per_minute: float | None = None, most_in_flight: int = 256) -> Way:
    """Return a way in the time of now, which may be virtual."""
    pacer = Pacer(Quota(per_minute), most_in_flight=most_in_flight, clock=time.monotonic)
    return Way(NOWHERE, pacer, region, health=Health(time.monotonic))


def a_call(
    send: Callable[[Way, float], Awaitable[str]], *, within_s: float = 60.0, tokens: int = 0, retries: int | None = None
) -> Call[str]:
    return Call(send, len, "m", time.monotonic() + within_s, tokens, retries=retries)


async def ask(
    calls: Calls, *ways: Way, metrics: Metrics | None = None, within_s: float = 60.0, retries: int | None = None
) -> str:
    patience = Patience(metrics or Metrics(), 30.0)
    answer, _ = await patience.call(ways or (make_way(),), a_call(calls.send, within_s=within_s, retries=retries))
    return answer


def outcomes(metrics: Metrics) -> dict[str, float]:
    """Return how many attempts had which outcome, and check that each was timed too."""
    families = {family.name: family for family in text_string_to_metric_families(metrics.expose()[0].decode())}
    counted = families["embedrock_upstream_calls"].samples
    assert {(sample.labels["model"], sample.labels["region"]) for sample in counted} <= {("m", "us-east-1")}
    timed = [sample for sample in families["embedrock_upstream_seconds"].samples if sample.name.endswith("_count")]
    assert sum(sample.value for sample in counted) == sum(sample.value for sample in timed)
    return {sample.labels["outcome"]: sample.value for sample in counted}


async def test_answer_at_once_is_one_attempt() -> None:
    metrics = Metrics()

    assert await ask(Calls(), metrics=metrics) == "answer"
    assert outcomes(metrics) == {"ok": 1}


async def test_attempts_are_made_until_one_answers() -> None:
    metrics = Metrics()
    calls = Calls([BLIP, UpstreamThrottled("slow"), ModelWarming("wait")])

    found = await ask(calls, metrics=metrics)

    assert found == "answer"
    assert outcomes(metrics) == {
        "upstream_unavailable": 1,
        "upstream_throttled": 1,
        "model_warming": 1,
        "ok": 1,
    }


@pytest.mark.parametrize("retry", list(Retry))
async def test_last_error_is_raised_when_the_policy_gives_up(retry: Retry) -> None:
    most = POLICIES[retry].attempts if retry in POLICIES else 1
    failures = [Unavailable(str(number), retry=retry) for number in range(20)]
    calls = Calls(failures)

    with pytest.raises(Unavailable) as caught:
        await ask(calls)

    assert len(calls.timeouts) == most
    assert caught.value is failures[most - 1]


async def test_throttles_do_not_use_up_the_patience_for_blips() -> None:
    """With a small quota a call is throttled a few times anyway; then a broken connection must not be its end."""
    calls = Calls([UpstreamThrottled("slow")] * 5 + [BLIP] * 2)

    assert await ask(calls) == "answer"
    assert len(calls.timeouts) == 8


@pytest.mark.parametrize("retries, attempts", [(0, 1), (1, 2), (4, 5)])
async def test_callers_own_bound_counts_all_attempts(retries: int, attempts: int) -> None:
    calls = Calls([UpstreamThrottled("slow"), BLIP, UpstreamThrottled("slow"), BLIP, BLIP, BLIP])

    with pytest.raises(EmbedrockError):
        await ask(calls, retries=retries)

    assert len(calls.timeouts) == attempts


@pytest.mark.parametrize(
    "error, outcome",
    [
        (BadRequest("no"), "invalid_request"),
        (BadRequest("no", code="invalid_value"), "invalid_value"),
        (Unavailable("no"), "upstream_unavailable"),
    ],
)
async def test_error_that_will_stay_is_raised_at_once(error: EmbedrockError, outcome: str) -> None:
    metrics = Metrics()
    calls = Calls([error])

    with pytest.raises(EmbedrockError) as caught:
        await ask(calls, metrics=metrics)

    assert caught.value is error
    assert len(calls.timeouts) == 1
    assert outcomes(metrics) == {outcome: 1}


async def test_mistake_of_ours_is_not_counted_as_an_answer_and_frees_its_place() -> None:
    metrics, way = Metrics(), make_way()

    async def broken(way: Way, timeout_s: float) -> str:  # noqa: ARG001
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Patience(metrics, 30.0).call((way,), a_call(broken))

    assert outcomes(metrics) == {"internal_error": 1}
    assert way.pacer.in_flight == 0


async def test_no_attempt_begins_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that would end beyond it is not begun."""
    monkeypatch.setattr("embedrock.service.attempts.random", lambda: 0.999)
    calls = Calls([UpstreamThrottled("slow")] * 3)

    with pytest.raises(UpstreamThrottled):
        await ask(calls, within_s=0.2)

    assert len(calls.timeouts) == 1


async def test_attempt_has_its_own_time_or_what_is_left_to_the_deadline() -> None:
    roomy, tight = Calls([InvalidUpstream("odd")]), Calls([InvalidUpstream("odd")])

    await ask(roomy)
    await ask(tight, within_s=10.0)

    assert roomy.timeouts == [30.0, 30.0]
    assert all(9.0 < timeout <= 10.0 for timeout in tight.timeouts)
    assert tight.timeouts == sorted(tight.timeouts, reverse=True)


async def test_attempt_that_is_cancelled_is_counted_and_not_repeated() -> None:
    metrics, way = Metrics(), make_way()
    begun = asyncio.Event()

    async def hang(way: Way, timeout_s: float) -> str:  # noqa: ARG001
        begun.set()
        await asyncio.Event().wait()
        return ""

    calling = asyncio.create_task(Patience(metrics, 30.0).call((way,), a_call(hang)))
    await begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling

    assert outcomes(metrics) == {"cancelled": 1}
    assert way.pacer.in_flight == 0


# ---------------------------------------------------------------- pace


def test_turn_that_does_not_come_before_the_deadline_is_a_timeout() -> None:
    async def main() -> None:
        way = make_way(most_in_flight=1)
        assert way.pacer.try_start(0)
        calls = Calls()
        begun = time.monotonic()

        with pytest.raises(UpstreamTimeout):
            await ask(calls, way, within_s=3.0)

        assert time.monotonic() - begun == pytest.approx(3.0)
        assert calls.timeouts == []
        assert (way.pacer.in_flight, way.pacer.waiting) == (1, 0)

    run(main)


async def test_start_that_was_given_before_is_not_asked_for_again() -> None:
    way = make_way(most_in_flight=1)
    assert way.pacer.try_start(7)

    answer, found = await Patience(Metrics(), 30.0).call((way,), a_call(Calls().send, tokens=7), started=way)

    assert (answer, found) == ("answer", way)
    assert way.pacer.in_flight == 0


@pytest.mark.parametrize("within_s, closes", [(0.2, False), (4.0, False), (8.0, True)])
def test_caller_in_a_hurry_says_nothing_of_bedrock(within_s: float, closes: bool) -> None:
    """A caller who gives calls less time than they take could else close the way to all others."""

    async def slow(way: Way, timeout_s: float) -> str:  # noqa: ARG001
        await asyncio.sleep(timeout_s)
        raise UpstreamTimeout("late", retry=Retry.TRANSIENT)

    async def main() -> bool:
        way = make_way()
        for _ in range(30):
            with pytest.raises((UpstreamTimeout, Unavailable)):
                await Patience(Metrics(), 30.0).call((way,), a_call(slow, within_s=within_s))
        return way.health.is_closed

    assert run(main) is closes


@pytest.mark.parametrize("error", [UpstreamThrottled("slow"), BadRequest("no"), InvalidUpstream("odd")])
def test_what_is_said_of_a_call_or_of_the_quota_does_not_close_the_way(error: EmbedrockError) -> None:
    async def main() -> None:
        way = make_way()
        for _ in range(20):
            with pytest.raises(type(error)):
                await ask(Calls([error]), way, retries=0)
            await asyncio.sleep(0.2)
        assert not way.health.is_closed

    run(main)


@pytest.mark.parametrize("error", [UpstreamThrottled("slow"), BadRequest("no")])
def test_probe_that_is_throttled_or_refused_opens_a_way(error: EmbedrockError) -> None:
    async def main() -> None:
        way = make_way()
        await close(way)
        await asyncio.sleep(1)
        with pytest.raises(type(error)):
            await ask(Calls([error]), way, retries=0)
        assert not way.health.is_closed

    run(main)


def test_tokens_of_a_refused_call_come_back_and_those_of_a_throttled_one_do_not() -> None:
    """AWS counts neither; but what throttled calls hold keeps others from being throttled too."""

    def level_after(*failures: EmbedrockError) -> float:
        async def main() -> float:
            pacer = Pacer(Quota(None, 6000), clock=time.monotonic)
            way = Way(NOWHERE, pacer, "us-east-1", health=Health(time.monotonic))
            call = a_call(Calls(failures).send, tokens=95, retries=0)
            with pytest.raises(EmbedrockError):
                await Patience(Metrics(), 30.0).call((way,), call)
            assert pacer._tokens is not None
            return pacer._tokens.level(time.monotonic())

        return run(main)

    assert level_after(BadRequest("no")) == pytest.approx(9.5, abs=0.01)
    assert level_after(UpstreamThrottled("slow")) == pytest.approx(9.5 - 95, abs=0.01)


def test_tokens_are_counted_from_the_first_throttle_on() -> None:
    async def main() -> None:
        way = make_way()
        throttle = UpstreamThrottled("slow")
        throttle.of_tokens = True
        begun = asyncio.Event()

        async def send(way: Way, timeout_s: float) -> str:  # noqa: ARG001
            if not begun.is_set():
                begun.set()
                raise throttle
            await asyncio.sleep(1)
            return ""

        call = a_call(send)
        call.estimate = lambda: 50_000
        asking = asyncio.create_task(Patience(Metrics(), 30.0).call((way,), call))
        await begun.wait()
        await asyncio.sleep(0.3)
        assert way.pacer._tokens is not None
        assert way.pacer._tokens.level(time.monotonic()) < -49_000
        await asking

    run(main)


# ---------------------------------------------------------------- several ways


async def test_each_attempt_is_counted_where_it_went() -> None:
    """A call may try another region when one fails."""
    metrics = Metrics()
    calls = Calls([BLIP])

    found = await ask(calls, make_way("us-east-1"), make_way("eu-west-1"), metrics=metrics)

    text = metrics.expose()[0].decode()
    assert (found, calls.regions) == ("answer", ["us-east-1", "eu-west-1"])
    assert 'embedrock_upstream_calls_total{model="m",outcome="upstream_unavailable",region="us-east-1"} 1.0' in text
    assert 'embedrock_upstream_calls_total{model="m",outcome="ok",region="eu-west-1"} 1.0' in text


async def test_way_that_fails_fast_does_not_draw_all_attempts() -> None:
    """It is always the least busy one."""
    dead, busy = make_way("dead"), make_way("busy")
    for _ in range(50):
        assert busy.pacer.try_start(0)
    calls = Calls([BLIP])

    assert await ask(calls, dead, busy) == "answer"
    assert calls.regions == ["dead", "busy"]


async def close(*ways: Way) -> None:
    """Have ways fail for the second after which nothing goes there but probes, the first a second later."""
    for _ in range(5):
        for way in ways:
            way.health.failed()
    await asyncio.sleep(1)
    for way in ways:
        way.health.failed()
        assert way.health.is_closed


def test_way_that_throttles_is_better_than_one_that_is_down() -> None:
    async def main() -> None:
        throttling, down = make_way("throttling"), make_way("down")
        await close(down)
        calls = Calls([UpstreamThrottled("slow")] * 3)

        assert await ask(calls, throttling, down) == "answer"
        assert calls.regions == ["throttling"] * 4

    run(main)


def test_way_that_was_down_is_asked_again_while_others_work() -> None:
    """And also when all are down: each gets its probe."""

    async def main() -> None:
        ways = [make_way("a"), make_way("b")]
        await close(*ways)
        with pytest.raises(Unavailable):
            await ask(Calls(), *ways)
        await asyncio.sleep(1.5)
        both = Calls([Unavailable("down")] * 2)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await ask(both, *ways)
        assert sorted(both.regions) == ["a", "b"]

        await asyncio.sleep(1.5)
        ways[0].health.succeeded()
        assert ways[0].pacer.try_start(0)  # "a" is well, and has something to do
        again = Calls()
        await ask(again, *ways)
        assert again.regions == ["b"]
        assert not ways[1].health.is_closed

    run(main)


def test_shorter_wait_is_taken() -> None:
    async def main() -> None:
        slow, fast = make_way("slow", 60), make_way("fast", 600)
        assert slow.pacer.try_start(0)
        assert fast.pacer.try_start(0)

        assert choose((slow, fast), 0) is fast
        assert choose((slow, fast), 0, [fast]) is slow

    run(main)


def test_call_that_waited_for_its_turn_does_not_go_to_a_way_that_fails_meanwhile() -> None:
    """A queue of calls would else go on into an outage, one by one."""

    async def main() -> None:
        way = make_way(most_in_flight=1)
        assert way.pacer.try_start(0)
        calls = Calls()
        asking = [asyncio.create_task(ask(calls, way)) for _ in range(10)]
        await asyncio.sleep(0.1)
        assert way.pacer.waiting == 10
        await close(way)
        way.pacer.ended(0, None)
        begun = time.monotonic()
        found = await asyncio.gather(*asking, return_exceptions=True)

        assert [type(error) for error in found] == [Unavailable] * 10
        assert calls.timeouts == []
        assert time.monotonic() - begun < 0.1, "the start that one gives back is the next one's"
        assert (way.pacer.in_flight, way.pacer.waiting) == (0, 0)

    run(main)


def test_call_that_waited_goes_to_another_way_when_its_own_begins_to_fail() -> None:
    async def main() -> None:
        first, second = make_way("first", most_in_flight=1), make_way("second", 6)
        assert first.pacer.try_start(0)
        assert second.pacer.try_start(0)
        calls = Calls()
        asking = asyncio.create_task(ask(calls, first, second))
        await asyncio.sleep(0.1)
        assert first.pacer.waiting == 1
        await close(first)
        first.pacer.ended(0, None)

        assert await asking == "answer"
        assert calls.regions == ["second"]

    run(main)
