"""Quotas: what is let through, what is refused, in which words, and for whom. Time is a number here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bedrock_emulator.errors import AwsError
from bedrock_emulator.quotas import Ask, QuotaTable, estimate

from .conftest import ENGLISH, PROFILE_ARN, SIGNED, TITAN, Running

V4 = "cohere.embed-v4:0"
_MIDNIGHT = 1_767_225_600.0  # the first second of a year, UTC


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = _MIDNIGHT + 1000

    def __call__(self) -> float:
        return self.now


class Bedrock:
    """A table with one quota, and callers of it."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.table = QuotaTable(self.clock)
        self.table.post(settings)

    def call(self, *, tokens: int = 0, characters: int = 4, account: str = "AKID", quota_of: str = TITAN) -> str:
        """Return "" when the call is let through, else the words of the refusal."""
        names = {"op": ("InvokeModel",), "model": (quota_of,), "region": ("us-east-1",), "account": (account,)}
        body = json.dumps({"inputText": "x" * characters}).encode()
        try:
            grant = self.table.admit(Ask(quota_of, "us-east-1", account, body, names))
        except AwsError as error:
            assert (error.status, error.name) == (429, "ThrottlingException")
            return error.message
        assert grant is not None
        grant.settle(tokens)
        return ""

    def passed(self, calls: int) -> int:
        """Return how many of so many calls at once are let through."""
        return sum(not self.call() for _ in range(calls))


@pytest.mark.parametrize(
    ("settings", "at_once", "after_1_s", "after_1_h"),
    [
        ({"requests_per_minute": 600}, 10, 10, 10),
        ({"requests_per_minute": 600, "burst_s": 3}, 30, 10, 30),
        ({"requests_per_minute": 600, "burst": 25}, 25, 10, 25),
        ({"requests_per_minute": 60}, 1, 1, 1),
        ({"requests_per_minute": 20}, 1, 0, 1),
        ({"requests_per_minute": 20, "burst_s": 60}, 20, 0, 20),
        ({"requests_per_minute": 0}, 0, 0, 0),
        ({"requests_per_minute": 0, "burst": 1}, 1, 0, 0),
    ],
)
def test_a_bucket_lets_through_what_was_saved_up_and_then_the_rate(
    settings: dict[str, float], at_once: int, after_1_s: int, after_1_h: int
) -> None:
    bedrock = Bedrock(**settings)
    assert bedrock.passed(100) == at_once

    bedrock.clock.now += 1
    assert bedrock.passed(100) == after_1_s

    bedrock.clock.now += 3600
    assert bedrock.passed(100) == after_1_h


def test_in_no_time_more_passes_than_was_saved_up_and_came() -> None:
    """One call every 3 ms for a minute, at 100 a second: what is refused takes nothing away."""
    bedrock = Bedrock(requests_per_minute=6000, burst_s=1)
    passed = 0
    for _ in range(20_000):
        bedrock.clock.now += 0.003
        passed += bedrock.passed(1)

    assert 100 + 5999 <= passed <= 100 + 6000


def test_a_window_is_full_again_when_the_next_one_begins() -> None:
    bedrock = Bedrock(requests_per_minute=200, window_s=6)
    windows = []
    for _ in range(5):
        windows.append([bedrock.passed(15), bedrock.passed(15)])
        bedrock.clock.now += 5.9
        windows[-1].append(bedrock.passed(1))
        bedrock.clock.now += 0.1

    assert windows == [[15, 5, 0]] * 5


def test_a_window_saves_nothing_up() -> None:
    bedrock = Bedrock(requests_per_minute=200, window_s=6)
    bedrock.clock.now += 60

    assert bedrock.passed(100) == 20


