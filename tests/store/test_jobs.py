"""Rows of jobs: claimed by one at a time, changed only by who holds them, on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from embedrock.store import Store, open_store
from embedrock.store import jobs as rows
from embedrock.store.jobs import Job

JOB = Job(
    id="batch_1",
    owner="me",
    state="accepted",
    input=0,
    model="m",
    spec="s",
    place="us-east-1",
    region="us-east-1",
    kind="text",
    body=b"\x00body",
    own_folder="s3://bucket/embedrock/jobs/batch_1",
    size=512,
    scale=0,
    as_base64=0,
    tokens=3,
    created_at=100,
    give_up_at=10_000,
    due_at=100,
)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = await open_store(database_url)
    try:
        await store.write(lambda tx: tx.execute("DELETE FROM jobs"))
        yield store
    finally:
        await store.close()


async def add(store: Store, *jobs: Job) -> None:
    await store.write(lambda tx: rows.insert(tx, jobs))


async def claimed(store: Store, now: int = 100, lease: int = 50, limit: int = 10) -> list[Job]:
    return await store.write(lambda tx: rows.claim(tx, now, lease, limit))


async def change(store: Store, job: Job, **values: Any) -> bool:
    return await store.write(lambda tx: rows.change(tx, job, values))


async def found(store: Store, owner: str | None = None) -> Job | None:
    return await store.read(lambda tx: rows.find(tx, "batch_1", owner))


async def test_what_goes_in_comes_out(store: Store) -> None:
    await add(store, JOB)

    assert await found(store) == JOB
    assert await found(store, "me") == JOB
    assert await found(store, "you") is None


async def test_a_claim_keeps_others_off_until_its_lease_ends(store: Store) -> None:
    await add(store, JOB)

    (mine,) = await claimed(store, now=100, lease=50)

    assert (mine.version, mine.lease_until) == (1, 150)
    assert await claimed(store, now=149) == []
    assert [job.version for job in await claimed(store, now=150)] == [2]


async def test_a_job_is_claimed_by_one_however_many_ask(store: Store) -> None:
    await add(store, *(replace(JOB, id=f"batch_{number}") for number in range(20)))

    found = await asyncio.gather(*(claimed(store, limit=3) for _ in range(12)))

    ids = [job.id for jobs in found for job in jobs]
    assert len(ids) == len(set(ids)) == 20


async def test_who_lost_a_claim_changes_nothing(store: Store) -> None:
    await add(store, JOB)
    (slept,) = await claimed(store, now=100, lease=50)
    (took_over,) = await claimed(store, now=200, lease=50)

    assert not await change(store, slept, state="completed")
    assert not await store.write(lambda tx: rows.renew(tx, slept, 1000))
    assert await change(store, took_over, state="running", arn="arn")
    assert not await change(store, took_over, state="failed"), "it was given back"
    job = await found(store)
    assert job is not None
    assert (job.state, job.arn, job.lease_until, job.version) == ("running", "arn", 0, 3)


async def test_only_what_is_due_is_claimed_the_oldest_first(store: Store) -> None:
    await add(
        store,
        replace(JOB, id="later", due_at=101),
        replace(JOB, id="second", due_at=60),
        replace(JOB, id="first", due_at=50, state="running"),
        replace(JOB, id="ended", due_at=1, state="completed"),
    )

    assert [job.id for job in await claimed(store, limit=1)] == ["first"]
    assert [job.id for job in await claimed(store)] == ["second"]
    assert await store.read(rows.next_due) == 101


async def test_a_lease_counts_for_when_there_is_something_to_do(store: Store) -> None:
    assert await store.read(rows.next_due) is None
    await add(store, JOB)
    await claimed(store, now=100, lease=50)

    assert await store.read(rows.next_due) == 150
    (job,) = await claimed(store, now=150, lease=50)
    assert await store.write(lambda tx: rows.renew(tx, job, 500))
    assert await store.read(rows.next_due) == 500


@pytest.mark.parametrize("state", ["running", "failed"])
async def test_what_starts_a_job_is_kept_no_longer_than_it_may_be_needed(store: Store, state: str) -> None:
    await add(store, JOB)
    (job,) = await claimed(store, now=100, lease=50)
    assert await change(store, job, looks=1)
    (job,) = await claimed(store, now=100, lease=50)
    assert job.body == JOB.body, "it may have to be started again"

    assert await change(store, job, state=state)

    kept = await found(store)
    assert kept is not None
    assert kept.body == b""


async def test_what_starts_a_cancelled_job_is_not_kept(store: Store) -> None:
    await add(store, JOB)

    cancelled = await store.write(lambda tx: rows.cancel(tx, "batch_1", "me", 300, 400))

    assert cancelled is not None
    assert cancelled.body == b""


async def test_cancelling_wins_over_who_works_on_it(store: Store) -> None:
    await add(store, JOB)
    (job,) = await claimed(store)

    cancelled = await store.write(lambda tx: rows.cancel(tx, "batch_1", "me", 300, 400))

    assert cancelled is not None
    assert (cancelled.state, cancelled.ended_at, cancelled.remove_at) == ("cancelled", 300, 400)
    assert not await change(store, job, state="completed")
    assert await claimed(store, now=1000) == []


async def test_what_has_ended_or_is_anothers_is_not_cancelled(store: Store) -> None:
    await add(store, replace(JOB, state="completed", ended_at=7))

    assert await store.write(lambda tx: rows.cancel(tx, "batch_1", "you", 300, 400)) is None
    ended = await store.write(lambda tx: rows.cancel(tx, "batch_1", "me", 300, 400))
    assert ended is not None
    assert (ended.state, ended.ended_at) == ("completed", 7)


async def test_folders_are_removed_once(store: Store) -> None:
    await add(store, replace(JOB, state="completed", remove_at=500), replace(JOB, id="kept", own_folder=""))

    assert await store.read(lambda tx: rows.to_remove(tx, 499, 10)) == []
    (job,) = await store.read(lambda tx: rows.to_remove(tx, 500, 10))
    await store.write(lambda tx: rows.removed(tx, job.id))
    assert await store.read(lambda tx: rows.to_remove(tx, 500, 10)) == []


async def test_jobs_are_found_by_what_bedrock_calls_them_and_listed_by_age(store: Store) -> None:
    await add(store, replace(JOB, arn="arn"), replace(JOB, id="batch_2", created_at=200, state="running"))

    by_arn = await store.read(lambda tx: rows.find_started(tx, "arn"))
    assert by_arn is not None and by_arn.id == "batch_1"
    assert [job.id for job in await store.read(lambda tx: rows.listed(tx, 5))] == ["batch_2", "batch_1"]
    assert [job.id for job in await store.read(rows.unfinished)] == ["batch_1", "batch_2"]
