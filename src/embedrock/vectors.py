"""Vectors between Bedrock's number text and what callers ask for.

A vector arrives as the text of a JSON array, `[0.0123,-0.0456]`. For a caller who wants numbers it is checked and
printed as it came: a float that is only going to be printed again is never parsed. Only base64 and numpy parse,
with SIMD, into float32.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np
import pybase64
import simdjson
from numpy.typing import NDArray

from embedrock.errors import InvalidUpstream

_NUMBER_BYTES: Final = b"0123456789.-eE \t\r\n"
_NONZERO: Final = re.compile(rb"[1-9]")
_parser: Any = simdjson.Parser()  # Any: its stubs give parse() a union of all JSON types


def check(array: bytes, dimensions: int) -> None:
    """Check that `array` is a JSON array of `dimensions` numbers, not all of them zero.

    Looks at bytes, not at numbers: without its number characters, only the brackets and the right count of commas
    may remain, and an exponent must be negative. What fails this is parsed in full before it is refused.

    Raises InvalidUpstream.
    """
    if (
        array.translate(None, _NUMBER_BYTES) == _skeleton(dimensions)
        and _NONZERO.search(array)
        and _shrinks_only(array, b"e")
        and _shrinks_only(array, b"E")
    ):
        return
    numbers = _parse_in_full(array)
    if len(numbers) != dimensions:
        raise InvalidUpstream(f"Bedrock's answer holds a vector of {len(numbers)} numbers, not {dimensions}.")
    if not all(map(math.isfinite, numbers)) or not any(numbers):
        raise InvalidUpstream("Bedrock's answer holds a vector that is zero or not finite.")


def _shrinks_only(array: bytes, letter: bytes) -> bool:
    exponents = array.count(letter)
    return not exponents or array.count(letter + b"-") == exponents


@cache
def _skeleton(dimensions: int) -> bytes:
    return b"[" + b"," * (dimensions - 1) + b"]"


def _parse_in_full(array: bytes) -> list[float]:
    try:
        return msgspec.json.decode(array, type=list[float])
    except msgspec.MsgspecError as exc:
        raise InvalidUpstream("Bedrock's answer holds a vector that is not a list of numbers.") from exc


def as_json(array: bytes) -> bytes:
    """Return a checked vector as the JSON value it already is."""
    return array


def as_base64(array: bytes) -> bytes:
    """Return a checked vector as a JSON string: base64 of little-endian float32, 4 bytes a dimension.

    Source: OpenAI API reference, `encoding_format`. Raises InvalidUpstream.
    """
    return b'"' + pybase64.b64encode(as_float32(array)) + b'"'  # type: ignore[arg-type]  # an array is a buffer


def as_float32(array: bytes) -> NDArray[np.float32]:
    """Return a checked vector as little-endian float32, shape (dimensions,).

    Raises InvalidUpstream when a number does not fit or all are zero in float32.
    """
    try:
        # No name is kept: simdjson refuses to parse again while anybody holds what it parsed before.
        doubles = np.frombuffer(_parser.parse(array).as_buffer(of_type="d"), np.float64)
    except ValueError:
        doubles = np.array(_parse_in_full(array), np.float64)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
        numbers = doubles.astype("<f4")
    if not np.isfinite(numbers).all() or not numbers.any():
        raise InvalidUpstream("Bedrock's answer holds a vector that is zero or not finite.")
    return numbers
