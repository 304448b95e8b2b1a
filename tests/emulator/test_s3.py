"""The emulator's S3, as boto3 sees it: path style, on the port of Bedrock."""

from __future__ import annotations

import base64
import hashlib
import io
import socket
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from bedrock_emulator.s3.errors import S3Error
from bedrock_emulator.s3.incoming import Unwrapper

from .conftest import Running, running

BUCKET = "embedrock-emulator"
ACCOUNT = "123456789012"
MB = 1024 * 1024
SIGNED_FOR_S3 = "AWS4-HMAC-SHA256 Credential=a/20260101/{}/s3/aws4_request, SignedHeaders=host, Signature=0"
KEYS = ("AKIAEXAMPLE", "secret-for-tests", None)


@pytest.fixture
def s3(emulator: Running) -> Any:
    return emulator.client("s3")


def code_of(refused: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    answer = refused.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def pattern(size: int) -> bytes:
    """Return bytes that do not repeat at the sizes of pieces."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def buckets(emulator: Running) -> dict[str, Any]:
    return {row["name"]: row for row in emulator.request("GET", "/_emulator/buckets").json["buckets"]}


def test_one_bucket_is_always_there(emulator: Running, s3: Any) -> None:
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [BUCKET]
    for region in ("us-east-1", "eu-west-1"):
        head = emulator.client("s3", region=region).head_bucket(Bucket=BUCKET)
        assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == region

    with pytest.raises(ClientError) as refused:
        s3.delete_bucket(Bucket=BUCKET)
    assert code_of(refused) == (403, "AccessDenied")


def test_what_was_put_is_got_with_what_was_said_of_it(s3: Any) -> None:
    key = "media/a name with spaces/ü+%2F&?.mp4"
    put = s3.put_object(Bucket=BUCKET, Key=key, Body=b"hello", ContentType="video/mp4", Metadata={"job": "42"})
    got = s3.get_object(Bucket=BUCKET, Key=key)
    head = s3.head_object(Bucket=BUCKET, Key=key)

    assert got["Body"].read() == b"hello"
    assert put["ETag"] == got["ETag"] == head["ETag"] == f'"{md5(b"hello").hex()}"'
    assert got["ContentType"] == head["ContentType"] == "video/mp4"
    assert got["Metadata"] == head["Metadata"] == {"job": "42"}
    assert got["ContentLength"] == head["ContentLength"] == 5
    assert head["LastModified"].tzinfo is not None


@pytest.mark.parametrize(
    ("asked", "found", "content_range"),
    [("bytes=1-3", b"ell", "bytes 1-3/5"), ("bytes=3-", b"lo", "bytes 3-4/5"), ("bytes=-2", b"lo", "bytes 3-4/5")],
)
def test_a_range_is_got(s3: Any, asked: str, found: bytes, content_range: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"hello")
    got = s3.get_object(Bucket=BUCKET, Key="k", Range=asked)

    assert (got["Body"].read(), got["ContentRange"]) == (found, content_range)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_range_behind_the_end_is_refused(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"hello")

    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket=BUCKET, Key="k", Range="bytes=5-")

    assert code_of(refused) == (416, "InvalidRange")


def test_what_is_not_there_is_not_found(s3: Any) -> None:
    calls: list[tuple[Callable[[], Any], tuple[int, str]]] = [
        (lambda: s3.get_object(Bucket=BUCKET, Key="k"), (404, "NoSuchKey")),
        (lambda: s3.head_object(Bucket=BUCKET, Key="k"), (404, "404")),
        (lambda: s3.get_object(Bucket="no-such-bucket", Key="k"), (404, "NoSuchBucket")),
        (lambda: s3.head_bucket(Bucket="no-such-bucket"), (404, "404")),
        (lambda: s3.abort_multipart_upload(Bucket=BUCKET, Key="k", UploadId="x"), (404, "NoSuchUpload")),
        (lambda: s3.get_bucket_policy(Bucket=BUCKET), (501, "NotImplemented")),
    ]
    for call, expected in calls:
        with pytest.raises(ClientError) as refused:
            call()
        assert code_of(refused) == expected


def test_objects_are_deleted_alone_and_together(emulator: Running, s3: Any) -> None:
    for key in ("a", "b", "c"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")

    s3.delete_object(Bucket=BUCKET, Key="a")
    s3.delete_object(Bucket=BUCKET, Key="a")  # there need not be one
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "b"}, {"Key": "gone"}]})

    assert [row["Key"] for row in answer["Deleted"]] == ["b", "gone"]
    assert buckets(emulator)[BUCKET]["objects"] == {"c": 1}


def test_an_object_is_copied(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="a b", Body=b"x", ContentType="image/png")
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "a b"})
    s3.delete_object(Bucket=BUCKET, Key="a b")

    got = s3.get_object(Bucket=BUCKET, Key="copy")
    assert (got["Body"].read(), got["ContentType"]) == (b"x", "image/png")


def test_a_listing_has_pages_in_the_order_of_keys(s3: Any) -> None:
    keys = [f"p/{number:02}" for number in range(25)] + ["p/ü", "q"]
    for key in reversed(keys):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    pages = list(
        s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="p/", PaginationConfig={"PageSize": 10})
    )

    assert [row["Key"] for page in pages for row in page["Contents"]] == keys[:-1]
    assert [page["KeyCount"] for page in pages] == [10, 10, 6]
    assert [page["IsTruncated"] for page in pages] == [True, True, False]
    after = s3.list_objects_v2(Bucket=BUCKET, StartAfter="p/23")
    assert [row["Key"] for row in after["Contents"]] == keys[24:]


def test_a_listing_shows_folders(s3: Any) -> None:
    for key in ("a", "f/1", "f/2", "g/1", "h"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    found: list[str] = []
    for paginator in ("list_objects_v2", "list_objects"):
        for page in s3.get_paginator(paginator).paginate(
            Bucket=BUCKET, Delimiter="/", PaginationConfig={"PageSize": 2}
        ):
            found += [row["Key"] for row in page.get("Contents", [])]
            found += [row["Prefix"] for row in page.get("CommonPrefixes", [])]

    assert found == ["a", "f/", "h", "g/"] * 2  # two a page: objects of a page come before its folders


def test_a_bucket_is_made_and_removed(emulator: Running, s3: Any) -> None:
    s3.create_bucket(Bucket="mine")
    emulator.client("s3", region="eu-west-1").create_bucket(
        Bucket="yours", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    locations = [
        emulator.client("s3", region=region).get_bucket_location(Bucket=name)["LocationConstraint"]
        for name, region in (("mine", "us-east-1"), ("yours", "eu-west-1"))
    ]
    s3.put_object(Bucket="mine", Key="k", Body=b"x")
    with pytest.raises(ClientError) as full:
        s3.delete_bucket(Bucket="mine")
    s3.delete_object(Bucket="mine", Key="k")
    s3.delete_bucket(Bucket="mine")

    assert locations == [None, "eu-west-1"]
    assert code_of(full) == (409, "BucketNotEmpty")
    assert set(buckets(emulator)) == {BUCKET, "yours"}


def test_a_region_that_is_not_the_buckets_is_told_which_is(emulator: Running) -> None:
    emulator.post("buckets", {"name": "far", "region": "eu-west-1"})
    for region, status, code in (
        ("us-east-1", 400, b"AuthorizationHeaderMalformed"),
        ("us-west-2", 301, b"PermanentRedirect"),
    ):
        answer = emulator.request("GET", "/far?list-type=2", headers={"Authorization": SIGNED_FOR_S3.format(region)})
        assert answer.status == status
        assert b"<Code>" + code + b"</Code>" in answer.body
        assert answer.headers["x-amz-bucket-region"] == "eu-west-1"


def test_boto3_finds_the_region_by_itself(emulator: Running) -> None:
    emulator.post("buckets", {"name": "far", "region": "eu-west-1"})

    emulator.client("s3", region="us-west-2", attempts=3).put_object(Bucket="far", Key="k", Body=b"x")

    assert buckets(emulator)["far"]["objects"] == {"k": 1}


def test_a_bucket_of_somebody_else_is_refused_to_who_expects_another(emulator: Running, s3: Any) -> None:
    emulator.post("buckets", {"name": "theirs", "owner": "999999999999"})
    s3.put_object(Bucket="theirs", Key="k", Body=b"x", ExpectedBucketOwner="999999999999")

    for bucket, owner in (("theirs", ACCOUNT), (BUCKET, "999999999999")):
        with pytest.raises(ClientError) as refused:
            s3.put_object(Bucket=bucket, Key="other", Body=b"x", ExpectedBucketOwner=owner)
        assert code_of(refused) == (403, "AccessDenied")
    assert buckets(emulator)["theirs"]["objects"] == {"k": 1}
    assert buckets(emulator)[BUCKET]["objects"] == {}


def test_an_upload_in_parts_becomes_one_object(emulator: Running, s3: Any) -> None:
    data = pattern(12 * MB + 5)
    s3.upload_fileobj(io.BytesIO(data), BUCKET, "large", Config=TransferConfig(multipart_chunksize=5 * MB))
    copy = io.BytesIO()
    s3.download_fileobj(BUCKET, "large", copy)

    assert copy.getvalue() == data
    assert s3.head_object(Bucket=BUCKET, Key="large")["ETag"].endswith('-3"')
    assert [row["op"] for row in emulator.journal()].count("UploadPart") == 3
    assert buckets(emulator)[BUCKET] == {
        "name": BUCKET,
        "region": None,
        "owner": ACCOUNT,
        "objects": {"large": len(data)},
        "uploads": [],
    }


def test_an_upload_in_parts_is_listed_and_aborted(s3: Any) -> None:
    ids = [s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"] for key in ("a", "b", "other")]
    s3.upload_part(Bucket=BUCKET, Key="a", UploadId=ids[0], PartNumber=2, Body=b"two")
    s3.upload_part(Bucket=BUCKET, Key="a", UploadId=ids[0], PartNumber=1, Body=b"one!")
    parts = s3.list_parts(Bucket=BUCKET, Key="a", UploadId=ids[0])["Parts"]
    first = s3.list_multipart_uploads(Bucket=BUCKET, MaxUploads=1)
    second = s3.list_multipart_uploads(
        Bucket=BUCKET, KeyMarker=first["NextKeyMarker"], UploadIdMarker=first["NextUploadIdMarker"]
    )
    s3.abort_multipart_upload(Bucket=BUCKET, Key="a", UploadId=ids[0])

    assert [(part["PartNumber"], part["Size"]) for part in parts] == [(1, 4), (2, 3)]
    assert [row["UploadId"] for row in first["Uploads"] + second["Uploads"]] == ids
    left = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert [row["Key"] for row in left] == ["b", "other"]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(1, b"a"), (2, b"b")], "EntityTooSmall"),
        ([(2, b"b"), (1, b"a")], "InvalidPartOrder"),
        ([(1, b"other")], "InvalidPart"),
        ([(3, b"c")], "InvalidPart"),
    ],
)
def test_parts_that_do_not_fit_are_refused(s3: Any, parts: list[tuple[int, bytes]], expected: str) -> None:
    where = {"Bucket": BUCKET, "Key": "k"}
    where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
    for number, data in ((1, b"a"), (2, b"b")):
        s3.upload_part(**where, PartNumber=number, Body=data)
    listed = [{"PartNumber": number, "ETag": md5(data).hex()} for number, data in parts]

    with pytest.raises(ClientError) as refused:
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": listed})

    assert code_of(refused) == (400, expected)


def test_an_object_is_replaced_only_on_the_callers_condition(s3: Any) -> None:
    etag = s3.put_object(Bucket=BUCKET, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"2", IfMatch=etag)

    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": etag}):
        with pytest.raises(ClientError) as refused:
            s3.put_object(Bucket=BUCKET, Key="k", Body=b"3", **condition)
        assert code_of(refused) == (412, "PreconditionFailed")
    assert s3.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"2"


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_of_boto3_are_taken(s3: Any, algorithm: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)

    got = s3.get_object(Bucket=BUCKET, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"hello"  # boto3 compares the checksum of the answer
    assert base64.b64decode(got["ChecksumCRC32"]) == zlib.crc32(b"hello").to_bytes(4, "big")


def test_content_that_is_not_what_was_announced_is_refused(emulator: Running, s3: Any) -> None:
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    for wrong, expected in (
        ({"ContentMD5": base64.b64encode(md5(b"other")).decode()}, "BadDigest"),
        ({"ChecksumSHA256": other}, "BadDigest"),
        ({"ChecksumCRC32": "AAAAAA=="}, "BadDigest"),
    ):
        with pytest.raises(ClientError) as refused:
            s3.put_object(Bucket=BUCKET, Key="k", Body=b"hello", **wrong)
        assert code_of(refused) == (400, expected)
    assert buckets(emulator)[BUCKET]["objects"] == {}


@pytest.mark.parametrize("scheme", ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"])
@pytest.mark.parametrize(("crc", "status"), [("NhCmhg==", 200), ("AAAAAA==", 400)])
def test_a_body_in_chunks_of_aws_is_unwrapped(emulator: Running, s3: Any, scheme: str, crc: str, status: int) -> None:
    """As SDKs send it over TLS: chunks with sizes of their own, and a checksum at the end."""
    signed = ";chunk-signature=" + "0" * 64 if "HMAC" in scheme else ""
    chunks = [f"{len(part):x}{signed}\r\n{part}\r\n" for part in ("hel", "lo", "")]
    body = "".join(chunks).removesuffix("\r\n") + f"x-amz-checksum-crc32:{crc}\r\n\r\n"
    headers = {
        "Authorization": SIGNED_FOR_S3.format("us-east-1"),
        "x-amz-content-sha256": scheme,
        "x-amz-decoded-content-length": "5",
        "content-encoding": "aws-chunked",
        "x-amz-trailer": "x-amz-checksum-crc32",
    }

    assert emulator.request("PUT", f"/{BUCKET}/k", body.encode(), headers).status == status

    assert buckets(emulator)[BUCKET]["objects"] == ({"k": 5} if status == 200 else {})
    if status == 200:
        got = s3.get_object(Bucket=BUCKET, Key="k")
        assert got["Body"].read() == b"hello"
        assert "ContentEncoding" not in got


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_chunks_may_come_in_any_pieces(piece: int) -> None:
    data = pattern(300)
    signed = b";chunk-signature=" + b"0" * 64
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(part), signed, part) for part in (data[:200], data[200:]))
    body += b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:0\r\n\r\n"
    unwrapper = Unwrapper()

    found = b"".join(unwrapper.feed(body[at : at + piece]) for at in range(0, len(body), piece))

    assert found == data
    assert unwrapper.ended
    assert unwrapper.trailers == {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-trailer-signature": "0"}


@pytest.mark.parametrize("body", [b"hello", b"-1\r\n", b"zz\r\n", b"x" * 20_000, b"\r\n"])
def test_what_is_not_in_chunks_is_refused(body: bytes) -> None:
    unwrapper = Unwrapper()

    with pytest.raises(S3Error):
        unwrapper.feed(body)
        unwrapper.finish()


def test_an_upload_that_breaks_off_leaves_nothing(emulator: Running) -> None:
    parts = urlsplit(emulator.url)
    head = (
        f"PUT /{BUCKET}/k HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 1000\r\n"
        f"Authorization: {SIGNED_FOR_S3.format('us-east-1')}\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head.encode() + b"x" * 500)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""

    assert buckets(emulator)[BUCKET]["objects"] == {}
    assert [(row["op"], row["status"]) for row in emulator.journal()] == [("PutObject", None)]


def test_a_signed_url_works_until_its_end(emulator: Running, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"hello")
    signer = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=emulator.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(signature_version="s3v4"),
    )
    url = signer.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "k"}, ExpiresIn=60)
    path = url.removeprefix(emulator.url)
    ended = path.replace("X-Amz-Expires=60", "X-Amz-Expires=0").replace("X-Amz-Date=2", "X-Amz-Date=1")

    assert emulator.request("GET", path).body == b"hello"
    refused = emulator.request("GET", ended)
    assert refused.status == 403
    assert b"<Message>Request has expired</Message>" in refused.body


def test_signatures_are_checked_when_there_are_keys() -> None:
    with running("--access-key", KEYS[0], "--secret-key", KEYS[1]) as emulator:
        good = emulator.client("s3", keys=KEYS)
        key = "a b/ü+%2F&.mp4"
        good.put_object(Bucket=BUCKET, Key=key, Body=b"x", Metadata={"a": "b"})
        assert good.list_objects_v2(Bucket=BUCKET, Prefix="a b/ü")["Contents"][0]["Key"] == key
        assert good.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"x"

        for keys, expected in (
            ((KEYS[0], "another", None), "SignatureDoesNotMatch"),
            (("AKIAOTHER", KEYS[1], None), "InvalidAccessKeyId"),
        ):
            with pytest.raises(ClientError) as refused:
                emulator.client("s3", keys=keys).list_objects_v2(Bucket=BUCKET)
            assert code_of(refused) == (403, expected)


def test_the_journal_tells_which_object(emulator: Running, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="a/b", Body=b"hello")

    (row,) = emulator.journal()
    assert (row["op"], row["object"], row["status"], row["region"]) == (
        "PutObject",
        f"s3://{BUCKET}/a/b",
        200,
        "us-east-1",
    )
    assert (row["request_body"], row["request_sha256"]) == ("hello", hashlib.sha256(b"hello").hexdigest())
    assert row["model"] is row["fault"] is None


def test_buckets_are_emptied_by_the_control(emulator: Running, s3: Any) -> None:
    s3.create_bucket(Bucket="mine")
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"x")
    s3.create_multipart_upload(Bucket=BUCKET, Key="k")

    assert emulator.request("DELETE", "/_emulator/buckets").status == 200

    left = buckets(emulator)
    assert set(left) == {BUCKET}
    assert (left[BUCKET]["objects"], left[BUCKET]["uploads"]) == ({}, [])


@pytest.mark.parametrize(
    ("posted", "member"),
    [({}, "name"), ({"name": "A"}, "name"), ({"name": BUCKET}, "name"), ({"name": "abc", "size": 1}, "size")],
)
def test_a_bucket_that_cannot_be_is_refused(emulator: Running, posted: dict[str, Any], member: str) -> None:
    answer = emulator.post("buckets", posted)

    assert answer.status == 400
    assert answer.json["message"].startswith(f"{member}:")


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc to read memory from")
def test_a_large_object_does_not_cost_its_size_in_memory() -> None:
    size = 64 * MB
    with running() as emulator:
        client = emulator.client("s3")
        client.put_object(Bucket=BUCKET, Key="small", Body=b"x")
        client.get_object(Bucket=BUCKET, Key="small")["Body"].read()
        before = resident_mb(emulator.process.pid)
        client.put_object(Bucket=BUCKET, Key="k", Body=bytes(size))
        got = client.get_object(Bucket=BUCKET, Key="k")["Body"]
        assert sum(map(len, got.iter_chunks(MB))) == size

        assert resident_mb(emulator.process.pid) - before < 16


def test_files_are_gone_with_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running() as emulator:
        assert list(tmp_path.iterdir()) == []
        emulator.client("s3").put_object(Bucket=BUCKET, Key="k", Body=b"x")
        assert len(list(tmp_path.glob("*/*"))) == 1

    assert list(tmp_path.iterdir()) == []
