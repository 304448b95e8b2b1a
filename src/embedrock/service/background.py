"""Jobs in the background: accepted for good before the caller hears of them, and brought to an end whatever happens.

A job is a row. It is written, with all that starts it, before it is started, and its token is its id: who finds it
half done after a crash does the step again, and Bedrock starts nothing twice. Workers of all processes share the rows;
each claims some for a while, and what it learns holds only while the claim does.

What a job read and wrote in the gateway's bucket is kept for a week after its end, and then removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from random import uniform
from typing import Any, Final

import msgspec

from embedrock import vectors
from embedrock.catalog import MODELS
from embedrock.errors import (
    BadRequest,
    BucketUnusable,
    EmbedrockError,
    InternalError,
    NotFound,
    StoreUnavailable,
    Unavailable,
    UpstreamThrottled,
    UpstreamTimeout,
)
from embedrock.families import FAMILIES
from embedrock.families.jobs import Found, Jobs
from embedrock.families.kinds import kind_of
from embedrock.service import job_charges
from embedrock.service.bill import Payer
from embedrock.service.calls import estimate_tokens
from embedrock.service.jobs import JobRunner, Place, check_buckets, failed
from embedrock.service.lanes import in_lanes
from embedrock.service.work import Work, billed
from embedrock.store import Store, Tx
from embedrock.store import jobs as rows
from embedrock.store.jobs import Job
from embedrock.telemetry import LOGGER, Metrics
from embedrock.upstream.async_invoke import start_body

_log = logging.getLogger(LOGGER)

LEASE_S: Final = 6.0
_AT_ONCE: Final = 16
_IDLE_S: Final = 30.0  # between looks at what other processes left
_LANES: Final = 4  # uploads of a request at once
_STEP_S: Final = 30.0
_COLLECT_S: Final = 90.0
_FIRST_S: Final = 0.5  # between two looks at a job
_LONGEST_S: Final = 60.0
_GROWTH: Final = 1.5
_UNKNOWN_S: Final = 20.0  # a job that was just started may not be known everywhere yet
_FORGOTTEN: Final = (
    "Bedrock does not know the job: it was begun with another account or endpoint, or by an emulator that has ended."
)
_GIVE_UP_S: Final = 24 * 3600.0
_KEPT_S: Final = 7 * 24 * 3600.0
_PASSING: Final = (Unavailable, UpstreamThrottled, UpstreamTimeout)
_S: Final = 1_000_000


class Background:
    """The jobs of all callers. `store`: opens the database when it is first needed."""

    def __init__(
        self, runner: JobRunner, store: Callable[[], Awaitable[Store]], metrics: Metrics, credits_per_usd: Decimal
    ) -> None:
        self._runner = runner
        self._credits_per_usd = credits_per_usd
        self._open = store
        self._metrics = metrics
        self._working: asyncio.Task[None] | None = None
        self._steps: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    # ------------------------------------------------------------------------------------------- what callers ask

    async def accept(self, work: Work[Any], *, as_base64: bool) -> list[Job]:
        """Return the jobs of a request, one an input, which from now on are never lost.

        A request that is sent again with its idempotency key has those of the first.
        """
        if work.bill is not None and (first := work.bill.first):
            store = await self._open()
            if made_before := await store.read(lambda tx: rows.made(tx, first, len(work.items))):
                return made_before
        place = self._runner.place(work)
        check_buckets(place, work, range(len(work.items)))
        made: dict[int, Job] = {}
        folders: list[str] = []

        async def make(position: int) -> None:
            made[position] = await self._make(work, position, place, folders, as_base64=as_base64)

        try:
            store = await self._open()
            await in_lanes(range(len(work.items)), _LANES, make)
        except BaseException:
            await asyncio.shield(self._forget(place, folders))
            raise
        accepted = [made[position] for position in range(len(work.items))]

        def write(tx: Tx) -> None:
            rows.insert(tx, accepted)
            if work.bill is not None:
                work.bill.keep(tx)
                job_charges.hold(tx, work.bill.name, accepted, self._credits_per_usd)

        try:
            await store.write(write)
        finally:  # it may be written also when the caller hangs up now: then the jobs are there, and need their inputs
            self.start()
            self._news.set()
        for job in accepted:
            self._metrics.job(job.spec, "accepted")
        return accepted

    async def _make(self, work: Work[Any], position: int, place: Place, folders: list[str], *, as_base64: bool) -> Job:
        item, spec, jobs = work.items[position], work.target.spec, jobs_of(work.target.spec.id)
        id_ = rows.name(work.bill.name if work.bill else None, position)
        own = f"{place.folder}/{id_}" if place.folder else ""
        sent = item
        if own:
            folders.append(own)
            sent = await self._runner.stage(place, jobs, item, own)
        folder = work.wanted.values.get("output_s3_uri")
        model_input = jobs.build_input(spec, sent, work.wanted)
        tokens = estimate_tokens(item)
        bill = billed([item], tokens)
        payer = work.bill.payer() if work.bill is not None else Payer("", "", ())
        price = work.target.alias.usd_per_million_tokens if work.target.alias else None
        now = _now()
        return Job(
            id=id_,
            owner=work.caller,
            state="accepted",
            input=position,
            model=work.target.name,
            spec=spec.id,
            place=place.name,
            region=place.way.region,
            kind=kind_of(item),
            body=start_body(work.target.job_id, model_input, folder or f"{own}/results", id_),
            own_folder=own if sent is not item or not folder else "",
            size=work.wanted.size,
            scale=int(work.wanted.scale),
            as_base64=int(as_base64),
            tokens=tokens,
            created_at=now,
            give_up_at=now + int(_GIVE_UP_S * _S),
            due_at=now,
            account=payer.account,
            key_id=payer.key,
            budgets=msgspec.json.encode(payer.budgets).decode() if payer.budgets else "",
            price="" if price is None else str(price),
            texts=bill.texts,
            images=bill.images,
            milliseconds=int((work.lengths or {}).get(position, 0) * 1000),
        )

    async def find(self, id_: str, owner: str | None) -> Job:
        """Return a job of an owner; None: of any. Raises NotFound."""
        store = await self._open()
        job = await store.read(lambda tx: rows.find(tx, id_, owner))
        if job is None:
            raise unknown_job()
        return job

    async def find_started(self, arn: str) -> Job | None:
        """Return the job that Bedrock calls so, if it is one of these."""
        store = await self._open()
        return await store.read(lambda tx: rows.find_started(tx, arn))

    async def cancel(self, id_: str, owner: str | None) -> Job:
        """Return a job, cancelled unless it had ended. Bedrock may go on with it: nobody will look."""
        job = await cancel(await self._open(), id_, owner)
        if job.state == "cancelled":
            self._metrics.job(job.spec, "cancelled", (job.ended_at - job.created_at) / _S)
        return job

    async def results(self, job: Job) -> Found:
        """Return what a job that is completed found. Raises NotFound when it is not, or its files are gone."""
        if job.state != "completed" or (job.remove_at and job.remove_at <= _now()):
            raise unknown_job()
        place = self._runner.at(job.place, job.region)
        return await self._runner.collect(place.s3, jobs_of(job.spec), job.folder, time.monotonic() + _STEP_S)

    # ----------------------------------------------------------------------------------------------- what is done

    def start(self) -> None:
        """Begin to work on what there is."""
        if self._working is None:
            self._working = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stop working, and give back what is claimed."""
        working = self._working
        if working is None:
            return
        working.cancel()
        steps = list(self._steps)
        for step in steps:
            step.cancel()
        await asyncio.gather(working, *steps, return_exceptions=True)
        self._working = None

    async def _work(self) -> None:
        while True:
            self._news.clear()
            try:
                wait_s = await self._round(await self._open())
            except StoreUnavailable as exc:
                _log.warning("jobs wait for the database: %s", exc.message)
                wait_s = 1.0
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _round(self, store: Store) -> float:
        """Begin the next step of as many jobs as may be, and return the seconds until there is more to do."""
        await self._remove(store)
        free, now = _AT_ONCE - len(self._steps), _now()
        if not free:
            return _IDLE_S  # a step that ends is news
        claimed = await store.write(lambda tx: rows.claim(tx, now, int(LEASE_S * _S), free))
        for job in claimed:
            step = asyncio.create_task(self._step(store, job))
            self._steps.add(step)
            step.add_done_callback(self._stepped)
        due = await store.read(rows.next_due)
        return _IDLE_S if due is None else min(_IDLE_S, max(0.0, (due - _now()) / _S))

    def _stepped(self, step: asyncio.Task[None]) -> None:
        self._steps.discard(step)
        self._news.set()

    async def _step(self, store: Store, job: Job) -> None:
        keeping = asyncio.create_task(self._keep(store, job))
        change: dict[str, int | str] = {"due_at": job.due_at}  # given back, when the process stops meanwhile
        try:
            change = await self._advanced(job)
        except Exception as exc:  # the last line of defence: the job is tried again, and given up in the end
            _log.error("job %s: unexpected %s", job.id, type(exc).__name__)
            change = _later(job)
        finally:
            keeping.cancel()
            await asyncio.shield(self._remember(store, job, change))

    async def _remember(self, store: Store, job: Job, change: dict[str, int | str]) -> None:
        def write(tx: Tx) -> bool:
            changed = rows.change(tx, job, change)
            if changed and change.get("state") == "completed":
                job_charges.settle(tx, job, int(change["milliseconds"]), self._credits_per_usd)
            elif changed and "ended_at" in change:
                job_charges.release(tx, job)
            return changed

        try:
            if await store.write(write) and "ended_at" in change:
                if change["state"] == "completed":
                    self._metrics.embedded(job.spec, 1, job.tokens, reported=False)
                self._metrics.job(job.spec, str(change["state"]), (int(change["ended_at"]) - job.created_at) / _S)
        except StoreUnavailable as exc:
            _log.warning("job %s is left for another look: %s", job.id, exc.message)

    async def _keep(self, store: Store, job: Job) -> None:
        """Keep others off a job whose step takes long."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            until = _now() + int(LEASE_S * _S)
            with contextlib.suppress(StoreUnavailable):  # the lease holds for two more rounds
                await store.write(lambda tx, until=until: rows.renew(tx, job, until))  # type: ignore[misc]  # a default

    async def _advanced(self, job: Job) -> dict[str, int | str]:
        """Take the next step of a job, and return what is to be remembered of it."""
        if _now() >= job.give_up_at:
            return _ended(job, "expired", message="The job did not end within a day.")
        try:
            place = self._runner.at(job.place, job.region)
            deadline = time.monotonic() + _STEP_S
            if job.state == "accepted":
                arn = await self._runner.start(place, job.body, deadline)
                return {**_later(job, looks=0), "state": "running", "arn": arn, "started_at": _now()}
            invocation = await self._runner.look(place.way, job.arn, deadline)
            if invocation.state == "running":
                return _later(job)
            if invocation.state == "failed":
                return _ended(job, "failed", message=failed(invocation).message)
            give_up = time.monotonic() + _COLLECT_S
            found = await self._runner.collect(place.s3, jobs_of(job.spec), invocation.folder, give_up)
            await asyncio.to_thread(_check, job, found)
            return _completed(job, invocation.folder, found)
        except BucketUnusable as exc:
            _log.warning("job %s: %s", job.id, exc.message)
            return _ended(job, "failed", message=exc.message)
        except _PASSING:
            return _later(job)
        except BadRequest as exc:
            if job.state == "running" and _now() < job.started_at + int(_UNKNOWN_S * _S):
                return _later(job)
            message = _FORGOTTEN if job.state == "running" and type(exc) is BadRequest else exc.message
            return _ended(job, "failed", message=message)
        except EmbedrockError as exc:
            return _ended(job, "failed", message=exc.message)

    async def _remove(self, store: Store) -> None:
        """Remove the folders of jobs that ended long ago."""
        now = _now()
        for job in await store.read(lambda tx: rows.to_remove(tx, now, _AT_ONCE)):
            try:
                await self._runner.clear(self._runner.at(job.place, job.region).s3, job.own_folder)
            except EmbedrockError:
                continue  # another time
            await store.write(lambda tx, id_=job.id: rows.removed(tx, id_))  # type: ignore[misc]  # a default

    async def _forget(self, place: Place, folders: Sequence[str]) -> None:
        for folder in folders:
            with contextlib.suppress(EmbedrockError):  # the sweeper comes by later
                await self._runner.clear(place.s3, folder)


async def cancel(store: Store, id_: str, owner: str | None) -> Job:
    """Return a job of an owner, None: of any; cancelled unless it had ended. Raises NotFound."""
    now = _now()

    def write(tx: Tx) -> Job | None:
        job = rows.cancel(tx, id_, owner, now, now + int(_KEPT_S * _S))
        if job is not None and job.state == "cancelled":
            job_charges.release(tx, job)
        return job

    job = await store.write(write)
    if job is None:
        raise unknown_job()
    return job


def jobs_of(model: str) -> Jobs:
    """Return what a model's family offers for jobs."""
    jobs = FAMILIES[MODELS[model].family].jobs
    if jobs is None:
        raise InternalError("A job of a model that has none.")
    return jobs


