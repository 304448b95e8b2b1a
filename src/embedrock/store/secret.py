"""The secret under which keys are kept: from the settings, or in a file beside the database.

Who has the database has no key without it, and who has it has no key without the database.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from embedrock.store.engine import ConfigError

_BYTES: Final = 32


class Secret:
    """`told`: the secret of the settings, if there is one; else it is in the file at `path`, if that may be."""

    def __init__(self, told: str, path: Path | None) -> None:
        self._path = path
        self._value: bytes | None = told.encode() if told else None

    def find(self) -> bytes | None:
        """Return the secret; None as long as none was made. Raises ConfigError."""
        if self._value is None and self._path is not None and self._path.exists():
            self._value = _read(self._path)
        return self._value

    def make(self) -> bytes:
        """Return the secret, a new one if there is none. Raises ConfigError."""
        found = self.find()
        if found is not None:
            return found
        if self._path is None:
            raise ConfigError("keys in PostgreSQL need EMBEDROCK_KEY_SECRET, the same on every replica")
        made = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        try:
            handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was faster: its secret holds
                self._path.hardlink_to(made)
        except OSError as exc:
            raise ConfigError(f"{self._path}: {exc.strerror}") from None
        finally:
            made.unlink(missing_ok=True)
        self._value = _read(self._path)
        return self._value


def _read(path: Path) -> bytes:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"{path}: others may read the secret of the keys; chmod 600 it")
        value = path.read_bytes().strip()
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from None
    if len(value) != 2 * _BYTES:
        raise ConfigError(f"{path}: this is no secret of Embedrock's")
    return value
