"""One call, tried until it answers or trying again makes no sense, and every attempt counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

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
)
from embedrock.service.attempts import Patience
from embedrock.service.retry import POLICIES
from embedrock.telemetry import Metrics

BLIP = Unavailable("blip", retry=Retry.TRANSIENT)


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have chance draw the shortest wait, which is none."""
    monkeypatch.setattr("embedrock.service.attempts.random", lambda: 0.0)


class Calls:
    """Fails as told, then answers; keeps the times it was given."""

    def __init__(self, failures: Sequence[EmbedrockError]) -> None:
        self._failures: Iterator[EmbedrockError] = iter(failures)
        self.timeouts: list[float] = []

    async def send(self, timeout_s: float) -> str:
        self.timeouts.append(timeout_s)
        if failure := next(self._failures, None):
            raise failure
        return "answer"


async def ask(calls: Calls, metrics: Metrics | None = None, *, within_s: float = 60.0) -> tuple[str, int]:
    patience = Patience(metrics or Metrics(), 30.0)
    return await patience.call(calls.send, label="m", region=lambda: "us-east-1", deadline=time.monotonic() + within_s)


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

    assert await ask(Calls([]), metrics) == ("answer", 1)
    assert outcomes(metrics) == {"ok": 1}


async def test_attempts_are_made_until_one_answers() -> None:
    metrics = Metrics()

    found = await ask(Calls([BLIP, UpstreamThrottled("slow"), ModelWarming("wait")]), metrics)

    assert found == ("answer", 4)
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
        await ask(calls, metrics)

    assert caught.value is error
    assert len(calls.timeouts) == 1
    assert outcomes(metrics) == {outcome: 1}


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


async def test_each_attempt_is_counted_where_it_went() -> None:
    """A call may try another region when one fails."""
    metrics = Metrics()
    regions = iter(["us-east-1", "eu-west-1"])

    found = await Patience(metrics, 30.0).call(
        Calls([BLIP]).send, label="m", region=lambda: next(regions), deadline=time.monotonic() + 60
    )

    text = metrics.expose()[0].decode()
    assert found == ("answer", 2)
    assert 'embedrock_upstream_calls_total{model="m",outcome="upstream_unavailable",region="us-east-1"} 1.0' in text
    assert 'embedrock_upstream_calls_total{model="m",outcome="ok",region="eu-west-1"} 1.0' in text


async def test_attempt_that_is_cancelled_is_counted_and_not_repeated() -> None:
    metrics = Metrics()
    begun = asyncio.Event()

    async def hang(timeout_s: float) -> None:  # noqa: ARG001
        begun.set()
        await asyncio.Event().wait()

    patience = Patience(metrics, 30.0)
    calling = asyncio.create_task(
        patience.call(hang, label="m", region=lambda: "us-east-1", deadline=time.monotonic() + 60)
    )
    await begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling

    assert outcomes(metrics) == {"cancelled": 1}
