"""One JSON object in UTF-8, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.errors import BadRequest
from embedrock.wire.strict_json import decode_object

TEXT = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), TEXT
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=20,
)


def refusal(body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        decode_object(body)
    return caught.value


@given(st.dictionaries(TEXT, VALUES, max_size=5), st.sampled_from([None, 2]))
def test_every_object_is_read(document: dict[str, object], indent: int | None) -> None:
    assert decode_object(json.dumps(document, indent=indent).encode()) == document


@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_raw_utf8_is_read(document: dict[str, str]) -> None:
    assert decode_object(json.dumps(document, ensure_ascii=False).encode()) == document


@pytest.mark.parametrize(
    "body, document",
    [
        (b"{}", {}),
        (b' \r\n\t{ "a" :\n1 } \n', {"a": 1}),
        (b'{"a":"\\ud800"}', {"a": "\ud800"}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a":"\\u0000"}', {"a": "\x00"}),
        (b'{"a":"NaN"}', {"a": "NaN"}),
        (b'{"a":{"b":1},"b":{"b":2}}', {"a": {"b": 1}, "b": {"b": 2}}),
        (b'{"a":1e-400}', {"a": 0.0}),
        (b'{"a":18446744073709551616}', {"a": 2**64}),
        (b'{"":0}', {"": 0}),
    ],
)
def test_odd_but_valid_body_is_read(body: bytes, document: dict[str, object]) -> None:
    assert decode_object(body) == document


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"true",
        b'{"a":',
        b'{"a":1,}',
        b'{"a":1}}',
        b'{"a":1}{"b":2}',
        b'{"a":1} x',
        b'{"a":1}\x00',
        b'{"a":1} // no',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":0x10}',
        b'{"a":True}',
        b'{"a":"line\nbreak"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\ud8"}',
        b'{"a":"open}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":"é"}'.encode("latin-1"),
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xff"}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":[1,NaN]}',
        b'{"a":1e400}',
        b'{"a":-1e400}',
        b'{"a":1' + b"0" * 400 + b".0}",
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"9" * 1_000_000 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 1_000_000,
    ],
    ids=lambda body: f"{len(body)} bytes: {body[:16]!r}",
)
def test_everything_else_is_refused(body: bytes) -> None:
    error = refusal(body)

    assert (error.status, error.code, error.param) == (400, "invalid_json", None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":"a"}',
        b'{"model":"a","\\u006dodel":"b"}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[{"b":1,"b":1}]}',
        b'{"\\ud800":1,"\\ud800":2}',
    ],
)
def test_key_that_is_there_twice_is_refused_at_any_depth(body: bytes) -> None:
    assert refusal(body).code == "duplicate_key"


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        assert isinstance(decode_object(body), dict)
    except BadRequest as exc:
        assert exc.code in ("invalid_json", "duplicate_key")


@given(st.text("secret"), st.sampled_from(['{"a":"%s', '{"%s":1,"%s":2}', "%s"]))
def test_refusal_does_not_repeat_the_body(text: str, form: str) -> None:
    mark = f"SECRET{text}"

    assert mark not in refusal(form.replace("%s", mark).encode()).message
