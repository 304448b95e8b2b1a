"""What an account pays, row by row of docs/explanation/what-is-charged.md, over HTTP, on both databases."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.account_books import Books, Money

from embedrock.catalog import MODELS
from embedrock.catalog.prices import Billed, cost_usd, micro_credits
from embedrock.settings import Settings
from embedrock.store import reports

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Gateway, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
COHERE = "cohere.embed-english-v3"
RICH = 1_000_000
#: Models that are made to fail, each for one test: the gateway remembers for a while.
FAILING = (
    "amazon.titan-embed-text-v1",
    "amazon.titan-embed-g1-text-02",
    "amazon.titan-embed-image-v1",
    "cohere.embed-multilingual-v3",
)


def price(model: str, tokens: int, texts: int = 1, images: int = 0) -> int:
    """Return the micro-credits of what AWS bills."""
    usd = cost_usd(MODELS[model], Billed(tokens, texts, images))
    return micro_credits(usd, Settings().credits_per_usd)


class Charged:
    """A gateway with accounts."""

    def __init__(self, gateway: Gateway, books: Books) -> None:
        self.gateway = gateway
        self.books = books

    def post(self, key: str, body: dict[str, Any], path: str = "/v1/embeddings", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"content-type": "application/json", "authorization": f"Bearer {key}", **named}
        return self.gateway.request("POST", path, json.dumps(body).encode(), sent)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def charged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gateway_with: StartGateway
) -> Charged:
    if request.param == "sqlite":
        books = Books(f"sqlite:///{tmp_path_factory.mktemp('books') / 'embedrock.db'}")
    else:
        books = Books(f"{request.getfixturevalue('postgres_url')}_charges")  # keys in it are nobody else's
    books.make()
    return Charged(gateway_with(EMBEDROCK_API_KEY="operator", EMBEDROCK_MCP="true", **books.environ), books)


def wait_for(condition: Callable[[], bool]) -> None:
    """Return when something that happens elsewhere has happened."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def tokens_of(emulator: Emulator) -> int:
    return sum(row["tokens"] for row in emulator.journal() if row["op"] == "InvokeModel" and row["status"] == 200)


