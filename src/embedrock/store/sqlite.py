"""SQLite: one file, several processes, durable at every commit.

The engine comes with the `apsw` wheel: the standard library uses the machine's, and those of 3.7.0 to 3.51.2 can damage
a write-ahead log that more than one connection writes or checkpoints.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from embedrock.store.engine import Again, ConfigError, Doubtful, Lost, Param, Session, Violation, only_added_to

_OLDEST: Final = (3, 51, 3)
_BUSY_MS: Final = 5000
_CHECKED_BYTES: Final = 64_000_000  # a larger file is not read whole at each start; damage shows where it is read
# FULL: with NORMAL a power cut may take the last commits, and a lost settlement is a lost charge.
_PRAGMAS: Final = """
    PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 1000
"""


_FAILURES: Final = (
    apsw.IOError,
    apsw.FullError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.NoMemError,
    apsw.PermissionsError,
)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.ConstraintError as exc:
        raise Violation(str(exc)) from exc
    except (apsw.BusyError, apsw.LockedError) as exc:
        raise Again(str(exc)) from exc
    except _FAILURES as exc:
        raise Lost(str(exc)) from exc


class SqliteSession:
    """One connection to the file."""

    def __init__(self, connection: apsw.Connection, *, read_only: bool) -> None:
        self._connection = connection
        self._run = connection.execute
        self._begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
        self._marked = False

    def execute(self, sql: str, *params: Param) -> list[tuple[Any, ...]]:
        with _translated():
            return self._run(sql, params).fetchall()

    def execute_many(self, sql: str, params: Sequence[tuple[Param, ...]]) -> list[tuple[Any, ...]]:
        with _translated():
            return self._connection.executemany(sql, params).fetchall()

    def begin(self) -> None:
        self._marked = False
        self.execute(self._begin)

    def mark(self) -> None:
        self.execute("RELEASE work; SAVEPOINT work" if self._marked else "SAVEPOINT work")
        self._marked = True

    def undo(self) -> None:
        self.execute("ROLLBACK TO work")

    def commit(self) -> None:
        try:
            self.execute("COMMIT")
        except Lost as exc:  # of a write that failed, all may be in the file nevertheless
            raise Doubtful(str(exc)) from exc

    def rollback(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(apsw.Error):
                self._run("ROLLBACK")

    def close(self) -> None:
        with contextlib.suppress(apsw.Error):
            self._connection.close()


class Sqlite:
    """The database in the file at `path`; it is made when it is not there."""

    patience_s: float | None = None  # the busy timeout ends what waits

    def __init__(self, path: Path) -> None:
        if tuple(map(int, apsw.sqlite_lib_version().split("."))) < _OLDEST:
            raise ConfigError(
                f"SQLite {apsw.sqlite_lib_version()} can damage the database; install apsw 3.51.3 or newer"
            )
        self._path = path.absolute()

    def connect(self, *, read_only: bool = False, durable: bool = True) -> Session:
        try:
            connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX)
            connection.set_busy_timeout(_BUSY_MS)
            connection.execute("PRAGMA query_only = ON" if read_only else _PRAGMAS).fetchall()
            if not durable:
                connection.execute("PRAGMA synchronous = NORMAL").fetchall()
        except apsw.Error as exc:
            raise Lost(f"{self._path}: {exc}") from exc
        return SqliteSession(connection, read_only=read_only)

    def give_up(self) -> None:
        pass

    def create(self, session: Session) -> None:
        session.begin()

    def portable(self, sql: str) -> str:
        if table := only_added_to(sql):
            return "; ".join(
                f"CREATE TRIGGER {table}_no_{what} BEFORE {what} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} are only ever added'); END"
                for what in ("UPDATE", "DELETE")
            )
        sql = re.sub(r"\bBIGINT\b", "INTEGER", sql.format(blob="BLOB", serial="INTEGER PRIMARY KEY"))
        return f"{sql} STRICT" if sql.lstrip().upper().startswith("CREATE TABLE") else sql

    def prepare(self) -> None:
        """Make the file, readable by its owner only, or check the one that is there. Raises ConfigError."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as exc:
            raise ConfigError(f"{self._path}: {exc.strerror or 'cannot be opened'}") from None
        try:
            connection = apsw.Connection(str(self._path))
            connection.set_busy_timeout(_BUSY_MS)
            with contextlib.closing(connection):
                self._to_wal(connection)
                small = self._path.stat().st_size <= _CHECKED_BYTES
                [(said,)] = connection.execute("PRAGMA quick_check(1)").fetchall() if small else [("ok",)]
                found = str(said)
        except apsw.Error as exc:
            found = str(exc)
        if found != "ok":
            raise ConfigError(f"{self._path}: {found}")

    def _to_wal(self, connection: apsw.Connection) -> None:
        """Turn the write-ahead log on. Processes that do it at once get in each other's way, without waiting."""
        until = time.monotonic() + _BUSY_MS / 1000
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL").fetchall()
                return
            except apsw.BusyError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.005)
