"""Idempotency keys: which request has a key of an account, whether it was charged, and what it was answered.

A key is a request's from before it is held until three days later. A request that ended with nothing gives it back;
one whose hold is gone may lose it to the next that brings it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, Final, NamedTuple

from embedrock.store.engine import Tx

#: An answer is replayed for so long, and its charge remembered for so long.
REPLAY_US: Final = 24 * 3600 * 1_000_000
REMEMBER_US: Final = 72 * 3600 * 1_000_000
_KEEPING_US: Final = 5_000_000  # from a charge until its answer is kept, unless the process died between them

#: What `done` says: the request is charged, and its answer may yet be kept; or nothing more will come.
_CHARGED: Final = 1
ANSWERED: Final = 2
#: The newest answers of an account are kept, as long as they are not more than this.
MOST_KEPT_BYTES: Final = 256_000_000
_AT_ONCE: Final = 200  # answers that are removed by one transaction


class Claim(NamedTuple):
    """An idempotency key, and the digest of what was asked with it."""

    name: str
    body: bytes


class Claimed(NamedTuple):
    """The idempotency key was used before: for this answer, for another body, or for a request under way."""

    answer: bytes | None = None
    other: bool = False


class Charged(NamedTuple):
    """The idempotency key was used before by a request that was charged, and its answer is no longer kept."""

    request: str


Before = Claimed | Charged


def take(tx: Tx, asks: Sequence[tuple[str, str, Claim]], now: int) -> dict[str, Before | None]:
    """Make keys those of the requests that bring them, of several with the same the first's.

    `asks`: account, request and claim. Returns what stands in the way of each request; None: the key is its own.
    """
    owners: set[str] = set()  # they are under way, but none has its hold yet
    found: dict[str, Before | None] = {}
    for account, request, claim in sorted(asks, key=lambda ask: (ask[0], ask[2].name)):
        found[request] = _take(tx, account, request, claim, owners, now)
        if found[request] is None:
            owners.add(request)
    return found


def _take(tx: Tx, account: str, request: str, claim: Claim, owners: Container[str], now: int) -> Before | None:
    values, where = (claim.body, request, now), (account, claim.name)
    if tx.execute(
        "INSERT INTO idempotency (body, request, at, account, name) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (account, name) DO NOTHING RETURNING name",
        *values,
        *where,
    ):
        return None
    [(body, owner, answer, done, at)] = tx.execute(
        "SELECT body, request, answer, done, at FROM idempotency WHERE account = ? AND name = ?", *where
    )
    if at < now - REMEMBER_US:
        pass  # it is as if it had never been
    elif body != claim.body:
        return Claimed(other=True)
    elif done and answer is not None and at >= now - REPLAY_US:
        return Claimed(answer)
    elif done:
        return Claimed() if done == _CHARGED and at >= now - _KEEPING_US else Charged(owner)
    elif owner in owners or tx.execute("SELECT 1 FROM holds WHERE id = ?", owner):
        return Claimed()
    tx.execute(
        "UPDATE idempotency SET body = ?, request = ?, at = ?, done = 0, answer = NULL WHERE account = ? AND name = ?",
        *values,
        *where,
    )
    return None


def finish(tx: Tx, account: str, name: str, request: str, now: int, *, done: int = _CHARGED) -> bool:
    """Remember that the request is charged; False: the key is another's."""
    sql = (
        "UPDATE idempotency SET done = CASE WHEN done < ? THEN ? ELSE done END, at = ? "
        "WHERE account = ? AND name = ? AND request = ? RETURNING 1"
    )
    if tx.execute(sql, done, done, now, account, name, request):
        return True
    return not tx.execute("SELECT 1 FROM idempotency WHERE account = ? AND name = ?", account, name)


def give_back(tx: Tx, account: str, name: str, request: str) -> None:
    """Leave the key to whoever brings it next, unless the request was charged."""
    sql = "DELETE FROM idempotency WHERE account = ? AND name = ? AND request = ? AND done = 0"
    tx.execute(sql, account, name, request)


def remember(tx: Tx, account: str, name: str, answer: bytes | None) -> None:
    """Keep the answer of a request that was charged, for its idempotency key; None: it is not kept."""
    sql = "UPDATE idempotency SET answer = coalesce(?, answer), done = ? WHERE account = ? AND name = ? AND done > 0"
    tx.execute(sql, answer, ANSWERED, account, name)


def forget(tx: Tx, now: int) -> None:
    """Forget answers, and then keys, that are old enough; some at once."""
    due = tx.execute(
        "SELECT account, name FROM idempotency WHERE answer IS NOT NULL AND at < ? ORDER BY at LIMIT ?",
        now - REPLAY_US,
        _AT_ONCE,
    )
    drop(tx, due)
    tx.execute("DELETE FROM idempotency WHERE at < ?", now - REMEMBER_US)


def too_many(tx: Tx) -> list[tuple[str, str]]:
    """Return accounts and the names of their oldest answers, of those that keep too much."""
    rows = tx.execute(
        """
        SELECT account, name FROM (
            SELECT account, name, sum(length(answer)) OVER (PARTITION BY account ORDER BY at DESC, name) AS kept
            FROM idempotency WHERE answer IS NOT NULL
        ) answers WHERE kept > ? LIMIT ?
        """,
        MOST_KEPT_BYTES,
        _AT_ONCE,
    )
    return [(account, name) for account, name in rows]


def drop(tx: Tx, answers: Iterable[tuple[Any, ...]]) -> None:
    """Keep these answers no longer; what they were for stays charged once."""
    tx.execute_many("UPDATE idempotency SET answer = NULL WHERE account = ? AND name = ?", sorted(answers))
