"""Gateway and database are killed under load, and no charge is lost or doubled. The short form of the campaign's."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.account_books import Books
from tests.kill_run import check, run
from tests.own_postgres import OwnPostgres, find_binaries, own_postgres

from embedrock.errors import IdempotencyInProgress
from embedrock.service.ledger import Ledger
from embedrock.store import books, open_store
from embedrock.store.books import Budget, Claim, Close

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, StartGateway


def test_gateway_killed_under_load_loses_and_doubles_no_charge(
    tmp_path: Path, start_gateway: StartGateway, emulator: Emulator
) -> None:
    accounts = Books(f"sqlite:///{tmp_path / 'embedrock.db'}")

    def start() -> Gateway:
        return start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **accounts.environ)

    def kill(gateway: Gateway) -> Gateway:
        gateway.process.kill()
        return start()

    outcome = run(accounts, emulator, start, kill, kills=3, answers=60, rng=Random(7))

    check(outcome, accounts)
    assert outcome.witness.unknown, "requests were under way when the gateway was killed"
    assert outcome.witness.refused[402, "insufficient_credits"] > 0


@pytest.fixture
def server(require_services: bool) -> Iterator[OwnPostgres]:
    binaries = find_binaries()
    if binaries is None:
        assert not require_services
        pytest.skip("no PostgreSQL to start and kill: a killed database is NOT tested")
    with tempfile.TemporaryDirectory(prefix="embedrock-pg-") as name:
        Path(name).chmod(0o755)
        with own_postgres(binaries, Path(name)) as server:
            yield server


def test_database_killed_under_load_loses_and_doubles_no_charge(
    start_gateway: StartGateway, emulator: Emulator, server: OwnPostgres
) -> None:
    accounts = Books(server.url)
    outcome = run(
        accounts,
        emulator,
        lambda: start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **accounts.environ),
        lambda gateway: restart(server, gateway),
        kills=1,
        answers=40,
        rng=Random(7),
    )

    check(outcome, accounts)
    assert outcome.witness.refused[503, "ledger_unavailable"] > 0, "requests came while it was away"


async def test_database_killed_while_requests_are_under_way_keeps_their_keys_and_counts_their_budgets(
    server: OwnPostgres,
) -> None:
    store = await open_store(server.url)
    await store.write(lambda tx: books.open_account(tx, "a", "a", 1))
    await store.write(lambda tx: books.grant(tx, "a", 1000, 1))
    ledger, budgets, claim = Ledger(store), (Budget("key:total:", 50),), Claim("once", b"digest")
    started = await store.read(lambda tx: tx.execute("SELECT pg_postmaster_start_time()::text"))
    await ledger.hold("r1", "a", 10, budgets=budgets, claim=claim)
    await ledger.hold("r2", "a", 10, budgets=budgets)
    server.kill()
    await asyncio.to_thread(server.start)

    assert await store.read(lambda tx: tx.execute("SELECT pg_postmaster_start_time()::text")) != started
    with pytest.raises(IdempotencyInProgress):
        await ledger.hold("r3", "a", 10, budgets=budgets, claim=claim)
    first = await ledger.close(Close("r1", "a", answered=True, cost=40, claim="once", budgets=budgets))
    second = await ledger.close(Close("r2", "a", answered=True, cost=40, budgets=budgets))
    assert (first.charged + second.charged, first.absorbed + second.absorbed) == (50, 30)
    assert await store.read(lambda tx: tx.execute("SELECT posted, pending FROM budgets")) == [(50, 0)]
    assert await store.read(books.unbalanced) == []
    await store.close()


def restart(server: OwnPostgres, gateway: Gateway) -> Gateway:
    """Kill the database and start it again; the gateway goes on."""
    before = gateway.metric("embedrock_requests_total", status="503")
    server.kill()
    deadline = time.monotonic() + 20
    while gateway.metric("embedrock_requests_total", status="503") == before and time.monotonic() < deadline:
        time.sleep(0.02)  # until somebody has come while it was away
    server.start()
    os.kill(gateway.pid, 0)
    return gateway
