"""What an id means in a region, over HTTP."""

from __future__ import annotations

import pytest

from .conftest import TITAN, Running

INVALID = "The provided model identifier is invalid."
UNRESOLVED = "Could not resolve the foundation model from the provided model identifier."
NOT_YET = "This emulator does not have the model {} yet."


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
        ("cohere.embed-v4:0", "us-east-1", 400, NOT_YET.format("cohere.embed-v4:0")),
        ("cohere.embed-v4:0", "eu-west-1", 400, needs_profile("cohere.embed-v4:0")),
        ("eu.cohere.embed-v4:0", "eu-west-1", 400, NOT_YET.format("cohere.embed-v4:0")),
        ("us.cohere.embed-v4:0", "eu-west-1", 400, INVALID),
        ("global.cohere.embed-v4:0", "ap-southeast-2", 400, NOT_YET.format("cohere.embed-v4:0")),
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
            NOT_YET.format("cohere.embed-v4:0"),
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


def test_the_models_own_arn_can_be_called(emulator: Running) -> None:
    arn = f"arn:aws:bedrock:eu-west-1::foundation-model/{TITAN}"

    assert emulator.invoke(arn, {"inputText": "hello"}, region="eu-west-1").status == 200


def test_the_id_is_checked_before_the_body(emulator: Running) -> None:
    assert emulator.invoke("amazon.nothing", b"{").json["message"] == INVALID
