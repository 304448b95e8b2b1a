"""PostgreSQL: for several machines. Needs the extra `[postgres]`."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from embedrock.store.engine import Again, ConfigError, Doubtful, Lost, Param, Session, Violation, only_added_to

try:
    import psycopg
    from psycopg import errors
    from psycopg.abc import PQGen
    from psycopg.pq import TransactionStatus
    from psycopg.types.numeric import Int8Dumper
except ImportError:
    raise ConfigError("a postgresql:// database needs the extra: pip install 'embedrock[postgres]'") from None

T = TypeVar("T")

_OLDEST: Final = 150000
_MIGRATIONS_LOCK: Final = 0x656D62726F636B  # any number that nobody else takes
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_CONNECT_S: Final = 5
_UNSEEN_MS: Final = 3000  # after which a connection whose packets nobody confirms is dead
_MIGRATION_S: Final = 3600.0
_OUTCOME_S: Final = 5.0  # how long the outcome of a commit is asked for after its answer was lost
_TIMEOUTS: Final = """
    SET lock_timeout = '500ms'; SET statement_timeout = '10s'; SET idle_in_transaction_session_timeout = '5s'
"""
_AGAIN: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)
# Ours are these two; they come when an administrator ends the session, too.
_LOST: Final = (psycopg.OperationalError, psycopg.InterfaceError)


@lru_cache(512)
def _native(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except errors.IntegrityError as exc:
        raise Violation(str(exc)) from exc
    except errors.RaiseException as exc:  # a trigger of ours
        raise Violation(str(exc)) from exc
    except _AGAIN as exc:
        raise Again(str(exc)) from exc
    except _LOST as exc:
        raise Lost(str(exc)) from exc


class _Connection(psycopg.Connection[Any]):
    """Ends by itself when an answer does not come: a server that hangs, or a network that does, says nothing."""

    answer_s: float
    given_up: threading.Event

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        until = time.monotonic() + self.answer_s
        try:
            return super().wait(
                _bounded(gen, lambda: time.monotonic() > until or self.given_up.is_set()), interval, timeout
            )
        except TimeoutError:
            self.pgconn.finish()
            raise psycopg.OperationalError("no answer came in time") from None


def _bounded(gen: PQGen[T], is_over: Callable[[], bool]) -> PQGen[T]:
    """Do what `gen` does; raise TimeoutError when nothing comes and it is over."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and is_over():
                raise TimeoutError
            wanted = gen.send(ready)
    except StopIteration as exc:
        result: T = exc.value
        return result


