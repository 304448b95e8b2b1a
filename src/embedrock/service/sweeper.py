"""Removes what is left behind in the gateway's buckets: by processes that were killed, and by jobs nobody waits for.

Only by age, and only below the gateway's own folders: a request ends within an hour, a job and the time its results
are kept within nine days. What is younger may be in use, by this process or another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from random import uniform
from typing import Final

from embedrock.errors import EmbedrockError
from embedrock.service import jobs, staging
from embedrock.telemetry import LOGGER
from embedrock.upstream.s3 import S3

_log = logging.getLogger(LOGGER)

_HOUR_S: Final = 3600.0
#: Folder → the age from which nothing in it can be in use.
AGES: Final[Mapping[str, float]] = {staging.FOLDER: 2 * _HOUR_S, jobs.FOLDER: 9 * 24 * _HOUR_S}
_UPLOAD_AGE_S: Final = 2 * _HOUR_S
_FIRST_S: Final = 1.0  # not while a process starts, nor by all workers at once


class Sweeper:
    """Sweeps the gateway's buckets, `buckets` by region; `stores`: the S3 of each place."""

    def __init__(
        self, stores: Mapping[str, S3], buckets: Mapping[str, str], clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        by_region = {s3.region: s3 for s3 in reversed(list(stores.values()))}  # the gateway's own come first
        self._places = [(by_region[region], bucket) for region, bucket in buckets.items() if region in by_region]
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sweep now, and every hour, until `close`."""
        if self._places and self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep_on())

    def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()

    async def sweep(self) -> int:
        """Remove what is too old to be in use, and return how many objects and unfinished uploads that were."""
        removed = 0
        for s3, bucket in self._places:
            for folder, age_s in AGES.items():
                try:
                    removed += await self._sweep_folder(s3, f"s3://{bucket}/{folder}/", age_s)
                except EmbedrockError as exc:
                    _log.warning("The gateway's bucket in %s could not be swept: %s", s3.region, exc.code)
        return removed

    async def _sweep_folder(self, s3: S3, folder: str, age_s: float) -> int:
        now = self._clock()
        removed = 0
        async for listed in s3.objects(folder):
            if listed.since < now - age_s:
                await s3.delete(listed.uri)
                removed += 1
        async for listed in s3.uploads(folder):
            if listed.upload and listed.since < now - _UPLOAD_AGE_S:
                await s3.abort(listed.uri, listed.upload)
                removed += 1
        return removed

    async def _sweep_on(self) -> None:
        await asyncio.sleep(uniform(0, _FIRST_S))  # noqa: S311  # no secret
        while True:
            if removed := await self.sweep():
                _log.info("Removed %d things that were left behind in the gateway's buckets.", removed)
            await asyncio.sleep(uniform(0.9, 1.1) * _HOUR_S)  # noqa: S311
