"""One gateway's HTTP: what is sent, what is tried again and when, and what errors become."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from embedrock import Client, embedding
from embedrock.errors import (
    BadRequest,
    EmbedrockError,
    InternalError,
    InvalidUpstream,
    ModelWarming,
    Unauthenticated,
    Unavailable,
    UpstreamThrottled,
    UpstreamTimeout,
)
from embedrock.faces.sdk import link

from .stand_ins import Reply, Scripted, Silent

ANSWER = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
    "model": "m",
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}
GOOD = Reply(200, json.dumps(ANSWER).encode(), {"content-type": "application/json"})


def failure(status: int, code: str | None = None, **headers: str) -> Reply:
    error = {"message": "no", "type": "t", "param": None, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps({"error": error}).encode(), named)


AT_ONCE = {"retry_after_ms": "1"}


def test_request_is_one_that_every_gateway_takes(scripted: Scripted) -> None:
    stub = scripted(GOOD)

    response = embedding("m", ["a"], api_base=f"{stub.url}/v1/", api_key="key", dimensions=2, timeout=7.5)

    (got,) = stub.got
    assert (got.method, got.path) == ("POST", "/v1/embeddings")
    assert got.headers["authorization"] == "Bearer key"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == stub.url.removeprefix("http://")
    assert len(got.headers["idempotency-key"]) == 32
    assert 6500 < int(got.headers["x-request-timeout-ms"]) <= 7500
    assert json.loads(got.body) == {"model": "m", "input": ["a"], "dimensions": 2, "encoding_format": "float"}
    assert response.data[0].embedding == [0.5, -0.5]
    assert response.usage.prompt_tokens == 3


def test_gateway_of_another_make_is_good_enough(scripted: Scripted) -> None:
    """It tells neither model nor region nor cost."""
    response = embedding("m", ["a"], api_base=scripted(GOOD).url)

    assert response._hidden_params.model_id == "m"
    assert response._hidden_params.response_cost == 0
    assert response._hidden_params.region_name == ""


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_help_is_tried_again(scripted: Scripted, status: int) -> None:
    stub = scripted(failure(status, **AT_ONCE), failure(status, **AT_ONCE), GOOD)

    embedding("m", "a", api_base=stub.url)

    assert len(stub.got) == 3
    assert len({got.headers["idempotency-key"] for got in stub.got}) == 1
    assert all(
        int(a.headers["x-request-timeout-ms"]) >= int(b.headers["x-request-timeout-ms"]) for a, b in pairwise(stub.got)
    )


def test_two_calls_have_two_idempotency_keys(scripted: Scripted) -> None:
    stub = scripted(GOOD)
    client = Client("m", base_url=stub.url)

    client.embed("a")
    client.embed("a")

    assert len({got.headers["idempotency-key"] for got in stub.got}) == 2


@pytest.mark.parametrize(("retries", "requests"), [(None, 3), (0, 1), (5, 6)])
def test_retries_are_the_callers_to_bound(scripted: Scripted, retries: int | None, requests: int) -> None:
    stub = scripted(failure(503, **AT_ONCE))

    with pytest.raises(Unavailable):
        embedding("m", "a", api_base=stub.url, num_retries=retries)

    assert len(stub.got) == requests


@pytest.mark.parametrize(
    "reply",
    [
        failure(400, "invalid_value"),
        failure(401),
        failure(404),
        failure(422),
        failure(503, "upstream_auth_failed", x_should_retry="false", **AT_ONCE),
        failure(503, retry_after="121"),
        Reply(200, b"<html>"),
        Reply(200, b'{"data": []}'),
    ],
)
def test_what_cannot_help_is_not_tried_again(scripted: Scripted, reply: Reply) -> None:
    stub = scripted(reply)

    with pytest.raises(EmbedrockError):
        embedding("m", "a", api_base=stub.url)

    assert len(stub.got) == 1


def test_gateways_wait_is_kept(scripted: Scripted) -> None:
    stub = scripted(failure(429, retry_after="1", retry_after_ms="150"), GOOD)
    started = time.monotonic()

    embedding("m", "a", api_base=stub.url)

    assert 0.15 <= time.monotonic() - started < 1, "the milliseconds win"


def test_wait_beyond_the_deadline_is_not_begun(scripted: Scripted) -> None:
    stub = scripted(failure(429, "upstream_throttled", retry_after="30"))
    started = time.monotonic()

    with pytest.raises(UpstreamThrottled):
        embedding("m", "a", api_base=stub.url, timeout=5)

    assert len(stub.got) == 1
    assert time.monotonic() - started < 5


def test_own_waits_grow_and_are_drawn_from_zero() -> None:
    assert [link._wait_s(attempt, lambda: 1.0) for attempt in range(6)] == [0.5, 1, 2, 4, 8, 8]
    assert link._wait_s(3, lambda: 0.0) == 0


def test_while_most_fails_little_is_tried_again(scripted: Scripted) -> None:
    """A client has patience for ten retries, and wins a little back with each success."""
    stub = scripted(failure(503, **AT_ONCE))
    client = Client("m", base_url=stub.url)

    for _ in range(12):
        with pytest.raises(Unavailable):
            client.embed("a")

    assert len(stub.got) == 12 + 10


def test_deadline_holds_when_nobody_answers(silent: Silent) -> None:
    started = time.monotonic()

    with pytest.raises(UpstreamTimeout):
        embedding("m", "a", api_base=silent.url, timeout=0.3)

    assert 0.3 <= time.monotonic() - started < 5


TOKENS = b'{"error": {"message": "no", "type": "tokens", "param": null, "code": "rate_limit_exceeded"}}'


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (failure(400, "context_length_exceeded"), "ContextTooLong", "context_length_exceeded"),
        (failure(400, "something_new"), "BadRequest", "something_new"),
        (failure(401), "Unauthenticated", None),
        (failure(402, "insufficient_credits"), "InsufficientCredits", "insufficient_credits"),
        (failure(402, "something_new"), "InsufficientCredits", "something_new"),
        (failure(403, "permission_denied"), "PermissionDenied", "permission_denied"),
        (failure(418, "i_am_a_teapot"), "InvalidUpstream", "upstream_invalid_response"),
        (failure(403, "s3_access_denied"), "S3AccessDenied", "s3_access_denied"),
        (failure(413), "RequestTooLarge", "request_too_large"),
        (failure(429, "rate_limit_exceeded"), "RateLimited", "rate_limit_exceeded"),
        (failure(429, "upstream_throttled"), "UpstreamThrottled", "upstream_throttled"),
        (Reply(429, TOKENS), "TokensLimited", "rate_limit_exceeded"),
        (failure(500), "InternalError", None),
        (failure(503, "model_warming"), "ModelWarming", "model_warming"),
        (failure(503, "overloaded"), "Overloaded", "overloaded"),
        (failure(503, "something_new"), "Unavailable", "something_new"),
        (Reply(502, b"<html>"), "InvalidUpstream", "upstream_invalid_response"),
        (Reply(302, b"", {"location": "http://elsewhere"}), "InvalidUpstream", "upstream_invalid_response"),
        (Reply(500, b'{"error": "a text"}'), "InternalError", None),
    ],
)
def test_error_is_the_class_that_stands_for_it(scripted: Scripted, reply: Reply, kind: str, code: str | None) -> None:
    with pytest.raises(EmbedrockError) as caught:
        embedding("m", "a", api_base=scripted(reply).url, num_retries=0)

    assert (type(caught.value).__name__, caught.value.code) == (kind, code)


def test_classes_by_status() -> None:
    expected: dict[int, Any] = {400: BadRequest, 401: Unauthenticated, 500: InternalError, 502: InvalidUpstream}

    assert {status: link._BY_STATUS[status] for status in expected} == expected
    assert link._BY_STATUS[503] is Unavailable
    assert link._BY_CODE[503, "model_warming"] is ModelWarming


def test_answer_that_lacks_a_vector_is_none(scripted: Scripted) -> None:
    with pytest.raises(InvalidUpstream, match="vector for each input"):
        embedding("m", ["a", "b"], api_base=scripted(GOOD).url)


@pytest.mark.parametrize("vector", [[0.0, 0.0], [], ["a"], [None], {"a": 1}])
def test_vector_that_is_none_is_refused(scripted: Scripted, vector: Any) -> None:
    answer = ANSWER | {"data": [{"index": 0, "embedding": vector}]}

    with pytest.raises(InvalidUpstream):
        embedding("m", ["a"], api_base=scripted(Reply(200, json.dumps(answer).encode())).url)


def test_gateway_behind_tls(
    scripted: Scripted, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is trusted is what Python trusts."""
    stub = scripted(GOOD, certificate=certificate)
    with pytest.raises(Unavailable, match="SSL_CERT_FILE"):
        embedding("m", "a", api_base=stub.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    # By another name: the connections that trust nobody are kept for the one above.
    response = embedding("m", "a", api_base=stub.url.replace("127.0.0.1", "localhost"))

    assert response.data[0].embedding == [0.5, -0.5]
    assert len(stub.got) == 1
