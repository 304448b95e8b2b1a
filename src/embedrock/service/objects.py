"""Objects in S3 that a request names: looked at before the model is called, and fetched where it cannot read S3.

S3 is asked as the account, and in the region, of the place whose model is called: there the bucket has to be.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Final

from embedrock import media
from embedrock.catalog import ModelSpec, Target
from embedrock.errors import BadRequest, Overloaded, RequestTooLarge, UpstreamTimeout
from embedrock.inputs import Fused, Inputs, Item, Part
from embedrock.media import Media, S3Object
from embedrock.service.checks import named, s3_limits
from embedrock.service.lanes import in_lanes
from embedrock.upstream.s3 import S3, Head

_LANES: Final = 16
_LARGEST_INLINE: Final = 18_600_000  # in base64 the most that a call to Bedrock holds
_MOST_HELD: Final = 128_000_000  # as of bodies
_LARGEST_TEXT: Final = 1_000_000


class _Base64(str):
    """Base64 of an object, which counts as long as anybody holds it. A class, since a str has no weak references."""


class Objects:
    """Looks at objects by the S3 of each place; what one request fetches has at most `most_bytes`.

    A request of a hundred bytes may name a hundred megabytes, so what all requests hold of them is bounded too.
    """

    def __init__(self, stores: Mapping[str, S3], most_bytes: int) -> None:
        self._stores = stores
        self._most_bytes = most_bytes
        self.held = 0  # bytes that were fetched, or are being

    async def resolve(
        self,
        target: Target,
        inputs: Inputs,
        said: object,
        deadline: float,
        stays: Callable[[S3Object], bool] | None = None,
    ) -> Inputs:
        """Return the inputs with their objects looked at, or fetched where the model does not read them from S3.

        `said`: what the caller says the inputs are. `stays`: which of them go to jobs, which read from S3.
        Raises EmbedrockError; a BadRequest names the input.
        """
        s3 = self._stores[target.place]
        places = [
            (index, number)
            for index, item in enumerate(inputs.items)
            for number, part in enumerate(_parts(item))
            if isinstance(part, S3Object)
        ]
        found: dict[tuple[int, int], Part] = {}
        fetched = 0

        async def look(place: tuple[int, int]) -> None:
            nonlocal fetched
            index, number = place
            part = _parts(inputs.items[index])[number]
            assert isinstance(part, S3Object)  # noqa: S101  # so it was chosen
            param = inputs.part_param(index, number)
            try:
                head = await s3.head(part.uri)
                known = _known(part, head, "image" if isinstance(inputs.items[index], Fused) else said)
                if known.kind is None or (stays and stays(known)):
                    found[place] = known
                    return
                if s3_limits(target.spec, known.kind).sync_s3_bytes is not None:
                    found[place] = known
                    return
                fetched += _inline_size(target.spec, known)
                if fetched > self._most_bytes:
                    raise RequestTooLarge("The objects in S3 that this request names are too large together.")
                found[place] = await self._fetch(s3, known, head.etag, param)
            except BadRequest as exc:
                raise named(exc, param) from exc.__cause__

        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await in_lanes(places, min(_LANES, len(places)), look)
        except TimeoutError:
            raise UpstreamTimeout("S3 did not answer in time.") from None
        return inputs._replace(items=[_replaced(item, index, found) for index, item in enumerate(inputs.items)])

    async def _fetch(self, s3: S3, part: S3Object, etag: str, param: str) -> Part:
        """Return what is in S3. Raises Overloaded; one object alone always has room."""
        size = part.size or 0
        if self.held and self.held + size > _MOST_HELD:
            raise Overloaded("The gateway is busy with other large objects.")
        self.held += size
        try:
            found = await _read(s3, part, etag, param)
        except BaseException:
            self.held -= size
            raise
        if not isinstance(found, Media) or not isinstance(found.base64, str):
            self.held -= size  # a text is short
            return found
        kept = _Base64(found.base64)
        weakref.finalize(kept, self._let_go, size).atexit = False
        return found._replace(base64=kept)

    def _let_go(self, size: int) -> None:
        self.held -= size


def names_objects(inputs: Inputs) -> bool:
    """Return whether any of the inputs is in S3."""
    return any(isinstance(part, S3Object) for item in inputs.items for part in _parts(item))


def _parts(item: Item) -> tuple[Part, ...]:
    return item.parts if isinstance(item, Fused) else (item,)


def _replaced(item: Item, index: int, found: Mapping[tuple[int, int], Part]) -> Item:
    if isinstance(item, Fused):
        return Fused(tuple(found.get((index, number), part) for number, part in enumerate(item.parts)))
    return found.get((index, 0), item)


def _known(part: S3Object, head: Head, said: object) -> S3Object:
    if not head.size:
        raise BadRequest("The object in S3 is empty.", code="invalid_media")
    part = media.of_mime(part, head.mime)._replace(size=head.size, owner=head.owner)
    if part.kind is None and said in ("text", "image", "audio", "video"):
        part = part._replace(kind=said)
    return part


def _inline_size(spec: ModelSpec, part: S3Object) -> int:
    """Return how many bytes are to be fetched. Raises RequestTooLarge when they cannot be sent inline."""
    assert part.size is not None and part.kind is not None  # noqa: S101  # looked at
    limit = s3_limits(spec, part.kind).inline_bytes
    most = _LARGEST_TEXT if part.kind == "text" else min(limit or _LARGEST_INLINE, _LARGEST_INLINE)
    if part.size > most:
        raise RequestTooLarge(
            f"The {part.kind} has {part.size} bytes; {spec.id} does not read from S3, and at most {most} bytes inline.",
            code="media_too_large",
        )
    return part.size


async def _read(s3: S3, part: S3Object, etag: str, param: str) -> Part:
    data = b"".join([piece async for piece in s3.get(part.uri, etag=etag)])
    if part.kind != "text":
        return media.read_bytes(data, part.format, param)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequest("The object in S3 is no text in UTF-8.", code="invalid_media") from None
