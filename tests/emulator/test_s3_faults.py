"""Misbehaviour of S3. Each test looks into the journal that its fault struck."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, FlexibleChecksumError, ResponseStreamingError

from .conftest import TITAN, Running

BUCKET = "embedrock-emulator"
WHERE = {"Bucket": BUCKET, "Key": "k"}
MB = 1024 * 1024


@pytest.fixture
def s3(emulator: Running) -> Any:
    return emulator.client("s3")


def struck(emulator: Running) -> list[tuple[str, str, int | None]]:
    """Return operation, fault and status of the calls that were struck."""
    return [(row["op"], row["fault"], row["status"]) for row in emulator.journal() if row["fault"]]


def objects(emulator: Running) -> Any:
    (bucket,) = emulator.request("GET", "/_emulator/buckets").json["buckets"]
    return bucket["objects"]


@pytest.mark.parametrize(
    ("settings", "status", "code"),
    [
        ({}, 503, "SlowDown"),
        ({"code": "InternalError"}, 500, "InternalError"),
        ({"code": "AccessDenied"}, 403, "AccessDenied"),
        ({"code": "NoSuchKey"}, 404, "NoSuchKey"),
        ({"code": "PreconditionFailed"}, 412, "PreconditionFailed"),
        ({"code": "RequestTimeTooSkewed"}, 403, "RequestTimeTooSkewed"),
        ({"code": "RequestExpired"}, 403, "AccessDenied"),
    ],
)
def test_s3_refuses_or_fails(emulator: Running, s3: Any, settings: dict[str, Any], status: int, code: str) -> None:
    emulator.fault(fault="s3_error", n=1, **settings)

    with pytest.raises(ClientError) as refused:
        s3.put_object(**WHERE, Body=b"x")

    answer = refused.value.response
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]) == (status, code)
    assert struck(emulator) == [("PutObject", "s3_error", status)]
    assert objects(emulator) == {}
    s3.put_object(**WHERE, Body=b"x")
    assert objects(emulator) == {"k": 1}


@pytest.mark.parametrize(("code", "status"), [("PermanentRedirect", 301), ("TemporaryRedirect", 307)])
def test_a_redirect_says_where_to(emulator: Running, s3: Any, code: str, status: int) -> None:
    emulator.fault(fault="s3_error", code=code, n=1)

    s3.put_object(**WHERE, Body=b"x")  # boto3 goes there, and that is here

    assert struck(emulator) == [("PutObject", "s3_error", status)]
    assert emulator.journal()[-1]["region"] == "eu-west-1"


def test_an_object_is_not_seen_at_first(emulator: Running, s3: Any) -> None:
    s3.put_object(**WHERE, Body=b"x")
    emulator.fault(fault="s3_error", code="NoSuchKey", match={"op": "HeadObject"}, n=1)

    with pytest.raises(ClientError, match="404"):
        s3.head_object(**WHERE)

    assert struck(emulator) == [("HeadObject", "s3_error", 404)]
    assert s3.head_object(**WHERE)["ContentLength"] == 1


def test_what_failed_may_have_been_done(emulator: Running, s3: Any) -> None:
    emulator.fault(fault="s3_error", code="InternalError", done=True, n=1)

    with pytest.raises(ClientError):
        s3.put_object(**WHERE, Body=b"x")

    assert struck(emulator) == [("PutObject", "s3_error", 500)]
    assert objects(emulator) == {"k": 1}


@pytest.mark.parametrize(("at", "left"), [("mid_upload", {}), ("done", {"k": MB})])
def test_a_connection_is_reset_in_an_upload_or_after_it(
    emulator: Running, s3: Any, at: str, left: dict[str, int]
) -> None:
    emulator.fault(fault="s3_reset", at=at, n=1)

    with pytest.raises(ConnectionClosedError):
        s3.put_object(**WHERE, Body=bytes(MB))

    assert struck(emulator) == [("PutObject", "s3_reset", None)]
    assert objects(emulator) == left


def test_a_connection_is_reset_in_a_download(emulator: Running, s3: Any) -> None:
    s3.put_object(**WHERE, Body=bytes(MB))
    emulator.fault(fault="s3_reset", at="mid_download", n=1)

    with pytest.raises(ResponseStreamingError):
        s3.get_object(**WHERE)["Body"].read()

    assert struck(emulator) == [("GetObject", "s3_reset", 200)]


def test_a_listing_breaks_off(emulator: Running, s3: Any) -> None:
    emulator.fault(fault="s3_reset", at="mid_download", n=1)

    with pytest.raises(ConnectionClosedError):
        s3.list_objects_v2(Bucket=BUCKET)

    assert struck(emulator) == [("ListObjectsV2", "s3_reset", 200)]


def test_a_download_is_not_what_was_put(emulator: Running, s3: Any) -> None:
    s3.put_object(**WHERE, Body=b"hello")
    emulator.fault(fault="s3_corrupt", n=1)

    with pytest.raises(FlexibleChecksumError):
        s3.get_object(**WHERE)["Body"].read()

    assert struck(emulator) == [("GetObject", "s3_corrupt", 200)]
    assert s3.get_object(**WHERE)["Body"].read() == b"hello"


def test_an_etag_is_wrong(emulator: Running, s3: Any) -> None:
    emulator.fault(fault="s3_corrupt", of="etag", n=1)

    assert s3.put_object(**WHERE, Body=b"hello")["ETag"] == f'"{"0" * 32}"'

    assert struck(emulator) == [("PutObject", "s3_corrupt", 200)]
    assert s3.head_object(**WHERE)["ETag"] != f'"{"0" * 32}"'


def test_an_upload_in_parts_fails_with_200(emulator: Running, s3: Any) -> None:
    upload = {**WHERE, "UploadId": s3.create_multipart_upload(**WHERE)["UploadId"]}
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
    emulator.fault(fault="s3_complete", n=1)
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}

    with pytest.raises(ClientError) as refused:
        s3.complete_multipart_upload(**upload, MultipartUpload=parts)

    assert refused.value.response["Error"]["Code"] == "InternalError"
    assert struck(emulator) == [("CompleteMultipartUpload", "s3_complete", 200)]
    assert objects(emulator) == {}
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert objects(emulator) == {"k": 1}


def test_s3_takes_its_time(emulator: Running, s3: Any) -> None:
    emulator.fault(fault="latency_shift", add_ms=30, match={"op": "PutObject"})

    s3.put_object(**WHERE, Body=b"x")

    assert struck(emulator) == [("PutObject", "latency_shift", 200)]
    assert emulator.journal()[0]["took_ms"] >= 30


def test_faults_of_one_do_not_strike_the_other(emulator: Running, s3: Any) -> None:
    emulator.fault(fault="s3_error")
    assert emulator.invoke(TITAN, {"inputText": "hello"}).status == 200
    emulator.request("DELETE", "/_emulator/faults")

    emulator.fault(fault="throttle")
    s3.put_object(**WHERE, Body=b"x")
    assert struck(emulator) == []


@pytest.mark.parametrize(
    ("fault", "member"),
    [
        ({"fault": "s3_error", "match": {"op": "InvokeModel"}}, "match.op"),
        ({"fault": "throttle", "match": {"op": "PutObject"}}, "match.op"),
        ({"fault": "s3_complete", "match": {"op": "PutObject"}}, "match.op"),
        ({"fault": "s3_error", "code": "Nothing"}, "code"),
        ({"fault": "s3_error", "done": 1}, "done"),
        ({"fault": "s3_reset", "at": "start"}, "at"),
        ({"fault": "s3_corrupt", "of": "name"}, "of"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(emulator: Running, fault: dict[str, Any], member: str) -> None:
    answer = emulator.post("faults", fault)

    assert (answer.status, answer.json["message"].partition(":")[0]) == (400, member)
