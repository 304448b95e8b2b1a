"""Amazon Nova Multimodal Embeddings: what is sent, and every shape of what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from embedrock.errors import BadRequest
from embedrock.families import nova
from embedrock.families.answer import Answer
from embedrock.inputs import Item
from embedrock.media import S3Object
from embedrock.vectors import Segment

from .asking import (
    JPEG,
    MP3,
    MP4,
    NOVA,
    PNG,
    S3_MP3,
    S3_MP4,
    S3_PNG,
    S3_TEXT,
    TOKENS_HEADER,
    body,
    check,
    parse,
    refuses,
)

VECTOR = b"[0.018827537,-0.00060575054, 1E-4]"
OTHER = b"[0.5,0.25,-1]"
USUAL = b'{"embeddings":[{"embedding":%b,"embeddingType":"TEXT"}]}' % VECTOR
TWO = b'{"embeddings":[{"embedding":%b,"embeddingType":"VIDEO"},{"embedding":%b,"embeddingType":"AUDIO"}]}' % (
    VECTOR,
    OTHER,
)


# ---------------------------------------------------------------- what is sent


def of_text(**params: Any) -> dict[str, Any]:
    sent: dict[str, Any] = body(NOVA, "hello", **params)["singleEmbeddingParams"]
    return sent


MEDIA: list[tuple[Item, str, dict[str, Any]]] = [
    ("hello", "text", {"truncationMode": "NONE", "value": "hello"}),
    (S3_TEXT, "text", {"truncationMode": "NONE", "source": {"s3Location": {"uri": "s3://bucket/a.txt"}}}),
    (PNG, "image", {"format": "png", "source": {"bytes": "cG5n"}}),
    (JPEG, "image", {"format": "jpeg", "source": {"bytes": "anBlZw=="}}),
    (S3_PNG, "image", {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.png"}}}),
    (MP3, "audio", {"format": "mp3", "source": {"bytes": "bXAz"}}),
    (S3_MP3, "audio", {"format": "mp3", "source": {"s3Location": {"uri": "s3://bucket/a.mp3"}}}),
    (MP4, "video", {"format": "mp4", "source": {"bytes": "bXA0"}, "embeddingMode": "AUDIO_VIDEO_COMBINED"}),
    (
        S3_MP4,
        "video",
        {
            "format": "mp4",
            "source": {"s3Location": {"uri": "s3://bucket/a.mp4"}},
            "embeddingMode": "AUDIO_VIDEO_COMBINED",
        },
    ),
]


@pytest.mark.parametrize("item, kind, content", MEDIA, ids=[repr(row[0]) for row in MEDIA])
def test_each_kind_is_sent_with_what_bedrock_has_no_default_for(item: Item, kind: str, content: dict[str, Any]) -> None:
    """Purpose, size, truncation and the treatment of sound are always sent; nothing else is."""
    assert body(NOVA, item) == {
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 3072, kind: content},
    }


@pytest.mark.parametrize("purpose", nova.PURPOSES)
def test_every_purpose_is_sent(purpose: str) -> None:
    assert of_text(embedding_purpose=purpose)["embeddingPurpose"] == purpose


@pytest.mark.parametrize("truncate", ["NONE", "START", "END"])
def test_every_truncation_is_sent_with_texts_only(truncate: str) -> None:
    assert of_text(truncate=truncate)["text"] == {"truncationMode": truncate, "value": "hello"}
    assert "truncationMode" not in str(body(NOVA, PNG, truncate=truncate))


def test_detail_level_is_sent_with_images_only() -> None:
    image = body(NOVA, PNG, detail_level="DOCUMENT_IMAGE")["singleEmbeddingParams"]["image"]

    assert image["detailLevel"] == "DOCUMENT_IMAGE"
    assert "detailLevel" not in str([body(NOVA, item, detail_level="DOCUMENT_IMAGE") for item in ("hello", MP3, MP4)])


def test_mode_of_sound_is_sent_with_videos_only() -> None:
    video = body(NOVA, MP4, embedding_mode="AUDIO_VIDEO_SEPARATE")["singleEmbeddingParams"]["video"]

    assert video["embeddingMode"] == "AUDIO_VIDEO_SEPARATE"
    assert "embeddingMode" not in str([body(NOVA, i, embedding_mode="AUDIO_VIDEO_SEPARATE") for i in ("a", PNG, MP3)])


def test_schema_version_is_sent_when_asked_for() -> None:
    assert body(NOVA, "hello", schema_version="nova-multimodal-embed-v1")["schemaVersion"] == "nova-multimodal-embed-v1"


@pytest.mark.parametrize("dimensions", [256, 384, 1024, 3072])
def test_every_size_is_sent(dimensions: int) -> None:
    sent = body(NOVA, "hello", dimensions=dimensions)

    assert sent["singleEmbeddingParams"]["embeddingDimension"] == dimensions


def test_object_without_a_format_is_refused() -> None:
    """Bedrock wants to be told the format, and only a key's extension or its content type tells it."""
    with pytest.raises(BadRequest) as caught:
        check(NOVA, S3Object("s3://bucket/picture", "image", None, 1))

    assert caught.value.code == "unsupported_media"


