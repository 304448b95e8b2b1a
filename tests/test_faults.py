"""Upstream faults: one that passes is never seen, one that stays is one clear error, and nothing is half an answer.

Each test lets the journal witness that the fault struck.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests import fault_run

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Expected, Gateway, StartEmulator, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"

#: Name and settings of each fault, and the outcome by which the gateway counts it.
FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "throttle": ("throttle", {}, "upstream_throttled"),
    "500": ("server_error", {"status": 500}, "upstream_unavailable"),
    "502 in HTML": ("server_error", {"status": 502}, "upstream_unavailable"),
    "503": ("server_error", {"status": 503}, "upstream_unavailable"),
    "504 in HTML": ("server_error", {"status": 504}, "upstream_unavailable"),
    "reset before the answer": ("reset", {"at": "before_headers"}, "upstream_unavailable"),
    "reset in the answer": ("reset", {"at": "mid_body"}, "upstream_unavailable"),
}
STAYING = [name for name in FAULTS if name != "throttle"]  # a throttle is waited for longer; it has tests of its own


@pytest.fixture
def gateway(own_gateway: Gateway) -> Gateway:
    """A gateway that has seen no fault before."""
    return own_gateway


def struck(emulator: Emulator) -> list[str]:
    """Return the names of the faults that struck, in the journal's order."""
    return [row["fault"] for row in emulator.journal() if row["fault"]]


def vectors(answer: Answer) -> list[list[float]]:
    assert answer.status == 200, answer.body[:500]
    return [item["embedding"] for item in answer.json()["data"]]


def check_unavailable(answer: Answer) -> None:
    """Check that `answer` is a 503 that says when to come back, and says nothing else."""
    error = answer.error()
    assert answer.status == 503
    assert (error["type"], error["code"]) == ("server_error", "upstream_unavailable")
    check_waits(answer)


def check_waits(answer: Answer) -> None:
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert 1 <= int(answer.headers["retry-after-ms"]) <= 60_000
    assert "x-should-retry" not in answer.headers


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("name", FAULTS)
def test_passing_fault_is_not_seen(
    gateway: Gateway, emulator: Emulator, expected: Expected, name: str, times: int
) -> None:
    fault, settings, _ = FAULTS[name]
    emulator.fault(fault, n=times, **settings)

    answer = gateway.embed({"model": TITAN, "input": "a red bicycle"})

    assert vectors(answer) == expected(TITAN, ["a red bicycle"])
    assert struck(emulator) == [fault] * times


@pytest.mark.parametrize("name", FAULTS)
def test_passing_fault_among_many_calls_is_not_seen(
    gateway: Gateway, emulator: Emulator, expected: Expected, name: str
) -> None:
    fault, settings, _ = FAULTS[name]
    emulator.fault(fault, n=2, after=40, **settings)
    texts = [f"text {number}" for number in range(100)]

    answer = gateway.embed({"model": TITAN, "input": texts})

    assert vectors(answer) == expected(TITAN, texts)
    assert struck(emulator) == [fault] * 2


@pytest.mark.parametrize("name", FAULTS)
def test_passing_fault_of_a_cohere_call_is_not_seen(
    gateway: Gateway, emulator: Emulator, expected: Expected, name: str
) -> None:
    fault, settings, _ = FAULTS[name]
    emulator.fault(fault, n=1, after=1, **settings)
    texts = [f"text {number}" for number in range(200)]

    answer = gateway.embed({"model": ENGLISH, "input": texts})

    assert vectors(answer) == expected(ENGLISH, texts)
    assert struck(emulator) == [fault]


def test_every_passing_fault_in_one_request_is_not_seen(
    gateway: Gateway, emulator: Emulator, expected: Expected
) -> None:
    """They are spread over the request, so that none of its calls is struck as often as it is tried.

    The throttles come last: what comes after them goes at the pace they taught.
    """
    for place, (fault, settings, _) in enumerate(reversed(FAULTS.values())):
        emulator.fault(fault, n=2, after=120 * place, **settings)
    texts = [f"text {number}" for number in range(1000)]

    answer = gateway.embed({"model": TITAN, "input": texts})

    assert vectors(answer) == expected(TITAN, texts)
    assert sorted(struck(emulator)) == ["reset"] * 4 + ["server_error"] * 8 + ["throttle"] * 2


@pytest.mark.parametrize("name", STAYING)
def test_staying_fault_is_one_clear_error(gateway: Gateway, emulator: Emulator, name: str) -> None:
    fault, settings, outcome = FAULTS[name]
    emulator.fault(fault, **settings)
    before = gateway.metric("embedrock_upstream_calls_total", model=TITAN, outcome=outcome)

    answer = gateway.embed({"model": TITAN, "input": "a red bicycle"})

    check_unavailable(answer)
    assert set(struck(emulator)) == {fault}
    assert gateway.metric("embedrock_upstream_calls_total", model=TITAN, outcome=outcome) - before == 3


