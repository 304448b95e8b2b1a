"""The official OpenAI client, synchronous and asynchronous, gets what it would get from OpenAI."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import openai
import pytest

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
MULTILINGUAL = "cohere.embed-multilingual-v3"
MODELS = (TITAN, ENGLISH, MULTILINGUAL)

#: What no waiting cures: arguments, exception, status, param, code.
HOPELESS: dict[str, tuple[dict[str, Any], type[openai.APIStatusError], str | None, str | None]] = {
    "no such model": ({"model": "gpt-4o"}, openai.NotFoundError, "model", "model_not_found"),
    "dimensions it lacks": ({"dimensions": 300}, openai.BadRequestError, "dimensions", "invalid_value"),
    "dimensions of Cohere": (
        {"model": ENGLISH, "dimensions": 512},
        openai.BadRequestError,
        "dimensions",
        "invalid_value",
    ),
    "empty list": ({"input": []}, openai.BadRequestError, "input", "empty_input"),
    "empty text in a list": ({"input": ["a", ""]}, openai.BadRequestError, "input[1]", "empty_input"),
    "too many": ({"input": ["a"] * 2049}, openai.BadRequestError, "input", "too_many_inputs"),
    "too long": ({"input": "a" * 50_001}, openai.BadRequestError, "input", "context_length_exceeded"),
    "too long in a list": (
        {"model": ENGLISH, "input": ["a", "b" * 2049]},
        openai.BadRequestError,
        "input[1]",
        "context_length_exceeded",
    ),
    "media": (
        {"input": "data:image/png;base64,iVBORw0KGgo="},
        openai.BadRequestError,
        "input",
        "invalid_media",
    ),
    "S3": ({"input": ["s3://bucket/key.png"]}, openai.BadRequestError, "input[0]", "unsupported_media"),
    "unknown format": (
        {"encoding_format": "int8"},
        openai.BadRequestError,
        "encoding_format",
        "invalid_value",
    ),
    "unknown parameter": (
        {"extra_body": {"api_base": "http://169.254.169.254"}},
        openai.BadRequestError,
        "api_base",
        "unsupported_parameter",
    ),
}


def float32(vectors: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return `vectors` as they come back from base64."""
    rounded: list[list[float]] = np.array(vectors, np.float64).astype(np.float32).astype(np.float64).tolist()
    return rounded


@pytest.mark.parametrize("model", MODELS)
def test_default_client_gets_the_float32_vector(openai_client: openai.OpenAI, model: str, expected: Expected) -> None:
    """It asks for base64 unless told otherwise; only the rounding to float32 is lost."""
    reply = openai_client.embeddings.create(model=model, input="a red bicycle")

    assert [item.embedding for item in reply.data] == float32(expected(model, ["a red bicycle"]))
    assert (reply.object, reply.model, reply.data[0].object, reply.data[0].index) == ("list", model, "embedding", 0)
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0


@pytest.mark.parametrize("model", MODELS)
async def test_default_async_client_gets_the_float32_vector(
    async_openai_client: openai.AsyncOpenAI, model: str, expected: Expected
) -> None:
    reply = await async_openai_client.embeddings.create(model=model, input="a red bicycle")

    assert [item.embedding for item in reply.data] == float32(expected(model, ["a red bicycle"]))


@pytest.mark.parametrize("model", MODELS)
def test_float_gives_every_digit(openai_client: openai.OpenAI, model: str, expected: Expected) -> None:
    texts = ["a red bicycle", "a crimson bike", "quarterly earnings"]

    reply = openai_client.embeddings.create(model=model, input=texts, encoding_format="float")

    assert [item.embedding for item in reply.data] == expected(model, texts)


async def test_float_gives_every_digit_to_the_async_client(
    async_openai_client: openai.AsyncOpenAI, expected: Expected
) -> None:
    reply = await async_openai_client.embeddings.create(model=TITAN, input=["one", "two"], encoding_format="float")

    assert [item.embedding for item in reply.data] == expected(TITAN, ["one", "two"])


@pytest.mark.parametrize("model", MODELS)
def test_explicit_base64_is_a_string_of_little_endian_float32(
    openai_client: openai.OpenAI, model: str, expected: Expected
) -> None:
    reply = openai_client.embeddings.create(model=model, input="a red bicycle", encoding_format="base64")

    text: object = reply.data[0].embedding  # the client hands on what it was explicitly asked for
    assert isinstance(text, str)
    (vector,) = expected(model, ["a red bicycle"])
    assert base64.b64decode(text, validate=True) == np.array(vector).astype("<f4").tobytes()


