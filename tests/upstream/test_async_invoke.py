"""StartAsyncInvoke and GetAsyncInvoke: what goes out, and what the answers say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from embedrock.errors import InvalidUpstream
from embedrock.upstream.async_invoke import (
    Invocation,
    path_of,
    read_invocation,
    read_started,
    start_body,
)

ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdef123456"
MODEL = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-2-multimodal-embeddings-v1:0"


def told(**members: Any) -> bytes:
    return json.dumps(
        {
            "invocationArn": ARN,
            "modelArn": MODEL,
            "status": "Completed",
            "submitTime": "2026-01-02T03:04:05.123Z",
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://out/embeddings/abcdef123456"}},
            **members,
        }
    ).encode()


def test_the_body_of_the_model_goes_in_as_it_is_with_the_folder_and_the_token() -> None:
    body = json.loads(start_body("model", b'{"inputType":"text"}', "s3://out/embeddings", "token", "123456789012"))

    assert body == {
        "modelId": "model",
        "modelInput": {"inputType": "text"},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://out/embeddings", "bucketOwner": "123456789012"}},
        "clientRequestToken": "token",
    }


def test_an_owner_that_nobody_knows_is_not_sent() -> None:
    assert b"bucketOwner" not in start_body("model", b"{}", "s3://out", "token")


def test_the_arn_is_one_segment_of_the_path() -> None:
    assert path_of(ARN) == (
        "/async-invoke/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aasync-invoke%2Fabcdef123456"
    )


def test_a_started_job_is_known_by_its_arn() -> None:
    assert read_started(json.dumps({"invocationArn": ARN}).encode()) == ARN


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"invocationArn":"x"}', b'{"invocationArn":null}'])
def test_a_start_that_names_no_job_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidUpstream):
        read_started(body)


def test_what_bedrock_tells_of_a_job_is_read() -> None:
    assert read_invocation(told(endTime="2026-01-02T03:05:05Z")) == Invocation(
        "completed",
        "s3://out/embeddings/abcdef123456",
        "amazon.nova-2-multimodal-embeddings-v1:0",
        None,
        1767323045.123,
        1767323105.0,
    )


@pytest.mark.parametrize(
    ("status", "state"),
    [("InProgress", "running"), ("Completed", "completed"), ("Failed", "failed"), ("Unknown", "running")],
)
def test_a_state_that_nobody_knows_counts_as_running(status: str, state: str) -> None:
    assert read_invocation(told(status=status)).state == state


def test_times_may_be_numbers_or_absent_or_odd() -> None:
    assert read_invocation(told(submitTime=5.5)).submitted == 5.5
    assert read_invocation(told(submitTime=None)).submitted == 0.0
    assert read_invocation(told(submitTime="yesterday")).submitted == 0.0


def test_why_a_job_failed_is_told_without_arns_uris_and_accounts() -> None:
    message = f"Job {ARN} could not read s3://media/clip.mp4 of 123456789012:\n\x07 the video is corrupt. " + "x" * 500

    shown = read_invocation(told(status="Failed", failureMessage=message)).message

    assert shown is not None
    assert shown.startswith("Job … could not read … of …: the video is corrupt.")
    assert len(shown) <= 300


def test_a_failure_without_a_word_has_no_message() -> None:
    assert read_invocation(told(status="Failed", failureMessage="")).message is None


@pytest.mark.parametrize("body", [b"", b"{}", told(status=5), told(outputDataConfig={}), b"\xff"])
def test_an_answer_that_tells_of_no_job_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidUpstream):
        read_invocation(body)
