"""The third dialect through the gateway: requests as its users send them, and answers member by member."""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import openai
import pytest

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Expected, Gateway, StartGateway

PATH = "/api/v3/inference/embeddings"
TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
V4 = "cohere.embed-v4:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
ONE = "Ten grey cats sleep under the warm kitchen table."
SEVERAL = ["A page about bicycles", "A page about taxes", "A page about cats"]


def embed(gateway: Gateway, members: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None) -> Answer:
    sent = members if isinstance(members, bytes) else json.dumps(members).encode()
    return gateway.request("POST", PATH, sent, {"content-type": "application/json", **(headers or {})})


def float32(vectors: Sequence[Sequence[float]]) -> list[list[float]]:
    rounded: list[list[float]] = np.array(vectors, np.float64).astype(np.float32).astype(np.float64).tolist()
    return rounded


def check_shape(answer: Answer, model: str, inputs: int) -> dict[str, Any]:
    """Return the answer, after checking every member but the vectors."""
    assert answer.status == 200, answer.body[:500]
    assert answer.headers["content-type"] == "application/json"
    members: dict[str, Any] = answer.json()
    assert list(members) == ["id", "object", "data", "model", "created", "usage"]
    assert re.fullmatch(r"embed-[0-9a-z]{9,}", members["id"])
    assert (members["object"], members["model"]) == ("embedding", model)
    assert isinstance(members["created"], float)
    assert abs(members["created"] - time.time()) < 120
    assert members["usage"].keys() == {"prompt_tokens", "total_tokens"}
    assert [(item["object"], item["index"]) for item in members["data"]] == [("embedding", at) for at in range(inputs)]
    assert all(item.keys() == {"object", "index", "embedding"} for item in members["data"])
    return members


@pytest.mark.parametrize("model", [TITAN, ENGLISH, V4])
def test_one_text(gateway: Gateway, emulator: Emulator, expected: Expected, model: str) -> None:
    answer = embed(gateway, {"model": model, "input": ONE}, {"Authorization": "Bearer any"})

    members = check_shape(answer, model, 1)
    assert [item["embedding"] for item in members["data"]] == expected(model, [ONE])
    answer.check_usage(emulator.journal())


@pytest.mark.parametrize("model", [TITAN, ENGLISH, V4])
def test_several_texts(gateway: Gateway, emulator: Emulator, expected: Expected, model: str) -> None:
    answer = embed(gateway, {"model": model, "input": SEVERAL})

    members = check_shape(answer, model, 3)
    assert [item["embedding"] for item in members["data"]] == expected(model, SEVERAL)
    answer.check_usage(emulator.journal())


@pytest.mark.parametrize("model", [TITAN, V4])
def test_dimensions(gateway: Gateway, emulator: Emulator, expected: Expected, model: str) -> None:
    answer = embed(gateway, {"model": model, "input": ONE, "dimensions": 512})

    (item,) = check_shape(answer, model, 1)["data"]
    assert [item["embedding"]] == expected(model, [ONE], 512)
    assert len(item["embedding"]) == 512
    answer.check_usage(emulator.journal())


def test_created_is_a_number_with_a_point(gateway: Gateway) -> None:
    """Seconds, as the documented answers have them."""
    assert re.search(rb'"created":\d{10}\.0,', embed(gateway, {"model": TITAN, "input": ONE}).body)


def test_every_answer_has_an_id_of_its_own(gateway: Gateway) -> None:
    ids = {embed(gateway, {"model": TITAN, "input": ONE}).json()["id"] for _ in range(20)}

    assert len(ids) == 20


@pytest.mark.parametrize("value", ["float", None])
def test_floats_when_asked_for_or_nothing_is_said(gateway: Gateway, expected: Expected, value: str | None) -> None:
    answer = embed(gateway, {"model": TITAN, "input": SEVERAL, "encoding_format": value})

    assert [item["embedding"] for item in answer.json()["data"]] == expected(TITAN, SEVERAL)


@pytest.mark.parametrize("model", [TITAN, ENGLISH])
def test_base64_is_little_endian_float32(gateway: Gateway, expected: Expected, model: str) -> None:
    answer = embed(gateway, {"model": model, "input": SEVERAL, "encoding_format": "base64"})

    packed = [b64decode(item["embedding"], validate=True) for item in check_shape(answer, model, 3)["data"]]
    assert packed == [np.array(vector, "<f4").tobytes() for vector in expected(model, SEVERAL)]


def test_parameters_and_token_ids_are_taken_as_on_openais_path(
    gateway: Gateway, emulator: Emulator, expected: Expected
) -> None:
    ids = embed(gateway, {"model": TITAN, "input": [15339, 1917]})
    query = embed(gateway, {"model": ENGLISH, "input": ONE, "input_type": "search_query", "truncate": "END"})

    assert [item["embedding"] for item in ids.json()["data"]] == expected(TITAN, ["hello world"])
    assert query.status == 200
    assert [body.get("input_type") for body in emulator.bodies()] == [None, "search_query"]


