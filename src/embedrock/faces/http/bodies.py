"""How many bytes of request bodies are held at once: memory is bounded by the gateway, not by its callers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

from embedrock.errors import Overloaded

_SMALL: Final = 65_536  # not worth counting
_MOST: Final = 128_000_000  # a body may take some times its size while it is worked on


class Bodies:
    """The bodies of requests under way."""

    def __init__(self) -> None:
        self.held = 0

    def room(self, headers: Mapping[bytes, bytes], largest: int) -> Room:
        """Return the room for the body of a request; a context, in which the body counts."""
        length = int(headers.get(b"content-length", b"0"))
        return Room(self, length if _SMALL < length <= largest else 0)  # a larger one is refused by who reads it


class Room:
    """One body's share. What its head announces counts from the start; a body that announces nothing, as it comes."""

    __slots__ = ("_announced", "_bodies", "_held")

    def __init__(self, bodies: Bodies, announced: int) -> None:
        self._bodies = bodies
        self._announced = announced
        self._held = 0

    def __enter__(self) -> Self:
        """Raise Overloaded, before anything is read, when there is no room. One body alone always has."""
        self.grow(self._announced)
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.held -= self._held
        self._held = 0

    def grow(self, size: int) -> None:
        """Count at least `size` bytes. Raises Overloaded."""
        more = size - self._held
        if more <= 0 or (size <= _SMALL and not self._announced):
            return
        if self._bodies.held > self._held and self._bodies.held + more > _MOST:
            raise Overloaded("The gateway is busy with other large requests.")
        self._bodies.held += more
        self._held = size
