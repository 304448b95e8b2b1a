"""Faults under HTTP, and of time: each has fired, and a plain socket or http.client sees what it does."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bedrock_emulator import expected_vectors
from bedrock_emulator.faults import FaultTable
from bedrock_emulator.faults.gzip_unasked import bomb
from bedrock_emulator.faults.latency_shift import LatencyShift
from bedrock_emulator.faults.slow_body import SlowBody
from bedrock_emulator.settings import Settings
from bedrock_emulator.table import Names

from .conftest import SIGNED, TITAN, Answer, Running

BODY = b'{"inputText":"hello"}'
VECTORS = expected_vectors(TITAN, BODY)
HEADERS = {"Authorization": SIGNED.format(region="us-east-1")}
PATH = f"/model/{TITAN}/invoke"


class Wire:
    """A connection that shows every byte of what comes."""

    def __init__(self, emulator: Running) -> None:
        host, _, port = emulator.url.removeprefix("http://").partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.came = b""

    def ask(self) -> None:
        """Send a call."""
        lines = [f"POST {PATH} HTTP/1.1", "Host: emulator", f"Content-Length: {len(BODY)}"]
        lines += [f"{name}: {value}" for name, value in HEADERS.items()]
        self.socket.sendall("\r\n".join((*lines, "", "")).encode() + BODY)

    def until(self, size: int) -> bytes:
        """Return the first `size` bytes that come, and forget them."""
        while len(self.came) < size:
            self._receive()
        found, self.came = self.came[:size], self.came[size:]
        return found

    def head(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Return the status line and the headers of an answer."""
        while b"\r\n\r\n" not in self.came:
            self._receive()
        status, *lines = self.until(self.came.index(b"\r\n\r\n") + 4).split(b"\r\n")[:-2]
        return status, [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def end(self) -> bytes:
        """Return what comes until the connection is closed, cleanly. Raises ConnectionResetError when it is not."""
        while received := self.socket.recv(65536):
            self.came += received
        return self.came

    def _receive(self) -> None:
        received = self.socket.recv(65536)
        assert received, f"the connection was closed after {self.came!r}"
        self.came += received


@contextmanager
def calling(emulator: Running) -> Iterator[Wire]:
    """A connection on which a call was sent."""
    wire = Wire(emulator)
    with wire.socket:
        wire.ask()
        yield wire


def lengths(headers: list[tuple[bytes, bytes]]) -> list[int]:
    return [int(value) for name, value in headers if name == b"content-length"]


def true_body(emulator: Running) -> bytes:
    """Return the answer without a fault; one for the same call is the same to the byte."""
    answer = emulator.invoke(TITAN, {"inputText": "hello"})
    assert answer.status == 200
    return answer.body


def fired(emulator: Running) -> list[int]:
    return [entry["fired"] for entry in emulator.faults()]


def is_well(emulator: Running) -> bool:
    """Tell whether the emulator answers rightly, on a connection of its own."""
    answer = emulator.invoke(TITAN, {"inputText": "hello"})
    return answer.status == 200 and [answer.json["embedding"]] == VECTORS


@pytest.mark.parametrize("of", ["requests", "tokens", "tokens_per_day"])
def test_a_throttle_says_of_what_there_was_too_much(emulator: Running, of: str) -> None:
    emulator.fault(fault="throttle", of=of, n=1)

    answer = emulator.invoke(TITAN, {"inputText": "hello"})

    assert answer.status == 429
    assert answer.headers["x-amzn-errortype"].startswith("ThrottlingException:")
    assert answer.json == {"message": f"Too many {of.replace('_', ' ')}, please wait before trying again."}
    assert fired(emulator) == [1]


def test_a_service_quota_is_a_400(emulator: Running) -> None:
    emulator.fault(fault="service_quota_exceeded", n=1)

    answer = emulator.invoke(TITAN, {"inputText": "hello"})

    assert answer.status == 400
    assert answer.headers["x-amzn-errortype"].startswith("ServiceQuotaExceededException:")
    assert fired(emulator) == [1]
    assert is_well(emulator)


# Breaking off.


@pytest.mark.parametrize(("at", "kept"), [("first_byte", 1), ("mid_body", 0.5), ("last_byte", -1)])
@pytest.mark.parametrize(("fault", "ends"), [("reset", "reset"), ("fin_mid_body", "close")])
def test_an_answer_breaks_off_in_its_body(emulator: Running, fault: str, ends: str, at: str, kept: float) -> None:
    body = true_body(emulator)
    emulator.fault(fault=fault, at=at, n=1)
    sent = body[: len(body) // 2] if kept == 0.5 else body[: int(kept)]

    with calling(emulator) as wire:
        status, headers = wire.head()
        assert status == b"HTTP/1.1 200 OK"
        assert lengths(headers) == [len(body)]
        assert wire.until(len(sent)) == sent
        if ends == "reset":
            with pytest.raises(ConnectionResetError):
                wire.end()
        else:
            assert wire.end() == b""

    assert fired(emulator) == [1]
    assert [row["fault"] for row in emulator.journal()] == [None, fault]
    assert is_well(emulator)


def test_a_reset_before_the_headers_sends_nothing(emulator: Running) -> None:
    emulator.fault(fault="reset", n=1)

    with calling(emulator) as wire, pytest.raises(ConnectionResetError):
        wire.end()

    assert wire.came == b""
    assert fired(emulator) == [1]


# Connections that were kept alive.


def test_a_stale_connection_is_closed_after_its_answer_although_nothing_said_so(emulator: Running) -> None:
    emulator.fault(fault="stale_keep_alive", n=1)

    with calling(emulator) as wire:
        _, headers = wire.head()
        body = wire.until(*lengths(headers))
        assert wire.end() == b""

    assert [json.loads(body)["embedding"]] == VECTORS
    assert b"connection" not in dict(headers)
    assert fired(emulator) == [1]


def test_a_stale_connection_is_closed_only_when_idle(emulator: Running) -> None:
    emulator.fault(fault="stale_keep_alive", idle_s=0.2, n=1)

    with calling(emulator) as wire:
        wire.until(*lengths(wire.head()[1]))
        wire.ask()
        wire.until(*lengths(wire.head()[1]))
        assert wire.end() == b""

    assert [row["status"] for row in emulator.journal()] == [200, 200]


def test_a_stale_connection_is_reset_by_the_next_request_which_does_not_count(emulator: Running) -> None:
    emulator.fault(fault="stale_keep_alive", end="reset", n=1)

    with calling(emulator) as wire:
        wire.until(*lengths(wire.head()[1]))
        wire.ask()
        with pytest.raises(ConnectionResetError):
            wire.end()

    assert wire.came == b""
    assert fired(emulator) == [1]
    assert len(emulator.journal()) == 1
    assert is_well(emulator)


# No answer, and slow ones.


def test_a_hanging_call_has_no_answer_but_a_row(emulator: Running) -> None:
    emulator.fault(fault="hang", n=1)

    with calling(emulator) as wire:
        wire.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.end()
        (row,) = emulator.journal()

    assert (row["status"], row["response_sha256"], row["fault"]) == (None, None, "hang")
    assert wire.came == b""
    assert fired(emulator) == [1]
    assert is_well(emulator)


def test_a_hanging_call_is_closed_when_the_emulator_loses_patience(emulator: Running) -> None:
    emulator.fault(fault="hang", hold_s=0.05, n=1)

    with calling(emulator) as wire:
        assert wire.end() == b""

    assert fired(emulator) == [1]


def test_a_slow_body_comes_whole_but_takes_its_time(emulator: Running) -> None:
    body = true_body(emulator)
    emulator.fault(fault="slow_body", bytes_per_s=len(body) * 4, n=1)

    with calling(emulator) as wire:
        started = time.perf_counter()
        _, headers = wire.head()
        assert wire.until(len(body)) == body

    assert time.perf_counter() - started >= 0.19  # four pauses between five pieces
    assert lengths(headers) == [len(body)]
    assert fired(emulator) == [1]


def test_a_slow_body_stalls_at_its_half(emulator: Running) -> None:
    body = true_body(emulator)
    emulator.fault(fault="slow_body", stall_s=60, n=1)

    with calling(emulator) as wire:
        wire.head()
        assert wire.until(len(body) // 2) == body[: len(body) // 2]
        wire.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            wire.socket.recv(1)

    assert wire.came == b""
    assert fired(emulator) == [1]
    assert is_well(emulator)


@pytest.mark.parametrize(
    ("settings", "pauses", "seconds"),
    [
        ({}, 199, 9.95),
        ({"bytes_per_s": 5120}, 39, 1.95),
        ({"bytes_per_s": 1}, 10_239, 10_239),
        ({"stall_s": 30}, 1, 30),
        ({"bytes_per_s": 5120, "stall_s": 30}, 39, 31.95),
    ],
)
def test_a_slow_body_takes_its_time(settings: dict[str, float], pauses: int, seconds: float) -> None:
    """10 KiB, at 1 KiB a second unless said otherwise; after the last byte there is nothing to wait for."""
    found = SlowBody.read(Settings(settings)).pauses(10_240)

    assert len(found) == pytest.approx(pauses, abs=6)
    assert sum(pause for _, pause in found) == pytest.approx(seconds, rel=0.02)
    assert all(0 < at < 10_240 for at, _ in found)


def test_a_shifted_latency_is_added_to_the_answer(emulator: Running) -> None:
    emulator.fault(fault="latency_shift", factor=1, add_ms=60, n=1)

    assert is_well(emulator)
    (row,) = emulator.journal()
    assert row["took_ms"] >= 60
    assert row["fault"] == "latency_shift"
    assert fired(emulator) == [1]


def test_a_shifted_latency_is_a_multiple_of_the_models(emulator: Running) -> None:
    emulator.post("latency", {"constant_ms": 20})
    emulator.fault(fault="latency_shift", factor=4, n=1)
    try:
        assert is_well(emulator)
    finally:
        emulator.request("DELETE", "/_emulator/latency")

    assert emulator.journal()[0]["took_ms"] >= 70  # the part before the fault is not multiplied


def test_a_latency_can_shift_by_and_by() -> None:
    fault = LatencyShift.read(Settings({"factor": 10, "add_ms": 100, "over_s": 30}))

    assert fault.extra_s(0.05, 1000) == 0
    assert fault.extra_s(0.05, 1015) == pytest.approx((9 * 0.05 + 0.1) / 2)
    assert fault.extra_s(0.05, 1030) == fault.extra_s(0.05, 2000) == pytest.approx(9 * 0.05 + 0.1)


# Heads that lie.


def test_a_length_that_is_too_long_leaves_the_caller_waiting(emulator: Running) -> None:
    body = true_body(emulator)
    emulator.fault(fault="wrong_content_length", n=1)

    with calling(emulator) as wire:
        assert lengths(wire.head()[1]) == [len(body) + 100]
        assert wire.until(len(body)) == body
        wire.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            wire.socket.recv(1)

    assert fired(emulator) == [1]


def test_a_length_that_is_too_short_leaves_bytes_before_the_next_answer(emulator: Running) -> None:
    body = true_body(emulator)
    emulator.fault(fault="wrong_content_length", kind="too_short", n=1)

    with calling(emulator) as wire:
        assert lengths(wire.head()[1]) == [len(body) - 100]
        assert wire.until(len(body) - 100) == body[:-100]
        wire.ask()
        assert wire.until(100) == body[-100:]
        status, headers = wire.head()
        assert wire.until(*lengths(headers)) == body

    assert status == b"HTTP/1.1 200 OK"
    assert fired(emulator) == [1]


def test_a_length_that_is_missing_ends_with_the_connection(emulator: Running) -> None:
    body = true_body(emulator)
    emulator.fault(fault="wrong_content_length", kind="missing", n=1)

    with calling(emulator) as wire:
        _, headers = wire.head()
        assert wire.end() == body

    names = {name for name, _ in headers}
    assert {b"content-type", b"x-bedrock-emulator", b"x-amzn-requestid", b"connection"} <= names
    assert not {b"content-length", b"transfer-encoding"} & names
    assert fired(emulator) == [1]


def test_two_lengths_contradict_each_other(emulator: Running) -> None:
    body = true_body(emulator)
    emulator.fault(fault="wrong_content_length", kind="two", n=1)

    with calling(emulator) as wire:
        assert lengths(wire.head()[1]) == [len(body), len(body) + 100]
        assert wire.until(len(body)) == body

    assert fired(emulator) == [1]


def test_a_chunk_has_a_size_that_is_no_number(emulator: Running) -> None:
    emulator.fault(fault="wrong_content_length", kind="bad_chunk", n=1)

    connection = http.client.HTTPConnection(emulator.url.removeprefix("http://"), timeout=10)
    connection.request("POST", PATH, BODY, HEADERS)
    reply = connection.getresponse()
    assert reply.getheader("transfer-encoding") == "chunked"
    with pytest.raises(http.client.IncompleteRead) as caught:
        reply.read()
    connection.close()

    assert len(caught.value.partial) > 1000
    assert fired(emulator) == [1]


@pytest.mark.parametrize(("kind", "told"), [("html", "text/html"), ("none", None), ("page", "text/html")])
def test_an_answer_is_said_to_be_no_json(emulator: Running, kind: str, told: str | None) -> None:
    emulator.fault(fault="wrong_content_type", kind=kind, n=1)

    answer = emulator.invoke(TITAN, {"inputText": "hello"})

    assert answer.status == 200
    assert answer.headers.get("content-type") == told
    if kind == "page":
        assert answer.body.startswith(b"<html>")
    else:
        assert [answer.json["embedding"]] == VECTORS
    assert fired(emulator) == [1]


@pytest.mark.parametrize(("kind", "interim", "status"), [("once", 1, 200), ("twice", 2, 200), ("only", 1, None)])
def test_100_continue_comes_unasked(emulator: Running, kind: str, interim: int, status: int | None) -> None:
    emulator.fault(fault="continue_100", kind=kind, n=1)

    with calling(emulator) as wire:
        assert [wire.head() for _ in range(interim)] == [(b"HTTP/1.1 100 Continue", [])] * interim
        if status:
            line, headers = wire.head()
            assert line == b"HTTP/1.1 200 OK"
            assert [json.loads(wire.until(*lengths(headers)))["embedding"]] == VECTORS
        else:
            wire.socket.settimeout(0.1)
            with pytest.raises(TimeoutError):
                wire.socket.recv(1)

    assert emulator.journal()[0]["status"] == status
    assert fired(emulator) == [1]


# Bodies that are none.


def test_truncated_json_has_its_length_and_no_end(emulator: Running) -> None:
    body = true_body(emulator)
    emulator.fault(fault="truncated_json", n=1)

    answer = emulator.invoke(TITAN, {"inputText": "hello"})

    assert answer.status == 200
    assert answer.body == body[:-20] + b" " * 20
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)
    assert fired(emulator) == [1]


def test_a_body_is_compressed_unasked(emulator: Running) -> None:
    emulator.fault(fault="gzip_unasked", n=1)

    answer = emulator.invoke(TITAN, {"inputText": "hello"})

    assert answer.headers["content-encoding"] == "gzip"
    assert [json.loads(gzip.decompress(answer.body))["embedding"]] == VECTORS
    assert fired(emulator) == [1]


def test_a_body_is_a_bomb(emulator: Running) -> None:
    emulator.fault(fault="gzip_unasked", bomb_mb=20, n=1)

    answer = emulator.invoke(TITAN, {"inputText": "hello"})

    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < 30_000
    assert gzip.decompress(answer.body) == b" " * 20_000_000
    assert fired(emulator) == [1]


def test_a_bomb_is_a_thousandth_of_what_it_becomes() -> None:
    packed = bomb(1024)

    assert len(packed) < 1_200_000
    assert len(zlib.decompressobj(31).decompress(packed, 1_000_000)) == 1_000_000


# When a fault strikes.


def test_a_fault_comes_and_goes_with_the_seconds() -> None:
    """A flapping region: five seconds down, ten up."""
    clock = [1000.0]
    table = FaultTable(lambda: clock[0])
    table.post({"fault": "server_error", "status": 503, "on_s": 5, "off_s": 10})
    struck = []
    for _ in range(32):
        struck.append(table.pick(names()) is not None)
        clock[0] += 1

    assert struck == ([True] * 5 + [False] * 10) * 2 + [True] * 2
    assert table.list()[0]["fired"] == 12


def test_a_fault_is_over_after_its_seconds() -> None:
    clock = [1000.0]
    table = FaultTable(lambda: clock[0])
    table.post({"fault": "throttle", "for_s": 60})

    assert table.pick(names()) is not None
    clock[0] += 60
    assert table.pick(names()) is not None
    clock[0] += 0.1
    assert table.pick(names()) is None


def test_a_brown_out_is_two_faults(emulator: Running) -> None:
    """Some calls fail, the others are late; another region is as always."""
    match = {"region": "us-east-1"}
    emulator.fault(fault="server_error", status=503, p=0.3, seed=5, match=match)
    emulator.fault(fault="latency_shift", factor=1, add_ms=1, match=match)

    for region in ("us-east-1", "eu-west-1"):
        for _ in range(40):
            emulator.invoke(TITAN, {"inputText": "hello"}, region=region)

    rows = emulator.journal()
    failed = [row for row in rows[:40] if row["status"] == 503]
    assert 4 <= len(failed) <= 20
    assert fired(emulator) == [len(failed), 40 - len(failed)]
    assert {row["fault"] for row in rows[40:]} == {None}


def test_a_fault_can_mean_an_account(emulator: Running) -> None:
    emulator.fault(fault="throttle", match={"account": "AKIDEXAMPLE"})

    assert emulator.invoke(TITAN, {"inputText": "hello"}).status == 429
    emulator.client().invoke_model(modelId=TITAN, body=BODY)
    assert fired(emulator) == [1]


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({"fault": "throttle", "of": "money"}, "of"),
        ({"fault": "service_quota_exceeded", "match": {"op": "ApplyGuardrail"}}, "match.op"),
        ({"fault": "throttle", "on_s": 5}, "off_s"),
        ({"fault": "throttle", "on_s": -5, "off_s": 5}, "on_s"),
        ({"fault": "hang", "hold_s": "long"}, "hold_s"),
        ({"fault": "reset", "at": "first_kiss"}, "at"),
        ({"fault": "fin_mid_body", "at": "before_headers"}, "at"),
        ({"fault": "stale_keep_alive", "end": "never"}, "end"),
        ({"fault": "stale_keep_alive", "idle_s": -1}, "idle_s"),
        ({"fault": "slow_body", "bytes_per_s": 0}, "bytes_per_s"),
        ({"fault": "slow_body", "stall_s": "x"}, "stall_s"),
        ({"fault": "latency_shift", "factor": "x"}, "factor"),
        ({"fault": "wrong_content_length", "kind": "right"}, "kind"),
        ({"fault": "wrong_content_type", "kind": "right"}, "kind"),
        ({"fault": "continue_100", "kind": "never"}, "kind"),
        ({"fault": "gzip_unasked", "bomb_mb": 0}, "bomb_mb"),
        ({"fault": "gzip_unasked", "bomb_mb": 2000}, "bomb_mb"),
        ({"fault": "truncated_json", "kind": "all"}, "kind"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_by_the_members_name(emulator: Running, body: Any, member: str) -> None:
    answer: Answer = emulator.post("faults", body)

    assert answer.status == 400
    assert answer.json["message"].startswith(f"{member}: ")
    assert emulator.faults() == []


def names() -> Names:
    return {"op": ("InvokeModel",), "model": (TITAN,), "region": ("us-east-1",), "account": ("AKID",)}
