"""Vectors between Bedrock's number text and what callers ask for.

A vector arrives as the text of a JSON array, `[0.0123,-0.0456]`. For a caller who wants numbers it is checked and
printed as it came: a float that is only going to be printed again is never parsed. Only base64 and numpy parse,
with SIMD, into float32.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any, Final, Protocol, TypeVar

import msgspec
import numpy as np
import pybase64
import simdjson
from numpy.typing import NDArray

from embedrock.errors import InvalidUpstream

V = TypeVar("V", covariant=True)

_NUMBER_BYTES: Final = b"0123456789.-eE \t\r\n"
_MINUS: Final = ord("-")
_NONZERO: Final = re.compile(rb"[1-9]")
_parser: Any = simdjson.Parser()  # Any: its stubs give parse() a union of all JSON types


class Render(Protocol[V]):
    """Turns the text of a JSON array into what a caller wants, after checking it.

    Raises InvalidUpstream unless `array` holds `dimensions` finite numbers that are not all zero.
    """

    def __call__(self, array: bytes, dimensions: int) -> V: ...


def as_json(array: bytes, dimensions: int) -> bytes:
    """Return the vector as the JSON array it is, without parsing a number.

    Looks at bytes only: without its number characters, nothing but the brackets and the right count of commas may
    remain, and an exponent must be negative. What fails this is parsed in full before it is refused.
    """
    if (
        array.translate(None, _NUMBER_BYTES) != _skeleton(dimensions)
        or not _NONZERO.search(array)
        or not _shrinks_only(array, b"e")
        or not _shrinks_only(array, b"E")
    ):
        _check(np.array(_parse_in_full(array), np.float64), dimensions)
    return array


def as_float32(array: bytes, dimensions: int) -> NDArray[np.float32]:
    """Return the vector as little-endian float32, shape (dimensions,)."""
    try:
        # No name is kept: simdjson refuses to parse again while anybody holds what it parsed before.
        doubles = np.frombuffer(_parser.parse(array).as_buffer(of_type="d"), np.float64)
    except ValueError:
        doubles = np.array(_parse_in_full(array), np.float64)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused
        numbers = doubles.astype("<f4")
        # Infinity and NaN spread into the sum of squares; so do very large numbers, which are looked at again.
        usual = 0.0 < float(numbers @ numbers) < math.inf and numbers.size == dimensions
    if not usual:
        _check(numbers, dimensions)
    return numbers


def as_base64(array: bytes, dimensions: int) -> bytes:
    """Return the vector as a JSON string: base64 of little-endian float32, 4 bytes a dimension.

    Source: OpenAI API reference, `encoding_format`.
    """
    return b'"' + pybase64.b64encode(as_float32(array, dimensions)) + b'"'  # type: ignore[arg-type]  # it is a buffer


def _check(numbers: NDArray[Any], dimensions: int) -> None:
    if numbers.size != dimensions:
        raise InvalidUpstream(f"Bedrock's answer holds a vector of {numbers.size} numbers, not {dimensions}.")
    if not np.isfinite(numbers).all() or not numbers.any():
        raise InvalidUpstream("Bedrock's answer holds a vector that is zero or not finite.")


def _shrinks_only(array: bytes, letter: bytes) -> bool:
    # Exponents are few, and `find` of one byte is far faster than `count` of two.
    at = array.find(letter)
    while at >= 0:
        if array[at + 1] != _MINUS:
            return False
        at = array.find(letter, at + 1)
    return True


@cache
def _skeleton(dimensions: int) -> bytes:
    return b"[" + b"," * (dimensions - 1) + b"]"


def _parse_in_full(array: bytes) -> list[float]:
    try:
        return msgspec.json.decode(array, type=list[float])
    except msgspec.MsgspecError as exc:
        raise InvalidUpstream("Bedrock's answer holds a vector that is not a list of numbers.") from exc