def test_staying_server_error_is_tried_three_times(gateway: Gateway, emulator: Emulator) -> None:
    emulator.fault("server_error", status=500)

    gateway.embed({"model": TITAN, "input": "a red bicycle"})

    assert [row["status"] for row in emulator.journal()] == [500, 500, 500]


def test_staying_throttle_is_a_429_once_the_callers_time_is_up(gateway: Gateway, emulator: Emulator) -> None:
    emulator.fault("throttle")
    started = time.monotonic()

    answer = gateway.embed({"model": TITAN, "input": "a red bicycle"}, {"x-request-timeout-ms": "400"})

    error = answer.error()
    assert answer.status == 429
    assert (error["type"], error["code"]) == ("requests", "upstream_throttled")
    assert not {"quota", "billing", "credit"} & set(error["message"].lower().split())  # clients never retry those
    check_waits(answer)
    assert time.monotonic() - started < 2
    assert 1 <= len(struck(emulator)) <= 8


def test_throttle_within_the_operators_limit_is_a_429(gateway_with: StartGateway, emulator: Emulator) -> None:
    gateway = gateway_with(EMBEDROCK_TIMEOUT_S="0.4")
    emulator.fault("throttle")

    answer = gateway.embed({"model": TITAN, "input": [f"text {number}" for number in range(100)]})

    assert answer.status == 429
    assert answer.error()["code"] == "upstream_throttled"
    check_waits(answer)


@pytest.mark.parametrize("k", [0, 1, 37, 99])
@pytest.mark.parametrize("name", ["500", "reset before the answer", "reset in the answer"])
def test_request_of_100_calls_fails_whole_when_calls_fail_from_one_on(
    gateway: Gateway, emulator: Emulator, name: str, k: int
) -> None:
    fault, settings, _ = FAULTS[name]
    emulator.fault(fault, after=k, **settings)

    answer = gateway.embed({"model": TITAN, "input": [f"text {number}" for number in range(100)]})

    check_unavailable(answer)
    assert b"embedding" not in answer.body
    assert set(struck(emulator)) == {fault}


@pytest.mark.parametrize("k", [0, 1, 63, 64, 99])
def test_request_of_100_calls_fails_whole_when_bedrock_refuses_one_text(
    gateway: Gateway, emulator: Emulator, k: int
) -> None:
    """Only Bedrock can count tokens: a text within the limit of characters may be over the one of tokens."""
    texts = [f"text {number}" for number in range(100)]
    texts[k] = "! " * 9000

    answer = gateway.embed({"model": TITAN, "input": texts})

    error = answer.error()
    assert answer.status == 400
    assert (error["param"], error["code"]) == (f"input[{k}]", "context_length_exceeded")
    assert answer.headers["x-should-retry"] == "false"
    assert [row["status"] for row in emulator.journal()].count(400) == 1


def test_first_failure_stops_the_calls_that_have_not_begun(
    start_emulator: StartEmulator, start_gateway: StartGateway
) -> None:
    slow = start_emulator("--latency-ms", "30")
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=slow.url, EMBEDROCK_LANES="4")
    texts = ["! " * 9000, *(f"text {number}" for number in range(500))]

    answer = gateway.embed({"model": TITAN, "input": texts})

    assert answer.error()["param"] == "input[0]"
    assert len(slow.journal()) <= 12


def test_gateway_is_well_again_when_the_fault_is_gone(gateway: Gateway, emulator: Emulator, expected: Expected) -> None:
    emulator.fault("reset", at="mid_body")
    failed = gateway.embed({"model": TITAN, "input": "a"})
    emulator.clear()

    answers = [gateway.embed({"model": TITAN, "input": f"text {number}"}) for number in range(20)]

    assert failed.status == 503
    assert [vectors(answer) for answer in answers] == [expected(TITAN, [f"text {number}"]) for number in range(20)]


def test_slow_upstream_is_a_504_at_the_callers_deadline(
    start_emulator: StartEmulator, start_gateway: StartGateway
) -> None:
    slow = start_emulator("--latency-ms", "3000")
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=slow.url)
    started = time.monotonic()

    answer = gateway.embed({"model": TITAN, "input": ["one", "two"]}, {"x-request-timeout-ms": "200"})

    assert answer.status == 504
    assert answer.error()["code"] == "upstream_timeout"
    assert 0.2 <= time.monotonic() - started < 1.5


def test_slow_upstream_is_a_504_at_the_operators_limit(
    start_emulator: StartEmulator, start_gateway: StartGateway
) -> None:
    """The caller may ask for less time, not for more."""
    slow = start_emulator("--latency-ms", "3000")
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=slow.url, EMBEDROCK_TIMEOUT_S="0.2")
    started = time.monotonic()

    answer = gateway.embed({"model": TITAN, "input": "one"}, {"x-request-timeout-ms": "60000"})

    assert answer.status == 504
    assert time.monotonic() - started < 1.5


