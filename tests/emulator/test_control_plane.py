"""The listings, through boto3."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import PROFILE_ARN, TITAN, Running


def listed(emulator: Running, region: str = "us-east-1", **filters: str) -> dict[str, Any]:
    found = emulator.client("bedrock", region=region).list_foundation_models(**filters)["modelSummaries"]
    return {item["modelId"]: item for item in found}


def test_all_ten_models_and_their_variants_are_listed(emulator: Running) -> None:
    found = listed(emulator)

    assert {model_id: item["inferenceTypesSupported"] for model_id, item in found.items()} == {
        "amazon.titan-embed-text-v1": ["ON_DEMAND"],
        "amazon.titan-embed-text-v1:2:8k": ["PROVISIONED"],
        "amazon.titan-embed-g1-text-02": ["ON_DEMAND"],
        "amazon.titan-embed-text-v2:0": ["ON_DEMAND"],
        "amazon.titan-embed-text-v2:0:8k": [],
        "amazon.titan-embed-image-v1": ["ON_DEMAND"],
        "amazon.titan-embed-image-v1:0": ["PROVISIONED"],
        "amazon.nova-2-multimodal-embeddings-v1:0": ["ON_DEMAND"],
        "cohere.embed-english-v3": ["ON_DEMAND"],
        "cohere.embed-english-v3:0:512": ["PROVISIONED"],
        "cohere.embed-multilingual-v3": ["ON_DEMAND"],
        "cohere.embed-multilingual-v3:0:512": ["PROVISIONED"],
        "cohere.embed-v4:0": ["ON_DEMAND", "INFERENCE_PROFILE"],
        "twelvelabs.marengo-embed-2-7-v1:0": ["INFERENCE_PROFILE"],
        "twelvelabs.marengo-embed-3-0-v1:0": ["ON_DEMAND", "INFERENCE_PROFILE"],
    }
    assert all(item["outputModalities"] == ["EMBEDDING"] for item in found.values())
    assert "responseStreamingSupported" not in found["amazon.titan-embed-image-v1"]
    assert found["cohere.embed-english-v3"]["inputModalities"] == ["TEXT"]
    assert found["twelvelabs.marengo-embed-2-7-v1:0"]["modelLifecycle"]["status"] == "LEGACY"


def test_cohere_v4_needs_a_profile_outside_us_east_1(emulator: Running) -> None:
    item = listed(emulator, "ap-southeast-1")["cohere.embed-v4:0"]

    assert item["inferenceTypesSupported"] == ["INFERENCE_PROFILE"]
    assert item["modelArn"] == "arn:aws:bedrock:ap-southeast-1::foundation-model/cohere.embed-v4:0"


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"byOutputModality": "EMBEDDING"}, 15),
        ({"byOutputModality": "TEXT"}, 0),
        ({"byProvider": "cohere"}, 5),
        ({"byProvider": "Amazon"}, 8),
        ({"byProvider": "Anthropic"}, 0),
        ({"byInferenceType": "PROVISIONED"}, 4),
        ({"byInferenceType": "ON_DEMAND", "byProvider": "TwelveLabs"}, 1),
        ({"byCustomizationType": "FINE_TUNING"}, 1),
    ],
)
def test_filters_narrow_the_list(emulator: Running, filters: dict[str, str], count: int) -> None:
    assert len(listed(emulator, **filters)) == count


def test_an_unknown_filter_value_is_refused(emulator: Running) -> None:
    with pytest.raises(ClientError, match=r"byOutputModality.*enum value set") as caught:
        listed(emulator, byOutputModality="SMELL")

    assert caught.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize("identifier", [TITAN, f"arn:aws:bedrock:us-east-1::foundation-model/{TITAN}"])
def test_one_model_is_found_by_id_and_arn(emulator: Running, identifier: str) -> None:
    details = emulator.client("bedrock").get_foundation_model(modelIdentifier=identifier)["modelDetails"]

    assert details["modelId"] == TITAN
    assert details["modelName"] == "Titan Text Embeddings V2"


def test_an_unknown_model_is_refused(emulator: Running) -> None:
    with pytest.raises(ClientError, match="The provided model identifier is invalid"):
        emulator.client("bedrock").get_foundation_model(modelIdentifier="amazon.nothing-v1")


def test_every_model_is_available(emulator: Running) -> None:
    answer = emulator.client("bedrock").get_foundation_model_availability(modelId=TITAN)

    assert answer["agreementAvailability"]["status"] == "AVAILABLE"
    assert (answer["authorizationStatus"], answer["entitlementAvailability"], answer["regionAvailability"]) == (
        "AUTHORIZED",
        "AVAILABLE",
        "AVAILABLE",
    )


@pytest.mark.parametrize(
    ("region", "ids"),
    [
        (
            "us-west-2",
            {
                "us.cohere.embed-v4:0",
                "global.cohere.embed-v4:0",
                "us.twelvelabs.marengo-embed-2-7-v1:0",
                "us.twelvelabs.marengo-embed-3-0-v1:0",
            },
        ),
        ("ap-northeast-2", {"global.cohere.embed-v4:0", "apac.twelvelabs.marengo-embed-2-7-v1:0"}),
    ],
)
def test_a_region_has_its_own_system_profiles(emulator: Running, region: str, ids: set[str]) -> None:
    answer = emulator.client("bedrock", region=region).list_inference_profiles(typeEquals="SYSTEM_DEFINED")

    assert {item["inferenceProfileId"] for item in answer["inferenceProfileSummaries"]} == ids


def test_a_global_profile_lists_an_arn_without_a_region(emulator: Running) -> None:
    profile = emulator.client("bedrock").get_inference_profile(inferenceProfileIdentifier="global.cohere.embed-v4:0")

    assert profile["models"][0]["modelArn"] == "arn:aws:bedrock:::foundation-model/cohere.embed-v4:0"
    assert profile["type"] == "SYSTEM_DEFINED"


def test_a_registered_application_profile_is_found_by_its_arn(emulator: Running) -> None:
    client = emulator.client("bedrock")

    listing = client.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"]
    profile = client.get_inference_profile(inferenceProfileIdentifier=PROFILE_ARN)

    assert [item["inferenceProfileArn"] for item in listing] == [PROFILE_ARN]
    assert profile["models"][0]["modelArn"].endswith(TITAN)


def test_an_unknown_profile_is_not_found(emulator: Running) -> None:
    with pytest.raises(ClientError) as caught:
        emulator.client("bedrock").get_inference_profile(inferenceProfileIdentifier="jp.cohere.embed-v4:0")

    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_profiles_come_in_pages(emulator: Running) -> None:
    pages = list(emulator.client("bedrock").get_paginator("list_inference_profiles").paginate(maxResults=2))

    assert [len(page["inferenceProfileSummaries"]) for page in pages] == [2, 2, 1]
