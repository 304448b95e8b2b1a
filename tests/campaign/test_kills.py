"""Gateways and their database are killed under load for minutes, and no charge is lost or doubled."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.account_books import Books
from tests.kill_run import Outcome, check, run
from tests.own_postgres import find_binaries, own_postgres
from tests.test_kills import restart

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, StartGateway


def show(kind: str, outcome: Outcome) -> None:
    print(
        f"\n{kind}: {outcome.kills} kills, {len(outcome.witness.answered)} answers, {outcome.entries} charges, "
        f"{len(outcome.charged.keys() - outcome.witness.answered.keys())} of them not delivered, "
        f"{len(outcome.billed.keys() - outcome.charged.keys())} calls billed by Bedrock and by nobody else"
    )


def test_forty_kills_of_the_gateway(tmp_path: Path, start_gateway: StartGateway, emulator: Emulator) -> None:
    books = Books(f"sqlite:///{tmp_path / 'embedrock.db'}")

    def start() -> Gateway:
        return start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **books.environ)

    def kill(gateway: Gateway) -> Gateway:
        gateway.process.kill()
        return start()

    outcome = run(books, emulator, start, kill, kills=40, answers=300, rng=Random(1))

    show("gateway on SQLite", outcome)
    check(outcome, books)


def test_twenty_kills_of_database_and_gateway(
    start_gateway: StartGateway, emulator: Emulator, require_services: bool
) -> None:
    binaries = find_binaries()
    if binaries is None:
        assert not require_services
        pytest.skip("no PostgreSQL to start and kill: a killed database is NOT tested")
    rng = Random(2)
    with tempfile.TemporaryDirectory(prefix="embedrock-pg-") as name:
        Path(name).chmod(0o755)
        with own_postgres(binaries, Path(name)) as server:
            books = Books(server.url)

            def start() -> Gateway:
                return start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **books.environ)

            def kill(gateway: Gateway) -> Gateway:
                if rng.random() < 0.5:
                    return restart(server, gateway)
                gateway.process.kill()
                return start()

            outcome = run(books, emulator, start, kill, kills=20, answers=300, rng=rng)

            show("gateway and PostgreSQL", outcome)
            check(outcome, books)
