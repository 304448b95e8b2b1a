"""What has to outlive the process: accounts, keys, money, jobs; in SQLite or PostgreSQL, behind one small interface."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from embedrock.errors import StoreUnavailable
from embedrock.store.engine import Again as _Again
from embedrock.store.engine import ConfigError as ConfigError
from embedrock.store.engine import Engine, Lost, Session
from embedrock.store.engine import Tx as Tx
from embedrock.store.engine import Violation as Violation
from embedrock.store.migrations import MIGRATIONS, Migration, migrate
from embedrock.store.writer import Writer

T = TypeVar("T")

_READERS: Final = 4
_CLOSE_S: Final = 5.0  # for what is queued, when the database hangs
_SQLITE: Final = "sqlite:///"


async def open_store(url: str, migrations: Sequence[Migration] = MIGRATIONS) -> Store:
    """Return the store at `url`, with all its tables.

    `sqlite:///PATH` (so `sqlite:////an/absolute/path`) or `postgresql://…`, which `?schema=NAME` keeps in a schema of
    its own. Raises ConfigError when the URL or the database cannot be used, StoreUnavailable when it cannot be reached.
    """

    def prepare() -> Engine:
        engine = _engine(url)
        migrate(engine, migrations)
        return engine

    try:
        return Store(await asyncio.to_thread(prepare))
    except (Lost, _Again) as exc:
        raise StoreUnavailable("The gateway's database cannot be reached.") from exc


def _engine(url: str) -> Engine:
    if url.startswith(_SQLITE):
        from embedrock.store.sqlite import Sqlite  # the engine is half a megabyte of code that most never need

        path = url.removeprefix(_SQLITE)
        if not path or "?" in path or "\0" in path:
            raise ConfigError("a database of SQLite is sqlite:///PATH")
        sqlite = Sqlite(Path(path))
        sqlite.prepare()
        return sqlite
    if url.startswith(("postgresql://", "postgres://")):
        from embedrock.store.postgres import Postgres

        return Postgres(url)
    raise ConfigError("a database is sqlite:///PATH or postgresql://…")


class Store:
    """The database, for the loop it was opened in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = Writer(engine)
        self._readers = ThreadPoolExecutor(_READERS, "embedrock-store-reader")
        self._mine = threading.local()
        self._sessions: list[Session] = []

    @property
    def commits(self) -> int:
        """How many transactions of writers were committed so far."""
        return self._writer.commits

    async def write(self, fn: Callable[[Tx], T], *, durable: bool = True) -> T:
        """Return what `fn` returns, after what it wrote is durable; what it raises undoes it, and nothing else.

        `fn` may run more than once, and runs to its end even when the caller is cancelled. Others' functions share its
        transaction. What is not `durable` is quicker, and may be lost when the machine stops, not when the process is
        killed. Raises StoreUnavailable when the database is away; then, rarely, it may have been written.
        """
        with _late_is_away():
            async with asyncio.timeout(self._engine.patience_s):
                result: T = await self._writer.submit(fn, durable=durable)
        return result

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """Return what `fn` returns; all it reads is of one moment. Raises StoreUnavailable."""
        try:
            with _late_is_away():
                async with asyncio.timeout(self._engine.patience_s):
                    return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn)
        except (Lost, _Again) as exc:
            raise StoreUnavailable("The gateway's database cannot be used at the moment.") from exc

    async def close(self) -> None:
        """Finish what is queued, unless the database hangs, and let go of it."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        late = threading.Timer(_CLOSE_S, self._engine.give_up)
        late.start()
        self._writer.stop()
        self._readers.shutdown()
        late.cancel()
        for session in self._sessions:
            session.close()

    def _read(self, fn: Callable[[Tx], T]) -> T:
        kept: Session | None = getattr(self._mine, "session", None)
        if kept is not None:
            with contextlib.suppress(Lost):  # a connection may have died while nobody used it
                return _within(kept, fn)
            self._sessions.remove(kept)
            kept.close()
        self._mine.session = None
        self._mine.session = session = self._engine.connect(read_only=True)
        self._sessions.append(session)
        return _within(session, fn)


@contextlib.contextmanager
def _late_is_away() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise StoreUnavailable("The gateway's database does not answer at the moment.") from None


def _within(session: Session, fn: Callable[[Tx], T]) -> T:
    session.begin()
    try:
        return fn(session)
    finally:
        session.rollback()