def test_answer_costs_what_bedrock_counted_and_is_recorded(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    body = {"model": TITAN, "input": ["one text", "and another one"], "user": "u-1", "metadata": {"job": "7"}}
    answer = charged.post(key, body)

    assert answer.status == 200, answer.body
    tokens = tokens_of(emulator)
    cost = price(TITAN, tokens)
    [entry] = charged.books.entries("team")
    assert entry == (
        *("use", cost, 0, answer.headers["x-request-id"], f"key_{charged.books.id('team')}", TITAN),
        *(tokens, "u-1", '{"job":"7"}'),
    )
    assert charged.books.settled("team") == Money(RICH, cost, 0)


def test_operators_key_is_nobodys_account(charged: Charged) -> None:
    charged.books.account("team", RICH)

    counted = charged.books.write(lambda tx: tx.execute("SELECT count(*) FROM entries"))

    assert charged.post("operator", {"model": TITAN, "input": "x"}).status == 200
    assert charged.books.write(lambda tx: tx.execute("SELECT count(*) FROM entries")) == counted


def test_account_without_limit_is_counted(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("free", None)
    answer = charged.post(key, {"model": TITAN, "inputText": "hello there"}, "/v1/aws-bedrock/embeddings")

    cost = price(TITAN, tokens_of(emulator))
    assert answer.json()["usage"] == {"credits_used": cost, "credits_remaining": None}
    assert charged.books.settled("free") == Money(0, cost, 0)


def test_native_answer_tells_what_is_left(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    spent = 0
    for text in ("hello", "hello again, with some more words"):
        emulator.clear()
        usage = charged.post(key, {"model": TITAN, "inputText": text}, "/v1/aws-bedrock/embeddings").json()["usage"]
        spent += price(TITAN, tokens_of(emulator))
        assert usage == {"credits_used": price(TITAN, tokens_of(emulator)), "credits_remaining": RICH - spent}


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/embeddings", {"model": TITAN_IMAGE, "input": "a text"}),
        ("/api/v3/inference/embeddings", {"model": TITAN, "input": "word " * 40}),
        ("/v1/aws-bedrock/embeddings", {"model": TITAN, "inputText": "word " * 40}),
    ],
)
def test_request_that_is_not_covered_is_refused_before_bedrock_is_called(
    charged: Charged, emulator: Emulator, path: str, body: dict[str, Any]
) -> None:
    key = charged.books.account("poor", 1)
    answer = charged.post(key, body, path)

    assert (answer.status, answer.error()["code"]) == (402, "insufficient_credits")
    assert answer.error()["param"] is None, "it is no input that lacks credits"
    assert "the account has 0.000001 left" in answer.error()["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert emulator.journal() == []
    assert charged.books.settled("poor") == Money(1, 0, 0)


def test_request_that_is_wrong_costs_nothing(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)

    assert charged.post(key, {"model": TITAN, "input": "x", "dimensions": 300}).status == 400
    assert charged.post(key, {"model": "no-such-model", "input": "x"}).status == 404
    assert charged.books.entries("team") == []
    assert emulator.journal() == []


def test_budget_of_a_key_ends_it_before_the_account(charged: Charged, pictures: dict[str, str]) -> None:
    each = price(TITAN_IMAGE, 0, 0, 1)
    key = charged.books.account("team", RICH, budget_day=2 * each)
    answers = [charged.post(key, {"model": TITAN_IMAGE, "input": pictures["png"]}) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 402]
    assert "the key's budget (day) has 0 left" in answers[-1].error()["message"]
    assert charged.books.settled("team") == Money(RICH, 2 * each, 0)


def test_credits_are_spent_to_the_last_by_callers_at_once(charged: Charged, pictures: dict[str, str]) -> None:
    """A picture has one price, so what is held is what it costs: exactly as many win as there is money for."""
    each = price(TITAN_IMAGE, 0, 0, 1)
    key = charged.books.account("team", 5 * each + each // 2)
    statuses: list[int] = []

    def send() -> None:
        statuses.append(charged.post(key, {"model": TITAN_IMAGE, "input": pictures["png"]}).status)

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [200] * 5 + [402] * 15
    assert charged.books.settled("team") == Money(5 * each + each // 2, 5 * each, 0)


def test_failure_costs_nothing(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    emulator.fault("model_error")

    assert charged.post(key, {"model": FAILING[0], "input": "x"}).status >= 500
    assert emulator.fired() > 0
    assert charged.books.settled("team") == Money(RICH, 0, 0)
    assert charged.books.entries("team") == []


def test_retries_are_not_charged(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    emulator.fault("server_error", n=1)

    assert charged.post(key, {"model": FAILING[1], "input": "some words"}).status == 200
    assert emulator.fired() == 1
    assert charged.books.settled("team").posted == price(FAILING[1], tokens_of(emulator))


def test_fan_out_that_fails_in_part_costs_nothing_and_is_absorbed(charged: Charged, emulator: Emulator) -> None:
    """One text is answered before another is refused; the operator has paid for the first."""
    key = charged.books.account("team", RICH)
    emulator.fault("hang", after=1)
    body = {"model": FAILING[2], "input": ["answered", "not answered"]}
    answer = charged.post(key, body, x_request_timeout_ms="700")

    assert answer.status == 504
    tokens = tokens_of(emulator)
    assert tokens > 0
    assert charged.books.settled("team") == Money(RICH, 0, 0)
    [entry] = charged.books.entries("team")
    assert (entry.kind, entry.amount, entry.absorbed, entry.tokens) == (
        "absorbed",
        0,
        price(FAILING[2], tokens),
        tokens,
    )
    [told] = charged.books.write(lambda tx: reports.usage(tx, "model", charged.books.id("team")))
    assert (told.requests, told.tokens, told.cost, told.absorbed) == (0, 0, 0, entry.absorbed), "operators see it"


def test_caller_who_hangs_up_pays_nothing(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    emulator.latency(constant_ms=1000)
    sent = json.dumps({"model": TITAN, "input": "x"}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    with contextlib.closing(charged.gateway.connect()) as connection:
        connection.request("POST", "/v1/embeddings", sent, headers)
        wait_for(lambda: charged.books.money("team").pending > 0)

    assert charged.books.settled("team") == Money(RICH, 0, 0)
    assert charged.books.entries("team") == []
    wait_for(lambda: len(emulator.journal()) == 1)  # the call, which nobody waits for, has ended there too


def test_texts_of_a_shared_call_are_charged_to_their_owners(charged: Charged, emulator: Emulator) -> None:
    keys = {name: charged.books.account(name, RICH) for name in ("a", "b", "c")}
    emulator.latency(constant_ms=150)
    with contextlib.ExitStack() as stack:
        asked = []
        for number in range(24):
            connection = stack.enter_context(contextlib.closing(charged.gateway.connect()))
            connection.connect()
            asked.append((connection, keys["abc"[number % 3]], f"text {number} " + "more " * number))
        for connection, key, text in asked:
            sent = json.dumps({"model": COHERE, "input": text}).encode()
            headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
            connection.request("POST", "/v1/embeddings", sent, headers)
        statuses = {connection.getresponse().status for connection, _, _ in asked}

    assert statuses == {200}
    assert len(emulator.journal()) < 24, "texts shared calls"
    entries = [entry for name in keys for entry in charged.books.entries(name)]
    assert len(entries) == 24
    assert sum(entry.tokens or 0 for entry in entries) == tokens_of(emulator)
    assert all(entry.amount == price(COHERE, entry.tokens or 0) for entry in entries)


def test_equal_texts_of_a_request_are_charged_once(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    charged.post(key, {"model": TITAN, "input": ["the same words"] * 5})

    assert len(emulator.journal()) == 1
    assert charged.books.settled("team").posted == price(TITAN, tokens_of(emulator))


def test_cost_beyond_what_is_left_is_absorbed(charged: Charged, emulator: Emulator) -> None:
    """A script without spaces has more tokens than a quarter of its characters."""
    key = charged.books.account("team", 50)
    answer = charged.post(key, {"model": TITAN, "input": "東京都港区" * 180})

    assert answer.status == 200, answer.body
    cost = price(TITAN, tokens_of(emulator))
    [entry] = charged.books.entries("team")
    assert cost > 50
    assert (entry.amount, entry.absorbed) == (50, cost - 50)
    [told] = charged.books.write(lambda tx: reports.usage(tx, "key", charged.books.id("team")))
    assert (told.requests, told.cost, told.absorbed, told.whose[0]) == (1, 50, cost - 50, "test")
    assert charged.books.settled("team") == Money(50, 50, 0)


def test_mcp_pays_for_each_call_of_a_tool(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    arguments = {"query": "what is it", "texts": ["one thing", "another thing"]}
    call = {"name": "search_texts", "arguments": arguments}
    answer = charged.post(
        key,
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
        "/mcp",
        accept="application/json, text/event-stream",
    )

    assert answer.status == 200, answer.body
    assert not answer.json()["result"].get("isError"), answer.body
    entries = charged.books.entries("team")
    assert {entry.request.partition(".")[0] for entry in entries if entry.request} == {answer.headers["x-request-id"]}
    assert sum(entry.tokens or 0 for entry in entries) == tokens_of(emulator)
    assert charged.books.settled("team").posted == sum(entry.amount for entry in entries)


# ------------------------------------------------------------------------------------------------- idempotency keys


def test_request_that_is_sent_again_is_answered_alike_and_charged_once(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    body = {"model": TITAN, "input": "once"}
    first = charged.post(key, body, idempotency_key="k-1")
    second = charged.post(key, body, idempotency_key="k-1")

    assert (second.status, second.body) == (200, first.body)
    assert second.headers["x-embedrock-usage"] == first.headers["x-embedrock-usage"]
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(emulator.journal()) == len(charged.books.entries("team")) == 1


def test_native_request_that_is_sent_again_is_answered_alike(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    answers = [
        charged.post(key, {"model": TITAN, "inputText": "x"}, "/v1/aws-bedrock/embeddings", idempotency_key="k")
        for _ in range(2)
    ]

    assert answers[0].body == answers[1].body
    assert len(emulator.journal()) == 1


def test_other_request_with_the_same_idempotency_key_is_refused(charged: Charged) -> None:
    key = charged.books.account("team", RICH)
    assert charged.post(key, {"model": TITAN, "input": "once"}, idempotency_key="k-1").status == 200
    other = charged.post(key, {"model": TITAN, "input": "twice"}, idempotency_key="k-1")

    assert (other.status, other.error()["code"]) == (422, "idempotency_key_reused")


def test_request_whose_first_is_under_way_is_told_to_wait(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    emulator.latency(constant_ms=1000)
    body = {"model": TITAN, "input": "slow"}
    first = threading.Thread(target=charged.post, args=(key, body), kwargs={"idempotency_key": "k-1"})
    first.start()
    wait_for(lambda: charged.books.money("team").pending > 0)
    second = charged.post(key, body, idempotency_key="k-1")
    first.join()

    assert (second.status, second.error()["code"]) == (409, "idempotency_in_progress")
    assert second.headers["retry-after"] == "1"
    assert charged.post(key, body, idempotency_key="k-1").status == 200
    assert len(charged.books.entries("team")) == 1


def test_requests_at_once_with_one_idempotency_key_are_charged_once(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    sent = [({"model": TITAN, "input": f"text {n}"}, f"k-{n}") for n in range(10) for _ in range(4)]
    with ThreadPoolExecutor(len(sent)) as pool:
        answers = list(pool.map(lambda one: charged.post(key, one[0], idempotency_key=one[1]), sent))

    assert {answer.status for answer in answers} <= {200, 409}
    assert len(charged.books.entries("team")) == len(emulator.journal()) == 10


def test_failed_request_may_be_sent_again_with_its_idempotency_key(charged: Charged, emulator: Emulator) -> None:
    key = charged.books.account("team", RICH)
    body = {"model": FAILING[3], "input": "x"}
    emulator.fault("model_error")
    assert charged.post(key, body, idempotency_key="k-1").status >= 500
    assert emulator.fired() > 0
    emulator.clear()
    charged.books.settled("team")

    assert charged.post(key, body, idempotency_key="k-1").status == 200


def test_answer_that_cannot_be_kept_is_sent_all_the_same(charged: Charged, emulator: Emulator) -> None:
    """It is charged by then: the same request again is answered anew, and not charged again."""
    key = charged.books.account("team", RICH)
    body = {"model": TITAN, "input": "charged"}
    charged.books.write(lambda tx: tx.execute("ALTER TABLE idempotency RENAME COLUMN answer TO hidden"))
    try:
        first = charged.post(key, body, idempotency_key="k-1")
    finally:
        charged.books.write(lambda tx: tx.execute("ALTER TABLE idempotency RENAME COLUMN hidden TO answer"))
    early = charged.post(key, body, idempotency_key="k-1")
    six_seconds_on = "UPDATE idempotency SET at = at - 6000000 WHERE account = ?"
    charged.books.write(lambda tx: tx.execute(six_seconds_on, charged.books.id("team")))
    second = charged.post(key, body, idempotency_key="k-1")

    assert early.error()["code"] == "idempotency_in_progress", "its answer may be on its way"
    assert (first.status, second.status) == (200, 200)
    assert len(emulator.journal()) == 2, "nothing was kept"
    assert [(entry.kind, entry.amount > 0) for entry in charged.books.entries("team")] == [
        ("use", True),
        ("absorbed", False),
    ]


@pytest.mark.parametrize("name", ["", "k" * 256, "two words"])
def test_idempotency_key_that_is_none_is_refused(charged: Charged, name: str) -> None:
    key = charged.books.account("team", RICH)

    assert charged.post(key, {"model": TITAN, "input": "x"}, idempotency_key=name).refusal() == (
        "idempotency-key",
        "invalid_header_value",
    )
