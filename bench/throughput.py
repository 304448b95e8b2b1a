"""What gets through a Bedrock quota: a long list, and many callers with a text each. Part of `make bench`.

First 64 callers who come within 5 ms while a Cohere call is in flight, before the canned upstream; the native route,
whose calls are not shared, stands beside them. Then quotas: the upstream is the emulator with token buckets, and all
runs go at the same time, since nearly all of it is waiting.

Exit status: 0 measured (targets missed included), 1 something broke.
"""

from __future__ import annotations

import http.client
import itertools
import json
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.load import COHERE, TITAN, LoadError, Target, drained, fetch, sentence
from bench.peers import Upstream, child_env, start_gateway
from bench.process import Cores, Peer, PeerError, answers, free_port, pinned, settle, start
from bench.report import Goal

_BIN = Path(sys.executable).parent
_TEXTS = 2048
_PER_S = 100
_CALLERS = 200
_DELAY_MS = 50
_ROUNDS = 15
_CALLS, _WINDOW_S, _WINDOWS = 20, 6.0, 5


@dataclass(frozen=True, slots=True)
class Place:
    """An emulator with a quota, and a gateway before it."""

    emulator: str
    gateway: str

    def throttled(self) -> float:
        """Return the share of the calls that the quota refused."""
        rows: list[dict[str, Any]] = json.loads(fetch(f"{self.emulator}/_emulator/journal"))["rows"]
        return [row["status"] for row in rows].count(429) / len(rows)


def _start(folder: Path, stack: ExitStack, command: list[str], name: str, ready: str, env: dict[str, str]) -> Peer:
    port = free_port()
    words = [str(_BIN / "embedrock"), *command, "--port", str(port)]
    peer = start(f"{name}-{port}", words, url=f"http://127.0.0.1:{port}", folder=folder, cores=frozenset(), env=env)
    stack.callback(peer.stop)
    return settle(peer, answers(peer.url + ready), seconds=30)


