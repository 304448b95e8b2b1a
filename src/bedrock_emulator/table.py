"""What is posted to `/_emulator`: entries with a number, and the calls they are for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

# Every name by which an entry may mean a call: of its `op`, `model`, `region` and `account`, the access key's id.
Names: TypeAlias = Mapping[str, tuple[str | None, ...]]


class _Entry(Protocol):
    @property
    def id(self) -> int: ...

    def as_json(self) -> dict[str, Any]: ...


EntryT = TypeVar("EntryT", bound=_Entry)


class Table(Generic[EntryT]):
    """Entries in the order they were posted. The next one has the number `next_id`; none is given twice."""

    def __init__(self) -> None:
        self.next_id = 1
        self._entries: dict[int, EntryT] = {}

    def keep(self, entry: EntryT) -> dict[str, Any]:
        """Add an entry and return it for the wire."""
        self._entries[entry.id] = entry
        self.next_id += 1
        return entry.as_json()

    def __len__(self) -> int:
        return len(self._entries)

    def list(self) -> list[dict[str, Any]]:
        """Return all entries."""
        return [entry.as_json() for entry in self._entries.values()]

    def remove(self, entry_id: int | None = None) -> bool:
        """Remove one entry, or all; return whether there was one."""
        if entry_id is not None:
            return self._entries.pop(entry_id, None) is not None
        self._entries.clear()
        return True


def matches(match: Mapping[str, str], names: Names) -> bool:
    """Tell whether a call is meant: each value of `match` is one of its names."""
    return all(value in names[key] for key, value in match.items())
