"""`embedding` and `aembedding`: values, parameters, costs and refusals, against the emulator."""

from __future__ import annotations

import inspect
import json
import struct
from base64 import b64decode
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from embedrock import EmbeddingResponse, EmbedrockError, aembedding, embedding
from embedrock.errors import (
    BadRequest,
    ContentBlocked,
    ModelNotFound,
    Unavailable,
    UpstreamTimeout,
)

from .stand_ins import Silent, whose

if TYPE_CHECKING:
    from tests.conftest import BedrockBody, Emulator, Expected

TITAN = "amazon.titan-embed-text-v2:0"
TITAN_V1 = "amazon.titan-embed-text-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
V4 = "cohere.embed-v4:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
TEXTS = ["a red bicycle", "Quarterly earnings rose", "自転車"]

#: US dollars: a million tokens, a text, a picture; AWS's price list for us-east-1. None: not billed so.
PRICES: dict[str, tuple[str | None, str | None, str | None]] = {
    TITAN_V1: ("0.1", None, None),
    "amazon.titan-embed-g1-text-02": ("0.1", None, None),
    TITAN: ("0.02", None, None),
    "amazon.titan-embed-image-v1": ("0.8", None, "0.00006"),
    NOVA: ("0.135", None, "0.00006"),
    ENGLISH: ("0.1", None, None),
    "cohere.embed-multilingual-v3": ("0.1", None, None),
    V4: ("0.12", None, None),
    MARENGO_2: (None, "0.00007", "0.0001"),
    MARENGO_3: (None, "0.00007", "0.0001"),
}
PRICED_PICTURES = [model for model, (_, _, picture) in PRICES.items() if picture]


def vectors(response: EmbeddingResponse) -> list[Any]:
    assert [item.index for item in response.data] == list(range(len(response.data)))
    return [item.embedding for item in response.data]


# Values


@pytest.mark.parametrize("model", list(PRICES))
def test_vectors_are_bedrocks_numbers_and_cost_what_its_tokens_cost(
    emulator: Emulator, expected: Expected, aws: dict[str, Any], model: str
) -> None:
    response = embedding(model=f"bedrock/{model}", input=TEXTS, **aws)

    rows = emulator.journal()
    counts = [row["tokens"] for row in rows if row["tokens"] is not None]
    a_million, a_text, _ = (Decimal(price or 0) for price in PRICES[model])
    assert vectors(response) == expected(model, TEXTS)
    assert {type(number) for vector in vectors(response) for number in vector} == {float}
    assert response.model == model
    assert Decimal(str(response._hidden_params.response_cost)) == a_million * sum(counts) / 1_000_000 + a_text * 3
    assert response._hidden_params.reported == bool(counts)
    if counts:
        assert response.usage == {
            "prompt_tokens": sum(counts),
            "total_tokens": sum(counts),
            "completion_tokens": 0,
        }
    assert response._hidden_params.model_id == model
    assert response._hidden_params.region_name == "us-east-1"
    assert response._hidden_params["custom_llm_provider"] == "bedrock"
    assert response._hidden_params.upstream_calls == len(rows)


@pytest.mark.parametrize("model", PRICED_PICTURES)
def test_picture_costs_its_price(
    emulator: Emulator, expected: Expected, aws: dict[str, Any], pictures: dict[str, str], model: str
) -> None:
    response = embedding(model, ["a text", pictures["png"], pictures["jpeg"]], **aws)

    counts = [row["tokens"] for row in emulator.journal() if row["tokens"] is not None]
    a_million, a_text, a_picture = (Decimal(price or 0) for price in PRICES[model])
    cost = a_million * sum(counts) / 1_000_000 + a_text + a_picture * 2
    assert vectors(response) == expected(model, ["a text", pictures["png"], pictures["jpeg"]])
    assert Decimal(str(response._hidden_params.response_cost)) == cost


def test_one_text_is_one_vector(expected: Expected, aws: dict[str, Any]) -> None:
    assert vectors(embedding(TITAN, "a red bicycle", **aws)) == expected(TITAN, ["a red bicycle"])


async def test_awaitable_one_gives_the_same(expected: Expected, aws: dict[str, Any]) -> None:
    response = await aembedding(f"bedrock/{TITAN}", TEXTS, dimensions=256, **aws)

    assert vectors(response) == expected(TITAN, TEXTS, 256)


def test_base64_is_little_endian_float32(expected: Expected, aws: dict[str, Any]) -> None:
    response = embedding(TITAN, TEXTS, dimensions=256, encoding_format="base64", **aws)

    found = [struct.unpack("<256f", b64decode(text, validate=True)) for text in vectors(response)]
    assert found == [struct.unpack("<256f", struct.pack("<256f", *row)) for row in expected(TITAN, TEXTS, 256)]


