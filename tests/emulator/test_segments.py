"""Which segments asynchronous calls give, and that their vectors are what they should be: computed, no server."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from bedrock_emulator import expected_segments, expected_vectors
from bedrock_emulator.errors import AwsError

from .drawing import RED, base64, mp4, wav

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
V2 = "twelvelabs.marengo-embed-2-7-v1:0"
V3 = "twelvelabs.marengo-embed-3-0-v1:0"
CLIP = "s3://media/clip.mp4"
SOUND = "s3://media/sound.wav"
TEXT = "s3://media/book.txt"
PICTURE = "s3://media/picture.png"
WORDS = " ".join(f"word{number}" for number in range(1000))
OBJECTS = {CLIP: mp4(32, content=b"frames"), SOUND: wav(50), TEXT: WORDS.encode(), PICTURE: RED}
VIDEO = {"s3Location": {"uri": CLIP}}
AUDIO = {"s3Location": {"uri": SOUND}}


def nova(**inputs: Any) -> dict[str, Any]:
    params = {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 256, **inputs}
    return {"taskType": "SEGMENTED_EMBEDDING", "segmentedEmbeddingParams": params}


def single(**inputs: Any) -> dict[str, Any]:
    params = {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 256, **inputs}
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}


def nova_video(mode: str = "AUDIO_VIDEO_COMBINED", **config: Any) -> dict[str, Any]:
    return nova(video={"format": "mp4", "embeddingMode": mode, "source": VIDEO, "segmentationConfig": config})


def v3(kind: str = "video", **members: Any) -> dict[str, Any]:
    return {"inputType": kind, kind: {"mediaSource": VIDEO if kind == "video" else AUDIO, **members}}


def v2(kind: str = "video", **members: Any) -> dict[str, Any]:
    return {"inputType": kind, "mediaSource": VIDEO if kind == "video" else AUDIO, **members}


def segments(model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    return expected_segments(model, body, OBJECTS)


def times(rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    metadata = [row.get("segmentMetadata", row) for row in rows]
    return [
        (row.get("segmentStartSeconds", row.get("startSec")), row.get("segmentEndSeconds", row.get("endSec")))
        for row in metadata
    ]


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_nova_cuts_a_video_into_pieces_of_five_seconds_or_as_asked() -> None:
    rows = segments(NOVA, nova_video(durationSeconds=15))

    assert times(rows) == [(0, 15), (15, 30), (30, 32)]
    assert [row["segmentMetadata"]["segmentIndex"] for row in rows] == [0, 1, 2]
    assert {row["status"] for row in rows} == {"SUCCESS"}
    assert {row["embeddingType"] for row in rows} == {"AUDIO_VIDEO_COMBINED"}
    assert len(segments(NOVA, nova_video())) == 7


def test_nova_gives_what_is_seen_and_what_is_heard_apart() -> None:
    rows = segments(NOVA, nova_video("AUDIO_VIDEO_SEPARATE", durationSeconds=30))

    assert [row["embeddingType"] for row in rows] == ["VIDEO", "VIDEO", "AUDIO", "AUDIO"]
    assert times(rows) == [(0, 30), (30, 32)] * 2


def test_nova_cuts_a_text_at_spaces() -> None:
    how = {"truncationMode": "END", "segmentationConfig": {"maxLengthChars": 800}}
    rows = segments(NOVA, nova(text={**how, "source": {"s3Location": {"uri": TEXT}}}))
    where = [
        (row["segmentMetadata"]["segmentStartCharPosition"], row["segmentMetadata"]["segmentEndCharPosition"])
        for row in rows
    ]

    assert len(rows) == math.ceil(len(WORDS) / 800)
    assert where[0][0] == 0 and where[-1][1] == len(WORDS)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(where))
    assert all(end - start <= 800 and WORDS[end - 1 : end] in (" ", "9") for start, end in where)
    assert segments(NOVA, nova(text={**how, "value": WORDS})) == rows


def test_a_segment_of_text_has_the_vector_of_that_text() -> None:
    part = {"truncationMode": "END", "value": WORDS, "segmentationConfig": {"maxLengthChars": 800}}
    row = segments(NOVA, nova(text=part))[1]
    piece = WORDS[row["segmentMetadata"]["segmentStartCharPosition"] : row["segmentMetadata"]["segmentEndCharPosition"]]
    assert expected_vectors(NOVA, single(text={"truncationMode": "END", "value": piece})) == [row["embedding"]]


def test_nova_embeds_an_image_whole() -> None:
    (row,) = segments(NOVA, nova(image={"format": "png", "source": {"s3Location": {"uri": PICTURE}}}))
    inline = expected_vectors(NOVA, single(image={"format": "png", "source": {"bytes": base64(RED)}}))
    assert (row["embeddingType"], row["embedding"]) == ("IMAGE", inline[0])


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        pytest.param(V2, v2("audio"), [(0, 10), (10, 20), (20, 30), (30, 40), (40, 50)], id="2.7, sound evenly"),
        pytest.param(
            V3, v3("audio", startSec=10, endSec=26, embeddingOption=["audio"]), [(10, 18), (18, 26)], id="3.0"
        ),
        pytest.param(
            V2,
            v2(useFixedLengthSec=10, startSec=5, lengthSec=22, embeddingOption=["audio"]),
            [(5, 15), (15, 25), (25, 27)],
            id="2.7, fixed",
        ),
        pytest.param(
            V3,
            v3(segmentation={"method": "fixed", "fixed": {"durationSec": 10}}, embeddingOption=["visual"], startSec=4),
            [(4, 14), (14, 24), (24, 32)],
            id="3.0, fixed",
        ),
        pytest.param(
            V3,
            v3(segmentation={"method": "fixed"}, embeddingOption=["visual"]),
            [(0, 6), (6, 12), (12, 18), (18, 24), (24, 30), (30, 32)],
            id="3.0, fixed by default",
        ),
    ],
)
def test_marengo_cuts_as_it_is_told(model: str, body: dict[str, Any], expected: list[tuple[float, float]]) -> None:
    assert times(segments(model, body)) == expected


@pytest.mark.parametrize(
    ("model", "body", "shortest"),
    [
        (V2, v2(embeddingOption=["visual-text"]), 4),
        (V2, v2(embeddingOption=["visual-text"], minClipSec=2), 2),
        (V3, v3(embeddingOption=["visual"]), 4),
        (
            V3,
            v3(embeddingOption=["visual"], segmentation={"method": "dynamic", "dynamic": {"minDurationSec": 5}}),
            5,
        ),
    ],
)
def test_marengo_cuts_a_video_by_shots(model: str, body: dict[str, Any], shortest: float) -> None:
    found = times(segments(model, body))

    assert found[0][0] == 0 and found[-1][1] == 32
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))
    assert len(found) > 2
    assert min(end - start for start, end in found) >= shortest - 0.001
    assert len({round(end - start, 3) for start, end in found}) > 1


def test_marengo_27_gives_all_options_of_a_video_unless_told_which() -> None:
    body = v2(useFixedLengthSec=10)

    assert [row["embeddingOption"] for row in segments(V2, body)] == [
        option for option in ("visual-text", "visual-image", "audio") for _ in range(4)
    ]
    assert {len(row["embedding"]) for row in segments(V2, body)} == {1024}


def test_marengo_30_gives_options_scopes_and_fusions() -> None:
    body = v3(
        segmentation={"method": "fixed", "fixed": {"durationSec": 8}},
        embeddingOption=["audio", "visual"],
        embeddingType=["separate_embedding", "fused_embedding"],
        embeddingScope=["clip", "asset"],
    )
    rows = segments(V3, body)
    clips = [row for row in rows if row["embeddingScope"] == "clip"]
    asset = [row for row in rows if row["embeddingScope"] == "asset"]

    assert [row["embeddingOption"] for row in asset] == ["visual", "audio", "fused"]
    assert times(asset) == [(0, 32)] * 3
    assert len(clips) == 12
    assert {len(row["embedding"]) for row in rows} == {512}


@pytest.mark.parametrize(
    ("kind", "options"), [("video", ["visual", "audio", "transcription"]), ("audio", ["audio", "transcription"])]
)
def test_marengo_30_gives_all_options_by_default(kind: str, options: list[str]) -> None:
    rows = segments(V3, v3(kind))

    assert list(dict.fromkeys(row["embeddingOption"] for row in rows)) == options
    assert {row["embeddingScope"] for row in rows} == {"clip"}


@pytest.mark.parametrize("model", [V2, V3])
def test_what_marengo_takes_at_once_it_takes_later_too(model: str) -> None:
    part = {"inputText": "hello"}
    body = {"inputType": "text", **(part if model == V2 else {"text": part})}

    assert [row["embedding"] for row in segments(model, body)] == expected_vectors(model, body)


@pytest.mark.parametrize(
    ("model", "body"),
    [(NOVA, nova_video()), (V2, v2()), (V3, v3()), (V3, v3("audio"))],
    ids=["nova", "2.7", "3.0", "sound"],
)
def test_segments_differ_and_belong_together(model: str, body: dict[str, Any]) -> None:
    rows = segments(model, body)
    vectors = [row["embedding"] for row in rows]
    others = expected_vectors(model, body, {CLIP: mp4(32, content=b"other frames"), SOUND: wav(49)})

    assert len({tuple(vector) for vector in vectors}) == len(vectors)
    assert all(abs(cosine(vector, vector) - 1) < 1e-5 for vector in vectors)
    kinds = [row.get("embeddingType") or row["embeddingOption"] for row in rows]
    for (kind_a, a), (kind_b, b) in itertools.combinations(zip(kinds, vectors, strict=True), 2):
        assert 0.2 < cosine(a, b) < 0.8 if kind_a == kind_b else abs(cosine(a, b)) < 0.3
    assert all(abs(cosine(vectors[0], vector)) < 0.3 for vector in others)
    assert expected_vectors(model, body, OBJECTS) == vectors


def test_a_file_has_the_same_segments_inline_and_in_s3() -> None:
    inline = v3()
    inline["video"]["mediaSource"] = {"base64String": base64(OBJECTS[CLIP])}

    assert segments(V3, inline) == segments(V3, v3())


P = "#/segmentedEmbeddingParams"


@pytest.mark.parametrize(
    ("model", "body", "text"),
    [
        (NOVA, {}, "#: required key [messages] not found"),
        (NOVA, {"taskType": "SINGLE_EMBEDDING"}, "#/taskType: SINGLE_EMBEDDING is not a valid enum value"),
        (NOVA, nova(), f"{P}: required key [text] not found"),
        (
            NOVA,
            nova(video={"format": "mp4", "embeddingMode": "AUDIO_VIDEO_COMBINED", "source": VIDEO}),
            f"{P}/video: required key [segmentationConfig] not found",
        ),
        (
            NOVA,
            nova_video(durationSeconds=31),
            "Config/durationSeconds: 31 is not less or equal to 30",
        ),
        (NOVA, nova_video(durationSeconds=0), "0 is not greater or equal to 1"),
        (NOVA, nova_video(durationSeconds=1.5), "expected type: Integer, found: BigDecimal"),
        (NOVA, nova_video(maxLengthChars=800), "extraneous key [maxLengthChars] is not permitted"),
        (
            NOVA,
            nova(audio={"format": "wav", "source": {"bytes": "AAAA"}, "segmentationConfig": {}}),
            f"{P}/audio/source: extraneous key [bytes] is not permitted",
        ),
        (V2, v2(useFixedLengthSec=1), "1 is not greater or equal to 2"),
        (V2, v2(useFixedLengthSec=3, minClipSec=4), "must not be below minClipSec"),
        (V2, v2(embeddingOption=["visual"]), "visual is not a valid enum value"),
        (V2, v2("audio", embeddingOption=["audio"]), "extraneous key [embeddingOption] is not permitted"),
        (V2, v2(startSec=-1), "-1 is not greater or equal to 0"),
        (V3, v3("audio", embeddingOption=["visual"]), "visual is not a valid enum value"),
        (V3, v3("audio", segmentation={"method": "dynamic"}), "dynamic is not a valid enum value"),
        (V3, v3(segmentation={"method": "fixed", "fixed": {"durationSec": 11}}), "11 is not less or equal to 10"),
        (V3, v3(segmentation={"fixed": {}}), "required key [method] not found"),
        (
            V3,
            v3(embeddingOption=["visual"], embeddingType=["fused_embedding"]),
            "needs at least two values",
        ),
        (V3, v3(startSec=5, endSec=5), "must be after startSec"),
        (V3, v3(embeddingScope=[]), "expected minimum item count: 1, found: 0"),
        (V3, v3(useFixedLengthSec=5), "extraneous key [useFixedLengthSec] is not permitted"),
    ],
)
def test_a_body_outside_of_the_schema_is_refused(model: str, body: dict[str, Any], text: str) -> None:
    with pytest.raises(AwsError) as refused:
        segments(model, body)

    assert refused.value.name == "ValidationException"
    assert text in refused.value.message


@pytest.mark.parametrize(
    ("model", "body", "data", "text"),
    [
        (V3, v3(), None, "S3 bucket does not exist"),
        (V3, v3(), b"hello", "of no supported format"),
        (V3, v3(startSec=40), mp4(32), "nothing between the start and the end"),
        (V2, v2(), mp4(7201), "longer than 7200 seconds"),
        (NOVA, nova_video(), wav(1), "does not match the specified video format"),
        (NOVA, nova_video(durationSeconds=1), mp4(1435), "longer than 7200 seconds or 1434 segments"),
    ],
)
def test_a_bad_input_is_refused(model: str, body: dict[str, Any], data: bytes | None, text: str) -> None:
    with pytest.raises(AwsError, match=text):
        expected_segments(model, body, {} if data is None else {CLIP: data})


def test_a_model_without_asynchronous_calls_has_no_segments() -> None:
    with pytest.raises(KeyError):
        expected_segments("amazon.titan-embed-text-v2:0", {"inputText": "hello"})
