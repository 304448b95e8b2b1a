"""Jobs that outlive the request: their rows, and the few statements that move them. Each runs inside a transaction.

    accepted ─► running ─► completed | failed | expired | cancelled

A worker claims a job for a while (`lease_until`), and every claim and change counts `version` up. A change holds only
from the version it was claimed with: a worker that slept while another took over writes nothing any more.

What starts a job holds the caller's input, so it is kept only until the job is started, or ends before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from hashlib import sha256
from secrets import token_hex
from typing import Final

from embedrock.store.engine import Tx

FINAL: Final = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class Job:
    """One job. Times are microseconds since 1970; 0 and "" stand for what is not yet, or not at all."""

    id: str
    owner: str  # stands for the caller's key
    state: str
    input: int  # its number in the request
    model: str  # as the caller wrote it
    spec: str  # the catalogue's id
    place: str
    region: str
    kind: str  # of the input: text, image, audio, video, fused
    body: bytes  # what starts it, its token included; empty once it has
    own_folder: str  # of the gateway's, to be removed; "": all is the caller's
    size: int  # numbers in a vector
    scale: int  # the gateway brings vectors to length 1
    as_base64: int
    tokens: int  # estimated
    created_at: int
    give_up_at: int
    version: int = 0
    looks: int = 0
    due_at: int = 0
    lease_until: int = 0
    arn: str = ""
    folder: str = ""  # of the results
    started_at: int = 0
    ended_at: int = 0
    remove_at: int = 0  # when the gateway's folder goes; 0: never, or it is gone
    vectors: int = 0
    failures: str = ""  # what could not be embedded: JSON
    milliseconds: int = 0  # of sound or film; until it is completed as its file tells
    message: str = ""
    account: str = ""  # who pays when it is completed; "": nobody
    key_id: str = ""
    budgets: str = ""  # of the key, that it counts against: JSON of names and limits
    price: str = ""  # the operator's own, of a million tokens in US dollars
    texts: int = 0  # that Bedrock bills
    images: int = 0


_NAMES: Final = tuple(field.name for field in fields(Job))
_COLUMNS: Final = ", ".join(_NAMES)


def name(request: str | None, position: int) -> str:
    """Return the id of a job for an input of a request; with the request's id it is always the same."""
    if request is None:
        return f"batch_{token_hex(16)}"
    return f"batch_{sha256(f'{request} {position}'.encode()).hexdigest()[:32]}"


def made(tx: Tx, request: str, count: int) -> list[Job]:
    """Return the jobs that were made for a request of so many inputs."""
    found = [find(tx, name(request, position), None) for position in range(count)]
    return [job for job in found if job is not None]


def insert(tx: Tx, jobs: Iterable[Job]) -> None:
    """Add jobs that were accepted."""
    marks = ", ".join("?" * len(_NAMES))
    for job in jobs:
        tx.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({marks})", *astuple(job))  # noqa: S608  # names are ours


def find(tx: Tx, id_: str, owner: str | None) -> Job | None:
    """Return a job of an owner; None: of any."""
    return _one(tx, "id = ?" if owner is None else "id = ? AND owner = ?", *(id_,) if owner is None else (id_, owner))


def find_started(tx: Tx, arn: str) -> Job | None:
    """Return the job that Bedrock calls so."""
    return _one(tx, "arn = ?", arn)


def listed(tx: Tx, limit: int) -> list[Job]:
    """Return the newest jobs."""
    return _all(tx, f"SELECT {_COLUMNS} FROM jobs ORDER BY created_at DESC, id DESC LIMIT ?", limit)  # noqa: S608  # names are ours


def unfinished(tx: Tx) -> list[Job]:
    """Return the jobs that have not ended, the oldest first."""
    return _all(tx, f"SELECT {_COLUMNS} FROM jobs WHERE state IN ('accepted', 'running') ORDER BY created_at")  # noqa: S608  # names are ours


def claim(tx: Tx, now: int, lease_us: int, limit: int) -> list[Job]:
    """Return jobs that something is to be done for now, and that are nobody else's until their lease ends."""
    due = "state IN ('accepted', 'running') AND due_at <= ? AND lease_until <= ?"
    return _all(
        tx,
        f"UPDATE jobs SET version = version + 1, lease_until = ? WHERE {due} AND id IN "  # noqa: S608  # names are ours
        f"(SELECT id FROM jobs WHERE {due} ORDER BY due_at LIMIT ?) RETURNING {_COLUMNS}",
        now + lease_us, now, now, now, now, limit,
    )  # fmt: skip


def next_due(tx: Tx) -> int | None:
    """Return when something is to be done next, also by others."""
    [(due,)] = tx.execute(
        "SELECT min(CASE WHEN due_at > lease_until THEN due_at ELSE lease_until END) FROM jobs "
        "WHERE state IN ('accepted', 'running')"
    )
    return due  # type: ignore[no-any-return]  # a column of integers


def renew(tx: Tx, job: Job, until: int) -> bool:
    """Keep a job for longer; False: it is another's now, or it has ended."""
    sql = "UPDATE jobs SET lease_until = ? WHERE id = ? AND version = ? RETURNING 1"
    return bool(tx.execute(sql, until, job.id, job.version))


def change(tx: Tx, job: Job, values: Mapping[str, int | str]) -> bool:
    """Change a claimed job, and give it back; False: it is another's now, or it has ended."""
    columns: dict[str, int | str | bytes] = {**values}
    if "state" in values:
        columns["body"] = b""  # whatever comes after `accepted`, it is not started again
    names = ", ".join(f"{name} = ?" for name in columns)
    return bool(
        tx.execute(
            f"UPDATE jobs SET {names}, version = version + 1, lease_until = 0 WHERE id = ? AND version = ? RETURNING 1",  # noqa: S608  # names are ours
            *columns.values(), job.id, job.version,
        )
    )  # fmt: skip


def cancel(tx: Tx, id_: str, owner: str | None, now: int, remove_at: int) -> Job | None:
    """Return a job, cancelled unless it had ended; None: the owner has no such job."""
    job = find(tx, id_, owner)
    if job is None or job.state in FINAL:
        return job
    tx.execute(
        "UPDATE jobs SET state = 'cancelled', ended_at = ?, remove_at = ?, body = ?, version = version + 1, "
        "lease_until = 0 WHERE id = ? AND state IN ('accepted', 'running')",
        now, remove_at if job.own_folder else 0, b"", id_,
    )  # fmt: skip
    return find(tx, id_, owner)


def to_remove(tx: Tx, now: int, limit: int) -> list[Job]:
    """Return jobs whose folders are to go."""
    return _all(tx, f"SELECT {_COLUMNS} FROM jobs WHERE remove_at > 0 AND remove_at <= ? LIMIT ?", now, limit)  # noqa: S608  # names are ours


def removed(tx: Tx, id_: str) -> None:
    """Remember that a job's folder is gone."""
    tx.execute("UPDATE jobs SET remove_at = 0, own_folder = '' WHERE id = ?", id_)


def _one(tx: Tx, where: str, *values: str) -> Job | None:
    found = _all(tx, f"SELECT {_COLUMNS} FROM jobs WHERE {where}", *values)  # noqa: S608  # conditions are ours
    return found[0] if found else None


def _all(tx: Tx, sql: str, *values: int | str) -> list[Job]:
    return [Job(*row) for row in tx.execute(sql, *values)]
