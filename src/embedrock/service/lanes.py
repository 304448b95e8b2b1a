"""Many calls, a few at once. Lanes pull from one iterator: a task a lane, not a task a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from embedrock.errors import InternalError

T = TypeVar("T")


async def in_lanes(jobs: Iterable[T], lanes: int, run: Callable[[T], Awaitable[None]]) -> None:
    """Run every job, at most `lanes` at once. The first failure stops the rest, and is raised."""
    waiting = iter(jobs)

    async def lane() -> None:
        for job in waiting:
            try:
                await run(job)
            except asyncio.CancelledError as exc:
                task = asyncio.current_task()
                if task is not None and not task.cancelling():  # a group would take it for an orderly end
                    raise InternalError("A call was given up.") from exc
                raise

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(lane())
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__  # which says what the network said
