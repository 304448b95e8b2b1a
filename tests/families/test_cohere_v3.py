"""Cohere Embed v3: what is sent, and every shape of what comes back."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock import vectors
from embedrock.catalog import MODELS
from embedrock.errors import InvalidUpstream, Retry
from embedrock.families import cohere_v3
from embedrock.families.answer import Answer

SPEC = MODELS["cohere.embed-english-v3"]
TOKENS = {b"x-amzn-bedrock-input-token-count": b"8"}

#: Number text with the width and the spellings of a live answer, and some no printer of ours would choose.
ROWS = [b"[-0.042236328,-0.03250122,0.0]", b"[ 6.1920E-4 , -2.2e-05,1]"]
REST = b'"id":"67259668-f82e-41c6-a2a0-136b340d2400","response_type":"embeddings_by_type","texts":["a","b ]} {"]'


def usual(rows: list[bytes]) -> bytes:
    return b'{"embeddings":{"float":[%b]},%b}' % (b",".join(rows), REST)


def parse(body: bytes, count: int = 2, dimensions: int = 3, headers: dict[bytes, bytes] | None = None) -> Answer:
    """Return what the family makes of an answer, when its vectors are some."""
    answer = cohere_v3.parse_response(bytearray(body), TOKENS if headers is None else headers, count)
    assert answer == cohere_v3.parse_response(body, TOKENS if headers is None else headers, count)
    for array in answer.vectors:
        vectors.as_json(array, dimensions)
    return answer


def refuses(body: bytes, count: int = 2, dimensions: int = 3) -> None:
    with pytest.raises(InvalidUpstream):
        parse(body, count, dimensions)


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize("dimensions", [None, 1024])
def test_request_names_what_awss_pages_disagree_on(dimensions: int | None) -> None:
    """`truncate` and `embedding_types` always; never a size, which the model refuses."""
    assert cohere_v3.build_request(SPEC, ["hello", "é\x00"], dimensions) == (
        b'{"texts":["hello","\xc3\xa9\\u0000"],"input_type":"search_document","truncate":"NONE",'
        b'"embedding_types":["float"]}'
    )


@given(st.lists(st.text(min_size=1), min_size=1, max_size=96))
def test_texts_arrive_as_they_are_in_order(texts: list[str]) -> None:
    assert json.loads(cohere_v3.build_request(SPEC, texts, None))["texts"] == texts


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize(
    "body",
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
def test_every_shape_gives_the_number_text_byte_for_byte(body: bytes) -> None:
    assert parse(body) == Answer(ROWS, 8)


@pytest.mark.parametrize("count", [1, 2, 95, 96])
def test_rows_keep_their_order(count: int) -> None:
    rows = [b"[%d,0,0]" % (index + 1) for index in range(count)]

    assert parse(usual(rows), count).vectors == rows
    assert parse(b'{"embeddings":[%b]}' % b",".join(rows), count).vectors == rows


def test_lower_cased_echo_of_the_texts_does_not_matter() -> None:
    body = usual(ROWS).replace(b'"a","b ]} {"', b'"hello, world!","[1,2,3]"')

    assert parse(body).vectors == ROWS


@pytest.mark.parametrize(
    "headers, tokens",
    [(TOKENS, 8), ({}, None), ({b"x-amzn-bedrock-input-token-count": b"x"}, None), ({b"other": b"8"}, None)],
)
def test_tokens_are_in_the_header_only(headers: dict[bytes, bytes], tokens: int | None) -> None:
    """What AWS did not report is None, never 0."""
    assert parse(usual(ROWS), headers=headers).tokens == tokens


LIST_SHAPE = b'{"embeddings":[%b],%b}' % (b",".join(ROWS), REST)
BY_TYPE_LAST = b'{%b,"embeddings":{"float":[%b]}}' % (REST, b",".join(ROWS))


@pytest.mark.parametrize("body", [usual(ROWS), LIST_SHAPE, BY_TYPE_LAST], ids=["usual", "list", "last"])
def test_truncated_answer_is_refused_or_has_every_vector(body: bytes) -> None:
    last_row_ends = body.index(ROWS[1]) + len(ROWS[1])
    for end in range(last_row_ends + 2):
        refuses(body[:end])

    for end in range(last_row_ends + 2, len(body)):
        with contextlib.suppress(InvalidUpstream):
            assert parse(body[:end]) == Answer(ROWS, 8)


def test_last_byte_is_missed() -> None:
    for body in (usual(ROWS), LIST_SHAPE, BY_TYPE_LAST):
        refuses(body[:-1])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("body", [usual(ROWS), LIST_SHAPE, BY_TYPE_LAST], ids=["usual", "list", "last"])
def test_one_row_more_or_fewer_is_refused(body: bytes, count: int) -> None:
    """Never a shorter list with status 200, and never another text's vector."""
    refuses(body, count)


@pytest.mark.parametrize("dimensions", [2, 4, 1024])
@pytest.mark.parametrize("body", [usual(ROWS), LIST_SHAPE, BY_TYPE_LAST], ids=["usual", "list", "last"])
def test_vectors_of_another_length_are_refused(body: bytes, dimensions: int) -> None:
    refuses(body, dimensions=dimensions)


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

    refuses(usual(rows))
    refuses(b'{"embeddings":[%b]}' % b",".join(rows))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
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
        b"<html><body>503</body></html>",
        b'{"embeddings":{"\xff\xfe":1,"float":[%b,%b]}}' % (ROWS[0], ROWS[1]),
        b'{"note":%b%b,"embeddings":[%b,%b]}' % (b"[" * 100_000, b"]" * 100_000, ROWS[0], ROWS[1]),
    ],
    ids=lambda body: f"{len(body)} bytes: {body[:24]!r}",
)
def test_any_other_answer_is_refused(body: bytes) -> None:
    refuses(body)


def test_refused_answer_is_asked_for_once_more() -> None:
    with pytest.raises(InvalidUpstream) as caught:
        parse(b"{}")

    assert caught.value.retry is Retry.ONCE


@given(st.binary(max_size=40), st.integers(0, len(usual(ROWS))), st.integers(0, 20))
def test_broken_answer_gives_as_many_vectors_or_is_refused(noise: bytes, start: int, cut: int) -> None:
    """Whatever bytes stand in the answer: never another exception."""
    body = usual(ROWS)
    try:
        answer = parse(body[:start] + noise + body[start + cut :])
    except InvalidUpstream:
        return
    assert [bytes(row).count(b",") for row in answer.vectors] == [2, 2]
