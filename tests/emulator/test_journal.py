"""The journal: one row a call, with no secrets in it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import pytest

from bedrock_emulator import journal
from bedrock_emulator.journal import Journal

from .conftest import ENGLISH, SIGNED, TITAN, Running

MEMBERS = (
    "id at op model region status request_body request_sha256 response_sha256 tokens items concurrency headers fault "
    "took_ms object"
)


def test_a_row_says_what_was_called_and_answered(emulator: Running) -> None:
    body = {"texts": ["Hello, world!", "hello"], "input_type": "search_query"}
    answer = emulator.invoke(ENGLISH, body, region="eu-west-1")

    (row,) = emulator.journal()
    assert list(row) == MEMBERS.split()
    assert row["op"] == "InvokeModel"
    assert (row["model"], row["region"], row["status"], row["fault"]) == (ENGLISH, "eu-west-1", 200, None)
    assert (row["tokens"], row["items"], row["concurrency"]) == (5, 2, 1)
    assert json.loads(row["request_body"]) == body
    assert row["request_sha256"] == sha256(json.dumps(body).encode()).hexdigest()
    assert row["response_sha256"] == sha256(answer.body).hexdigest()
    assert 0 < row["took_ms"] < 10_000


def test_a_row_says_when_the_call_arrived_and_how_long_it_took(emulator: Running) -> None:
    emulator.post("latency", {"constant_ms": 30})
    before = time.time()
    try:
        emulator.invoke(TITAN, {"inputText": "hello"})
    finally:
        emulator.request("DELETE", "/_emulator/latency")

    (row,) = emulator.journal()
    assert before <= row["at"] <= time.time() - row["took_ms"] / 1000 + 0.001
    assert row["took_ms"] >= 30


def test_concurrency_counts_the_calls_that_are_not_answered_yet(emulator: Running) -> None:
    """A hanging call counts until its caller goes; one that was answered does not."""
    emulator.fault(fault="hang", n=2)
    with hanging(emulator), hanging(emulator):
        emulator.invoke(TITAN, {"inputText": "hello"})
        emulator.invoke(TITAN, {"inputText": "hello"})
        rows = emulator.journal()
    while emulator.invoke(TITAN, {"inputText": "hello"}) and emulator.journal()[-1]["concurrency"] > 1:
        pass  # it takes a moment until the emulator sees that both are gone

    assert [row["concurrency"] for row in rows] == [1, 2, 3, 3]
    assert [row["status"] for row in rows] == [None, None, 200, 200]


@contextmanager
def hanging(emulator: Running) -> Iterator[None]:
    """A call that the emulator has in its journal and does not answer."""
    known = len(emulator.journal())
    connection = http.client.HTTPConnection(emulator.url.removeprefix("http://"), timeout=10)
    headers = {"Authorization": SIGNED.format(region="us-east-1")}
    connection.request("POST", f"/model/{TITAN}/invoke", b'{"inputText":"hello"}', headers)
    while len(emulator.journal()) == known:
        pass
    try:
        yield
    finally:
        connection.close()


def test_refused_calls_and_listings_are_rows_too(emulator: Running) -> None:
    emulator.invoke("amazon.nothing", {})
    emulator.client("bedrock").list_foundation_models()
    emulator.request("GET", "/nowhere")

    assert [(row["op"], row["model"], row["status"]) for row in emulator.journal()] == [
        ("InvokeModel", "amazon.nothing", 400),
        ("ListFoundationModels", None, 200),
        ("UnknownOperation", None, 404),
    ]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (
            "AWS4-HMAC-SHA256 Credential=A/20260101/eu-west-1/bedrock/aws4_request, SignedHeaders=host, Signature=abc",
            "AWS4-HMAC-SHA256 Credential=A/20260101/eu-west-1/bedrock/aws4_request, SignedHeaders=host, Signature=***",
        ),
        ("Bearer bedrock-api-key-secret", "Bearer ***"),
        ("secret", "***"),
    ],
)
def test_headers_are_kept_without_their_secrets(emulator: Running, sent: str, shown: str) -> None:
    headers = {"Authorization": sent, "X-Amz-Security-Token": "secret", "X-Amzn-Bedrock-Trace": "ENABLED"}
    emulator.request("POST", f"/model/{TITAN}/invoke", b'{"inputText":"hello"}', headers)

    (row,) = emulator.journal()
    assert row["headers"]["authorization"] == shown
    assert row["headers"]["x-amz-security-token"] == "***"
    assert row["headers"]["x-amzn-bedrock-trace"] == "ENABLED"


def test_the_journal_is_read_in_pages_and_emptied(emulator: Running) -> None:
    for _ in range(5):
        emulator.invoke(TITAN, {"inputText": "hello"})
    ids = [row["id"] for row in emulator.journal()]

    page = emulator.request("GET", f"/_emulator/journal?after={ids[1]}&limit=2").json

    assert [row["id"] for row in page["rows"]] == ids[2:4]
    assert page["dropped"] == 0
    emulator.request("DELETE", "/_emulator/journal")
    assert emulator.journal() == []


def test_a_bad_page_is_refused(emulator: Running) -> None:
    assert emulator.request("GET", "/_emulator/journal?after=-1").status == 400


def test_a_long_body_is_cut_but_hashed_whole(emulator: Running) -> None:
    body = json.dumps({"inputText": "x" * 100_000}).encode()
    emulator.invoke(TITAN, body)

    (row,) = emulator.journal()
    assert row["request_body"] == body[: 64 * 1024].decode()
    assert row["request_sha256"] == sha256(body).hexdigest()


def test_old_rows_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_ROWS", 3)
    rows = Journal()

    for number in range(5):
        _add(rows, str(number).encode())

    page = rows.page(0, 10)
    assert [row["request_body"] for row in page["rows"]] == ["2", "3", "4"]
    assert page["dropped"] == 2


def test_the_bytes_of_the_journal_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_BYTES", 25)
    rows = Journal()

    for _ in range(5):
        _add(rows, b"ten bytes.")

    assert len(rows.page(0, 10)["rows"]) == 2


def _add(rows: Journal, body: bytes) -> None:
    rows.add(
        request_body=body,
        response_body=b"",
        at=0.0,
        op="InvokeModel",
        model=TITAN,
        region="us-east-1",
        status=200,
        tokens=1,
        items=1,
        concurrency=1,
        headers=[],
        fault=None,
        took_ms=1.0,
    )