def make_place(folder: Path, stack: ExitStack, quota: dict[str, Any], known: dict[str, Any] | None) -> Place:
    """Start both; `known` is what the gateway is told of the quota."""
    env = child_env({"HOME": str(folder), "XDG_DATA_HOME": str(folder)}, folder)
    emulator = _start(folder, stack, ["emulator", "--latency-ms", "50"], "emulator", "/_emulator/faults", env)
    fetch(f"{emulator.url}/_emulator/quotas", json.dumps(quota).encode())
    env["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = emulator.url
    if known:
        env["EMBEDROCK_QUOTAS"] = json.dumps(known)
    return Place(emulator.url, _start(folder, stack, ["serve"], "gateway", "/health/ready", env).url)


def long_list(place: Place) -> tuple[float, float]:
    """Send 2,048 texts in one request; return its time over the least the quota allows, and the share throttled."""
    body = {"model": TITAN, "input": [f"text {number} of a long list" for number in range(_TEXTS)]}
    begin = time.perf_counter()
    answer = fetch(f"{place.gateway}/v1/embeddings", json.dumps(body).encode(), timeout_s=600)
    took_s = time.perf_counter() - begin
    if len(json.loads(answer)["data"]) != _TEXTS:
        raise LoadError("not as many vectors as texts")
    return took_s / ((_TEXTS - _PER_S) / _PER_S), place.throttled()


def many_callers(place: Place, path: str, make: Callable[[str], dict[str, Any]]) -> tuple[float, int]:
    """Let callers ask for one text after the other; return the share of full calls they got, and the errors."""
    numbers = itertools.count()
    begin = time.perf_counter() + _WINDOW_S  # what was saved up is spent by then
    end = begin + _WINDOWS * _WINDOW_S
    served: list[float] = []
    errors: list[float] = []
    address = urlsplit(place.gateway)

    def caller() -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
        while time.perf_counter() < end:
            body = json.dumps(make(f"text {next(numbers)} of one of many"))
            connection.request("POST", path, body, {"content-type": "application/json"})
            try:
                connection.sock.settimeout(max(0.01, end - time.perf_counter()))
                reply = connection.getresponse()
                reply.read()
            except TimeoutError:
                break  # the time is over
            (served if reply.status == 200 else errors).append(time.perf_counter())
        connection.close()

    threads = [threading.Thread(target=caller) for _ in range(_CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(at >= begin for at in served) / (_WINDOWS * _CALLS * 96), len(errors)


def openai(text: str) -> dict[str, Any]:
    """Return a request whose call may be shared."""
    return {"model": COHERE, "input": text}


def native(text: str) -> dict[str, Any]:
    """Return the same for the native route."""
    return {"model": COHERE, "texts": [text], "input_type": "search_document"}


_OPENAI, _NATIVE = "/v1/embeddings", "/v1/aws-bedrock/embeddings"


def crowd(gateway: Peer, upstream: Upstream, path: str, make: Callable[[str], dict[str, Any]]) -> tuple[int, float]:
    """Let 64 callers ask within 5 ms after one has; return the calls made for them, and the median of their times."""
    bodies = [json.dumps(make(f"text {number} of a crowd {time.monotonic_ns()}")).encode() for number in range(65)]
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
    address = urlsplit(gateway.url)
    before = upstream.calls()
    with ExitStack() as stack, selectors.DefaultSelector() as waiting:
        sockets = [
            stack.enter_context(socket.create_connection((address.hostname or "", address.port or 0))) for _ in bodies
        ]
        sent: dict[socket.socket, float] = {}
        for number, (each, body) in enumerate(zip(sockets, bodies, strict=True)):
            each.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
            sent[each] = time.perf_counter()
            if number == 0:
                time.sleep(_DELAY_MS / 1000 / 5)  # it is in flight
            else:
                waiting.register(each, selectors.EVENT_READ, each)
        if sent[sockets[-1]] - sent[sockets[1]] > 0.005:
            raise LoadError("the callers did not come within 5 ms")
        times_s: list[float] = []
        while waiting.get_map():
            for key, _ in waiting.select(timeout=10):
                asker: socket.socket = key.data
                times_s.append(time.perf_counter() - sent[asker])
                waiting.unregister(asker)
                if not asker.recv(100).startswith(b"HTTP/1.1 200"):
                    raise LoadError(f"{path} did not answer 200")
    return upstream.calls() - before - 1, statistics.median(times_s)


def measure_sharing(folder: Path) -> list[Goal | str]:
    """Return what calls that are shared save, and what they cost a lone caller."""
    with ExitStack() as stack:
        cores = Cores.split()
        upstream = Upstream(folder, cores, digits17=False)
        stack.callback(upstream.peer.stop)
        for texts in range(1, 65):  # the upstream makes each answer once
            body = {"texts": ["x"] * texts, "input_type": "search_document"}
            fetch(f"{upstream.url}/model/{COHERE}/invoke", json.dumps(body).encode(), trust=upstream.cert)
        gateway = start_gateway(folder, cores, upstream, command=f"{_BIN / 'embedrock'} serve", lanes=64)
        stack.callback(gateway.stop)
        routes = ((_OPENAI, openai), (_NATIVE, native))
        lone = [
            [
                drained(Target(gateway.url + path, json.dumps(make(sentence(0))), 1), connections=1, seconds=0.5)
                for path, make in routes
            ]
            for _ in range(_ROUNDS)
        ]
        upstream.set_delay_ms(_DELAY_MS)
        with pinned(cores.others):
            together = [[crowd(gateway, upstream, path, make) for path, make in routes] for _ in range(_ROUNDS)]
    calls = statistics.median(shared[0] for shared, _ in together)
    slower = statistics.median(shared[1] / alone[1] for shared, alone in together)
    costs_ms = statistics.median((shared.p50_us - alone.p50_us) / 1000 for shared, alone in lone)
    return [
        Goal("calls for 64 callers who come together", "", calls, 3),
        Goal("their p50 over that of calls of their own", " x", slower, 1.2),
        Goal("what it costs a lone caller, p50", " ms", costs_ms, 0.2),
    ]


def measure_quotas(folder: Path) -> list[Goal | str]:
    """Return what gets through a quota."""
    titan = {"match": {"model": TITAN}, "requests_per_minute": _PER_S * 60, "burst_s": 1}
    cohere = {"match": {"model": COHERE}, "requests_per_minute": _CALLS * 60 / _WINDOW_S, "burst_s": 1}
    told = {TITAN: {"requests_per_minute": _PER_S * 60}, COHERE: {"requests_per_minute": _CALLS * 60 / _WINDOW_S}}

    with ExitStack() as stack:
        known, unknown = (make_place(folder, stack, titan, quotas) for quotas in (told, None))
        shared, alone = (make_place(folder, stack, cohere, told) for _ in range(2))
        with ThreadPoolExecutor(4) as pool:
            lists = [pool.submit(long_list, place) for place in (known, unknown)]
            crowd = pool.submit(many_callers, shared, _OPENAI, openai)
            apart = pool.submit(many_callers, alone, _NATIVE, native)
            (over, throttled), (learned, learning) = (each.result() for each in lists)
            (full, errors), (single, _) = crowd.result(), apart.result()
    return [
        Goal("time over the least possible, quota known", " x", over, 1.15),
        Goal("calls throttled, quota known", " %", throttled * 100, 2),
        Goal("time over the least possible, quota learned", " x", learned, 1.15),
        Goal("calls throttled, quota learned", " %", learning * 100, 30),
        Goal("texts of many callers, of what full calls could hold", " %", full * 100, 93, at_least=True),
        Goal("errors", "", errors, 0),
        f"          the same callers on the native route, whose calls are not shared: {single:.1%}",
    ]


def main() -> int:
    """Measure and print."""
    parts = (
        (
            f"64 callers with one text each, cohere.embed-english-v3, one call in flight, upstream answers after "
            f"{_DELAY_MS} ms; medians of {_ROUNDS} rounds",
            measure_sharing,
        ),
        (
            f"One request for {_TEXTS} texts, Titan v2, {_PER_S} calls a second; {_CALLERS} callers with one text at a "
            f"time, cohere.embed-english-v3, {_CALLS} calls per {_WINDOW_S:.0f} s, {_WINDOWS} windows",
            measure_quotas,
        ),
    )
    with tempfile.TemporaryDirectory(prefix="embedrock-bench-") as folder:
        for title, measure in parts:
            print(f"\n{title}", flush=True)
            try:
                print("\n".join(map(str, measure(Path(folder)))), flush=True)
            except (PeerError, LoadError, OSError) as exc:
                print(exc, file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
