"""Number text: what is taken for a vector, that it is printed as it came, and becomes float32 bit for bit."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from embedrock import vectors
from embedrock.errors import InvalidUpstream, Retry
from embedrock.vectors import Array, Render

FLOAT32_MAX = float(np.finfo(np.float32).max)
OVER_FLOAT32_MAX = 3.4028236e38  # rounds to infinity
SMALLEST_SUBNORMAL = 1.401298464324817e-45

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def spellings(number: float) -> list[str]:
    """Return ways to print `number` that JSON allows and that read back as the same double.

    Not `-0`: parsers that know integers differ about its sign.
    """
    shown = [repr(number), f"{number:.17e}", f"{number:.16E}", f"{number:.20g}"]
    if number == int(number) and abs(number) < 2**53:
        shown += [str(int(number)), f"{int(number)}.0", f"{int(number)}e0", f"{int(number)}E+00"]
    return [text for text in shown if struct.pack("<d", float(text)) == struct.pack("<d", number) and text != "-0"]


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


RENDERS = [vectors.as_json, vectors.as_base64, vectors.as_float32]


def accepts(render: Render[object], array: bytes, dimensions: int) -> bool:
    """Return whether `render` takes `array`: on its own, as a part of an answer, and among others at any place."""
    part = memoryview(bytearray(b"[7," + array + b",7]"))[3:-3]
    taken = _takes(render, array, dimensions)
    assert _takes(render, part, dimensions) is taken
    good = b"[%b]" % b",".join([b"-0.5"] * dimensions) if dimensions else b"[]"
    if _takes(render, good, dimensions):
        for place in range(6):
            among: list[Array] = [good] * 6
            among[place] = part
            assert _takes(lambda several, size: vectors.each(render, several, size), among, dimensions) is taken
    return taken


def _takes(render: Callable[[Any, int], object], array: object, dimensions: int) -> bool:
    try:
        render(array, dimensions)
    except InvalidUpstream:
        return False
    return True


# ---------------------------------------------------------------- float32


@settings(deadline=None)
@given(arrays())
@example((b"[1e-45,-0.0]", [1e-45, -0.0]))
@example((b"[1.401298464324817E-45]", [SMALLEST_SUBNORMAL]))
@example((b"[-0.0,-0e0,0,1]", [-0.0, -0.0, 0.0, 1.0]))
@example((b"[3.4028234663852886e+38,-3.4028234663852886E38]", [FLOAT32_MAX, -FLOAT32_MAX]))
@example((b"[1,-1,16777217,123456789012]", [1.0, -1.0, 16777217.0, 123456789012.0]))
@example((b"[1e2,1E-2,2.5e+1]", [100.0, 0.01, 25.0]))
@example((b"[0.1,0.30000000000000004,1e-400]", [0.1, 0.30000000000000004, 0.0]))
def test_base64_is_the_numbers_as_float32_bit_for_bit(drawn: tuple[bytes, list[float]]) -> None:
    array, numbers = drawn
    string = json.loads(vectors.as_base64(array, len(numbers)))

    assert base64.b64decode(string, validate=True) == packed(numbers)
    assert len(string) == 4 * math.ceil(4 * len(numbers) / 3)


@given(st.lists(FINITE, min_size=1, max_size=40).filter(any))
def test_float32_is_what_numpy_makes_of_the_numbers(numbers: list[float]) -> None:
    found = vectors.as_float32(json.dumps(numbers).encode(), len(numbers))

    assert found.dtype == np.dtype("<f4")
    assert found.shape == (len(numbers),)
    assert found.tobytes() == np.array(numbers, "<f4").tobytes()


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40).filter(lambda numbers: any(map(np.float32, numbers))))
def test_doubles_are_rounded_once(numbers: list[float]) -> None:
    """Titan prints doubles; each becomes the nearest float32."""
    array = json.dumps(numbers).encode()

    assert vectors.as_float32(array, len(numbers)).tobytes() == packed(numbers)


def test_vector_stays_what_it_was_when_another_is_parsed() -> None:
    """The parser reuses its buffer."""
    first = vectors.as_float32(b"[1,2,3]", 3)
    vectors.as_float32(b"[4,5,6]", 3)

    assert first.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "array",
    [
        "[1e39,1]",
        "[1,-1e39]",
        f"[{OVER_FLOAT32_MAX},1]",
        "[1e-60,0]",
        "[1e-60,-1e-300]",
        f"[1{'0' * 60},1]",
    ],
)
def test_vector_that_does_not_fit_float32_is_refused(array: str) -> None:
    """Too large a number becomes infinite, and the smallest become zero."""
    assert not accepts(vectors.as_float32, array.encode(), 2)
    assert not accepts(vectors.as_base64, array.encode(), 2)


@pytest.mark.parametrize(
    "array",
    [f"[{FLOAT32_MAX},{FLOAT32_MAX}]", f"[-{FLOAT32_MAX},0]", f"[{SMALLEST_SUBNORMAL},0]", "[1e-30,1e30]"],
)
def test_vector_whose_squares_do_not_fit_float32_is_taken(array: str) -> None:
    assert vectors.as_float32(array.encode(), 2).tolist() == np.array(json.loads(array), np.float32).tolist()


@pytest.mark.parametrize("array", [b"[1,,2]", b"[1,[2]]", b"[1,null]", b"{}", b"null", b"[1", b"\xff"])
def test_parser_goes_on_after_what_it_refused(array: bytes) -> None:
    with pytest.raises(InvalidUpstream):
        vectors.as_float32(array, 2)

    assert vectors.as_float32(b"[1,2]", 2).tolist() == [1.0, 2.0]


# ---------------------------------------------------------------- the text itself


@settings(deadline=None)
@given(arrays())
@example((b"[1e-45,1E-2]", [1e-45, 0.01]))
@example((b"[1e5,2E+3,0e0]", [1e5, 2e3, 0.0]))
@example((b" [ 1 , 2 ] ", [1.0, 2.0]))
def test_every_spelling_of_numbers_is_printed_as_it_came(drawn: tuple[bytes, list[float]]) -> None:
    array, numbers = drawn

    assert vectors.as_json(array, len(numbers)) == array


# ---------------------------------------------------------------- what is refused, however it is to be printed


@settings(deadline=None)
@pytest.mark.parametrize("render", RENDERS)
@given(drawn=arrays(), dimensions=st.integers(1, 45))
def test_vector_of_another_length_is_refused(
    render: Render[object], drawn: tuple[bytes, list[float]], dimensions: int
) -> None:
    array, numbers = drawn

    assert accepts(render, array, dimensions) is (dimensions == len(numbers))


#: What JSON has besides numbers, what the loose JSON of other languages adds, and numbers no double can hold.
NO_NUMBER = [
    "NaN", "-NaN", "nan", "Infinity", "-Infinity", "null", "true", "false", '"1"', '"0.5"', '""', "[1]", "[]",
    "{}", '{"a":1}', "1e400", "-1e400", "1E999", "1e+400",
]  # fmt: skip
#: What no printer of numbers prints. Only those who parse look so closely.
GARBLED = [
    "+1",
    "0x10",
    "1_000",
    "1f",
    "1;2",
    "１",
    "1/2",
    "1e",
    "1e-",
    "inf",
    ".5",
    "1.",
    "01",
    "--1",
    "1-2",
    "1 2",
    "",
]


@pytest.mark.parametrize("render", RENDERS)
@pytest.mark.parametrize("text", NO_NUMBER)
def test_what_is_no_finite_number_is_refused(render: Render[object], text: str) -> None:
    assert not accepts(render, f"[{text},-1e-05,3]".encode(), 3)
    assert not accepts(render, f"[0.25,-1e-05,{text}]".encode(), 3)


@pytest.mark.parametrize("render", [vectors.as_base64, vectors.as_float32])
@pytest.mark.parametrize("text", GARBLED)
def test_what_is_parsed_is_never_garbled(render: Render[object], text: str) -> None:
    assert not accepts(render, f"[0.25,{text},3]".encode(), 3)


@pytest.mark.parametrize("render", RENDERS)
@pytest.mark.parametrize("array", ["[0,0]", "[0.0,-0.0]", "[0e0,0E0]", "[-0,0.000]", "[ 0 , 0 ]", "[0.0e-1,0.0E-45]"])
def test_vector_of_zeros_is_refused(render: Render[object], array: str) -> None:
    assert not accepts(render, array.encode(), 2)


@pytest.mark.parametrize("render", RENDERS)
def test_zeros_beside_a_number_are_taken(render: Render[object]) -> None:
    render(b"[0,0.0,-1e-30]", 3)


@pytest.mark.parametrize("render", RENDERS)
@pytest.mark.parametrize(
    "array",
    [
        b"",
        b"[",
        b"[]",
        b"[1,2",
        b"1,2]",
        b"1,2",
        b"1",
        b"(1,2)",
        b"[[1,2]]",
        b"[[1],[2]]",
        b"[1,[2]]",
        b"[1,2],",
        b"[1,2]e",
        b'{"float":[1,2]}',
        b"{}",
        b"null",
        b"true",
        b'"[1,2]"',
        b"[1,2]\x00",
        b"[1,2e]+",
    ],
)
def test_what_is_no_array_of_numbers_is_refused(render: Render[object], array: bytes) -> None:
    assert not accepts(render, array, 2)


@settings(deadline=None)
@pytest.mark.parametrize("render", RENDERS)
@given(
    items=st.lists(
        st.sampled_from(["0.5", "-1e-05", "3", "0", "1e5", "2E+1", "-0.0", *NO_NUMBER]), min_size=1, max_size=5
    ),
    dimensions=st.integers(1, 5),
    around=st.sampled_from([("[", "]"), ("[", "]"), ("[[", "]]"), ("[", ""), ("", "]"), ("{", "}"), (" [ ", " ] ")]),
)
def test_render_agrees_with_a_full_parser(
    render: Render[object], items: list[str], dimensions: int, around: tuple[str, str]
) -> None:
    """Whatever stands in the place of numbers, in whatever brackets, and however many there are."""
    array = f"{around[0]}{','.join(items)}{around[1]}".encode()
    try:
        numbers = msgspec.json.decode(array, type=list[float])
    except msgspec.MsgspecError:
        numbers = []

    assert accepts(render, array, dimensions) is (len(numbers) == dimensions and any(numbers))


@pytest.mark.parametrize("render", RENDERS)
def test_refused_vector_may_be_asked_for_again(render: Render[object]) -> None:
    with pytest.raises(InvalidUpstream) as caught:
        render(b"[1]", 2)

    assert (caught.value.status, caught.value.retry) == (502, Retry.TRANSIENT)


# ---------------------------------------------------------------- what happens before: length 1


def scaled(array: bytes, dimensions: int) -> list[float]:
    """Return the vector as it is printed at length 1."""
    found: list[float] = json.loads(bytes(vectors.rendering(vectors.as_json, scale=True)(array, dimensions)))
    return found


def test_nothing_happens_before_unless_asked_for() -> None:
    assert vectors.rendering(vectors.as_json) is vectors.as_json


@settings(deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=40).filter(any))
@example([3.0, 4.0])
@example([1.0002, 0.0])
@example([1.7e308] * 4)
@example([-1.7e308, 1.0])
@example([5e-324, 5e-324])
@example([5e-324, -0.0])
@example([1e-200, 1e200])
@example([2.2250738585072014e-308] * 3)
def test_vector_is_brought_to_length_1(numbers: list[float]) -> None:
    """And keeps its direction, whatever the size of its numbers."""
    largest = max(map(abs, numbers))
    shares = [number / largest for number in numbers]  # no square of these overflows or is lost
    length = math.hypot(*shares)

    found = scaled(json.dumps(numbers).encode(), len(numbers))

    assert math.hypot(*found) == pytest.approx(1.0, abs=1e-6)
    assert found == pytest.approx([share / length for share in shares], abs=2e-6)


@pytest.mark.parametrize("render", [vectors.as_float32, vectors.as_base64])
def test_floats_are_of_the_scaled_vector(render: Render[object]) -> None:
    expected = np.array([0.6, -0.8], "<f4")

    found = vectors.rendering(render, scale=True)(b"[3,-4]", 2)

    if isinstance(found, bytes):
        found = np.frombuffer(base64.b64decode(json.loads(found)), "<f4")
    assert np.array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("array", [b"[1]", b"[ 0.6 , -8E-1]", b"[0.6000003,0.8]", b"[0,-1e0,0]"])
def test_text_of_a_vector_that_has_length_1_is_not_touched(array: bytes) -> None:
    count = array.count(b",") + 1

    assert vectors.rendering(vectors.as_json, scale=True)(array, count) is array


@pytest.mark.parametrize("array", [b"[1.0002]", b"[0.9997]", b"[0.60001,0.8]"])
def test_length_that_is_off_by_a_little_is_mended(array: bytes) -> None:
    """Cohere's vectors are rounded: up to four thousandths too long."""
    found = scaled(array, array.count(b",") + 1)

    assert math.hypot(*found) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("render", RENDERS)