def test_tokens_are_reserved_by_their_characters_and_corrected_to_their_count() -> None:
    bedrock = Bedrock(tokens_per_minute=6000)  # 100 a second, one second saved up
    assert bedrock.call(characters=160, tokens=90) == ""  # 40 were reserved

    assert bedrock.call(characters=44) == "Too many tokens, please wait before trying again."
    assert bedrock.call(characters=40, tokens=0) == ""  # 10 were reserved, and come back
    assert bedrock.call(characters=40, tokens=11) == ""
    bedrock.clock.now += 0.015
    assert bedrock.call(characters=4) != ""  # it is one short of nothing, and 1.5 came
    bedrock.clock.now += 0.01
    assert bedrock.call(characters=4) == ""
    assert bedrock.table.list()[0]["used_tokens"] == 101


def test_a_call_over_all_that_can_be_saved_up_goes_when_nothing_is_missing_and_leaves_a_debt() -> None:
    bedrock = Bedrock(tokens_per_minute=6000)
    assert bedrock.call(characters=4000, tokens=1000) == ""

    bedrock.clock.now += 9
    assert bedrock.call() != ""
    bedrock.clock.now += 0.99
    assert bedrock.call(characters=4000) != ""
    bedrock.clock.now += 0.05
    assert bedrock.call(characters=4, tokens=1) == ""
    assert bedrock.call(characters=4000) != ""


def test_requests_and_tokens_have_to_be_there_both() -> None:
    bedrock = Bedrock(requests_per_minute=120, tokens_per_minute=6000)

    assert bedrock.call(characters=500) == ""  # more than can be saved up
    assert bedrock.call() == ""
    assert bedrock.call() == "Too many requests, please wait before trying again."


def test_the_tokens_of_a_day_come_back_at_midnight() -> None:
    bedrock = Bedrock(tokens_per_day=100)
    assert bedrock.call(tokens=100) == ""

    assert bedrock.call() == "Too many tokens per day, please wait before trying again."
    bedrock.clock.now = _MIDNIGHT + 86_400 - 0.1
    assert bedrock.call() != ""
    bedrock.clock.now += 0.2
    assert bedrock.call() == ""


@pytest.mark.parametrize(("settings", "least", "most"), [({}, 0.55, 0.65), ({"window_s": 10}, 0.65, 0.8)])
def test_others_take_their_share_at_random(settings: dict[str, float], least: float, most: float) -> None:
    """Whoever asks all the time gets what they leave, more when it comes at once; the same seed leaves the same."""
    passed: dict[int, list[int]] = {}
    for seed in (1, 1, 2):
        bedrock = Bedrock(requests_per_minute=6000, shared={"share": 0.4, "seed": seed}, **settings)
        bedrock.passed(100)
        seconds = []
        for _ in range(60):
            bedrock.clock.now += 1
            seconds.append(bedrock.passed(100))
        assert passed.setdefault(seed, seconds) == seconds

    assert passed[1] != passed[2]
    assert least * 6000 <= sum(passed[1]) <= most * 6000


def test_others_leave_a_lone_caller_who_comes_late_what_is_saved_up() -> None:
    bedrock = Bedrock(requests_per_minute=6000, shared={"share": 0.4})
    bedrock.clock.now += 1e6

    assert 95 <= bedrock.passed(200) <= 100


def test_each_account_and_each_profile_has_its_own() -> None:
    bedrock = Bedrock(requests_per_minute=1, burst=2)

    others: list[dict[str, Any]] = [
        {},
        {"account": "AKOTHER"},
        {"quota_of": f"us.{V4}"},
        {"quota_of": f"global.{V4}"},
    ]
    for other in others:
        assert [bedrock.call(**other) == "" for _ in range(3)] == [True, True, False], other

    (quota,) = bedrock.table.list()
    assert (quota["used"], quota["throttled"], quota["since"]) == (8, 4, _MIDNIGHT + 1000)
    assert [(row["model"], row["account"], row["used"], row["throttled"]) for row in quota["accounts"]] == [
        (TITAN, "AKID", 2, 1),
        (TITAN, "AKOTHER", 2, 1),
        (f"us.{V4}", "AKID", 2, 1),
        (f"global.{V4}", "AKID", 2, 1),
    ]


