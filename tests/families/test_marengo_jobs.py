"""Jobs of Marengo 2.7 and 3.0: what is sent, and what the one result file says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from embedrock.catalog import MODELS
from embedrock.errors import BadRequest, InvalidUpstream
from embedrock.families import FAMILIES
from embedrock.families.jobs import Jobs
from embedrock.inputs import Item
from embedrock.vectors import Segment

from .asking import JPEG, MARENGO_2, MARENGO_3, MP3, MP4, S3_MP3, S3_MP4, fused, wanted

OWNER = "123456789012"


def jobs(model: str) -> Jobs:
    found = FAMILIES[MODELS[model].family].jobs
    assert found is not None
    return found


def body(model: str, item: Item, **params: Any) -> Any:
    return json.loads(jobs(model).build_input(MODELS[model], item, wanted(model, **params)))


def slow(model: str, item: Item, **params: Any) -> bool:
    return jobs(model).is_slow(MODELS[model], item, wanted(model, **params))


def output(*data: dict[str, Any]) -> bytes:
    return json.dumps({"data": list(data)}).encode()


@pytest.mark.parametrize("model", [MARENGO_2, MARENGO_3])
def test_sound_and_film_need_a_job_and_nothing_else_does(model: str) -> None:
    assert [slow(model, item) for item in ("text", JPEG, MP3, MP4, S3_MP3, S3_MP4)] == [False] * 2 + [True] * 4


def test_2_7_reads_a_film_from_s3_with_clips_and_options() -> None:
    asked = {"useFixedLengthSec": 5, "min_clip_sec": 4, "embedding_option": ["visual-text", "audio"], "start_sec": 1.5}

    assert body(MARENGO_2, S3_MP4._replace(owner=OWNER), **asked) == {
        "inputType": "video",
        "mediaSource": {"s3Location": {"uri": "s3://bucket/a.mp4", "bucketOwner": OWNER}},
        "useFixedLengthSec": 5,
        "minClipSec": 4,
        "startSec": 1.5,
        "embeddingOption": ["visual-text", "audio"],
    }


def test_2_7_takes_sound_inline_and_nothing_of_films_goes_with_it() -> None:
    assert body(MARENGO_2, MP3, length_sec=60, min_duration_sec=2, embedding_option=["audio"]) == {
        "inputType": "audio",
        "mediaSource": {"base64String": "bXAz"},
        "lengthSec": 60,
    }


def test_3_0_reads_a_film_with_everything_that_can_be_asked() -> None:
    asked = {
        "duration_seconds": 6,
        "embedding_option": ["visual", "audio"],
        "embedding_type": ["separate_embedding", "fused_embedding"],
        "embedding_scope": ["clip", "asset"],
        "start_sec": 2,
        "end_sec": 20.5,
        "inference_id": "mine",
    }

    assert body(MARENGO_3, S3_MP4._replace(owner=OWNER), **asked) == {
        "inputType": "video",
        "video": {
            "mediaSource": {"s3Location": {"uri": "s3://bucket/a.mp4", "bucketOwner": OWNER}},
            "segmentation": {"method": "fixed", "fixed": {"durationSec": 6}},
            "embeddingOption": ["visual", "audio"],
            "embeddingType": ["separate_embedding", "fused_embedding"],
            "embeddingScope": ["clip", "asset"],
            "startSec": 2,
            "endSec": 20.5,
        },
        "inferenceId": "mine",
    }


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, None),
        ({"segmentation": "fixed"}, {"method": "fixed", "fixed": {}}),
        ({"segmentation": "dynamic"}, {"method": "dynamic", "dynamic": {}}),
        ({"min_duration_sec": 3}, {"method": "dynamic", "dynamic": {"minDurationSec": 3}}),
        ({"segmentation": "fixed", "duration_sec": 9}, {"method": "fixed", "fixed": {"durationSec": 9}}),
        (
            {"segmentation": {"method": "fixed", "fixed": {"durationSec": 6}}},
            {"method": "fixed", "fixed": {"durationSec": 6}},
        ),
        (
            {"segmentation": {"method": "dynamic", "dynamic": {"minDurationSec": 4}}},
            {"method": "dynamic", "dynamic": {"minDurationSec": 4}},
        ),
    ],
)
def test_3_0_takes_segmentation_flat_and_as_bedrock_spells_it(asked: dict[str, Any], sent: Any) -> None:
    assert body(MARENGO_3, MP4, **asked)["video"].get("segmentation") == sent


@pytest.mark.parametrize(
    ("item", "asked", "param"),
    [
        (MP4, {"segmentation": "dynamic", "duration_seconds": 5}, "duration_seconds"),
        (MP4, {"segmentation": "fixed", "min_duration_sec": 5}, "min_duration_sec"),
        (
            MP4,
            {"segmentation": {"method": "fixed", "fixed": {"durationSec": 6}}, "duration_seconds": 5},
            "segmentation",
        ),
        (MP3, {"segmentation": "dynamic"}, "segmentation"),
        (MP4, {"start_sec": 5, "end_sec": 5}, "end_sec"),
        (MP3, {"embedding_option": ["visual"]}, "embedding_option"),
    ],
)
def test_3_0_refuses_what_contradicts_itself(item: Item, asked: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        slow(MARENGO_3, item, **asked)

    assert (refused.value.param, refused.value.code) == (param, "invalid_value")


def test_2_7_refuses_clips_shorter_than_the_shortest() -> None:
    with pytest.raises(BadRequest) as refused:
        slow(MARENGO_2, MP4, duration_seconds=2, min_duration_sec=5)

    assert refused.value.param == "duration_seconds"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("segmentation", "random"),
        ("segmentation", {"method": "fixed", "fixed": {"durationSec": 11}}),
        ("segmentation", {"method": "fixed", "dynamic": {}}),
        ("segmentation", 5),
        ("embedding_option", []),
        ("embedding_option", ["visual", "visual"]),
        ("embedding_option", ["smell"]),
        ("embedding_scope", 5),
        ("start_sec", -1),
        ("start_sec", True),
        ("end_sec", "5"),
        ("background", "yes"),
        ("output_s3_uri", "https://bucket/folder"),
        ("output_s3_uri", "s3://Bucket/folder"),
        ("output_s3_uri", "s3://bucket/../folder"),
        ("output_s3_uri", ""),
        ("output_s3_uri", 5),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BadRequest) as refused:
        wanted(MARENGO_3, **{name: value})

    assert refused.value.param == name


@pytest.mark.parametrize("uri", ["s3://your-bucket/output", "s3://your-bucket/output/", "s3://your-bucket/"])
def test_a_folder_may_end_in_a_slash(uri: str) -> None:
    assert wanted(MARENGO_3, output_s3_uri=uri).values["output_s3_uri"] == uri.rstrip("/")


@pytest.mark.parametrize(
    ("model", "item", "expected"),
    [
        (MARENGO_2, "hello", {"inputType": "text", "inputText": "hello", "textTruncate": "none"}),
        (MARENGO_2, JPEG, {"inputType": "image", "mediaSource": {"base64String": "anBlZw=="}}),
        (MARENGO_3, "hello", {"inputType": "text", "text": {"inputText": "hello"}}),
        (
            MARENGO_3,
            fused("shoe", JPEG),
            {
                "inputType": "text_image",
                "text_image": {"inputText": "shoe", "mediaSource": {"base64String": "anBlZw=="}},
            },
        ),
    ],
)
def test_what_needs_no_job_can_go_as_one(model: str, item: Item, expected: object) -> None:
    assert body(model, item) == expected


def test_each_clip_and_option_is_a_vector_in_the_order_they_came() -> None:
    first = output(
        {
            "embedding": [0.011, -0.027],
            "embeddingOption": "visual",
            "embeddingScope": "clip",
            "startSec": 0,
            "endSec": 6,
        },
        {
            "embedding": [0.5, 0.25],
            "embeddingOption": ["audio"],
            "embeddingScope": ["asset"],
            "startSec": 0,
            "endSec": 9.5,
        },
    )

    found = jobs(MARENGO_3).read(first, {})

    assert jobs(MARENGO_3).name_files(first) == ()
    assert found.vectors == [b"[0.011, -0.027]", b"[0.5, 0.25]"]
    assert found.segments == [
        Segment(0, 6, option="visual", scope="clip"),
        Segment(0, 9.5, option="audio", scope="asset"),
    ]
    assert found.seconds == 9.5


def test_a_text_is_one_vector_of_the_whole() -> None:
    found = jobs(MARENGO_2).read(output({"embedding": [1.0], "embeddingOption": None, "startSec": None}), {})

    assert (found.vectors, found.segments, found.seconds) == ([b"[1.0]"], [None], 0.0)


def test_one_object_in_place_of_a_list_is_read_too() -> None:
    assert len(jobs(MARENGO_3).read(b'{"data":{"embedding":[1.0]}}', {}).vectors) == 1


@pytest.mark.parametrize(
    "first",
    [
        output(*[{"embedding": [1.0], "startSec": 0, "endSec": 5, "embeddingOption": "audio"}] * 2),
        b"",
        b"{}",
        output(),
        output({"embedding": [1.0]})[:-3],
        b'{"data":[{}]}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_file_that_is_not_complete_is_refused(first: bytes) -> None:
    with pytest.raises(InvalidUpstream):
        jobs(MARENGO_3).read(first, {})
