"""What an asynchronous call makes of its input: segments, and the files they stand in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Part:
    """Segments of one kind, and the file they go to. `kind`: Nova's type of embedding, nothing for Marengo.

    `entries`: one a segment, as they are printed; made as they are asked for.
    """

    kind: str
    file: str
    entries: Iterable[dict[str, Any]]


def dumps(value: Any) -> bytes:
    """Return JSON, vectors included."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def json_lines(entries: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Yield a line an entry."""
    for entry in entries:
        yield dumps(entry) + b"\n"
