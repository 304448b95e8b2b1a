"""Many requests while answers break off, fail and hold what no model answers: how many come through, and whether true.

The short form is in tests/test_faults.py, the long one in tests/campaign.
"""

from __future__ import annotations

import contextlib
import json
import struct
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Expected, Gateway

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
CALLERS = 24

#: What connections and servers do: no answer, half of one, one that is late or framed wrongly.
BROKEN: list[tuple[str, dict[str, Any]]] = [
    *(("server_error", {"status": status}) for status in (500, 502, 503, 504)),
    *(("reset", {"at": at}) for at in ("before_headers", "first_byte", "mid_body", "last_byte")),
    ("fin_mid_body", {}),
    *(("stale_keep_alive", {"end": end}) for end in ("close", "reset")),
    ("slow_body", {"bytes_per_s": 8192}),
    ("truncated_json", {}),
    *(("wrong_content_length", {"kind": kind}) for kind in ("too_long", "too_short", "missing", "two", "bad_chunk")),
]
#: Whole answers that hold what the model cannot have meant.
ODD: list[tuple[str, dict[str, Any]]] = [
    *(("vector_count", {"change": change}) for change in ("fewer", "more")),
    ("dimensions", {"dimensions": 256}),
    *(("bad_numbers", {"kind": kind}) for kind in ("nan", "infinity", "overflow", "null", "string")),
]
CLEAR = {(502, "upstream_invalid_response"), (503, "upstream_unavailable"), (504, "upstream_timeout")}


@dataclass
class Outcome:
    """What became of the inputs; `unclear` are answers that are neither vectors nor an error a caller can act on."""

    right: int = 0
    failed: int = 0
    wrong: int = 0
    unclear: list[bytes] = field(default_factory=list)
    fired: dict[str, int] = field(default_factory=dict)  # by fault and its settings


def run(
    gateway: Gateway,
    emulator: Emulator,
    expected: Expected,
    *,
    inputs: int,
    broken: float,
    odd: float,
    within_s: int = 50,
    seed: int = 1,
) -> Outcome:
    """Send so many inputs, in requests that may take `within_s`, while so large shares of the calls are struck."""
    for faults, share in ((BROKEN, broken), (ODD, odd)):
        for number, (name, settings) in enumerate(faults):
            emulator.fault(name, p=share / len(faults), seed=seed * 100 + number, **settings)
    in_time = {"x-request-timeout-ms": str(within_s * 1000)}
    bodies = list(_requests(inputs, Random(seed)))
    outcome = Outcome()
    with ThreadPoolExecutor(CALLERS) as pool:
        for body, answer in zip(bodies, pool.map(lambda body: gateway.embed(body, in_time), bodies), strict=True):
            _judge(outcome, body, answer, expected)
    for entry in emulator.request("GET", "/_emulator/faults").json()["faults"]:
        what = {name: value for name, value in entry.items() if name not in ("id", "p", "seed", "fired")}
        outcome.fired[json.dumps(what)] = entry["fired"]
    return outcome


def _requests(inputs: int, draw: Random) -> Iterator[dict[str, Any]]:
    """Yield requests with so many inputs in all: mostly one text, else lists, half of them packed."""
    texts, left = (f"text {number} of a run with faults" for number in count()), inputs
    while left > 0:
        model = draw.choice((TITAN, ENGLISH))
        size = min(left, draw.choice((1, 1, 1, 4) if model == TITAN else (1, 1, 4, 24)))
        left -= size
        listed = [next(texts) for _ in range(size)]
        body: dict[str, Any] = {"model": model, "input": listed[0] if size == 1 else listed}
        if draw.random() < 0.5:
            body["encoding_format"] = "base64"
        yield body


def _judge(outcome: Outcome, body: dict[str, Any], answer: Answer, expected: Expected) -> None:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    if answer.status == 200:
        vectors = [item["embedding"] for item in answer.items()]
        true: list[Any] = expected(body["model"], texts)
        if "encoding_format" in body:
            vectors, true = [b64decode(vector) for vector in vectors], [_packed(vector) for vector in true]
        right = sum(vector == of_text for vector, of_text in zip(vectors, true, strict=False))
        outcome.right += right
        outcome.wrong += max(len(texts), len(vectors)) - right
        return
    outcome.failed += len(texts)
    error: dict[str, Any] = {}
    with contextlib.suppress(ValueError, AssertionError):
        error = answer.error()
    known = {
        (502, "upstream_invalid_response"),
        (503, "upstream_unavailable"),
        (504, "upstream_timeout"),
    }
    if (answer.status, error.get("code")) not in known or (
        answer.status == 503 and "retry-after" not in answer.headers
    ):
        outcome.unclear.append(answer.body[:300])


def _packed(vector: list[float]) -> bytes:
    return struct.pack(f"<{len(vector)}f", *vector)


def check(outcome: Outcome, inputs: int) -> None:
    """Check what holds at any share of faults: each fault struck, each input has its vector or a clear error."""
    assert outcome.right + outcome.failed == inputs
    assert (outcome.wrong, outcome.unclear) == (0, [])
    assert len(outcome.fired) == len(BROKEN) + len(ODD)
    never = [fault for fault, fired in outcome.fired.items() if not fired]
    assert not never, Counter(outcome.fired)
