"""Ids become the text they stand for, and what is no id is named."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.tokens import Encoding, EncodingName, UnknownToken, encoding
from embedrock.tokens.make import VOCABULARIES, pack

NAMES: list[EncodingName] = list(get_args(EncodingName))

#: What tiktoken 0.14 makes of these texts.
RECORDED: list[tuple[EncodingName, list[int], str]] = [
    ("cl100k_base", [15339, 1917], "hello world"),
    ("cl100k_base", [57352, 242, 246, 57352, 242, 104, 12, 6600, 2448, 24352], "𝔘𝔫-Grüße"),
    ("o200k_base", [24912, 2375], "hello world"),
    ("o200k_base", [43120, 242, 246, 43120, 242, 104, 85061, 572, 13153], "𝔘𝔫-Grüße"),
]
#: Both spell the first of these characters with three tokens: two of its four bytes, then one and one.
CUT: dict[EncodingName, list[int]] = {"cl100k_base": [57352, 242, 246], "o200k_base": [43120, 242, 246]}
#: Ids that no token has: below, in the gaps, above, and beyond 32 and 64 bits.
HOLES: dict[EncodingName, list[int]] = {
    "cl100k_base": [100256, 100261, 100275, 100277, -1, -100277, 2**31, 2**32, 2**32 + 1, -(2**32), 2**64, -(2**64)],
    "o200k_base": [199998, 200000, 200017, 200019, -1, -200019, 2**31, 2**32, 2**32 + 1, -(2**32), 2**64, -(2**64)],
}


@pytest.mark.parametrize(("name", "ids", "text"), RECORDED)
def test_recorded_ids_give_their_text(name: EncodingName, ids: list[int], text: str) -> None:
    assert encoding(name).decode(ids) == text
    assert encoding(name).decode(tuple(ids)) == text


@pytest.mark.parametrize("name", NAMES)
def test_no_ids_give_no_text(name: EncodingName) -> None:
    assert encoding(name).decode([]) == ""


@pytest.mark.parametrize(
    ("name", "token", "text"),
    [(name, token, text) for name in NAMES for token, text in VOCABULARIES[name].specials.items()],
)
def test_special_id_gives_the_name_of_its_token(name: EncodingName, token: int, text: str) -> None:
    assert encoding(name).decode([0, token, 0]) == f"!{text}!"


@pytest.mark.parametrize(("name", "token"), [(name, token) for name in NAMES for token in HOLES[name]])
def test_id_outside_the_vocabulary_is_named_with_its_position(name: EncodingName, token: int) -> None:
    with pytest.raises(UnknownToken) as raised:
        encoding(name).decode([0, 1, token, 2])

    assert (raised.value.position, raised.value.token) == (2, token)
    assert str(token) not in str(raised.value), "a message holds nothing that the caller sent"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_first_of_several_such_ids_is_named(name: EncodingName, turn: int) -> None:
    """Whatever is wrong with it: in a gap, above the vocabulary, negative, or too large for a machine's integer."""
    wrong = [HOLES[name][0], 300_000, -1, 2**64]
    wrong = wrong[turn:] + wrong[:turn]

    with pytest.raises(UnknownToken) as raised:
        encoding(name).decode([7, *wrong])

    assert (raised.value.position, raised.value.token) == (1, wrong[0])


@pytest.mark.parametrize(
    ("name", "token"),
    [("cl100k_base", token) for token in (100255, 100257, 100260, 100276)]
    + [("o200k_base", token) for token in (199997, 199999, 200018)],
)
def test_id_beside_a_hole_is_known(name: EncodingName, token: int) -> None:
    assert encoding(name).decode_bytes([token])


@pytest.mark.parametrize("name", NAMES)
def test_character_that_a_slice_cuts_is_replaced(name: EncodingName) -> None:
    ids = CUT[name]

    assert encoding(name).decode(ids) == "𝔘"
    assert encoding(name).decode([0, *ids[:2]]) == "!\N{REPLACEMENT CHARACTER}"
    assert encoding(name).decode([*ids[1:], 0]) == "\N{REPLACEMENT CHARACTER}" * 2 + "!"


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_ids_give_their_tokens_one_after_the_other(name: EncodingName, data: st.DataObject) -> None:
    ordinary = st.integers(0, HOLES[name][0] - 1)
    ids = data.draw(st.lists(ordinary | st.sampled_from(sorted(VOCABULARIES[name].specials)), max_size=300))

    tokens = [encoding(name).decode_bytes([token]) for token in ids]

    assert all(tokens)
    assert encoding(name).decode_bytes(ids) == b"".join(tokens)
    assert encoding(name).decode(ids) == b"".join(tokens).decode("utf-8", "replace")


def test_table_is_read_once() -> None:
    assert encoding("cl100k_base") is encoding("cl100k_base")
    assert encoding("cl100k_base") is not encoding("o200k_base")


def test_tokens_of_the_greatest_length_are_read() -> None:
    small = Encoding("small", pack({0: b"a", 1: b"b" * 255, 3: b"\xff"}))

    assert small.decode([1, 0, 3, 1]) == "b" * 255 + "a\N{REPLACEMENT CHARACTER}" + "b" * 255
    with pytest.raises(UnknownToken):
        small.decode([2])
