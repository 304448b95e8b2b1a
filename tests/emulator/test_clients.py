"""The bodies that well-known clients send are accepted."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import ENGLISH, MULTILINGUAL, TITAN, Running

TEXTS = ["Hello, world!", "hello"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"inputText": "hello"}, id="langchain-aws, llama-index, haystack, mem0, chroma, @langchain/aws"),
        pytest.param({"inputText": "hello", "dimensions": 512}, id="langchain-aws, semantic-kernel with dimensions"),
        pytest.param({"inputText": "hello", "embeddingTypes": ["float"]}, id="litellm, float"),
        pytest.param({"inputText": "hello", "embeddingTypes": ["binary"], "dimensions": 256}, id="litellm, base64"),
        pytest.param({"inputText": "hello", "dimensions": 1024, "normalize": True}, id="AI SDK"),
        pytest.param({"inputText": "hello", "normalize": True}, id="pydantic-ai"),
    ],
)
def test_titan_takes_it(emulator: Running, body: dict[str, Any]) -> None:
    assert emulator.invoke(TITAN, body).status == 200


@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL])
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


def test_cohere_takes_litellms_image_and_not_langchains(emulator: Running) -> None:
    """langchain-aws sends images with the purpose of texts, which the schema refuses."""
    images = ["data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAAA="]

    assert emulator.invoke(ENGLISH, {"input_type": "image", "images": images}).status == 200
    assert emulator.invoke(ENGLISH, {"input_type": "search_document", "images": images}).status == 400


def test_the_cohere_sdks_bare_colon_and_signed_headers_are_taken(emulator: Running) -> None:
    headers = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/bedrock/aws4_request, "
        "SignedHeaders=accept;accept-encoding;content-length;content-type;host;x-amz-date, Signature=00",
        "Content-Type": "application/json",
    }

    answer = emulator.request("POST", f"/model/{TITAN}/invoke", b'{"inputText":"hello"}', headers)

    assert answer.status == 200
