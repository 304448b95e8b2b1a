"""The calls of requests: alone when nobody is there, together otherwise, and what is told of each to its own caller."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock import vectors
from embedrock.catalog import Alias, Names
from embedrock.errors import (
    BadRequest,
    ContextTooLong,
    EmbedrockError,
    ModelAccessDenied,
    Retry,
    Unavailable,
    UpstreamThrottled,
    UpstreamTimeout,
)
from embedrock.service.callers import Caller
from embedrock.service.calls import estimate_tokens, split
from embedrock.service.coalescer import WINDOW_S
from embedrock.service.embedder import Embedder, Options, Reply
from embedrock.service.health import Health
from embedrock.service.pacer import Pacer, Quota
from embedrock.service.ways import Ways
from embedrock.telemetry import Metrics
from embedrock.vectors import Array

from .stand_ins import ENGLISH, NOVA, TITAN, V4, Sent, StandIn
from .virtual_time import run

LATENCY_S = 0.05
SECOND = 1 / 0.95  # between two starts at a known quota of 60 a minute
POOL = {"pool": [Alias(TITAN, region="us-east-1"), Alias(TITAN, region="eu-west-1")]}
NAMES = Names(["us-east-1", "eu-west-1"], aliases=POOL)


def bedrock(sent: Sent) -> bytes | EmbedrockError:
    """Answer with vectors that tell by their first number how long their text is; refuse texts that begin with bad."""
    texts: list[str] = sent.body.get("texts") or [sent.body.get("inputText", "")]
    if any(text.startswith("bad") for text in texts):
        return BadRequest("no")
    if any(text.startswith("long") for text in texts):
        return ContextTooLong("too long")
    if sent.path == TITAN:
        row = [float(len(texts[0])), *[0.0] * 1022, 1.0]
        return json.dumps({"embedding": row, "inputTextTokenCount": estimate_tokens(texts[0])}).encode()
    if sent.path == NOVA:
        value = sent.body["singleEmbeddingParams"]["text"]["value"]
        cut = {"truncatedCharLength": 9} if len(value) > 8192 else {}
        row = [float(len(value)), *[0.0] * 3070, 1.0]
        return json.dumps({"embeddings": [{"embedding": row, "embeddingType": "TEXT"} | cut]}).encode()
    kind = sent.body["embedding_types"][0]
    size = 1024 if sent.path == ENGLISH else sent.body.get("output_dimension", 1536)
    rows: list[list[float]] = [[len(text), *[0] * (size - 2), 1] for text in texts]
    return json.dumps({"embeddings": {kind: rows}}).encode()


class Gateway:
    """An embedder of one process, and the regions it calls."""

    def __init__(
        self,
        quota: Quota = Quota(),  # noqa: B008
        *,
        answer: Callable[[Sent], bytes | EmbedrockError] = bedrock,
        latency_s: float = LATENCY_S,
        options: Options | None = None,
    ) -> None:
        self.regions = {name: StandIn(answer, latency_s) for name in NAMES.regions}
        self.ways = Ways(self.regions)
        for place in self.regions:
            for model in (TITAN, ENGLISH, V4):
                pace = Pacer(quota, clock=time.monotonic)
                self.ways._shared[place, model] = (pace, Health(time.monotonic))
        self.embedder = Embedder(NAMES, self.ways, Metrics(), options or Options())

    @property
    def sent(self) -> list[Sent]:
        return self.regions["us-east-1"].sent

    @property
    def texts(self) -> list[int]:
        """How many texts each call held."""
        return [len(sent.body["texts"]) for sent in self.sent]

    async def embed(self, model: str, value: object, *, caller: str = "", **asked: Any) -> Reply[Array]:
        asked.setdefault("render", vectors.as_json)
        return await self.embedder.embed(model, value, caller=Caller(caller), **asked)

    async def refusal(self, model: str, value: object, **asked: Any) -> EmbedrockError:
        with pytest.raises(EmbedrockError) as caught:
            await self.embed(model, value, **asked)
        return caught.value

    def assert_nothing_left(self) -> None:
        for pacer in self.ways.all().values():
            assert (pacer.in_flight, pacer.waiting, *map(len, pacer._turns._planned)) == (0, 0, 0, 0)
        assert all(shared.idle for shared in self.embedder._calls._coalescers.values())


def firsts(reply: Reply[Array]) -> list[float]:
    return [json.loads(bytes(array))[0] for array in reply.vectors]


async def elapsed(coming: Awaitable[object]) -> float:
    begun = time.monotonic()
    await coming
    return time.monotonic() - begun


# ---------------------------------------------------------------- splitting what was counted


@given(st.integers(0, 100_000), st.lists(st.integers(1, 5000), min_size=1, max_size=96))
def test_tokens_of_a_call_are_split_as_exactly_as_whole_numbers_can_be(total: int, weights: list[int]) -> None:
    parts = split(total, weights)

    assert sum(parts) == total
    assert len(parts) == len(weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) < 1


@given(st.integers(0, 1000), st.integers(1, 96), st.integers(1, 50))
def test_of_equal_texts_the_first_get_the_rest(total: int, count: int, weight: int) -> None:
    parts = split(total, [weight] * count)

    assert parts == sorted(parts, reverse=True)
    assert parts[0] - parts[-1] <= 1


# ---------------------------------------------------------------- a lone caller


class Awaited:
    """Runs a coroutine by hand, and counts how often it waits."""

    def __init__(self) -> None:
        self.waits = 0

    def run(self, coming: Coroutine[Any, Any, Any]) -> Any:
        while True:
            try:
                coming.send(None)
            except StopIteration as end:
                return end.value
            self.waits += 1


@pytest.mark.parametrize("model", [TITAN, ENGLISH, V4])
@pytest.mark.parametrize("value", ["text", ["text"]])
def test_lone_caller_waits_for_the_answer_and_for_nothing_else(model: str, value: object) -> None:
    """There is no event loop here at all: no task, no future and no timer is made on its way."""
    gateway = Gateway(latency_s=0)
    counting = Awaited()

    reply = counting.run(gateway.embed(model, value))

    assert firsts(reply) == [4]
    assert counting.waits == 1, "the stand-in for the network waits once"
    gateway.assert_nothing_left()


def test_lone_caller_makes_no_task_also_where_a_quota_is_known() -> None:
    gateway = Gateway(Quota(6000, 6_000_000), latency_s=0)
    counting = Awaited()

    counting.run(gateway.embed(V4, ["a", "b", "c"]))

    assert counting.waits == 1
    gateway.assert_nothing_left()


def test_callers_one_after_the_other_never_wait_for_each_other() -> None:
    async def main() -> None:
        gateway = Gateway()
        for _ in range(5):
            assert await elapsed(gateway.embed(V4, ["a", "b"])) == pytest.approx(LATENCY_S, abs=1e-6)
        assert gateway.texts == [2] * 5

    run(main)


# ---------------------------------------------------------------- callers together


def test_callers_that_come_together_share_calls() -> None:
    """64 within 5 ms, while one call is under way: three more calls at most, and nobody waits long."""

    async def main() -> None:
        gateway = Gateway()
        async with asyncio.TaskGroup() as group:
            group.create_task(gateway.embed(V4, "first"))
            await asyncio.sleep(0.001)
            asking = []
            for number in range(64):
                asking.append(group.create_task(elapsed(gateway.embed(V4, f"text {number}"))))
                await asyncio.sleep(0.005 / 64)
        assert sum(gateway.texts) == 65
        assert len(gateway.texts) <= 4
        times = sorted(task.result() for task in asking)
        assert times[32] <= 1.2 * LATENCY_S
        assert times[-1] <= LATENCY_S + WINDOW_S + 1e-6  # virtual time: nothing but the window is added
        gateway.assert_nothing_left()

    run(main)


def test_small_quota_is_spent_on_full_calls() -> None:
    """20 calls in 6 seconds, 200 callers with one text each: 93 % of what 20 full calls hold, in each window."""

    async def main() -> None:
        gateway = Gateway(Quota(200))
        done: list[float] = []
        begun = time.monotonic()

        async def caller(name: str) -> None:
            while time.monotonic() < begun + 40:
                await gateway.embed(V4, name, caller=name)
                done.append(time.monotonic() - begun)

        await asyncio.gather(*[caller(str(number)) for number in range(200)])
        for window in range(1, 6):
            in_window = sum(window * 6 <= at < window * 6 + 6 for at in done)
            assert in_window >= 0.93 * 20 * 96
        gateway.assert_nothing_left()

    run(main)


def test_each_gets_its_own_vectors_and_tokens() -> None:
    async def main() -> None:
        gateway = Gateway()
        wanted = [["x" * (caller + number + 1) for number in range(caller % 5 + 1)] for caller in range(40)]
        replies = await asyncio.gather(*[gateway.embed(V4, texts, caller=str(texts)) for texts in wanted])
        for texts, reply in zip(wanted, replies, strict=True):
            assert firsts(reply) == [len(text) for text in texts]
            assert reply.regions == ("us-east-1",)
        assert len(gateway.sent) < 10
        estimated = {text: estimate_tokens(text) for sent in gateway.sent for text in sent.body["texts"]}
        assert sum(reply.tokens for reply in replies) == sum(
            estimated[text] for sent in gateway.sent for text in sent.body["texts"]
        )
        assert not any(reply.reported for reply in replies)
        gateway.assert_nothing_left()

    run(main)


@pytest.mark.parametrize(
    "asked",
    [
        {"dimensions": 256},
        {"params": [{"input_type": "search_query"}]},
        {"params": [{"embedding_types": ["int8"]}]},
        {"params": [{"truncate": "END"}]},
        {"headers": (("x-amzn-bedrock-trace", "ENABLED"),)},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_only_requests_that_want_the_same_share_calls(asked: dict[str, Any]) -> None:
    async def main() -> None:
        gateway = Gateway()
        first = asyncio.create_task(gateway.embed(V4, "first"))
        await asyncio.sleep(0.001)
        await asyncio.gather(
            *[gateway.embed(V4, f"plain {number}") for number in range(5)],
            gateway.embed(V4, "first other", **asked),
            *[gateway.embed(V4, f"other {number}", **asked) for number in range(5)],
            first,
        )
        assert sorted(gateway.texts) == [1, 1, 5, 5]
        for sent in gateway.sent:
            assert len({text.split()[0] for text in sent.body["texts"] if not text.startswith("first")}) <= 1
        gateway.assert_nothing_left()

    run(main)


def test_sharing_can_be_switched_off() -> None:
    async def main() -> None:
        gateway = Gateway(options=Options(shares_calls=False))
        await asyncio.gather(*[gateway.embed(V4, str(number)) for number in range(10)])
        assert gateway.texts == [1] * 10

    run(main)


def test_full_calls_go_alone_and_their_rest_with_others() -> None:
    async def main() -> None:
        gateway = Gateway()
        texts = [f"text {number}" for number in range(200)]
        replies = await asyncio.gather(*[gateway.embed(V4, [f"{name}{text}" for text in texts]) for name in "ab"])
        assert sorted(gateway.texts) == [16, 96, 96, 96, 96]
        assert [len(reply.vectors) for reply in replies] == [200, 200]
        gateway.assert_nothing_left()

    run(main)


def test_tokens_of_a_call_that_filled_up_while_it_waited_are_all_reserved() -> None:
    async def main() -> None:
        gateway = Gateway(Quota(None, 60_000))  # 950 a second
        first = asyncio.create_task(gateway.embed(V4, "x" * 4000))
        await asyncio.sleep(0.001)
        asking = [asyncio.create_task(gateway.embed(V4, f"{number:04}" + "x" * 396)) for number in range(96)]
        await asyncio.sleep(1.2)
        assert gateway.texts == [1, 96]
        pacer = gateway.ways.all()["us-east-1", V4]
        assert pacer._tokens is not None
        assert pacer._tokens.level(time.monotonic()) < -9000
        await asyncio.gather(first, *asking)
        gateway.assert_nothing_left()

    run(main)


# ---------------------------------------------------------------- what goes wrong


def test_refused_text_is_named_to_its_caller_and_hurts_nobody_else() -> None:
    async def main() -> None:
        gateway = Gateway()
        first = asyncio.create_task(gateway.embed(V4, "first"))
        await asyncio.sleep(0.001)
        good = [asyncio.create_task(gateway.embed(V4, [f"a{number}", "b"])) for number in range(20)]
        bad = asyncio.create_task(gateway.refusal(V4, ["a", "b", "a", "bad", "c"]))
        await asyncio.sleep(0)
        long = asyncio.create_task(gateway.refusal(V4, "long"))

        for reply in await asyncio.gather(*good):
            assert len(reply.vectors) == 2
        also_bad = await gateway.refusal(V4, ["first too", "bad"])
        refused, too_long = await bad, await long
        assert (type(refused), refused.param) == (BadRequest, "input[3]"), "by the index that the caller knows"
        assert (type(also_bad), also_bad.param) == (BadRequest, "input[1]"), "and that each knows"
        assert (type(too_long), too_long.param) == (ContextTooLong, "input")
        assert too_long.message.startswith("'input' is longer than the 128000 tokens")
        await first
        gateway.assert_nothing_left()

    run(main)


def test_caller_with_its_own_number_of_retries_shares_no_calls() -> None:
    """A call has one number of them."""

    async def main() -> None:
        gateway = Gateway()
        await asyncio.gather(*[gateway.embed(V4, str(number), retries=number % 2) for number in range(10)])
        assert gateway.texts == [1] * 10

    run(main)


def test_refusal_of_all_costs_the_callers_one_call() -> None:
    async def main() -> None:
        gateway = Gateway(answer=lambda _: ModelAccessDenied("no", param="model"))
        found = await asyncio.gather(*[gateway.refusal(V4, f"text {number}") for number in range(90)])
        assert {(type(error), error.param) for error in found} == {(ModelAccessDenied, "model")}
        assert len(gateway.sent) == 2
        gateway.assert_nothing_left()

    run(main)


def test_caller_whose_time_passes_is_told_and_the_others_go_on() -> None:
    async def main() -> None:
        gateway = Gateway()
        first = asyncio.create_task(gateway.embed(V4, "first"))
        await asyncio.sleep(0.001)
        hurried = asyncio.create_task(gateway.refusal(V4, ["same", "mine"], timeout_s=0.02))
        patient = asyncio.create_task(gateway.embed(V4, "same"))
        begun = time.monotonic()
        assert type(await hurried) is UpstreamTimeout
        assert time.monotonic() - begun == pytest.approx(0.02, abs=1e-6)
        assert firsts(await patient) == [4]
        await first
        gateway.assert_nothing_left()

    run(main)


@pytest.mark.parametrize("model, most", [(TITAN, 64), (V4, 22)])
def test_no_call_starts_for_a_caller_who_has_hung_up(model: str, most: int) -> None:
    async def main() -> None:
        for quota in (Quota(), Quota(60), Quota(None, 6000)):
            gateway = Gateway(quota)
            asking = asyncio.create_task(gateway.embed(model, [f"text {number}" for number in range(300)]))
            await asyncio.sleep(LATENCY_S / 2)
            before = len(gateway.sent)
            assert 1 <= before <= most
            asking.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(600)
            assert asking.cancelled()
            assert len(gateway.sent) == before
            gateway.assert_nothing_left()

    run(main)


def test_request_does_not_end_well_with_fewer_vectors_when_something_of_ours_breaks() -> None:
    def broken(sent: Sent) -> bytes:
        if len(sent.body["texts"]) < 96:
            raise ZeroDivisionError
        answer = bedrock(sent)
        assert isinstance(answer, bytes)
        return answer

    async def main() -> None:
        gateway = Gateway(answer=broken)
        texts = [f"text {number}" for number in range(100)]
        error = await gateway.refusal(V4, texts)
        assert (error.status, error.code) == (500, None)
        gateway.assert_nothing_left()

    run(main, breaks=ZeroDivisionError)


# ---------------------------------------------------------------- at the door


def test_request_that_cannot_end_in_time_is_refused_before_anything_is_sent() -> None:
    async def main() -> None:
        gateway = Gateway(Quota(60))
        texts = [f"text {number}" for number in range(100)]
        error = await gateway.refusal(TITAN, texts, timeout_s=60)
        assert (type(error), error.retry_after_s) == (UpstreamThrottled, 45)
        assert gateway.sent == []

        reply = await gateway.embed(TITAN, texts[:50], timeout_s=60)
        assert len(reply.vectors) == 50
        gateway.assert_nothing_left()

    run(main)


def test_requests_that_were_let_in_are_reckoned_with() -> None:
    """Not only those of their calls that stand in line: a request has a few lanes."""

    async def main() -> None:
        gateway = Gateway(Quota(60), options=Options(lanes=4))
        texts = [f"text {number}" for number in range(40)]
        first = asyncio.create_task(gateway.embed(TITAN, texts, timeout_s=60))
        await asyncio.sleep(1)
        error = await gateway.refusal(TITAN, texts, timeout_s=60)
        assert type(error) is UpstreamThrottled
        assert error.retry_after_s is not None
        await asyncio.sleep(error.retry_after_s)
        begun = time.monotonic()
        await gateway.embed(TITAN, texts, timeout_s=60)
        assert time.monotonic() - begun <= 60
        await first
        gateway.assert_nothing_left()

    run(main)


def test_small_request_is_let_in_beside_large_ones() -> None:
    """It takes its turn between their calls."""

    async def main() -> None:
        gateway = Gateway(Quota(60))
        large = [
            asyncio.create_task(gateway.embed(TITAN, [f"{name} {number}" for number in range(size)], caller=name))
            for name, size in (("a", 60), ("b", 60), ("bulk", 200))
        ]
        await asyncio.sleep(2)
        took = await elapsed(gateway.embed(TITAN, ["one", "two"], caller="small", timeout_s=10))
        assert took <= 8 * SECOND
        await asyncio.gather(*large)
        gateway.assert_nothing_left()

    run(main)


def test_texts_that_wait_to_share_calls_are_seen_at_the_door() -> None:
    async def main() -> None:
        gateway = Gateway(Quota(20))
        waiting = [asyncio.create_task(gateway.embed(V4, f"text {number}")) for number in range(1000)]
        await asyncio.sleep(0)
        error = await gateway.refusal(V4, "one more", timeout_s=20)
        assert type(error) is UpstreamThrottled
        took = await elapsed(gateway.embed(V4, "another", timeout_s=20, caller="else"))
        assert took <= 20
        assert took <= 3 * 3 * SECOND + 1, "callers take turns"
        await asyncio.gather(*waiting)
        assert len(gateway.sent) <= 13
        gateway.assert_nothing_left()

    run(main)


def test_places_of_a_pool_are_reckoned_together() -> None:
    async def main() -> None:
        gateway = Gateway(Quota(60))
        texts = [f"text {number}" for number in range(100)]
        assert await elapsed(gateway.embed("pool", texts, timeout_s=60)) <= 60
        assert [len(region.sent) for region in gateway.regions.values()] == [50, 50]
        gateway.assert_nothing_left()

    run(main)


def test_tokens_are_estimated_wherever_one_place_of_a_pool_counts_them() -> None:
    async def main() -> None:
        gateway = Gateway()
        counting = Pacer(Quota(None, 60_000), clock=time.monotonic)
        gateway.ways._shared["us-east-1", TITAN] = (Pacer(Quota(6), clock=time.monotonic), Health(time.monotonic))
        gateway.ways._shared["eu-west-1", TITAN] = (counting, Health(time.monotonic))
        asking = [asyncio.create_task(gateway.embed("pool", "x" * 4000)) for _ in range(2)]
        await asyncio.sleep(LATENCY_S / 2)
        assert [len(region.sent) for region in gateway.regions.values()] == [1, 1]
        assert counting._tokens is not None
        assert counting._tokens.level(time.monotonic()) < -850
        await asyncio.gather(*asking)

    run(main)


# ---------------------------------------------------------------- equal texts


@pytest.mark.parametrize("model", [TITAN, ENGLISH, V4])
async def test_equal_texts_of_a_request_are_sent_once(model: str) -> None:
    gateway = Gateway(latency_s=0)

    reply = await gateway.embed(model, ["a", "bb", "a", "ccc", "bb", "a"])

    sent = [text for sent in gateway.sent for text in sent.body.get("texts") or [sent.body["inputText"]]]
    assert sent == ["a", "bb", "ccc"]
    assert firsts(reply) == [1, 2, 1, 3, 2, 1]
    assert reply.tokens == 3


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dddd", "eeeee"]), min_size=1, max_size=30))
def test_vectors_stand_where_their_texts_do(texts: list[str]) -> None:
    for model in (TITAN, V4):
        gateway = Gateway()
        reply = run(lambda model=model, gateway=gateway: gateway.embed(model, texts))  # type: ignore[misc]
        assert firsts(reply) == [len(text) for text in texts]


@pytest.mark.parametrize(
    "model, value, param",
    [
        (TITAN, ["a", "a", "bad"], "input[2]"),
        (TITAN, ["a", "bad", "a", "bad"], "input[1]"),
        (V4, ["a", "a", "bad"], "input"),
        (TITAN, ["a", "a", "a", "long"], "input[3]"),
        (V4, ["long", "long"], "input[0]"),
        (V4, ["b", "a", "b", "long"], "input"),
    ],
)
async def test_text_is_named_by_the_index_where_it_stands_first(model: str, value: list[str], param: str) -> None:
    error = await Gateway(latency_s=0).refusal(model, value)

    assert error.param == param


async def test_first_and_last_of_a_call_are_named_by_where_they_stand() -> None:
    error = await Gateway(latency_s=0).refusal(V4, ["b", "b", "a", "b", "long"])

    assert error.message.startswith("One of 'input[0]' to 'input[4]' is longer than")


async def test_every_copy_of_a_text_that_was_cut_is_told() -> None:
    gateway = Gateway(latency_s=0)
    long = "x" * 9000

    reply = await gateway.embed(NOVA, ["a", long, "a", "b", long], params=[{"truncate": "END"}])

    assert reply.truncated == (1, 4)
    assert len(gateway.sent) == 3


async def test_texts_that_are_equal_when_cut_are_sent_once() -> None:
    gateway = Gateway(latency_s=0)

    reply = await gateway.embed(ENGLISH, ["x" * 3000, "a", "x" * 4000], params=[{"truncate": "END"}])

    assert [len(text) for text in gateway.sent[0].body["texts"]] == [2048, 1]
    assert firsts(reply) == [2048, 1, 2048]
    assert reply.truncated == (0, 2)


# ---------------------------------------------------------------- a bad day


@pytest.mark.parametrize("model", [TITAN, V4])
def test_large_requests_survive_throttles_and_blips(model: str) -> None:
    """Every tenth call is throttled and every twentieth breaks."""
    count = 0

    def shaky(sent: Sent) -> bytes | EmbedrockError:
        nonlocal count
        count += 1
        if count % 10 == 3:
            return UpstreamThrottled("slow")
        if count % 20 == 8:
            return Unavailable("blip")
        return bedrock(sent)

    async def main() -> None:
        def answer(sent: Sent) -> bytes | EmbedrockError:
            found = shaky(sent)
            if isinstance(found, Unavailable):
                found.retry = Retry.TRANSIENT
            return found

        gateway = Gateway(answer=answer)
        texts = [f"{number % 500}" for number in range(1000)]
        replies = await asyncio.gather(*[gateway.embed(model, texts, caller=name) for name in "abc"])
        for reply in replies:
            assert firsts(reply) == [len(text) for text in texts]
        assert count > len(texts) / 96
        gateway.assert_nothing_left()

    run(main)
