"""What may be sent as `input`, and what becomes of odd text."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedrock.errors import BadRequest
from embedrock.inputs import Texts, read_texts

#: Any text JSON can spell, lone surrogates and NUL included.
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def read(value: object, *, max_inputs: int = 2048, empty_as_space: bool = False) -> Texts:
    return read_texts(value, max_inputs=max_inputs, empty_as_space=empty_as_space)


def refusal(value: object, *, max_inputs: int = 2048, empty_as_space: bool = False) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read(value, max_inputs=max_inputs, empty_as_space=empty_as_space)
    return caught.value


def repaired(text: str) -> str:
    """Return `text` with surrogate pairs joined and each lone surrogate as U+FFFD."""
    joined = re.sub(
        "[\ud800-\udbff][\udc00-\udfff]",
        lambda pair: chr(0x10000 + (ord(pair[0][0]) - 0xD800) * 0x400 + ord(pair[0][1]) - 0xDC00),
        text,
    )
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


def test_string_is_one_input() -> None:
    texts = read("hello")

    assert texts == Texts(["hello"], listed=False, emptied=())
    assert texts.param(0) == "input"


def test_list_is_one_input_an_item_in_order() -> None:
    texts = read(["b", "a", "b"])

    assert texts == Texts(["b", "a", "b"], listed=True, emptied=())
    assert texts.param(2) == "input[2]"


def test_list_of_one_is_still_a_list() -> None:
    assert read(["a"]).param(0) == "input[0]"


def test_lone_empty_string_becomes_a_space_and_is_told() -> None:
    """LangChain sends one for an empty text among others, and uses its vector."""
    assert read("") == Texts([" "], listed=False, emptied=(0,))


def test_empty_string_in_a_list_is_refused_by_its_index() -> None:
    error = refusal(["a", "", ""])

    assert (error.param, error.code) == ("input[1]", "empty_input")


def test_empty_strings_in_a_list_become_spaces_where_the_operator_wants() -> None:
    assert read(["", "a", ""], empty_as_space=True) == Texts([" ", "a", " "], listed=True, emptied=(0, 2))


@pytest.mark.parametrize(
    "value, param, code",
    [
        (None, "input", "empty_input"),
        ([], "input", "empty_input"),
        ({}, "input", "invalid_type"),
        (7, "input", "invalid_type"),
        (1.5, "input", "invalid_type"),
        (True, "input", "invalid_type"),
        (["a", None], "input[1]", "invalid_type"),
        (["a", "b", 3], "input[2]", "invalid_type"),
        ([1212, 318], "input[0]", "invalid_type"),
        ([[1212, 318]], "input[0]", "invalid_type"),
        (["a", {"text": "b"}], "input[1]", "invalid_type"),
        ([False], "input[0]", "invalid_type"),
    ],
)
def test_what_is_no_text_is_refused_by_its_index(value: object, param: str, code: str) -> None:
    error = refusal(value)

    assert (error.status, error.param, error.code) == (400, param, code)


@pytest.mark.parametrize(
    "item, words",
    [
        (None, "not null"),
        (True, "not a boolean"),
        (3, "not a number"),
        (3.5, "not a number"),
        ([], "not an array"),
        ({}, "not an object"),
    ],
)
def test_refusal_says_what_was_sent_instead(item: object, words: str) -> None:
    assert words in refusal(["a", item]).message


def test_number_of_inputs_is_limited_and_the_limit_is_told() -> None:
    assert len(read(["a"] * 3, max_inputs=3).values) == 3
    error = refusal(["a"] * 4, max_inputs=3)

    assert (error.param, error.code) == ("input", "too_many_inputs")
    assert "4" in error.message
    assert "3" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png;base64,iVBORw0KGgo=",
        "data:text/plain,hello",
        "data:application/vnd.api+json;base64,e30=",
        "data:image/png",
        "s3://bucket/key",
        "s3://",
    ],
)
def test_media_is_never_embedded_as_text(text: str) -> None:
    lone, listed = refusal(text), refusal(["a", text])

    assert (lone.param, lone.code) == ("input", "unsupported_media")
    assert (listed.param, listed.code) == ("input[1]", "unsupported_media")
    assert "bucket" not in lone.message


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/a.png",
        "data: the new oil",
        "data:",
        "data:image",
        "data:/png;base64,",
        "data:ä/ö",
        " data:image/png;base64,iVBORw0KGgo=",
        "see s3://bucket/key",
        "s3:/bucket",
        "a\x00b",
        " ",
        "\n\t ",
        "\ufeffbyte order mark",
        "naïve 東京 😀",
    ],
)
def test_every_other_string_is_text_as_it_is(text: str) -> None:
    assert read([text]).values == [text]


@given(ANY_TEXT.filter(lambda text: text and not text.startswith(("data:", "s3://"))))
@example("\ud800")
@example("\udc00\ud800")
@example("\ud83d\ude00")
@example("a\ud800")
@example("\ud800é")
@example("\ud800\ud83d\ude00")
def test_text_is_kept_but_for_lone_surrogates(text: str) -> None:
    values = read(text).values

    assert values == [repaired(text)]
    assert values[0].encode().decode() == values[0]


@given(st.lists(ANY_TEXT.filter(lambda text: not text.startswith(("data:", "s3://"))), min_size=1, max_size=20))
def test_every_input_keeps_its_place(items: list[str]) -> None:
    texts = read(items, empty_as_space=True)

    assert texts.values == [repaired(item) or " " for item in items]
    assert texts.emptied == tuple(index for index, item in enumerate(items) if not item)


def test_reading_does_not_change_what_was_sent() -> None:
    sent = ["a", "\ud800", ""]
    read(sent, empty_as_space=True)

    assert sent == ["a", "\ud800", ""]
