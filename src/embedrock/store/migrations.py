"""The tables, as the steps that lead to them. A step that was released is never changed: the next one mends it.

Statements are portable: TEXT, BIGINT, `{blob}` for bytes, `{serial}` for a primary key that numbers itself. Times are
microseconds since 1970, money is micro-credits, truth is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from embedrock.store.engine import ConfigError, Engine

#: A number, rising by one, and the statements of the step.
Migration = tuple[int, tuple[str, ...]]

MIGRATIONS: Final[tuple[Migration, ...]] = ()


def migrate(engine: Engine, steps: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the database to the last of `steps`, all or nothing.

    Raises ConfigError when a newer Embedrock made it, Lost when it cannot be reached.
    """
    session = engine.connect()
    try:
        engine.create(session)
        session.execute("CREATE TABLE IF NOT EXISTS schema_version (number BIGINT NOT NULL)")
        [(done,)] = session.execute("SELECT coalesce(max(number), 0) FROM schema_version")
        if done > (newest := steps[-1][0] if steps else 0):
            raise ConfigError(f"the database is of a newer Embedrock (schema {done}; this one knows {newest})")
        for number, statements in steps:
            if number > done:
                for sql in statements:
                    session.execute(engine.portable(sql))
                session.execute("INSERT INTO schema_version (number) VALUES (?)", number)
        session.commit()
    finally:
        session.rollback()
        session.close()
