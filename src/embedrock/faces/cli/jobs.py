"""The command `jobs`: what runs in the background, seen from beside the gateway's database."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from embedrock.errors import JobFailed, NotFound
from embedrock.faces.cli.books import AsJson, as_time, print_rows
from embedrock.faces.cli.common import ConfigFile, find_settings, help_without_command
from embedrock.settings import SettingsError

if TYPE_CHECKING:
    from embedrock.store import Store
    from embedrock.store.jobs import Job

T = TypeVar("T")

jobs_app = typer.Typer(help="Jobs in the background: how they stand.", rich_markup_mode=None)
Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a job: batch_….")]
_LOOK_EVERY_S = 0.5


@jobs_app.callback(invoke_without_command=True)
def jobs_top(context: typer.Context) -> None:
    """Jobs in the background: how they stand."""
    help_without_command(context)


@jobs_app.command("list")
def jobs_list(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the newest.")] = 50,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """List the newest jobs, of all keys."""
    from embedrock.store import jobs as rows

    async def work(store: Store) -> list[Job]:
        return await store.read(lambda tx: rows.listed(tx, limit))

    found = _with_store(config, work) or []
    print_rows([_row(job) for job in found], as_json=as_json, nothing="There are no jobs.")


@jobs_app.command("show")
def jobs_show(id_: Id, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Show a job; with --json as GET /v1/batches/{id} answers."""
    from embedrock.faces import batches
    from embedrock.wire import batches as wire

    job = _find(config, id_)
    if as_json:
        print(msgspec.json.format(wire.encode(batches.of_job(job)), indent=2).decode())
        return
    told = {
        **_row(job),
        "account": job.account or None,
        "region": job.region,
        "results": job.folder or None,
        "problem": job.message or None,
    }
    for name, value in told.items():
        if value is not None:
            print(f"{name:<10} {value}")


@jobs_app.command("watch")
def jobs_watch(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of jobs; without any, all that have not ended.")] = None,
    config: ConfigFile = None,
) -> None:
    """Wait until jobs have ended, and say how. Exit code 1 when one was not completed."""
    from embedrock.store import jobs as rows

    async def work(store: Store) -> list[Job]:
        watched = ids or [job.id for job in await store.read(rows.unfinished)]
        ended: dict[str, Job] = {}
        progress = typer.progressbar(length=len(watched), label="jobs", file=sys.stderr)
        with progress if sys.stderr.isatty() else nullcontext() as bar:
            while len(ended) < len(watched):
                for id_ in [id_ for id_ in watched if id_ not in ended]:
                    job = await store.read(partial(rows.find, id_=id_, owner=None))
                    if job is None:
                        raise _unknown(id_)
                    if job.state in rows.FINAL:
                        ended[id_] = job
                        if bar is not None:
                            bar.update(1)
                if len(ended) < len(watched):
                    await asyncio.sleep(_LOOK_EVERY_S)
        return [ended[id_] for id_ in watched]

    found = _with_store(config, work) or []
    print_rows([_row(job) for job in found], as_json=False, nothing="There is no job to wait for.")
    if any(job.state != "completed" for job in found):
        raise JobFailed("Not all of them were completed.")


@jobs_app.command("cancel")
def jobs_cancel(id_: Id, config: ConfigFile = None) -> None:
    """Cancel a job that has not ended. Bedrock cannot stop it, and charges it: its results are not looked at."""
    from embedrock.service import background

    async def work(store: Store) -> Job:
        return await background.cancel(store, id_, None)

    job = _with_store(config, work)
    if job is None:
        raise _unknown(id_)
    if job.state != "cancelled":
        raise JobFailed(f"It is {job.state} already.")
    print(f"{job.id} is cancelled.")


def _find(config: ConfigFile, id_: str) -> Job:
    from embedrock.store import jobs as rows

    async def work(store: Store) -> Job | None:
        return await store.read(lambda tx: rows.find(tx, id_, None))

    if (job := _with_store(config, work)) is None:
        raise _unknown(id_)
    return job


def _with_store(config: ConfigFile, work: Callable[[Store], Awaitable[T]]) -> T | None:
    """Return what `work` makes of the store; None where there is none yet."""
    from embedrock.database import Database
    from embedrock.store import ConfigError

    chosen = find_settings(config)

    async def run() -> T | None:
        database = Database(chosen)
        try:
            store = await database.existing()
            return None if store is None else await work(store)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except ConfigError as exc:
        raise SettingsError(str(exc)) from None


def _row(job: Job) -> dict[str, Any]:
    ended = job.ended_at or time.time_ns() // 1000
    return {
        "id": job.id,
        "status": job.state,
        "model": job.spec,
        "input": job.kind,
        "created": as_time(job.created_at),
        "seconds": round((ended - job.created_at) / 1_000_000, 1),
        "vectors": job.vectors or None,
        "key": job.key_id or None,
    }


def _unknown(id_: str) -> NotFound:
    return NotFound(f"There is no job {id_[:60]!r}.")
