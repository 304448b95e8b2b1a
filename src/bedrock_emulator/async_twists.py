"""Outputs of asynchronous calls that are not what they should be, for the fault `async_output`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from .models.segment import Part
from .s3.store import Blob, Store

FAILURE, MESSAGE = "INTERNAL_SERVER_EXCEPTION", "The segment could not be processed."
_ALTERED = ("fewer", "more", "foreign", "partial", "failed")


def twist_part(kind: str | None, part: Part) -> Part:
    """Return a part with the wrong segments. Only Nova's segments can fail each for itself; Marengo's are left."""
    if kind not in _ALTERED or (kind in ("partial", "failed") and not part.kind):
        return part
    return replace(part, entries=_entries(kind, part.entries))


def status_of(kind: str | None) -> str:
    """Return how Nova's summary says that a part went."""
    return {"partial": "PARTIAL_SUCCESS", "failed": "FAILURE"}.get(kind or "", "SUCCESS")


def twist_blob(store: Store, kind: str | None, blob: Blob, size: int) -> Blob:
    """Return a file that is not whole, or too large: then there is nothing but zero bytes after what belongs there."""
    match kind:
        case "empty":
            blob.remove()
            return store.keep(b"")
        case "truncated":
            with blob.path.open("rb") as file:
                half = store.keep(file.read(blob.size // 2))
            blob.remove()
            return half
        case "huge":
            with blob.path.open("r+b") as file:
                file.truncate(size)  # a hole: it takes no room on most disks
            return replace(blob, size=size, checksums={})
    return blob


def _entries(kind: str, entries: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    rows = iter(entries)
    match kind:
        case "fewer":
            yield from islice(rows, 1, None)
        case "more":
            first = next(rows)
            yield from chain((first, first), rows)
        case "foreign":
            for row in rows:
                yield {**row, "embedding": -row["embedding"]}
        case _:
            for number, row in enumerate(rows):
                fails = kind == "failed" or number % 2 == 1
                yield _failed(row) if fails else row


def _failed(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name != "embedding"}
    return {**kept, "status": "FAILURE", "failureReason": FAILURE, "message": MESSAGE}
