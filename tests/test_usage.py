"""What is reported is what was used: tokens as AWS counted them, calls as made, lanes as allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway, StartEmulator, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
MULTILINGUAL = "cohere.embed-multilingual-v3"
MODELS = (TITAN, ENGLISH, MULTILINGUAL)


def words(count: int) -> list[str]:
    """Return `count` texts of various lengths, all different, spaces only among them."""
    return [
        f"{index} " + "word " * (index * 31 % 17) + "\u8a9e" * (index % 3) if index % 15 else " " * (1 + index // 15)
        for index in range(count)
    ]


def journal_tokens(rows: list[dict[str, Any]]) -> int:
    return sum(row["tokens"] for row in rows)


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
@pytest.mark.parametrize("count", [1, 2, 95, 96, 97, 300])
@pytest.mark.parametrize("model", MODELS)
def test_usage_is_exactly_the_sum_of_the_journals_tokens(
    gateway: Gateway, emulator: Emulator, model: str, count: int, encoding_format: str
) -> None:
    answer = gateway.embed({"model": model, "input": words(count), "encoding_format": encoding_format})

    rows = emulator.journal()
    tokens = journal_tokens(rows)
    calls = count if model == TITAN else -(-count // 96)
    assert answer.json()["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert answer.headers["x-embedrock-usage"] == "reported"
    assert answer.headers["x-embedrock-upstream-calls"] == str(calls)
    assert len(rows) == calls
    assert sum(row["items"] for row in rows) == count


@pytest.mark.parametrize("model", MODELS)
def test_equal_texts_of_a_request_are_sent_and_charged_once(
    gateway: Gateway, emulator: Emulator, expected: Expected, model: str
) -> None:
    different = words(110)
    texts = [different[index * 7 % 110] for index in range(330)]
    before = gateway.metric("embedrock_inputs_total", model=model)

    answer = gateway.embed({"model": model, "input": texts})

    rows = emulator.journal()
    assert answer.vectors() == expected(model, texts)
    assert sum(row["items"] for row in rows) == 110
    assert answer.headers["x-embedrock-upstream-calls"] == str(len(rows))
    answer.check_usage(rows)
    assert gateway.metric("embedrock_inputs_total", model=model) - before == 330


@settings(max_examples=15, deadline=None)
@given(model=st.sampled_from(MODELS), texts=st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=100))
def test_usage_of_any_texts_is_exactly_the_sum_of_the_journals_tokens(
    gateway: Gateway, emulator: Emulator, model: str, texts: list[str]
) -> None:
    emulator.clear()

    usage = gateway.embed({"model": model, "input": texts}).json()["usage"]

    assert usage["prompt_tokens"] == usage["total_tokens"] == journal_tokens(emulator.journal())


@pytest.mark.parametrize("model", MODELS)
def test_a_lone_empty_text_is_charged_as_the_space_it_became(gateway: Gateway, emulator: Emulator, model: str) -> None:
    usage = gateway.embed({"model": model, "input": ""}).json()["usage"]

    assert usage["total_tokens"] == journal_tokens(emulator.journal()) >= 1


@pytest.mark.parametrize("model", MODELS)
def test_metrics_count_what_was_embedded(gateway: Gateway, emulator: Emulator, model: str) -> None:
    before = gateway.metric("embedrock_tokens_total", model=model, source="reported")
    inputs_before = gateway.metric("embedrock_inputs_total", model=model)
    calls_before = gateway.metric("embedrock_upstream_calls_total", model=model, outcome="ok")

    gateway.embed({"model": model, "input": words(120)})

    rows = emulator.journal()
    assert gateway.metric("embedrock_tokens_total", model=model, source="reported") - before == journal_tokens(rows)
    assert gateway.metric("embedrock_inputs_total", model=model) - inputs_before == 120
    assert gateway.metric("embedrock_upstream_calls_total", model=model, outcome="ok") - calls_before == len(rows)


def test_lost_attempts_are_calls_but_no_tokens(own_gateway: Gateway, emulator: Emulator) -> None:
    emulator.fault("server_error", n=2)

    answer = own_gateway.embed({"model": TITAN, "input": ["one", "two", "three"]})

    rows = emulator.journal()
    assert answer.status == 200
    assert answer.headers["x-embedrock-upstream-calls"] == str(len(rows)) == "5"
    assert answer.json()["usage"]["total_tokens"] == journal_tokens([row for row in rows if row["status"] == 200])


def test_each_region_is_named_in_header_and_signature(gateway_with: StartGateway, emulator: Emulator) -> None:
    """The first of the regions is the default; a name may ask for another one of them, and for no other."""
    gateway = gateway_with(AWS_BEDROCK_REGIONS="eu-west-1,us-east-1")

    default = gateway.embed({"model": TITAN, "input": "a"})
    named = gateway.embed({"model": f"bedrock/us-east-1/{TITAN}", "input": "a"})
    foreign = gateway.embed({"model": f"bedrock/ap-south-1/{TITAN}", "input": "a"})

    assert (default.headers["x-embedrock-region"], named.headers["x-embedrock-region"]) == ("eu-west-1", "us-east-1")
    assert [row["region"] for row in emulator.journal()] == ["eu-west-1", "us-east-1"]
    assert 400 <= foreign.status < 500
    assert foreign.error()["param"] == "model"


def test_gateway_alone_decides_how_often_a_call_is_made(gateway: Gateway, emulator: Emulator) -> None:
    """No header of a caller, and no second layer, adds calls."""
    gateway.embed(
        {"model": TITAN, "input": "a"}, {"x-stainless-retry-count": "2", "amz-sdk-request": "attempt=1; max=3"}
    )

    (row,) = emulator.journal()
    assert "amz-sdk-request" not in row["headers"]
    assert "x-stainless-retry-count" not in row["headers"]


@pytest.mark.parametrize(("lanes", "count", "calls"), [("1", 6, 6), ("4", 40, 40), ("64", 200, 200)])
def test_at_most_so_many_calls_of_a_request_are_in_flight(
    start_emulator: StartEmulator, start_gateway: StartGateway, lanes: str, count: int, calls: int
) -> None:
    slow = start_emulator("--latency-ms", "100")
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=slow.url, EMBEDROCK_LANES=lanes)

    answer = gateway.embed({"model": TITAN, "input": words(count)})

    rows = slow.journal()
    assert answer.status == 200
    assert len(rows) == calls
    assert max(row["concurrency"] for row in rows) == int(lanes)


def test_cohere_calls_share_the_lanes_too(start_emulator: StartEmulator, start_gateway: StartGateway) -> None:
    slow = start_emulator("--latency-ms", "100")
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=slow.url, EMBEDROCK_LANES="3")

    gateway.embed({"model": ENGLISH, "input": words(1000)})

    rows = slow.journal()
    assert sorted(row["items"] for row in rows) == [40, *[96] * 10]
    assert max(row["concurrency"] for row in rows) == 3
