"""Latency: how profiles are spread, whom they are for, and that calls take that time."""

from __future__ import annotations

import http.client
import json
import math
import socket
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bedrock_emulator.latency import LatencyTable, Lognormal, read
from bedrock_emulator.settings import BadSettingError
from bedrock_emulator.table import Names

from .conftest import ENGLISH, SIGNED, TITAN, Running, running


def names(model: str = TITAN) -> Names:
    return {"op": ("InvokeModel",), "model": (model,), "region": ("us-east-1",), "account": ("AKID",)}


def draws(count: int, **settings: Any) -> list[float]:
    """Return the milliseconds of so many calls, none of which hangs."""
    latency = read(settings)
    drawn = [latency.draw(0) for _ in range(count)]
    assert latency.calls == count
    return [seconds * 1000 for seconds in drawn if seconds is not None]


def test_a_lognormal_profile_has_the_median_and_the_p95_it_was_given() -> None:
    spread = Lognormal(0.060, 0.150)

    assert spread.quantile(0.5) == pytest.approx(0.060)
    assert spread.quantile(0.95) == pytest.approx(0.150)
    assert spread.quantile(0.99) == pytest.approx(0.060 * math.exp(2.3263 * math.log(2.5) / 1.6449), rel=1e-4)
    assert spread.quantile(0.05) == pytest.approx(0.060**2 / 0.150)


def test_a_tail_takes_over_above_the_99th_percentile_and_ends_at_its_cap() -> None:
    plain, tailed = Lognormal(0.060, 0.150), Lognormal(0.060, 0.150, alpha=1.1, cap_s=60)
    p99 = plain.quantile(0.99)

    assert [tailed.quantile(share) for share in (0.1, 0.5, 0.99)] == [plain.quantile(s) for s in (0.1, 0.5, 0.99)]
    assert tailed.quantile(0.999) == pytest.approx(p99 * 10 ** (1 / 1.1))
    assert tailed.quantile(0.9999) == pytest.approx(p99 * 100 ** (1 / 1.1))
    assert tailed.quantile(1 - 1e-9) == 60


def test_a_cap_under_the_99th_percentile_cuts_the_tail_only() -> None:
    spread = Lognormal(0.060, 0.150, alpha=1.1, cap_s=0.001)

    assert spread.quantile(0.999) == spread.quantile(0.99) > 0.150


def test_calls_are_drawn_as_spread_and_repeated_by_the_seed() -> None:
    drawn = draws(4000, median_ms=60, p95_ms=150, seed=3)

    assert statistics.median(drawn) == pytest.approx(60, rel=0.05)
    assert statistics.quantiles(drawn, n=20)[-1] == pytest.approx(150, rel=0.1)
    assert drawn == draws(4000, median_ms=60, p95_ms=150, seed=3)
    assert drawn != draws(4000, median_ms=60, p95_ms=150, seed=4)


def test_a_constant_has_no_spread_and_tokens_are_added() -> None:
    assert set(draws(10, constant_ms=50)) == {50.0}
    assert read({"constant_ms": 50, "per_token_ms": 0.04}).draw(1000) == pytest.approx(0.090)


def test_a_share_of_calls_hangs() -> None:
    latency = read({"constant_ms": 1, "hang": 0.01, "seed": 1})
    hanging = sum(latency.draw(0) is None for _ in range(10_000))

    assert 70 <= hanging <= 130
    assert read({"constant_ms": 1, "hang": 1}).draw(0) is None