@pytest.mark.parametrize(
    "array", ["[0,0]", "[0.0,-0.0]", "[1]", "[1,2,3]", "[1,null]", "[NaN,1]", "[1e400,1]", "{}", ""]
)
def test_vector_that_cannot_be_scaled_is_refused(render: Render[object], array: str) -> None:
    assert not accepts(vectors.rendering(render, scale=True), array.encode(), 2)


# ---------------------------------------------------------------- what happens before: whole numbers


@pytest.mark.parametrize("array", [b"[0,1,1]", b"[-128,127,0]", b"[255, 0 ,3]", b"[ 1,\n2,3 ]"])
def test_whole_numbers_are_printed_as_they_came(array: bytes) -> None:
    assert vectors.rendering(vectors.as_json, integers=True)(array, 3) is array
    found = vectors.rendering(vectors.as_float32, integers=True)(array, 3)
    assert found.tolist() == json.loads(array)


@pytest.mark.parametrize(
    "array",
    [
        "[0.5,1,1]", "[1.0,1,1]", "[1e2,1,1]", "[256,1,1]", "[-129,1,1]", "[true,1,1]", "[null,1,1]", '["1",1,1]',
        "[1,1]", "[1,1,1,1]", "[0,0,0]", "[[1,1,1]]", "{}", "", "[1,1,1",
    ],
)  # fmt: skip
def test_what_is_no_vector_of_bytes_or_bits_is_refused(array: str) -> None:
    assert not accepts(vectors.rendering(vectors.as_json, integers=True), array.encode(), 3)
