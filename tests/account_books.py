"""An account with a key in a database of the test's own, and what its books say."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from embedrock.service import key_form, policy
from embedrock.service.policy import Policy
from embedrock.store import Tx, books, open_store
from embedrock.store import keys as store_keys

T = TypeVar("T")

SECRET = "the secret under which the tests keep their keys"


class Entry(NamedTuple):
    """A row of the books."""

    kind: str
    amount: int
    absorbed: int
    request: str | None
    key_id: str | None
    model: str | None
    tokens: int | None
    end_user: str | None
    metadata: str | None


class Money(NamedTuple):
    granted: int
    posted: int
    pending: int


class Books:
    """The books at `url`; every look opens the database anew, as another process would.

    A name stands for the account that was made last under it: each test has its own.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._ids: dict[str, str] = {}

    @property
    def environ(self) -> dict[str, str]:
        """What a gateway needs to use them."""
        return {"EMBEDROCK_DATABASE_URL": self.url, "EMBEDROCK_KEY_SECRET": SECRET}

    def write(self, fn: Callable[[Tx], T]) -> T:
        async def run() -> T:
            store = await open_store(self.url)
            try:
                return await store.write(fn)
            finally:
                await store.close()

        with asyncio.Runner() as runner:
            return runner.run(run())

    def make(self) -> None:
        """Make the database, empty."""
        self.write(lambda _: None)

    def account(self, name: str, granted: int | None, **rights: Any) -> str:
        """Make an account with so many micro-credits, None: without limit; return a key of it."""
        token = key_form.make()
        self._ids[name] = name = f"{name}-{secrets.token_hex(4)}"
        now = time.time_ns() // 1000

        def make(tx: Tx) -> None:
            books.open_account(tx, name, name, now, unlimited=granted is None)
            if granted is not None:
                books.grant(tx, name, granted, now)
            rows = ("test", "sk-…", now, None, None, policy.write(Policy(**rights)))
            key = store_keys.Key(f"key_{name}", name, name, name, *rows)
            store_keys.add(tx, key, key_form.digest(SECRET.encode(), token.encode()))

        self.write(make)
        return token

    def entries(self, account: str) -> list[Entry]:
        """Return what an account was charged, oldest first; grants are left out."""
        columns = ", ".join(Entry._fields)
        sql = f"SELECT {columns} FROM entries WHERE account = ? AND kind <> 'grant' ORDER BY seq"  # noqa: S608
        rows = self.write(lambda tx: tx.execute(sql, self._ids[account]))
        return [Entry(*row) for row in rows]

    def id(self, name: str) -> str:
        """Return the id of the account that has the name now."""
        return self._ids[name]

    def money(self, account: str) -> Money:
        return Money(
            *self.write(
                lambda tx: tx.execute("SELECT granted, posted, pending FROM accounts WHERE id = ?", self._ids[account])
            )[0]
        )

    def settled(self, account: str) -> Money:
        """Return the account's money when nothing is held any more: a hold goes a moment after its answer."""
        until = time.monotonic() + 10
        while (money := self.money(account)).pending and time.monotonic() < until:
            time.sleep(0.01)
        assert money.pending == 0
        assert self.write(books.unbalanced) == []
        return money
