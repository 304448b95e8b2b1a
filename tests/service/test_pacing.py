"""Large requests through small quotas: what the pacer and the attempts make of a Bedrock that throttles."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import pytest

from embedrock.errors import EmbedrockError, UpstreamThrottled
from embedrock.service.attempts import Call, Patience
from embedrock.service.health import Health
from embedrock.service.lanes import in_lanes
from embedrock.service.pacer import Pacer, Quota
from embedrock.service.ways import Way
from embedrock.telemetry import Metrics
from embedrock.upstream.bedrock import Bedrock

from .virtual_time import run

NOWHERE = Bedrock("us-east-1", "http://127.0.0.1:1", credentials=None, bearer="none")


class Supply:
    """Bedrock's side: so many calls a second get through, of which `burst_s` seconds' worth is saved up."""

    def __init__(self, per_s: float, *, burst_s: float = 1.0, latency_s: float = 0.05, tokens: int = 0) -> None:
        self.per_s = per_s
        self.most = max(1.0, per_s * burst_s)
        self.calls = 0
        self.throttled = 0
        self._level = self.most
        self._at = time.monotonic()
        self._latency_s = latency_s
        self._tokens = tokens  # a call: then the supply is of tokens

    async def send(self, way: Way, timeout_s: float) -> int:  # noqa: ARG002
        now = time.monotonic()
        self._level = min(self.most, self._level + (now - self._at) * self.per_s)
        self._at = now
        self.calls += 1
        if self._level < (self._tokens or 1):
            self.throttled += 1
            await asyncio.sleep(0.01)
            error = UpstreamThrottled("slow")
            error.of_tokens = bool(self._tokens)
            raise error
        self._level -= self._tokens or 1
        await asyncio.sleep(self._latency_s)
        return self._tokens


class Outcome(NamedTuple):
    """What a request took. `over`: its time as a multiple of the least that the supply allows."""

    throttled: float
    over: float


def make_way(quota: Quota) -> Way:
    return Way(NOWHERE, Pacer(quota, clock=time.monotonic), "us-east-1", health=Health(time.monotonic))


async def request(
    way: Way, supply: Supply, texts: int, *, tokens: int = 0, lanes: int = 64, estimated: bool = True
) -> None:
    """Make so many calls; raise the first failure. `estimated`: their tokens are, before there is a reason to."""
    patience = Patience(Metrics(), 30.0)

    async def embed(_: int) -> None:
        call = Call(supply.send, lambda spent: spent or None, "m", time.monotonic() + 3600, tokens * estimated)
        call.estimate = lambda: tokens
        await patience.call((way,), call)

    await in_lanes(range(texts), lanes, embed)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Return what measures one request in a fresh process; chance is drawn the same each time."""

    def measure(
        quota: Quota, make_supply: Callable[[], Supply], texts: int, *, phase_s: float = 0.0, tokens: int = 0
    ) -> Outcome:
        monkeypatch.setattr("embedrock.service.attempts.random", Random(1).random)

        async def main() -> Outcome:
            await asyncio.sleep(phase_s)  # seconds of the clock begin at any moment of a request
            way, supply = make_way(quota), make_supply()
            begun = time.monotonic()
            await request(way, supply, texts, tokens=tokens)
            took = time.monotonic() - begun
            assert (way.pacer.in_flight, way.pacer.waiting) == (0, 0)
            assert supply.calls == texts + supply.throttled
            floor_s = (texts * (supply._tokens or 1) - supply.most) / supply.per_s
            return Outcome(supply.throttled / supply.calls, took / floor_s)

        return run(main)

    return measure


