"""Titan Text Embeddings V2: what is sent, and every shape of what comes back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock import vectors
from embedrock.catalog import MODELS
from embedrock.errors import InvalidUpstream, Retry
from embedrock.families import titan_text_v2
from embedrock.families.answer import Answer

SPEC = MODELS["amazon.titan-embed-text-v2:0"]
TOKENS_HEADER = b"x-amzn-bedrock-input-token-count"

#: Number text with the width and the spellings of a live answer, and some no printer of ours would choose.
VECTOR = b"[-0.09064465761184692,0.0,1.9764E-4,-2.2e-05, 0.5]"
USUAL = b'{"embedding":%b,"embeddingsByType":{"float":%b},"inputTextTokenCount":5}' % (VECTOR, VECTOR)


def parse(body: bytes, headers: dict[bytes, bytes] | None = None, dimensions: int = 5) -> Answer:
    """Return what the family makes of an answer, when its vector is one."""
    answer = titan_text_v2.parse_response(bytearray(body), headers or {}, 1)
    assert answer == titan_text_v2.parse_response(body, headers or {}, 1)
    for array in answer.vectors:
        vectors.as_json(array, dimensions)
    return answer


def refuses(body: bytes, dimensions: int = 5) -> None:
    with pytest.raises(InvalidUpstream):
        parse(body, dimensions=dimensions)


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize(
    "text, dimensions, body",
    [
        ("hello", None, b'{"inputText":"hello"}'),
        ("hello", 256, b'{"inputText":"hello","dimensions":256}'),
        ('a "quote"\n', 1024, b'{"inputText":"a \\"quote\\"\\n","dimensions":1024}'),
        ("a\x00b", None, b'{"inputText":"a\\u0000b"}'),
        ("é😀", None, '{"inputText":"é😀"}'.encode()),
    ],
)
def test_request_is_the_text_and_the_dimensions_asked_for(text: str, dimensions: int | None, body: bytes) -> None:
    """Nothing else: what is left out has AWS's default."""
    assert titan_text_v2.build_request(SPEC, [text], dimensions) == body


@given(st.text(min_size=1))
def test_text_arrives_as_it_is(text: str) -> None:
    assert json.loads(titan_text_v2.build_request(SPEC, [text], None)) == {"inputText": text}


def test_more_than_one_text_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="unpack"):
        titan_text_v2.build_request(SPEC, ["a", "b"], None)


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize(
    "body",
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
def test_every_shape_gives_the_number_text_byte_for_byte(body: bytes) -> None:
    assert parse(body) == Answer([VECTOR], 5)


def test_array_is_taken_with_its_own_spaces() -> None:
    array = b"[ 1 ,\n-2.50 ]"

    assert parse(b'{"embedding":%b,"inputTextTokenCount":5}' % array, dimensions=2).vectors == [array]


@pytest.mark.parametrize(
    "body, headers, tokens",
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
    body: bytes, headers: dict[bytes, bytes], tokens: int | None
) -> None:
    """What AWS did not report is None, never 0."""
    assert parse(body, headers).tokens == tokens


@pytest.mark.parametrize("end", range(len(USUAL)))
def test_truncated_answer_is_refused(end: int) -> None:
    refuses(USUAL[:end])


@pytest.mark.parametrize("dimensions", [4, 6, 256])
def test_vector_of_another_length_is_refused(dimensions: int) -> None:
    refuses(USUAL, dimensions)


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
    refuses(form % array)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"message":"Something failed."}',
        b'{"embedding":[],"inputTextTokenCount":5}',
        b'{"embeddingsByType":{"float":[1,2,3,4,5]},"inputTextTokenCount":5}',
        b'{"embeddingsByType":{"binary":[0,1,0,1,1]},"inputTextTokenCount":5}',
        b'{"embedding":%b,"inputTextTokenCount":"5"}' % VECTOR,
        b"<html><body>503</body></html>",
        b'{"note":%b%b,"embedding":%b}' % (b"[" * 100_000, b"]" * 100_000, VECTOR),
    ],
    ids=lambda body: f"{len(body)} bytes: {body[:24]!r}",
)
def test_any_other_answer_is_refused(body: bytes) -> None:
    refuses(body)


def test_refused_answer_is_asked_for_once_more() -> None:
    with pytest.raises(InvalidUpstream) as caught:
        parse(b"{}")

    assert caught.value.retry is Retry.ONCE


@given(st.binary(max_size=40), st.integers(0, len(USUAL)), st.integers(0, 20))
def test_broken_answer_gives_the_vector_or_is_refused(noise: bytes, start: int, cut: int) -> None:
    """Whatever bytes stand in the answer: never another vector without being checked, never another exception."""
    try:
        answer = parse(USUAL[:start] + noise + USUAL[start + cut :])
    except InvalidUpstream:
        return
    assert len(answer.vectors) == 1
    assert bytes(answer.vectors[0]).count(b",") == 4
