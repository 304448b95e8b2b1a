"""Bad inputs as data: reads `corpus/*.jsonl`, builds what a case sends, sends it, and times the event loop.

How a case is written stands in `corpus/README.md`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import http.client
import io
import itertools
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

CORPUS = Path(__file__).with_name("corpus")
TITAN = "amazon.titan-embed-text-v2:0"

#: In inputs and values: no message, log or metric may hold it.
SAID = "zebrafinch-8841"
#: In names of models and parameters, which a message may repeat: no log or metric may hold it.
NAMED = "hoatzin-5527"
#: The gateway's key, which every case sends.
KEY = "ek-shoebill-3306"

_TIMEOUT_S = 60
_SHOWN = 20  # letters of an input that must not be seen: a message holds shorter words by chance
_LISTENER = "LISTENER"


class Reply(NamedTuple):
    """An answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Expect:
    """What the gateway answers. `embeds`: the texts of the vectors; `vectors`: how many, of what is no text.

    `upstream`: Bedrock is called; None: when the status is 200. `headers`: of the answer.
    """

    status: int
    code: str | None = None
    param: str | None = None
    embeds: list[str] | None = None
    vectors: int | None = None
    upstream: bool | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> bool:
        """Whether Bedrock is called."""
        return self.status == 200 if self.upstream is None else self.upstream


@dataclass(frozen=True)
class Case:
    """One line of the corpus."""

    id: str
    why: str
    expect: Expect
    json: Mapping[str, Any] | None = None
    without: tuple[str, ...] = ()
    body: Any = None
    announce: int | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    only: str | None = None  # "socket" or "application"

    def members(self, listener: str) -> dict[str, Any]:
        """Return the body's members, of a case that has some."""
        members = {"model": TITAN, "input": SAID, "user": SAID, **build(self.json or {}, listener)}
        return {name: value for name, value in members.items() if name not in self.without}

    def texts(self, listener: str) -> list[str]:
        """Return the texts whose vectors are the answer: what `embeds` says, else the input."""
        if self.expect.embeds is not None:
            said = build(self.expect.embeds, listener)
        else:
            said = self.members(listener)["input"]
        return said if isinstance(said, list) else [said]

    def content(self, listener: str) -> bytes:
        """Return the body as it is sent."""
        if self.announce is not None:
            return b""
        if self.body is None:
            return json.dumps(self.members(listener)).encode()
        return _as_bytes(build(self.body, listener))

    def header_lines(self, length: int) -> list[tuple[bytes, bytes]]:
        """Return the headers of a body of `length` bytes, names in lower case."""
        lines: dict[str, Any] = {
            "host": "gateway",
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            "content-length": str(length if self.announce is None else self.announce),
            "connection": "close",
        } | {name.lower(): build(value, "") for name, value in self.headers.items()}
        return [
            (name.encode(), value.encode("latin-1"))
            for name, values in lines.items()
            for value in (values if isinstance(values, list) else [values])
            if value is not None
        ]


def load() -> list[Case]:
    """Return all cases. Raises TypeError for a member that a case cannot have."""
    return [
        Case(**{**members, "expect": Expect(**members["expect"]), "without": tuple(members.get("without", ()))})
        for path in sorted(CORPUS.glob("*.jsonl"))
        for members in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    ]


def pieces(value: object) -> Iterator[str]:
    """Yield the ends of each text in `value` that is long enough to be told from a word of a message."""
    if isinstance(value, str):
        content = value.rpartition(";base64,")[2]
        if len(content) >= _SHOWN:
            yield from (content[:_SHOWN], content[-_SHOWN:])
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(pieces, value.values()))
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(map(pieces, value[:100]))


def send(host: str, port: int, case: Case, listener: str) -> Reply:
    """Send a case on a connection of its own: bytes as they are, which no client library would let pass."""
    body = case.content(listener)
    lines = [b"POST /v1/embeddings HTTP/1.1", *(b"%b: %b" % line for line in case.header_lines(len(body)))]
    with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
        connection.sendall(b"\r\n".join((*lines, b"", b"")))
        connection.sendall(body)
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


@contextlib.contextmanager
def longest_callback() -> Iterator[Callable[[], float]]:
    """Measure the event loop's callbacks meanwhile; what is yielded returns the longest so far.

    In seconds of the thread's own processor time, so that a busy machine makes none longer.
    """
    longest = 0.0
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest
        started = time.thread_time()
        run(handle)
        longest = max(longest, time.thread_time() - started)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        yield lambda: longest


# ------------------------------------------------------------------------------------- what is described, not stored


def build(value: Any, listener: str) -> Any:
    """Return `value` with every `{"$name": …}` in it replaced by what it describes."""
    if isinstance(value, str):
        return value.replace(_LISTENER, listener)
    if isinstance(value, list):
        return [build(item, listener) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (make := _MAKERS.get(next(iter(value)))):
        (argument,) = value.values()
        return make(build(argument, listener))
    return {build(name, listener): build(item, listener) for name, item in value.items()}


def _join(parts: list[str | bytes]) -> str | bytes:
    if all(isinstance(part, str) for part in parts):
        return "".join(map(str, parts))
    return b"".join(map(_as_bytes, parts))


def _as_bytes(part: str | bytes) -> bytes:
    return part.encode() if isinstance(part, str) else part


def _picture(asked: list[Any]) -> bytes:
    format_, width, height = asked
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 40, 40)).save(out, format_)
    return out.getvalue()


def _png_header(size: list[int]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", *size, 8, 2, 0, 0, 0) + bytes(4)


def _jpeg_header(size: list[int]) -> bytes:
    width, height = size
    return b"\xff\xd8" + struct.pack(">BBHBHHB", 0xFF, 0xC0, 11, 8, height, width, 1) + b"\x01\x11\x00"


def _gif_frames(count: int) -> bytes:
    frame = b"," + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame * count + b";"


def _webp_frames(count: int) -> bytes:
    chunks = b"VP8X" + struct.pack("<I", 10) + b"\x02" + bytes(9) + (b"ANMF" + bytes(4)) * count
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_MAKERS: Mapping[str, Callable[[Any], Any]] = {
    "$repeat": lambda asked: asked[0] * asked[1],
    "$list": lambda asked: [asked[0]] * asked[1],
    "$join": _join,
    "$keys": lambda count: ",".join(f'"key{number}":0' for number in range(count)),
    "$product": lambda asked: ",".join(f'"{"".join(word)}":0' for word in itertools.product(asked[0], repeat=asked[1])),
    "$encode": lambda asked: asked[1].encode(asked[0]),
    "$hex": bytes.fromhex,
    "$join_lists": lambda lists: [item for items in lists for item in items],
    "$gzip": lambda data: gzip.compress(data.encode(), 1, mtime=0),
    "$base64": _base64,
    "$data_uri": lambda asked: f"data:{asked[0]};base64,{_base64(asked[1])}",
    "$picture": _picture,
    "$png_header": _png_header,
    "$jpeg_header": _jpeg_header,
    "$gif_frames": _gif_frames,
    "$webp_frames": _webp_frames,
}
