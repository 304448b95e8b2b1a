"""What may be sent as `input`, and what becomes of odd text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedrock import inputs as module
from embedrock.errors import BadRequest, ContextTooLong, RequestTooLarge
from embedrock.inputs import Fused, Inputs, read_inputs
from embedrock.media import Media, S3Object
from embedrock.tokens import EncodingName

#: Any text JSON can spell, lone surrogates and NUL included.
ANY_TEXT = st.text(st.characters(exclude_categories=())).filter(
    lambda text: not text.lower().startswith(("data:", "s3://"))
)

#: A picture of one pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
PNG_URI = f"data:image/png;base64,{PNG}"
S3_URI = "s3://bucket/folder/a.png"
PNG_MEDIA = Media("image", "png", PNG, 67, 1, 1)
S3_OBJECT = S3Object(S3_URI, "image", "png")


def read(value: object, **options: Any) -> Inputs:
    return read_inputs(value, **{"max_inputs": 2048} | options)


def refusal(value: object, **options: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read(value, **options)
    assert caught.value.param is not None
    assert caught.value.param in caught.value.message
    return caught.value


def repaired(text: str) -> str:
    """Return `text` with surrogate pairs joined and each lone surrogate as U+FFFD."""
    joined = re.sub(
        "[\ud800-\udbff][\udc00-\udfff]",
        lambda pair: chr(0x10000 + (ord(pair[0][0]) - 0xD800) * 0x400 + ord(pair[0][1]) - 0xDC00),
        text,
    )
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


# ---------------------------------------------------------------- strings and lists


def test_string_is_one_input() -> None:
    inputs = read("hello")

    assert inputs == Inputs(["hello"], listed=False, emptied=(), texts_only=True)
    assert inputs.param(0) == "input"


def test_list_is_one_input_an_item_in_order() -> None:
    inputs = read(["b", "a", "b"])

    assert inputs == Inputs(["b", "a", "b"], listed=True, emptied=(), texts_only=True)
    assert inputs.param(2) == "input[2]"


def test_list_of_one_is_still_a_list() -> None:
    assert read(["a"]).param(0) == "input[0]"


def test_lone_empty_string_becomes_a_space_and_is_told() -> None:
    """LangChain sends one for an empty text among others, and uses its vector."""
    assert read("") == Inputs([" "], listed=False, emptied=(0,))


def test_empty_string_in_a_list_is_refused_by_its_index() -> None:
    error = refusal(["a", "", ""])

    assert (error.param, error.code) == ("input[1]", "empty_input")


def test_empty_strings_in_a_list_become_spaces_where_the_operator_wants() -> None:
    assert read(["", "a", ""], empty_as_space=True) == Inputs([" ", "a", " "], listed=True, emptied=(0, 2))


@pytest.mark.parametrize(
    "value, param, code",
    [
        (None, "input", "empty_input"),
        ([], "input", "empty_input"),
        ([[]], "input[0]", "empty_input"),
        (["a", []], "input[1]", "empty_input"),
        ({}, "input", "invalid_type"),
        (7, "input", "invalid_type"),
        (1.5, "input", "invalid_type"),
        (True, "input", "invalid_type"),
        ([None], "input[0]", "invalid_type"),
        ([1.5], "input[0]", "invalid_type"),
        ([False], "input[0]", "invalid_type"),
        (["a", None], "input[1]", "invalid_type"),
        (["a", "b", 3], "input[2]", "invalid_type"),
        (["a", {"type": "text", "text": "b"}], "input[1]", "invalid_type"),
    ],
)
def test_what_is_no_input_is_refused_by_its_index(value: object, param: str, code: str) -> None:
    error = refusal(value)

    assert (error.status, error.param, error.code) == (400, param, code)


@pytest.mark.parametrize(
    "item, words",
    [
        (None, "must be a string, not null"),
        (True, "must be a string, not a boolean"),
        (3, "must be a string, not a number"),
        (3.5, "must be a string, not a number"),
        ({}, "must be a string, not an object. Content parts go into an array of their own"),
        ([3.5], "'input[1][0]' must be a content part, not a number"),
        (["b"], "'input[1][0]' must be a content part, not a string"),
    ],
)
def test_refusal_says_what_was_sent_instead(item: object, words: str) -> None:
    assert words in refusal(["a", item]).message


def test_number_of_inputs_is_limited_and_the_limit_is_told() -> None:
    assert len(read(["a"] * 3, max_inputs=3).items) == 3
    error = refusal(["a"] * 4, max_inputs=3)

    assert (error.param, error.code) == ("input", "too_many_inputs")
    assert "4" in error.message
    assert "3" in error.message


@given(ANY_TEXT.filter(bool))
@example("\ud800")
@example("\udc00\ud800")
@example("\ud83d\ude00")
@example("a\ud800")
@example("\ud800é")
@example("\ud800\ud83d\ude00")
def test_text_is_kept_but_for_lone_surrogates(text: str) -> None:
    """As an input, in a list, and as a content part."""
    (item,) = read(text).items

    assert item == repaired(text)
    assert isinstance(item, str)
    assert item.encode().decode() == item
    assert read([[{"type": "text", "text": text}], text]).items == [item, item]


@given(st.lists(ANY_TEXT, min_size=1, max_size=20))
def test_every_input_keeps_its_place(items: list[str]) -> None:
    inputs = read(items, empty_as_space=True)

    assert inputs.items == [repaired(item) or " " for item in items]
    assert inputs.emptied == tuple(index for index, item in enumerate(items) if not item)


def test_reading_does_not_change_what_was_sent() -> None:
    sent = ["a", "\ud800", "", [{"type": "text", "text": "b"}]]
    read(sent, empty_as_space=True)

    assert sent == ["a", "\ud800", "", [{"type": "text", "text": "b"}]]


# ---------------------------------------------------------------- token ids


@pytest.mark.parametrize(
    "value, texts",
    [
        ([15339, 1917], ["hello world"]),
        ([[15339, 1917]], ["hello world"]),
        ([[15339], [1917], [0]], ["hello", " world", "!"]),
        ([100257], ["<|endoftext|>"]),
    ],
)
def test_token_ids_are_decoded(value: object, texts: list[str]) -> None:
    inputs = read(value)

    assert inputs == Inputs([*texts], listed=isinstance(value[0], list), texts_only=True)  # type: ignore[index]


def test_one_list_of_ids_is_one_input_however_long() -> None:
    inputs = read([15339] * 3000, max_inputs=1)

    assert inputs.items == ["hello" * 3000]
    assert inputs.param(0) == "input"


@pytest.mark.parametrize("name, ids", [("cl100k_base", [15339, 1917]), ("o200k_base", [24912, 2375])])
def test_vocabulary_is_the_one_asked_for(name: EncodingName, ids: list[int]) -> None:
    assert read(ids, token_encoding=name).items == ["hello world"]


def test_ids_that_cut_a_character_give_its_sign_of_loss() -> None:
    """Clients cut long texts at any id; the first of these characters has three."""
    cut = [[57352, 242, 246], [57352, 242], [246]]

    assert read(cut).items == ["𝔘", "\ufffd", "\ufffd"]


@pytest.mark.parametrize("text", ["data:image/png;base64,xx", "s3://bucket/a.png"])
def test_ids_that_spell_media_are_text(text: str) -> None:
    """Nobody tokenises a picture: the text begins like one."""
    ids = _ids(text)

    assert read(ids).items == read([ids]).items == [text]


def _ids(text: str) -> list[int]:
    """Return ids for `text`, one a character: cl100k_base numbers the printable bytes from 0, in their order."""
    return [ord(letter) - ord("!") for letter in text]


@pytest.mark.parametrize(
    "value, param, code",
    [
        ([1, "a"], "input[1]", "invalid_type"),
        ([1, 2, None], "input[2]", "invalid_type"),
        ([1, True], "input[1]", "invalid_type"),
        ([1, 2.0], "input[1]", "invalid_type"),
        ([1, [2]], "input[1]", "invalid_type"),
        ([[1, "a"]], "input[0][1]", "invalid_type"),
        ([[1], [2, None]], "input[1][1]", "invalid_type"),
        ([[1], "a"], "input[1]", "invalid_type"),
        ([[1], 2], "input[1]", "invalid_type"),
        ([[1], []], "input[1]", "empty_input"),
        ([[1], [{"type": "text", "text": "a"}]], "input[1]", "invalid_type"),
        (["a", [1]], "input[1][0]", "invalid_type"),
        ([[{"type": "text", "text": "a"}], [1]], "input[1][0]", "invalid_type"),
        ([[True]], "input[0][0]", "invalid_type"),
        ([100256], "input[0]", "invalid_value"),
        ([5, 100277], "input[1]", "invalid_value"),
        ([5, -1], "input[1]", "invalid_value"),
        ([5, 2**64], "input[1]", "invalid_value"),
        ([[5], [5, 6, 100256]], "input[1][2]", "invalid_value"),
    ],
)
def test_what_is_no_token_id_is_refused_by_its_place(value: object, param: str, code: str) -> None:
    error = refusal(value)

    assert (error.param, error.code) == (param, code)


def test_more_ids_than_any_model_reads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_TOKENS", 3)

    assert read([0] * 3).items == ["!!!"]
    for value, param in (([0] * 4, "input"), ([[0], [0] * 4], "input[1]")):
        error = refusal(value)
        assert (type(error), error.param) == (ContextTooLong, param)


def test_ids_that_stand_for_too_much_text_in_all_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes of a body may stand for a hundred characters."""
    monkeypatch.setattr(module, "_MAX_DECODED_CHARS", 10)

    assert read([[15339], [15339]]).items == ["hello", "hello"]
    with pytest.raises(RequestTooLarge) as caught:
        read([[15339], [15339], [0]])
    assert caught.value.param == "input"


