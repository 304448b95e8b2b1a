"""Inputs in S3, through gateway and emulator: rows of what callers name, and what becomes of them."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from bedrock_emulator import expected_vectors

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
V4 = "cohere.embed-v4:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
TENANT = {"EMBEDROCK_S3_PREFIXES": "s3://media/tenants/me,s3://tenants-me"}


def picture(pictures: dict[str, str], form: str = "png") -> bytes:
    return b64decode(pictures[form].partition(",")[2])


def put(bucket: Any, *keys: str, data: bytes, **more: str) -> None:
    for key in keys:
        bucket.put_object(Bucket="media", Key=key, Body=data, **more)


@pytest.mark.parametrize("model", [TITAN_IMAGE, V4])
def test_picture_is_fetched_for_a_model_that_does_not_read_s3(
    gateway: Gateway, media_bucket: Any, expected: Expected, pictures: dict[str, str], model: str
) -> None:
    put(media_bucket, "shop/a.png", data=picture(pictures))
    put(media_bucket, "shop/b", data=picture(pictures, "jpeg"), ContentType="image/jpeg")

    answer = gateway.embed({"model": model, "input": ["s3://media/shop/a.png", "s3://media/shop/b"]})

    if model == V4:  # two pictures go as one call, in another shape
        assert len(answer.vectors()) == 2
    else:
        assert answer.vectors() == expected(model, [pictures["png"], pictures["jpeg"]])


def test_text_is_fetched_for_a_model_that_does_not_read_s3(
    gateway: Gateway, emulator: Emulator, media_bucket: Any, expected: Expected
) -> None:
    put(media_bucket, "notes.txt", data="grün und blau".encode())

    answer = gateway.embed({"model": TITAN, "input": ["rot", "s3://media/notes.txt"]})

    assert answer.vectors() == expected(TITAN, ["rot", "grün und blau"])
    assert {row["op"] for row in emulator.journal()} >= {"HeadObject", "GetObject", "InvokeModel"}


def test_object_is_passed_to_a_model_that_reads_s3(
    gateway: Gateway, emulator: Emulator, media_bucket: Any, pictures: dict[str, str]
) -> None:
    put(media_bucket, "a.png", data=picture(pictures))

    answer = gateway.embed({"model": NOVA, "input": "s3://media/a.png", "dimensions": 256})

    (body,) = emulator.bodies()
    assert body["singleEmbeddingParams"]["image"]["source"] == {"s3Location": {"uri": "s3://media/a.png"}}
    assert answer.vectors() == expected_vectors(NOVA, body, {"s3://media/a.png": picture(pictures)})
    assert "GetObject" not in {row["op"] for row in emulator.journal()}


def test_owner_is_checked_and_told_to_marengo_where_the_account_is_known(
    start_gateway: StartGateway, emulator: Emulator, media_bucket: Any, pictures: dict[str, str]
) -> None:
    put(media_bucket, "a.png", data=picture(pictures))
    place = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url, "AWS_ENDPOINT_URL_S3": emulator.url}
    ask = {"model": MARENGO_3, "input": "s3://media/a.png"}

    ours = start_gateway(**place, AWS_ACCOUNT_ID="123456789012").embed(ask)
    (body,) = emulator.bodies()
    theirs = start_gateway(**place, AWS_ACCOUNT_ID="999999999999").embed(ask)

    assert len(ours.vectors()) == 1
    source = {"s3Location": {"uri": "s3://media/a.png", "bucketOwner": "123456789012"}}
    assert body == {"inputType": "image", "image": {"mediaSource": source}}
    assert (theirs.status, theirs.error()["code"]) == (403, "s3_access_denied")
    assert emulator.bodies() == [body]


def test_bucket_elsewhere_is_refused_with_its_region(
    gateway: Gateway, emulator: Emulator, pictures: dict[str, str]
) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=emulator.url,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="test-secret",
        region_name="eu-west-1",
    )
    client.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client.put_object(Bucket="far-away", Key="a.png", Body=picture(pictures))
    client.close()

    answer = gateway.embed({"model": NOVA, "input": ["a", "s3://far-away/a.png"]})

    assert answer.refusal() == ("input[1]", "s3_region_mismatch")
    assert "eu-west-1" in answer.error()["message"]
    assert emulator.bodies() == []


@pytest.mark.parametrize(
    ("uri", "status", "code"),
    [
        ("s3://media/none.png", 404, "s3_object_not_found"),
        ("s3://no-such-bucket/a.png", 404, "s3_object_not_found"),
        ("s3://media/empty.png", 400, "invalid_media"),
        ("s3://media/false.png", 400, "media_type_mismatch"),
        ("s3://media/unknown", 400, "unsupported_media"),
        ("s3://media/film.mp4", 400, "unsupported_media"),
        ("s3://media/large.png", 413, "media_too_large"),
    ],
)
def test_object_that_cannot_be_embedded_is_refused_before_any_model_is_called(
    gateway: Gateway, emulator: Emulator, media_bucket: Any, uri: str, status: int, code: str
) -> None:
    put(media_bucket, "false.png", "unknown", "film.mp4", data=b"no picture")
    put(media_bucket, "empty.png", data=b"")
    put(media_bucket, "large.png", data=bytes(5_000_001))

    answer = gateway.embed({"model": V4, "input": ["a", uri]})

    error = answer.error()
    assert (answer.status, error["param"], error["code"]) == (status, "input[1]", code)
    assert uri not in error["message"]
    assert emulator.bodies() == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://media/tenants/you/a.png",
        "s3://media/tenants/me-too/a.png",
        "s3://media/a.png",
        "s3://tenants-me-evil/a.png",
        "s3://gateway-logs/a.png",
    ],
)
def test_place_of_somebody_else_is_refused_before_s3_is_asked(
    gateway_with: StartGateway, emulator: Emulator, uri: str
) -> None:
    answer = gateway_with(**TENANT).embed({"model": NOVA, "input": ["a", uri]})

    assert (answer.status, answer.error()["code"], answer.error()["param"]) == (403, "s3_access_denied", "input[1]")
    assert emulator.journal() == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://media/tenants/me/../you/x.png",
        "s3://media/tenants/me/%2e%2e/you/x.png",
        "s3://media/tenants/me//x.png",
        "s3://media/tenants/me/x.",
        "s3://",
        "s3://b",
        "s3://media/",
        "s3://media:443/k",
        "s3://u:p@media/k",
        "s3://media/k?versionId=x",
        "s3://media/k#f",
        "s3://media/ü.png",
        f"s3://media/{'k' * 1025}",
        "s3://media/a\0.png",
        "s3://media/a\\b.png",
        "s3://media/a b.png",
        "s3://media/a.png\n",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/mine/object/a.png",
        "s3://mfzwi23gnjvgw.mrap/a.png",
        "s3://mine-abcd-s3alias/a.png",
        "s3://mine-abcd--ol-s3/a.png",
    ],
)
def test_what_is_no_plain_object_is_refused_before_s3_is_asked(
    gateway_with: StartGateway, emulator: Emulator, uri: str
) -> None:
    answer = gateway_with(**TENANT).embed({"model": NOVA, "input": ["a", uri]})

    assert answer.refusal() == ("input[1]", "invalid_s3_uri")
    assert emulator.journal() == []


@pytest.mark.parametrize("uri", ["S3://media/a.png", "s3:/media/a.png"])
def test_what_only_looks_like_an_object_is_a_text(
    gateway: Gateway, expected: Expected, emulator: Emulator, uri: str
) -> None:
    assert gateway.embed({"model": TITAN, "input": uri}).vectors() == expected(TITAN, [uri])
    assert {row["op"] for row in emulator.journal()} == {"InvokeModel"}


@pytest.mark.parametrize("name", ["bucketOwner", "bucket_owner", "kmsKeyId", "kms_key_id", "tags"])
def test_caller_cannot_say_whose_a_bucket_is(gateway: Gateway, emulator: Emulator, name: str) -> None:
    answer = gateway.embed({"model": MARENGO_3, "input": "s3://media/a.png", name: "123456789012"})

    assert answer.refusal() == (name, "unsupported_parameter")
    assert emulator.journal() == []


@pytest.mark.parametrize("folder", ["s3://media", "s3://media/", "s3://media/film.mp4", "s3://media/film.mp4/"])
def test_results_go_to_a_folder_of_their_own(gateway: Gateway, emulator: Emulator, folder: str) -> None:
    ask = {"model": MARENGO_3, "input": ["a", "s3://media/film.mp4"], "output_s3_uri": folder}

    assert gateway.embed(ask).refusal() == ("output_s3_uri", "invalid_output_location")
    assert emulator.journal() == []
