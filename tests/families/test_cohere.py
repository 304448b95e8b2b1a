"""Cohere Embed v3 and v4: what is sent, and every shape of what comes back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.errors import BadRequest, InvalidUpstream
from embedrock.families.answer import Answer
from embedrock.inputs import Item

from . import asking
from .asking import (
    ENGLISH,
    JPEG,
    JPEG_URI,
    MULTILINGUAL,
    PNG,
    PNG_URI,
    TOKENS_HEADER,
    V4,
    body,
    check,
    fused,
    refuses,
    request,
    texts,
)

TOKENS = {TOKENS_HEADER: b"8"}
V3_MODELS = [ENGLISH, MULTILINGUAL]
MODELS = [ENGLISH, V4]
TYPES = ["float", "int8", "uint8", "binary", "ubinary"]

#: Number text with the width and the spellings of a live answer, and some no printer of ours would choose.
ROWS = [b"[-0.042236328,-0.03250122,0.0]", b"[ 6.1920E-4 , -2.2e-05,1]"]
REST = b'"id":"67259668-f82e-41c6-a2a0-136b340d2400","response_type":"embeddings_by_type","texts":["a","b ]} {"]'


def usual(rows: Sequence[bytes], kind: str = "float") -> bytes:
    return b'{"embeddings":{"%b":[%b]},%b}' % (kind.encode(), b",".join(rows), REST)


def parse(answer: bytes, count: int = 2, model: str = ENGLISH, **params: Any) -> Answer:
    return asking.parse(model, answer, *texts(count), numbers=3, headers=TOKENS, **params)


# ---------------------------------------------------------------- what is sent

ALWAYS = {"input_type": "search_document", "truncate": "NONE", "embedding_types": ["float"]}


@pytest.mark.parametrize("model", V3_MODELS)
@pytest.mark.parametrize("dimensions", [None, 1024])
def test_v3_names_what_awss_pages_disagree_on(model: str, dimensions: int | None) -> None:
    """`truncate` and `embedding_types` always; never a size, which the model refuses."""
    assert body(model, "hello", "é\x00", dimensions=dimensions) == ALWAYS | {"texts": ["hello", "é\x00"]}


@pytest.mark.parametrize("image, uri", [(PNG, PNG_URI), (JPEG, JPEG_URI)], ids=["png", "jpeg"])
@pytest.mark.parametrize("said", [{}, {"input_type": "search_query"}, {"input_type": "image"}, {"truncate": "END"}])
def test_v3_is_told_that_an_image_is_one(image: Item, uri: str, said: dict[str, Any]) -> None:
    """Whatever a caller said of texts; and nothing about truncation."""
    assert body(ENGLISH, image, **said) == {"images": [uri], "input_type": "image", "embedding_types": ["float"]}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("purpose", ["search_document", "search_query", "classification", "clustering"])
def test_every_purpose_is_sent(model: str, purpose: str) -> None:
    assert body(model, "a", input_type=purpose) == ALWAYS | {"texts": ["a"], "input_type": purpose}


@pytest.mark.parametrize(
    "model, truncate",
    [(model, word) for model in MODELS for word in ("NONE", "START", "END")] + [(V4, "LEFT"), (V4, "RIGHT")],
)
def test_every_truncation_is_sent(model: str, truncate: str) -> None:
    assert body(model, "a", truncate=truncate) == ALWAYS | {"texts": ["a"], "truncate": truncate}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", TYPES)
def test_one_type_of_numbers_is_sent(model: str, kind: str) -> None:
    assert body(model, "a", embedding_types=[kind]) == ALWAYS | {"texts": ["a"], "embedding_types": [kind]}
    assert body(model, PNG, embedding_types=[kind])["embedding_types"] == [kind]


PNG_PART = {"type": "image_url", "image_url": {"url": PNG_URI}}
JPEG_PART = {"type": "image_url", "image_url": {"url": JPEG_URI}}


def text_part(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


@pytest.mark.parametrize(
    "items, members",
    [
        (["a"], {"texts": ["a"]}),
        (["a", "b"], {"texts": ["a", "b"]}),
        ([PNG], {"images": [PNG_URI]}),
        ([PNG, JPEG], {"inputs": [{"content": [PNG_PART]}, {"content": [JPEG_PART]}]}),
        (["a", PNG], {"inputs": [{"content": [text_part("a")]}, {"content": [PNG_PART]}]}),
        ([fused("a", PNG)], {"inputs": [{"content": [text_part("a"), PNG_PART]}]}),
        (
            [fused(PNG, "a", JPEG, "b")],
            {"inputs": [{"content": [PNG_PART, text_part("a"), JPEG_PART, text_part("b")]}]},
        ),
        ([fused("a", "b")], {"inputs": [{"content": [text_part("a"), text_part("b")]}]}),
        (
            ["a", fused(PNG, "b"), JPEG],
            {
                "inputs": [
                    {"content": [text_part("a")]},
                    {"content": [PNG_PART, text_part("b")]},
                    {"content": [JPEG_PART]},
                ]
            },
        ),
    ],
    ids=["text", "texts", "image", "images", "text, image", "fused", "interleaved", "fused texts", "all"],
)
def test_v4_is_sent_items_of_every_kind_in_order(items: list[Item], members: dict[str, Any]) -> None:
    """More than one image never as `images`, where they were reported to become one vector."""
    assert body(V4, *items) == ALWAYS | members
    assert body(V4, *items, input_type="image") == ALWAYS | members | {"input_type": "image"}


@pytest.mark.parametrize(
    "params, more",
    [
        ({"dimensions": 256}, {"output_dimension": 256}),
        ({"dimensions": 1536}, {"output_dimension": 1536}),
        ({"max_tokens": 1}, {"max_tokens": 1}),
        ({"max_tokens": 128_000}, {"max_tokens": 128_000}),
        (
            {"dimensions": 512, "max_tokens": 9, "embedding_types": ["ubinary"], "truncate": "RIGHT"},
            {"output_dimension": 512, "max_tokens": 9, "embedding_types": ["ubinary"], "truncate": "RIGHT"},
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "items, member",
    [(["a"], {"texts": ["a"]}), ([PNG], {"images": [PNG_URI]}), (["a", PNG], None)],
    ids=["text", "image", "mixed"],
)
def test_v4_is_sent_sizes_and_limits_when_asked_for(
    items: list[Item], member: dict[str, Any] | None, params: dict[str, Any], more: dict[str, Any]
) -> None:
    expected = ALWAYS | (member or {"inputs": body(V4, *items)["inputs"]}) | more

    assert body(V4, *items, **params) == expected


@pytest.mark.parametrize("model", MODELS)
@given(held=st.lists(st.text(min_size=1), min_size=1, max_size=96))
def test_texts_arrive_as_they_are_in_order(model: str, held: list[str]) -> None:
    assert json.loads(request(model, *held))["texts"] == held


@pytest.mark.parametrize("model", MODELS)
def test_text_called_an_image_is_refused(model: str) -> None:
    check(model, PNG, input_type="image")
    check(model, "a", input_type="search_query")
    with pytest.raises(BadRequest) as caught:
        check(model, "a", input_type="image")

    assert (caught.value.param, caught.value.code) == ("input_type", "invalid_value")


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("model", [*V3_MODELS, V4])
@pytest.mark.parametrize(
    "answer",
    [
        usual(ROWS),
        b'{"embeddings":{"float":[%b,%b]}}' % (ROWS[0], ROWS[1]),
        b' {\n "embeddings" : { "float" : [ %b ,\n %b ] } , %b }\r\n' % (ROWS[0], ROWS[1], REST),
        b'{%b,"embeddings":{"float":[%b,%b]}}' % (REST, ROWS[0], ROWS[1]),
        b'{"embeddings":[%b,%b],%b}' % (ROWS[0], ROWS[1], REST),
        b'{%b,"embeddings":[%b,%b]}' % (REST, ROWS[0], ROWS[1]),
        b'{"embeddings":{"int8":[[1,2,3],[4,5,6]],"float":[%b,%b]},%b}' % (ROWS[0], ROWS[1], REST),
        b'{"embeddings":{"float":[%b,%b],"int8":[[1,2,3],[4,5,6]]},%b}' % (ROWS[0], ROWS[1], REST),
        usual(ROWS) + b" " * 200,
        b" " * 200 + usual(ROWS),
    ],
    ids=range(10),
)
def test_every_shape_gives_the_number_text_byte_for_byte(model: str, answer: bytes) -> None:
    assert parse(answer, model=model) == Answer(ROWS, 8)


@pytest.mark.parametrize("kind", TYPES[1:])
@pytest.mark.parametrize(
    "form",
    [
        b'{"embeddings":{"%(kind)b":%(rows)b},"id":"x"}',
        b' { "embeddings" : { "%(kind)b" : %(rows)b } , "id" : "x" } ',
        b'{"id":"x","embeddings":{"%(kind)b":%(rows)b}}',
        b'{"embeddings":{"float":[[0.5,1,1],[1,1,1]],"%(kind)b":%(rows)b},"id":"x"}',
        b'{"embeddings":{"%(kind)b":%(rows)b,"float":[[0.5,1,1],[1,1,1]]},"id":"x"}',
    ],
    ids=range(5),
)
def test_vectors_of_the_type_asked_for_are_taken(form: bytes, kind: str) -> None:
    rows = [b"[-1,2,0]", b"[4, 5,6]"]

    answer = form % {b"kind": kind.encode(), b"rows": b"[[-1,2,0],[4, 5,6]]"}

    assert parse(answer, embedding_types=[kind]) == Answer(rows, 8)


@pytest.mark.parametrize("kind", TYPES[1:])
@pytest.mark.parametrize("answer", [usual(ROWS), b'{"embeddings":[[1,2,3],[4,5,6]],"id":"x"}'], ids=["floats", "list"])
def test_floats_in_place_of_another_type_are_refused(answer: bytes, kind: str) -> None:
    """A list without types holds floats."""
    refuses(V4, answer, *texts(2), embedding_types=[kind])


@pytest.mark.parametrize("count", [1, 2, 95, 96])
def test_rows_keep_their_order(count: int) -> None:
    rows = [b"[%d,0,0]" % (index + 1) for index in range(count)]

    assert parse(usual(rows), count).vectors == rows
    assert parse(b'{"embeddings":[%b]}' % b",".join(rows), count).vectors == rows


def test_lower_cased_echo_of_the_texts_does_not_matter() -> None:
    answer = usual(ROWS).replace(b'"a","b ]} {"', b'"hello, world!","[1,2,3]"')

    assert parse(answer).vectors == ROWS


LIST_SHAPE = b'{"embeddings":[%b],%b}' % (b",".join(ROWS), REST)
BY_TYPE_LAST = b'{%b,"embeddings":{"float":[%b]}}' % (REST, b",".join(ROWS))
SHAPES = pytest.mark.parametrize("answer", [usual(ROWS), LIST_SHAPE, BY_TYPE_LAST], ids=["usual", "list", "last"])


@SHAPES
def test_truncated_answer_is_refused_or_has_every_vector(answer: bytes) -> None:
    last_row_ends = answer.index(ROWS[1]) + len(ROWS[1])
    for end in range(last_row_ends + 2):
        refuses(ENGLISH, answer[:end], *texts(2), numbers=3)
    refuses(ENGLISH, answer[:-1], *texts(2), numbers=3)

    for end in range(last_row_ends + 2, len(answer)):
        with contextlib.suppress(InvalidUpstream):
            assert parse(answer[:end]) == Answer(ROWS, 8)


@SHAPES
@pytest.mark.parametrize("count", [1, 3])
def test_one_row_more_or_fewer_is_refused(answer: bytes, count: int) -> None:
    """Never a shorter list with status 200, and never another text's vector."""
    refuses(V4, answer, *texts(count), numbers=3)


