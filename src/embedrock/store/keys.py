"""Keys in the database: never the key itself, only its digest under the gateway's secret.

A key that was rotated and the one in its place are of one root: they share limits and budgets.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from embedrock.store.engine import Tx

_COLUMNS: Final = "k.id, k.root, k.account, a.name, k.name, k.shown, k.created_at, k.expires_at, k.revoked_at, k.policy"
_FROM: Final = f"SELECT {_COLUMNS} FROM api_keys k JOIN accounts a ON a.id = k.account"  # noqa: S608  # our own names


class Key(NamedTuple):
    """A row. Times are microseconds since 1970; `policy` is JSON, see `service.policy`."""

    id: str
    root: str
    account: str  # its id
    account_name: str
    name: str
    shown: str  # what may be shown of the key: how it begins and ends
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    policy: str


def add(tx: Tx, key: Key, digest: bytes) -> None:
    """Keep a new key."""
    tx.execute(
        "INSERT INTO api_keys (id, root, account, name, digest, shown, created_at, expires_at, policy)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        key.id,
        key.root,
        key.account,
        key.name,
        digest,
        key.shown,
        key.created_at,
        key.expires_at,
        key.policy,
    )


def find(tx: Tx, digest: bytes) -> Key | None:
    """Return the key with this digest."""
    rows = tx.execute(f"{_FROM} WHERE k.digest = ?", digest)
    return Key(*rows[0]) if rows else None


def find_id(tx: Tx, key_id: str) -> Key | None:
    """Return the key with this id."""
    rows = tx.execute(f"{_FROM} WHERE k.id = ?", key_id)
    return Key(*rows[0]) if rows else None


def listed(tx: Tx, account: str | None = None) -> list[Key]:
    """Return the keys of an account, or all, oldest first."""
    which = "" if account is None else " WHERE k.account = ?"
    rows = tx.execute(f"{_FROM}{which} ORDER BY k.created_at, k.id", *([] if account is None else [account]))
    return [Key(*row) for row in rows]


def any_usable(tx: Tx, now: int) -> bool:
    """Return whether there is a key that somebody may use."""
    usable = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"
    return bool(tx.execute(f"SELECT 1 FROM api_keys WHERE {usable} LIMIT 1", now))  # noqa: S608


def mark(tx: Tx) -> bytes | None:
    """Return what the secret of the keys is known by, if they say so."""
    rows = tx.execute("SELECT mark FROM key_secret")
    return bytes(rows[0][0]) if rows else None


def set_mark(tx: Tx, value: bytes) -> None:
    """Keep what the secret of the keys is known by."""
    tx.execute("DELETE FROM key_secret")
    tx.execute("INSERT INTO key_secret (mark) VALUES (?)", value)


def revoke(tx: Tx, key_id: str, now: int) -> None:
    """Make a key useless from now on. One that is so already stays as it is."""
    tx.execute("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", now, key_id)


def revoke_all(tx: Tx, account: str, now: int) -> int:
    """Make all keys of an account useless from now on, and return how many were not."""
    ended = "UPDATE api_keys SET revoked_at = ? WHERE account = ? AND revoked_at IS NULL RETURNING id"
    return len(tx.execute(ended, now, account))


def expire(tx: Tx, key_id: str, at: int) -> None:
    """Let a key end at a time, unless it ends before."""
    tx.execute(
        "UPDATE api_keys SET expires_at = ? WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)", at, key_id, at
    )
