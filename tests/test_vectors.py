"""Number text: what passes the check, and that it becomes float32 bit for bit."""

from __future__ import annotations

import base64
import json
import math
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from embedrock import vectors
from embedrock.errors import InvalidUpstream, Retry

FLOAT32_MAX = float(np.finfo(np.float32).max)
OVER_FLOAT32_MAX = 3.4028236e38  # rounds to infinity
SMALLEST_SUBNORMAL = 1.401298464324817e-45

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def spellings(number: float) -> list[str]:
    """Return ways to print `number` that JSON allows and that read back as the same double."""
    shown = [repr(number), f"{number:.17e}", f"{number:.16E}", f"{number:.20g}"]
    if number == int(number) and abs(number) < 2**53:
        shown += [str(int(number)), f"{int(number)}.0", f"{int(number)}e0", f"{int(number)}E+00"]
    return [text for text in shown if struct.pack("<d", float(text)) == struct.pack("<d", number)]


@st.composite
def arrays(draw: st.DrawFn) -> tuple[bytes, list[float]]:
    """Draw number text and the numbers it holds: not all of them zero."""
    numbers = draw(st.lists(st.one_of(FINITE, st.integers(-(2**24), 2**24).map(float)), min_size=1, max_size=40))
    assume(any(numbers))
    spaces = st.sampled_from(["", "", "", " ", "\n", "\r\n\t "])
    texts = [draw(spaces) + draw(st.sampled_from(spellings(number))) + draw(spaces) for number in numbers]
    return f"[{','.join(texts)}]".encode(), numbers


