"""Load: request bodies whose texts never repeat, wrk for fast targets, a loop of threads for slow ones.

Texts must not repeat, or a gateway that sends equal texts once would be measured doing nothing. A template therefore
holds `MARK` wherever a number goes; the number has as many digits as the mark, so Content-Length never changes.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import random
import ssl
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"

MARK = "@" * 9
_JSON = {"Content-Type": "application/json"}
_numbers = itertools.count(random.randrange(100_000_000, 200_000_000), 1_000_000)  # noqa: S311  one range per load

# Reads the template, numbers it, and reports as JSON. The request is formatted once; sending it costs one concat.
_LUA = """
local pieces, at = {}, 0
function init(args)
  local file = assert(io.open(args[1], "rb"))
  local body = file:read("*a")
  file:close()
  at = tonumber(args[2])
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  if args[3] then wrk.headers["Authorization"] = "Bearer " .. args[3] end
  local mark = string.rep("@", 9)
  local text = wrk.format(nil, nil, nil, body) .. mark
  for piece in text:gmatch("(.-)" .. mark) do pieces[#pieces + 1] = piece end
end
function request()
  at = at + 1
  return table.concat(pieces, string.format("%09d", at))
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nwrk-json {"requests":%d,"us":%d,"p50":%d,"p99":%d,"status":%d,"socket":%d,"timeout":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), e.status,
    e.connect + e.read + e.write, e.timeout))
end
"""


class LoadError(Exception):
    """A target answered something else than what the benchmark measures."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one load did: completed requests, wall time, latency."""

    requests: float
    wall_s: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, its template, and how many vectors its answer holds."""

    url: str
    template: str
    vectors: int
    key: str = ""  # of the gateway, where it has any


def sentence(index: int) -> str:
    """Return the text of input `index`, with a mark that makes it unique."""
    return f"Order {MARK} item {index}: the parcel reached the depot before noon."


def openai_body(model: str, texts: int, encoding_format: str) -> str:
    """Return the template of a request to `/v1/embeddings`."""
    inputs = [sentence(i) for i in range(texts)]
    return json.dumps({"model": model, "input": inputs if texts > 1 else inputs[0], "encoding_format": encoding_format})


def bedrock_body(model: str, texts: int) -> str:
    """Return the template of the InvokeModel request that a gateway makes of the same texts."""
    if model == TITAN:
        return json.dumps({"inputText": sentence(0)})
    return json.dumps(
        {"texts": [sentence(i) for i in range(texts)], "input_type": "search_document", "truncate": "NONE"}
    )


def fill(template: str, number: int) -> bytes:
    """Return the body with its marks numbered."""
    return template.replace(MARK, f"{number:09d}").encode()


def count_vectors(body: bytes) -> int:
    """Return how many vectors an answer holds, ours or Bedrock's. Raises LoadError when one is not of full length."""
    answer: dict[str, Any] = json.loads(body)
    vectors: list[Any]
    if "data" in answer:
        vectors = [item["embedding"] for item in answer["data"]]
    elif "embedding" in answer:
        vectors = [answer["embedding"]]
    else:
        rows = answer["embeddings"]
        vectors = rows["float"] if isinstance(rows, dict) else rows
    for vector in vectors:
        size = len(vector) * 3 // 16 if isinstance(vector, str) else len(vector)  # 4 bytes a number, 4 signs for 3
        if size != 1024:
            raise LoadError(f"a vector of {size} numbers instead of 1024")
    return len(vectors)


