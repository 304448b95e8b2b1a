"""The bad inputs of `corpus/`: refused as they should be, by name, for good, at no cost, and with nothing repeated.

Over sockets against a gateway and an emulator; in process, for how long the event loop stands still; and through the
official client, for how often it asks.
"""

from __future__ import annotations

import asyncio
import gc
import json
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import openai
import pytest
from tests.corpus_runner import KEY, NAMED, SAID, TITAN, Case, Reply, load, longest_callback, pieces, send

from embedrock.faces.http import server
from embedrock.faces.http.app import App

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway, StartGateway

LONGEST_CALLBACK_S = 0.1
MOST_MEMORY_KB = 600_000

CASES = load()
SOCKET_CASES = [case for case in CASES if case.only != "application"]
APPLICATION_CASES = [case for case in CASES if case.only != "socket"]
CLIENT_CASES = [
    next(case for case in CASES if case.id == name)
    for name in (
        *("name-proto", "asks-for-api-base", "asks-for-verify", "model-in-extra-body", "metadata-of-17"),
        *("user-with-a-line-break", "parameter-stream", "model-of-another-house", "model-climbs-a-path"),
        *("model-sold-as-capacity-only", "input-is-an-empty-list", "input-has-an-empty-text", "input-has-null"),
        *("token-id-under-zero", "2049-inputs", "text-of-50001-letters", "text-over-in-a-list", "dimensions-257"),
        *("encoding-format-int8", "input-type-unknown", "one-vector-of-parts-where-the-model-cannot"),
        *("base64-asterisk", "png-that-is-zip", "png-of-50000-by-50000", "part-with-url-of-metadata-service"),
    )
]

EXCEPTIONS: dict[int, type[openai.APIStatusError]] = {400: openai.BadRequestError, 404: openai.NotFoundError}


def ids(case: Case) -> str:
    return case.id


class Outcome(NamedTuple):
    """What a case led to: the answer, and what the emulator was called with."""

    reply: Reply
    calls: list[dict[str, Any]]


class Sent:
    """Sends each case once, whichever test asks for it first. `listener`: address of a port nobody may connect to."""

    def __init__(self, gateway: Gateway, emulator: Emulator, listener: str) -> None:
        self._gateway, self._emulator, self._listener = gateway, emulator, listener
        self._outcomes: dict[str, Outcome] = {}

    def outcome(self, case: Case) -> Outcome:
        if case.id not in self._outcomes:
            self._emulator.clear()
            reply = send(self._gateway.host, self._gateway.port, case, self._listener)
            self._outcomes[case.id] = Outcome(reply, self._emulator.journal())
        return self._outcomes[case.id]


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """A port that cases name and nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="module")
def address(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def corpus_gateway(gateway_with: StartGateway) -> Gateway:
    """A gateway of the corpus's own: no other test writes to its log, or fills its memory."""
    return gateway_with(EMBEDROCK_API_KEY=KEY)


@pytest.fixture(scope="module")
def sent(corpus_gateway: Gateway, emulator: Emulator, address: str) -> Sent:
    return Sent(corpus_gateway, emulator, address)


def test_ids_are_of_one_case_each() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


# Over sockets


@pytest.mark.parametrize("case", SOCKET_CASES, ids=ids)
def test_case_is_answered_as_it_should_be(case: Case, sent: Sent, address: str, expected: Expected) -> None:
    reply, calls = sent.outcome(case)

    check(case, reply, address, expected)
    assert bool(calls) == case.expect.calls
    assert SAID not in json.dumps([row["headers"] for row in calls])


def check(case: Case, reply: Reply, address: str, expected: Expected) -> None:
    """Check everything about an answer but how it came."""
    answer = json.loads(reply.body)
    if case.expect.status == 200:
        assert reply.status == 200, reply.body[:500]
        check_vectors(case, answer, address, expected)
    else:
        check_refusal(case, reply, answer, address)
    assert reply.headers["content-type"] == "application/json"
    assert len(reply.headers["x-request-id"]) == len("req_") + 32
    for name, value in case.expect.headers.items():
        assert reply.headers[name] == value


def check_refusal(case: Case, reply: Reply, answer: dict[str, Any], address: str) -> None:
    expect = case.expect
    assert reply.status == expect.status, answer
    assert answer.keys() == {"error"}
    error = answer["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", expect.code, expect.param)
    assert reply.headers["x-should-retry"] == "false"
    assert error["message"]
    assert not [piece for piece in secrets(case, address) if piece in error["message"]]


