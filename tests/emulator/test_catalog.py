"""What an id means in a region, over HTTP."""

from __future__ import annotations

import pytest

from bedrock_emulator import expected_vectors
from bedrock_emulator.catalog import base_id

from .conftest import TITAN, Running

INVALID = "The provided model identifier is invalid."
UNRESOLVED = "Could not resolve the foundation model from the provided model identifier."
CALLED = "Malformed request. Please check your parameter/values and try again."  # the model was found, and asked


def needs_profile(model: str) -> str:
    return (
        f"Invocation of model ID {model} with on-demand throughput isn\u2019t supported. "
        "Retry your request with the ID or ARN of an inference profile that contains this model."
    )


@pytest.mark.parametrize(
    ("identifier", "region", "status", "message"),
    [
        ("amazon.titan-embed-text-v3:0", "us-east-1", 400, INVALID),
        ("gpt-4", "us-east-1", 400, INVALID),
        ("cohere.embed-v4", "us-east-1", 400, INVALID),
        (f"us.{TITAN}", "us-east-1", 400, INVALID),
        ("cohere.embed-v4:0", "us-east-1", 400, CALLED),
        ("cohere.embed-v4:0", "eu-west-1", 400, needs_profile("cohere.embed-v4:0")),
        ("eu.cohere.embed-v4:0", "eu-west-1", 400, CALLED),
        ("us.cohere.embed-v4:0", "eu-west-1", 400, INVALID),
        ("global.cohere.embed-v4:0", "ap-southeast-2", 400, CALLED),
        ("apac.cohere.embed-v4:0", "ap-southeast-2", 400, INVALID),
        (
            "twelvelabs.marengo-embed-2-7-v1:0",
            "us-east-1",
            400,
            needs_profile("twelvelabs.marengo-embed-2-7-v1:0"),
        ),
        (
            "twelvelabs.marengo-embed-3-0-v1:0",
            "eu-west-1",
            400,
            needs_profile("twelvelabs.marengo-embed-3-0-v1:0"),
        ),
        ("cohere.embed-english-v3:0:512", "us-east-1", 400, needs_profile("cohere.embed-english-v3:0:512")),
        ("amazon.titan-embed-text-v2:0:8k", "us-east-1", 400, needs_profile("amazon.titan-embed-text-v2:0:8k")),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nothing", "us-east-1", 400, INVALID),
        (f"arn:aws:bedrock:eu-west-1::foundation-model/{TITAN}", "us-east-1", 400, INVALID),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.cohere.embed-v4:0",
            "us-east-1",
            400,
            CALLED,
        ),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.gpt-4", "us-east-1", 400, INVALID),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/000", "us-east-1", 404, UNRESOLVED),
        ("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl", "us-east-1", 404, UNRESOLVED),
    ],
)
def test_an_id_that_cannot_be_called_is_answered_as_bedrock_does(
    emulator: Running, identifier: str, region: str, status: int, message: str
) -> None:
    answer = emulator.invoke(identifier, {"inputText": "hello"}, region=region)

    assert (answer.status, answer.json["message"]) == (status, message)


V4, MARENGO = "cohere.embed-v4:0", "twelvelabs.marengo-embed-2-7-v1:0"


@pytest.mark.parametrize(
    ("identifier", "model"),
    [
        (TITAN, TITAN),
        (V4, V4),
        (f"us.{V4}", V4),
        (f"eu.{V4}", V4),
        (f"global.{V4}", V4),
        (MARENGO, MARENGO),
        (f"apac.{MARENGO}", MARENGO),
        ("cohere.embed-english-v3:0:512", "cohere.embed-english-v3:0:512"),
    ],
)
def test_an_id_or_a_profiles_id_stands_for_a_model(identifier: str, model: str) -> None:
    assert base_id(identifier) == model


@pytest.mark.parametrize(
    "identifier", ["", "gpt-4", f"us.{TITAN}", f"apac.{V4}", f"us.us.{V4}", "us.", "cohere.embed-v4"]
)
def test_any_other_id_stands_for_none(identifier: str) -> None:
    with pytest.raises(KeyError):
        base_id(identifier)


@pytest.mark.parametrize("prefix", ["us", "eu", "apac"])
def test_marengo_2_is_embedded_with_through_its_profiles(emulator: Running, prefix: str) -> None:
    region = {"us": "us-east-1", "eu": "eu-west-1", "apac": "ap-northeast-2"}[prefix]
    body = {"inputType": "text", "inputText": "hello"}

    answer = emulator.invoke(f"{prefix}.{MARENGO}", body, region=region)

    assert [answer.json["data"][0]["embedding"]] == expected_vectors(f"{prefix}.{MARENGO}", body)
    assert emulator.invoke(MARENGO, body, region=region).json["message"] == needs_profile(MARENGO)


def test_the_models_own_arn_can_be_called(emulator: Running) -> None:
    arn = f"arn:aws:bedrock:eu-west-1::foundation-model/{TITAN}"

    assert emulator.invoke(arn, {"inputText": "hello"}, region="eu-west-1").status == 200


def test_the_id_is_checked_before_the_body(emulator: Running) -> None:
    assert emulator.invoke("amazon.nothing", b"{").json["message"] == INVALID