@SHAPES
@pytest.mark.parametrize("numbers", [2, 4, 1024])
def test_vectors_of_another_length_are_refused(answer: bytes, numbers: int) -> None:
    refuses(ENGLISH, answer, *texts(2), numbers=numbers)


@pytest.mark.parametrize(
    "row",
    [
        b"[]",
        b"[1,2]",
        b"[0,0,0]",
        b"[0.0,-0.0,0]",
        b"[NaN,1,1]",
        b"[1,-Infinity,1]",
        b"[1,1,1e400]",
        b"[1,null,1]",
        b'[1,"1",1]',
        b"[1,[1],1]",
        b"[[1,1,1]]",
        b"null",
        b'"AACAPw=="',
        b"{}",
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_one_bad_row_breaks_the_answer(row: bytes, place: int) -> None:
    rows = list(ROWS)
    rows[place] = row

    refuses(ENGLISH, usual(rows), *texts(2), numbers=3)
    refuses(ENGLISH, b'{"embeddings":[%b]}' % b",".join(rows), *texts(2), numbers=3)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"embeddings":null}',
        b'{"embeddings":{}}',
        b'{"embeddings":[]}',
        b'{"embeddings":{"float":[]}}',
        b'{"embeddings":{"float":null}}',
        b'{"embeddings":{"int8":[[1,2,3],[4,5,6]]}}',
        b'{"embeddings":{"float":[[1,2,3] [4,5,6]]}}',
        b'{"embeddings":{"float":[[1,2,3],,[4,5,6]]}}',
        b'{"embeddings":{"float":[[1,2,3],[4,5,6],]}}',
        b'{"embedding":[1,2,3]}',
        b'{"message":"Something failed."}',
        b'{"embeddings":{"\xff\xfe":1,"float":[%b,%b]}}' % (ROWS[0], ROWS[1]),
    ],
)
def test_any_other_answer_is_refused(answer: bytes) -> None:
    refuses(V4, answer, *texts(2), numbers=3)


@given(st.binary(max_size=40), st.integers(0, len(usual(ROWS))), st.integers(0, 20))
def test_broken_answer_gives_as_many_vectors_or_is_refused(noise: bytes, start: int, cut: int) -> None:
    """Whatever bytes stand in the answer: never another exception."""
    answer = usual(ROWS)
    try:
        found = parse(answer[:start] + noise + answer[start + cut :])
    except InvalidUpstream:
        return
    assert [bytes(row).count(b",") for row in found.vectors] == [2, 2]