@pytest.mark.parametrize(
    "item", ["hello", PNG, S3_PNG, S3_TEXT, S3Object("s3://bucket/readme", "text", None)], ids=range(5)
)
def test_other_inputs_are_let_through(item: Item) -> None:
    check(NOVA, item)


@pytest.mark.parametrize("item, said", [("a", "image"), (PNG, "text"), (MP3, "video"), (S3_TEXT, "image")], ids=str)
def test_input_that_is_not_what_the_caller_says_is_refused(item: Item, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check(NOVA, item, input_type=said)

    assert (caught.value.param, caught.value.code) == ("input_type", "invalid_value")


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize(
    "answer",
    [
        USUAL,
        b' {\n "embeddings" : [ { "embedding" : %b , "embeddingType" : "TEXT" } ] }\r\n' % VECTOR,
        b'{"embeddings":[{"embeddingType":"TEXT","embedding":%b}]}' % VECTOR,
        b'{"embeddings":[{"embedding":%b}]}' % VECTOR,
        b'{"embeddings":[{"embedding":%b,"embeddingType":"TEXT","more":{"embedding":[1]}}]}' % VECTOR,
        b'{"inputTokenCount":3,"embeddings":[{"embedding":%b,"embeddingType":"TEXT"}]}' % VECTOR,
        b'{"embeddings":[{"embedding":%b,"embeddingType":"TEXT"}],"inputTokenCount":3}' % VECTOR,
        b'{"embeddings":[{"embedding":%b,"embeddingType":"AUDIO_VIDEO_COMBINED"}]}' % VECTOR,
        b'{"embeddings":[{"embedding":%b,"embeddingType":"TEXT","truncatedCharLength":0}]}' % VECTOR,
        b'{"embeddings":[{"embedding":%b,"truncatedCharLength":null,"embeddingType":"TEXT"}]}' % VECTOR,
    ],
    ids=range(10),
)
def test_every_shape_gives_the_number_text_byte_for_byte(answer: bytes) -> None:
    """The tokens are in the header only, whatever a body says."""
    assert parse(NOVA, answer, headers={TOKENS_HEADER: b"19"}) == Answer([VECTOR], 19)
    assert parse(NOVA, answer) == Answer([VECTOR], None)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"embeddings":[{"embedding":%b,"embeddingType":"TEXT","truncatedCharLength":8172}]}' % VECTOR,
        b'{"embeddings":[{"truncatedCharLength":8172,"embedding":%b,"embeddingType":"TEXT"}]}' % VECTOR,
        b'{ "embeddings" : [ { "embedding":%b,"embeddingType":"TEXT", "truncatedCharLength" : 1 } ] }' % VECTOR,
    ],
)
def test_model_says_that_it_cut_the_text(answer: bytes) -> None:
    assert parse(NOVA, answer, truncate="END") == Answer([VECTOR], None, cut=True)


@pytest.mark.parametrize("item", [MP4, S3_MP4], ids=["inline", "s3"])
def test_video_with_its_sound_apart_has_two_vectors(item: Item) -> None:
    answer = parse(NOVA, TWO, item, embedding_mode="AUDIO_VIDEO_SEPARATE")

    assert answer == Answer([VECTOR, OTHER], None, [Segment(option="video"), Segment(option="audio")])


@pytest.mark.parametrize(
    "answer",
    [
        b'{"embeddings":[{"embedding":%b,"embeddingType":"VIDEO"}]}' % VECTOR,
        b'{"embeddings":[{"embeddingType":"VIDEO","embedding":%b}]}' % VECTOR,
    ],
    ids=["usual", "unusual"],
)
def test_silent_video_has_one_vector_which_says_what_it_is_of(answer: bytes) -> None:
    found = parse(NOVA, answer, MP4, embedding_mode="AUDIO_VIDEO_SEPARATE")

    assert found == Answer([VECTOR], None, [Segment(option="video")])


@pytest.mark.parametrize(
    "item, mode",
    [
        (MP4, "AUDIO_VIDEO_COMBINED"),
        ("hello", "AUDIO_VIDEO_SEPARATE"),
        (MP3, "AUDIO_VIDEO_SEPARATE"),
        (PNG, "AUDIO_VIDEO_SEPARATE"),
    ],
    ids=["video", "text", "audio", "image"],
)
def test_second_vector_that_nobody_asked_for_is_refused(item: Item, mode: str) -> None:
    refuses(NOVA, TWO, item, embedding_mode=mode)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"embeddings":[]}',
        b'{"embeddings":null}',
        b'{"embeddings":{}}',
        b'{"embeddings":[{}]}',
        b'{"embeddings":[{"embedding":null,"embeddingType":"VIDEO"}]}',
        b'{"embeddings":[%b]}' % VECTOR,
        TWO.replace(b"},{", b"},{},{"),
        TWO[:-2] + b',{"embedding":[1,2,3],"embeddingType":"TEXT"}]}',
        USUAL.replace(b'"TEXT"', b"7"),
        b'{"embedding":%b}' % VECTOR,
    ],
)
def test_any_other_answer_is_refused(answer: bytes) -> None:
    refuses(NOVA, answer, MP4, numbers=3, embedding_mode="AUDIO_VIDEO_SEPARATE")
