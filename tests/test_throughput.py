"""Quotas are spent and not overrun, calls are filled, and nothing is sent that nobody waits for.

The emulator has the quotas and the latency, and its journal is the witness. Callers who come together have their
connections already, and send before any of them reads. Each test has a gateway of its own: what one learns of a quota
slows the next.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil, log2
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Expected, Gateway, StartEmulator, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
TOO_LONG = "! " * 1000  # within 2,048 characters, and over 512 tokens: only Bedrock can tell


def texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


def a_second(rate: float) -> dict[str, str]:
    """Return the setting that tells a gateway Titan's quota, in requests a second."""
    return {"EMBEDROCK_QUOTAS": json.dumps({TITAN: {"requests_per_minute": rate * 60}})}


def until(true: Callable[[], object]) -> None:
    """Ask until `true()`; fail when it takes too long."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"


def ask_together(gateway: Gateway, asked: Sequence[str | list[str]]) -> list[Answer]:
    """Return the answers to callers who ask the English model within a few milliseconds."""
    with gateway.asked(*({"model": ENGLISH, "input": value} for value in asked)) as answers:
        return answers()


@contextlib.contextmanager
def one_in_flight(gateway: Gateway, emulator: Emulator, *, for_ms: int = 400) -> Iterator[None]:
    """Keep a call of the English model in flight, for longer than the calls of callers who come meanwhile take."""
    emulator.fault("latency_shift", n=1, factor=1, add_ms=for_ms)
    with gateway.asked({"model": ENGLISH, "input": "the one in flight"}) as answers:
        until(emulator.fired)
        yield
        assert answers()[0].status == 200


def further(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the calls that began while `one_in_flight` was, and ended before it."""
    assert rows[-1]["fault"] == "latency_shift", "the one in flight has to end last"
    assert max(row["at"] for row in rows) < rows[-1]["at"] + rows[-1]["took_ms"] / 1000
    return rows[:-1]


def tokens_of(answers: Sequence[Answer]) -> int:
    """Return the sum of the tokens that callers were told."""
    counts: list[int] = [answer.json()["usage"]["total_tokens"] for answer in answers]
    return sum(counts)


# ---------------------------------------------------------------------------------------------------- quotas


def test_2048_texts_go_through_a_small_quota_in_little_more_than_its_time(
    start_emulator: StartEmulator, start_gateway: StartGateway, expected: Expected
) -> None:
    """100 requests a second, of which a second can be saved up; the gateway knows that, or finds it out. Both at once,
    since nearly all of it is waiting."""
    floor_s = (2048 - 100) / 100

    def embed(known: dict[str, str]) -> tuple[Answer, float, list[int]]:
        emulator = start_emulator("--latency-ms", "20")
        emulator.quota(match={"model": TITAN}, requests_per_minute=6000, burst_s=1)
        gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **known)
        started = time.monotonic()
        answer = gateway.embed({"model": TITAN, "input": texts(2048)})
        return answer, time.monotonic() - started, [row["status"] for row in emulator.journal()]

    with ThreadPoolExecutor(2) as pool:
        (answer, took_s, statuses), (learned, learned_s, learned_statuses) = pool.map(embed, [a_second(100), {}])

    vectors = expected(TITAN, texts(2048))
    assert answer.vectors() == vectors
    assert learned.vectors() == vectors
    assert took_s <= 1.15 * floor_s
    assert learned_s <= 1.15 * floor_s
    assert statuses.count(200) == learned_statuses.count(200) == 2048
    assert statuses.count(429) <= 0.02 * len(statuses)
    assert 1 <= learned_statuses.count(429) <= 0.30 * len(learned_statuses)


def test_known_quota_is_spent_and_not_overrun(
    start_gateway: StartGateway, emulator: Emulator, expected: Expected
) -> None:
    """400 texts at 200 a second. How much can be saved up nobody says: the gateway does not count on it."""
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **a_second(200))
    emulator.quota(match={"model": TITAN}, requests_per_minute=12_000, burst_s=1)
    started = time.monotonic()

    answer = gateway.embed({"model": TITAN, "input": texts(400)})

    took_s = time.monotonic() - started
    rows = emulator.journal()
    assert answer.vectors() == expected(TITAN, texts(400))
    assert emulator.throttled() == len(rows) - 400 <= 0.02 * len(rows)
    assert took_s <= 1.15 * 400 / 200


