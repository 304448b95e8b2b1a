"""`api_base`: the same functions as clients of a gateway over HTTP."""

from __future__ import annotations

import asyncio
import json
import struct
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from embedrock import Client, aembedding, embedding
from embedrock.errors import (
    BadRequest,
    ContentBlocked,
    EmbedrockError,
    InvalidUpstream,
    ModelNotFound,
    Unauthenticated,
    Unavailable,
)
from embedrock.faces.sdk.arguments import InvalidArgument
from embedrock.faces.sdk.remote import cut

from .stand_ins import Silent, whose

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
TITAN_V1 = "amazon.titan-embed-text-v1"
ENGLISH = "cohere.embed-english-v3"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"


@pytest.fixture(scope="session")
def aliased(gateway_with: Any, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """A gateway with an alias, and a limit of five inputs."""
    file = tmp_path_factory.mktemp("aliases") / "embedrock.yaml"
    file.write_text(f"max_inputs: 5\naliases:\n  mine: {{model: '{TITAN}', params: {{dimensions: 256}}}}\n")
    found: Gateway = gateway_with(EMBEDROCK_CONFIG=str(file))
    return found


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_vectors_are_bedrocks_numbers(gateway: Gateway, expected: Expected, path: str) -> None:
    response = embedding(f"bedrock/{TITAN}", ["a", "b"], api_base=gateway.url + path, api_key="anything")

    assert [item.embedding for item in response.data] == expected(TITAN, ["a", "b"])
    assert {type(number) for item in response.data for number in item.embedding} == {float}


def test_what_is_told_is_what_the_engine_tells(gateway: Gateway, emulator: Emulator, aws: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"input": ["a", "b c d"], "input_type": "search_query"}

    there = embedding(ENGLISH, api_base=gateway.url, **arguments)
    here = embedding(ENGLISH, **arguments, **aws)

    assert there == here
    assert there._hidden_params == here._hidden_params
    first, second = emulator.bodies()
    assert first == second


@pytest.mark.parametrize("name", ["mine", "openai/mine", "litellm_proxy/mine"])
def test_alias_is_a_name(aliased: Gateway, expected: Expected, name: str) -> None:
    response = embedding(name, ["a"], api_base=aliased.url, custom_llm_provider="openai")

    assert response.data[0].embedding == expected(TITAN, ["a"], 256)[0]
    assert response.model == "mine"
    assert response._hidden_params.model_id == TITAN


async def test_awaitable_one_gives_the_same(gateway: Gateway, expected: Expected) -> None:
    response = await aembedding(TITAN, "a", dimensions=256, api_base=gateway.url)

    assert response.data[0].embedding == expected(TITAN, ["a"], 256)[0]


def test_base64(gateway: Gateway, expected: Expected) -> None:
    response = embedding(TITAN, "a", dimensions=256, encoding_format="base64", api_base=gateway.url)

    text = response.data[0].embedding
    assert isinstance(text, str)
    assert b64decode(text) == struct.pack("<256f", *expected(TITAN, ["a"], 256)[0])


def test_parameters_and_odd_texts_arrive(gateway: Gateway, emulator: Emulator) -> None:
    embedding(
        ENGLISH,
        ["\ud800 alone", "\0", "naïve"],
        truncate="END",
        extra_body={"input_type": "clustering"},
        user="me",
        api_base=gateway.url,
    )

    (body,) = emulator.bodies()
    assert body["texts"] == ["\ufffd alone", "\0", "naïve"]
    assert (body["truncate"], body["input_type"]) == ("END", "clustering")


def test_whose_key_is_sent_is_said_with_each_call(start_gateway: StartGateway, emulator: Emulator) -> None:
    locked = start_gateway(EMBEDROCK_API_KEY="first,second", AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url)

    for key in ("first", "second"):
        embedding(TITAN, "a", api_base=locked.url, api_key=key)
    with pytest.raises(Unauthenticated):
        embedding(TITAN, "a", api_base=locked.url)
    with pytest.raises(Unauthenticated) as caught:
        embedding(TITAN, "a", api_base=locked.url, api_key="third")

    assert caught.value.code == "invalid_api_key"
    assert any(note.startswith("request id: req_") for note in caught.value.__notes__)
    assert len(emulator.journal()) == 2


@pytest.mark.parametrize(
    "argument",
    [
        "aws_access_key_id",
        "aws_region_name",
        "aws_profile_name",
        "aws_role_name",
        "aws_bedrock_runtime_endpoint",
        "aws_sts_endpoint",
    ],
)
def test_credentials_have_no_place(gateway: Gateway, emulator: Emulator, argument: str) -> None:
    with pytest.raises(ValueError, match=argument) as caught:
        embedding(TITAN, "a", api_base=gateway.url, **{argument: "x"})  # type: ignore[arg-type]  # texts all

    assert isinstance(caught.value, EmbedrockError)
    assert emulator.journal() == []


def test_gateway_waits_for_what_the_page_refuses(gateway: Gateway, clips: dict[str, str]) -> None:
    """LiteLLM's words about routes are about its own."""
    response = embedding(NOVA, [clips["mp4"]], dimensions=256, api_base=gateway.url)

    assert len(response.data[0].embedding) == 256


@pytest.mark.parametrize(
    ("param", "arguments"),
    [
        ("background", {"model": NOVA, "background": True}),
        ("model", {"model": f"bedrock/async_invoke/{NOVA}", "output_s3_uri": "s3://your-bucket/out"}),
    ],
)
def test_client_begins_no_job_whose_vectors_it_could_not_return(
    gateway: Gateway, emulator: Emulator, param: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument, match=r"embedrock\.embedding") as refused:
        Client(base_url=gateway.url).embed(["a"], **arguments)

    assert refused.value.param == param
    assert emulator.journal() == []


def test_client_names_the_jobs_that_an_alias_of_the_gateways_began(
    start_gateway: StartGateway, emulator: Emulator, tmp_path: Path
) -> None:
    file = tmp_path / "embedrock.yaml"
    file.write_text(f"aliases:\n  later: bedrock/async_invoke/{NOVA}\n", encoding="utf-8")
    gateway = start_gateway(
        AWS_ENDPOINT_URL=emulator.url,
        AWS_S3_REGIONAL_BUCKETS='{"us-east-1": "embedrock-emulator"}',
        EMBEDROCK_CONFIG=str(file),
        XDG_DATA_HOME=str(tmp_path),
    )

    with pytest.raises(InvalidUpstream, match="batch_"):
        Client("later", base_url=gateway.url).embed(["a"])


def test_unknown_parameters_are_dropped_one_by_one(gateway: Gateway, emulator: Emulator, expected: Expected) -> None:
    response = embedding(TITAN, ["a"], colour="red", extra_body={"shape": 1}, drop_params=True, api_base=gateway.url)

    assert response.data[0].embedding == expected(TITAN, ["a"])[0]
    assert response._hidden_params.dropped_params == ["colour", "shape"]
    assert len(emulator.journal()) == 1


def test_only_parameters_are_dropped(gateway: Gateway) -> None:
    with pytest.raises(BadRequest) as caught:
        embedding(TITAN, ["a"], dimensions=300, drop_params=True, api_base=gateway.url)

    assert caught.value.param == "dimensions"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:4000", "ftp://127.0.0.1", "http://", "http://h/a b", "http://h:x", "http://u:p@h", "http://h/?q"]
)
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        embedding(TITAN, "a", api_base=url)


