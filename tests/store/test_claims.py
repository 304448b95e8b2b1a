"""Answers that are kept for idempotency keys take only so much room, and removing them holds up nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from embedrock.service.ledger import Ledger
from embedrock.store import Store, Tx, books, claims, open_store

NOW = 2 * claims.REMEMBER_US


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = await open_store(database_url)
    yield store
    await store.close()


def keep(tx: Tx, account: str, name: str, at: int, answer: bytes) -> None:
    assert claims.take(tx, [(account, f"{account} {name}", claims.Claim(name, b""))], at).popitem()[1] is None
    assert claims.finish(tx, account, name, f"{account} {name}", at)
    claims.remember(tx, account, name, answer)


def kept(tx: Tx) -> list[tuple[str, str]]:
    rows = tx.execute("SELECT account, name FROM idempotency WHERE answer IS NOT NULL ORDER BY account, name")
    return [(account, name) for account, name in rows]


async def test_account_keeps_its_newest_answers_up_to_a_size(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MOST_KEPT_BYTES", 30)

    def fill(tx: Tx) -> None:
        for n in range(5):
            keep(tx, "much", f"k{n}", NOW + n, bytes(10))
        keep(tx, "little", "k", NOW, bytes(30))

    await store.write(fill)
    await Ledger(store).tidy()

    assert await store.read(kept) == [("little", "k"), ("much", "k2"), ("much", "k3"), ("much", "k4")]
    again = claims.Claim("k0", b"")
    assert await store.write(lambda tx: claims.take(tx, [("much", "again", again)], NOW)) == {
        "again": claims.Charged("much k0")
    }, "it stays charged once"


async def test_old_answers_are_removed_some_at_once_the_oldest_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_AT_ONCE", 2)

    def fill(tx: Tx) -> None:
        for n in range(3):
            keep(tx, "a", f"old{n}", NOW - claims.REPLAY_US - n - 1, b"x")
        keep(tx, "a", "new", NOW - claims.REPLAY_US + 1, b"x")

    await store.write(fill)
    left = []
    for _ in range(2):
        await store.write(lambda tx: claims.forget(tx, NOW))
        left.append([name for _, name in await store.read(kept)])

    assert left == [["new", "old0"], ["new"]]
    assert await store.write(lambda tx: books.expire(tx, NOW + claims.REMEMBER_US)) == 0
    assert await store.read(lambda tx: tx.execute("SELECT name FROM idempotency")) == []


async def test_answers_that_are_due_are_found_without_reading_the_others(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path / 'db'}")
    asked: list[str] = []

    class Watched:
        """A transaction that tells how each statement finds its rows."""

        def __init__(self, tx: Tx) -> None:
            self._tx = tx

        def execute(self, sql: str, *params: int | str | bytes | None) -> list[tuple[object, ...]]:
            asked.extend(str(row[3]) for row in self._tx.execute(f"EXPLAIN QUERY PLAN {sql}", *params))
            return self._tx.execute(sql, *params)

        def execute_many(
            self, sql: str, params: Sequence[tuple[int | str | bytes | None, ...]]
        ) -> list[tuple[object, ...]]:
            return self._tx.execute_many(sql, params)

    await store.write(lambda tx: claims.forget(Watched(tx), NOW))
    await store.close()

    assert asked == [
        "SEARCH idempotency USING INDEX idempotency_answers (at<?)",
        "SEARCH idempotency USING INDEX idempotency_at (at<?)",
    ]
