"""Asynchronous calls, as boto3 makes them: started, asked for, listed, and read from S3."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_emulator import expected_segments

from .conftest import TITAN, Running
from .drawing import base64, mp4
from .test_segments import NOVA, V2, V3, WORDS

BUCKET = "embedrock-emulator"
CLIP = f"s3://{BUCKET}/in/clip.mp4"
VIDEO = mp4(32, content=b"frames")
SOURCE = {"s3Location": {"uri": CLIP}}
OUTPUT = {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out"}}


def nova(mode: str = "AUDIO_VIDEO_SEPARATE", uri: str = CLIP) -> dict[str, Any]:
    source = {"s3Location": {"uri": uri}}
    video = {"format": "mp4", "embeddingMode": mode, "source": source, "segmentationConfig": {"durationSeconds": 10}}
    params = {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 256, "video": video}
    return {"taskType": "SEGMENTED_EMBEDDING", "segmentedEmbeddingParams": params}


MARENGO = {
    V2: {"inputType": "video", "mediaSource": SOURCE},
    V3: {"inputType": "video", "video": {"mediaSource": SOURCE, "embeddingScope": ["clip", "asset"]}},
}


@pytest.fixture
def quick(emulator: Running) -> Running:
    """An emulator with a video in S3, whose asynchronous calls take no time."""
    emulator.post("async", {"duration_s": 0})
    emulator.client("s3").put_object(Bucket=BUCKET, Key="in/clip.mp4", Body=VIDEO)
    return emulator


@pytest.fixture
def bedrock(quick: Running) -> Any:
    return quick.client()


def start(client: Any, model: str = V3, body: dict[str, Any] | None = None, **members: Any) -> str:
    arguments = {"modelId": model, "modelInput": body or MARENGO[model], "outputDataConfig": OUTPUT, **members}
    arn: str = client.start_async_invoke(**arguments)["invocationArn"]
    return arn


def finish(client: Any, arn: str) -> dict[str, Any]:
    """Ask until it is no longer in progress: each question is an answer of the emulator's one loop, so it gets on."""
    for _ in range(10_000):
        found: dict[str, Any] = client.get_async_invoke(invocationArn=arn)
        if found["status"] != "InProgress":
            return found
    raise AssertionError("it does not end")