def test_a_call_has_to_be_within_all_quotas_that_mean_it_and_takes_from_none_otherwise() -> None:
    bedrock = Bedrock(requests_per_minute=60, burst=10)
    bedrock.table.post({"requests_per_minute": 60, "burst": 3})
    bedrock.table.post({"requests_per_minute": 0, "match": {"account": "AKOTHER"}})

    assert bedrock.passed(20) == 3
    assert [(row["used"], row["throttled"]) for row in bedrock.table.list()] == [(3, 0), (3, 17), (0, 0)]
    bedrock.table.remove(2)
    assert bedrock.passed(20) == 7


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"inputText": "x" * 41}, 11),
        ({"texts": ["x" * 20, "y" * 20], "input_type": "search_document"}, 10),
        ({"images": ["data:image/png;base64," + "x" * 4000]}, 1),
        ({"inputs": [{"content": [{"type": "text", "text": "x" * 40}]}]}, 10),
        ({"singleEmbeddingParams": {"text": {"truncationMode": "NONE", "value": "x" * 40}}}, 10),
        ({"inputText": ["x" * 40]}, 1),
        ([], 1),
    ],
)
def test_what_is_reserved_is_a_quarter_of_the_characters_of_texts(body: Any, tokens: int) -> None:
    assert estimate(json.dumps(body).encode()) == tokens


# Over HTTP.


@pytest.fixture
def bedrock(emulator: Running) -> Iterator[Running]:
    """The emulator, with no quota before and after."""
    emulator.request("DELETE", "/_emulator/quotas")
    yield emulator
    emulator.request("DELETE", "/_emulator/quotas")


def quotas(emulator: Running) -> Any:
    return emulator.request("GET", "/_emulator/quotas").json["quotas"]


def statuses(emulator: Running, calls: int, model: str = TITAN, region: str = "us-east-1") -> list[int]:
    return [emulator.invoke(model, {"inputText": "hello"}, region=region).status for _ in range(calls)]


def test_over_the_quota_the_answer_is_bedrocks_429_at_once(bedrock: Running) -> None:
    entry = bedrock.post("quotas", {"match": {"model": TITAN}, "requests_per_minute": 1, "burst": 2}).json
    bedrock.post("latency", {"constant_ms": 1})
    try:
        assert statuses(bedrock, 2) == [200, 200]
        answer = bedrock.invoke(TITAN, {"inputText": "hello"})
        assert bedrock.request("GET", "/_emulator/latency").json["latency"][0]["calls"] == 2
    finally:
        bedrock.request("DELETE", "/_emulator/latency")

    assert answer.status == 429
    assert answer.headers["x-amzn-errortype"].startswith("ThrottlingException:")
    assert answer.json == {"message": "Too many requests, please wait before trying again."}
    assert "retry-after" not in answer.headers
    assert [(row["status"], row["fault"]) for row in bedrock.journal()] == [(200, None), (200, None), (429, None)]
    counts = {"used": 2, "used_tokens": 4, "throttled": 1}
    account = {"model": TITAN, "region": "us-east-1", "account": "AKIDEXAMPLE", **counts}
    assert quotas(bedrock) == [{**entry, **counts, "accounts": [account]}]


def test_a_quota_is_for_the_calls_it_matches(bedrock: Running) -> None:
    bedrock.post("quotas", {"match": {"model": ENGLISH}, "requests_per_minute": 0})
    bedrock.post("quotas", {"match": {"region": "eu-west-1"}, "requests_per_minute": 0})
    bedrock.post("quotas", {"match": {"account": "bearer"}, "requests_per_minute": 0})
    bearer = {"Authorization": "Bearer bedrock-api-key-x"}

    assert statuses(bedrock, 1) == [200]
    assert statuses(bedrock, 1, ENGLISH) == [429]
    assert statuses(bedrock, 1, region="eu-west-1") == [429]
    assert bedrock.request("POST", f"/model/{TITAN}/invoke", b"{}", bearer).status == 429
    assert bedrock.client("bedrock").list_foundation_models()["modelSummaries"]
    assert [(row["used"], row["throttled"]) for row in quotas(bedrock)] == [(0, 1), (0, 1), (0, 1)]


