"""Nova Multimodal Embeddings over HTTP: every input, shape of answers, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bedrock_emulator import expected_vectors
from bedrock_emulator.models import nova_schema

from .conftest import TITAN, Running
from .drawing import BLUE, MP4, RED, base64, encode, plain, png_header, shape, wav

MODEL = "amazon.nova-2-multimodal-embeddings-v1:0"
PURPOSES = [
    "GENERIC_INDEX",
    "GENERIC_RETRIEVAL",
    "TEXT_RETRIEVAL",
    "IMAGE_RETRIEVAL",
    "VIDEO_RETRIEVAL",
    "DOCUMENT_RETRIEVAL",
    "AUDIO_RETRIEVAL",
    "CLASSIFICATION",
    "CLUSTERING",
]
S3 = {"s3Location": {"uri": "s3://media/clips/one"}}
OBJECTS = {
    "s3://media/a.txt": b"hello",
    "s3://media/a.webp": encode(plain("red"), "WEBP"),
    "s3://media/a.mp3": b"ID3\x04\0\0",
    "s3://media/a.mov": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
}


def in_s3(ending: str) -> dict[str, Any]:
    return {"s3Location": {"uri": f"s3://media/a.{ending}"}}


def single(purpose: str = "GENERIC_INDEX", **params: Any) -> dict[str, Any]:
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"embeddingPurpose": purpose, **params}}


def text(value: str, truncation: str = "NONE") -> dict[str, Any]:
    return {"text": {"truncationMode": truncation, "value": value}}


def file(kind: str, name: str, data: bytes, **members: Any) -> dict[str, Any]:
    return {kind: {"format": name, "source": {"bytes": base64(data)}, **members}}


def video(mode: str = "AUDIO_VIDEO_COMBINED", data: bytes = MP4) -> dict[str, Any]:
    return file("video", "mp4", data, embeddingMode=mode)


IMAGE = file("image", "png", RED)
AUDIO = file("audio", "wav", wav(1.0))


def refusal(emulator: Running, body: Any) -> str:
    answer = emulator.invoke(MODEL, body)
    assert answer.status == 400, answer.json
    assert answer.headers["x-amzn-errortype"].startswith("ValidationException:")
    return str(answer.json["message"])


def malformed(details: str) -> str:
    return f"Malformed input request: {details}, please reformat your input and try again."


@pytest.mark.parametrize(
    ("purpose", "value", "tokens"),
    [
        ("GENERIC_INDEX", "hello", 3),
        ("GENERIC_RETRIEVAL", "Hello, world!", 19),
        ("GENERIC_RETRIEVAL", "Test Nova dimensions", 18),
        ("TEXT_RETRIEVAL", "Test Nova settings", 22),
    ],
)
def test_tokens_are_counted_as_recorded_and_only_in_the_header(
    emulator: Running, purpose: str, value: str, tokens: int
) -> None:
    answer = emulator.invoke(MODEL, single(purpose, **text(value)))

    assert answer.headers["x-amzn-bedrock-input-token-count"] == str(tokens)
    assert answer.body.startswith(b'{"embeddings":[{"embedding":[')
    assert answer.body.endswith(b'],"embeddingType":"TEXT"}]}')
    assert len(answer.json["embeddings"][0]["embedding"]) == 3072


@pytest.mark.parametrize(
    ("params", "kinds"),
    [
        (text("hello"), ["TEXT"]),
        (IMAGE, ["IMAGE"]),
        (AUDIO, ["AUDIO"]),
        (video(), ["AUDIO_VIDEO_COMBINED"]),
        (video("AUDIO_VIDEO_SEPARATE"), ["VIDEO", "AUDIO"]),
        ({"text": {"truncationMode": "END", "source": in_s3("txt")}}, ["TEXT"]),
        ({"image": {"format": "webp", "source": in_s3("webp")}}, ["IMAGE"]),
        ({"audio": {"format": "mp3", "source": in_s3("mp3")}}, ["AUDIO"]),
        (
            {"video": {"format": "mov", "source": in_s3("mov"), "embeddingMode": "AUDIO_VIDEO_SEPARATE"}},
            ["VIDEO", "AUDIO"],
        ),
    ],
)
@pytest.mark.parametrize("size", [{}, {"embeddingDimension": 384}])
def test_every_input_gives_its_type_and_the_vectors_that_were_expected(
    emulator: Running, params: dict[str, Any], kinds: list[str], size: dict[str, Any]
) -> None:
    body = single(**params, **size)
    emulator.upload(OBJECTS)

    answer = emulator.invoke(MODEL, body)

    entries = answer.json["embeddings"]
    assert [entry["embeddingType"] for entry in entries] == kinds
    assert [entry["embedding"] for entry in entries] == expected_vectors(MODEL, body, OBJECTS)
    assert {len(entry["embedding"]) for entry in entries} == {size.get("embeddingDimension", 3072)}
    assert ("x-amzn-bedrock-input-token-count" in answer.headers) == ("text" in params)


@pytest.mark.parametrize(
    "params", [text("What is seen on the red pictures?"), IMAGE, AUDIO], ids=["text", "image", "audio"]
)
def test_a_purpose_turns_the_vector_a_little(params: dict[str, Any]) -> None:
    found = np.array([expected_vectors(MODEL, single(purpose, **params))[0] for purpose in PURPOSES])

    similarities = found @ found.T
    assert similarities.min() > 0.95
    assert (similarities - np.eye(len(PURPOSES))).max() < 0.9999


def test_reading_an_image_more_closely_turns_its_vector_a_little() -> None:
    details: list[dict[str, Any]] = [{}, {"detailLevel": "STANDARD_IMAGE"}, {"detailLevel": "DOCUMENT_IMAGE"}]

    absent, standard, document = (
        np.array(expected_vectors(MODEL, single(**file("image", "png", RED, **detail)))[0]) for detail in details
    )

    assert (absent == standard).all()
    assert 0.95 < float(standard @ document) < 0.9999


@pytest.mark.parametrize("dimensions", [256, 384, 1024])
@pytest.mark.parametrize("purpose", PURPOSES[:2])
def test_fewer_dimensions_are_a_prefix_brought_to_length_one(purpose: str, dimensions: int) -> None:
    (whole,) = expected_vectors(MODEL, single(purpose, **text("a prefix of a longer vector")))
    (found,) = expected_vectors(
        MODEL, single(purpose, embeddingDimension=dimensions, **text("a prefix of a longer vector"))
    )

    prefix = np.array(whole[:dimensions]) / np.linalg.norm(whole[:dimensions])
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    # The turn of a purpose is measured in whole numbers for each length.
    assert found == pytest.approx(prefix, abs=1e-6 if purpose == "GENERIC_INDEX" else 5e-3)


def test_numbers_are_float32_in_shortest_form(emulator: Running) -> None:
    body = emulator.invoke(MODEL, single(**text("The style of numbers"))).body

    numbers = body.partition(b':[{"embedding":[')[2].partition(b"]")[0].split(b",")
    values = np.array(numbers, np.float32)
    assert [float(str(value)) for value in values] == [float(number) for number in numbers]
    assert max(len(number.lstrip(b"-0.")) for number in numbers) <= 13  # 9 digits, and an exponent perhaps


def test_sound_and_pictures_of_a_video_are_near_the_two_together() -> None:
    both = np.array(expected_vectors(MODEL, single(**video("AUDIO_VIDEO_SEPARATE"))))
    (together,) = expected_vectors(MODEL, single(**video()))

    assert (both @ together > 0.6).all()
    assert abs(float(both[0] @ both[1])) < 0.1


def test_other_bytes_or_another_object_give_another_vector() -> None:
    bodies = [
        single(**video()),
        single(**video(data=MP4 + b"x")),
        single(**AUDIO),
        single(**file("audio", "wav", wav(1.1))),
        single(audio={"format": "mp3", "source": in_s3("mp3")}),
        single(image={"format": "webp", "source": in_s3("webp")}),
        single(**text("s3://media/a.mp3")),
    ]

    found = np.array([expected_vectors(MODEL, body, OBJECTS)[0] for body in bodies])
    assert np.abs(found @ found.T - np.eye(len(found))).max() < 0.1


FILES = [
    ("image", "png", RED),
    ("image", "jpeg", encode(plain("red"), "JPEG")),
    ("image", "gif", encode(plain("red"), "GIF")),
    ("image", "webp", encode(plain("red"), "WEBP")),
    ("audio", "mp3", b"ID3\x04\0\0\0\0\0\0"),
    ("audio", "wav", wav(30.0)),
    ("audio", "ogg", b"OggS\0\x02"),
    ("video", "mp4", MP4),
    ("video", "mov", b"\0\0\0\x14ftypqt  \0\0\0\0"),
    ("video", "mkv", b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska"),
    ("video", "webm", b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm"),
    ("video", "flv", b"FLV\x01\x05"),
    ("video", "mpeg", b"\0\0\x01\xba\x44"),
    ("video", "mpg", b"\0\0\x01\xb3\x14"),
    ("video", "wmv", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ("video", "3gp", b"\0\0\0\x14ftyp3gp5"),
    ("video", "three_gp", b"\0\0\0\x14ftyp3gp5"),
]


@pytest.mark.parametrize(("kind", "name", "data"), FILES)
def test_every_format_is_taken_and_checked(emulator: Running, kind: str, name: str, data: bytes) -> None:
    mode = {"embeddingMode": "AUDIO_VIDEO_COMBINED"} if kind == "video" else {}

    assert emulator.invoke(MODEL, single(**file(kind, name, data, **mode))).status == 200
    assert refusal(emulator, single(**file(kind, name, b"%PDF" + data, **mode))) == (
        f"The provided {kind} does not match the specified {kind} format."
    )


def test_an_image_under_another_name_is_refused(emulator: Running) -> None:
    assert refusal(emulator, single(**file("image", "jpeg", RED))) == (
        "The provided image does not match the specified image format."
    )


@pytest.mark.parametrize(
    ("image", "message"),
    [(RED[:200], "The image cannot be decoded."), (png_header(50_000, 50_000), "The image has 50000 x 50000 pixels.")],
)
def test_a_broken_image_or_a_bomb_is_refused(emulator: Running, image: bytes, message: str) -> None:
    assert refusal(emulator, single(**file("image", "png", image))) == message


@pytest.mark.parametrize(("kind", "name"), [("image", "png"), ("audio", "mp3")])
def test_what_is_no_base64_is_refused(emulator: Running, kind: str, name: str) -> None:
    params: dict[str, Any] = {kind: {"format": name, "source": {"bytes": "data:image/png;base64,iVBORw0="}}}
    body = single(**params)

    assert refusal(emulator, body) == f"The {kind} is not valid base64."


def test_a_wav_of_more_than_thirty_seconds_is_refused(emulator: Running) -> None:
    assert refusal(emulator, single(**file("audio", "wav", wav(30.1)))) == "The audio is longer than 30 seconds."


@pytest.mark.parametrize("truncation", ["START", "END", "NONE"])
def test_a_text_of_8192_characters_is_read_whole(emulator: Running, truncation: str) -> None:
    (entry,) = emulator.invoke(MODEL, single(**text("word " * 1638 + "en", truncation))).json["embeddings"]

    assert list(entry) == ["embedding", "embeddingType"]


def test_a_longer_text_is_refused_unless_it_may_be_cut(emulator: Running) -> None:
    assert refusal(emulator, single(**text("x" * 8193))) == malformed(
        "#/singleEmbeddingParams/text/value: expected maxLength: 8192, actual: 8193"
    )
    assert (
        "truncatedCharLength" not in emulator.invoke(MODEL, single(**text("word " * 5000, "END"))).json["embeddings"][0]
    )


@pytest.mark.parametrize("truncation", ["START", "END"])
def test_no_text_is_longer_than_50000_characters(emulator: Running, truncation: str) -> None:
    assert emulator.invoke(MODEL, single(**text("x" * 50_000, truncation))).status == 200
    assert refusal(emulator, single(**text("x" * 50_001, truncation))) == malformed(
        "#/singleEmbeddingParams/text/value: expected maxLength: 50000, actual: 50001"
    )


@pytest.mark.parametrize(("truncation", "kept"), [("END", "first " + "a " * 8189), ("START", "a " * 8189 + "last")])
def test_a_text_of_too_many_tokens_is_cut_and_says_where(emulator: Running, truncation: str, kept: str) -> None:
    body = single(**text("first " + "a " * 9000 + "last", truncation))

    answer = emulator.invoke(MODEL, body)

    (entry,) = answer.json["embeddings"]
    assert entry["truncatedCharLength"] == len(kept.strip())
    assert [entry["embedding"]] == expected_vectors(MODEL, single(**text(kept.strip(), truncation)))
    assert answer.headers["x-amzn-bedrock-input-token-count"] == "8192"
    assert answer.body.endswith(b'"embeddingType":"TEXT","truncatedCharLength":%d}]}' % len(kept.strip()))


def test_too_many_tokens_are_refused_when_nothing_may_be_cut(emulator: Running) -> None:
    assert refusal(emulator, single(**text("字" * 8192))) == (
        "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 8194 "
    )


P = "#/singleEmbeddingParams"


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"inputText": "x", "dimensions": 1024}, "#: required key [messages] not found"),
        ({}, "#: required key [messages] not found"),
        ({"taskType": "SINGLE_EMBEDDING"}, "#: required key [singleEmbeddingParams] not found"),
        (
            {"taskType": "SEGMENTED_EMBEDDING", "segmentedEmbeddingParams": {}},
            "#/taskType: SEGMENTED_EMBEDDING is not a valid enum value",
        ),
        ({"taskType": 1}, "#/taskType: expected type: String, found: Integer"),
        ({**single(**text("x")), "schemaVersion": "v2"}, "#/schemaVersion: v2 is not a valid enum value"),
        ({**single(**text("x")), "dimensions": 256}, "#: extraneous key [dimensions] is not permitted"),
        (
            {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": []},
            f"{P}: expected type: JSONObject, found: JSONArray",
        ),
        (
            {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": text("x")},
            f"{P}: required key [embeddingPurpose] not found",
        ),
        (
            single(),
            f"{P}: required key [text] not found{P}: required key [image] not found"
            f"{P}: required key [audio] not found{P}: required key [video] not found",
        ),
        (single(**text("x"), **IMAGE), f"{P}: 2 subschemas matched instead of one"),
        (single("INDEX", **text("x")), f"{P}/embeddingPurpose: INDEX is not a valid enum value"),
        (single(embeddingDimension=512, **text("x")), f"{P}/embeddingDimension: 512 is not a valid enum value"),
        (
            single(embeddingDimension="256", **text("x")),
            f"{P}/embeddingDimension: expected type: Integer, found: String",
        ),
        (single(normalize=True, **text("x")), f"{P}: extraneous key [normalize] is not permitted"),
        (single(text="x"), f"{P}/text: expected type: JSONObject, found: String"),
        (single(text={"value": "x"}), f"{P}/text: required key [truncationMode] not found"),
        (single(**text("x", "LEFT")), f"{P}/text/truncationMode: LEFT is not a valid enum value"),
        (single(**text("")), f"{P}/text/value: expected minLength: 1, actual: 0"),
        (
            single(text={"truncationMode": "END"}),
            f"{P}/text: required key [value] not found{P}/text: required key [source] not found",
        ),
        (
            single(text={"truncationMode": "END", "value": "x", "source": S3}),
            f"{P}/text: 2 subschemas matched instead of one",
        ),
        (
            single(text={"truncationMode": "END", "source": {"bytes": "aGk="}}),
            f"{P}/text/source: extraneous key [bytes] is not permitted"
            f"{P}/text/source: required key [s3Location] not found",
        ),
        (single(image={"source": S3}), f"{P}/image: required key [format] not found"),
        (single(image={"format": "jpg", "source": S3}), f"{P}/image/format: jpg is not a valid enum value"),
        (single(image={"format": "PNG", "source": S3}), f"{P}/image/format: PNG is not a valid enum value"),
        (
            single(image={"format": "png", "source": S3, "detailLevel": "HIGH"}),
            f"{P}/image/detailLevel: HIGH is not a valid enum value",
        ),
        (single(audio={"format": "flac", "source": S3}), f"{P}/audio/format: flac is not a valid enum value"),
        (
            single(audio={"format": "mp3", "source": S3, "detailLevel": "STANDARD_IMAGE"}),
            f"{P}/audio: extraneous key [detailLevel] is not permitted",
        ),
        (single(video={"format": "mp4", "source": S3}), f"{P}/video: required key [embeddingMode] not found"),
        (
            single(video={"format": "mp4", "source": S3, "embeddingMode": "BOTH"}),
            f"{P}/video/embeddingMode: BOTH is not a valid enum value",
        ),
        (
            single(image={"format": "png", "source": {}}),
            f"{P}/image/source: required key [bytes] not found{P}/image/source: required key [s3Location] not found",
        ),
        (
            single(image={"format": "png", "source": {"bytes": "aGk=", **S3}}),
            f"{P}/image/source: 2 subschemas matched instead of one",
        ),
        (
            single(image={"format": "png", "source": {"bytes": ""}}),
            f"{P}/image/source/bytes: expected minLength: 1, actual: 0",
        ),
        (
            single(image={"format": "png", "source": {"s3Location": {"uri": "s3://bucket"}}}),
            f"{P}/image/source/s3Location/uri: string [s3://bucket] does not match pattern "
            "s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.{1,1024}",
        ),
        (
            single(image={"format": "png", "source": {"s3Location": {"uri": "s3://b-b/k", "bucketOwner": "1"}}}),
            f"{P}/image/source/s3Location: extraneous key [bucketOwner] is not permitted",
        ),
    ],
)
def test_schema_violations_are_worded_as_by_the_validator(
    emulator: Running, body: dict[str, Any], details: str
) -> None:
    assert refusal(emulator, body) == malformed(details)


def test_purposes_are_those_that_are_documented() -> None:
    assert list(nova_schema.PROMPTS) == PURPOSES


def test_the_space_is_not_titans() -> None:
    (found,) = expected_vectors(MODEL, single(embeddingDimension=1024, **text("hello world")))
    (other,) = expected_vectors(TITAN, {"inputText": "hello world"})

    assert abs(float(np.dot(found, other))) < 0.15


def test_images_that_look_alike_are_near_each_other() -> None:
    smaller = encode(shape("circle", "red", radius=50), "JPEG")
    files = (("png", RED), ("jpeg", smaller), ("png", BLUE))

    red, alike, blue = (np.array(expected_vectors(MODEL, single(**file("image", *each)))[0]) for each in files)

    assert float(red @ alike) > 0.85
    assert float(red @ blue) < 0.3
