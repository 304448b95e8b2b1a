"""What Cohere's models answer with: vectors in five output types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
from numpy.typing import NDArray

TYPES: tuple[str, ...] = ("float", "int8", "uint8", "binary", "ubinary")
_BY_TYPE, _FLOATS = "embeddings_by_type", "embeddings_floats"


def answer(rows: NDArray[Any], types: Sequence[str] | None, echo: dict[str, Any]) -> bytes:
    """Return the answer's JSON, with `rows`, (inputs, dimensions), by type, or as a plain list when `types` is None.

    `echo` are members that repeat the request. Members come in the order of the alphabet, as in live recordings.
    """
    if types is None:
        embeddings = _numbers(_convert(rows, "float"))
    else:
        by_type = [f'"{name}":'.encode() + _numbers(_convert(rows, name)) for name in TYPES if name in types]
        embeddings = b"{" + b",".join(by_type) + b"}"
    others = {"id": str(uuid4()), "response_type": _FLOATS if types is None else _BY_TYPE} | echo
    return b'{"embeddings":%b,%b' % (embeddings, orjson.dumps(dict(sorted(others.items())))[1:])


def vectors(body: dict[str, Any]) -> list[list[float]]:
    """Return the vectors in an answer: the floats, or the first of the other types when no floats were asked for."""
    embeddings = body["embeddings"]
    rows: list[list[float]] = (
        embeddings if isinstance(embeddings, list) else next(embeddings[name] for name in TYPES if name in embeddings)
    )
    return rows


def _convert(rows: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the vectors as one of the output types; the packed ones have 8 dimensions a number."""
    match name:
        case "int8":  # the one recording with both types, of v3, fits a factor of about 190
            return np.clip(np.rint(rows.astype(np.float64) * 192), -128, 127).astype(np.int8)
        case "uint8":
            return (_convert(rows, "int8").astype(np.int16) + 128).astype(np.uint8)
        case "ubinary":
            return np.packbits(rows > 0, axis=1)
        case "binary":  # uncertain: Cohere documents signed bytes, not how they follow from the unsigned ones
            return (np.packbits(rows > 0, axis=1).astype(np.int16) - 128).astype(np.int8)
    return rows.astype(np.float32)  # half-precision values, printed as the shortest text of a float32


def _numbers(rows: NDArray[Any]) -> bytes:
    return orjson.dumps(np.ascontiguousarray(rows), option=orjson.OPT_SERIALIZE_NUMPY)
