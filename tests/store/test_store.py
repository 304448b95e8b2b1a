"""The store keeps its promises on both engines."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from embedrock.errors import StoreUnavailable
from embedrock.store import ConfigError, Store, Tx, Violation, open_store
from embedrock.store.engine import Again, Doubtful
from embedrock.store.migrations import Migration

STEPS: tuple[Migration, ...] = (
    (
        1,
        ("CREATE TABLE thing (id {serial}, name TEXT NOT NULL UNIQUE, n BIGINT NOT NULL CHECK (n >= 0), data {blob})",),
    ),
    (2, ("INSERT INTO thing (name, n, data) VALUES ('counter', 0, NULL)",)),
)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = await open_store(database_url, STEPS)
    yield store
    await store.close()


def add(name: str, n: int, data: bytes | None = None) -> Callable[[Tx], list[tuple[Any, ...]]]:
    return lambda tx: tx.execute("INSERT INTO thing (name, n, data) VALUES (?, ?, ?) RETURNING id", name, n, data)


def count_up(tx: Tx) -> int:
    [(n,)] = tx.execute("UPDATE thing SET n = n + 1 WHERE name = 'counter' RETURNING n")
    return int(n)


def names(tx: Tx) -> list[str]:
    return [name for (name,) in tx.execute("SELECT name FROM thing ORDER BY id")]


async def test_values_come_back_as_they_were_written(store: Store) -> None:
    text = "naïve % ? '\" 日本 \U0001f600"
    await store.write(add(text, 2**63 - 1, bytes(range(256))))
    await store.write(add("none", 0))

    rows = await store.read(
        lambda tx: tx.execute("SELECT name, n, data FROM thing WHERE n <> ? OR name = ?", 0, "none")
    )

    assert rows == [(text, 2**63 - 1, bytes(range(256))), ("none", 0, None)]


async def test_what_one_function_raises_undoes_only_its_own_writes(store: Store) -> None:
    """The functions share a transaction, as they are queued while the writer is held up."""
    held = threading.Event()

    def fail(tx: Tx) -> None:
        add("mine", 1)(tx)
        raise KeyError("mine")

    first = asyncio.ensure_future(store.write(lambda _: held.wait(10)))
    others = [
        asyncio.ensure_future(store.write(fn))
        for fn in (add("a", 1), fail, add("counter", 1), add("b", -1), add("c", 1))
    ]
    await asyncio.sleep(0)  # let them queue
    held.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)

    assert [type(result) for result in results] == [bool, list, KeyError, Violation, Violation, list]
    assert await store.read(names) == ["counter", "a", "c"]
    assert store.commits <= 2


async def test_functions_queued_during_a_commit_share_the_next(store: Store) -> None:
    counts = await asyncio.gather(*(store.write(count_up) for _ in range(200)))

    assert counts == list(range(1, 201))
    assert store.commits < 20


async def test_function_runs_to_its_end_when_its_caller_is_gone(store: Store) -> None:
    held = threading.Event()
    first = asyncio.ensure_future(store.write(lambda _: held.wait(10)))
    second = asyncio.ensure_future(store.write(add("late", 1)))
    await asyncio.sleep(0)  # let them queue
    second.cancel()
    held.set()
    await first
    await store.write(count_up)

    assert second.cancelled()
    assert await store.read(names) == ["counter", "late"]


async def test_read_sees_one_moment(store: Store) -> None:
    loop = asyncio.get_running_loop()

    def twice(tx: Tx) -> tuple[list[str], list[str]]:
        before = names(tx)
        asyncio.run_coroutine_threadsafe(store.write(add("meanwhile", 1)), loop).result(10)
        return before, names(tx)

    assert await store.read(twice) == (["counter"], ["counter"])
    assert await store.read(names) == ["counter", "meanwhile"]


async def test_reader_cannot_write(store: Store) -> None:
    with pytest.raises((StoreUnavailable, psycopg.Error)):
        await store.read(count_up)

    assert await store.write(count_up) == 1


async def test_transaction_that_loses_against_another_runs_again(store: Store) -> None:
    runs: list[int] = []

    def lose_once(tx: Tx) -> None:
        runs.append(count_up(tx))
        if len(runs) == 1:
            raise Again("serialization failure")

    await store.write(lose_once)

    assert runs == [1, 1]
    assert await store.write(count_up) == 2


async def test_close_finishes_what_is_queued(database_url: str) -> None:
    store = await open_store(database_url, STEPS)
    writes = [asyncio.ensure_future(store.write(add(f"n{n}", n))) for n in range(50)]
    await asyncio.sleep(0)  # let them queue
    await store.close()
    await asyncio.gather(*writes)
    again = await open_store(database_url, STEPS)

    assert len(await again.read(names)) == 51
    await again.close()


async def test_migrations_run_once_and_in_order(database_url: str) -> None:
    for steps in (STEPS[:1], STEPS, STEPS):
        await (await open_store(database_url, steps)).close()
    store = await open_store(database_url, STEPS)

    assert await store.read(names) == ["counter"]
    await store.close()


async def test_migration_that_fails_leaves_nothing(database_url: str) -> None:
    with pytest.raises(Exception, match="nowhere"):
        await open_store(database_url, (*STEPS, (3, ("INSERT INTO nowhere VALUES (1)",))))
    store = await open_store(database_url, STEPS[:1])

    assert await store.read(names) == []
    await store.close()


async def test_newer_database_is_refused(database_url: str) -> None:
    await (await open_store(database_url, STEPS)).close()

    with pytest.raises(ConfigError, match=r"newer Embedrock \(schema 2; this one knows 1\)"):
        await open_store(database_url, STEPS[:1])


def count_up_many(url: str, times: int) -> None:
    async def run() -> None:
        store = await open_store(url, STEPS)
        for _ in range(times // 10):
            await asyncio.gather(*(store.write(count_up) for _ in range(10)))
        await store.close()

    asyncio.run(run())


async def test_processes_share_a_database_from_its_first_moment(database_url: str) -> None:
    """All of them migrate, none of their increments is lost."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=count_up_many, args=(database_url, 100)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join, 60)
    store = await open_store(database_url, STEPS)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert await store.write(count_up) == 301
    await store.close()


