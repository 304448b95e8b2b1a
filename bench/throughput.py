"""What gets through a Bedrock quota: a long list, and many callers with a text each. Part of `make bench`.

The upstream is the emulator with token-bucket quotas. All runs go at the same time, since nearly all of it is waiting.

Exit status: 0 measured (targets missed included), 1 something broke.
"""

from __future__ import annotations

import http.client
import itertools
import json
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

from bench.load import COHERE, TITAN, LoadError, fetch
from bench.peers import child_env
from bench.process import Peer, PeerError, answers, free_port, settle, start
from bench.report import Goal

_BIN = Path(sys.executable).parent
_TEXTS = 2048
_PER_S = 100
_CALLERS = 200
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


def main() -> int:
    """Start everything, measure, print."""
    titan = {"match": {"model": TITAN}, "requests_per_minute": _PER_S * 60, "burst_s": 1}
    cohere = {"match": {"model": COHERE}, "requests_per_minute": _CALLS * 60 / _WINDOW_S, "burst_s": 1}
    told = {TITAN: {"requests_per_minute": _PER_S * 60}, COHERE: {"requests_per_minute": _CALLS * 60 / _WINDOW_S}}

    def openai(text: str) -> dict[str, Any]:
        return {"model": COHERE, "input": text}

    def native(text: str) -> dict[str, Any]:
        return {"model": COHERE, "texts": [text], "input_type": "search_document"}

    print(f"One request for {_TEXTS} texts, Titan v2, {_PER_S} calls a second; {_CALLERS} callers with one text at a")
    print(f"time, cohere.embed-english-v3, {_CALLS} calls per {_WINDOW_S:.0f} s. Upstream: the emulator.", flush=True)
    with tempfile.TemporaryDirectory(prefix="embedrock-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        try:
            known, unknown = (make_place(folder, stack, titan, quotas) for quotas in (told, None))
            shared, alone = (make_place(folder, stack, cohere, told) for _ in range(2))
            with ThreadPoolExecutor(4) as pool:
                lists = [pool.submit(long_list, place) for place in (known, unknown)]
                crowd = pool.submit(many_callers, shared, "/v1/embeddings", openai)
                apart = pool.submit(many_callers, alone, "/v1/aws-bedrock/embeddings", native)
                (over, throttled), (learned, learning) = (each.result() for each in lists)
                (full, errors), (single, _) = crowd.result(), apart.result()
        except (PeerError, LoadError, OSError) as exc:
            print(exc, file=sys.stderr)
            return 1
    for goal in (
        Goal("time over the least possible, quota known", " x", over, 1.15),
        Goal("calls throttled, quota known", " %", throttled * 100, 2),
        Goal("time over the least possible, quota learned", " x", learned, 1.15),
        Goal("calls throttled, quota learned", " %", learning * 100, 30),
        Goal("texts of many callers, of what full calls could hold", " %", full * 100, 93, at_least=True),
        Goal("errors", "", errors, 0),
    ):
        print(goal)
    print(f"  the same callers on the native route, whose calls are not shared: {single:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