# Lists that are longer than the gateway takes


@pytest.mark.parametrize("inputs", [6, 7, 23])
def test_list_is_cut_where_the_gateway_wants_it(aliased: Gateway, expected: Expected, inputs: int) -> None:
    texts = [f"text {number}" for number in range(inputs)]

    response = embedding("mine", texts, api_base=aliased.url)

    assert [item.embedding for item in response.data] == expected(TITAN, texts, 256)
    assert [item.index for item in response.data] == list(range(inputs))


def test_sum_of_the_parts_is_told(aliased: Gateway, emulator: Emulator) -> None:
    texts = [f"text {number} " + "word " * number for number in range(12)]

    response = embedding("mine", texts, api_base=aliased.url)

    rows = emulator.journal()
    assert response.usage.prompt_tokens == sum(row["tokens"] for row in rows)
    assert response._hidden_params.upstream_calls == len(rows) == 12
    assert response._hidden_params.response_cost == pytest.approx(response.usage.total_tokens * 0.02 / 1_000_000)


def test_error_of_a_part_counts_from_the_beginning(aliased: Gateway) -> None:
    texts = ["a"] * 13
    texts[11] = ""

    with pytest.raises(BadRequest, match=r"input\[11\]") as caught:
        embedding("mine", texts, api_base=aliased.url)

    assert (caught.value.param, caught.value.code) == ("input[11]", "empty_input")