def test_whole_numbers_stay_whole(aws: dict[str, Any]) -> None:
    (vector,) = vectors(embedding(ENGLISH, ["a"], embedding_types=["int8"], **aws))

    assert {type(number) for number in vector} == {int}
    assert len(vector) == 1024


def test_inputs_are_what_the_endpoint_takes(expected: Expected, aws: dict[str, Any]) -> None:
    tokens = embedding(TITAN, [15339, 1917], **aws)
    lists = embedding(TITAN, [[15339], [1917]], **aws)
    parts = embedding(V4, [[{"type": "text", "text": "a"}], "b"], **aws)

    assert vectors(tokens) == expected(TITAN, ["hello world"])
    assert vectors(lists) == expected(TITAN, ["hello", " world"])
    assert vectors(parts)[1] == expected(V4, ["b"])[0]


def test_pair_is_one_vector_of_two_inputs(aws: dict[str, Any], pictures: dict[str, str]) -> None:
    response = embedding(f"bedrock/us.{MARENGO_3}", ["a text", pictures["png"]], **aws)

    (item,) = response.data
    assert (item.index, item.input_indices) == (0, [0, 1])
    assert response["data"][0]["input_indices"] == [0, 1]


def test_any_number_of_inputs_is_one_call(expected: Expected, aws: dict[str, Any]) -> None:
    """The endpoint's limit is the gateway's, not Bedrock's."""
    texts = [f"text {number}" for number in range(2500)]

    response = embedding(ENGLISH, texts, **aws)

    assert vectors(response) == expected(ENGLISH, texts)
    assert response._hidden_params.upstream_calls == 27


# Parameters


def test_parameters_of_the_model_are_keywords(
    emulator: Emulator, bedrock_body: BedrockBody, aws: dict[str, Any]
) -> None:
    embedding(ENGLISH, ["a"], input_type="search_query", truncate="END", user="somebody", metadata={"a": "b"}, **aws)
    embedding(NOVA, ["a"], embedding_purpose="CLUSTERING", **aws)
    embedding(TITAN, ["a"], normalize=False, extra_body={"embeddingTypes": ["float"]}, **aws)

    cohere, nova, titan = emulator.bodies()
    assert cohere == bedrock_body(ENGLISH, "a") | {"input_type": "search_query", "truncate": "END"}
    assert nova["singleEmbeddingParams"]["embeddingPurpose"] == "CLUSTERING"
    assert titan == {"inputText": "a", "normalize": False, "embeddingTypes": ["float"]}


def test_unknown_parameter_is_refused(emulator: Emulator, aws: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="Unknown parameter: 'colour'") as caught:
        embedding(TITAN, ["a"], colour="red", **aws)

    assert (caught.value.param, caught.value.code) == ("colour", "unsupported_parameter")
    assert emulator.journal() == []


def test_unknown_parameter_is_dropped_and_listed_when_wanted(expected: Expected, aws: dict[str, Any]) -> None:
    response = embedding(TITAN, ["a"], colour="red", extra_body={"shape": 1}, drop_params=True, **aws)

    assert vectors(response) == expected(TITAN, ["a"])
    assert response._hidden_params.dropped_params == ["colour", "shape"]


@pytest.mark.parametrize("drop", [False, True])
def test_argument_about_aws_that_nobody_knows_is_never_dropped(aws: dict[str, Any], drop: bool) -> None:
    with pytest.raises(ValueError, match="aws_sts_endpoint"):
        embedding(TITAN, ["a"], aws_sts_endpoint="https://sts", drop_params=drop, **aws)


def test_bedrocks_headers_are_passed_on(emulator: Emulator, aws: dict[str, Any]) -> None:
    embedding(TITAN, ["a"], extra_headers={"X-Amzn-Bedrock-Service-Tier": "flex"}, **aws)

    (row,) = emulator.journal()
    assert row["headers"]["x-amzn-bedrock-service-tier"] == "flex"


@pytest.mark.parametrize("name", ["X-Team", "X-Amzn-Bedrock-Other", "authorization", "ü"])
def test_other_headers_are_refused(emulator: Emulator, aws: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match="extra_headers"):
        embedding(TITAN, ["a"], extra_headers={name: "a", "X-Amzn-Bedrock-Service-Tier": "flex"}, **aws)

    assert emulator.journal() == []