@pytest.mark.parametrize(
    ("called", "counted"),
    [
        (V4, V4),
        (f"arn:aws:bedrock:us-east-1::foundation-model/{V4}", V4),
        (f"us.{V4}", f"us.{V4}"),
        (f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.{V4}", f"global.{V4}"),
        (PROFILE_ARN, TITAN),
    ],
)
def test_what_counts_is_the_model_or_its_system_profile(bedrock: Running, called: str, counted: str) -> None:
    bedrock.post("quotas", {"requests_per_minute": 600})
    bedrock.invoke(called, {})

    assert [row["model"] for row in quotas(bedrock)[0]["accounts"]] == [counted]


def test_access_keys_are_accounts(bedrock: Running) -> None:
    bedrock.post("quotas", {"requests_per_minute": 1})
    signed = SIGNED.format(region="us-east-1")
    answers = [
        bedrock.request("POST", f"/model/{TITAN}/invoke", b"{}", {"Authorization": signed.replace("AKIDEXAMPLE", key)})
        for key in ("AKID1", "AKID1", "AKID2")
    ]

    assert [answer.status for answer in answers] == [400, 429, 400]


def test_what_was_reserved_for_a_call_that_fails_comes_back(bedrock: Running) -> None:
    bedrock.post("quotas", {"tokens_per_minute": 60, "burst_s": 2})
    bedrock.fault(fault="server_error", n=3)

    assert statuses(bedrock, 4) == [500, 500, 500, 200]
    assert quotas(bedrock)[0]["used_tokens"] == 2


def test_quotas_are_removed_one_by_one_or_all(bedrock: Running) -> None:
    first, _ = (bedrock.post("quotas", {"requests_per_minute": 0}).json for _ in range(2))

    assert bedrock.request("DELETE", f"/_emulator/quotas/{first['id']}").status == 200
    assert bedrock.request("DELETE", f"/_emulator/quotas/{first['id']}").status == 404
    assert statuses(bedrock, 1) == [429]
    assert bedrock.request("DELETE", "/_emulator/quotas").status == 200
    assert statuses(bedrock, 1) == [200]


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({}, "requests_per_minute"),
        ({"requests_per_minute": -1}, "requests_per_minute"),
        ({"tokens_per_minute": "many"}, "tokens_per_minute"),
        ({"tokens_per_day": True}, "tokens_per_day"),
        ({"requests_per_minute": 1, "burst": 0.5}, "burst"),
        ({"requests_per_minute": 1, "burst_s": -1}, "burst_s"),
        ({"requests_per_minute": 60, "window_s": 0}, "window_s"),
        ({"requests_per_minute": 60, "window_s": 0.5}, "window_s"),
        ({"requests_per_minute": 60, "window_s": 6, "burst": 1}, "window_s"),
        ({"requests_per_minute": 1, "shared": 0.4}, "shared"),
        ({"requests_per_minute": 1, "shared": {"share": 2}}, "shared.share"),
        ({"requests_per_minute": 1, "shared": {"seed": "x"}}, "shared.seed"),
        ({"requests_per_minute": 1, "shared": {"part": 1}}, "shared.part"),
        ({"requests_per_minute": 1, "match": {"op": "InvokeModel"}}, "match.op"),
        ({"requests_per_minute": 1, "rpm": 1}, "rpm"),
    ],
)
def test_a_quota_that_makes_no_sense_is_refused_by_the_members_name(bedrock: Running, body: Any, member: str) -> None:
    answer = bedrock.post("quotas", body)

    assert answer.status == 400
    assert answer.json["message"].startswith(f"{member}: ")
    assert quotas(bedrock) == []