def test_a_text_and_a_picture_as_one_are_labelled(gateway: Gateway, pictures: dict[str, str]) -> None:
    answer = embed(gateway, {"model": MARENGO_3, "input": [ONE, pictures["png"]]})

    (item,) = answer.json()["data"]
    assert (item["index"], item["input_indices"]) == (0, [0, 1])


def test_headers_are_those_of_openais_path(gateway: Gateway) -> None:
    theirs = gateway.embed({"model": TITAN, "input": ONE}).headers
    ours = embed(gateway, {"model": TITAN, "input": ONE}).headers

    changing = {"x-request-id", "openai-processing-ms", "content-length", "date"}
    assert ours.keys() == theirs.keys()
    assert [ours[name] for name in ours if name not in changing] == [
        theirs[name] for name in ours if name not in changing
    ]
    assert ours["x-request-id"].startswith("req_")


# ---------------------------------------------------------------- OpenAI's client


@pytest.mark.parametrize("slash", ["", "/"])
def test_openais_client_with_its_default_base64(gateway: Gateway, expected: Expected, slash: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/api/v3/inference{slash}", api_key="any") as client:
        reply = client.embeddings.create(model=TITAN, input=SEVERAL, dimensions=256)

    assert [item.embedding for item in reply.data] == float32(expected(TITAN, SEVERAL, 256))
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0
    assert (reply.model, reply.object) == (TITAN, "embedding")


async def test_openais_asynchronous_client_with_floats(gateway: Gateway, expected: Expected) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/api/v3/inference", api_key="any") as client:
        reply = await client.embeddings.create(model=ENGLISH, input=SEVERAL, encoding_format="float")

    assert [item.embedding for item in reply.data] == expected(ENGLISH, SEVERAL)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("setting", [{}, {"EMBEDROCK_EMPTY_INPUT": "space"}])
@pytest.mark.parametrize("value, param", [("", "input"), ([""], "input[0]"), (["a", ""], "input[1]")])
def test_empty_text_is_refused_also_alone_and_whatever_the_operator_says(
    gateway_with: StartGateway, emulator: Emulator, setting: dict[str, str], value: object, param: str
) -> None:
    answer = embed(gateway_with(**setting), {"model": TITAN, "input": value})

    assert answer.refusal() == (param, "empty_input")
    assert emulator.journal() == []


@pytest.mark.parametrize(
    "members, status, param, code",
    [
        ({"model": TITAN}, 400, "input", "empty_input"),
        ({"model": TITAN, "input": []}, 400, "input", "empty_input"),
        ({"input": "a"}, 400, "model", "invalid_value"),
        ({"model": TITAN, "input": "a", "dimensions": 300}, 400, "dimensions", "invalid_value"),
        ({"model": ENGLISH, "input": "a", "dimensions": 512}, 400, "dimensions", "invalid_value"),
        ({"model": TITAN, "input": "a" * 50_001}, 400, "input", "context_length_exceeded"),
        ({"model": TITAN, "input": "a", "encoding_format": "hex"}, 400, "encoding_format", "invalid_value"),
        ({"model": TITAN, "input": "a", "purpose": "x"}, 400, "purpose", "unsupported_parameter"),
        ({"model": "text-embedding-xyz", "input": "a"}, 404, "model", "model_not_found"),
        (b"{", 400, None, "invalid_json"),
    ],
)
def test_errors_are_in_openais_envelope(
    gateway: Gateway, emulator: Emulator, members: Any, status: int, param: str | None, code: str
) -> None:
    answer = embed(gateway, members)

    error = answer.error()
    assert (answer.status, error["param"], error["code"]) == (status, param, code)
    assert error["type"] == "invalid_request_error"
    assert emulator.journal() == []


def test_key_is_asked_for(gateway_with: StartGateway) -> None:
    gateway = gateway_with(EMBEDROCK_API_KEY="sk-of-a-reader")

    answers = [
        embed(gateway, {"model": TITAN, "input": "a"}, {"authorization": f"Bearer {key}"})
        for key in ("sk-of-a-reader", "sk-wrong")
    ]

    assert [answer.status for answer in answers] == [200, 401]
    assert answers[1].error()["code"] == "invalid_api_key"


def test_throttle_that_stays_is_a_429(own_gateway: Gateway, emulator: Emulator) -> None:
    emulator.fault("throttle")

    answer = embed(own_gateway, {"model": TITAN, "input": "a"}, {"x-request-timeout-ms": "500"})

    assert (answer.status, answer.error()["code"]) == (429, "upstream_throttled")
    assert emulator.fired() >= 1