def test_guardrail_blocks(emulator: Emulator, aws: dict[str, Any]) -> None:
    emulator.guardrail(id="abc123", version="1", blocked_words=["forbidden"])
    headers = {"X-Amzn-Bedrock-GuardrailIdentifier": "abc123", "X-Amzn-Bedrock-GuardrailVersion": "1"}

    with pytest.raises(ContentBlocked) as caught:
        embedding(TITAN, ["fine", "a forbidden word"], extra_headers=headers, **aws)

    assert caught.value.code == "content_filter"
    assert caught.value.outcome is None, "the trace is not enabled"


@pytest.mark.parametrize(("retries", "calls"), [(None, 3), (0, 1), (1, 2), (4, 5)])
def test_retries_are_the_callers_to_bound(
    emulator: Emulator, aws: dict[str, Any], retries: int | None, calls: int
) -> None:
    emulator.fault("server_error", status=503)
    alone = aws | {"aws_access_key_id": f"AKIARETRIES{calls}"}  # an engine that has seen no other failures

    with pytest.raises(Unavailable):
        embedding(TITAN, ["a"], num_retries=retries, **alone)

    assert emulator.fired() == calls


def test_fault_that_passes_is_not_seen(emulator: Emulator, expected: Expected, aws: dict[str, Any]) -> None:
    emulator.fault("throttle", n=2)
    alone = aws | {"aws_access_key_id": "AKIATHROTTLED"}  # an engine that goes slower afterwards, and nobody else does

    assert vectors(embedding(TITAN, ["a"], **alone)) == expected(TITAN, ["a"])
    assert emulator.fired() == 2


def test_timeout_ends_a_call_that_is_not_answered(silent: Silent, aws: dict[str, Any]) -> None:
    with pytest.raises(UpstreamTimeout):
        embedding(TITAN, ["a"], timeout=0.2, **aws | {"aws_bedrock_runtime_endpoint": silent.url})

    assert silent.asked.is_set()
    assert silent.hung_up.wait(5)


@pytest.mark.parametrize("timeout", [0, -1, "5", None, True, float("nan"), float("inf")])
def test_timeout_that_is_none_is_refused(aws: dict[str, Any], timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout"):
        embedding(TITAN, ["a"], timeout=timeout, **aws)


@pytest.mark.parametrize("retries", [-1, 1.5, "2", True])
def test_retries_that_are_none_are_refused(aws: dict[str, Any], retries: Any) -> None:
    with pytest.raises(ValueError, match="num_retries"):
        embedding(TITAN, ["a"], num_retries=retries, **aws)


# Names


@pytest.mark.parametrize(
    ("name", "arguments", "region"),
    [
        (TITAN, {}, "us-east-1"),
        (f"bedrock/{TITAN}", {}, "us-east-1"),
        (f"bedrock/eu-west-1/{TITAN}", {"aws_region_name": None}, "eu-west-1"),
        (f"bedrock/eu-west-1/{TITAN}", {"aws_region_name": "eu-west-1"}, "eu-west-1"),
        (f"eu.{V4}", {"aws_region_name": "eu-central-1"}, "eu-central-1"),
        (f"arn:aws:bedrock:us-west-2::foundation-model/{TITAN}", {"aws_region_name": None}, "us-west-2"),
        (f"bedrock/arn:aws:bedrock:us-west-2::foundation-model/{TITAN}", {"aws_region_name": None}, "us-west-2"),
    ],
)
def test_name_and_region(
    emulator: Emulator, aws: dict[str, Any], name: str, arguments: dict[str, Any], region: str
) -> None:
    response = embedding(name, "a", custom_llm_provider="bedrock", **aws | arguments)

    (row,) = emulator.journal()
    assert whose(row) == ("AKIATEST", region)
    assert response._hidden_params.region_name == region
    assert response.model == name.removeprefix("bedrock/")


def test_two_regions_contradict_each_other(emulator: Emulator, aws: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="different regions"):
        embedding(f"bedrock/eu-west-1/{TITAN}", "a", **aws)

    assert emulator.journal() == []


def test_name_that_is_none(aws: dict[str, Any]) -> None:
    with pytest.raises(ModelNotFound, match="Did you mean"):
        embedding("bedrock/amazon.titan-embed-text-v3:0", "a", **aws)
    with pytest.raises(ModelNotFound):
        embedding("titan-embed-v1", "a", **aws)


# What LiteLLM's page promises as ValueErrors

ASYNC = f"bedrock/async_invoke/us.{MARENGO_2}"
PLACE = "s3://bucket/out/"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"model": ASYNC, "input_type": "text"}, "output_s3_uri cannot be empty"),
        ({"model": ASYNC, "input_type": "text", "output_s3_uri": ""}, "output_s3_uri cannot be empty"),
        ({"model": ASYNC, "input_type": "text", "output_s3_uri": "  "}, "output_s3_uri cannot be empty"),
        ({"model": ASYNC, "output_s3_uri": PLACE}, "input_type is required"),
        ({"model": NOVA, "input_type": "video"}, "Input type 'video' requires async_invoke route"),
        ({"model": NOVA, "input_type": "audio"}, "Input type 'audio' requires async_invoke route"),
        ({"model": MARENGO_2, "input": "s3://bucket/film.mp4"}, "Input type 'video' requires async_invoke route"),
        ({"model": MARENGO_2, "input": ["a", "s3://bucket/sound.mp3"]}, "Input type 'audio' requires async_invoke"),
        ({"model": NOVA, "input": ["data:video/mp4;base64,AAAA"]}, "Input type 'video' requires async_invoke route"),
        ({"model": NOVA, "input": "DATA:Audio/ogg;base64,AAAA"}, "Input type 'audio' requires async_invoke route"),
        (
            {"model": NOVA, "input": [[{"type": "image_url", "image_url": {"url": "data:video/mp4;base64,AAAA"}}]]},
            "Input type 'video' requires async_invoke route",
        ),
    ],
)
def test_value_error_of_the_page(
    emulator: Emulator, aws: dict[str, Any], members: Mapping[str, Any], words: str
) -> None:
    with pytest.raises(ValueError) as caught:
        embedding(**{"input": ["a"], **members}, **aws)

    assert words in str(caught.value)
    assert isinstance(caught.value, EmbedrockError)
    assert emulator.journal() == []