def check_vectors(case: Case, answer: dict[str, Any], address: str, expected: Expected) -> None:
    vectors = [item["embedding"] for item in answer["data"]]
    if case.expect.vectors is not None:
        assert len(vectors) == case.expect.vectors
        assert all(vector and all(isinstance(number, float) for number in vector) for vector in vectors)
        return
    assert vectors == expected(TITAN, case.texts(address))


def secrets(case: Case, address: str) -> set[str]:
    """Return what no message may hold."""
    members = {} if case.json is None else case.members(address)
    return {SAID, KEY, *pieces(members.get("input"))}


def test_nothing_that_was_sent_is_seen_elsewhere(sent: Sent, corpus_gateway: Gateway, address: str) -> None:
    """Not in the log, not in the metrics."""
    for case in SOCKET_CASES:
        sent.outcome(case)

    seen = corpus_gateway.errors() + corpus_gateway.request("GET", "/metrics").body.decode()
    said = {NAMED, *(piece for case in SOCKET_CASES for piece in secrets(case, address))}
    assert not [piece for piece in said if piece in seen]
    assert corpus_gateway.process.stdout is not None
    assert select.select([corpus_gateway.process.stdout], [], [], 0) == ([], [], [])


def test_nobody_was_connected_to(sent: Sent, listener: socket.socket) -> None:
    for case in SOCKET_CASES:
        sent.outcome(case)

    with pytest.raises(BlockingIOError):
        listener.accept()
    with socket.create_connection(listener.getsockname()):  # who would have been noticed
        select.select([listener], [], [], 10)
        listener.accept()[0].close()


def test_gateway_is_well_after_all_of_them(sent: Sent, corpus_gateway: Gateway, expected: Expected) -> None:
    for case in SOCKET_CASES:
        sent.outcome(case)

    answer = corpus_gateway.embed({"model": TITAN, "input": "a red bicycle"}, {"authorization": f"Bearer {KEY}"})

    assert answer.json()["data"][0]["embedding"] == expected(TITAN, ["a red bicycle"])[0]
    assert corpus_gateway.metric("embedrock_requests_total", status="500") == 0
    assert resident_kb(corpus_gateway.pid) < MOST_MEMORY_KB


def resident_kb(pid: int) -> int:
    """Return how much memory a process holds."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


# In process


@pytest.fixture(scope="module")
async def app(emulator: Emulator) -> AsyncIterator[App]:
    """The application as a worker process has it, garbage collector and all."""
    thresholds = gc.get_threshold()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBEDROCK_EMULATED", "true")
        patch.setenv("EMBEDROCK_API_KEY", KEY)
        patch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        application = server.worker_app()
    life: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    told: asyncio.Queue[Any] = asyncio.Queue()
    living = asyncio.create_task(application({"type": "lifespan"}, life.get, told.put))
    await life.put({"type": "lifespan.startup"})
    await told.get()
    yield application
    await life.put({"type": "lifespan.shutdown"})
    await living
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.parametrize("case", APPLICATION_CASES, ids=ids)
async def test_case_does_not_hold_up_the_event_loop(case: Case, app: App, address: str, expected: Expected) -> None:
    body = case.content(address)
    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": b"/v1/embeddings",
        "headers": case.header_lines(len(body)),
    }
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def keep(message: Any) -> None:
        messages.append(message)

    with longest_callback() as seconds:
        await asyncio.create_task(app(scope, receive, keep))
    start, end = messages
    headers = {name.decode(): value.decode() for name, value in start["headers"]}

    check(case, Reply(start["status"], headers, end["body"]), address, expected)
    assert seconds() <= LONGEST_CALLBACK_S


async def test_callback_that_takes_long_is_noticed() -> None:
    def busy() -> None:
        until = time.thread_time() + 2 * LONGEST_CALLBACK_S
        while time.thread_time() < until:
            pass

    with longest_callback() as seconds:
        asyncio.get_running_loop().call_soon(busy)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert seconds() >= 2 * LONGEST_CALLBACK_S


# Through the official client


@pytest.mark.parametrize("case", CLIENT_CASES, ids=ids)
def test_official_client_asks_once(case: Case, corpus_gateway: Gateway, address: str) -> None:
    """And raises what its users catch."""
    before = corpus_gateway.metric("embedrock_requests_total", route="embeddings")

    with (
        openai.OpenAI(base_url=f"{corpus_gateway.url}/v1", api_key=KEY, max_retries=2) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.embeddings.create(model=TITAN, input=SAID, extra_body=case.members(address))

    assert type(caught.value) is EXCEPTIONS[case.expect.status]
    assert (caught.value.code, caught.value.param) == (case.expect.code, case.expect.param)
    assert corpus_gateway.metric("embedrock_requests_total", route="embeddings") - before == 1
