"""Fourteen requests to each of the ten models: the right vectors in order, or a refusal that names what is wrong.

What the models have is said here once more, apart from the catalogue: a number that changes there has to be meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import openai
import pytest

if TYPE_CHECKING:
    from tests.conftest import Answer, BedrockBody, Emulator, Expected, Gateway

COHERE_V3 = ("cohere.embed-english-v3", "cohere.embed-multilingual-v3")
COHERE = (*COHERE_V3, "cohere.embed-v4:0")
MARENGO = ("twelvelabs.marengo-embed-2-7-v1:0", "twelvelabs.marengo-embed-3-0-v1:0")

#: The sizes of each model, its own first.
SIZES: dict[str, tuple[int, ...]] = {
    "amazon.titan-embed-text-v1": (1536,),
    "amazon.titan-embed-g1-text-02": (1536,),
    "amazon.titan-embed-text-v2:0": (1024, 512, 256),
    "amazon.titan-embed-image-v1": (1024, 384, 256),
    "amazon.nova-2-multimodal-embeddings-v1:0": (3072, 1024, 384, 256),
    "cohere.embed-english-v3": (1024,),
    "cohere.embed-multilingual-v3": (1024,),
    "cohere.embed-v4:0": (1536, 1024, 512, 256),
    "twelvelabs.marengo-embed-2-7-v1:0": (1024,),
    "twelvelabs.marengo-embed-3-0-v1:0": (512,),
}
MODELS = list(SIZES)
TEXT_ONLY = MODELS[:3]
#: What the vectors of a model without a length of its own choosing come in.
LENGTHS = {"amazon.titan-embed-text-v1": (18, 19), "amazon.titan-embed-g1-text-02": (18, 19)}
TEXTS = ["a red bicycle", "Quarterly EARNINGS rose by 4 %", "自転車と\N{BICYCLE}"]


def as_float32(vectors: Iterable[Sequence[float]]) -> list[bytes]:
    return [np.array(vector, "<f4").tobytes() for vector in vectors]


def canonical(bodies: Iterable[dict[str, Any]]) -> list[str]:
    """Return bodies in an order of their own: calls of one request go out side by side."""
    return sorted(json.dumps(body, sort_keys=True) for body in bodies)


def check_calls(
    answer: Answer,
    emulator: Emulator,
    bedrock_body: BedrockBody,
    model: str,
    texts: Sequence[str],
    dimensions: int | None = None,
) -> None:
    """Check that Bedrock was sent `texts` and nothing else, in as many calls as the model needs, and the usage."""
    bodies = [bedrock_body(model, text, dimensions) for text in texts]
    if model in COHERE:
        runs = [list(texts[at : at + 96]) for at in range(0, len(texts), 96)]
        bodies = [bodies[0] | {"texts": run} for run in runs]
    rows = emulator.journal()
    assert canonical(json.loads(row["request_body"]) for row in rows) == canonical(bodies)
    assert {row["model"] for row in rows} == {model}
    assert answer.headers["openai-model"] == model
    assert answer.headers["x-embedrock-upstream-calls"] == str(len(rows))
    answer.check_usage(rows, texts if model in MARENGO else ())


@pytest.mark.parametrize("model", MODELS)
def test_one_text(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, model: str
) -> None:
    answer = gateway.embed({"model": model, "input": TEXTS[0]})

    (vector,) = answer.vectors()
    low, high = LENGTHS.get(model, (0.99, 1.01))
    assert [vector] == expected(model, TEXTS[:1])
    assert len(vector) == SIZES[model][0]
    assert low < np.linalg.norm(vector) < high
    assert answer.json()["model"] == model
    check_calls(answer, emulator, bedrock_body, model, TEXTS[:1])


@pytest.mark.parametrize("model", MODELS)
def test_three_texts(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, model: str
) -> None:
    answer = gateway.embed({"model": model, "input": TEXTS})

    assert answer.vectors() == expected(model, TEXTS)
    check_calls(answer, emulator, bedrock_body, model, TEXTS)


@pytest.mark.parametrize("model", MODELS)
def test_equal_texts(gateway: Gateway, expected: Expected, model: str) -> None:
    texts = ["same", "other", "same", "same", "other"]

    vectors = gateway.embed({"model": model, "input": texts}).vectors()

    assert vectors == expected(model, texts)
    assert vectors[0] == vectors[2] == vectors[3] != vectors[1] == vectors[4]


@pytest.mark.parametrize("model", MODELS)
def test_base64(gateway: Gateway, openai_client: openai.OpenAI, expected: Expected, model: str) -> None:
    """Asked for by name, and as the official client asks unless told otherwise."""
    answer = gateway.embed({"model": model, "input": TEXTS, "encoding_format": "base64"})
    reply = openai_client.embeddings.create(model=model, input=TEXTS)

    wanted = as_float32(expected(model, TEXTS))
    assert answer.packed() == wanted
    assert as_float32(item.embedding for item in reply.data) == wanted
    assert [item.index for item in reply.data] == [0, 1, 2]


@pytest.mark.parametrize("model", MODELS)
def test_every_size(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, model: str
) -> None:
    for size in SIZES[model]:
        emulator.clear()

        answer = gateway.embed({"model": model, "input": TEXTS, "dimensions": size})

        vectors = answer.vectors()
        assert vectors == expected(model, TEXTS, size)
        assert {len(vector) for vector in vectors} == {size}
        check_calls(answer, emulator, bedrock_body, model, TEXTS, size)


@pytest.mark.parametrize("model", MODELS)
def test_token_ids(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, model: str
) -> None:
    """They are of cl100k_base: what clients use for models they do not know."""
    answer = gateway.embed({"model": model, "input": [15339, 1917]})

    assert answer.vectors() == expected(model, ["hello world"])
    check_calls(answer, emulator, bedrock_body, model, ["hello world"])


@pytest.mark.parametrize("model", MODELS)
def test_lists_of_token_ids(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, model: str
) -> None:
    answer = gateway.embed({"model": model, "input": [[1917], [15339], [15339, 1917]]})

    texts = [" world", "hello", "hello world"]
    assert answer.vectors() == expected(model, texts)
    check_calls(answer, emulator, bedrock_body, model, texts)


@pytest.mark.parametrize("model", MODELS)
def test_user_and_metadata_stay_here(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, model: str
) -> None:
    answer = gateway.embed({"model": model, "input": TEXTS, "user": "somebody", "metadata": {"team": "search"}})

    assert answer.vectors() == expected(model, TEXTS)
    check_calls(answer, emulator, bedrock_body, model, TEXTS)


@pytest.mark.parametrize("model", MODELS)
def test_an_empty_text_in_a_list(gateway: Gateway, emulator: Emulator, model: str) -> None:
    answer = gateway.embed({"model": model, "input": ["a", "", "b"]})

    assert answer.refusal() == ("input[1]", "empty_input")
    assert emulator.journal() == []


@pytest.mark.parametrize("model", MODELS)
def test_an_empty_list(gateway: Gateway, emulator: Emulator, model: str) -> None:
    answer = gateway.embed({"model": model, "input": []})

    assert answer.refusal() == ("input", "empty_input")
    assert emulator.journal() == []


@pytest.mark.parametrize("model", MODELS)
def test_200_texts(
    gateway: Gateway, emulator: Emulator, bedrock_body: BedrockBody, expected: Expected, model: str
) -> None:
    texts = [f"text {number} about {'bicycles' if number % 3 else 'taxes'}" for number in range(200)]

    answer = gateway.embed({"model": model, "input": texts})

    assert answer.vectors() == expected(model, texts)
    check_calls(answer, emulator, bedrock_body, model, texts)


@pytest.mark.parametrize("dimensions", [0, 1, 300, 4096, "256", 256.0, True])
@pytest.mark.parametrize("model", MODELS)
def test_dimensions_it_lacks(gateway: Gateway, emulator: Emulator, model: str, dimensions: object) -> None:
    answer = gateway.embed({"model": model, "input": "a", "dimensions": dimensions})

    param, code = answer.refusal()
    assert param == "dimensions"
    assert code == ("invalid_value" if type(dimensions) is int else "invalid_type")
    assert emulator.journal() == []


@pytest.mark.parametrize("model", MODELS)
def test_a_member_nobody_knows(gateway: Gateway, emulator: Emulator, model: str) -> None:
    answer = gateway.embed({"model": model, "input": "a", "aws_region_name": "eu-west-1"})

    assert answer.refusal() == ("aws_region_name", "unsupported_parameter")
    assert emulator.journal() == []


@pytest.mark.parametrize("model", MODELS)
def test_a_picture(
    gateway: Gateway,
    emulator: Emulator,
    bedrock_body: BedrockBody,
    expected: Expected,
    pictures: dict[str, str],
    model: str,
) -> None:
    answer = gateway.embed({"model": model, "input": pictures["png"]})

    if model in TEXT_ONLY:
        assert answer.refusal() == ("input", "unsupported_media")
        assert emulator.journal() == []
        return
    (row,) = emulator.journal()
    assert answer.vectors() == expected(model, [pictures["png"]])
    assert json.loads(row["request_body"]) == bedrock_body(model, pictures["png"])
    answer.check_usage([row])