def test_text_about_films_is_a_text(expected: Expected, aws: dict[str, Any]) -> None:
    texts = ["data:video is a topic", "video/mp4", "s3 is a store"]

    assert vectors(embedding(TITAN, texts, **aws)) == expected(TITAN, texts)


# Refusals


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 3]}, "input[1]"),
        ({"input": b"a"}, "input"),
        ({"dimensions": 300}, "dimensions"),
        ({"dimensions": "256"}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"user": 3}, "user"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"custom_llm_provider": "openai"}, "custom_llm_provider"),
        ({"api_key": "with space"}, "api_key"),
        ({"aws_secret_access_key": None}, "aws_secret_access_key"),
        ({"aws_access_key_id": None}, "aws_secret_access_key"),
        ({"aws_external_id": "x"}, "aws_external_id"),
        ({"aws_session_name": "x"}, "aws_session_name"),
        ({"aws_web_identity_token": "x"}, "aws_web_identity_token"),
        ({"aws_access_key_id": None, "aws_secret_access_key": None, "aws_session_token": "t"}, "aws_session_token"),
    ],
)
def test_refusal_names_what_is_wrong(
    emulator: Emulator, aws: dict[str, Any], members: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        embedding(**{"model": TITAN, "input": "a"} | aws | members)

    assert caught.value.param == param
    assert emulator.journal() == []


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", float("nan")])
def test_parameter_that_json_cannot_say_is_refused(aws: dict[str, Any], value: Any) -> None:
    with pytest.raises(BadRequest):
        embedding(TITAN, "a", truncate=value, **aws)


@pytest.mark.parametrize("region", ["mars", "us-east-1/x", "US-EAST-1"])
def test_region_that_is_none_is_refused(aws: dict[str, Any], region: str) -> None:
    with pytest.raises(ValueError, match="not the name of an AWS region"):
        embedding(TITAN, "a", **aws | {"aws_region_name": region})


def test_no_region_is_an_error_that_says_what_to_do(aws: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="There is no AWS region"):
        embedding(TITAN, "a", **aws | {"aws_region_name": None})


def test_bedrock_key_is_not_sent_without_tls(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="https"):
        embedding(TITAN, "a", api_key="k", aws_region_name="us-east-1", aws_bedrock_runtime_endpoint=emulator.url)

    assert emulator.journal() == []


def test_both_functions_tell_the_same_signature() -> None:
    blocking, awaitable = inspect.signature(embedding), inspect.signature(aembedding)

    assert blocking == awaitable
    assert list(blocking.parameters)[:2] == ["model", "input"]
    assert blocking.return_annotation == "EmbeddingResponse"
    assert (embedding.__name__, aembedding.__name__) == ("embedding", "aembedding")
    assert inspect.iscoroutinefunction(aembedding)


def test_error_holds_no_secret(aws: dict[str, Any]) -> None:
    with pytest.raises(EmbedrockError) as caught:
        embedding(TITAN, "a", aws_role_name="arn:aws:iam::1:role/secret-role", **aws | {"aws_region_name": "x"})

    assert "secret" not in json.dumps([str(caught.value), repr(caught.value.__dict__)])