async def test_postgresql_that_ends_sessions_costs_nobody_a_write(postgres_url: str) -> None:
    """Connections die while unused and in the middle of transactions; nothing is lost or done twice."""
    store = await open_store(postgres_url, STEPS)
    base = postgres_url.partition("?")[0]
    ended: list[bool] = []

    def end_the_session(tx: Tx) -> int:
        """Count up, and every other time have the server end the connection before the commit."""
        n = count_up(tx)
        ended.append(len(ended) % 2 == 0)
        if ended[-1]:
            [(pid,)] = tx.execute("SELECT pg_backend_pid()")
            with psycopg.connect(base, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        return n

    for n in range(1, 4):
        assert await store.write(end_the_session) == n
    assert ended == [True, False] * 3
    await store.close()
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {postgres_url.rpartition('=')[2]} CASCADE")


async def test_outcome_of_a_commit_whose_answer_was_lost_is_found_out(postgres_url: str) -> None:
    from embedrock.store.postgres import Postgres, PostgresSession

    await (await open_store(postgres_url, STEPS)).close()
    engine = Postgres(postgres_url)
    ends: list[bool] = []
    for ending in ("COMMIT", "ROLLBACK"):
        session = engine.connect()
        assert isinstance(session, PostgresSession)
        session.begin()
        transaction = session._transaction
        count_up(session)
        session.execute(ending)
        ends.append(engine.was_committed(transaction))
        session.close()

    assert ends == [True, False]
    with psycopg.connect(postgres_url.partition("?")[0], autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {postgres_url.rpartition('=')[2]} CASCADE")


async def test_commit_whose_outcome_nobody_knows_is_not_done_again(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedrock.store.postgres import PostgresSession
    from embedrock.store.sqlite import SqliteSession

    session = SqliteSession if database_url.startswith("sqlite") else PostgresSession
    commit, lost = session.commit, list[object]()

    def commit_and_lose(self: Any) -> None:
        commit(self)
        if not lost:
            lost.append(self)
            raise Doubtful("the answer was lost")

    monkeypatch.setattr(session, "commit", commit_and_lose)
    with pytest.raises(StoreUnavailable, match="may have been written"):
        await store.write(count_up)

    assert len(lost) == 1
    assert await store.write(count_up) == 2


async def test_outcome_that_nobody_can_be_asked_for_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    from embedrock.store.postgres import Postgres

    monkeypatch.setattr("embedrock.store.postgres._OUTCOME_S", 0.0)
    with pytest.raises(Doubtful):
        Postgres("postgresql://nobody@127.0.0.1:1/none").was_committed("1")


async def test_database_that_is_away_is_told_at_once() -> None:
    with pytest.raises(StoreUnavailable):
        await open_store("postgresql://nobody@127.0.0.1:1/none")


@pytest.mark.parametrize(
    "url, what",
    [
        ("mysql://x", "sqlite:///PATH or postgresql"),
        ("sqlite:///", "sqlite:///PATH"),
        ("sqlite:///x?mode=ro", "sqlite:///PATH"),
        ("sqlite:////proc/none/x.db", "/proc/none"),
        ("postgresql://h/db?schema=Robert';--", "schema"),
        ("postgresql://h/db?nonsense=1", "PostgreSQL"),
    ],
)
async def test_nonsense_is_told_in_a_line(url: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        await open_store(url)

    assert "\n" not in str(caught.value)


async def test_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "embedrock.db"
    path.write_bytes(b"hello, this is a text and no database at all" * 100)

    with pytest.raises(ConfigError, match="not a database"):
        await open_store(f"sqlite:///{path}")


async def test_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "embedrock.db"
    store = await open_store(f"sqlite:///{path}", STEPS)
    await store.write(count_up)

    assert {file.stat().st_mode & 0o77 for file in (path, *path.parent.iterdir())} == {0}
    await store.close()


async def test_full_disk_is_told_and_heals(tmp_path: Path) -> None:
    """A database that may not grow stands for a disk that is full."""
    from embedrock.store.sqlite import Sqlite, SqliteSession

    path = tmp_path / "embedrock.db"
    store = await open_store(f"sqlite:///{path}", STEPS)
    session = Sqlite(path).connect()
    assert isinstance(session, SqliteSession)
    limited = threading.Event()

    def fill(tx: Tx) -> None:
        if not limited.is_set():
            tx.execute("PRAGMA max_page_count = 1")
        add("big", 1, bytes(1_000_000))(tx)

    with pytest.raises(StoreUnavailable):
        await store.write(fill)
    limited.set()
    await store.write(fill)

    assert await store.read(names) == ["counter", "big"]
    with contextlib.closing(session):
        assert session.execute("PRAGMA quick_check") == [("ok",)]
    await store.close()
