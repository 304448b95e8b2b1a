"""Cutting files into segments, and the sums of features of each."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise

from ..vectors import Ints, Space, of_name
from .files import File


def evenly(start: float, end: float, length: float) -> list[tuple[float, float]]:
    """Return pieces of a length; the last one is what is left, and is not shorter than a millisecond."""
    pieces = []
    number = 0
    while (at := round(start + number * length, 3)) < end - 0.001:
        pieces.append((at, round(min(end, at + length), 3)))
        number += 1
    return pieces


def alike(start: float, end: float, length: float) -> list[tuple[float, float]]:
    """Return pieces of about a length, all alike."""
    count = max(1, round((end - start) / length))
    edges = [round(start + (end - start) * number / count, 3) for number in range(count + 1)]
    return list(pairwise(edges))


def by_shots(file: File, start: float, end: float, shortest: float) -> list[tuple[float, float]]:
    """Return pieces as if they were shots: from `shortest` to that and six seconds more, decided by the bytes."""
    return list(_shots(file, start, end, shortest))


def _shots(file: File, start: float, end: float, shortest: float) -> Iterator[tuple[float, float]]:
    number, at = 0, start
    while at < end - 0.001:
        draw = sha256(f"{file.sha256} {number}".encode()).digest()[0]
        until = round(at + shortest + 6 * draw / 256, 3)
        if end - until < shortest:  # what would be left is too short for a shot of its own
            until = end
        yield at, round(until, 3)
        number, at = number + 1, until


def of_segment(space: Space, kind: str, file: File, start: float, end: float) -> Ints:
    """Return the sum of features of a piece: half is the whole file's, half its own."""
    whole = of_name(space, kind, file.sha256)
    return whole + of_name(space, kind, f"{file.sha256} {start:g} {end:g}")
