"""What the books say, for people: accounts and what is left in them; use by account, key, model and day."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from embedrock.store.books import ABSORBED, USE
from embedrock.store.engine import Tx

_DAY_US: Final = 24 * 3600 * 1_000_000

_NAME: Final = re.compile(r"[\w.@:+-](?:[\w .@:+-]{0,98}[\w.@:+-])?")

By = Literal["account", "key", "model", "day"]


class AccountLine(NamedTuple):
    """An account; money in micro-credits."""

    id: str
    name: str
    created_at: int
    unlimited: bool
    frozen: bool
    granted: int
    used: int
    held: int  # for requests under way

    @property
    def remaining(self) -> int | None:
        """What is left; None: there is no limit."""
        return None if self.unlimited else self.granted - self.used - self.held


class UseLine(NamedTuple):
    """What was used; `group` is an account's name, a key's id, a model or a day in UTC, as microseconds since 1970."""

    group: str | int
    requests: int
    tokens: int
    cost: int  # micro-credits
    absorbed: int  # micro-credits that nobody was charged: the operator paid them
    whose: tuple[str, str]  # of a key: its name, and its account's; else nothing


_ACCOUNT: Final = (
    "SELECT id, name, created_at, unlimited, frozen, granted, posted, pending FROM accounts {} ORDER BY created_at, id"
)
_GROUPS: Final[dict[By, str]] = {
    "account": "a.name",
    "key": "coalesce(e.key_id, '')",
    "model": "coalesce(e.model, '')",
    "day": f"e.at / {_DAY_US} * {_DAY_US}",
}

#: A request that only began jobs embedded nothing yet: its jobs are counted.
_COUNTS: Final = "(coalesce(e.tokens, 0) > 0 OR e.amount + e.absorbed > 0)"


def is_name(text: str) -> bool:
    """Return whether an account, or a key, may have this name."""
    return _NAME.fullmatch(text) is not None


def accounts(tx: Tx) -> list[AccountLine]:
    """Return all accounts, oldest first."""
    return [_line(row) for row in tx.execute(_ACCOUNT.format(""))]


def account_named(tx: Tx, name: str) -> AccountLine | None:
    """Return the account with this name."""
    rows = tx.execute(_ACCOUNT.format("WHERE name = ?"), name)
    return _line(rows[0]) if rows else None


def usage(tx: Tx, by: By, account: str | None = None) -> list[UseLine]:
    """Return what was used, of an account's id or of all, by group."""
    group = _GROUPS[by]
    which = "" if account is None else " AND e.account = ?"
    whose = "coalesce(k.name, ''), a.name" if by == "key" else "'', ''"
    rows = tx.execute(
        f"SELECT {group}, {whose}, sum(CASE WHEN e.kind = ? AND {_COUNTS} THEN 1 ELSE 0 END),"  # noqa: S608  # our words
        " sum(CASE WHEN e.kind = ? THEN coalesce(e.tokens, 0) ELSE 0 END), sum(e.amount), sum(e.absorbed)"
        " FROM entries e JOIN accounts a ON a.id = e.account LEFT JOIN api_keys k ON k.id = e.key_id"
        f" WHERE e.kind IN (?, ?){which} GROUP BY 1, 2, 3 ORDER BY 1, 3",
        *(USE, USE, USE, ABSORBED),
        *([] if account is None else [account]),
    )
    return [
        UseLine(group, int(requests), int(tokens), int(cost), int(absorbed), (name, owner))
        for group, name, owner, requests, tokens, cost, absorbed in rows
    ]


def _line(row: tuple[object, ...]) -> AccountLine:
    key, name, created_at, unlimited, frozen, *money = row
    return AccountLine(key, name, created_at, bool(unlimited), bool(frozen), *map(int, money))  # type: ignore[arg-type]
