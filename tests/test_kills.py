"""Gateway and database are killed under load, and no charge is lost or doubled. The short form of the campaign's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.account_books import Books
from tests.kill_run import check, run
from tests.own_postgres import OwnPostgres, find_binaries, own_postgres

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, StartGateway


def test_gateway_killed_under_load_loses_and_doubles_no_charge(
    tmp_path: Path, start_gateway: StartGateway, emulator: Emulator
) -> None:
    books = Books(f"sqlite:///{tmp_path / 'embedrock.db'}")

    def start() -> Gateway:
        return start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **books.environ)

    def kill(gateway: Gateway) -> Gateway:
        gateway.process.kill()
        return start()

    outcome = run(books, emulator, start, kill, kills=3, answers=60, rng=Random(7))

    check(outcome, books)
    assert outcome.witness.unknown, "requests were under way when the gateway was killed"
    assert outcome.witness.refused[402, "insufficient_credits"] > 0


def test_database_killed_under_load_loses_and_doubles_no_charge(
    start_gateway: StartGateway, emulator: Emulator, require_services: bool
) -> None:
    binaries = find_binaries()
    if binaries is None:
        assert not require_services
        pytest.skip("no PostgreSQL to start and kill: a killed database is NOT tested")
    with tempfile.TemporaryDirectory(prefix="embedrock-pg-") as name:
        Path(name).chmod(0o755)
        with own_postgres(binaries, Path(name)) as server:
            books = Books(server.url)
            outcome = run(
                books,
                emulator,
                lambda: start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **books.environ),
                lambda gateway: restart(server, gateway),
                kills=1,
                answers=40,
                rng=Random(7),
            )

            check(outcome, books)
            assert outcome.witness.refused[503, "ledger_unavailable"] > 0, "requests came while it was away"


def restart(server: OwnPostgres, gateway: Gateway) -> Gateway:
    """Kill the database and start it again; the gateway goes on."""
    server.kill()
    server.start()
    os.kill(gateway.pid, 0)
    return gateway
