"""Reading the body of a post to `/_emulator`, member by member."""

from __future__ import annotations

from typing import Any, overload


class BadSettingError(Exception):
    """A posted body that makes no sense; the text begins with the member's name."""


class Settings:
    """The members of a posted body; `done` refuses the ones nobody asked for."""

    def __init__(self, body: object) -> None:
        if not isinstance(body, dict):
            raise BadSettingError("body: must be a JSON object")
        self.posted: dict[str, Any] = body
        self._read: set[str] = set()

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """Return a text out of a list."""
        value = self._get(name, default)
        if value not in allowed:
            raise BadSettingError(f"{name}: must be one of {', '.join(allowed)}")
        return str(value)

    def text(self, name: str) -> str:
        """Return a text that has to be there."""
        value = self.text_or_none(name)
        if value is None:
            raise BadSettingError(f"{name}: must be a text")
        return value

    def text_or_none(self, name: str) -> str | None:
        """Return a text that is not empty, None when absent or null."""
        value = self._get(name, None)
        if value is not None and (not isinstance(value, str) or not value):
            raise BadSettingError(f"{name}: must be a text")
        return value

    def text_list(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, empty when absent or null."""
        value = self._get(name, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise BadSettingError(f"{name}: must be a list of texts")
        return tuple(value)

    @overload
    def number(self, name: str, default: float, *, most: float = ...) -> float: ...
    @overload
    def number(self, name: str, default: None, *, most: float = ...) -> float | None: ...
    def number(self, name: str, default: float | None, *, most: float = 1e9) -> float | None:
        """Return a number from 0 to `most`; null stands for the default."""
        value = self._get(name, default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise BadSettingError(f"{name}: must be a number from 0 to {most:g}")
        return float(value)

    def whole(self, name: str, default: int | None) -> int | None:
        """Return a whole number, not negative; null stands for the default."""
        value = self._get(name, default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadSettingError(f"{name}: must be a whole number, 0 or more")
        return value

    def texts(self, name: str, keys: tuple[str, ...] | None = None) -> dict[str, str]:
        """Return an object of texts, with keys out of a list; null values and null itself mean anything."""
        value = self._get(name, None)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise BadSettingError(f"{name}: must be an object")
        for key, item in value.items():
            if keys is not None and key not in keys:
                raise BadSettingError(f"{name}.{key}: unknown; there are {', '.join(keys)}")
            if item is not None and not isinstance(item, str):
                raise BadSettingError(f"{name}.{key}: must be a text")
        return {key: item for key, item in value.items() if item is not None}

    def done(self) -> None:
        """Refuse members that no one read."""
        if unknown := [name for name in self.posted if name not in self._read]:
            raise BadSettingError(f"{unknown[0]}: unknown; there are {', '.join(sorted(self._read))}")

    def _get(self, name: str, default: object) -> object:
        self._read.add(name)
        return self.posted.get(name, default)
