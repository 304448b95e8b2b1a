"""Vectors between Bedrock's number text and what callers ask for.

A vector arrives as the text of a JSON array, `[0.0123,-0.0456]`. For a caller who wants numbers it is checked and
printed as it came: a float that is only going to be printed again is never parsed. Only base64 and numpy parse,
with SIMD, into float32.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol, TypeVar

import msgspec
import numpy as np
import pybase64
import simdjson
from numpy.typing import NDArray

from embedrock.errors import InvalidUpstream

V = TypeVar("V", covariant=True)

#: What msgspec raises for a document that is broken, is no UTF-8, or is nested without end.
BROKEN_JSON: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

#: The text of a JSON array: on its own, or a part of Bedrock's answer.
Array = bytes | memoryview

_COMMA: Final = np.uint8(ord(","))  # of the type it is compared with: a Python int is converted each time
_NINE: Final = np.uint8(ord("9"))
_MINUS: Final = ord("-")
_TOGETHER: Final = 4  # vectors that are looked at together; the memory for more would be mapped anew each time
_EXPONENTS: Final = (b"e", b"E")
_NONZERO: Final = re.compile(rb"[\[,\s]-?[0.]*[1-9]")  # a digit before the exponent
_SMALL: Final = 1e-60
_LARGE: Final = 1e60
_UNIT_TOLERANCE: Final = 1e-6  # about what float32 can tell
_Byte = Annotated[int, msgspec.Meta(ge=-128, le=255)]  # signed and unsigned bytes, and bits
_parser: Any = simdjson.Parser()  # Any: its stubs give parse() a union of all JSON types


class Segment(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which part of an input a vector is of, when one input has several. Absent members are left out."""

    start_sec: float | None = None
    end_sec: float | None = None
    start_char: int | None = None
    end_char: int | None = None
    option: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """Which input a vector belongs to, where that is not simply its position."""

    index: int
    segment: Segment | None = None
    input_indices: tuple[int, ...] | None = None  # of the inputs that one vector stands for


class Render(Protocol[V]):
    """Turns the text of a JSON array into what a caller wants, after checking it.

    Raises InvalidUpstream unless `array` holds `dimensions` finite numbers that are not all zero.
    """

    def __call__(self, array: Array, dimensions: int) -> V: ...


def as_json(array: Array, dimensions: int) -> Array:
    """Return the vector as the JSON array it is, without parsing a number.

    Looks at bytes only: the commas are counted, and no letter, quote or bracket may occur that is not of a number.
    What fails this is parsed in full before it is refused.
    """
    if not _plain((bytes(array),), dimensions):
        _check(np.array(_parse_in_full(array), np.float64), dimensions)
    return array


def each(render: Render[V], arrays: Sequence[Array], dimensions: int) -> list[V]:
    """Return `render` of each of the vectors of an answer.

    Those to be printed again are looked at some together: numpy takes as long to be called as to look at one.
    """
    if len(arrays) == 1:
        return [render(arrays[0], dimensions)]
    if render is not as_json:
        return [render(array, dimensions) for array in arrays]
    for at in range(0, len(arrays), _TOGETHER):
        some = arrays[at : at + _TOGETHER]
        if not _plain([bytes(array) for array in some], dimensions):
            for array in some:
                as_json(array, dimensions)  # which of them it is, and whether it is bad at all
    return list(arrays)  # type: ignore[arg-type]  # as as_json returns them


def as_float32(array: Array, dimensions: int) -> NDArray[np.float32]:
    """Return the vector as little-endian float32, shape (dimensions,)."""
    doubles = _parse_fast(bytes(array))
    if doubles is None:
        doubles = np.array(_parse_in_full(array), np.float64)
    # The sum of squares bounds every number: between these two none is too large for float32, and one is not zero.
    if doubles.size == dimensions and _SMALL < float(doubles @ doubles) < _LARGE:
        return doubles.astype("<f4")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused
        numbers = doubles.astype("<f4")
    _check(numbers, dimensions)
    return numbers


