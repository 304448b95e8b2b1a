"""Media too large for a call to Bedrock: in the gateway's own bucket while they are read, and gone afterwards."""

from __future__ import annotations

import contextlib
import io
import json
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, StartGateway

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
V4 = "cohere.embed-v4:0"
BUCKET = "embedrock-emulator"  # is always there
BUCKETS = {"AWS_S3_REGIONAL_BUCKETS": json.dumps({"us-east-1": BUCKET})}
MB = 1_048_576


def png(size: int, colour: str = "red") -> bytes:
    """Return a picture of so many bytes: what comes behind its end is nothing to those who look at it."""
    out = io.BytesIO()
    Image.new("RGB", (60, 40), colour).save(out, "png")
    return out.getvalue() + bytes(size - out.tell())


def uri(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{b64encode(data).decode()}"


@pytest.fixture
def own_bucket(emulator: Emulator) -> Iterator[Any]:
    """boto3's client; after the test there is nothing in the gateway's bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=emulator.url,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="test-secret",
        region_name="us-east-1",
    )
    with contextlib.closing(client):
        yield client
        assert "Contents" not in client.list_objects_v2(Bucket=BUCKET)
        assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)


def staged(emulator: Emulator) -> list[str]:
    """Return what was written to S3, each once, and check that it was removed."""
    rows = emulator.journal()
    written = sorted({row["object"] for row in rows if row["op"] in ("PutObject", "CreateMultipartUpload")})
    assert written == sorted({row["object"] for row in rows if row["op"] == "DeleteObject"})
    return written


@pytest.mark.usefixtures("own_bucket")
def test_picture_too_large_for_a_call_is_staged_and_removed(gateway_with: StartGateway, emulator: Emulator) -> None:
    answer = gateway_with(**BUCKETS).embed({"model": NOVA, "input": ["a", uri(png(20_000_000))], "dimensions": 256})
    small = gateway_with(**BUCKETS).embed({"model": NOVA, "input": [uri(png(1_000))], "dimensions": 256})

    assert len(answer.vectors()) == 2
    (written,) = staged(emulator)
    assert written.startswith(f"s3://{BUCKET}/embedrock/staged/") and written.endswith("/1-0.png")
    sources = [body["singleEmbeddingParams"]["image"]["source"] for body in emulator.bodies() if "image" in str(body)]
    assert {"s3Location": {"uri": written}} in sources
    assert len(small.vectors()) == 1  # and goes inline


@pytest.mark.usefixtures("own_bucket")
def test_pictures_of_one_vector_that_are_too_large_together_are_staged(
    gateway_with: StartGateway, emulator: Emulator
) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": uri(png(4_900_000, colour))}}
        for colour in ("red", "green", "blue", "white")
    ]

    answer = gateway_with(**BUCKETS).embed({"model": MARENGO_3, "input": [parts, "a"]})

    assert len(answer.vectors()) == 2
    written = staged(emulator)
    assert [place.rpartition("/")[2] for place in written] == [f"0-{number}.png" for number in range(4)]
    (body,) = [body for body in emulator.bodies() if body["inputType"] == "multi_input"]
    assert [source["s3Location"]["uri"] for source in body["multi_input"]["mediaSources"]] == written


def test_gateway_without_a_bucket_names_the_setting(gateway: Gateway, emulator: Emulator) -> None:
    answer = gateway.embed({"model": NOVA, "input": ["a", uri(png(20_000_000))]})

    assert answer.refusal() == ("input[1]", "s3_bucket_missing")
    assert "AWS_S3_REGIONAL_BUCKETS" in answer.error()["message"]
    assert emulator.journal() == []


@pytest.mark.parametrize(
    ("model", "size", "status"), [(NOVA, 50_000_001, 400), (V4, 20_000_000, 400), (MARENGO_2, 5_000_001, 400)]
)
def test_picture_larger_than_the_model_reads_is_refused_and_not_staged(
    gateway_with: StartGateway, emulator: Emulator, model: str, size: int, status: int
) -> None:
    answer = gateway_with(**BUCKETS).embed({"model": model, "input": ["a", uri(png(size))]})

    assert (answer.status, answer.refusal()) == (status, ("input[1]", "media_too_large"))
    assert emulator.journal() == []


def test_bucket_that_cannot_be_written_to_is_the_operators_affair(
    gateway_with: StartGateway, emulator: Emulator
) -> None:
    gateway = gateway_with(AWS_S3_REGIONAL_BUCKETS='{"us-east-1": "embedrock-no-such-bucket"}')

    answer = gateway.embed({"model": NOVA, "input": [uri(png(20_000_000))]})

    assert (answer.status, answer.error()["code"]) == (503, "s3_bucket_unusable")
    assert "AWS_S3_REGIONAL_BUCKETS" in answer.error()["message"]
    assert emulator.bodies() == []


@pytest.mark.usefixtures("own_bucket")
def test_what_is_staged_is_removed_when_the_model_fails(own_gateway_with_bucket: Gateway, emulator: Emulator) -> None:
    emulator.fault("model_error", p=1.0, match={"op": "InvokeModel"})

    answer = own_gateway_with_bucket.embed({"model": NOVA, "input": [uri(png(20_000_000))]})

    assert answer.status >= 400
    assert emulator.fired() > 0
    assert len(staged(emulator)) == 1


@pytest.fixture
def own_gateway_with_bucket(start_gateway: StartGateway, emulator: Emulator, tmp_path: Path) -> Gateway:
    return start_gateway(
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
        AWS_ENDPOINT_URL_S3=emulator.url,
        EMBEDROCK_DATABASE_URL=f"sqlite:///{tmp_path / 'jobs.db'}",
        **BUCKETS,
    )


@pytest.mark.parametrize(
    "members",
    [
        {"input": f"s3://{BUCKET}/embedrock/staged/0/0-0.png"},
        {"input": f"s3://{BUCKET}/embedrock/jobs/0/input.mp4"},
        {"input": "a", "output_s3_uri": f"s3://{BUCKET}/embedrock/jobs/0", "background": True},
    ],
)
def test_callers_may_not_name_what_is_the_gateways_own(
    gateway_with: StartGateway, emulator: Emulator, members: dict[str, Any]
) -> None:
    answer = gateway_with(**BUCKETS).embed({"model": NOVA, **members})

    assert (answer.status, answer.error()["code"]) == (403, "s3_access_denied")
    assert emulator.journal() == []


@pytest.mark.parametrize(("model", "members"), [(NOVA, {"duration_seconds": 5}), (MARENGO_3, {})])
def test_film_of_60_mb_takes_little_more_memory_than_its_body(
    own_gateway_with_bucket: Gateway, own_bucket: Any, model: str, members: dict[str, Any]
) -> None:
    """As a data URI, and as an object in S3; the segments are those of the film either way."""
    gateway = own_gateway_with_bucket
    film = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(range(256)) * 234_375
    assert gateway.embed({"model": model, "input": "warm"}).status == 200
    idle = memory(gateway.pid, "VmRSS")
    own_bucket.create_bucket(Bucket="films")
    own_bucket.upload_fileobj(io.BytesIO(film), "films", "film.mp4")

    stored = gateway.embed({"model": model, "input": "s3://films/film.mp4", **members})
    of_stored = memory(gateway.pid, "VmHWM") - idle
    body = json.dumps({"model": model, "input": uri(film, "video/mp4"), **members}).encode()
    inline = gateway.embed(body)
    of_inline = memory(gateway.pid, "VmHWM") - idle

    segments = [(item.get("segment"), item["embedding"]) for item in stored.items()]
    assert segments == [(item.get("segment"), item["embedding"]) for item in inline.items()]
    assert len(segments) > 1 and segments[-1][0]
    assert of_stored <= 64
    assert of_inline <= len(body) / MB + 64


def memory(pid: int, what: str) -> float:
    """Return a figure of a process's memory, in MB of 1,048,576 bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


def test_gateway_sweeps_its_bucket_unless_told_not_to(start_gateway: StartGateway, emulator: Emulator) -> None:
    place = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url, "AWS_ENDPOINT_URL_S3": emulator.url, **BUCKETS}
    still = start_gateway(**place)
    sweeping = start_gateway(**place, EMBEDROCK_SWEEP="true")

    looks = ["ListObjectsV2", "ListMultipartUploads"] * 2  # at what requests staged, and at what jobs wrote
    give_up = time.monotonic() + 30
    while [row["op"] for row in emulator.journal()] != looks:
        assert time.monotonic() < give_up
        assert sweeping.request("GET", "/health/live").status == still.request("GET", "/health/live").status == 200
