"""Many jobs, a few at once, and the first failure ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from embedrock.errors import BadRequest, InternalError, Unavailable
from embedrock.service.lanes import in_lanes


@pytest.mark.parametrize("jobs, lanes", [(0, 1), (1, 1), (1, 4), (5, 1), (20, 4), (4, 4), (3, 64)])
async def test_every_job_is_run_once_and_at_most_so_many_at_once(jobs: int, lanes: int) -> None:
    done: list[int] = []
    now, most = 0, 0

    async def run(job: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(job % 3 + 1):
            await asyncio.sleep(0)
        now -= 1
        done.append(job)

    await in_lanes(range(jobs), lanes, run)

    assert sorted(done) == list(range(jobs))
    assert most == min(jobs, lanes)


async def test_jobs_are_begun_in_order_and_only_when_a_lane_is_free() -> None:
    begun: list[int] = []
    taken = 0
    gate = asyncio.Event()

    def jobs() -> Iterator[int]:
        nonlocal taken
        for job in range(6):
            taken += 1
            yield job

    async def run(job: int) -> None:
        begun.append(job)
        if job < 2:
            await gate.wait()

    running = asyncio.create_task(in_lanes(jobs(), 2, run))
    for _ in range(10):
        await asyncio.sleep(0)
    assert (begun, taken) == ([0, 1], 2)
    gate.set()
    await running

    assert begun == [0, 1, 2, 3, 4, 5]


async def test_first_failure_stops_the_rest_and_is_raised_itself() -> None:
    begun: list[int] = []
    stopped: list[int] = []

    async def run(job: int) -> None:
        begun.append(job)
        if job == 1:
            raise BadRequest("wrong")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(job)
            raise

    with pytest.raises(BadRequest, match="wrong") as caught:
        await in_lanes(range(10), 3, run)

    assert begun == [0, 1, 2]
    assert sorted(stopped) == [0, 2]
    assert caught.value.__cause__ is None


async def test_failure_keeps_its_cause() -> None:
    """An operator is told what the network said."""

    async def run(_: int) -> None:
        raise Unavailable("down") from ConnectionRefusedError("refused")

    with pytest.raises(Unavailable) as caught:
        await in_lanes(range(3), 3, run)

    assert caught.value.explained() == "down (refused)"


async def test_second_failure_does_not_hide_the_first() -> None:
    async def run(job: int) -> None:
        try:
            await asyncio.sleep(0)
            if job == 0:
                raise Unavailable("first")
            await asyncio.Event().wait()
        finally:
            if job == 1:
                raise BadRequest("second")

    with pytest.raises(Unavailable, match="first"):
        await in_lanes(range(2), 2, run)


async def test_lane_that_was_given_up_by_something_else_is_no_orderly_end() -> None:
    """A group of tasks would take it for one, and the answer would be shorter than the request."""

    async def run(job: int) -> None:
        if job == 3:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    with pytest.raises(InternalError):
        await in_lanes(range(10), 3, run)


async def test_caller_that_goes_away_stops_every_lane() -> None:
    stopped: list[int] = []

    async def run(job: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(job)

    running = asyncio.create_task(in_lanes(range(10), 3, run))
    for _ in range(3):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert sorted(stopped) == [0, 1, 2]
