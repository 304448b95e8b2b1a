"""Every tool, over every door, as an agent of the official SDK sees it; values are those of the emulator's models."""

from __future__ import annotations

import struct
from base64 import b64decode
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.faces.mcp.agents import ENGLISH, NOVA, TITAN, TOOLS, V4, Connect, ask, over_http, over_stdio, refusal

from bedrock_emulator import expected_vectors
from embedrock.catalog import MODELS

if TYPE_CHECKING:
    from mcp import Client
    from tests.conftest import BedrockBody, Emulator, Expected, Gateway, StartGateway

TEXTS = ["a red bicycle", "a blue bicycle", "the law of taxes", "taxes and the law"]


@pytest.fixture(scope="session")
def serving(gateway_with: StartGateway) -> Gateway:
    """A gateway that serves MCP."""
    return gateway_with(EMBEDROCK_MCP="true")


@pytest.fixture(params=["auto", "legacy", "stdio"])
def connect(request: pytest.FixtureRequest, serving: Gateway, emulator: Emulator) -> Connect:
    """Connect an agent by each of the doors."""
    if request.param != "stdio":
        return partial(over_http, serving, mode=request.param)
    aws = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    return partial(over_stdio, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **aws)


def agent(serving: Gateway) -> AbstractAsyncContextManager[Client]:
    """Connect by the door that is cheapest, where it makes no difference."""
    return over_http(serving)


