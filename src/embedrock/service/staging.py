"""What is too large for a call's body lies in the gateway's own bucket for as long as the model may read it there.

Each request has a folder of its own, by a name that nobody can guess, and it is gone when the request ends, however it
does. What a killed process leaves behind, the sweeper finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, Final

import pybase64

from embedrock.errors import BadRequest, BucketUnusable, EmbedrockError
from embedrock.inputs import Fused, Part
from embedrock.media import Media, S3Object
from embedrock.service.lanes import in_lanes
from embedrock.service.work import Work
from embedrock.upstream.s3 import S3

#: All that the gateway writes lies below this, in each of its buckets; callers may not name it.
OWN: Final = "embedrock"
#: What requests stage lies below this.
FOLDER: Final = f"{OWN}/staged"
_LANES: Final = 4
_REMOVE_S: Final = 30.0
_WAITED_S: Final = 2.0  # by an answer for the removal
_PIECE_CHARS: Final = 4 * 1024 * 1024  # of base64 or text, a multiple of four


class Staging:
    """Stages items. `stores`: the S3 of each place; `buckets`: the gateway's own, by region."""

    def __init__(self, stores: Mapping[str, S3], buckets: Mapping[str, str]) -> None:
        self._stores = stores
        self._buckets = buckets
        self._removing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def staged(self, work: Work[Any], positions: Sequence[int]) -> AsyncIterator[None]:
        """Have the media of some items of `work` in S3, in its first place, while the context lasts.

        Raises BadRequest when the gateway has no bucket there, BucketUnusable when it cannot write to it.
        """
        target = work.target
        bucket = self._buckets.get(target.region)
        if bucket is None:
            param = work.param(positions[0])
            raise BadRequest(
                f"'{param}' is too large for a call to Bedrock, and there is no bucket in {target.region} to put it "
                "in: AWS_S3_REGIONAL_BUCKETS names one, of the program or of the gateway it calls.",
                param=param,
                code="s3_bucket_missing",
            )
        s3, folder = self._stores[target.place], f"s3://{bucket}/{FOLDER}/{token_hex(16)}"
        items, ways = list(work.items), work.ways
        uris: list[str] = []

        async def stage(position: int) -> None:
            item = items[position]
            parts: list[Part] = []
            for number, part in enumerate(item.parts if isinstance(item, Fused) else (item,)):
                if isinstance(part, Media):
                    stem = f"{folder}/{position}-{number}"
                    uris.append(f"{stem}.{part.format}")
                    parts.append(await upload(s3, stem, part))
                else:
                    parts.append(part)
            items[position] = Fused(tuple(parts)) if isinstance(item, Fused) else parts[0]

        try:
            await in_lanes(positions, _LANES, stage)
            work.items, work.ways = items, ways[:1]  # the bucket is read in its own region only
            yield
        finally:
            await self._remove(s3, uris)

    async def close(self) -> None:
        """Wait until what is being removed is gone."""
        if self._removing:
            await asyncio.wait(self._removing, timeout=_REMOVE_S)

    async def _remove(self, s3: S3, uris: Sequence[str]) -> None:
        async def remove() -> None:
            try:
                async with asyncio.timeout(_REMOVE_S):
                    await in_lanes(uris, _LANES, s3.delete)
            except (EmbedrockError, TimeoutError):
                pass  # the sweeper comes by later

        task = asyncio.create_task(remove())
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)
        await asyncio.wait({task}, timeout=_WAITED_S)  # then, or when the caller hangs up, it goes on without us


async def upload(s3: S3, stem: str, item: str | Media) -> S3Object:
    """Write an item to the gateway's own bucket, piece by piece, and return it as the object it is there.

    Its extension is added to `stem`. Raises BucketUnusable.
    """
    uri = f"{stem}.{item.format}" if isinstance(item, Media) else f"{stem}.txt"
    mime = item.mime if isinstance(item, Media) else "text/plain; charset=utf-8"
    try:
        await s3.put(uri, _pieces(item), mime=mime)
    except BadRequest as exc:  # it is the operator's bucket that S3 speaks of, not the caller's object
        raise BucketUnusable(
            f"The gateway's bucket in {s3.region}, of AWS_S3_REGIONAL_BUCKETS, takes nothing: {exc.message}"
        ) from exc
    owner = (await s3.credentials.get()).account
    if isinstance(item, str):
        return S3Object(uri, "text", "text", len(item.encode()), owner)
    return S3Object(uri, item.kind, item.format, item.size, owner)


async def _pieces(item: str | Media) -> AsyncIterator[bytes]:
    text = item if isinstance(item, str) else item.base64
    for at in range(0, len(text), _PIECE_CHARS):
        piece = text[at : at + _PIECE_CHARS]
        if isinstance(item, Media):
            yield await asyncio.to_thread(pybase64.b64decode, piece)
        else:
            yield str(piece).encode()
