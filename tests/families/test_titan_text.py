"""Titan Text Embeddings: what is sent, and every shape of what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.errors import InvalidUpstream
from embedrock.families.answer import Answer

from .asking import TITAN, TITAN_G1, TITAN_V1, TOKENS_HEADER, body, parse, refuses, request

#: Number text with the width and the spellings of a live answer, and some no printer of ours would choose.
VECTOR = b"[-0.09064465761184692,0.0,1.9764E-4,-2.2e-05, 0.5]"
USUAL = b'{"embedding":%b,"embeddingsByType":{"float":%b},"inputTextTokenCount":5}' % (VECTOR, VECTOR)
BITS = b"[0,1,0,1,1]"
BINARY = b'{"embeddingsByType":{"binary":%b},"inputTextTokenCount":5}' % BITS


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize(
    "params, more",
    [
        ({}, {}),
        ({"dimensions": 256}, {"dimensions": 256}),
        ({"dimensions": 1024}, {"dimensions": 1024}),
        ({"normalize": True}, {"normalize": True}),
        ({"normalize": False}, {"normalize": False}),
        ({"embedding_types": ["float"]}, {"embeddingTypes": ["float"]}),
        ({"embedding_types": ["binary"]}, {"embeddingTypes": ["binary"]}),
        (
            {"embedding_types": ["binary"], "normalize": False, "dimensions": 512},
            {"embeddingTypes": ["binary"], "normalize": False, "dimensions": 512},
        ),
    ],
    ids=str,
)
def test_v2_is_sent_the_text_and_what_was_asked_for(params: dict[str, Any], more: dict[str, Any]) -> None:
    """Nothing else: what is left out has AWS's default."""
    assert body(TITAN, "hello", **params) == {"inputText": "hello"} | more


@pytest.mark.parametrize("model", [TITAN_V1, TITAN_G1])
@pytest.mark.parametrize("dimensions", [None, 1536])
@pytest.mark.parametrize("normalize", [None, True])
def test_v1_is_sent_the_text_and_never_anything_else(
    model: str, dimensions: int | None, normalize: bool | None
) -> None:
    """It has one size, and no switch: whoever wants length 1 gets it from us."""
    assert body(model, "hello", dimensions=dimensions, normalize=normalize) == {"inputText": "hello"}


@pytest.mark.parametrize(
    "text, sent",
    [
        ('a "quote"\n', b'{"inputText":"a \\"quote\\"\\n"}'),
        ("a\x00b", b'{"inputText":"a\\u0000b"}'),
        ("é😀", '{"inputText":"é😀"}'.encode()),
    ],
)
def test_odd_characters_are_escaped_only_where_json_says_so(text: str, sent: bytes) -> None:
    assert request(TITAN, text) == sent


@given(st.text(min_size=1))
def test_text_arrives_as_it_is(text: str) -> None:
    assert json.loads(request(TITAN, text)) == {"inputText": text}


def test_more_than_one_text_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="unpack"):
        request(TITAN, "a", "b")


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("model", [TITAN, TITAN_V1, TITAN_G1])
@pytest.mark.parametrize(
    "answer",
    [
        USUAL,
        b'{"embedding":%b,"inputTextTokenCount":5}' % VECTOR,
        b' {\n  "embedding" : %b ,\r\n\t"embeddingsByType" : {} , "inputTextTokenCount" : 5 \n}\n' % VECTOR,
        b'{"inputTextTokenCount":5,"embedding":%b}' % VECTOR,
        b'{"embeddingsByType":{"float":[9,9]},"embedding":%b,"inputTextTokenCount":5}' % VECTOR,
        b'{"embedding":%b,"inputTextTokenCount":5,"message":null}' % VECTOR,
        b'{"embedding":%b,"embeddingsByType":{"binary":[0,1]},"inputTextTokenCount":5}' % VECTOR,
        b'{"embedding":%b,"note":"\\"inputTextTokenCount\\":7}","inputTextTokenCount":5}' % VECTOR,
        USUAL + b" " * 200,
        b" " * 200 + USUAL,
        USUAL[:-1] + b" " * 200 + b"}",
        b'{"embedding":%b,"inputTextTokenCount":%b5}' % (VECTOR, b" " * 200),
    ],
    ids=range(12),
)
def test_every_shape_gives_the_number_text_byte_for_byte(model: str, answer: bytes) -> None:
    assert parse(model, answer) == Answer([VECTOR], 5)


def test_array_is_taken_with_its_own_spaces() -> None:
    array = b"[ 1 ,\n-2.50 ]"

    assert parse(TITAN, b'{"embedding":%b,"inputTextTokenCount":5}' % array).vectors == [array]