def cosines(rows: list[list[float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the cosine of each with each."""
    matrix = np.array(rows)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix @ matrix.T)


# ------------------------------------------------------------------------------------------- every tool, by every door


async def test_agent_lists_the_tools_and_how_to_call_them(connect: Connect) -> None:
    async with connect() as client:
        tools = (await client.list_tools()).tools

    assert [tool.name for tool in tools] == TOOLS
    for tool in tools:
        assert tool.description
        assert tool.annotations is not None and tool.annotations.read_only_hint
        assert tool.input_schema["type"] == "object"
        for name, member in tool.input_schema["properties"].items():
            assert member.keys() & {"type", "anyOf"}, name
            assert member["description"].endswith("."), name
        assert tool.output_schema is not None  # against which the client checks each answer


async def test_openai_embedding_is_compact_by_default(connect: Connect, expected: Expected) -> None:
    async with connect() as client:
        answer = await ask(client, "openai_embedding", input=TEXTS)

    assert answer.keys() == {"model", "count", "tokens", "dimensions", "data"}
    assert (answer["model"], answer["count"], answer["dimensions"]) == (TITAN, 4, 1024)
    assert [item["index"] for item in answer["data"]] == [0, 1, 2, 3]
    for item, vector in zip(answer["data"], expected(TITAN, TEXTS), strict=True):
        assert item.keys() == {"index", "norm", "first"}
        assert item["norm"] == pytest.approx(np.linalg.norm(vector), abs=1e-6)
        assert item["first"] == pytest.approx(vector[:4], rel=1e-6)


async def test_openai_embedding_answers_all_numbers_when_asked(connect: Connect, expected: Expected) -> None:
    async with connect() as client:
        answer = await ask(client, "openai_embedding", input=TEXTS, full_vectors=True)

    assert answer["dimensions"] == 1024
    assert answer["data"] == [
        {"index": index, "embedding": vector} for index, vector in enumerate(expected(TITAN, TEXTS))
    ]


async def test_similarity_is_the_cosine_of_each_with_each(connect: Connect, expected: Expected) -> None:
    async with connect() as client:
        answer = await ask(client, "similarity", texts=TEXTS)

    want = cosines(expected(TITAN, TEXTS))
    best = sorted(((a, b) for a in range(4) for b in range(a + 1, 4)), key=lambda pair: -want[pair])
    assert (answer["model"], answer["count"]) == (TITAN, 4)
    assert np.array(answer["matrix"]) == pytest.approx(want, abs=1e-4)
    assert [(pair["a"], pair["b"]) for pair in answer["pairs"]] == best
    assert [pair["score"] for pair in answer["pairs"]] == pytest.approx([want[pair] for pair in best], abs=1e-4)


async def test_search_ranks_texts_by_the_cosine_with_the_query(connect: Connect, expected: Expected) -> None:
    async with connect() as client:
        answer = await ask(client, "search_texts", query="law", texts=TEXTS, top=3)

    want = cosines(expected(TITAN, ["law", *TEXTS]))[0, 1:]
    best = sorted(range(4), key=lambda index: -want[index])[:3]
    assert (answer["model"], answer["count"]) == (TITAN, 5)
    assert [result["index"] for result in answer["results"]] == best
    assert [result["text"] for result in answer["results"]] == [TEXTS[index] for index in best]
    assert [result["score"] for result in answer["results"]] == pytest.approx(want[best], abs=1e-4)


async def test_models_are_listed_as_the_gateway_lists_them(connect: Connect, serving: Gateway) -> None:
    async with connect() as client:
        answer = await ask(client, "list_embedding_models")

    assert answer["default"] == TITAN
    assert answer["models"] == serving.request("GET", "/v1/models").json()["data"]
    assert [model["id"] for model in answer["models"]] == list(MODELS)
    assert answer["aliases"] == []


async def test_bad_input_is_an_error_that_names_it(connect: Connect, emulator: Emulator) -> None:
    async with connect() as client:
        embedding = await refusal(client, "openai_embedding", input=["a", ""])
        search = await refusal(client, "search_texts", query="a", texts=["a", "b", ""], model=ENGLISH)
        after = await ask(client, "openai_embedding", input="a")

    assert embedding == ("input[1]", "empty_input")
    assert search == ("texts[2]", "empty_input")
    assert after["count"] == 1
    assert len(emulator.bodies()) == 2  # the query of the search, and the last text


async def test_tool_that_does_not_exist_is_an_error_of_the_protocol(connect: Connect) -> None:
    from mcp.shared.exceptions import MCPError

    async with connect() as client:
        with pytest.raises(MCPError, match="search_texts") as caught:
            await client.call_tool("embed", {})

    assert caught.value.error.code == -32602


# ------------------------------------------------------------------------------------------------- openai_embedding


async def test_arguments_are_those_of_the_endpoint(serving: Gateway, emulator: Emulator, expected: Expected) -> None:
    async with agent(serving) as client:
        answer = await ask(
            client,
            "openai_embedding",
            model=f"bedrock/{TITAN}",
            input="a red bicycle",
            dimensions=256,
            encoding_format="base64",
            user="somebody",
            metadata={"job": "7"},
            extra_body={"normalize": True},
            full_vectors=True,
        )

    (item,) = answer["data"]
    (vector,) = expected(TITAN, ["a red bicycle"], 256)
    assert (answer["model"], answer["dimensions"]) == (f"bedrock/{TITAN}", 256)
    assert struct.unpack("<256f", b64decode(item["embedding"])) == pytest.approx(vector, rel=1e-6)
    assert emulator.bodies() == [{"inputText": "a red bicycle", "dimensions": 256, "normalize": True}]


async def test_parameters_of_the_model_may_stand_beside_the_others(serving: Gateway, emulator: Emulator) -> None:
    async with agent(serving) as client:
        await ask(client, "openai_embedding", model=V4, input="a", input_type="clustering", truncate="END")

    (body,) = emulator.bodies()
    assert (body["input_type"], body["truncate"]) == ("clustering", "END")


async def test_null_counts_as_absent(serving: Gateway, emulator: Emulator) -> None:
    absent = dict.fromkeys(("model", "dimensions", "encoding_format", "user", "metadata", "extra_body"))

    async with agent(serving) as client:
        answer = await ask(client, "openai_embedding", input="a", full_vectors=None, **absent)

    assert answer["model"] == TITAN
    assert emulator.bodies() == [{"inputText": "a"}]


async def test_compact_answer_shows_the_first_vectors_of_many(serving: Gateway) -> None:
    async with agent(serving) as client:
        answer = await ask(client, "openai_embedding", model=ENGLISH, input=[f"text {n}" for n in range(100)])

    assert answer["count"] == 100
    assert [item["index"] for item in answer["data"]] == list(range(20))


async def test_full_vectors_of_many_inputs_are_answered_as_base64_only(
    serving: Gateway, emulator: Emulator, expected: Expected
) -> None:
    texts = [f"text {n}" for n in range(65)]

    async with agent(serving) as client:
        refused = await refusal(client, "openai_embedding", model=ENGLISH, input=texts, full_vectors=True)
        assert emulator.bodies() == []
        packed = await ask(
            client, "openai_embedding", model=ENGLISH, input=texts, full_vectors=True, encoding_format="base64"
        )
        one = await ask(client, "openai_embedding", input=[9906] * 100, full_vectors=True)  # token ids: one input

    assert refused == ("full_vectors", "invalid_value")
    assert [struct.unpack("<1024f", b64decode(item["embedding"])) for item in packed["data"]] == [
        pytest.approx(vector, rel=1e-6) for vector in expected(ENGLISH, texts)
    ]
    assert (packed["dimensions"], one["count"]) == (1024, 1)


async def test_input_of_several_parts_is_one_vector(
    serving: Gateway, pictures: dict[str, str], expected: Expected
) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": pictures["png"]}}]

    async with agent(serving) as client:
        fused = await ask(client, "openai_embedding", model=V4, input=[parts])
        plain = await ask(client, "openai_embedding", model=V4, input=["a", pictures["png"]], full_vectors=True)

    assert fused["count"] == 1
    assert [item["embedding"] for item in plain["data"]] == expected(V4, ["a", pictures["png"]])


async def test_several_vectors_of_one_input_say_which_is_which(serving: Gateway, clips: dict[str, str]) -> None:
    async with agent(serving) as client:
        answer = await ask(
            client,
            "openai_embedding",
            model=NOVA,
            input=clips["mp4"],
            extra_body={"embedding_mode": "AUDIO_VIDEO_SEPARATE"},
        )

    assert answer["count"] == 2
    assert [item["index"] for item in answer["data"]] == [0, 0]
    assert len({item["segment"]["option"] for item in answer["data"]}) == 2


async def test_what_was_done_to_inputs_is_told(gateway_with: StartGateway) -> None:
    serving = gateway_with(EMBEDROCK_MCP="true", EMBEDROCK_EMPTY_INPUT="space", EMBEDROCK_DROP_PARAMS="true")

    async with agent(serving) as client:
        answer = await ask(client, "openai_embedding", input=["a", ""], extra_body={"wishes": 3})

    assert answer["emptied"] == [1]
    assert answer["dropped_params"] == ["wishes"]


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        ({}, ("input", "empty_input")),
        ({"input": []}, ("input", "empty_input")),
        ({"input": 7}, ("input", "invalid_type")),
        ({"input": ["a", 7]}, ("input[1]", "invalid_type")),
        ({"input": "a", "model": 7}, ("model", "invalid_type")),
        ({"input": "a", "model": "no-such-model"}, ("model", "model_not_found")),
        ({"input": "a", "dimensions": 300}, ("dimensions", "invalid_value")),
        ({"input": "a", "dimensions": "256"}, ("dimensions", "invalid_type")),
        ({"input": "a", "encoding_format": "hex"}, ("encoding_format", "invalid_value")),
        ({"input": "a", "full_vectors": "yes"}, ("full_vectors", "invalid_type")),
        ({"input": "a", "user": 7}, ("user", "invalid_type")),
        ({"input": "a", "metadata": {"a": 7}}, ("metadata", "invalid_type")),
        ({"input": "a", "extra_body": []}, ("extra_body", "invalid_type")),
        ({"input": "a", "extra_body": {"wishes": 3}}, ("wishes", "unsupported_parameter")),
        ({"input": "a", "wishes": 3}, ("wishes", "unsupported_parameter")),
        ({"input": ["a"] * 2049}, ("input", "too_many_inputs")),
    ],
    ids=str,
)
async def test_openai_embedding_refuses_what_the_endpoint_refuses(
    serving: Gateway, emulator: Emulator, arguments: dict[str, Any], refused: tuple[str, str]
) -> None:
    async with agent(serving) as client:
        assert await refusal(client, "openai_embedding", **arguments) == refused

    assert emulator.journal() == []


# --------------------------------------------------------------------------------------- similarity, search_texts


@pytest.mark.parametrize(
    ("model", "query", "document"),
    [
        (ENGLISH, {"input_type": "search_query"}, {"input_type": "search_document"}),
        (V4, {"input_type": "search_query"}, {"input_type": "search_document"}),
        (NOVA, {"embeddingPurpose": "GENERIC_RETRIEVAL"}, {"embeddingPurpose": "GENERIC_INDEX"}),
    ],
)
async def test_query_and_texts_are_embedded_as_what_they_are(
    serving: Gateway,
    emulator: Emulator,
    bedrock_body: BedrockBody,
    model: str,
    query: dict[str, str],
    document: dict[str, str],
) -> None:
    async with agent(serving) as client:
        answer = await ask(client, "search_texts", query="law", texts=TEXTS, model=model, top=4)

    def body(text: str, purpose: dict[str, str]) -> dict[str, Any]:
        made = bedrock_body(model, text)
        inner = made.get("singleEmbeddingParams", made)
        inner.update(purpose)
        return made

    (asked,) = expected_vectors(model, body("law", query))
    rows = [asked, *(vector for text in TEXTS for vector in expected_vectors(model, body(text, document)))]
    want = cosines(rows)[0, 1:]
    assert {result["index"]: result["score"] for result in answer["results"]} == pytest.approx(
        dict(enumerate(want)), abs=1e-4
    )
    assert asked != expected_vectors(model, body("law", document))[0]  # so that it makes a difference
    (told,) = query.items()
    sent = [body.get("singleEmbeddingParams", body) for body in emulator.bodies()]
    assert sum(body[told[0]] == told[1] for body in sent) == 1


async def test_dimensions_hold_for_query_and_texts(serving: Gateway, emulator: Emulator, expected: Expected) -> None:
    async with agent(serving) as client:
        found = await ask(client, "search_texts", query="law", texts=TEXTS[:1], dimensions=256)
        alike = await ask(client, "similarity", texts=TEXTS[:2], dimensions=256)

    rows = expected(TITAN, ["law", *TEXTS[:2]], 256)
    assert found["results"][0]["score"] == pytest.approx(cosines(rows)[0, 1], abs=1e-4)
    assert alike["matrix"][0][1] == pytest.approx(cosines(rows)[1, 2], abs=1e-4)
    assert {body["dimensions"] for body in emulator.bodies()} == {256}


async def test_tokens_are_those_of_query_and_texts_together(serving: Gateway, emulator: Emulator) -> None:
    async with agent(serving) as client:
        answer = await ask(client, "search_texts", query="law", texts=TEXTS)

    assert answer["tokens"] == sum(row["tokens"] for row in emulator.journal())


async def test_estimated_tokens_are_marked(serving: Gateway) -> None:
    async with agent(serving) as client:
        answer = await ask(client, "similarity", texts=["abcdefgh", "a"], model="twelvelabs.marengo-embed-3-0-v1:0")

    assert answer["tokens_estimated"] is True
    assert answer["tokens"] == 3


async def test_found_text_is_shown_by_its_beginning(serving: Gateway) -> None:
    """Whole texts would fill the agent's window, and it has them."""
    texts = ["law " * 100, "l" * 200]

    async with agent(serving) as client:
        answer = await ask(client, "search_texts", query="law", texts=texts)

    shown = {result["index"]: result["text"] for result in answer["results"]}
    assert shown == {0: texts[0][:199] + "…", 1: texts[1]}


async def test_picture_and_text_are_compared_where_the_model_reads_both(
    serving: Gateway, pictures: dict[str, str], expected: Expected
) -> None:
    inputs = ["a red square", pictures["png"]]

    async with agent(serving) as client:
        answer = await ask(client, "similarity", texts=inputs, model="amazon.titan-embed-image-v1")

    want = cosines(expected("amazon.titan-embed-image-v1", inputs))
    assert np.array(answer["matrix"]) == pytest.approx(want, abs=1e-4)


async def test_texts_that_become_one_vector_together_cannot_be_compared(
    serving: Gateway, pictures: dict[str, str]
) -> None:
    async with agent(serving) as client:
        refused = await refusal(
            client, "similarity", texts=["a", pictures["png"]], model="twelvelabs.marengo-embed-3-0-v1:0"
        )

    assert refused == ("texts", "invalid_value")


async def test_aliases_are_listed_and_taken(start_gateway: StartGateway, emulator: Emulator, tmp_path: Any) -> None:
    config = tmp_path / "embedrock.yaml"
    config.write_text(f"mcp: true\naliases:\n  mine: {V4}\n", encoding="utf-8")
    serving = start_gateway("--config", str(config), AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url)

    async with agent(serving) as client:
        listed = await ask(client, "list_embedding_models")
        found = await ask(client, "search_texts", query="law", texts=TEXTS, model="mine")

    assert listed["aliases"] == [{"name": "mine", "model": V4}]
    assert found["model"] == "mine"
    assert [body["input_type"] for body in emulator.bodies()] == ["search_query", "search_document"]


@pytest.mark.parametrize(
    ("tool", "arguments", "refused"),
    [
        ("similarity", {}, ("texts", "invalid_type")),
        ("similarity", {"texts": "a"}, ("texts", "invalid_type")),
        ("similarity", {"texts": ["a"]}, ("texts", "invalid_value")),
        ("similarity", {"texts": ["a"] * 101}, ("texts", "invalid_value")),
        ("similarity", {"texts": ["a", ""]}, ("texts[1]", "empty_input")),
        ("similarity", {"texts": ["a", [9906]]}, ("texts[1]", "invalid_type")),
        ("similarity", {"texts": ["a", "b"], "top": 0}, ("top", "invalid_value")),
        ("similarity", {"texts": ["a", "b"], "top": "2"}, ("top", "invalid_type")),
        ("similarity", {"texts": ["a", "b"], "model": 7}, ("model", "invalid_type")),
        ("similarity", {"texts": ["a", "b"], "dimensions": 300}, ("dimensions", "invalid_value")),
        ("similarity", {"texts": ["a", "b"], "input": "a"}, ("input", "unsupported_parameter")),
        ("similarity", {"texts": ["a", "data:image/png;base64,AAAA"]}, ("texts[1]", "media_type_mismatch")),
        ("search_texts", {"texts": ["a"]}, ("query", "invalid_type")),
        ("search_texts", {"query": "", "texts": ["a"]}, ("query", "empty_input")),
        ("search_texts", {"query": "a" * 60_000, "texts": ["a"]}, ("query", "context_length_exceeded")),
        ("search_texts", {"query": "a"}, ("texts", "invalid_type")),
        ("search_texts", {"query": "a", "texts": []}, ("texts", "empty_input")),
        ("search_texts", {"query": "a", "texts": ["a"] * 2049}, ("texts", "too_many_inputs")),
        ("search_texts", {"query": "a", "texts": ["b"], "model": "no-such-model"}, ("model", "model_not_found")),
        ("search_texts", {"query": "a", "texts": ["b"], "model": ["x"]}, ("model", "invalid_type")),
        ("list_embedding_models", {"filter": "nova"}, ("filter", "unsupported_parameter")),
    ],
)
async def test_bad_argument_is_named(
    serving: Gateway, tool: str, arguments: dict[str, Any], refused: tuple[str, str]
) -> None:
    async with agent(serving) as client:
        assert await refusal(client, tool, **arguments) == refused


async def test_failure_of_bedrock_says_when_to_try_again(start_gateway: StartGateway) -> None:
    serving = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://127.0.0.1:1", EMBEDROCK_MCP="true")

    async with agent(serving) as client:
        result = await client.call_tool("openai_embedding", {"input": "a"})

    assert result.is_error
    assert result.structured_content["error"]["code"] == "upstream_unavailable"
    assert "Try again in 2 s." in str(result.content)