def unknown_job() -> NotFound:
    """Return the error for a job that there is not, or that is another's."""
    return NotFound("There is no such job.", param="id")


def _now() -> int:
    return time.time_ns() // 1000


def _later(job: Job, looks: int | None = None) -> dict[str, int | str]:
    """Return the change that has a job looked at again, ever later."""
    count = job.looks if looks is None else looks
    pause_s = min(_FIRST_S * _GROWTH ** min(count, 30), _LONGEST_S) * uniform(0.8, 1.2)  # noqa: S311  # spreads looks
    return {"looks": count + 1, "due_at": _now() + int(pause_s * _S)}


def _ended(job: Job, state: str, *, message: str = "") -> dict[str, int | str]:
    now = _now()
    remove_at = now + int(_KEPT_S * _S) if job.own_folder else 0
    return {"state": state, "ended_at": now, "remove_at": remove_at, "message": message}


def _completed(job: Job, folder: str, found: Found) -> dict[str, int | str]:
    if not found.vectors:
        reasons = ", ".join(dict.fromkeys(failure.reason for failure in found.failures))
        return _ended(job, "failed", message=f"Nothing of the input could be embedded: {reasons}.")
    failures = [{"reason": failure.reason, "segment": failure.segment} for failure in found.failures]
    return {
        **_ended(job, "completed"),
        "folder": folder,
        "vectors": len(found.vectors),
        "failures": msgspec.json.encode(failures).decode() if failures else "",
        "milliseconds": int(found.seconds * 1000) or job.milliseconds,
    }


def _check(job: Job, found: Found) -> None:
    for array in found.vectors:
        vectors.as_json(array, job.size)
