"""The bodies that well-known clients send are accepted, and the ones that AWS refuses are not."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import ENGLISH, MULTILINGUAL, TITAN, Running
from .drawing import MP4, RED, base64, encode, plain, uri

TITAN_V1 = "amazon.titan-embed-text-v1"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
V4 = "cohere.embed-v4:0"
MARENGO_2 = "us.twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
TEXTS = ["Hello, world!", "hello"]
TEXT: dict[str, Any] = {"inputText": "hello"}
BYTES = {"bytes": base64(RED)}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(TEXT, id="langchain-aws, llama-index, haystack, mem0, chroma, @langchain/aws"),
        pytest.param({"inputText": "hello", "dimensions": 512}, id="langchain-aws, semantic-kernel with dimensions"),
        pytest.param({"inputText": "hello", "embeddingTypes": ["float"]}, id="litellm, float"),
        pytest.param({"inputText": "hello", "embeddingTypes": ["binary"], "dimensions": 256}, id="litellm, base64"),
        pytest.param({"inputText": "hello", "dimensions": 1024, "normalize": True}, id="AI SDK"),
        pytest.param({"inputText": "hello", "normalize": True}, id="pydantic-ai"),
    ],
)
def test_titan_takes_it(emulator: Running, body: dict[str, Any]) -> None:
    assert emulator.invoke(TITAN, body).status == 200


@pytest.mark.parametrize("model", [TITAN_V1, "amazon.titan-embed-g1-text-02"])
def test_titan_v1_takes_what_all_clients_send(emulator: Running, model: str) -> None:
    assert emulator.invoke(model, TEXT).status == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(TEXT, id="langchain-aws, text"),
        pytest.param({"inputImage": base64(RED)}, id="langchain-aws, image"),
        pytest.param({"inputImage": base64(RED), "embeddingConfig": {"outputEmbeddingLength": 256}}, id="litellm"),
        pytest.param({"inputText": "hello", "inputImage": base64(RED)}, id="AWS's page"),
    ],
)
def test_titan_image_takes_it(emulator: Running, body: dict[str, Any]) -> None:
    assert emulator.invoke(TITAN_IMAGE, body).status == 200


def test_titan_image_does_not_know_langchains_dimensions(emulator: Running) -> None:
    assert emulator.invoke(TITAN_IMAGE, {"inputText": "hello", "dimensions": 256}).status == 400


@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL, V4])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"input_type": "search_document", "texts": TEXTS}, id="langchain-aws, litellm, haystack, mem0"),
        pytest.param({"input_type": "search_query", "texts": ["hello"]}, id="AI SDK, llama-index, semantic-kernel"),
        pytest.param({"input_type": "search_document", "texts": TEXTS, "truncate": "NONE"}, id="pydantic-ai"),
        pytest.param({"input_type": "search_query", "texts": TEXTS, "truncate": "END"}, id="pydantic-ai, truncating"),
        pytest.param({"input_type": "clustering", "texts": TEXTS, "embedding_types": ["float"]}, id="cohere"),
        pytest.param({"input_type": "search_document", "texts": ["x " * 400] * 96, "truncate": "END"}, id="96 texts"),
    ],
)
def test_cohere_takes_it(emulator: Running, model: str, body: dict[str, Any]) -> None:
    answer = emulator.invoke(model, body)

    assert answer.status == 200
    rows = answer.json["embeddings"]
    assert len(rows["float"] if isinstance(rows, dict) else rows) == len(body["texts"])


def test_cohere_v3_takes_litellms_image_and_not_langchains(emulator: Running) -> None:
    """langchain-aws sends images with the purpose of texts, which the schema refuses."""
    images = [uri(RED)]

    assert emulator.invoke(ENGLISH, {"input_type": "image", "images": images}).status == 200
    assert emulator.invoke(ENGLISH, {"input_type": "search_document", "images": images}).status == 400


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"input_type": "image", "images": [uri(RED)]}, id="litellm, image"),
        pytest.param({"input_type": "search_document", "images": [uri(RED)]}, id="langchain-aws, image"),
        pytest.param(
            {"input_type": "search_document", "texts": TEXTS, "output_dimension": 512}, id="langchain-aws, dimensions"
        ),
        pytest.param(
            {
                "input_type": "search_document",
                "inputs": [
                    {
                        "content": [
                            {"type": "text", "text": "page 3 of the manual"},
                            {"type": "image_url", "image_url": uri(RED)},
                        ]
                    }
                ],
                "embedding_types": ["int8"],
                "output_dimension": 512,
                "truncate": "RIGHT",
                "max_tokens": 128_000,
            },
            id="AWS's page",
        ),
        pytest.param(
            {
                "input_type": "search_document",
                "inputs": [{"content": [{"type": "image_url", "image_url": {"url": uri(RED)}}]}],
                "embedding_types": ["float"],
            },
            id="cohere, image",
        ),
    ],
)
def test_cohere_v4_takes_it(emulator: Running, body: dict[str, Any]) -> None:
    assert emulator.invoke(V4, body).status == 200


def single(purpose: str, **params: Any) -> dict[str, Any]:
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"embeddingPurpose": purpose, **params}}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(single("GENERIC_INDEX", text={"truncationMode": "END", "value": "hello"}), id="langchain-aws"),
        pytest.param(
            single("GENERIC_INDEX", embeddingDimension=3072, text={"truncationMode": "END", "value": "hello"})
            | {"schemaVersion": "nova-multimodal-embed-v1"},
            id="litellm",
        ),
        pytest.param(
            single("GENERIC_INDEX", embeddingDimension=1024, text={"truncationMode": "END", "value": "hello"}),
            id="AI SDK",
        ),
        pytest.param(
            single("GENERIC_RETRIEVAL", text={"truncationMode": "NONE", "value": "hello"}), id="pydantic-ai, query"
        ),
        pytest.param(single("GENERIC_INDEX", image={"format": "png", "source": BYTES}), id="langchain-aws, image"),
        pytest.param(
            single("GENERIC_INDEX", audio={"format": "mp3", "source": {"bytes": base64(b"ID3\x04\0\0")}}),
            id="langchain-aws, audio",
        ),
        pytest.param(
            single(
                "GENERIC_INDEX",
                video={
                    "format": "mp4",
                    "source": {"bytes": base64(MP4)},
                    "embeddingMode": "AUDIO_VIDEO_COMBINED",
                },
            ),
            id="langchain-aws, video",
        ),
        pytest.param(
            single(
                "VIDEO_RETRIEVAL",
                embeddingDimension=3072,
                video={
                    "format": "mp4",
                    "source": {"s3Location": {"uri": "s3://my-bucket/video.mp4"}},
                    "embeddingMode": "AUDIO_VIDEO_COMBINED",
                },
            ),
            id="litellm, video in S3",
        ),
    ],
)
def test_nova_takes_it(emulator: Running, body: dict[str, Any]) -> None:
    emulator.upload({"s3://my-bucket/video.mp4": MP4})

    assert emulator.invoke(NOVA, body).status == 200


@pytest.mark.parametrize(
    ("model", "body"),
    [
        pytest.param(MARENGO_2, {"inputType": "text", "inputText": "hello", "textTruncate": "end"}, id="litellm, 2.7"),
        pytest.param(
            MARENGO_2,
            {"inputType": "image", "mediaSource": {"base64String": base64(encode(plain("red"), "JPEG"))}},
            id="litellm, 2.7, image",
        ),
        pytest.param(MARENGO_3, {"inputType": "text", "text": {"inputText": "hello"}}, id="litellm, 3.0"),
        pytest.param(
            MARENGO_3,
            {"inputType": "image", "image": {"mediaSource": {"base64String": base64(RED)}}},
            id="litellm, 3.0, image",
        ),
    ],
)
def test_marengo_takes_it(emulator: Running, model: str, body: dict[str, Any]) -> None:
    assert emulator.invoke(model, body).status == 200


@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL, V4, NOVA, MARENGO_2, MARENGO_3])
def test_a_titan_body_is_refused_by_every_other_family(emulator: Running, model: str) -> None:
    """As @langchain/aws sends it to all, llama-index and mem0 to Nova, langchain-aws and the AI SDK to Marengo."""
    assert emulator.invoke(model, TEXT).status == 400


def test_langchains_image_for_marengo_3_is_refused_by_2_7(emulator: Running) -> None:
    body = {"inputType": "image", "image": {"mediaSource": {"base64String": base64(RED)}}}

    assert emulator.invoke(MARENGO_3, body).status == 200
    assert emulator.invoke(MARENGO_2, body).status == 400


def test_the_cohere_sdks_bare_colon_and_signed_headers_are_taken(emulator: Running) -> None:
    headers = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/bedrock/aws4_request, "
        "SignedHeaders=accept;accept-encoding;content-length;content-type;host;x-amz-date, Signature=00",
        "Content-Type": "application/json",
    }

    answer = emulator.request("POST", f"/model/{TITAN}/invoke", b'{"inputText":"hello"}', headers)

    assert answer.status == 200