def test_unknown_id_of_a_vocabulary_is_told_with_its_name() -> None:
    assert "o200k_base" in refusal([200_000], token_encoding="o200k_base").message
    assert "cl100k_base" in refusal([200_000]).message


# ---------------------------------------------------------------- media


@pytest.mark.parametrize(
    "text, item",
    [
        (PNG_URI, PNG_MEDIA),
        (f"DATA:IMAGE/PNG;BASE64,{PNG}", PNG_MEDIA),
        (f"data:image/png;name=a;base64,{PNG}", PNG_MEDIA),
        (S3_URI, S3_OBJECT),
        ("s3://bucket/notes.txt", S3Object("s3://bucket/notes.txt", "text", "text")),
        ("s3://bucket/unknown", S3Object("s3://bucket/unknown", None, None)),
    ],
)
def test_media_is_read_wherever_it_stands(text: str, item: Media | S3Object) -> None:
    """Alone, in a list, as a content part, and as one of several."""
    part = {"type": "image_url", "image_url": text}

    assert read(text) == Inputs([item], listed=False, texts_only=False)
    assert read(["a", text]) == Inputs(["a", item], listed=True, texts_only=False)
    assert read([[part]]) == Inputs([item], listed=True, texts_only=False)
    assert read([[part, {"type": "text", "text": "a"}]]).items == [Fused((item, "a"))]