def read(emulator: Running, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    content: bytes = emulator.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        call()
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_call_is_started_and_ends(quick: Running, bedrock: Any) -> None:
    arn = start(bedrock, clientRequestToken="token-1", tags=[{"key": "a", "value": "b"}])
    found = finish(bedrock, arn)

    assert re.fullmatch(r"arn:aws:bedrock:us-east-1:123456789012:async-invoke/[a-z0-9]{12}", arn)
    job_id = arn.rpartition("/")[2]
    assert found["modelArn"] == f"arn:aws:bedrock:us-east-1::foundation-model/{V3}"
    assert (found["status"], found["clientRequestToken"]) == ("Completed", "token-1")
    assert found["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"] == f"s3://{BUCKET}/out/{job_id}"
    assert found["submitTime"] <= found["endTime"] == found["lastModifiedTime"] <= datetime.now(UTC)
    assert "failureMessage" not in found
    rows = quick.journal()
    assert [row["op"] for row in rows][1:3] == ["StartAsyncInvoke", "GetAsyncInvoke"]
    assert {row["model"] for row in rows[1:]} == {V3}


@pytest.mark.parametrize("model", [V2, V3])
def test_marengo_writes_one_file(quick: Running, bedrock: Any, model: str) -> None:
    where = finish(bedrock, start(bedrock, model))["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]

    expected = expected_segments(model, MARENGO[model], {CLIP: VIDEO})
    assert json.loads(read(quick, f"{where}/output.json")) == {"data": expected}
    json.loads(read(quick, f"{where}/manifest.json"))


def test_nova_writes_a_file_a_type_and_a_summary(quick: Running, bedrock: Any) -> None:
    where = finish(bedrock, start(bedrock, NOVA, nova()))["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]

    summary = json.loads(read(quick, f"{where}/segmented-embedding-result.json"))
    assert (summary["sourceFileUri"], summary["embeddingDimension"]) == (CLIP, 256)
    assert [(row["embeddingType"], row["status"], row["outputFileUri"]) for row in summary["embeddingResults"]] == [
        ("VIDEO", "SUCCESS", f"{where}/embedding-video.jsonl"),
        ("AUDIO", "SUCCESS", f"{where}/embedding-audio.jsonl"),
    ]
    lines = [
        json.loads(line) | {"embeddingType": row["embeddingType"]}
        for row in summary["embeddingResults"]
        for line in read(quick, row["outputFileUri"]).splitlines()
    ]
    assert lines == expected_segments(NOVA, nova(), {CLIP: VIDEO})


@pytest.mark.parametrize(
    ("inputs", "file"),
    [
        ({"text": {"truncationMode": "END", "value": WORDS, "segmentationConfig": {}}}, "embedding-text.jsonl"),
        (nova("AUDIO_VIDEO_COMBINED")["segmentedEmbeddingParams"], "embedding-audio-video.jsonl"),
    ],
)
def test_novas_files_are_named_for_what_is_in_them(
    quick: Running, bedrock: Any, inputs: dict[str, Any], file: str
) -> None:
    params = {"embeddingPurpose": "GENERIC_INDEX", **inputs}
    body = {"taskType": "SEGMENTED_EMBEDDING", "segmentedEmbeddingParams": params}
    found = finish(bedrock, start(bedrock, NOVA, body))

    keys = quick.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="out/")["Contents"]
    names = [row["Key"].rpartition("/")[2] for row in keys]
    assert found["status"] == "Completed"
    assert names == [file, "manifest.json", "segmented-embedding-result.json"]


def test_until_its_time_has_come_a_call_is_in_progress(quick: Running, bedrock: Any) -> None:
    quick.post("async", {"duration_s": 3600})
    arn = start(bedrock)
    found = bedrock.get_async_invoke(invocationArn=arn)

    assert found["status"] == "InProgress"
    assert "endTime" not in found
    (_, manifest) = quick.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    assert manifest["Key"] == f"out/{arn.rpartition('/')[2]}/manifest.json"
    shown = quick.request("GET", "/_emulator/async").json
    assert [job["invocationArn"] for job in shown["jobs"]] == [arn]


def test_a_token_stands_for_one_call(quick: Running, bedrock: Any) -> None:
    first = start(bedrock, clientRequestToken="token-1")

    assert start(bedrock, clientRequestToken="token-1") == first
    finish(bedrock, first)
    assert start(bedrock, clientRequestToken="token-1") == first
    assert start(bedrock, clientRequestToken="token-2") != first
    assert start(quick.client(keys=("another", "key", None)), clientRequestToken="token-1") == first
    code, _ = refusal(lambda: start(bedrock, NOVA, nova(), clientRequestToken="token-1"))
    assert code == "ConflictException"
    assert len(quick.request("GET", "/_emulator/async").json["jobs"]) == 2


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (f"s3://{BUCKET}/in/other.mp4", "The provided S3 object does not exist."),
        ("s3://no-such-bucket/clip.mp4", "The provided S3 bucket does not exist or cannot be read."),
        (f"s3://{BUCKET}/in/text.mp4", "The provided video does not match the specified video format."),
        ("s3://far/clip.mp4", "The provided S3 bucket is in another region."),
    ],
)
def test_an_input_that_cannot_be_read_makes_the_call_fail(quick: Running, bedrock: Any, uri: str, message: str) -> None:
    quick.client("s3").put_object(Bucket=BUCKET, Key="in/text.mp4", Body=b"no video")
    quick.post("buckets", {"name": "far", "region": "eu-west-1"})
    found = finish(bedrock, start(bedrock, NOVA, nova(uri=uri)))

    assert (found["status"], found["failureMessage"]) == ("Failed", message)
    keys = [row["Key"] for row in quick.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="out/")["Contents"]]
    assert [key.rpartition("/")[2] for key in keys] == ["manifest.json"]


