"""S3 refuses, fails and breaks off: clear errors, the right vectors or none, and nothing left behind."""

from __future__ import annotations

import contextlib
import io
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from PIL import Image

from embedrock.service.sweeper import Sweeper
from embedrock.upstream.credentials import FixedCredentials
from embedrock.upstream.s3 import S3
from embedrock.upstream.sigv4 import Credentials

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway, StartGateway

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
BUCKET = "embedrock-emulator"  # is always there
#: PutObject is not among what a large picture does: it goes in three parts.
UPLOADS = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


@pytest.fixture
def gateway(gateway_with: StartGateway) -> Gateway:
    return gateway_with(AWS_S3_REGIONAL_BUCKETS=json.dumps({"us-east-1": BUCKET}))


@pytest.fixture
def own_bucket(emulator: Emulator) -> Iterator[Any]:
    client = boto3.client(
        "s3",
        endpoint_url=emulator.url,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="test-secret",
        region_name="us-east-1",
    )
    with contextlib.closing(client):
        yield client


def left(own_bucket: Any) -> tuple[int, int]:
    """Return how many objects and unfinished uploads there are in the gateway's bucket."""
    objects = own_bucket.list_objects_v2(Bucket=BUCKET).get("Contents", ())
    return len(objects), len(own_bucket.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()))


@pytest.fixture(scope="module")
def large() -> str:
    """A picture of 20 MB as a data URI: too large for a call."""
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(out, "png")
    return f"data:image/png;base64,{b64encode(out.getvalue() + bytes(20_000_000)).decode()}"


SLOW_DOWN: dict[str, Any] = {"name": "s3_error", "code": "SlowDown"}
DONE_AND_REFUSED: dict[str, Any] = {"name": "s3_error", "code": "InternalError", "done": True}
DONE_AND_RESET: dict[str, Any] = {"name": "s3_reset", "at": "done"}


@pytest.mark.parametrize(
    ("op", "fault", "uploads"),
    [
        ("CreateMultipartUpload", SLOW_DOWN, 0),
        ("CreateMultipartUpload", DONE_AND_RESET, 1),  # its id never came: it is for the sweeper
        ("UploadPart", DONE_AND_REFUSED, 0),
        ("UploadPart", {"name": "s3_reset", "at": "mid_upload"}, 0),
        ("CompleteMultipartUpload", {"name": "s3_complete"}, 0),
        ("CompleteMultipartUpload", DONE_AND_RESET, 0),
        ("DeleteObject", DONE_AND_REFUSED, 0),
    ],
)
def test_staging_gets_through_what_passes(
    gateway: Gateway, emulator: Emulator, own_bucket: Any, large: str, op: str, fault: dict[str, Any], uploads: int
) -> None:
    emulator.fault(**fault, p=1.0, n=1, match={"op": op})

    answer = gateway.embed({"model": NOVA, "input": [large], "dimensions": 256})

    assert len(answer.vectors()) == 1
    assert emulator.fired() == 1
    assert left(own_bucket) == (0, uploads)


@pytest.mark.parametrize("op", UPLOADS)
def test_staging_that_does_not_get_through_leaves_nothing(
    gateway: Gateway, emulator: Emulator, own_bucket: Any, large: str, op: str
) -> None:
    emulator.fault("s3_error", code="SlowDown", p=1.0, match={"op": op})

    answer = gateway.embed({"model": NOVA, "input": [large]})

    assert (answer.status, answer.error()["code"]) == (503, "upstream_unavailable")
    assert emulator.fired() >= 2
    assert emulator.bodies() == []
    assert left(own_bucket) == (0, 0)


def test_answer_does_not_wait_for_a_removal_that_hangs(
    start_gateway: StartGateway, emulator: Emulator, large: str
) -> None:
    gateway = start_gateway(
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
        AWS_ENDPOINT_URL_S3=emulator.url,
        AWS_S3_REGIONAL_BUCKETS=json.dumps({"us-east-1": BUCKET}),
    )
    emulator.fault("hang", p=1.0, n=1, match={"op": "DeleteObject"})
    begun = time.monotonic()

    answer = gateway.embed({"model": NOVA, "input": [large], "dimensions": 256})

    assert len(answer.vectors()) == 1
    assert emulator.fired() == 1
    assert time.monotonic() - begun < 20
    gateway.process.kill()  # it would go on removing in the next test
    gateway.wait()


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("AccessDenied", 503, "s3_bucket_unusable"),
        ("PermanentRedirect", 503, "s3_bucket_unusable"),
        ("RequestTimeTooSkewed", 503, "upstream_auth_failed"),
    ],
)
def test_refused_staging_is_the_operators_affair(
    gateway: Gateway, emulator: Emulator, own_bucket: Any, large: str, code: str, status: int, error: str
) -> None:
    emulator.fault("s3_error", code=code, p=1.0, match={"op": "CreateMultipartUpload"})

    answer = gateway.embed({"model": NOVA, "input": [large]})

    assert (answer.status, answer.error()["code"]) == (status, error)
    assert emulator.fired() == 1
    assert left(own_bucket) == (0, 0)