def as_base64(array: Array, dimensions: int) -> bytes:
    """Return the vector as a JSON string: base64 of little-endian float32, 4 bytes a dimension.

    Source: OpenAI API reference, `encoding_format`.
    """
    return b'"%b"' % pybase64.b64encode(as_float32(array, dimensions).data)


def rendering(render: Render[V], *, integers: bool = False, scale: bool = False) -> Render[V]:
    """Return `render`, with what has to happen before it: a check for whole numbers, or bringing to length 1."""
    if not (integers or scale):
        return render

    def after(array: Array, dimensions: int) -> V:
        if integers:
            _check_integers(array)
        return render(_scaled(array, dimensions) if scale else array, dimensions)

    return after


def _scaled(array: Array, dimensions: int) -> Array:
    """Return the vector at length 1, as the JSON array it was where it has that length already."""
    numbers = np.array(_parse_in_full(array), np.float64)
    _check(numbers, dimensions)
    largest = float(np.abs(numbers).max())
    shares = numbers / largest  # no square of these overflows or is lost
    length = float(np.linalg.norm(shares))
    if abs(largest * length - 1.0) <= _UNIT_TOLERANCE:
        return array
    return msgspec.json.encode((shares / length).tolist())


def _check_integers(array: Array) -> None:
    try:
        msgspec.json.decode(array, type=list[_Byte])
    except BROKEN_JSON as exc:
        raise InvalidUpstream("Bedrock's answer holds a vector that is not of whole numbers.") from exc


def _plain(texts: Sequence[bytes], dimensions: int) -> bool:
    """Return whether each is an array of `dimensions` numbers, none with a positive exponent, not all zero."""
    whole = texts[0] if len(texts) == 1 else b"".join(texts)
    # numpy counts without branches: `bytes.count` mispredicts at every comma and takes four times as long.
    view = np.frombuffer(whole, np.uint8)
    commas, start = view == _COMMA, 0
    for text in texts:
        end = start + len(text)
        if np.count_nonzero(commas[start:end]) != dimensions - 1 or not _NONZERO.search(text):
            return False
        if text[:1] != b"[" or text[-1:] != b"]" or not text[-2:-1].isdigit():
            return False
        start = end
    if whole.find(b'"') >= 0:
        return False
    exponents = 0
    for letter in _EXPONENTS:
        at = whole.find(letter)
        while at >= 0:
            if whole[at + 1] != _MINUS:
                return False
            exponents += 1
            at = whole.find(letter, at + 1)
    # Beyond "9" there are the brackets and the exponents: no letter, no brace, no other bracket.
    return bool(np.count_nonzero(view > _NINE) == 2 * len(texts) + exponents)


def _parse_fast(array: bytes) -> NDArray[np.float64] | None:
    """Return the numbers of `array`, or None when simdjson cannot read it as one flat array."""
    if array.find(b"[", 1) >= 0:
        return None  # simdjson would flatten it
    try:
        return np.frombuffer(_parser.parse(array).as_buffer(of_type="d"), np.float64)
    except (ValueError, TypeError, AttributeError, RuntimeError):
        # The error goes no further: it holds what was parsed, and simdjson parses nothing more while that lives.
        return None


def _parse_in_full(array: Array) -> list[float]:
    try:
        return msgspec.json.decode(array, type=list[float])
    except BROKEN_JSON as exc:
        raise InvalidUpstream("Bedrock's answer holds a vector that is not a list of numbers.") from exc


def _check(numbers: NDArray[Any], dimensions: int) -> None:
    if numbers.size != dimensions:
        raise InvalidUpstream(f"Bedrock's answer holds a vector of {numbers.size} numbers, not {dimensions}.")
    if not np.isfinite(numbers).all() or not numbers.any():
        raise InvalidUpstream("Bedrock's answer holds a vector that is zero or not finite.")
