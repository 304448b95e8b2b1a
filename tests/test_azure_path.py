"""The path of Azure's clients: the name in it wins, and the key may come in a header of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import openai
import pytest

if TYPE_CHECKING:
    from tests.conftest import Expected, Gateway, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
KEY = "key-of-the-azure-client"
PATH = f"/openai/deployments/{TITAN}/embeddings?api-version=2024-10-21"
BODY = json.dumps({"input": "a red bicycle"}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def keyed(gateway_with: StartGateway) -> Gateway:
    return gateway_with(EMBEDROCK_API_KEY=KEY)


def test_azures_client_gets_the_vectors_of_the_deployment(keyed: Gateway, expected: Expected) -> None:
    with openai.AzureOpenAI(azure_endpoint=keyed.url, api_key=KEY, api_version="2024-10-21") as client:
        reply = client.embeddings.create(model=TITAN, input=["a", "b"], dimensions=256)

    vectors = [np.array(item.embedding, np.float32) for item in reply.data]
    assert [v.tolist() for v in vectors] == [np.array(v, np.float32).tolist() for v in expected(TITAN, ["a", "b"], 256)]
    assert reply.model == TITAN


@pytest.mark.parametrize("named", [None, "cohere.embed-english-v3", "text-embedding-3-small"])
def test_name_in_the_path_wins_over_the_bodys(keyed: Gateway, expected: Expected, named: str | None) -> None:
    members = {"input": "a red bicycle"} | ({"model": named} if named else {})

    answer = keyed.request("POST", PATH, json.dumps(members).encode(), {**JSON, "api-key": KEY})

    assert answer.status == 200, answer.body
    assert answer.json()["model"] == TITAN
    assert answer.vectors() == expected(TITAN, ["a red bicycle"])


@pytest.mark.parametrize("name", [TITAN.replace(":", "%3A"), f"bedrock%2F{TITAN}", f"bedrock%2Fus-east-1%2F{TITAN}"])
def test_name_in_the_path_may_be_encoded(keyed: Gateway, name: str) -> None:
    path = f"/openai/deployments/{name}/embeddings"

    assert keyed.request("POST", path, BODY, {**JSON, "Authorization": f"Bearer {KEY}"}).status == 200


def test_unknown_deployment_is_no_model(keyed: Gateway) -> None:
    answer = keyed.request("POST", "/openai/deployments/gpt-4/embeddings", BODY, {**JSON, "api-key": KEY})

    assert (answer.status, answer.error()["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "headers",
    [{}, {"api-key": "wrong"}, {"api-key": ""}, {"api-key": KEY, "Authorization": f"Bearer {KEY}"}],
    ids=["none", "wrong", "empty", "two"],
)
def test_key_must_be_there_once_and_right(keyed: Gateway, headers: dict[str, str]) -> None:
    assert keyed.request("POST", PATH, BODY, JSON | headers).status == 401


def test_other_paths_do_not_read_azures_header(keyed: Gateway) -> None:
    body = json.dumps({"model": TITAN, "input": "a"}).encode()

    assert keyed.request("POST", "/v1/embeddings", body, {**JSON, "api-key": KEY}).status == 401


@pytest.mark.parametrize("path", ["/openai/deployments//embeddings", "/openai/deployments/a/b/embeddings"])
def test_path_with_no_one_name_is_none(keyed: Gateway, path: str) -> None:
    assert keyed.request("POST", path, BODY, {**JSON, "Authorization": f"Bearer {KEY}"}).status == 404