class PostgresSession:
    """One connection."""

    def __init__(self, engine: Postgres, connection: _Connection, *, read_only: bool) -> None:
        self._engine = engine
        self._connection = connection
        self._cursor = connection.cursor()
        self._read_only = read_only
        self._transaction = ""  # its number on the server, by which the outcome of a lost COMMIT is found
        self._marked = False

    def execute(self, sql: str, *params: Param) -> list[tuple[Any, ...]]:
        with _translated():
            if params:
                self._cursor.execute(_native(sql), params)
            else:
                self._cursor.execute(sql)
            return self._cursor.fetchall() if self._cursor.description else []

    def execute_many(self, sql: str, params: Sequence[tuple[Param, ...]]) -> list[tuple[Any, ...]]:
        if not params:
            return []
        with _translated():
            cursor, rows = self._cursor, list[tuple[Any, ...]]()
            cursor.executemany(_native(sql), params, returning=True)
            more: bool | None = True
            while more:
                rows += cursor.fetchall() if cursor.description else []
                more = cursor.nextset()
            return rows

    def wait_for(self, seconds: float) -> None:
        """Wait so long for each answer."""
        self._connection.answer_s = seconds

    def _all(self, script: str) -> None:
        """Run several statements in one round trip."""
        with _translated():
            self._cursor.execute(script)

    def begin(self) -> None:
        self._marked = False
        if self._read_only:
            self._all("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return
        self._all("BEGIN; SELECT pg_current_xact_id()::text")
        self._cursor.nextset()
        [(self._transaction,)] = self._cursor.fetchall()

    def mark(self) -> None:
        self._all("RELEASE work; SAVEPOINT work" if self._marked else "SAVEPOINT work")
        self._marked = True

    def undo(self) -> None:
        self._all("ROLLBACK TO work")

    def commit(self) -> None:
        try:
            self._all("COMMIT")
        except Lost:
            if self._read_only or not self._engine.was_committed(self._transaction):
                raise

    def rollback(self) -> None:
        if self._connection.info.transaction_status is not TransactionStatus.IDLE:
            with contextlib.suppress(psycopg.Error):
                self._cursor.execute("ROLLBACK")

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._connection.close()


class Postgres:
    """The database at a libpq URL; `?schema=NAME` keeps the tables in a schema of their own."""

    patience_s: float | None = 10.0
    answer_s = 12.0  # more than the server's own `statement_timeout`

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._schema = options.pop("schema", "")
        if self._schema and not _SCHEMA.fullmatch(self._schema):
            raise ConfigError("schema in the database's URL must be of a-z, 0-9 and _")
        self._given_up = threading.Event()
        self._url = urlunsplit(parts._replace(scheme="postgresql", query=urlencode(options)))
        try:
            psycopg.conninfo.conninfo_to_dict(self._url)
        except psycopg.ProgrammingError:
            raise ConfigError("the database's URL is not one that PostgreSQL understands") from None

    def connect(self, *, read_only: bool = False, durable: bool = True) -> Session:
        if self._given_up.is_set():
            raise Lost("given up")
        with _translated():
            connection = _Connection.connect(
                self._url, autocommit=True, connect_timeout=_CONNECT_S, tcp_user_timeout=_UNSEEN_MS
            )
        connection.answer_s, connection.given_up = self.answer_s, self._given_up
        try:
            with _translated():
                connection.execute(_TIMEOUTS)
                connection.execute(f"SET synchronous_commit = {'on' if durable else 'off'}")
                if self._schema:
                    connection.execute(f"SET search_path = {self._schema}")
        except BaseException:
            connection.close()
            raise
        connection.adapters.register_dumper(int, Int8Dumper)  # one type whatever the size: one prepared statement
        return PostgresSession(self, connection, read_only=read_only)

    def give_up(self) -> None:
        self._given_up.set()

    def create(self, session: Session) -> None:
        if isinstance(session, PostgresSession):
            session.wait_for(_MIGRATION_S)
        [(version,)] = session.execute("SELECT current_setting('server_version_num')")
        if int(version) < _OLDEST:
            raise ConfigError("PostgreSQL 15 or newer is needed")
        session.begin()
        session.execute("SET LOCAL lock_timeout = '60s'")
        session.execute("SET LOCAL statement_timeout = 0")
        session.execute("SELECT pg_advisory_xact_lock(?)", _MIGRATIONS_LOCK)
        if self._schema:
            session.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}")

    def portable(self, sql: str) -> str:
        if table := only_added_to(sql):
            return (
                f"CREATE FUNCTION {table}_kept() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION '{table} are only ever added'; END $$; "
                f"CREATE TRIGGER {table}_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_kept()"
            )
        return sql.format(blob="BYTEA", serial="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")

    def was_committed(self, transaction: str) -> bool:
        """Return whether `transaction` was, which lost its connection at its COMMIT. Raises Doubtful."""
        until = time.monotonic() + _OUTCOME_S
        while True:
            try:
                session = self.connect()
                try:
                    [(state,)] = session.execute("SELECT pg_xact_status(?::xid8)", transaction)
                finally:
                    session.close()
            except (Lost, Again) as exc:
                state = f"unknown: {exc}"
            if state in ("committed", "aborted"):
                return bool(state == "committed")
            if time.monotonic() > until or self._given_up.is_set():
                raise Doubtful(f"a transaction's outcome is {state}")
            time.sleep(0.05)
