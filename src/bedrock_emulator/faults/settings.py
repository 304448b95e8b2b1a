"""Reading the body of a posted fault, member by member."""

from __future__ import annotations

from typing import Any, overload


class BadFaultError(Exception):
    """A posted fault that makes no sense; the text begins with the member's name."""


class Settings:
    """The members of a posted fault; `done` refuses the ones nobody asked for."""

    def __init__(self, body: object) -> None:
        if not isinstance(body, dict):
            raise BadFaultError("body: must be a JSON object")
        self.posted: dict[str, Any] = body
        self._read: set[str] = set()

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """Return a text out of a list."""
        value = self._get(name, default)
        if value not in allowed:
            raise BadFaultError(f"{name}: must be one of {', '.join(allowed)}")
        return str(value)

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
            raise BadFaultError(f"{name}: must be a number from 0 to {most:g}")
        return float(value)

    def whole(self, name: str, default: int | None) -> int | None:
        """Return a whole number, not negative; null stands for the default."""
        value = self._get(name, default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadFaultError(f"{name}: must be a whole number, 0 or more")
        return value

    def texts(self, name: str, keys: tuple[str, ...]) -> dict[str, str]:
        """Return an object of texts with keys out of a list; null values and null itself mean anything."""
        value = self._get(name, None) or {}
        if not isinstance(value, dict):
            raise BadFaultError(f"{name}: must be an object")
        for key, item in value.items():
            if key not in keys:
                raise BadFaultError(f"{name}.{key}: unknown; there are {', '.join(keys)}")
            if item is not None and not isinstance(item, str):
                raise BadFaultError(f"{name}.{key}: must be a text")
        return {key: item for key, item in value.items() if item is not None}

    def done(self) -> None:
        """Refuse members that no one read."""
        if unknown := [name for name in self.posted if name not in self._read]:
            raise BadFaultError(f"{unknown[0]}: unknown; this fault has {', '.join(sorted(self._read))}")

    def _get(self, name: str, default: object) -> object:
        self._read.add(name)
        return self.posted.get(name, default)