def test_a_bucket_of_somebody_else_is_not_read_for_who_expects_another(bedrock: Any) -> None:
    source = {"s3Location": {"uri": CLIP, "bucketOwner": "999999999999"}}
    found = finish(bedrock, start(bedrock, V2, {"inputType": "video", "mediaSource": source}))

    assert (found["status"], found["failureMessage"]) == (
        "Failed",
        "The provided S3 bucket belongs to another account.",
    )


@pytest.mark.parametrize(
    ("changed", "code", "text"),
    [
        ({"modelId": "no.such-model"}, "ValidationException", "model identifier is invalid"),
        ({"modelId": f"us.{V2}"}, "ValidationException", "model identifier is invalid"),
        ({"modelId": TITAN}, "ValidationException", "does not support asynchronous invocation"),
        ({"modelInput": {"inputType": "smell"}}, "ValidationException", "smell is not a valid enum value"),
        (
            {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://no-such-bucket"}}},
            "ValidationException",
            "output bucket does not exist",
        ),
        (
            {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}", "bucketOwner": "999999999999"}}},
            "ValidationException",
            "belongs to another account",
        ),
        (
            {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "https://bucket"}}},
            "ValidationException",
            "Value 'https://bucket' at 'outputDataConfig.s3OutputDataConfig.s3Uri' failed to satisfy constraint",
        ),
        ({"clientRequestToken": "two words"}, "ValidationException", "Value 'two words' at 'clientRequestToken'"),
    ],
)
def test_a_call_that_makes_no_sense_is_not_started(
    quick: Running, changed: dict[str, Any], code: str, text: str
) -> None:
    whole = {"modelId": V3, "modelInput": MARENGO[V3], "outputDataConfig": OUTPUT}
    answer = quick.request("POST", "/async-invoke", json.dumps({**whole, **changed}).encode(), _signed())

    assert (answer.status, answer.headers["x-amzn-errortype"].partition(":")[0]) == (400, code)
    assert text in answer.json["message"]
    assert quick.request("GET", "/_emulator/async").json["jobs"] == []


def test_what_is_missing_is_named(quick: Running) -> None:
    answer = quick.request("POST", "/async-invoke", b'{"modelInput": {}}', _signed())

    assert answer.json["message"].startswith("2 validation errors detected: Value null at 'modelId' failed")
    assert "outputDataConfig.s3OutputDataConfig.s3Uri" in answer.json["message"]


def _signed() -> dict[str, str]:
    scope = "Credential=AKIDEXAMPLE/20260101/us-east-1/bedrock/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"}