def test_upstream_that_is_not_there_is_unavailable(start_gateway: StartGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=f"http://127.0.0.1:{port}")

    answer = gateway.embed({"model": TITAN, "input": "one"})

    check_unavailable(answer)


@contextmanager
def canned(answer: Callable[[], bytes]) -> Iterator[str]:
    """Serve what `answer` returns to every request, closing the connection after it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    received = b""
                    while b"}" not in received and (data := connection.recv(65536)):
                        received += data
                    connection.sendall(answer())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def http_200(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


def titan(array: bytes) -> bytes:
    return b'{"embedding":%b,"embeddingsByType":{"float":%b},"inputTextTokenCount":3}' % (array, array)


_ONES = b",".join([b"0.5"] * 255)
#: Answers of Bedrock's with status 200 that hold no vector of 256 numbers.
BAD = {
    "too short": titan(b"[" + _ONES + b"]"),
    "too long": titan(b"[" + _ONES + b",1,1]"),
    "all zero": titan(b"[" + b",".join([b"0.0"] * 256) + b"]"),
    "NaN": titan(b"[" + _ONES + b",NaN]"),
    "Infinity": titan(b"[" + _ONES + b",Infinity]"),
    "out of range": titan(b"[" + _ONES + b",1e400]"),
    "null": titan(b"[" + _ONES + b",null]"),
    "string": titan(b"[" + _ONES + b',"0.5"]'),
    "empty number": titan(b"[" + _ONES + b",]"),
    "nested": titan(b"[[" + _ONES + b",0.5]]"),
    "no vector": b'{"inputTextTokenCount":3}',
    "no JSON": b"<html>fine</html>",
    "nothing": b"",
    "cut off": titan(b"[" + _ONES + b",0.5]")[:-30],
}


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_no_bad_vector_leaves_with_200(start_gateway: StartGateway, encoding_format: str) -> None:
    """Each answer that is no vector of the size asked for is asked for twice more, then is a 502."""
    bodies = [b""]
    asked: list[int] = []

    def answer() -> bytes:
        asked.append(1)
        return http_200(bodies[0])

    outcomes = {}
    with canned(answer) as url:
        gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=url)
        for name, bodies[0] in BAD.items():
            asked.clear()
            reply = gateway.embed({"model": TITAN, "input": "a", "dimensions": 256, "encoding_format": encoding_format})
            code = reply.error()["code"] if reply.status != 200 else "none"
            outcomes[name] = (reply.status, code, len(asked))
        bodies[0] = titan(b"[" + _ONES + b",0.5]")
        good = gateway.embed({"model": TITAN, "input": "a", "dimensions": 256, "encoding_format": encoding_format})

    assert outcomes == dict.fromkeys(BAD, (502, "upstream_invalid_response", 3))
    assert good.status == 200


#: AWS's refusals that no retry helps: status, name, text; then our status and code.
REFUSED = {
    "access denied": (403, "AccessDeniedException", "You don't have access", 403, "model_access_denied"),
    "not found": (404, "ResourceNotFoundException", "Could not resolve", 404, "model_not_found"),
    "bad identifier": (400, "ValidationException", "The provided model identifier is invalid.", 404, "model_not_found"),
    "quota": (400, "ServiceQuotaExceededException", "Too many", 503, "upstream_quota"),
    "expired": (403, "ExpiredTokenException", "The security token is expired", 503, "upstream_auth_failed"),
    "bad signature": (403, "InvalidSignatureException", "arn:aws:iam::123456789012:x", 503, "upstream_auth_failed"),
    "unknown token": (403, "UnrecognizedClientException", "token is invalid", 503, "upstream_auth_failed"),
}


def test_awss_refusals_become_our_errors_without_awss_words(start_gateway: StartGateway) -> None:
    """A refusal of the gateway's own credentials is never a 401 or 403: the caller's key is fine."""
    present = [b""]
    outcomes, said = {}, b""
    with canned(lambda: present[0]) as url:
        gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=url)
        for name, (status, exception, text, _, _) in REFUSED.items():
            body = b'{"message":"%b CANARY"}' % text.encode()
            present[0] = (
                b"HTTP/1.1 %d X\r\nx-amzn-errortype: %b:http://internal.amazon.com/\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%b" % (status, exception.encode(), len(body), body)
            )
            answer = gateway.embed({"model": TITAN, "input": "a"})
            outcomes[name] = (answer.status, answer.error()["code"])
            said += answer.body

    assert outcomes == {name: case[3:] for name, case in REFUSED.items()}
    assert b"CANARY" not in said
    assert b"arn:aws" not in said


def test_among_many_faults_every_input_has_its_vector_or_a_clear_error(
    gateway: Gateway, emulator: Emulator, expected: Expected
) -> None:
    """The short form of the long run in tests/campaign."""
    outcome = fault_run.run(gateway, emulator, expected, inputs=1500, broken=0.15, odd=0.1, within_s=4)

    fault_run.check(outcome, 1500)
    assert outcome.right >= 0.95 * 1500