@pytest.mark.parametrize(
    "text, code",
    [
        ("data:image/png;base64,@@@", "invalid_base64"),
        ("data:text/plain,hello", "invalid_data_uri"),
        ("data:application/vnd.api+json;base64,e30=", "unsupported_media"),
        ("data:image/png", "invalid_data_uri"),
        (f"data:image/jpeg;base64,{PNG}", "media_type_mismatch"),
        ("s3://bucket", "invalid_s3_uri"),
        ("s3://bucket/a/../b.png", "invalid_s3_uri"),
        ("s3://", "invalid_s3_uri"),
    ],
)
def test_bad_media_is_refused_and_never_embedded_as_text(text: str, code: str) -> None:
    part = {"type": "image_url", "image_url": text}
    refusals = [
        refusal(value)
        for value in (text, ["a", text], ["a", [part]], [[{"type": "image_url", "image_url": {"url": text}}]])
    ]

    assert [error.param for error in refusals] == [
        "input",
        "input[1]",
        "input[1][0].image_url",
        "input[0][0].image_url.url",
    ]
    assert {error.code for error in refusals} == {code}
    assert all("bucket/a" not in error.message for error in refusals)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/a.png",
        "data: the new oil",
        "data: hello",
        "data:",
        "data:image",
        "data:/png;base64,",
        "data:ä/ö",
        " data:image/png;base64,iVBORw0KGgo=",
        "see s3://bucket/key",
        "s3: x",
        "s3:/bucket",
        "S3://bucket/key",
        " s3://bucket/key",
        "a\x00b",
        " ",
        "\n\t ",
        "\ufeffbyte order mark",
        "naïve 東京 😀",
    ],
)
def test_every_other_string_is_text_as_it_is(text: str) -> None:
    assert read([text]) == Inputs([text], listed=True)
    assert read(text) == Inputs([text], listed=False)


@given(st.tuples(st.sampled_from(["data:", "DATA:", "s3://", "s3:", "S3://"]), st.text()).map("".join))
def test_text_that_begins_like_media_is_read_or_refused(text: str) -> None:
    """Never another exception, and never a text that was taken for both."""
    try:
        (item,) = read(text).items
    except BadRequest as exc:
        assert exc.param == "input"
    else:
        assert isinstance(item, Media | S3Object) or item == text


# ---------------------------------------------------------------- content parts


