"""A stand-in for one region of Bedrock, and what the tests of the service share besides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from embedrock.errors import EmbedrockError, S3NotFound
from embedrock.inputs import Fused, Inputs, Item
from embedrock.media import Media, S3Object
from embedrock.service.attempts import Patience
from embedrock.service.pacer import Pacer
from embedrock.service.ways import Way
from embedrock.telemetry import Metrics
from embedrock.upstream.bedrock import Bedrock, Headers
from embedrock.upstream.connection import Response
from embedrock.upstream.credentials import FixedCredentials
from embedrock.upstream.s3 import S3, Head
from embedrock.upstream.sigv4 import Credentials

T = TypeVar("T")

TITAN_V1 = "amazon.titan-embed-text-v1"
TITAN = "amazon.titan-embed-text-v2:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
V4 = "cohere.embed-v4:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"

#: The service never looks at the bytes of media, so these are none of a real file.
PNG = Media("image", "png", "cG5n", 3, 2, 1)
MP4 = Media("video", "mp4", "bXA0", 3, None, None)
S3_PNG = S3Object("s3://bucket/a.png", "image", "png")


def fused(*parts: str | Media | S3Object) -> Fused:
    return Fused(parts)


def inputs_of(*items: Item, listed: bool = True) -> Inputs:
    return Inputs(list(items), listed=listed, texts_only=all(isinstance(item, str) for item in items))


class Sent(NamedTuple):
    """A call as it would have gone to Bedrock."""

    path: str  # or the model, of an invocation
    body: Any
    headers: Headers = ()


class StandIn(Bedrock):
    """A region whose answers are what `answer` makes of the calls, in turn; it raises those that are errors."""

    def __init__(self, answer: Callable[[Sent], bytes | EmbedrockError], latency_s: float = 0.0) -> None:
        super().__init__("us-east-1", "http://127.0.0.1:1", credentials=None, bearer="none")
        self._answer = answer
        self._latency_s = latency_s
        self.sent: list[Sent] = []
        self.at_once = 0
        self._now = 0

    async def invoke(
        self, model_id: str, body: bytes, parse: Callable[[Response], T], *, headers: Headers = (), timeout_s: float
    ) -> T:
        return await self._reply(Sent(model_id, json.loads(body), headers), parse, timeout_s)

    async def post(self, path: str, body: bytes, parse: Callable[[Response], T], *, timeout_s: float) -> T:
        return await self._reply(Sent(path, json.loads(body)), parse, timeout_s)

    async def _reply(self, sent: Sent, parse: Callable[[Response], T], timeout_s: float) -> T:
        assert timeout_s > 0
        self.sent.append(sent)
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        try:
            await asyncio.sleep(self._latency_s)  # let others run, as a network does
            answer = self._answer(sent)
            if isinstance(answer, EmbedrockError):
                raise answer
            return parse(Response(200, {}, bytearray(answer)))
        finally:
            self._now -= 1


class Stored(S3):
    """An S3 that holds these objects, and fetches nothing else; `heads` and `gets` are what was asked for."""

    def __init__(self, objects: Mapping[str, bytes], *, mime: str = "", owner: str | None = None) -> None:
        super().__init__(
            "us-east-1",
            "http://127.0.0.1:1",
            credentials=FixedCredentials(Credentials("key", "secret")),
            next_wait=lambda *_: None,
        )
        self._objects = objects
        self._mime = mime
        self._owner = owner
        self.heads: list[str] = []
        self.gets: list[str] = []

    async def head(self, uri: str) -> Head:
        self.heads.append(uri)
        await asyncio.sleep(0)  # let others run, as a network does
        if uri not in self._objects:
            raise S3NotFound("There is no such object.")
        return Head(len(self._objects[uri]), '"etag"', self._mime, self._owner)

    async def get(self, uri: str, *, first: int = 0, last: int | None = None, etag: str = "") -> AsyncIterator[bytes]:
        assert (first, last, etag) == (0, None, '"etag"')
        self.gets.append(uri)
        half = len(self._objects[uri]) // 2
        yield self._objects[uri][:half]
        yield self._objects[uri][half:]


def in_turn(answers: Sequence[bytes | EmbedrockError]) -> StandIn:
    """Return a region that gives these answers one after the other, whatever it is asked."""
    waiting = iter(answers)
    return StandIn(lambda _: next(waiting))


def patience() -> Patience:
    return Patience(Metrics(), 30.0)


def way_to(upstream: Bedrock) -> Way:
    """Return a way of which no quota is known."""
    return Way(upstream, Pacer(), upstream.region)


#: A picture of one pixel, and its bytes in base64.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
PIXEL_URI = f"data:image/png;base64,{PIXEL}"
