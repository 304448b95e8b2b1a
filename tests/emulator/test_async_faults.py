"""Misbehaviour of asynchronous calls. Each test looks into the journal that its fault struck."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from bedrock_emulator import expected_segments, expected_vectors

from .conftest import Running
from .test_async import BUCKET, CLIP, MARENGO, VIDEO, bedrock, finish, nova, quick, read, refusal, start
from .test_segments import NOVA, V3

__all__ = ["bedrock", "quick"]  # fixtures


def struck(emulator: Running) -> list[tuple[str, str, int | None]]:
    """Return operation, fault and status of the calls that were struck."""
    return [(row["op"], row["fault"], row["status"]) for row in emulator.journal() if row["fault"]]


def jobs(emulator: Running) -> Any:
    return emulator.request("GET", "/_emulator/async").json["jobs"]


def output(emulator: Running) -> dict[str, int]:
    """Return the files of the one call, with their sizes."""
    (bucket,) = emulator.request("GET", "/_emulator/buckets").json["buckets"]
    return {key.rpartition("/")[2]: size for key, size in bucket["objects"].items() if key.startswith("out/")}


def place(found: dict[str, Any]) -> str:
    where: str = found["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
    return where


@pytest.mark.parametrize(("answer", "status"), [("server_error", 500), ("throttle", 429), ("reset", None)])
def test_a_call_is_started_and_its_caller_does_not_hear_of_it(
    quick: Running, bedrock: Any, answer: str, status: int | None
) -> None:
    quick.fault(fault="async_lost", answer=answer, n=1)

    with pytest.raises((ClientError, ConnectionClosedError)):
        start(bedrock, clientRequestToken="token-1")

    assert struck(quick) == [("StartAsyncInvoke", "async_lost", status)]
    (job,) = jobs(quick)
    assert start(bedrock, clientRequestToken="token-1") == job["invocationArn"]
    assert len(jobs(quick)) == 1


def test_a_token_counts_as_used_for_something_else(quick: Running, bedrock: Any) -> None:
    quick.fault(fault="async_conflict", n=1)

    assert refusal(lambda: start(bedrock, clientRequestToken="token-1"))[0] == "ConflictException"

    assert struck(quick) == [("StartAsyncInvoke", "async_conflict", 400)]
    assert jobs(quick) == []


@pytest.mark.parametrize("message", ["The model could not make sense of it.", None])
def test_a_call_fails_with_a_reason_or_without(quick: Running, bedrock: Any, message: str | None) -> None:
    quick.fault(fault="async_end", message=message)
    found = finish(bedrock, start(bedrock))

    assert (found["status"], found.get("failureMessage")) == ("Failed", message)
    assert struck(quick) == [("StartAsyncInvoke", "async_end", 200)]
    assert set(output(quick)) == {"manifest.json"}


def test_a_call_never_ends(quick: Running, bedrock: Any) -> None:
    quick.fault(fault="async_end", status="InProgress", n=1)
    stuck, other = start(bedrock), start(bedrock)
    finish(bedrock, other)  # which was started later

    assert bedrock.get_async_invoke(invocationArn=stuck)["status"] == "InProgress"
    assert struck(quick) == [("StartAsyncInvoke", "async_end", 200)]


@pytest.mark.parametrize("status", ["InProgress", "Unknown"])
def test_a_call_is_told_of_with_another_status(quick: Running, bedrock: Any, status: str) -> None:
    arn = start(bedrock)
    finish(bedrock, arn)
    quick.fault(fault="async_status", status=status, n=1)

    told = bedrock.get_async_invoke(invocationArn=arn)

    assert (told["status"], "endTime" in told) == (status, False)
    assert struck(quick) == [("GetAsyncInvoke", "async_status", 200)]
    assert bedrock.get_async_invoke(invocationArn=arn)["status"] == "Completed"


def test_a_call_is_not_found_at_first(quick: Running, bedrock: Any) -> None:
    arn = start(bedrock)
    quick.fault(fault="async_status", status="NotFound", n=1)

    assert refusal(lambda: bedrock.get_async_invoke(invocationArn=arn))[0] == "ResourceNotFoundException"

    assert struck(quick) == [("GetAsyncInvoke", "async_status", 404)]
    assert finish(bedrock, arn)["status"] == "Completed"


def test_asking_is_throttled(quick: Running, bedrock: Any) -> None:
    arn = start(bedrock)
    quick.fault(fault="throttle", match={"op": "GetAsyncInvoke", "model": V3}, n=1)

    assert refusal(lambda: bedrock.get_async_invoke(invocationArn=arn))[0] == "ThrottlingException"

    assert struck(quick) == [("GetAsyncInvoke", "throttle", 429)]


def test_the_output_is_not_there(quick: Running, bedrock: Any) -> None:
    quick.fault(fault="async_output")
    found = finish(bedrock, start(bedrock))

    assert found["status"] == "Completed"
    assert output(quick) == {}
    assert struck(quick) == [("StartAsyncInvoke", "async_output", 200)]


def test_the_output_comes_late(quick: Running, bedrock: Any) -> None:
    quick.fault(fault="async_output", late_s=0.05)
    found = finish(bedrock, start(bedrock))
    assert output(quick) == {}

    for _ in range(10_000):  # each question is an answer of the emulator's one loop, so it gets on
        if output(quick):
            break
    assert json.loads(read(quick, f"{place(found)}/output.json"))["data"]
    assert struck(quick) == [("StartAsyncInvoke", "async_output", 200)]


@pytest.mark.parametrize("kind", ["empty", "truncated", "huge"])
@pytest.mark.parametrize(("model", "file"), [(V3, "output.json"), (NOVA, "embedding-audio-video.jsonl")])
def test_a_file_is_not_whole_or_too_large(quick: Running, bedrock: Any, kind: str, model: str, file: str) -> None:
    body = MARENGO[V3] if model == V3 else nova("AUDIO_VIDEO_COMBINED")
    where = place(finish(bedrock, start(bedrock, model, body)))
    whole = read(quick, f"{where}/{file}")
    quick.request("DELETE", "/_emulator/async")
    quick.post("async", {"duration_s": 0})
    quick.fault(fault="async_output", kind=kind, size_mb=64)

    where = place(finish(bedrock, start(bedrock, model, body)))

    got = quick.client("s3").get_object(Bucket=BUCKET, Key=f"{where.removeprefix(f's3://{BUCKET}/')}/{file}")
    sizes = {"empty": 0, "truncated": len(whole) // 2, "huge": 64 * 1024 * 1024}
    assert got["ContentLength"] == sizes[kind]
    assert whole.startswith(got["Body"].read(min(sizes[kind], len(whole))))
    got["Body"].close()
    assert struck(quick) == [("StartAsyncInvoke", "async_output", 200)]


@pytest.mark.parametrize(("kind", "change"), [("fewer", -1), ("more", 1)])
def test_segments_are_too_few_or_too_many(quick: Running, bedrock: Any, kind: str, change: int) -> None:
    quick.fault(fault="async_output", kind=kind)
    where = place(finish(bedrock, start(bedrock)))

    data = json.loads(read(quick, f"{where}/output.json"))["data"]
    assert len(data) == len(expected_segments(V3, MARENGO[V3], {CLIP: VIDEO})) + change
    assert struck(quick) == [("StartAsyncInvoke", "async_output", 200)]


def test_vectors_are_those_of_something_else(quick: Running, bedrock: Any) -> None:
    quick.fault(fault="async_output", kind="foreign")
    where = place(finish(bedrock, start(bedrock)))

    found = [row["embedding"] for row in json.loads(read(quick, f"{where}/output.json"))["data"]]
    true = expected_vectors(V3, MARENGO[V3], {CLIP: VIDEO})
    assert len(found) == len(true)
    assert all(a != b for a, b in zip(found, true, strict=True))
    assert struck(quick) == [("StartAsyncInvoke", "async_output", 200)]


@pytest.mark.parametrize(
    ("kind", "status", "segments"),
    [("partial", "PARTIAL_SUCCESS", ["SUCCESS", "FAILURE"] * 2), ("failed", "FAILURE", ["FAILURE"] * 4)],
)
def test_segments_of_nova_fail(quick: Running, bedrock: Any, kind: str, status: str, segments: list[str]) -> None:
    quick.fault(fault="async_output", kind=kind)
    where = place(finish(bedrock, start(bedrock, NOVA, nova("AUDIO_VIDEO_COMBINED"))))

    (result,) = json.loads(read(quick, f"{where}/segmented-embedding-result.json"))["embeddingResults"]
    rows = [json.loads(line) for line in read(quick, result["outputFileUri"]).splitlines()]
    assert (result["status"], result["failureReason"]) == (status, "INTERNAL_SERVER_EXCEPTION")
    assert [row["status"] for row in rows] == segments
    assert all(("embedding" in row) == (row["status"] == "SUCCESS") for row in rows)
    assert all(row["message"] for row in rows if row["status"] == "FAILURE")
    assert struck(quick) == [("StartAsyncInvoke", "async_output", 200)]


@pytest.mark.parametrize(
    ("fault", "member"),
    [
        ({"fault": "async_lost", "answer": "yes"}, "answer"),
        ({"fault": "async_end", "status": "Completed"}, "status"),
        ({"fault": "async_output", "kind": "odd"}, "kind"),
        ({"fault": "async_output", "kind": "empty", "late_s": 1}, "late_s"),
        ({"fault": "async_status", "match": {"op": "StartAsyncInvoke"}}, "match.op"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(emulator: Running, fault: dict[str, Any], member: str) -> None:
    answer = emulator.post("faults", fault)

    assert (answer.status, answer.json["message"].partition(":")[0]) == (400, member)