def test_unknown_quota_costs_no_error(start_gateway: StartGateway, emulator: Emulator, expected: Expected) -> None:
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url)
    emulator.quota(match={"model": TITAN}, requests_per_minute=12_000, burst_s=1)
    emulator.latency(constant_ms=20)

    answer = gateway.embed({"model": TITAN, "input": texts(400)})

    rows = emulator.journal()
    assert answer.vectors() == expected(TITAN, texts(400))
    assert 1 <= emulator.throttled() == len(rows) - 400 <= 0.30 * len(rows)


def test_request_that_cannot_end_in_its_time_is_refused_at_the_door(
    start_gateway: StartGateway, emulator: Emulator, expected: Expected
) -> None:
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **a_second(10))
    in_time = {"x-request-timeout-ms": "3000"}
    started = time.monotonic()

    refused = gateway.embed({"model": TITAN, "input": texts(100)}, in_time)

    took_s = time.monotonic() - started
    error = refused.error()
    assert (refused.status, error["type"], error["code"]) == (429, "requests", "upstream_throttled")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert 1 <= int(refused.headers["retry-after-ms"]) <= 60_000
    assert took_s < 1.0
    assert emulator.journal() == []
    assert gateway.embed({"model": TITAN, "input": texts(5)}, in_time).vectors() == expected(TITAN, texts(5))


def test_request_that_cannot_end_behind_those_before_it_is_refused_at_the_door(
    start_gateway: StartGateway, emulator: Emulator, expected: Expected
) -> None:
    """60 texts at 50 a second may take two seconds; behind 80 others they may not."""
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **a_second(50))
    ask, in_time = {"model": TITAN, "input": texts(60)}, {"x-request-timeout-ms": "2000"}

    alone = gateway.embed(ask, in_time)
    emulator.clear()
    with gateway.asked({"model": TITAN, "input": texts(80)}) as answers:
        until(emulator.journal)
        refused = gateway.embed(ask, in_time)
        (first,) = answers()

    assert alone.vectors() == expected(TITAN, texts(60))
    assert (refused.status, refused.error()["code"]) == (429, "upstream_throttled")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert first.vectors() == expected(TITAN, texts(80))
    assert len(emulator.journal()) == 80


# ---------------------------------------------------------------------------------------------------- shared calls


def test_callers_who_come_together_share_calls(own_gateway: Gateway, emulator: Emulator, expected: Expected) -> None:
    """64 callers with a text each while a call is in flight, five times."""
    for _ in range(5):
        emulator.clear()
        emulator.latency(constant_ms=50)

        with one_in_flight(own_gateway, emulator):
            answers = ask_together(own_gateway, texts(64))

        rows = further(emulator.journal())
        assert [answer.vectors() for answer in answers] == [[vector] for vector in expected(ENGLISH, texts(64))]
        assert {answer.headers["x-embedrock-usage"] for answer in answers} == {"reported"}
        assert sum(row["items"] for row in rows) == 64
        assert tokens_of(answers) == sum(row["tokens"] for row in rows)
        # Three at most when all come within 5 ms, which tests/service shows; on a busy machine they come later.
        assert len(rows) <= 16


def test_text_that_bedrock_refuses_hurts_only_its_owner(
    own_gateway: Gateway, emulator: Emulator, expected: Expected
) -> None:
    emulator.latency(constant_ms=20)
    asked = texts(40)
    asked[17] = TOO_LONG

    with one_in_flight(own_gateway, emulator, for_ms=1000):
        answers = ask_together(own_gateway, asked)

    rows = further(emulator.journal())
    owner = answers.pop(17)
    assert owner.refusal() == ("input", "context_length_exceeded")
    assert [answer.vectors() for answer in answers] == [
        [vector] for vector in expected(ENGLISH, asked[:17] + asked[18:])
    ]
    assert tokens_of(answers) == sum(row["tokens"] for row in rows if row["status"] == 200)
    refused = [json.loads(row["request_body"])["texts"] for row in rows if row["status"] == 400]
    assert len(refused) > 1, "the text was alone from the first"
    assert all(TOO_LONG in sent for sent in refused)
    assert len(rows) <= 2 * ceil(log2(40)) + 3


