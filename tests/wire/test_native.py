"""Bedrock's own bodies: what is refused by shape, what is sent, and an answer that stays byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.catalog import MODELS
from embedrock.errors import BadRequest, InvalidUpstream, ValidationError
from embedrock.wire import native
from embedrock.wire.native import decode_request, encode_response, open_end, read_model

TEXTS = {"texts": ["a", "b"], "input_type": "search_document"}
MIXED = [{"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:b"}}]}]
CONFIG = {"embeddingConfig": {"outputEmbeddingLength": 384}}
#: A body of each shape, and the texts and images in it.
BODIES: list[tuple[str, dict[str, Any], list[str], int]] = [
    ("titan_text_v1", {"inputText": "a"}, ["a"], 0),
    ("titan_text_v2", {"inputText": "a"}, ["a"], 0),
    ("titan_text_v2", {"inputText": "", "dimensions": 300, "normalize": False}, [""], 0),
    ("titan_text_v2", {"inputText": "a", "embeddingTypes": ["binary", "float"]}, ["a"], 0),
    ("titan_image", {"inputText": "a"}, ["a"], 0),
    ("titan_image", {"inputImage": "b"} | CONFIG, [], 1),
    ("titan_image", {"inputText": "a", "inputImage": "b", "embeddingConfig": {}}, ["a"], 1),
    ("cohere_v3", TEXTS | {"truncate": "END"}, ["a", "b"], 0),
    ("cohere_v3", TEXTS | {"truncate": "NONE", "embedding_types": ["int8", "float", "ubinary"]}, ["a", "b"], 0),
    ("cohere_v3", {"images": ["data:b"], "input_type": "image"}, [], 1),
    ("cohere_v4", TEXTS | {"truncate": "LEFT", "output_dimension": 7, "max_tokens": 9}, ["a", "b"], 0),
    ("cohere_v4", {"images": ["data:b", "data:c"], "input_type": "search_document"}, [], 2),
    ("cohere_v4", {"inputs": MIXED, "input_type": "clustering", "truncate": "NONE"}, ["a"], 1),
]
#: A body that breaks its schema, and the member to blame.
BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("titan_text_v1", {}, "inputText"),
    ("titan_text_v1", {"inputText": "a", "dimensions": 1536}, "dimensions"),
    ("titan_text_v2", {"inputText": ["a"]}, "inputText"),
    ("titan_text_v2", {"inputText": None}, "inputText"),
    ("titan_text_v2", {"texts": ["a"]}, "texts"),
    ("titan_text_v2", {"inputText": "a", "dimensions": "256"}, "dimensions"),
    ("titan_text_v2", {"inputText": "a", "dimensions": 256.0}, "dimensions"),
    ("titan_text_v2", {"inputText": "a", "dimensions": True}, "dimensions"),
    ("titan_text_v2", {"inputText": "a", "dimensions": None}, "dimensions"),
    ("titan_text_v2", {"inputText": "a", "normalize": "true"}, "normalize"),
    ("titan_text_v2", {"inputText": "a", "normalize": 1}, "normalize"),
    ("titan_text_v2", {"inputText": "a", "embeddingTypes": "float"}, "embeddingTypes"),
    ("titan_text_v2", {"inputText": "a", "embeddingTypes": []}, "embeddingTypes"),
    ("titan_text_v2", {"inputText": "a", "embeddingTypes": ["int8"]}, "embeddingTypes"),
    ("titan_text_v2", {"inputText": "a", "embeddingTypes": ["float", "float"]}, "embeddingTypes"),
    ("titan_text_v2", {"inputText": "a", "embeddingTypes": [{}]}, "embeddingTypes"),
    ("titan_text_v2", {"inputText": "a", "input_type": "search_document"}, "input_type"),
    ("titan_image", {}, "inputText"),
    ("titan_image", dict(CONFIG), "inputText"),
    ("titan_image", {"inputImage": ["b"]}, "inputImage"),
    ("titan_image", {"inputText": "a", "embeddingConfig": 384}, "embeddingConfig"),
    ("titan_image", {"inputText": "a", "embeddingConfig": {"dimensions": 384}}, "embeddingConfig"),
    ("titan_image", {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": "384"}}, "embeddingConfig"),
    ("titan_image", {"inputText": "a", "dimensions": 384}, "dimensions"),
    ("cohere_v3", {"texts": ["a"]}, "input_type"),
    ("cohere_v3", {"input_type": "search_document"}, "texts"),
    ("cohere_v3", TEXTS | {"images": ["data:b"]}, "texts"),
    ("cohere_v3", TEXTS | {"texts": "a"}, "texts"),
    ("cohere_v3", TEXTS | {"texts": []}, "texts"),
    ("cohere_v3", TEXTS | {"texts": ["a", 1]}, "texts"),
    ("cohere_v3", TEXTS | {"input_type": "document"}, "input_type"),
    ("cohere_v3", TEXTS | {"input_type": ["search_document"]}, "input_type"),
    ("cohere_v3", TEXTS | {"truncate": "LEFT"}, "truncate"),
    ("cohere_v3", TEXTS | {"truncate": None}, "truncate"),
    ("cohere_v3", TEXTS | {"embedding_types": ["base64"]}, "embedding_types"),
    ("cohere_v3", TEXTS | {"embedding_types": "float"}, "embedding_types"),
    *(("cohere_v3", TEXTS | {name: value}, name) for name, value in [("user", "u"), ("encoding_format", "float")]),
    *(("cohere_v3", TEXTS | {name: 512}, name) for name in ("dimensions", "output_dimension", "max_tokens")),
    ("cohere_v3", TEXTS | {"inputText": "a"}, "inputText"),
    ("cohere_v3", TEXTS | {"inputs": MIXED}, "inputs"),
    ("cohere_v4", {"input_type": "search_document"}, "texts"),
    ("cohere_v4", TEXTS | {"inputs": MIXED}, "texts"),
    ("cohere_v4", {"input_type": "search_document", "inputs": ["a"]}, "inputs"),
    ("cohere_v4", {"input_type": "search_document", "inputs": []}, "inputs"),
    ("cohere_v4", TEXTS | {"output_dimension": "512"}, "output_dimension"),
    ("cohere_v4", TEXTS | {"max_tokens": 1.5}, "max_tokens"),
    ("cohere_v4", TEXTS | {"dimensions": 512}, "dimensions"),
]
DEEP = 100_000


def encoded(family: str, answer: bytes, used: int = 3, remaining: int | None = None) -> bytes:
    body = encode_response(open_end(family, answer), used, remaining)
    whole = b"".join(body.pieces)
    assert body.length == len(whole)
    return whole


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


# ---------------------------------------------------------------- what is asked


def test_model_is_taken_out_of_the_body() -> None:
    assert read_model(b'{"inputText":"a","model":"m","normalize":true}') == ("m", {"inputText": "a", "normalize": True})


@pytest.mark.parametrize("body", [b'{"inputText":"a"}', b'{"model":null}', b'{"model":""}', b'{"model":["m"]}'])
def test_body_without_a_model_is_refused(body: bytes) -> None:
    with pytest.raises(ValidationError) as caught:
        read_model(body)

    assert (caught.value.status, caught.value.param, caught.value.code) == (422, "model", "validation_error")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model":"m","model":"m"}', b'{"model":"m","x":NaN}', b"\xff"])
def test_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        read_model(body)

    assert (caught.value.status, caught.value.code) in [(400, "invalid_json"), (400, "duplicate_key")]


@pytest.mark.parametrize("family, members, texts, images", BODIES)
def test_body_is_sent_as_it_came(family: str, members: dict[str, Any], texts: list[str], images: int) -> None:
    before = json.dumps(members)

    ask = decode_request(family, members)

    assert json.loads(ask.body) == members
    assert (sorted(ask.texts), ask.images) == (texts, images)
    assert json.dumps(members) == before, "what the caller sent is not written to"


@pytest.mark.parametrize("family", ["cohere_v3", "cohere_v4"])
def test_truncate_is_none_unless_the_caller_says(family: str) -> None:
    assert json.loads(decode_request(family, TEXTS).body) == TEXTS | {"truncate": "NONE"}
    assert json.loads(decode_request(family, TEXTS | {"truncate": "START"}).body) == TEXTS | {"truncate": "START"}


def test_truncate_is_none_for_mixtures_too_which_hold_texts() -> None:
    members = {"inputs": MIXED, "input_type": "search_document"}

    assert json.loads(decode_request("cohere_v4", members).body) == members | {"truncate": "NONE"}


@pytest.mark.parametrize("family, members, param", BROKEN)
def test_body_that_breaks_its_schema_is_refused_by_the_member(family: str, members: dict[str, Any], param: str) -> None:
    with pytest.raises(ValidationError) as caught:
        decode_request(family, members)

    assert (caught.value.status, caught.value.param, caught.value.code) == (422, param, "validation_error")


@pytest.mark.parametrize("name", ["a" * 101, "a\nb", "\ud800"])
def test_name_that_cannot_be_shown_is_not(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        decode_request("titan_text_v2", {"inputText": "a", name: 1})

    assert caught.value.param == "…"
    assert name not in caught.value.message


def test_every_family_of_the_prefixes_has_a_schema() -> None:
    families = {spec.family for spec in MODELS.values() if spec.id.startswith(native.PREFIXES)}

    for family in families:
        with pytest.raises(ValidationError):
            decode_request(family, {"user": "u"})
    assert families == {family for family, *_ in BODIES}


def test_lone_surrogates_become_replacement_characters() -> None:
    ask = decode_request("cohere_v4", TEXTS | {"texts": ["\ud800 é \udc00", "\U0001f600\x00"], "truncate": "END"})

    assert json.loads(ask.body)["texts"] == ["\ufffd é \ufffd", "\U0001f600\x00"]


@pytest.mark.parametrize("text", ["a", "\ud800"])
def test_body_that_is_nested_too_deeply_is_refused(text: str) -> None:
    """Of a member that is passed on as it is."""
    members = {"inputs": [{"content": nested(DEEP), "text": text}], "input_type": "clustering"}

    with pytest.raises(BadRequest) as caught:
        decode_request("cohere_v4", members)

    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    "members, texts, images",
    [
        ({"singleEmbeddingParams": {"text": {"truncationMode": "END", "value": "a"}}}, ["a"], 0),
        ({"singleEmbeddingParams": {"image": {"format": "png", "source": {"bytes": "b"}}}}, [], 1),
        ({"singleEmbeddingParams": {"video": {"format": "mp4", "source": {"bytes": "b"}}}}, [], 0),
        ({"inputType": "text", "inputText": "a", "textTruncate": "end"}, ["a"], 0),
        ({"inputType": "image", "mediaSource": {"base64String": "b"}}, [], 1),
        ({"inputType": "text", "text": {"inputText": "a"}}, ["a"], 0),
        ({"inputType": "image", "image": {"mediaSource": {"base64String": "b"}}}, [], 1),
        ({"inputType": "text_image", "text_image": {"inputText": "a", "mediaSource": {}}}, ["a"], 1),
        ({"inputType": "multi_input", "multi_input": {"inputText": "a", "mediaSources": [{}, {}]}}, ["a"], 2),
        ({"anything": [1, None, {"else": "b"}], "text": 3, "texts": {"a": 1.5}}, [], 0),
    ],
)
def test_family_without_a_schema_is_passed_on_and_counted(
    members: dict[str, Any], texts: list[str], images: int
) -> None:
    """Bedrock checks it; what it bills by the text or image is known all the same."""
    ask = decode_request("marengo_3_0", members)

    assert json.loads(ask.body) == members
    assert (list(ask.texts), ask.images) == (texts, images)


# ---------------------------------------------------------------- what is answered

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda value: st.lists(value, max_size=3) | st.dictionaries(st.text(), value, max_size=3),
    max_leaves=12,
)
SPACE = st.text(" \t\r\n", max_size=3)


@given(
    st.dictionaries(st.text().filter(lambda name: name != "usage"), JSON, min_size=1, max_size=4),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
    SPACE,
    SPACE,
    st.integers(0, 10**15),
    st.none() | st.integers(0, 10**15),
)
def test_usage_is_added_behind_whatever_bedrock_answers(
    answer: dict[str, Any], separators: tuple[str, str], before: str, after: str, used: int, remaining: int | None
) -> None:
    sent = f"{before}{json.dumps(answer, separators=separators)}{after}".encode()

    whole = encoded("cohere_v4", sent, used, remaining)

    members = json.loads(whole)
    assert whole.startswith(sent.rstrip()[:-1] + b',"usage":{')
    assert members == answer | {"usage": {"credits_used": used, "credits_remaining": remaining}}
    assert list(members)[-1] == "usage"


@pytest.mark.parametrize("family", ["titan_text_v1", "titan_text_v2", "titan_image"])
def test_embedding_that_titan_leaves_out_is_null_before_usage(family: str) -> None:
    answer = b'{"embeddingsByType":{"binary":[0,1]},"inputTextTokenCount":2}'

    assert encoded(family, answer) == (
        b'{"embeddingsByType":{"binary":[0,1]},"inputTextTokenCount":2,"embedding":null,'
        b'"usage":{"credits_used":3,"credits_remaining":null}}'
    )


@pytest.mark.parametrize("answer", [b'{"embedding":[0.5]}', b'{ "embedding" : null}', b'{"a":1,"embedding"\n:[]}'])
def test_embedding_that_is_there_is_left_alone(answer: bytes) -> None:
    assert encoded("titan_text_v2", answer) == (answer[:-1] + b',"usage":{"credits_used":3,"credits_remaining":null}}')


def test_answer_of_others_has_no_embedding_added() -> None:
    assert "embedding" not in json.loads(encoded("cohere_v3", b'{"embeddings":[[0.5]],"id":"a"}'))


@pytest.mark.parametrize("answer", [b"", b"{}", b"{ }\n", b"[]", b"null", b"<html>{}</html>", b"a}", b"[1,{}", b"}"])
def test_answer_that_is_no_object_with_members_is_refused(answer: bytes) -> None:
    with pytest.raises(InvalidUpstream):
        open_end("titan_text_v2", answer)


def test_sound_and_film_are_told_as_the_body_has_them() -> None:
    film = {"format": "mp4", "source": {"s3Location": {"uri": "s3://bucket/film.mp4"}}}
    sound = {"format": "wav", "source": {"bytes": "QUJD"}}

    ask = decode_request("nova", {"singleEmbeddingParams": {"audio": sound, "video": film}})

    assert sorted(clip.kind or "" for clip in ask.clips) == ["audio", "video"]
    assert [(clip.format, clip.size) for clip in ask.clips if clip.kind == "audio"] == [("wav", 3)]
    assert [clip.size for clip in ask.clips if clip.kind == "video"] == [None]
    assert ask.objects == ("s3://bucket/film.mp4",)
