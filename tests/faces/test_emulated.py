"""The emulator beside a command: what its environment points at."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import boto3
import pytest

from embedrock.faces import emulated


@pytest.fixture
def environ() -> Iterator[pytest.MonkeyPatch]:
    """A way to set variables; what the emulator sets itself is gone after the test too."""
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


def test_the_emulators_bucket_is_the_one_of_every_region(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("AWS_BEDROCK_REGIONS", "eu-west-1, us-west-2")
    with emulated.running(True) as url:
        buckets = json.loads(os.environ["AWS_S3_REGIONAL_BUCKETS"])
        assert buckets == {"eu-west-1": "embedrock-emulator", "us-west-2": "embedrock-emulator"}
        assert os.environ["AWS_ENDPOINT_URL_S3"] == os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] == url
        for region, bucket in buckets.items():
            client = boto3.client(
                "s3", region_name=region, aws_access_key_id="emulator", aws_secret_access_key="emulator"
            )
            assert client.head_bucket(Bucket=bucket)["BucketRegion"] == region


def test_buckets_of_the_operators_own_are_kept(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("AWS_S3_REGIONAL_BUCKETS", '{"us-east-1": "mine"}')
    with emulated.running(True):
        assert os.environ["AWS_S3_REGIONAL_BUCKETS"] == '{"us-east-1": "mine"}'


@pytest.mark.usefixtures("environ")
def test_without_any_region_it_is_the_emulators_own() -> None:
    with emulated.running(True):
        assert json.loads(os.environ["AWS_S3_REGIONAL_BUCKETS"]) == {"us-east-1": "embedrock-emulator"}
