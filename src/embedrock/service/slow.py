"""Requests in which some inputs need a job: those wait for theirs, while the others are embedded as ever.

The caller gets all of it at once. A job's folder of the gateway's own is removed when the request ends, however it
does; Bedrock has no way to stop a job, so one whose caller went away writes its results there later, for the sweeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Final

from embedrock.errors import BadRequest, EmbedrockError
from embedrock.families.jobs import Found, Jobs
from embedrock.service.calls import Calls, estimate_tokens
from embedrock.service.jobs import JobRunner, Place, check_buckets, check_whole, failed
from embedrock.service.lanes import in_lanes
from embedrock.service.work import V, Work, billed
from embedrock.upstream.async_invoke import start_body
from embedrock.vectors import Segment

_LANES: Final = 20  # jobs of a request at once: what AWS lets an account run, until it says otherwise
_CLEAR_S: Final = 30.0


class Slow:
    """Embeds requests of which some inputs need a job."""

    def __init__(self, calls: Calls, runner: JobRunner) -> None:
        self._calls = calls
        self._runner = runner
        self._clearing: set[asyncio.Task[None]] = set()

    async def run(self, work: Work[V], slow: Sequence[int], doubtful: Sequence[int] = ()) -> list[V]:
        """Return the vectors of all items, in order.

        `slow`: the positions of those that need a job; `doubtful`: of those that need one if Bedrock refuses them.
        """
        jobs = work.family.jobs
        if jobs is None:
            raise TypeError("a family without jobs")
        if slow:
            check_buckets(self._runner.place(work), work, slow)
            if work.bill is not None:
                await work.bill.held()
        found: dict[int, list[V]] = {}
        segments: dict[int, Sequence[Segment | None]] = {}
        quick = [position for position in range(len(work.items)) if position not in {*slow, *doubtful}]

        async def run(position: int | None) -> None:
            if position is None:
                await self._quick(work, quick, found, segments)
                return
            if position in doubtful:
                try:
                    await self._quick(work, [position], found, segments)
                    return
                except BadRequest as exc:
                    if type(exc) is not BadRequest or exc.code is not None:
                        raise
                    if not self._runner.has_bucket(work):
                        exc.message += (
                            " A clip that is longer than a call takes goes as a job, with a bucket of "
                            f"AWS_S3_REGIONAL_BUCKETS in {work.target.region}: there is none."
                        )
                        raise
            place = self._runner.place(work)
            try:
                result = await self._job(work, jobs, position, place)
            except EmbedrockError as exc:
                if exc.param in (None, "input"):
                    exc.param = work.param(position)
                raise
            found[position] = await asyncio.to_thread(_rendered, work, result)
            segments[position] = result.segments

        await in_lanes([*([None] if quick else []), *slow, *doubtful], _LANES, run)
        work.segments = segments
        return [vector for position in range(len(work.items)) for vector in found[position]]

    async def _quick(
        self,
        work: Work[V],
        positions: Sequence[int],
        found: dict[int, list[V]],
        segments: dict[int, Sequence[Segment | None]],
    ) -> None:
        lengths = work.lengths or {}
        part = replace(
            work,
            items=[work.items[position] for position in positions],
            firsts=positions,
            lengths={number: lengths[position] for number, position in enumerate(positions) if position in lengths},
            tokens=0,
            reported=True,
            calls=0,
            regions=(),
            truncated=(),
            segments=None,
            seconds=None,
        )
        vectors = iter(await self._calls.run(part))
        for number, position in enumerate(positions):
            its = (part.segments or {}).get(number, (None,))
            found[position] = [next(vectors) for _ in its]
            segments[position] = its
        work.tokens += part.tokens
        work.reported = work.reported and part.reported
        work.calls += part.calls
        work.truncated = (*work.truncated, *(positions[number] for number in part.truncated))
        work.seconds = {**(work.seconds or {}), **{positions[at]: s for at, s in (part.seconds or {}).items()}}
        for region in part.regions:
            work.answered(region)

    async def _job(self, work: Work[V], jobs: Jobs, position: int, place: Place) -> Found:
        token = token_hex(16)
        own = place.passing and f"{place.passing}/{token}"
        try:
            return await self._embed(work, jobs, position, place, token, own)
        finally:
            if own:
                self._clear(place, own)

    async def _embed(
        self, work: Work[V], jobs: Jobs, position: int, place: Place, token: str, own: str | None
    ) -> Found:
        runner, item = self._runner, work.items[position]
        if own:
            item = await runner.stage(place, jobs, item, own)
        body = start_body(
            work.target.job_id,
            jobs.build_input(work.target.spec, item, work.wanted),
            work.wanted.values.get("output_s3_uri") or f"{own}/results",
            token,
        )
        work.calls += 1
        arn = await runner.start(place, body, work.deadline)
        invocation = await runner.follow(place.way, arn, work.deadline)
        if invocation.state == "failed":
            raise failed(invocation)
        found = await runner.collect(place.s3, jobs, invocation.folder, work.deadline)
        self._count(work, position, place, found)  # Bedrock bills it, also when a part of it failed
        check_whole(found)
        return found

    def _count(self, work: Work[V], position: int, place: Place, found: Found) -> None:
        """Count what a job took: Bedrock tells no tokens of one."""
        item = work.items[position]
        work.answered(place.way.region)
        work.reported = False
        work.tokens += estimate_tokens(item)
        seconds = found.seconds or (work.lengths or {}).get(position, 0.0)
        work.seconds = {**(work.seconds or {}), position: seconds}
        if work.bill is not None:
            work.bill.add(billed([item], estimate_tokens(item), {0: seconds}), reported=False)

    def _clear(self, place: Place, folder: str) -> None:
        async def clear() -> None:
            try:
                async with asyncio.timeout(_CLEAR_S):
                    await self._runner.clear(place.s3, folder)
            except (EmbedrockError, TimeoutError):
                pass  # the sweeper comes by later

        task = asyncio.create_task(clear())
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def close(self) -> None:
        """Wait until what is being removed is gone."""
        if self._clearing:
            await asyncio.wait(self._clearing, timeout=_CLEAR_S)


def _rendered(work: Work[V], found: Found) -> list[V]:
    return [work.render(array, work.wanted.size) for array in found.vectors]
