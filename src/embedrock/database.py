"""The store of the settings, and the secret of the keys in it, opened when they are first needed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from embedrock.errors import StoreUnavailable
from embedrock.settings import Settings, SettingsError
from embedrock.store import ConfigError, Store, open_store
from embedrock.store.secret import Secret

_SQLITE: Final = "sqlite:///"
_AGAIN_S: Final = 1.0  # after one that could not be reached; nobody waits for it meanwhile


class Database:
    """The store of the settings, opened when it is first needed: a gateway without accounts and jobs has none."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url or f"sqlite:///{settings.data_dir / 'embedrock.db'}"
        self._file = Path(self._url.removeprefix(_SQLITE)) if self._url.startswith(_SQLITE) else None
        self.secret = Secret(settings.key_secret, self._file and self._file.with_name(f"{self._file.name}.secret"))
        self._opening = asyncio.Lock()
        self._store: Store | None = None
        self._again_at = 0.0

    async def store(self) -> Store:
        """Return the store. Raises SettingsError when the settings lead to none, StoreUnavailable when it is away."""
        async with self._opening:
            if self._store is None:
                if time.monotonic() < self._again_at:
                    raise StoreUnavailable("The gateway's database cannot be reached.")
                try:
                    self._store = await open_store(self._url)
                except StoreUnavailable:
                    self._again_at = time.monotonic() + _AGAIN_S
                    raise
                except ConfigError as exc:
                    raise SettingsError(f"EMBEDROCK_DATABASE_URL: {exc}") from None
            return self._store

    async def existing(self) -> Store | None:
        """Return the store, or None where there was none yet: nothing is made to look into it."""
        if self._store is None and self._file is not None and not self._file.exists():
            return None
        return await self.store()

    def find_secret(self) -> bytes | None:
        """Return the secret of the keys; None where there are none. Raises SettingsError."""
        try:
            return self.secret.find()
        except ConfigError as exc:
            raise SettingsError(str(exc)) from None

    @property
    def is_there(self) -> bool:
        """Whether there may be something in it: it is open, or the operator says where it is, or its file exists."""
        return self._store is not None or self._file is None or self._file.exists()

    async def close(self) -> None:
        if self._store:
            await self._store.close()
            self._store = None