def test_the_newest_profile_that_means_a_call_speaks() -> None:
    table = LatencyTable(0.005, [read({"constant_ms": 10, "match": {"model": ENGLISH}})])
    assert (table.draw(names(), 0), table.draw(names(ENGLISH), 0)) == (0.005, 0.010)

    table.post({"constant_ms": 20})
    table.post({"constant_ms": 30, "match": {"model": TITAN}})
    assert (table.draw(names(), 0), table.draw(names(ENGLISH), 0)) == (0.030, 0.020)
    assert [row["calls"] for row in table.list()] == [1, 1]

    table.remove()
    assert (table.draw(names(), 0), table.draw(names(ENGLISH), 0)) == (0.005, 0.010)


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ([], "body"),
        ({}, "median_ms"),
        ({"constant_ms": 1, "median_ms": 1, "p95_ms": 2}, "median_ms"),
        ({"constant_ms": -1}, "constant_ms"),
        ({"median_ms": 60}, "p95_ms"),
        ({"median_ms": 60, "p95_ms": 59}, "p95_ms"),
        ({"median_ms": 0, "p95_ms": 59}, "p95_ms"),
        ({"median_ms": 60, "p95_ms": 150, "tail_alpha": 0}, "tail_alpha"),
        ({"median_ms": 60, "p95_ms": 150, "tail_cap_ms": "long"}, "tail_cap_ms"),
        ({"constant_ms": 1, "tail_alpha": 1}, "tail_alpha"),
        ({"constant_ms": 1, "hang": 1.1}, "hang"),
        ({"constant_ms": 1, "per_token_ms": "x"}, "per_token_ms"),
        ({"constant_ms": 1, "seed": -1}, "seed"),
        ({"constant_ms": 1, "match": {"op": "InvokeModel"}}, "match.op"),
        ({"constant_ms": 1, "jitter": 1}, "jitter"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused_by_the_members_name(body: Any, member: str) -> None:
    with pytest.raises(BadSettingError, match=f"^{member}: "):
        read(body)


# Over HTTP.


@pytest.fixture
def bedrock(emulator: Running) -> Iterator[Running]:
    """The emulator, with no latency before and after."""
    emulator.request("DELETE", "/_emulator/latency")
    yield emulator
    emulator.request("DELETE", "/_emulator/latency")


def test_a_call_takes_what_was_posted_and_its_tokens(bedrock: Running) -> None:
    entry = bedrock.post("latency", {"constant_ms": 20, "per_token_ms": 1}).json

    answer = bedrock.invoke(TITAN, {"inputText": "one two three four five six seven eight nine ten"})
    tokens = answer.json["inputTextTokenCount"]
    assert tokens > 10
    assert int(answer.headers["x-amzn-bedrock-invocation-latency"]) >= 20 + tokens
    assert bedrock.journal()[0]["took_ms"] >= 20 + tokens
    assert bedrock.request("GET", "/_emulator/latency").json == {"latency": [{**entry, "calls": 1}]}


def test_other_models_refusals_and_listings_come_at_once(bedrock: Running) -> None:
    bedrock.post("latency", {"constant_ms": 5000, "match": {"model": TITAN}})

    assert bedrock.invoke(ENGLISH, {"texts": ["hello"], "input_type": "search_query"}).status == 200
    assert bedrock.invoke(TITAN, {}).status == 400
    assert bedrock.client("bedrock").list_foundation_models()["modelSummaries"]
    assert [row["calls"] for row in bedrock.request("GET", "/_emulator/latency").json["latency"]] == [0]


def test_a_bad_profile_is_refused_and_a_good_one_removed(bedrock: Running) -> None:
    assert bedrock.post("latency", {"constant_ms": "x"}).status == 400
    entry = bedrock.post("latency", {"constant_ms": 60_000}).json

    assert bedrock.request("DELETE", f"/_emulator/latency/{entry['id']}").status == 200
    assert bedrock.invoke(TITAN, {"inputText": "hello"}).status == 200


def test_a_call_that_hangs_has_no_answer_and_is_in_the_journal(bedrock: Running) -> None:
    bedrock.post("latency", {"constant_ms": 0, "hang": 1})
    connection = http.client.HTTPConnection(bedrock.url.removeprefix("http://"), timeout=0.2)
    connection.request(
        "POST", f"/model/{TITAN}/invoke", b'{"inputText":"hello"}', {"Authorization": SIGNED.format(region="us-east-1")}
    )
    with pytest.raises(socket.timeout):
        connection.getresponse()
    connection.close()

    (row,) = bedrock.journal()
    assert (row["status"], row["response_sha256"], row["fault"]) == (None, None, None)


def test_the_command_line_takes_profiles() -> None:
    profile = {"constant_ms": 300, "match": {"model": TITAN}}
    options = ["--latency-ms", "1", "--latency", json.dumps(profile)]
    with running(*options) as emulator, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda text: emulator.invoke(TITAN, {"inputText": text}), "abcd"))
        other = emulator.invoke(ENGLISH, {"texts": ["a"], "input_type": "search_query"})
        rows = emulator.journal()

    assert all(int(answer.headers["x-amzn-bedrock-invocation-latency"]) >= 300 for answer in answers)
    assert max(row["concurrency"] for row in rows) > 1
    assert 1 <= int(other.headers["x-amzn-bedrock-invocation-latency"]) < 300