@pytest.mark.parametrize("dimensions", [256, 512, 1024])
async def test_dimensions_are_the_ones_asked_for(
    openai_client: openai.OpenAI, async_openai_client: openai.AsyncOpenAI, expected: Expected, dimensions: int
) -> None:
    wanted = expected(TITAN, ["a red bicycle"], dimensions)

    reply = openai_client.embeddings.create(model=TITAN, input="a red bicycle", dimensions=dimensions)
    later = await async_openai_client.embeddings.create(
        model=TITAN, input="a red bicycle", dimensions=dimensions, encoding_format="float"
    )

    assert len(reply.data[0].embedding) == dimensions
    assert reply.data[0].embedding == float32(wanted)[0]
    assert later.data[0].embedding == wanted[0]


def test_the_one_size_of_cohere_may_be_named(openai_client: openai.OpenAI, expected: Expected) -> None:
    reply = openai_client.embeddings.create(model=ENGLISH, input="a red bicycle", dimensions=1024)

    assert reply.data[0].embedding == float32(expected(ENGLISH, ["a red bicycle"]))[0]


def test_null_for_an_optional_member_counts_as_absent(openai_client: openai.OpenAI, expected: Expected) -> None:
    extra = {"dimensions": None, "encoding_format": None, "user": None, "metadata": None}

    reply = openai_client.embeddings.create(model=TITAN, input="a red bicycle", extra_body=extra)

    assert reply.data[0].embedding == expected(TITAN, ["a red bicycle"])[0]


def test_user_and_metadata_are_accepted(openai_client: openai.OpenAI) -> None:
    reply = openai_client.embeddings.create(
        model=TITAN, input="a red bicycle", user="somebody", extra_body={"metadata": {"team": "search"}}
    )

    assert len(reply.data) == 1


@pytest.mark.parametrize("model", MODELS)
def test_300_texts_come_back_in_order(openai_client: openai.OpenAI, model: str, expected: Expected) -> None:
    texts = [f"text {number} of many, {number * 7919 % 97}" for number in range(300)]

    reply = openai_client.embeddings.create(model=model, input=texts)

    assert [item.index for item in reply.data] == list(range(300))
    assert [item.embedding for item in reply.data] == float32(expected(model, texts))


async def test_300_texts_come_back_in_order_to_the_async_client(
    async_openai_client: openai.AsyncOpenAI, expected: Expected
) -> None:
    texts = [f"text {number} of many" for number in range(300)]

    reply = await async_openai_client.embeddings.create(model=ENGLISH, input=texts, encoding_format="float")

    assert [item.embedding for item in reply.data] == expected(ENGLISH, texts)


@pytest.mark.parametrize("model", MODELS)
def test_a_lone_empty_text_is_embedded_as_one_space(
    openai_client: openai.OpenAI, model: str, expected: Expected
) -> None:
    raw = openai_client.embeddings.with_raw_response.create(model=model, input="")

    assert raw.headers["x-embedrock-empty"] == "0"
    assert [item.embedding for item in raw.parse().data] == float32(expected(model, [" "]))


def test_white_space_is_text(openai_client: openai.OpenAI, expected: Expected) -> None:
    raw = openai_client.embeddings.with_raw_response.create(model=TITAN, input=[" ", "\n\t"])

    assert "x-embedrock-empty" not in raw.headers
    assert [item.embedding for item in raw.parse().data] == float32(expected(TITAN, [" ", "\n\t"]))


def test_empty_texts_in_a_list_become_spaces_where_the_operator_wants_it(
    gateway_with: StartGateway, expected: Expected
) -> None:
    gateway = gateway_with(EMBEDROCK_EMPTY_INPUT="space")

    with openai.OpenAI(base_url=gateway.url, api_key="any") as client:
        raw = client.embeddings.with_raw_response.create(model=TITAN, input=["", "a", ""])

    assert raw.headers["x-embedrock-empty"] == "0,2"
    assert [item.embedding for item in raw.parse().data] == float32(expected(TITAN, [" ", "a", " "]))


def test_raw_answer_has_the_headers(openai_client: openai.OpenAI) -> None:
    raw = openai_client.embeddings.with_raw_response.create(model=f"bedrock/{TITAN}", input=["one", "two"])

    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-request-id"] == raw.parse()._request_id
    assert raw.headers["openai-model"] == TITAN
    assert raw.headers["openai-processing-ms"].isdecimal()
    assert raw.headers["x-embedrock-usage"] == "reported"
    assert raw.headers["x-embedrock-region"] == "us-east-1"
    assert raw.headers["x-embedrock-upstream-calls"] == "2"
    assert raw.parse().model == f"bedrock/{TITAN}"