@pytest.mark.parametrize("op", ["HeadObject", "GetObject"])
@pytest.mark.parametrize(
    "fault",
    [
        SLOW_DOWN,
        DONE_AND_RESET,
        {"name": "s3_reset", "at": "mid_download"},
    ],
    ids=["slow down", "reset", "reset in the answer"],
)
def test_object_is_read_through_what_passes(
    gateway: Gateway,
    emulator: Emulator,
    media_bucket: Any,
    expected: Expected,
    pictures: dict[str, str],
    op: str,
    fault: dict[str, Any],
) -> None:
    media_bucket.put_object(Bucket="media", Key="a.png", Body=b64decode(pictures["png"].partition(",")[2]))
    emulator.fault(**fault, p=1.0, n=1, match={"op": op})

    answer = gateway.embed({"model": TITAN_IMAGE, "input": ["s3://media/a.png"]})

    assert answer.vectors() == expected(TITAN_IMAGE, [pictures["png"]])
    assert emulator.fired() == 1


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("SlowDown", 503, "upstream_unavailable"),
        ("AccessDenied", 403, "s3_access_denied"),
        ("NoSuchKey", 404, "s3_object_not_found"),
        ("PreconditionFailed", 409, "s3_object_changed"),
        ("PermanentRedirect", 400, "s3_region_mismatch"),
        ("TemporaryRedirect", 400, "s3_region_mismatch"),
        ("RequestTimeTooSkewed", 503, "upstream_auth_failed"),
    ],
)
def test_object_that_cannot_be_read_is_told_by_its_index(
    gateway: Gateway,
    emulator: Emulator,
    media_bucket: Any,
    pictures: dict[str, str],
    code: str,
    status: int,
    error: str,
) -> None:
    media_bucket.put_object(Bucket="media", Key="a.png", Body=b64decode(pictures["png"].partition(",")[2]))
    emulator.fault("s3_error", code=code, p=1.0, match={"op": "GetObject"})

    answer = gateway.embed({"model": TITAN_IMAGE, "input": ["a", "s3://media/a.png"]})

    assert (answer.status, answer.error()["code"]) == (status, error)
    assert answer.error()["param"] == ("input[1]" if status < 500 else None)
    assert emulator.fired() >= 1
    assert emulator.bodies() == []


@pytest.mark.parametrize(("op", "there"), [("UploadPart", (0, 1)), ("InvokeModel", (1, 0)), ("DeleteObject", (1, 0))])
async def test_what_a_killed_gateway_leaves_is_swept(
    start_gateway: StartGateway, emulator: Emulator, own_bucket: Any, large: str, op: str, there: tuple[int, int]
) -> None:
    """In an upload, while the model reads what was uploaded, and before that is removed."""
    gateway = start_gateway(
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
        AWS_ENDPOINT_URL_S3=emulator.url,
        AWS_S3_REGIONAL_BUCKETS=json.dumps({"us-east-1": BUCKET}),
    )
    emulator.fault("hang", p=1.0, match={"op": op})
    with gateway.asked({"model": NOVA, "input": [large]}):
        give_up = time.monotonic() + 30
        while not emulator.fired():
            assert time.monotonic() < give_up
        gateway.process.kill()
        gateway.wait()
    assert left(own_bucket) == there
    assert emulator.request("DELETE", "/_emulator/faults").status == 200
    s3 = S3(
        "us-east-1",
        emulator.url,
        credentials=FixedCredentials(Credentials("AKIATEST", "test-secret")),
        next_wait=lambda *_: None,
    )

    removed = await Sweeper({"us-east-1": s3}, {"us-east-1": BUCKET}, lambda: time.time() + 3 * 3600).sweep()

    s3.close()
    assert removed == 1
    assert left(own_bucket) == (0, 0)
