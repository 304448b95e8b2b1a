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

MIGRATIONS: Final[tuple[Migration, ...]] = (
    (
        1,  # accounts and their money; `store.books` says what the columns mean
        (
            """
            CREATE TABLE accounts (
                id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at BIGINT NOT NULL,
                unlimited BIGINT NOT NULL, frozen BIGINT NOT NULL DEFAULT 0,
                granted BIGINT NOT NULL DEFAULT 0, posted BIGINT NOT NULL DEFAULT 0, pending BIGINT NOT NULL DEFAULT 0,
                CHECK (posted >= 0 AND pending >= 0 AND (unlimited = 1 OR posted + pending <= granted)),
                CHECK (granted BETWEEN 0 AND 9007199254740992)
            )
            """,
            """
            CREATE TABLE budgets (
                id TEXT PRIMARY KEY,
                allowed BIGINT NOT NULL, posted BIGINT NOT NULL DEFAULT 0, pending BIGINT NOT NULL DEFAULT 0,
                CHECK (posted >= 0 AND pending >= 0 AND posted + pending <= allowed)
            )
            """,
            """
            CREATE TABLE holds (
                id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), amount BIGINT NOT NULL,
                budgets TEXT NOT NULL, expires_at BIGINT NOT NULL, CHECK (amount >= 0)
            )
            """,
            """
            CREATE TABLE entries (
                seq {serial}, at BIGINT NOT NULL, account TEXT NOT NULL REFERENCES accounts (id), kind TEXT NOT NULL,
                amount BIGINT NOT NULL, absorbed BIGINT NOT NULL DEFAULT 0, request TEXT, key_id TEXT, model TEXT,
                tokens BIGINT, reported BIGINT, end_user TEXT, metadata TEXT, budgets TEXT NOT NULL DEFAULT ''
            )
            """,
            "CREATE UNIQUE INDEX entries_request ON entries (request) WHERE request IS NOT NULL",
            "CREATE INDEX entries_account ON entries (account, at)",
            "ONLY ADD TO entries",
            """
            CREATE TABLE idempotency (
                account TEXT NOT NULL, name TEXT NOT NULL, body {blob} NOT NULL, request TEXT NOT NULL,
                answer {blob}, done BIGINT NOT NULL DEFAULT 0, at BIGINT NOT NULL, PRIMARY KEY (account, name)
            )
            """,
        ),
    ),
    (
        2,  # keys, known by their digests; `service.policy` reads what they may
        (
            """
            CREATE TABLE api_keys (
                id TEXT PRIMARY KEY, root TEXT NOT NULL, account TEXT NOT NULL REFERENCES accounts (id),
                name TEXT NOT NULL, digest {blob} NOT NULL UNIQUE, shown TEXT NOT NULL, created_at BIGINT NOT NULL,
                expires_at BIGINT, revoked_at BIGINT, policy TEXT NOT NULL
            )
            """,
        ),
    ),
    (
        3,  # jobs in the background; `store.jobs` says what the columns mean
        (
            """
            CREATE TABLE jobs (
                id TEXT PRIMARY KEY, owner TEXT NOT NULL, state TEXT NOT NULL, input BIGINT NOT NULL,
                model TEXT NOT NULL, spec TEXT NOT NULL, place TEXT NOT NULL, region TEXT NOT NULL, kind TEXT NOT NULL,
                body {blob} NOT NULL, own_folder TEXT NOT NULL, size BIGINT NOT NULL, scale BIGINT NOT NULL,
                as_base64 BIGINT NOT NULL, tokens BIGINT NOT NULL, created_at BIGINT NOT NULL,
                give_up_at BIGINT NOT NULL, version BIGINT NOT NULL, looks BIGINT NOT NULL, due_at BIGINT NOT NULL,
                lease_until BIGINT NOT NULL, arn TEXT NOT NULL, folder TEXT NOT NULL, started_at BIGINT NOT NULL,
                ended_at BIGINT NOT NULL, remove_at BIGINT NOT NULL, vectors BIGINT NOT NULL, failures TEXT NOT NULL,
                milliseconds BIGINT NOT NULL, message TEXT NOT NULL, account TEXT NOT NULL, key_id TEXT NOT NULL,
                budgets TEXT NOT NULL, price TEXT NOT NULL, texts BIGINT NOT NULL, images BIGINT NOT NULL
            )
            """,
            "CREATE INDEX jobs_due ON jobs (state, due_at)",
            "CREATE INDEX jobs_created ON jobs (created_at, id)",
            "CREATE INDEX jobs_arn ON jobs (arn)",
            "CREATE INDEX jobs_remove ON jobs (remove_at)",
        ),
    ),
    (
        4,  # what the secret of the keys is known by: another one fits none of them
        ("CREATE TABLE key_secret (mark {blob} NOT NULL)",),
    ),
    (
        5,  # answers that are due, found without reading those that are not
        (
            "CREATE INDEX idempotency_at ON idempotency (at)",
            "CREATE INDEX idempotency_answers ON idempotency (at) WHERE answer IS NOT NULL",
        ),
    ),
)


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
