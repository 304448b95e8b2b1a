"""The canned Bedrock runtime of the benchmark: as little work per call as asyncio allows.

It validates nothing and embeds nothing. Bodies are made once and sent again, so that what is measured is the process
in front of it. For a Bedrock that really answers, there is the emulator.

    POST /model/{id}/invoke   Titan or Cohere bytes, by the id
    GET  /_bench              {"calls": N, "connections": N}: how many invocations and TLS connections so far
    POST /_bench              {"delay_ms": N}: the wait before every answer from now on

Run as `python -m bench.upstream --tls-port N --plain-port N --cert FILE --key FILE`; prints `ready` once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import httptools
import msgspec
import numpy as np
import uvloop

DIMENSIONS = 1024
TITAN_TOKENS = 11  # of the one text in a Titan call
COHERE_TOKENS = 8  # of each text in a Cohere call
_SEED = 20


class _CohereRequest(msgspec.Struct):
    texts: list[str]
    embedding_types: list[str] | msgspec.UnsetType = msgspec.UNSET


_decode_cohere = msgspec.json.Decoder(_CohereRequest).decode


def number_text(*, kind: str, rng: np.random.Generator) -> str:
    """Return the numbers of one unit vector as JSON text, without brackets.

    `kind`: "float32" (shortest text that gives the float32 back), "float16" (half precision printed as float32, as
    Cohere's models do) or "17" (17 digits, the longest Titan sends).
    """
    vector = rng.standard_normal(DIMENSIONS)
    vector /= np.linalg.norm(vector)
    match kind:
        case "17":
            return ",".join(format(x, ".17g") for x in vector.tolist())
        case "float16":
            return ",".join(str(x) for x in vector.astype(np.float16).astype(np.float32))
        case _:
            return ",".join(str(x) for x in vector.astype(np.float32))


def answer(body: str, *, tokens: int) -> bytes:
    """Return a whole HTTP answer with the headers Bedrock sends."""
    head = (
        "HTTP/1.1 200 OK\r\n"
        "Content-Type: application/json\r\n"
        "x-amzn-RequestId: 6f0d2c9e-5d0b-4c83-9a53-2f6c5a1d7e40\r\n"
        "X-Amzn-Bedrock-Invocation-Latency: 50\r\n"
        f"X-Amzn-Bedrock-Input-Token-Count: {tokens}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode("ascii")


@dataclass
class Canned:
    """The answers, made on first use, and what may be changed while running."""

    digits17: bool = False
    delay_s: float = 0.0
    calls: int = 0
    connections: int = 0
    _cohere: dict[tuple[int, bool], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = number_text(kind="17" if self.digits17 else "float32", rng=np.random.default_rng(_SEED))
        self.titan = answer(
            f'{{"embedding":[{numbers}],"embeddingsByType":{{"float":[{numbers}]}},"inputTextTokenCount":{TITAN_TOKENS}}}',
            tokens=TITAN_TOKENS,
        )

    def cohere(self, texts: int, *, by_type: bool) -> bytes:
        """Return the answer to a call with so many texts, in the shape that goes with `embedding_types` or without."""
        made = self._cohere.get((texts, by_type))
        if made is None:
            rows = ",".join(f"[{row}]" for row in _cohere_rows(texts))
            embeddings = f'{{"float":[{rows}]}}' if by_type else f"[{rows}]"
            kind = "embeddings_by_type" if by_type else "embeddings_floats"
            echo = json.dumps([f"the canned echo of text {i}" for i in range(texts)])
            body = (
                f'{{"embeddings":{embeddings},"id":"0d9b6c1e-7a3f-4e58-8f61-b1c2a4e9d370",'
                f'"response_type":"{kind}","texts":{echo}}}'
            )
            made = self._cohere[(texts, by_type)] = answer(body, tokens=COHERE_TOKENS * texts)
        return made

    def control(self, body: bytes) -> bytes:
        """Return the answer to a request on `/_bench`, after doing what it asks."""
        if body:
            self.delay_s = float(json.loads(body)["delay_ms"]) / 1000
        return answer(json.dumps({"calls": self.calls, "connections": self.connections}), tokens=0)


@lru_cache(maxsize=8)
def _cohere_rows(texts: int) -> tuple[str, ...]:
    rng = np.random.default_rng(_SEED)
    return tuple(number_text(kind="float16", rng=rng) for _ in range(texts))


_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_BROKEN = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Connection(asyncio.Protocol):
    """One client connection: httptools calls back into it, it writes ready bytes."""

    def __init__(self, canned: Canned, loop: asyncio.AbstractEventLoop) -> None:
        self._canned = canned
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._url = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if transport.get_extra_info("sslcontext") is not None:
            self._canned.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._write(_BROKEN)
            if self._transport is not None:
                self._transport.close()

    def on_message_begin(self) -> None:
        self._url = b""
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        url, canned = self._url, self._canned
        if not (url.startswith(b"/model/") and url.endswith(b"/invoke")):
            self._write(canned.control(b"".join(self._body)) if url == b"/_bench" else _NOT_FOUND)
            return
        canned.calls += 1
        if b"titan" in url:
            reply = canned.titan
        elif b"cohere" in url:
            ask = _decode_cohere(b"".join(self._body))
            reply = canned.cohere(len(ask.texts), by_type=ask.embedding_types is not msgspec.UNSET)
        else:
            reply = _NOT_FOUND
        if canned.delay_s:
            self._loop.call_later(canned.delay_s, self._write, reply)
        else:
            self._write(reply)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(args: argparse.Namespace) -> None:
    """Listen on both ports until the process is ended."""
    canned = Canned(digits17=args.digits17)
    loop = asyncio.get_running_loop()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(args.cert, args.key)
    await loop.create_server(lambda: Connection(canned, loop), "127.0.0.1", args.tls_port, ssl=tls, backlog=1024)
    await loop.create_server(lambda: Connection(canned, loop), "127.0.0.1", args.plain_port, backlog=1024)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="Canned Bedrock runtime for the benchmark.")
    parser.add_argument("--tls-port", type=int, required=True)
    parser.add_argument("--plain-port", type=int, required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--digits17", action="store_true", help="Titan's numbers with 17 digits")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