def test_model_that_may_not_be_used_is_asked_once_for_a_shared_call(own_gateway: Gateway, emulator: Emulator) -> None:
    """A refusal that no text is to blame for is every owner's."""
    emulator.latency(constant_ms=20)

    with one_in_flight(own_gateway, emulator):
        emulator.fault("access_denied")
        answers = ask_together(own_gateway, texts(40))

    rows = further(emulator.journal())
    assert {(answer.status, answer.error()["code"]) for answer in answers} == {(403, "model_access_denied")}
    assert {row["fault"] for row in rows} == {"access_denied"}
    sent = [text for row in rows for text in json.loads(row["request_body"])["texts"]]
    assert sorted(sent) == sorted(texts(40))


def test_equal_texts_of_callers_are_sent_once_while_they_are_under_way(
    own_gateway: Gateway, emulator: Emulator, expected: Expected
) -> None:
    """30 callers with a text that all have, between one that only they have and one that two have."""
    emulator.latency(constant_ms=100)
    asked = [[f"own {number}", "a red bicycle", f"of two {number // 2}"] for number in range(30)]

    with one_in_flight(own_gateway, emulator):
        answers = ask_together(own_gateway, asked)

    rows = further(emulator.journal())
    sent = Counter(text for row in rows for text in json.loads(row["request_body"])["texts"])
    assert [answer.vectors() for answer in answers] == [expected(ENGLISH, texts) for texts in asked]
    assert sent == Counter({text for texts in asked for text in texts})
    assert tokens_of(answers) == sum(row["tokens"] for row in rows)


# ---------------------------------------------------------------------------------------------------- hanging up


@pytest.mark.parametrize("quota", [{}, a_second(500)], ids=["no quota", "at a quota"])
def test_no_call_starts_after_the_caller_hung_up(
    start_gateway: StartGateway, emulator: Emulator, expected: Expected, quota: dict[str, str]
) -> None:
    """In a request of 2,048 texts; what is in flight may end."""
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **quota)
    emulator.latency(constant_ms=20)
    with gateway.asked({"model": TITAN, "input": texts(2048)}):
        until(lambda: len(emulator.journal()) >= 100)
    hung_up = time.time()

    while time.time() < hung_up + 0.5:  # long enough for hundreds of calls
        answer = gateway.embed({"model": TITAN, "input": "another caller's"})
        assert answer.vectors() == expected(TITAN, ["another caller's"])

    started = [row["at"] for row in emulator.journal() if "another caller" not in row["request_body"]]
    assert 100 <= len(started) < 2000
    assert max(started) <= hung_up + 0.1


# ---------------------------------------------------------------------------------------------------- an outage


def test_outage_is_not_made_worse_and_its_end_is_noticed(
    own_gateway: Gateway, emulator: Emulator, expected: Expected
) -> None:
    """Requests go on until calls are no longer made, but for a probe a second."""

    def ask(number: int) -> Answer:
        return own_gateway.embed({"model": TITAN, "input": f"text {number}"})

    emulator.fault("server_error", status=503)
    answers: list[Answer] = []
    with ThreadPoolExecutor(16) as pool:
        while not answers or emulator.fired() >= len(answers):
            assert len(answers) < 20_000, "calls are made for ever"
            answers += pool.map(ask, range(400))
        calls, started = emulator.fired(), time.monotonic()
        answers += pool.map(ask, range(400))
        probes = emulator.fired() - calls
        probed_s = time.monotonic() - started

    assert {(answer.status, answer.error()["code"]) for answer in answers} == {(503, "upstream_unavailable")}
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in answers)
    assert probes <= 1 + probed_s
    assert emulator.fired() == len(emulator.journal()) <= 1.10 * len(answers)

    emulator.clear()
    ended = time.monotonic()
    while ask(0).status != 200:
        assert time.monotonic() < ended + 2, "it does not notice that Bedrock is back"
    back = [ask(number) for number in range(50)]
    assert [answer.vectors() for answer in back] == [[vector] for vector in expected(TITAN, texts(50))]
