"""Reading the body of a post to `/_emulator`, member by member."""

from __future__ import annotations

from typing import Any, overload


class BadSettingError(Exception):
    """A posted body that makes no sense; the text begins with the member's name."""


class Settings:
    """The members of a posted body; `done` refuses the ones nobody asked for.

    `within`: the name of the member that the body itself is, when it is one.
    """

    def __init__(self, body: object, *, within: str = "") -> None:
        if not isinstance(body, dict):
            raise BadSettingError(f"{within or 'body'}: must be a JSON object")
        self.posted: dict[str, Any] = body
        self._prefix = f"{within}." if within else ""
        self._read: set[str] = set()

    def refuse(self, name: str, rule: str) -> BadSettingError:
        """Return the error for a member that breaks a rule."""
        return BadSettingError(f"{self._prefix}{name}: {rule}")

    def has(self, name: str) -> bool:
        """Tell whether a member is there and not null."""
        return self._get(name, None) is not None

    def nested(self, name: str) -> Settings | None:
        """Return the members of an object, None when absent or null."""
        value = self._get(name, None)
        return None if value is None else Settings(value, within=f"{self._prefix}{name}")

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """Return a text out of a list."""
        value = self._get(name, default)
        if value not in allowed:
            raise self.refuse(name, f"must be one of {', '.join(allowed)}")
        return str(value)

    def text(self, name: str) -> str:
        """Return a text that has to be there."""
        value = self.text_or_none(name)
        if value is None:
            raise self.refuse(name, "must be a text")
        return value

    def text_or_none(self, name: str) -> str | None:
        """Return a text that is not empty, None when absent or null."""
        value = self._get(name, None)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.refuse(name, "must be a text")
        return value

    def text_list(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, empty when absent or null."""
        value = self._get(name, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.refuse(name, "must be a list of texts")
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
            raise self.refuse(name, f"must be a number from 0 to {most:g}")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return true or false; false when absent or null."""
        value = self._get(name, None)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
        return bool(value)

    def whole(self, name: str, default: int | None) -> int | None:
        """Return a whole number, not negative; null stands for the default."""
        value = self._get(name, default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.refuse(name, "must be a whole number, 0 or more")
        return value

    def texts(self, name: str, keys: tuple[str, ...] | None = None) -> dict[str, str]:
        """Return an object of texts, with keys out of a list; null values and null itself mean anything."""
        value = self._get(name, None)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.refuse(name, "must be an object")
        for key, item in value.items():
            if keys is not None and key not in keys:
                raise self.refuse(f"{name}.{key}", f"unknown; there are {', '.join(keys)}")
            if item is not None and not isinstance(item, str):
                raise self.refuse(f"{name}.{key}", "must be a text")
        return {key: item for key, item in value.items() if item is not None}

    def done(self) -> None:
        """Refuse members that no one read."""
        if unknown := [name for name in self.posted if name not in self._read]:
            raise self.refuse(unknown[0], f"unknown; there are {', '.join(sorted(self._read))}")

    def _get(self, name: str, default: object) -> object:
        self._read.add(name)
        return self.posted.get(name, default)