def fetch(url: str, body: bytes | None = None, *, trust: Path | None = None, timeout_s: float = 120) -> bytes:
    """Return the body of a 200 answer: to a POST of `body`, or to a GET. Raises LoadError on every other outcome."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout_s)
    if address.scheme == "https":
        context = ssl.create_default_context(cafile=trust)
        connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, timeout=timeout_s, context=context
        )
    try:
        connection.request("GET" if body is None else "POST", address.path, body, _JSON)
        reply = connection.getresponse()
        data = reply.read()
    except (OSError, http.client.HTTPException) as exc:
        raise LoadError(f"{url}: {exc!r}") from exc
    finally:
        connection.close()
    if reply.status != 200:
        raise LoadError(f"{url}: status {reply.status}: {data[:500].decode(errors='replace')}")
    return data


def check(target: Target, trust: Path) -> int:
    """Send one request, check status and vectors, return the size of the answer in bytes."""
    body = fetch(target.url, fill(target.template, next(_numbers)), trust=trust)
    vectors = count_vectors(body)
    if vectors != target.vectors:
        raise LoadError(f"{target.url}: {vectors} vectors instead of {target.vectors}")
    return len(body)


def wrk(target: Target, *, connections: int, seconds: float, folder: Path) -> Load:
    """Run wrk, a closed loop. Raises LoadError when any answer was not 2xx or any socket failed."""
    script, body = folder / "load.lua", folder / "body.json"
    script.write_text(_LUA)
    body.write_text(target.template)
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{math.ceil(seconds)}s"]
    command += ["--timeout", "60s", "--latency", "--script", str(script), target.url, "--"]
    command += [str(body), str(next(_numbers)), *([target.key] if target.key else [])]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    report = next((line for line in run.stdout.splitlines() if line.startswith("wrk-json ")), None)
    if run.returncode or report is None:
        raise LoadError(f"wrk failed: {run.stdout} {run.stderr}")
    figures = json.loads(report.removeprefix("wrk-json "))
    if "Non-2xx or 3xx responses" in run.stdout or figures["status"] or figures["socket"] or figures["timeout"]:
        raise LoadError(f"{target.url}: errors under load: {figures}")
    if not figures["requests"]:
        raise LoadError(f"{target.url}: no request completed in {seconds} s")
    return Load(figures["requests"], figures["us"] / 1e6, figures["p50"], figures["p99"])


def drained(target: Target, *, connections: int, seconds: float) -> Load:
    """Run a closed loop over plain HTTP; after `seconds` nothing new is sent, and what is under way is awaited.

    For requests that take milliseconds: wrk hangs up when its time is over, and the work already done for what it
    leaves behind would be charged to the few requests that completed.
    """
    address = urlsplit(target.url)
    numbers = itertools.count(next(_numbers))
    begin = time.perf_counter()
    times_s: list[float] = []
    failures: list[str] = []

    def loop() -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=300)
        while not failures:
            sent = time.perf_counter()
            try:
                connection.request("POST", address.path, fill(target.template, next(numbers)), _JSON)
                reply = connection.getresponse()
                reply.read()
            except (OSError, http.client.HTTPException) as exc:
                failures.append(repr(exc))
                break
            now = time.perf_counter()
            times_s.append(now - sent)
            if reply.status != 200:
                failures.append(f"status {reply.status}")
            if now - begin > seconds:
                break
        connection.close()

    wall_s = _in_threads(loop, connections)
    if failures:
        raise LoadError(f"{target.url}: {failures[0]} under load")
    return _load_of(times_s, wall_s)


def paced(target: Target, *, per_s: int, connections: int, seconds: float, trust: Path) -> Load:
    """Send `per_s` requests a second over kept connections; a request's time begins when it is due.

    What is late because the answer before it was late counts, as it would for whoever sends at that rate.
    """
    address = urlsplit(target.url)
    numbers = itertools.count(next(_numbers))
    context = ssl.create_default_context(cafile=trust)
    times_s: list[float] = []
    failures: list[str] = []
    count, begin = int(per_s * seconds), time.perf_counter() + 0.1
    due = iter(range(count))

    def loop() -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        if address.scheme == "https":
            connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=60, context=context)
        connection.connect()
        for number in due:
            at = begin + number / per_s
            time.sleep(max(0.0, at - time.perf_counter()))
            try:
                connection.request("POST", address.path, fill(target.template, next(numbers)), _JSON)
                reply = connection.getresponse()
                reply.read()
            except (OSError, http.client.HTTPException) as exc:
                failures.append(repr(exc))
                break
            times_s.append(time.perf_counter() - at)
            if reply.status != 200:
                failures.append(f"status {reply.status}")
                break
        connection.close()

    wall_s = _in_threads(loop, connections)
    if failures:
        raise LoadError(f"{target.url}: {failures[0]} at {per_s} requests a second")
    return _load_of(times_s, wall_s)


def _in_threads(loop: Callable[[], None], number: int) -> float:
    """Run so many at once; return how long it took until the last was over."""
    begin = time.perf_counter()
    threads = [threading.Thread(target=loop) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


def _load_of(times_s: list[float], wall_s: float) -> Load:
    times_s.sort()
    p99 = times_s[min(len(times_s) - 1, int(len(times_s) * 0.99))]
    return Load(len(times_s), wall_s, statistics.median(times_s) * 1e6, p99 * 1e6)
