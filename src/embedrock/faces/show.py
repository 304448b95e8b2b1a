"""Tables for people, and files for numpy."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedrock.catalog import ModelSpec
from embedrock.faces.estimate import Estimate
from embedrock.vectors import Array

_LABEL_CHARS = 44


def similarity_table(labels: Sequence[str], rows: Sequence[NDArray[np.float32]]) -> str:
    """Return the cosine similarity of each pair of vectors as a lower triangle; 1.00 means the same direction."""
    matrix = np.stack(rows)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    cosines = matrix @ matrix.T
    short = [_shorten(label) for label in labels]
    width = max(map(len, short))
    lines = [" " * (width + 5) + "".join(f"{i:>7}" for i in range(1, len(labels) + 1))]
    for i, label in enumerate(short):
        lines.append(
            f"{i + 1:>3}  {label:<{width}}"
            + "".join(f"{cosines[i, j]:>7.2f}".replace("-0.00", " 0.00") for j in range(i + 1))
        )
    return "\n".join(lines)


def models_table(specs: Iterable[ModelSpec]) -> str:
    """Return one line a model: id, dimensions (the default with a star), texts a call, limits, price."""
    rows = [("model", "dimensions", "texts a call", "tokens a text", "characters a text", "$ per million tokens")]
    for spec in specs:
        sizes = [f"{size}*" if size == spec.default_dimensions else str(size) for size in spec.dimensions]
        price = spec.prices.text_per_million_tokens
        rows.append(
            (
                spec.id,
                ", ".join(sizes),
                str(spec.max_inputs_per_call),
                f"{spec.max_input_tokens:,}" if spec.max_input_tokens else "",
                f"{spec.max_input_chars:,}" if spec.max_input_chars else "",
                str(price) if price is not None else "",
            )
        )
    return aligned(rows)


def estimates_table(rows: Iterable[Estimate]) -> str:
    """Return one line a model: calls, tokens, dollars, time at the quota."""
    table = [("model", "calls", "tokens", "$", "time at the quota", "quota", "too long")]
    for row in rows:
        time = "unknown" if row.minutes is None else _duration(row.minutes)
        late = str(row.too_long) if row.too_long else ""
        table.append((row.model, f"{row.calls:,}", f"{row.tokens:,}", f"{row.usd:.6f}", time, row.quota, late))
    return aligned(table)


def _duration(minutes: float) -> str:
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines, their cells one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def write_npy(rows: Sequence[NDArray[np.float32]], out: BinaryIO) -> None:
    """Write the vectors as one array of shape (texts, dimensions), float32, in numpy's own format."""
    file = io.BytesIO()  # numpy would write past the buffer of a pipe
    np.save(file, np.stack(rows))
    out.write(file.getvalue())


def json_text(array: Array) -> str:
    """Return a vector's JSON array as text."""
    return bytes(array).decode()


def _shorten(label: str) -> str:
    flat = " ".join(label.split())
    return flat if len(flat) <= _LABEL_CHARS else flat[: _LABEL_CHARS - 1] + "…"