@pytest.mark.parametrize("phase_s", [0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    "per_s, texts, throttled, over",
    [(100, 2048, 0.3, 1.15), (60, 2048, 0.3, 1.15), (10, 1024, 0.3, 1.15), (1, 256, 0.5, 1.5)],
)
def test_quota_that_nobody_names_is_learned(
    measured: Callable[..., Outcome], per_s: float, texts: int, throttled: float, over: float, phase_s: float
) -> None:
    """Every call gets through within the attempts it has."""
    outcome = measured(Quota(), lambda: Supply(per_s), texts, phase_s=phase_s)

    assert 0 < outcome.throttled <= throttled
    assert outcome.over <= over


@pytest.mark.parametrize("texts", [22, 64, 128])
def test_quota_of_twenty_calls_a_minute_is_learned_before_any_call_has_used_up_its_attempts(
    measured: Callable[..., Outcome], texts: int
) -> None:
    """What new accounts get for Cohere; 2,048 texts are 22 calls."""
    outcome = measured(Quota(), lambda: Supply(20 / 60), texts)

    assert outcome.over <= 1.5


@pytest.mark.parametrize("latency_s", [0.02, 0.3, 1.0])
def test_quota_is_learned_whatever_the_latency(measured: Callable[..., Outcome], latency_s: float) -> None:
    outcome = measured(Quota(), lambda: Supply(50, latency_s=latency_s), 1500)

    assert outcome.throttled <= 0.3
    assert outcome.over <= 1.2


@pytest.mark.parametrize("per_s, texts", [(100, 2048), (1, 120), (20 / 60, 60)])
def test_quota_that_is_known_is_kept(measured: Callable[..., Outcome], per_s: float, texts: int) -> None:
    outcome = measured(Quota(per_s * 60), lambda: Supply(per_s), texts)

    assert outcome.throttled == 0
    assert outcome.over <= 1.15


@pytest.mark.parametrize("believed, true", [(95, 60), (100, 10), (1000, 100)])
def test_quota_that_is_not_as_named_is_found_out(
    measured: Callable[..., Outcome], believed: float, true: float
) -> None:
    outcome = measured(Quota(believed * 60), lambda: Supply(true), 1500)

    assert 0 < outcome.throttled <= 0.3
    assert outcome.over <= 1.15


def test_quota_of_tokens_is_learned(measured: Callable[..., Outcome]) -> None:
    """300,000 a minute, and calls of 300."""
    outcome = measured(Quota(), lambda: Supply(5000, tokens=300), 1000, tokens=300)

    assert 0 < outcome.throttled <= 0.3
    assert outcome.over <= 1.2


def test_quota_of_tokens_that_is_known_is_kept(measured: Callable[..., Outcome]) -> None:
    outcome = measured(Quota(None, 300_000), lambda: Supply(5000, tokens=300), 1000, tokens=300)

    assert outcome.throttled == 0
    assert outcome.over <= 1.15


@pytest.mark.parametrize("estimated", [True, False])
@pytest.mark.parametrize("burst_s", [10, 60])
def test_calls_for_full_batches_of_long_texts_are_spaced_by_their_tokens(burst_s: float, estimated: bool) -> None:
    """96 texts of 512 tokens each, of 300,000 a minute: also when nobody counted them before the first throttle."""

    async def main() -> None:
        way, supply = make_way(Quota()), Supply(5000, burst_s=burst_s, latency_s=0.3, tokens=49_152)
        begun = time.monotonic()
        await request(way, supply, 22, tokens=49_152, lanes=22, estimated=estimated)
        floor_s = (22 * 49_152 - supply.most) / 5000
        assert supply.throttled
        assert time.monotonic() - begun <= 1.8 * floor_s

    run(main)


def test_what_others_take_of_a_quota_is_left_to_them_and_taken_back_when_they_end() -> None:
    async def main() -> None:
        way, supply = make_way(Quota(6000)), Supply(100)
        supply.per_s = 40
        begun = time.monotonic()
        await request(way, supply, 1000)
        assert time.monotonic() - begun <= 1.15 * 1000 / 40
        assert supply.throttled / supply.calls <= 0.3

        supply.per_s = 100
        begun, calls, throttled = time.monotonic(), supply.calls, supply.throttled
        await request(way, supply, 3000)
        assert time.monotonic() - begun <= 1.25 * 3000 / 100
        assert (supply.throttled - throttled) / (supply.calls - calls) <= 0.1

    run(main)


@pytest.mark.parametrize("per_s", [100, 200, 500])
def test_noisy_caller_harms_only_itself(per_s: int) -> None:
    """One asks for twenty times its share of a quota, the four others for less than theirs."""

    async def main(noisy: bool) -> dict[str, list[float | None]]:
        way, supply = make_way(Quota(per_s * 60)), Supply(per_s)
        patience = Patience(Metrics(), 30.0)
        took: dict[str, list[float | None]] = {}

        async def call(caller: str) -> None:
            begun = time.monotonic()
            deadline = begun + 10
            try:
                way.pacer.admit(1, 0, deadline, caller=caller)
                await patience.call((way,), Call(supply.send, lambda _: None, "m", deadline, caller=caller))
            except EmbedrockError:
                took.setdefault(caller, []).append(None)
            else:
                took.setdefault(caller, []).append(time.monotonic() - begun)

        async with asyncio.TaskGroup() as group:
            for tick in range(3000):
                for _ in range(2 * noisy):
                    group.create_task(call("noisy"))
                for number in range(4):
                    if tick % 13 == number:
                        group.create_task(call(f"quiet {number}"))
                await asyncio.sleep(0.5 / per_s)
        assert supply.throttled == 0
        assert (way.pacer.in_flight, way.pacer.waiting) == (0, 0)
        return took

    alone, took = run(lambda: main(False)), run(lambda: main(True))

    assert None in took.pop("noisy")
    assert sorted(took) == sorted(alone) == [f"quiet {number}" for number in range(4)]
    for caller, times in took.items():
        assert None not in times, "all are served"
        assert p99(times) <= 1.2 * p99(alone[caller])


def p99(times: list[float | None]) -> float:
    """Return what one in a hundred of those that were served takes at least."""
    served = sorted(seconds for seconds in times if seconds is not None)
    return served[int(len(served) * 0.99)]


@pytest.mark.parametrize("later_s", [0, 3, 10, 600])
def test_stray_throttle_at_low_traffic_does_not_slow_later_traffic_for_long(later_s: float) -> None:
    """One call was throttled for what others did; nothing is known of a quota from it."""

    async def main() -> float:
        way, supply = make_way(Quota()), Supply(1000, burst_s=10)
        way.pacer.succeeded(0)
        way.pacer.throttled()
        await asyncio.sleep(later_s)
        begun = time.monotonic()
        await request(way, supply, 2048)
        assert supply.throttled == 0
        return time.monotonic() - begun

    ideal_s = 2048 / 64 * 0.05

    assert run(main) <= (ideal_s + 10 if later_s < 60 else ideal_s + 0.5)


def test_throttles_of_tokens_one_after_the_other_do_not_stop_everything() -> None:
    """A call for a whole batch of long texts would else wait for hours."""

    async def main() -> None:
        way = make_way(Quota())
        for _ in range(60):
            way.pacer.throttled(tokens=True)
            await asyncio.sleep(1)
        await way.pacer.start(50_000)
        way.pacer.ended(50_000, 50_000)
        begun = time.monotonic()
        await way.pacer.start(1)
        assert time.monotonic() - begun <= 120
        way.pacer.ended(1, 1)

    run(main)


def test_caller_with_many_calls_in_line_is_not_passed_over_for_ever() -> None:
    """Six who ask again as soon as they are answered would else share all there is."""

    async def main() -> Counter[str]:
        pacer = make_way(Quota(6000)).pacer
        starts: Counter[str] = Counter()

        async def ask(caller: str) -> None:
            await pacer.start(0, caller=caller)
            starts[caller] += 1
            pacer.ended(0, None)

        async def lone(caller: str) -> None:
            while True:
                await ask(caller)
                await asyncio.sleep(0.01)

        asked = [asyncio.create_task(ask("large")) for _ in range(2000)]
        asked += [asyncio.create_task(lone(f"lone {number}")) for number in range(6)]
        await asyncio.sleep(20)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert pacer.waiting == 0
        return starts

    starts = run(main)

    assert starts["large"] >= 0.8 * starts.total() / 7
