"""What a database engine has to offer, and what can go wrong in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

Param: TypeAlias = int | str | bytes | None


class ConfigError(ValueError):
    """The database's URL, or the database, cannot be used; the message is one line and holds no password."""


class Violation(Exception):
    """A constraint of the database refused the statement: not unique, a check, a foreign key, a trigger.

    The function that meets it must let it pass, or not provoke it (`ON CONFLICT`): PostgreSQL takes no further
    statements after it.
    """


class Again(Exception):
    """The transaction lost against another and is rolled back; it may win when it is run anew."""


class Lost(Exception):
    """The database cannot be reached, or failed; whatever was not committed is gone."""


class Doubtful(Lost):
    """The database was lost at a COMMIT, and nobody knows its outcome: what may have been done is not done again."""


class Tx(Protocol):
    """A running transaction."""

    def execute(self, sql: str, *params: Param) -> list[tuple[Any, ...]]:
        """Run one statement, "?" standing for each of `params`, and return its rows."""

    def execute_many(self, sql: str, params: Sequence[tuple[Param, ...]]) -> list[tuple[Any, ...]]:
        """Run one statement with each of `params`, in one round trip, and return the rows of all."""


_ONLY_ADDED: Final = "ONLY ADD TO "


def only_added_to(sql: str) -> str | None:
    """Return the table of a migration's `ONLY ADD TO table`, after which its rows are never changed or deleted."""
    return sql.removeprefix(_ONLY_ADDED) if sql.startswith(_ONLY_ADDED) else None


class Session(Tx, Protocol):
    """One connection. Every method may raise Lost, and those within a transaction Again."""

    def begin(self) -> None: ...

    def mark(self) -> None:
        """Keep what was done so far, whatever `undo` does later."""

    def undo(self) -> None:
        """Undo what was done since `mark`."""

    def commit(self) -> None:
        """Return when the transaction is durable; raise Again or Lost when it is not, Doubtful when nobody knows."""

    def rollback(self) -> None:
        """Undo the transaction. Raises nothing: that the connection is of no use any more, the next call shows."""

    def close(self) -> None: ...


class Engine(Protocol):
    """A database that was named by its URL."""

    #: How long a function may take before whoever asked is told that the database is away; None: it cannot hang.
    patience_s: float | None

    def connect(self, *, read_only: bool = False, durable: bool = True) -> Session:
        """Return a new connection. What one that is not `durable` commits may be lost when the machine stops, though
        not when a process is killed. Raises Lost.
        """

    def give_up(self) -> None:
        """End whatever waits for an answer, in any thread, with Lost; the engine is of no use after that."""

    def create(self, session: Session) -> None:
        """Begin the transaction of the migrations, alone among all processes."""

    def portable(self, sql: str) -> str:
        """Return a migration's statement in the engine's own types."""
