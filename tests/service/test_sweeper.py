"""What is left behind in the gateway's buckets is removed once it is too old to be in use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from embedrock.service.sweeper import Sweeper
from embedrock.upstream.credentials import FixedCredentials
from embedrock.upstream.s3 import S3
from embedrock.upstream.sigv4 import Credentials

if TYPE_CHECKING:
    from tests.conftest import Emulator

HOUR_S = 3600.0
STAGED, JOB, OTHER = "embedrock/staged/0/0-0.png", "embedrock/jobs/0/input.mp4", "embedrock-of-others/a.png"


def store(emulator: Emulator) -> S3:
    return S3(
        "us-east-1",
        emulator.url,
        credentials=FixedCredentials(Credentials("AKIATEST", "test-secret")),
        next_wait=lambda *_: None,
    )


@pytest.mark.parametrize(
    ("later_s", "left"),
    [
        (0.0, [OTHER, JOB, STAGED]),
        (1.5 * HOUR_S, [OTHER, JOB, STAGED]),
        (2.5 * HOUR_S, [OTHER, JOB]),
        (8 * 24 * HOUR_S, [OTHER, JOB]),
        (10 * 24 * HOUR_S, [OTHER]),
    ],
)
async def test_only_what_is_too_old_and_the_gateways_is_removed(
    emulator: Emulator, media_bucket: Any, later_s: float, left: list[str]
) -> None:
    for key in (STAGED, JOB, OTHER):
        media_bucket.put_object(Bucket="media", Key=key, Body=b"x")
    s3 = store(emulator)

    removed = await Sweeper({"us-east-1": s3}, {"us-east-1": "media"}, lambda: time.time() + later_s).sweep()

    found = media_bucket.list_objects_v2(Bucket="media").get("Contents", ())
    assert sorted(listed["Key"] for listed in found) == sorted(left)
    assert removed == 3 - len(left)
    s3.close()


async def test_uploads_that_nobody_ends_are_removed(emulator: Emulator, media_bucket: Any) -> None:
    media_bucket.create_multipart_upload(Bucket="media", Key=STAGED)
    media_bucket.create_multipart_upload(Bucket="media", Key=OTHER)
    s3 = store(emulator)

    young = await Sweeper({"us-east-1": s3}, {"us-east-1": "media"}).sweep()
    old = await Sweeper({"us-east-1": s3}, {"us-east-1": "media"}, lambda: time.time() + 3 * HOUR_S).sweep()

    assert (young, old) == (0, 1)
    left = media_bucket.list_multipart_uploads(Bucket="media")["Uploads"]
    assert [upload["Key"] for upload in left] == [OTHER]
    s3.close()


async def test_bucket_that_cannot_be_swept_does_not_keep_the_others_from_it(
    emulator: Emulator, media_bucket: Any, caplog: pytest.LogCaptureFixture
) -> None:
    media_bucket.put_object(Bucket="media", Key=STAGED, Body=b"x")
    s3, far = store(emulator), store(emulator)
    far.region = "eu-west-1"
    buckets = {"eu-west-1": "embedrock-no-such-bucket", "us-east-1": "media", "ap-south-1": "nobody-calls-there"}

    removed = await Sweeper({"eu-west-1": far, "us-east-1": s3}, buckets, lambda: time.time() + 3 * HOUR_S).sweep()

    assert removed == 1
    assert "The gateway's bucket in eu-west-1 could not be swept: s3_object_not_found" in caplog.text
    s3.close()
    far.close()