def text_part(text: object) -> dict[str, object]:
    return {"type": "text", "text": text}


def image_part(url: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": url}


def test_list_of_parts_is_one_input_in_the_callers_order() -> None:
    value = [[image_part({"url": PNG_URI}), text_part("a"), image_part(S3_URI), text_part("b")], "c", [text_part("d")]]

    assert read(value) == Inputs(
        [Fused((PNG_MEDIA, "a", S3_OBJECT, "b")), "c", "d"], listed=True, emptied=(), texts_only=False
    )


def test_single_part_is_no_fusion() -> None:
    assert read([[text_part("a")], [image_part(PNG_URI)]]).items == ["a", PNG_MEDIA]


def test_parts_of_text_alone_are_still_one_input_of_several_parts() -> None:
    assert read([[text_part("a"), text_part("b")]]) == Inputs([Fused(("a", "b"))], listed=True, texts_only=False)


@pytest.mark.parametrize("text", [PNG_URI, S3_URI, "data:", "s3://"])
def test_text_part_is_text_whatever_it_begins_with(text: str) -> None:
    """The caller has said what it is."""
    assert read([[text_part(text)]]).items == [text]


@pytest.mark.parametrize(
    "part, param, code",
    [
        (7, "", "invalid_type"),
        ("a", "", "invalid_type"),
        (None, "", "invalid_type"),
        ([], "", "invalid_type"),
        ({}, ".type", "invalid_value"),
        ({"text": "a"}, ".type", "invalid_value"),
        ({"type": None}, ".type", "invalid_value"),
        ({"type": []}, ".type", "invalid_value"),
        ({"type": "image"}, ".type", "invalid_value"),
        ({"type": "input_audio", "input_audio": {}}, ".type", "invalid_value"),
        ({"type": "text"}, ".text", "invalid_type"),
        ({"type": "image_url"}, ".image_url", "invalid_type"),
        (text_part(None), ".text", "invalid_type"),
        (text_part(3), ".text", "invalid_type"),
        (text_part(["a"]), ".text", "invalid_type"),
        (text_part(""), ".text", "empty_input"),
        (text_part("a") | {"cache": True}, "", "unsupported_parameter"),
        (text_part("a") | {"image_url": S3_URI}, "", "unsupported_parameter"),
        (image_part(S3_URI) | {"detail": "high"}, "", "unsupported_parameter"),
        (image_part(""), ".image_url", "empty_input"),
        (image_part(3), ".image_url", "invalid_type"),
        (image_part({}), ".image_url.url", "invalid_type"),
        (image_part({"url": S3_URI, "detail": "high"}), ".image_url", "unsupported_parameter"),
        (image_part({"url": None}), ".image_url.url", "invalid_type"),
        (image_part({"url": ""}), ".image_url.url", "empty_input"),
        (image_part("https://example.com/a.png"), ".image_url", "url_input_unsupported"),
        (image_part({"url": "http://169.254.169.254/"}), ".image_url.url", "url_input_unsupported"),
        (image_part("file:///etc/passwd"), ".image_url", "url_input_unsupported"),
        (image_part("a.png"), ".image_url", "url_input_unsupported"),
        (image_part(PNG), ".image_url", "url_input_unsupported"),
    ],
)
@pytest.mark.parametrize("before", [[], [{"type": "text", "text": "a"}]], ids=["first", "second"])
def test_wrong_part_is_refused_by_its_place(before: list[object], part: object, param: str, code: str) -> None:
    error = refusal(["x", [*before, part]])

    assert (error.param, error.code) == (f"input[1][{len(before)}]{param}", code)


def test_number_of_parts_is_limited() -> None:
    assert read([[text_part("a")] * 1000]).items == [Fused(("a",) * 1000)]
    error = refusal(["a", [text_part("a")] * 1001])

    assert (error.param, error.code) == ("input[1]", "too_many_inputs")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.sampled_from(["", "a", PNG_URI, S3_URI]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "text", "image_url", "url"]), inner, max_size=3)
            | st.builds(text_part, inner)
            | st.builds(image_part, inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused_by_a_place_in_it(value: object) -> None:
    """Never another exception, and never an input more or fewer."""
    try:
        inputs = read(value)
    except BadRequest as exc:
        assert re.fullmatch(r"input(\[\d+\]){0,2}(\.(type|text|image_url(\.url)?))?", exc.param or "")
    else:
        assert len(inputs.items) == (len(value) if inputs.listed and isinstance(value, list) else 1)
        assert inputs.texts_only == all(isinstance(item, str) for item in inputs.items)
        assert all(item for item in inputs.items)