def test_an_output_bucket_of_another_region_is_refused(quick: Running, bedrock: Any) -> None:
    quick.post("buckets", {"name": "far", "region": "eu-west-1"})
    output = {"s3OutputDataConfig": {"s3Uri": "s3://far"}}

    code, message = refusal(lambda: start(bedrock, outputDataConfig=output))

    assert (code, message) == ("ValidationException", "The provided output bucket does not exist in this region.")
    far = quick.client(region="eu-west-1")
    where = finish(far, start(far, outputDataConfig=output))["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
    assert re.fullmatch("s3://far/[a-z0-9]{12}", where)


def test_a_call_that_is_not_known_is_refused(quick: Running, bedrock: Any) -> None:
    """There is no ResourceNotFoundException among the errors of this operation."""
    arn = start(bedrock)
    far = quick.client(region="eu-west-1")

    assert refusal(lambda: bedrock.get_async_invoke(invocationArn=f"{arn[:-1]}?"))[0] == "ValidationException"
    assert refusal(lambda: far.get_async_invoke(invocationArn=arn))[0] == "ValidationException"


def test_calls_are_listed_newest_first_in_pages(quick: Running, bedrock: Any) -> None:
    arns = [start(bedrock) for _ in range(5)]
    for arn in arns:
        finish(bedrock, arn)
    quick.post("async", {"duration_s": 3600})
    arns.append(start(bedrock))
    pages = list(bedrock.get_paginator("list_async_invokes").paginate(PaginationConfig={"PageSize": 4}))
    listed = list(itertools.chain.from_iterable(page["asyncInvokeSummaries"] for page in pages))

    assert [row["invocationArn"] for row in listed] == arns[::-1]
    assert len(pages) == 2
    done = bedrock.list_async_invokes(statusEquals="Completed", sortOrder="Ascending")["asyncInvokeSummaries"]
    assert [row["invocationArn"] for row in done] == arns[:5]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert bedrock.list_async_invokes(submitTimeAfter=tomorrow)["asyncInvokeSummaries"] == []
    assert len(bedrock.list_async_invokes(submitTimeBefore=tomorrow)["asyncInvokeSummaries"]) == 6
    assert quick.client(region="eu-west-1").list_async_invokes()["asyncInvokeSummaries"] == []


def test_more_calls_than_there_may_be_at_once_are_refused(quick: Running, bedrock: Any) -> None:
    quick.post("async", {"duration_s": 3600, "max_running": 2})
    first = start(bedrock, clientRequestToken="token-1")
    start(bedrock)

    code, _ = refusal(lambda: start(bedrock))

    assert code == "ServiceQuotaExceededException"
    assert start(bedrock, clientRequestToken="token-1") == first  # it was started before
    start(bedrock, NOVA, nova())  # each model has its own


def test_a_synchronous_call_reads_what_is_in_s3(quick: Running) -> None:
    """The vector is that of the same file inline."""
    params = {"embeddingPurpose": "GENERIC_INDEX", "video": nova()["segmentedEmbeddingParams"]["video"]}
    del params["video"]["segmentationConfig"]
    answers = []
    quick.client("s3").put_object(Bucket=BUCKET, Key="in/short.mp4", Body=mp4(12))
    for source in ({"s3Location": {"uri": f"s3://{BUCKET}/in/short.mp4"}}, {"bytes": base64(mp4(12))}):
        params["video"]["source"] = source
        answers.append(quick.invoke(NOVA, {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}))

    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body


def test_a_synchronous_call_refuses_what_is_not_in_the_bucket_or_plays_too_long(quick: Running) -> None:
    for uri, message in (
        (CLIP, "The video is longer than 30 seconds."),
        (f"s3://{BUCKET}/other", "The provided S3 object does not exist."),
    ):
        video = {"format": "mp4", "embeddingMode": "AUDIO_VIDEO_COMBINED", "source": {"s3Location": {"uri": uri}}}
        params = {"embeddingPurpose": "GENERIC_INDEX", "video": video}
        answer = quick.invoke(NOVA, {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params})
        assert (answer.status, answer.json["message"]) == (400, message)


@pytest.mark.parametrize(
    ("posted", "member"), [({"duration_s": -1}, "duration_s"), ({"max_running": "x"}, "max_running"), ({"n": 1}, "n")]
)
def test_settings_that_make_no_sense_are_refused(emulator: Running, posted: dict[str, Any], member: str) -> None:
    answer = emulator.post("async", posted)

    assert (answer.status, answer.json["message"].partition(":")[0]) == (400, member)


def test_calls_are_forgotten(quick: Running, bedrock: Any) -> None:
    quick.post("async", {"duration_s": 3600})
    arn = start(bedrock)
    quick.request("DELETE", "/_emulator/async")

    assert refusal(lambda: bedrock.get_async_invoke(invocationArn=arn))[0] == "ValidationException"
    assert quick.request("GET", "/_emulator/async").json == {"duration_s": 0.2, "max_running": None, "jobs": []}