@pytest.mark.parametrize(
    "answer",
    [
        BINARY,
        b'{"inputTextTokenCount":5,"embeddingsByType":{"binary":%b}}' % BITS,
        b' { "embeddingsByType" : { "binary" : %b } , "inputTextTokenCount" : 5 } ' % BITS,
        b'{"embedding":%b,"embeddingsByType":{"float":%b,"binary":%b},"inputTextTokenCount":5}'
        % (VECTOR, VECTOR, BITS),
        b'{"embedding":null,"embeddingsByType":{"binary":%b},"inputTextTokenCount":5}' % BITS,
    ],
    ids=range(5),
)
def test_binary_vector_is_the_one_by_type(answer: bytes) -> None:
    """`embedding`, where it is there, holds the floats."""
    assert parse(TITAN, answer, embedding_types=["binary"]) == Answer([BITS], 5)


@pytest.mark.parametrize(
    "answer",
    [
        USUAL,
        b'{"embedding":%b,"inputTextTokenCount":5}' % BITS,
        b'{"embeddingsByType":{},"inputTextTokenCount":5}',
        b'{"embeddingsByType":{"binary":null},"inputTextTokenCount":5}',
        b'{"embeddingsByType":null,"inputTextTokenCount":5}',
    ],
    ids=range(5),
)
def test_answer_without_the_binary_vector_asked_for_is_refused(answer: bytes) -> None:
    refuses(TITAN, answer, numbers=5, embedding_types=["binary"])


@pytest.mark.parametrize(
    "answer, headers, tokens",
    [
        (USUAL, {}, 5),
        (USUAL, {TOKENS_HEADER: b"7"}, 5),
        (b'{"embedding":%b,"inputTextTokenCount":0}' % VECTOR, {TOKENS_HEADER: b"7"}, 0),
        (b'{"embedding":%b}' % VECTOR, {TOKENS_HEADER: b"7"}, 7),
        (b'{"embedding":%b,"inputTextTokenCount":null}' % VECTOR, {TOKENS_HEADER: b"7"}, 7),
        (b'{"embedding":%b,"x":{"inputTextTokenCount":9}}' % VECTOR, {TOKENS_HEADER: b"7"}, 7),
        (b'{"embedding":%b}' % VECTOR, {}, None),
        (b'{"embedding":%b}' % VECTOR, {TOKENS_HEADER: b""}, None),
        (b'{"embedding":%b}' % VECTOR, {TOKENS_HEADER: b"-3"}, None),
        (b'{"embedding":%b}' % VECTOR, {TOKENS_HEADER: b"many"}, None),
    ],
)
def test_tokens_come_from_the_body_else_from_the_header(
    answer: bytes, headers: dict[bytes, bytes], tokens: int | None
) -> None:
    """What AWS did not report is None, never 0."""
    assert parse(TITAN, answer, headers=headers) == Answer([VECTOR], tokens)


@pytest.mark.parametrize("numbers", [4, 6, 256])
def test_vector_of_another_length_is_refused(numbers: int) -> None:
    refuses(TITAN, USUAL, numbers=numbers)


@pytest.mark.parametrize(
    "array",
    [
        b"[]",
        b"[0,0,0,0,0]",
        b"[0.0,-0.0,0,0,0]",
        b"[NaN,1,1,1,1]",
        b"[1,1,1,1,Infinity]",
        b"[1,1,1,1,1e400]",
        b"[1,1,1,1,null]",
        b'[1,1,1,1,"1"]',
        b"[1,1,1,1,true]",
        b"[[1,1,1,1,1]]",
        b"[1,[1],1,1,1]",
        b"[1,1,1,1,{}]",
        b"null",
        b'"W10="',
        b"{}",
        b"5",
    ],
)
@pytest.mark.parametrize(
    "form", [b'{"embedding":%b,"inputTextTokenCount":5}', b'{"inputTextTokenCount":5,"embedding":%b}']
)
def test_what_is_no_vector_is_refused(array: bytes, form: bytes) -> None:
    refuses(TITAN, form % array, numbers=5)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"message":"Something failed."}',
        b'{"embedding":[],"inputTextTokenCount":5}',
        b'{"embeddingsByType":{"float":[1,2,3,4,5]},"inputTextTokenCount":5}',
        BINARY,
        b'{"embedding":%b,"inputTextTokenCount":"5"}' % VECTOR,
    ],
)
def test_any_other_answer_is_refused(answer: bytes) -> None:
    refuses(TITAN, answer, numbers=5)


@given(st.binary(max_size=40), st.integers(0, len(USUAL)), st.integers(0, 20))
def test_broken_answer_gives_the_vector_or_is_refused(noise: bytes, start: int, cut: int) -> None:
    """Whatever bytes stand in the answer: never another vector without being checked, never another exception."""
    try:
        answer = parse(TITAN, USUAL[:start] + noise + USUAL[start + cut :], numbers=5)
    except InvalidUpstream:
        return
    assert len(answer.vectors) == 1
    assert bytes(answer.vectors[0]).count(b",") == 4
