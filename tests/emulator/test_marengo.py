"""TwelveLabs Marengo over HTTP: what each version embeds and refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bedrock_emulator import expected_vectors
from bedrock_emulator.errors import AwsError

from .conftest import Running
from .drawing import BLUE, RED, base64, encode, plain, scene

V2 = "us.twelvelabs.marengo-embed-2-7-v1:0"
V3 = "twelvelabs.marengo-embed-3-0-v1:0"
IMAGE = {"base64String": base64(RED)}
OTHER = {"base64String": base64(BLUE)}
S3 = {"s3Location": {"uri": "s3://media/b.png", "bucketOwner": "123456789012"}}

OBJECTS = {"s3://media/b.png": BLUE}

V2_TEXT = {"inputType": "text", "inputText": "a man walks a dog"}
V2_IMAGE = {"inputType": "image", "mediaSource": IMAGE}


def text(value: str) -> dict[str, Any]:
    return {"inputType": "text", "text": {"inputText": value}}


def image(source: dict[str, Any]) -> dict[str, Any]:
    return {"inputType": "image", "image": {"mediaSource": source}}


def pair(value: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"inputType": "text_image", "text_image": {"inputText": value, "mediaSource": source}}


def named(name: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "mediaType": "image", **source}


def several(*sources: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"inputType": "multi_input", "multi_input": {"mediaSources": list(sources), **members}}


def row(model: str, body: dict[str, Any]) -> Any:
    return np.array(expected_vectors(model, body)[0])


def refusal(emulator: Running, model: str, body: Any) -> str:
    answer = emulator.invoke(model, body)
    assert answer.status == 400, answer.json
    assert answer.headers["x-amzn-errortype"].startswith("ValidationException:")
    return str(answer.json["message"])


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (V2, V2_TEXT),
        (V2, {**V2_TEXT, "textTruncate": "none"}),
        (V2, V2_IMAGE),
        (V2, {"inputType": "image", "mediaSource": S3}),
        (V3, text("a man walks a dog")),
        (V3, {**text("a man walks a dog"), "inferenceId": "one"}),
        (V3, image(IMAGE)),
        (V3, image({"s3Location": {"uri": "s3://media/b.png"}})),
        (V3, pair("same shoe, in red", IMAGE)),
        (V3, several(named("a", IMAGE), named("b", S3), inputText="<@a> worn with <@b>")),
        (V3, several(named("a", IMAGE), named("b", OTHER))),
    ],
)
def test_the_answer_is_one_vector_of_length_one_without_a_token_count(
    emulator: Running, model: str, body: dict[str, Any]
) -> None:
    emulator.upload(OBJECTS)

    answer = emulator.invoke(model, body)

    assert answer.body.startswith(b'{"data":[{"embedding":[')
    assert answer.body.endswith(b"]}]}")
    (entry,) = answer.json["data"]
    assert [entry["embedding"]] == expected_vectors(model, body, OBJECTS)
    assert len(entry["embedding"]) == (1024 if model == V2 else 512)
    assert np.linalg.norm(entry["embedding"]) == pytest.approx(1, abs=1e-6)
    assert "x-amzn-bedrock-input-token-count" not in answer.headers
    (logged,) = emulator.journal()
    assert (logged["tokens"], logged["items"]) == (None, 1)


def test_numbers_are_float32(emulator: Running) -> None:
    numbers = emulator.invoke(V3, text("hello")).body.partition(b':[{"embedding":[')[2].partition(b"]")[0].split(b",")

    assert [float(str(value)) for value in np.array(numbers, np.float32)] == [float(number) for number in numbers]


def test_the_two_versions_have_nothing_in_common() -> None:
    assert abs(float(row(V2, V2_TEXT)[:512] @ row(V3, text("a man walks a dog")))) < 0.15


def test_a_pair_is_near_its_text_and_its_image() -> None:
    both = row(V3, pair("same shoe, in green", IMAGE))

    assert float(both @ row(V3, text("same shoe, in green"))) > 0.6
    assert float(both @ row(V3, image(IMAGE))) > 0.6
    assert float(both @ row(V3, image(OTHER))) < 0.4


def test_several_images_come_in_the_order_of_the_text_or_else_of_the_list() -> None:
    a, b = named("a", IMAGE), named("b", OTHER)
    listed = row(V3, several(a, b))

    assert (listed != row(V3, several(b, a))).any()
    said = row(V3, several(a, b, inputText="<@b> on <@a>"))
    assert (said == row(V3, several(b, a, inputText="<@b> on <@a>"))).all()
    assert (said != row(V3, several(a, b, inputText="<@a> on <@b>"))).any()


def test_images_that_the_text_does_not_name_come_last() -> None:
    a, b, c = named("a", IMAGE), named("b", OTHER), named("c", {"base64String": base64(encode(scene(1)))})

    assert (row(V3, several(a, b, c, inputText="<@c>")) == row(V3, several(c, a, b, inputText="<@c>"))).all()


def test_the_names_of_images_are_not_words_of_the_text() -> None:
    one, other = (
        row(V3, several(named(name, IMAGE), inputText=f"worn with <@{name}>")) for name in ("shoes", "umbrella")
    )

    assert (one == other).all()


def test_a_placeholder_without_an_image_is_refused(emulator: Running) -> None:
    assert refusal(emulator, V3, several(named("a", IMAGE), inputText="<@a> and <@b>")) == (
        "The text names the media source b, which is not there."
    )


@pytest.mark.parametrize("owner", [{}, {"bucketOwner": "123456789012"}])
def test_an_object_in_s3_has_the_vector_of_its_bytes(owner: dict[str, str]) -> None:
    body = image({"s3Location": {"uri": "s3://media/a.png", **owner}})

    assert expected_vectors(V3, body, {"s3://media/a.png": RED}) == expected_vectors(V3, image(IMAGE))


def test_an_object_that_is_not_there_is_refused() -> None:
    with pytest.raises(AwsError, match="The provided S3 bucket does not exist or cannot be read"):
        expected_vectors(V3, image(S3))


@pytest.mark.parametrize("truncate", [{}, {"textTruncate": "end"}])
def test_2_7_cuts_a_text_to_77_tokens(truncate: dict[str, str]) -> None:
    long = {"inputType": "text", "inputText": "word " * 77 + "more", **truncate}

    assert (row(V2, long) == row(V2, {"inputType": "text", "inputText": ("word " * 77).strip()})).all()


def test_2_7_refuses_a_long_text_when_told_not_to_cut(emulator: Running) -> None:
    body = {"inputType": "text", "inputText": "word " * 78, "textTruncate": "none"}

    assert refusal(emulator, V2, body) == "The text has 78 tokens, the maximum is 77."
    assert emulator.invoke(V2, {**body, "inputText": "word " * 77}).status == 200


@pytest.mark.parametrize(
    "make", [text, lambda value: pair(value, IMAGE), lambda value: several(named("a", IMAGE), inputText=value)]
)
def test_3_0_refuses_a_text_of_more_than_500_tokens(emulator: Running, make: Any) -> None:
    assert emulator.invoke(V3, make("word " * 500)).status == 200
    assert refusal(emulator, V3, make("word " * 501)) == "The text has 501 tokens, the maximum is 500."


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_images_of_four_formats_are_taken(emulator: Running, kind: str) -> None:
    source = {"base64String": base64(encode(plain("red"), kind))}

    assert emulator.invoke(V2, {"inputType": "image", "mediaSource": source}).status == 200
    assert emulator.invoke(V3, image(source)).status == 200


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("data:image/png;base64,iVBORw0=", "The image is not valid base64."),
        (base64(b"no image"), "The image is none of png, jpeg, gif, webp."),
        (base64(RED[:100]), "The image cannot be decoded."),
        (base64(RED.ljust(5_000_001, b"x")), "The image is 5000001 bytes large, the maximum is 5000000."),
    ],
    ids=["data URI", "no image", "cut off", "too large"],
)
def test_a_bad_image_is_refused(emulator: Running, data: str, message: str) -> None:
    source = {"base64String": data}

    assert refusal(emulator, V2, {"inputType": "image", "mediaSource": source}) == message
    assert refusal(emulator, V3, image(source)) == message
    assert refusal(emulator, V3, pair("hello", source)) == message
    assert refusal(emulator, V3, several(named("a", source))) == message


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({}, "required key [inputType] not found"),
        ({"inputText": "x"}, "required key [inputType] not found"),
        ({"inputType": "video", "mediaSource": S3}, "video is not a valid enum value"),
        ({"inputType": "audio", "mediaSource": S3}, "audio is not a valid enum value"),
        ({"inputType": 1}, "expected type: String, found: Integer"),
        ({"inputType": "text"}, "required key [inputText] not found"),
        ({"inputType": "text", "inputText": ""}, "expected minLength: 1, actual: 0"),
        ({"inputType": "text", "inputText": ["x"]}, "expected type: String, found: JSONArray"),
        ({**V2_TEXT, "textTruncate": "END"}, "END is not a valid enum value"),
        ({**V2_TEXT, "mediaSource": IMAGE}, "extraneous key [mediaSource] is not permitted"),
        ({**V2_IMAGE, "startSec": 1}, "extraneous key [startSec] is not permitted"),
        ({"inputType": "image"}, "required key [mediaSource] not found"),
        (
            {"inputType": "image", "image": {"mediaSource": IMAGE}},
            "#: required key [mediaSource] not found#: extraneous key [image] is not permitted",
        ),
        ({"inputType": "image", "mediaSource": "x"}, "expected type: JSONObject, found: String"),
        (
            {"inputType": "image", "mediaSource": {}},
            "#/mediaSource: required key [base64String] not found#/mediaSource: required key [s3Location] not found",
        ),
        ({"inputType": "image", "mediaSource": {**IMAGE, **S3}}, "2 subschemas matched instead of one"),
        (
            {"inputType": "image", "mediaSource": {"s3Location": {"uri": "s3://media/b", "bucketOwner": "12"}}},
            "string [12] does not match pattern [0-9]{12}",
        ),
    ],
)
def test_2_7_words_violations_as_the_validator_does(emulator: Running, body: dict[str, Any], details: str) -> None:
    assert refusal(emulator, V2, body) == (
        f"Malformed input request: {details}, please reformat your input and try again."
    )


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"inputText": "x"}, "required key [inputType] not found"),
        (V2_TEXT, "#: required key [text] not found#: extraneous key [inputText] is not permitted"),
        ({"inputType": "video", "video": {"mediaSource": S3}}, "video is not a valid enum value"),
        ({"inputType": "audio", "audio": {"mediaSource": S3}}, "audio is not a valid enum value"),
        ({**text("x"), "image": {"mediaSource": IMAGE}}, "extraneous key [image] is not permitted"),
        ({**text("x"), "inferenceId": 1}, "expected type: String, found: Integer"),
        ({"inputType": "text", "text": "x"}, "expected type: JSONObject, found: String"),
        (
            {"inputType": "text", "text": {"inputText": "x", "textTruncate": "end"}},
            "extraneous key [textTruncate] is not permitted",
        ),
        ({"inputType": "text_image", "text_image": {"inputText": "x"}}, "required key [mediaSource] not found"),
        (several(), "expected minimum item count: 1, found: 0"),
        (
            {"inputType": "multi_input", "multi_input": {"mediaSources": {}}},
            "expected type: JSONArray, found: JSONObject",
        ),
        (
            several(IMAGE),
            "#/multi_input/mediaSources/0: required key [name] not found"
            "#/multi_input/mediaSources/0: required key [mediaType] not found",
        ),
        (several({**named("a", IMAGE), "mediaType": "video"}), "video is not a valid enum value"),
        (
            several(named("a", IMAGE), named("b", {})),
            "#/multi_input/mediaSources/1: required key [base64String] not found"
            "#/multi_input/mediaSources/1: required key [s3Location] not found",
        ),
        (
            image({"s3Location": {"uri": "s3://media", "bucketOwner": "123456789012"}}),
            "string [s3://media] does not match pattern s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.{1,1024}",
        ),
    ],
)
def test_3_0_words_violations_as_the_validator_does(emulator: Running, body: dict[str, Any], details: str) -> None:
    assert refusal(emulator, V3, body) == (
        f"Malformed input request: {details}, please reformat your input and try again."
    )