def packed(numbers: list[float]) -> bytes:
    """Return the numbers as little-endian float32, by another way than the code under test."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def accepts(array: bytes, dimensions: int) -> bool:
    try:
        vectors.check(array, dimensions)
    except InvalidUpstream:
        return False
    return True


# ---------------------------------------------------------------- float32


@settings(deadline=None)
@given(arrays())
@example((b"[1e-45,-0.0]", [1e-45, -0.0]))
@example((b"[1.401298464324817E-45]", [SMALLEST_SUBNORMAL]))
@example((b"[-0.0,-0,0,1]", [-0.0, 0.0, 0.0, 1.0]))
@example((b"[3.4028234663852886e+38,-3.4028234663852886E38]", [FLOAT32_MAX, -FLOAT32_MAX]))
@example((b"[1,-1,16777217,123456789012]", [1.0, -1.0, 16777217.0, 123456789012.0]))
@example((b"[1e2,1E-2,2.5e+1]", [100.0, 0.01, 25.0]))
@example((b"[0.1,0.30000000000000004,1e-400]", [0.1, 0.30000000000000004, 0.0]))
def test_base64_is_the_numbers_as_float32_bit_for_bit(drawn: tuple[bytes, list[float]]) -> None:
    array, numbers = drawn
    if b"-0," in array:
        numbers = [-0.0 if text.strip() == "-0" else number for text, number in _texts(array, numbers)]
    string = json.loads(vectors.as_base64(array))

    assert _signless(base64.b64decode(string, validate=True), array) == _signless(packed(numbers), array)
    assert len(string) == 4 * math.ceil(4 * len(numbers) / 3)


def _texts(array: bytes, numbers: list[float]) -> list[tuple[str, float]]:
    return list(zip(array.decode()[1:-1].split(","), numbers, strict=True))


def _signless(buffer: bytes, array: bytes) -> bytes:
    """Return `buffer` with the sign of zero dropped where the text says `-0`: as an integer it has none."""
    if not any(text.strip() == "-0" for text in array.decode()[1:-1].split(",")):
        return buffer
    return (np.frombuffer(buffer, "<f4") + np.float32(0)).tobytes()


@given(st.lists(FINITE, min_size=1, max_size=40).filter(any))
def test_float32_is_what_numpy_makes_of_the_numbers(numbers: list[float]) -> None:
    found = vectors.as_float32(json.dumps(numbers).encode())

    assert found.dtype == np.dtype("<f4")
    assert found.shape == (len(numbers),)
    assert found.tobytes() == np.array(numbers, "<f4").tobytes()


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40).filter(lambda numbers: any(map(np.float32, numbers))))
def test_doubles_are_rounded_once(numbers: list[float]) -> None:
    """Titan prints doubles; each becomes the nearest float32."""
    array = json.dumps(numbers).encode()

    assert vectors.as_float32(array).tobytes() == packed(numbers)


def test_vector_stays_what_it_was_when_another_is_parsed() -> None:
    """The parser reuses its buffer."""
    first = vectors.as_float32(b"[1,2,3]")
    vectors.as_float32(b"[4,5,6]")

    assert first.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "array",
    [
        b"[1e39]",
        b"[1,-1e39]",
        f"[{OVER_FLOAT32_MAX}]".encode(),
        b"[1e400]",
        b"[1e-60,0]",
        b"[0,0]",
        b"[-0.0]",
        b"[]",
        b"[NaN]",
        b"[1,Infinity]",
        b"[null]",
        b'["1"]',
        b"[1,[2]]",
        b"[1,true]",
        b"[1,,2]",
        b"[1.2.3]",
        b"[01]",
        b"[--1]",
        b"[1 2]",
        b"[1",
        b"1",
        b"{}",
        b"",
        b"\xff",
    ],
)
def test_what_is_no_float32_vector_is_refused(array: bytes) -> None:
    with pytest.raises(InvalidUpstream):
        vectors.as_float32(array)
    with pytest.raises(InvalidUpstream):
        vectors.as_base64(array)


def test_parser_goes_on_after_what_it_refused() -> None:
    with pytest.raises(InvalidUpstream):
        vectors.as_float32(b"[1,[2]]")

    assert vectors.as_float32(b"[1,2]").tolist() == [1.0, 2.0]


# ---------------------------------------------------------------- the text itself


@given(arrays())
def test_text_is_printed_as_it_came(drawn: tuple[bytes, list[float]]) -> None:
    array, numbers = drawn
    vectors.check(array, len(numbers))

    assert vectors.as_json(array) == array


@settings(deadline=None)
@given(arrays())
@example((b"[1e-45,1E-2]", [1e-45, 0.01]))
@example((b"[1e5,2E+3,0e0]", [1e5, 2e3, 0.0]))
@example((b" [ 1 , 2 ] ", [1.0, 2.0]))
def test_check_accepts_every_spelling_of_numbers(drawn: tuple[bytes, list[float]]) -> None:
    array, numbers = drawn

    vectors.check(array, len(numbers))


@settings(deadline=None)
@given(arrays(), st.integers(1, 45))
def test_check_accepts_no_other_number_of_numbers(drawn: tuple[bytes, list[float]], dimensions: int) -> None:
    array, numbers = drawn

    assert accepts(array, dimensions) is (dimensions == len(numbers))


NO_NUMBER = [
    "NaN", "-NaN", "nan", "Infinity", "-Infinity", "inf", "null", "true", "false", '"1"', '"0.5"', '""', "[1]", "[]",
    "{}", "1e400", "-1e400", "1E999", "1e+400", "+1", "0x10", "1_000", "1f", "1;2", "１", "1/2",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_NUMBER)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_check_refuses_what_is_no_finite_number(text: str, place: int) -> None:
    items = ["0.25", "-1e-05", "3"]
    items[place] = text

    with pytest.raises(InvalidUpstream):
        vectors.check(f"[{','.join(items)}]".encode(), 3)


@pytest.mark.parametrize("array", ["[0,0]", "[0.0,-0.0]", "[0e0,0E0]", "[-0,0.000]", "[ 0 , 0 ]", "[0.0e-1,0.0E-45]"])
def test_check_refuses_a_vector_of_zeros(array: str) -> None:
    with pytest.raises(InvalidUpstream):
        vectors.check(array.encode(), 2)


def test_check_accepts_zeros_beside_a_number() -> None:
    vectors.check(b"[0,0.0,-1e-30]", 3)


@pytest.mark.parametrize(
    "array",
    [
        b"",
        b"[",
        b"[1,2",
        b"1,2]",
        b"1,2",
        b"(1,2)",
        b"[[1,2]]",
        b"[[1],[2]]",
        b"[1,2]]",
        b"[1,2],",
        b'{"float":[1,2]}',
        b"null",
        b'"[1,2]"',
        b"[1,2]\x00",
        b"\xef\xbb\xbf[1,2]",
        b"[1,\xff]",
        b"[1,2e]+",
    ],
)
def test_check_refuses_what_is_no_array_of_numbers(array: bytes) -> None:
    with pytest.raises(InvalidUpstream):
        vectors.check(array, 2)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["0.5", "-1e-05", "3", "0", "1e5", "2E+1", "-0.0", *NO_NUMBER]), min_size=1, max_size=6),
    st.integers(1, 6),
    st.sampled_from(["[]", "[[]]", "[", "]", "{}", "  []  "]),
)
def test_check_agrees_with_a_full_parser(items: list[str], dimensions: int, brackets: str) -> None:
    """Whatever is put in the place of numbers, in whatever brackets, and however many there are."""
    opening, closing = brackets[: len(brackets) // 2 or brackets.count("[")], brackets[len(brackets) // 2 or 1 :]
    array = f"{opening}{','.join(items)}{closing}".encode()
    try:
        numbers = msgspec.json.decode(array, type=list[float])
    except msgspec.MsgspecError:
        numbers = []

    assert accepts(array, dimensions) is (len(numbers) == dimensions and any(numbers))


def test_refused_vector_may_be_asked_for_once_more() -> None:
    with pytest.raises(InvalidUpstream) as caught:
        vectors.check(b"[1]", 2)

    assert (caught.value.status, caught.value.retry) == (502, Retry.ONCE)
