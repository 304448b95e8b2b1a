"""A PostgreSQL that says nothing any more: nobody waits long, and all is well when it speaks again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from embedrock import database
from embedrock.database import Database
from embedrock.errors import StoreUnavailable
from embedrock.settings import load
from embedrock.store import Store, Tx, open_store
from embedrock.store.migrations import Migration
from embedrock.store.postgres import Postgres

STEPS: tuple[Migration, ...] = ((1, ("CREATE TABLE thing (n BIGINT NOT NULL)", "INSERT INTO thing (n) VALUES (0)")),)


class Between:
    """What stands between a client and a server, and may stop to pass anything on."""

    def __init__(self, host: str, port: int) -> None:
        self.flows = asyncio.Event()
        self.flows.set()
        self.held = 0  # pieces that were not passed on at once
        self._target = (host, port)
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        for pair in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass(*pair, self.flows))
            self._passing.add(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(65536):
                    self.held += not flows.is_set()
                    await flows.wait()
                    writer.write(piece)
        finally:
            writer.close()


@pytest.fixture
async def between(postgres_url: str) -> AsyncIterator[tuple[Between, str]]:
    """A way to PostgreSQL that may hang, and its URL."""
    parts = urlsplit(postgres_url)
    between = Between(parts.hostname or "127.0.0.1", parts.port or 5432)
    port = await between.open()
    user, at, _ = parts.netloc.rpartition("@")
    schema = f"{postgres_url.rpartition('=')[2]}_hanging"
    yield between, urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}", query=f"schema={schema}"))
    await between.close()
    with psycopg.connect(postgres_url.partition("?")[0], autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def count_up(tx: Tx) -> int:
    [(n,)] = tx.execute("UPDATE thing SET n = n + 1 RETURNING n")
    return int(n)


def count(tx: Tx) -> int:
    [(n,)] = tx.execute("SELECT n FROM thing")
    return int(n)


async def refused(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await store.write(count_up)


async def test_nobody_waits_for_a_database_that_hangs_and_it_heals(
    between: tuple[Between, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    way, url = between
    store = await open_store(url, STEPS)
    assert await store.write(count_up) == await store.read(count) == 1
    monkeypatch.setattr(Postgres, "patience_s", 0.3)
    way.flows.clear()
    results = await asyncio.gather(
        store.write(count_up), store.read(count), store.write(count_up), return_exceptions=True
    )
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert way.held > 0, "it hung"
    monkeypatch.setattr(Postgres, "patience_s", 0.01)  # so long it has hung, whenever the writer began
    refusal = asyncio.create_task(refused(store))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert refusal.done(), "the next one is told at once"
    await refusal

    monkeypatch.setattr(Postgres, "patience_s", 10.0)
    way.flows.set()
    before = await store.read(count)  # what was begun may be written
    after = await store.write(count_up)
    await store.close()
    assert 1 <= before < after <= 4, "those that were begun may be written after the read, and nothing twice"


async def test_connection_that_hangs_is_given_up_for_a_new_one(
    between: tuple[Between, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was taken over answers on new connections only."""
    way, url = between
    monkeypatch.setattr(Postgres, "answer_s", 0.5)
    store = await open_store(url, STEPS)
    assert await store.write(count_up) == await store.read(count) == 1
    way.flows.clear()
    way.flows = asyncio.Event()  # of connections that are made from now on
    way.flows.set()

    assert await store.write(count_up) == 2
    assert await store.read(count) == 2
    assert way.held > 0, "it hung"  # a read may have a connection of its own, which is new
    await store.close()


async def test_closing_does_not_wait_for_a_database_that_hangs(
    between: tuple[Between, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    way, url = between
    monkeypatch.setattr("embedrock.store._CLOSE_S", 0.1)
    monkeypatch.setattr("embedrock.store.postgres._CONNECT_S", 2)  # where the read has a connection of its own
    store = await open_store(url, STEPS)
    await store.write(count_up)
    await store.read(count)
    way.flows.clear()
    waiting = [asyncio.ensure_future(work) for work in (store.write(count_up), store.read(count))]
    await asyncio.sleep(0)  # let them queue
    async with asyncio.timeout(20):
        await store.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(result) for result in results] == [StoreUnavailable] * 2
    assert way.held > 0, "it hung"


async def test_requests_do_not_queue_for_a_database_that_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    async def fail(url: str) -> Store:
        opened.append(url)
        raise StoreUnavailable("The gateway's database cannot be reached.")

    monkeypatch.setattr(database, "open_store", fail)
    monkeypatch.setattr(database, "_AGAIN_S", 60.0)
    base = Database(load({"EMBEDROCK_DATABASE_URL": "postgresql://none/none"}))
    results = await asyncio.gather(*(base.store() for _ in range(8)), return_exceptions=True)

    assert [type(result) for result in results] == [StoreUnavailable] * 8
    assert len(opened) == 1
    base._again_at = 0.0
    with pytest.raises(StoreUnavailable):
        await base.store()
    assert len(opened) == 2, "it is tried again"