def test_no_part_is_a_pair(aliased: Gateway, pictures: dict[str, str], expected: Expected) -> None:
    """Six inputs in parts of at most five: a part of one text and one picture would be one vector."""
    inputs = ["a", "b", "c", "d", "e", pictures["png"]]

    response = embedding(MARENGO_3, inputs, api_base=aliased.url)

    assert [item.embedding for item in response.data] == expected(MARENGO_3, inputs)
    assert response._hidden_params.response_cost == pytest.approx(5 * 0.00007 + 0.0001)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 2048])
@pytest.mark.parametrize("inputs", [3, 4, 5, 6, 7, 11, 4095, 4096, 4097])
def test_parts_are_whole_small_enough_and_never_two(inputs: int, most: int) -> None:
    parts = cut(inputs, most)

    assert [index for part in parts for index in part] == list(range(inputs))
    assert max(map(len, parts)) <= most or inputs <= most
    assert 2 not in map(len, parts)


# What goes wrong


def test_errors_are_ours_again(gateway: Gateway) -> None:
    with pytest.raises(ModelNotFound, match="Did you mean"):
        embedding("amazon.titan-embed-text-v3:0", "a", api_base=gateway.url)


def test_blocked_text(gateway: Gateway, emulator: Emulator) -> None:
    emulator.guardrail(id="abc123", version="1", blocked_words=["forbidden"])
    headers = {"X-Amzn-Bedrock-GuardrailIdentifier": "abc123", "X-Amzn-Bedrock-GuardrailVersion": "1"}

    with pytest.raises(ContentBlocked) as caught:
        embedding(TITAN, ["a forbidden word"], extra_headers=headers, api_base=gateway.url)

    assert caught.value.code == "content_filter"


def test_gateway_that_is_not_there(unused_tcp_port: int) -> None:
    with pytest.raises(Unavailable, match="gateway could not be reached"):
        embedding(TITAN, "a", api_base=f"http://127.0.0.1:{unused_tcp_port}", num_retries=0)


async def test_cancelling_hangs_up(silent: Silent) -> None:
    task = asyncio.ensure_future(aembedding(TITAN, "a", api_base=silent.url))
    assert await asyncio.to_thread(silent.asked.wait, 5)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(silent.hung_up.wait, 5)


def test_calls_with_and_without_a_gateway_do_not_mix(gateway: Gateway, emulator: Emulator, aws: dict[str, Any]) -> None:
    embedding(TITAN, "here", **aws | {"aws_access_key_id": "AKIAMINE"})
    embedding(TITAN, "there", api_base=gateway.url, api_key="k")
    Client(TITAN, base_url=gateway.url).embed("there too")

    found = {json.loads(row["request_body"])["inputText"]: whose(row)[0] for row in emulator.journal()}
    assert found == {"here": "AKIAMINE", "there": "AKIATEST", "there too": "AKIATEST"}