def test_every_answer_has_an_id_of_its_own(openai_client: openai.OpenAI) -> None:
    replies = [openai_client.embeddings.create(model=TITAN, input="again") for _ in range(3)]

    assert len({reply._request_id for reply in replies}) == 3


@pytest.mark.parametrize("case", HOPELESS)
def test_hopeless_request_is_sent_once(
    openai_client: openai.OpenAI, gateway: Gateway, emulator: Emulator, case: str
) -> None:
    """The client would retry twice what it may; it is told what happened, and nothing is sent to Bedrock."""
    changes, exception, param, code = HOPELESS[case]
    before = gateway.metric("embedrock_requests_total", route="embeddings")

    with pytest.raises(exception) as caught:
        openai_client.embeddings.create(**{"model": TITAN, "input": "a red bicycle"} | changes)

    assert (caught.value.param, caught.value.code, caught.value.type) == (param, code, "invalid_request_error")
    assert (caught.value.request_id or "").startswith("req_")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert gateway.metric("embedrock_requests_total", route="embeddings") - before == 1
    assert emulator.journal() == []


async def test_hopeless_request_is_sent_once_by_the_async_client(
    async_openai_client: openai.AsyncOpenAI, gateway: Gateway
) -> None:
    before = gateway.metric("embedrock_requests_total", route="embeddings")

    with pytest.raises(openai.NotFoundError) as caught:
        await async_openai_client.embeddings.create(model="text-embedding-3-small", input="a red bicycle")

    assert (caught.value.status_code, caught.value.param, caught.value.code) == (404, "model", "model_not_found")
    assert gateway.metric("embedrock_requests_total", route="embeddings") - before == 1


@pytest.mark.parametrize("max_retries", [0, 1])
def test_client_retries_an_unavailable_upstream_as_often_as_it_is_told(
    own_gateway: Gateway, emulator: Emulator, max_retries: int
) -> None:
    """It honours `retry-after-ms`, so `max_retries` is small."""
    emulator.fault("server_error", status=503)

    with (
        openai.OpenAI(base_url=f"{own_gateway.url}/v1", api_key="any", max_retries=max_retries) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.embeddings.create(model=TITAN, input="a red bicycle")

    assert (caught.value.status_code, caught.value.code) == (503, "upstream_unavailable")
    assert "x-should-retry" not in caught.value.response.headers
    assert emulator.fired() >= 3
    assert own_gateway.metric("embedrock_requests_total", route="embeddings", status="503") == 1 + max_retries


def test_throttled_client_sees_a_rate_limit_error(own_gateway: Gateway, emulator: Emulator) -> None:
    emulator.fault("throttle")

    with (
        openai.OpenAI(base_url=f"{own_gateway.url}/v1", api_key="any", max_retries=0) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.embeddings.create(model=TITAN, input="a red bicycle", extra_headers={"x-request-timeout-ms": "300"})

    assert emulator.fired() >= 1
    assert caught.value.code == "upstream_throttled"
    assert (caught.value.request_id or "").startswith("req_")
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


def test_wrong_key_is_an_authentication_error(gateway_with: StartGateway) -> None:
    gateway = gateway_with(EMBEDROCK_API_KEY="right-key,other-key")

    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="wrong-key") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.embeddings.create(model=TITAN, input="a red bicycle")
        reply = client.with_options(api_key="other-key").embeddings.create(model=TITAN, input="a red bicycle")

    assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")
    assert len(reply.data) == 1


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_base_url_works_with_and_without_v1_and_slash(gateway: Gateway, suffix: str, expected: Expected) -> None:
    with openai.OpenAI(base_url=gateway.url + suffix, api_key="any") as client:
        reply = client.embeddings.create(model=TITAN, input="a red bicycle")

    assert reply.data[0].embedding == float32(expected(TITAN, ["a red bicycle"]))[0]


def test_models_are_listed_and_retrieved(openai_client: openai.OpenAI) -> None:
    listed = list(openai_client.models.list())
    shown = openai_client.models.retrieve(TITAN)

    assert {model.id for model in listed} >= set(MODELS)
    assert all(model.object == "model" and model.owned_by and isinstance(model.created, int) for model in listed)
    assert shown == next(model for model in listed if model.id == TITAN)


@pytest.mark.parametrize("name", [f"bedrock/{TITAN}", f"bedrock/us-east-1/{TITAN}"])
def test_other_names_of_a_model_are_retrieved_as_asked(openai_client: openai.OpenAI, name: str) -> None:
    assert openai_client.models.retrieve(name).id == name


def test_unknown_model_is_not_found(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.models.retrieve("gpt-4o")

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
