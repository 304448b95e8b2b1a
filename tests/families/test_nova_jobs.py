"""Jobs of Nova: what is sent, when a job is needed, and what the result files say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from embedrock.catalog import MODELS
from embedrock.errors import BadRequest, InvalidUpstream
from embedrock.families.jobs import Failure
from embedrock.families.nova_jobs import JOBS
from embedrock.inputs import Item
from embedrock.media import Media, S3Object
from embedrock.vectors import Segment

from .asking import MP3, MP4, NOVA, PNG, S3_JPEG, S3_MP3, S3_MP4, S3_TEXT, wanted

FOLDER = "s3://out/embeddings/abcdef123456"


def body(item: Item, **params: Any) -> dict[str, Any]:
    built = json.loads(JOBS.build_input(MODELS[NOVA], item, wanted(NOVA, **params)))
    assert built["taskType"] == "SEGMENTED_EMBEDDING"
    members: dict[str, Any] = built["segmentedEmbeddingParams"]
    return members


def slow(item: Item, **params: Any) -> bool:
    return JOBS.is_slow(MODELS[NOVA], item, wanted(NOVA, **params))


def summary(*results: tuple[str, str, str | None], reason: str | None = None) -> bytes:
    """Return a summary of (embedding type, status, file in the folder)."""
    return json.dumps(
        {
            "sourceFileUri": "s3://media/clip.mp4",
            "embeddingDimension": 2,
            "embeddingResults": [
                {
                    "embeddingType": kind,
                    "status": status,
                    "failureReason": reason,
                    "message": None,
                    "outputFileUri": file and f"{FOLDER}/{file}",
                }
                for kind, status, file in results
            ],
        }
    ).encode()


def line(vector: list[float], index: int, **where: Any) -> dict[str, Any]:
    return {"embedding": vector, "segmentMetadata": {"segmentIndex": index, **where}, "status": "SUCCESS"}


def seconds(index: int, length: int = 15) -> dict[str, Any]:
    start = float(index * length)
    return line([0.01, -0.02 - index], index, segmentStartSeconds=start, segmentEndSeconds=start + length)


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def test_video_is_read_from_s3_in_segments() -> None:
    assert body(S3_MP4, dimensions=1024, duration_seconds=15) == {
        "embeddingPurpose": "GENERIC_INDEX",
        "embeddingDimension": 1024,
        "video": {
            "format": "mp4",
            "embeddingMode": "AUDIO_VIDEO_COMBINED",
            "source": {"s3Location": {"uri": "s3://bucket/a.mp4"}},
            "segmentationConfig": {"durationSeconds": 15},
        },
    }


def test_segmentation_without_a_length_is_an_empty_object_which_bedrock_requires() -> None:
    assert body(S3_MP3)["audio"]["segmentationConfig"] == {}
    assert body(S3_TEXT)["text"] == {
        "truncationMode": "NONE",
        "source": {"s3Location": {"uri": "s3://bucket/a.txt"}},
        "segmentationConfig": {},
    }


def test_text_is_cut_by_its_own_length() -> None:
    text = body(S3_TEXT, max_length_chars=800, duration_seconds=3)["text"]

    assert text["segmentationConfig"] == {"maxLengthChars": 800}


def test_an_image_has_no_segments() -> None:
    image = body(S3_JPEG, detail_level="DOCUMENT_IMAGE")["image"]

    assert image == {
        "format": "jpeg",
        "detailLevel": "DOCUMENT_IMAGE",
        "source": {"s3Location": {"uri": "s3://bucket/b.jpg"}},
    }


@pytest.mark.parametrize(
    ("item", "params", "expected"),
    [
        (MP4, {}, False),
        (MP4, {"duration_seconds": 5}, True),
        (MP3, {"segmentation": True}, True),
        (S3_MP4, {"taskType": "SEGMENTED_EMBEDDING"}, True),
        ("text", {"duration_seconds": 5}, False),
        ("text", {"max_length_chars": 800}, True),
        ("text", {"segmentation": True}, True),
        (MP4, {"max_length_chars": 800}, False),
        (PNG, {"segmentation": True}, False),
        (Media("video", "mp4", "…", 60_000_000, None, None), {}, True),
    ],
)
def test_a_job_is_needed_when_segments_are_asked_for_or_the_clip_is_too_large(
    item: Item, params: dict[str, Any], expected: bool
) -> None:
    assert slow(item, **params) is expected


@pytest.mark.parametrize("params", [{"segmentation": False}, {"task_type": "SINGLE_EMBEDDING"}])
@pytest.mark.parametrize("length", [{"duration_seconds": 5}, {"max_length_chars": 900}])
def test_a_length_of_segments_that_are_not_wanted_is_refused(params: dict[str, Any], length: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        slow(MP4, **params, **length)

    assert refused.value.param == next(iter(length))


def test_each_line_of_the_file_is_a_segment() -> None:
    file = f"{FOLDER}/embedding-audio-video.jsonl"
    first = summary(("AUDIO_VIDEO_COMBINED", "SUCCESS", "embedding-audio-video.jsonl"))

    found = JOBS.read(first, {file: jsonl(seconds(0), seconds(1))})

    assert JOBS.name_files(first) == [file]
    assert found.vectors == [b"[0.01, -0.02]", b"[0.01, -1.02]"]
    assert found.segments == [Segment(0.0, 15.0), Segment(15.0, 30.0)]
    assert found.failures == []
    assert found.seconds == 30.0


def test_segments_of_text_are_told_by_characters() -> None:
    first = summary(("TEXT", "SUCCESS", "embedding-text.jsonl"))
    where = {"segmentStartCharPosition": 0, "segmentEndCharPosition": 794, "truncatedCharLength": 0}

    found = JOBS.read(first, {f"{FOLDER}/embedding-text.jsonl": jsonl(line([1.0, 2.0], 0, **where))})

    assert found.segments == [Segment(start_char=0, end_char=794)]


def test_sound_apart_from_the_picture_is_told_by_the_option() -> None:
    first = summary(("VIDEO", "SUCCESS", "v.jsonl"), ("AUDIO", "SUCCESS", "a.jsonl"))

    found = JOBS.read(first, {f"{FOLDER}/v.jsonl": jsonl(seconds(0)), f"{FOLDER}/a.jsonl": jsonl(seconds(0))})

    assert [segment and segment.option for segment in found.segments] == ["video", "audio"]


def test_an_image_is_one_vector_however_its_file_is_laid_out() -> None:
    first = summary(("IMAGE", "SUCCESS", "embedding-image.json"))
    file = json.dumps({"embedding": [1.0, 2.0], "status": "SUCCESS"}, indent=2).encode()

    found = JOBS.read(first, {f"{FOLDER}/embedding-image.json": file})

    assert len(found.vectors) == 1
    assert found.segments == [None]


def test_a_failed_kind_and_failed_segments_are_told_with_their_reason() -> None:
    first = summary(
        ("VIDEO", "PARTIAL_SUCCESS", "v.jsonl"),
        ("AUDIO", "FAILURE", None),
        reason="RAI_VIOLATION_INPUT_IMAGE_DEFLECTION",
    )
    failed = {"segmentMetadata": {"segmentIndex": 1}, "status": "FAILURE", "failureReason": "INVALID_CONTENT"}

    found = JOBS.read(first, {f"{FOLDER}/v.jsonl": jsonl(seconds(0), failed, seconds(2))})

    assert len(found.vectors) == 2
    assert found.failures == [
        Failure("INVALID_CONTENT", Segment(option="video")),
        Failure("RAI_VIOLATION_INPUT_IMAGE_DEFLECTION"),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(jsonl(seconds(0), seconds(2)), id="one is missing"),
        pytest.param(jsonl(seconds(1), seconds(0)), id="out of order"),
        pytest.param(jsonl(seconds(0), seconds(0)), id="twice"),
        pytest.param(jsonl(seconds(0), seconds(1))[:-9], id="cut short"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="no JSON"),
        pytest.param(jsonl({"status": "SUCCESS"}), id="no vector"),
    ],
)
def test_files_that_are_not_complete_are_refused(lines: bytes) -> None:
    first = summary(("VIDEO", "SUCCESS", "v.jsonl"))

    with pytest.raises(InvalidUpstream):
        JOBS.read(first, {f"{FOLDER}/v.jsonl": lines})


@pytest.mark.parametrize(
    "first", [b"", b"{}", b'{"embeddingResults":[]}', b"[" * 100_000, summary(("VIDEO", "SUCCESS", None))]
)
def test_a_summary_that_says_nothing_is_refused(first: bytes) -> None:
    with pytest.raises(InvalidUpstream):
        JOBS.read(first, {})


def test_only_objects_in_s3_are_read() -> None:
    with pytest.raises(TypeError):
        JOBS.build_input(MODELS[NOVA], MP4, wanted(NOVA))
    assert isinstance(S3_MP4, S3Object)
