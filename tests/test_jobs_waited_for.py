"""Requests that need jobs of Bedrock's and wait for them: sound, film and long text, in segments, in one answer."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.job_files import wav, wav_uri

from bedrock_emulator import expected_segments

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway, StartGateway

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
BUCKET = "embedrock-emulator"
BUCKETS = json.dumps({"us-east-1": BUCKET})


@pytest.fixture
def gateway(gateway_with: StartGateway, emulator: Emulator) -> Gateway:
    """A gateway with a bucket, and an emulator that nobody has asked anything."""
    del emulator
    return gateway_with(AWS_S3_REGIONAL_BUCKETS=BUCKETS)


@pytest.fixture(autouse=True)
def _fresh(emulator: Emulator) -> None:
    emulator.clear()


def takes(emulator: Emulator, **settings: float) -> None:
    """Say how long jobs take, and how many there may be."""
    answer = emulator.request("POST", "/_emulator/async", json.dumps(settings).encode())
    assert answer.status == 200, answer.body


def started(emulator: Emulator) -> list[dict[str, Any]]:
    """Return what the jobs were started with."""
    return emulator.bodies("StartAsyncInvoke")


def objects(client: Any, bucket: str = BUCKET) -> list[str]:
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]


def emptied(client: Any) -> bool:
    """Return whether the gateway's bucket gets empty; the gateway tidies up after it has answered."""
    return any(not objects(client) for _ in range(500))


def segments(model: str, body: Mapping[str, Any], files: Mapping[str, bytes]) -> list[list[float]]:
    return [entry["embedding"] for entry in expected_segments(model, dict(body), files)]


def check_data(items: list[dict[str, Any]], index: int, vectors: list[list[float]]) -> None:
    """Check that the items of an input are these vectors."""
    assert [item["embedding"] for item in items if item["index"] == index] == vectors


def test_sound_among_texts_is_answered_with_its_clips_in_place(
    gateway: Gateway, emulator: Emulator, expected: Expected, media_bucket: Any
) -> None:
    body = {"model": MARENGO_3, "input": ["before", wav_uri(12), "after"], "duration_seconds": 4}

    answer = gateway.embed(body)

    items = answer.items()
    (start,) = started(emulator)
    assert start["modelId"] == MARENGO_3
    vectors = segments(MARENGO_3, start["modelInput"], {})
    assert len(vectors) == 6
    check_data(items, 1, vectors)
    assert [item["index"] for item in items] == [0, *[1] * 6, 2]
    assert [items[0]["embedding"], items[-1]["embedding"]] == expected(MARENGO_3, ["before", "after"])
    assert items[1]["segment"] == {"start_sec": 0.0, "end_sec": 4.0, "option": "audio", "scope": "clip"}
    assert "segment" not in items[0]
    assert emptied(media_bucket)


def test_nova_cuts_sound_that_is_sent_inline(gateway: Gateway, emulator: Emulator, media_bucket: Any) -> None:
    sound = wav(12)
    uri = f"data:audio/wav;base64,{b64encode(sound).decode()}"

    answer = gateway.embed({"model": NOVA, "input": uri, "duration_seconds": 5, "dimensions": 256})

    (start,) = started(emulator)
    params = start["modelInput"]["segmentedEmbeddingParams"]
    where = params["audio"]["source"]["s3Location"]["uri"]
    assert where.startswith(f"s3://{BUCKET}/embedrock/staged/")
    check_data(answer.items(), 0, segments(NOVA, start["modelInput"], {where: sound}))
    assert [item["segment"] for item in answer.items()] == [
        {"start_sec": 0.0, "end_sec": 5.0},
        {"start_sec": 5.0, "end_sec": 10.0},
        {"start_sec": 10.0, "end_sec": 12.0},
    ]
    assert {len(item["embedding"]) for item in answer.items()} == {256}
    assert emptied(media_bucket)


def test_nova_cuts_text_that_is_longer_than_a_call_takes(gateway: Gateway, emulator: Emulator) -> None:
    text = "A long story about a short dog. " * 2000

    refused = gateway.embed({"model": NOVA, "input": text})
    answer = gateway.embed({"model": NOVA, "input": ["short", text], "max_length_chars": 20_000, "dimensions": 256})

    assert refused.refusal() == ("input", "context_length_exceeded")
    items = answer.items()
    assert [item["index"] for item in items] == [0, 1, 1, 1, 1]
    assert items[1]["segment"]["start_char"] == 0
    assert items[-1]["segment"]["end_char"] == len(text)
    assert len(started(emulator)) == 2


def test_a_clip_that_a_call_refuses_as_too_long_goes_as_a_job(gateway: Gateway, emulator: Emulator) -> None:
    """Nobody looks into it before: how long it is, Bedrock says."""
    answer = gateway.embed({"model": NOVA, "input": ["a", wav_uri(40), wav_uri(3)], "dimensions": 256})

    items = answer.items()
    assert [item["index"] for item in items] == [0, *[1] * 8, 2]
    assert items[8]["segment"] == {"start_sec": 35.0, "end_sec": 40.0}
    assert len(started(emulator)) == 1


def test_calls_of_many_clips_are_counted_once(gateway: Gateway, emulator: Emulator) -> None:
    """There are more than go at once."""
    answer = gateway.embed({"model": NOVA, "input": [wav_uri(1 + number % 3) for number in range(25)]})

    assert answer.status == 200, answer.body[:500]
    assert len(emulator.bodies("InvokeModel")) == 25
    assert answer.headers["x-embedrock-upstream-calls"] == "25"


def test_a_clip_that_is_to_have_one_vector_is_refused_when_it_is_too_long(gateway: Gateway, emulator: Emulator) -> None:
    answer = gateway.embed({"model": NOVA, "input": wav_uri(40), "segmentation": False})

    assert answer.refusal() == ("input", None)
    assert started(emulator) == []


def test_objects_in_s3_go_to_the_job_by_their_names(gateway: Gateway, emulator: Emulator, media_bucket: Any) -> None:
    sound = wav(9)
    media_bucket.put_object(Bucket="media", Key="a/sound.wav", Body=sound)

    for model, asked in ((NOVA, {"duration_seconds": 3, "dimensions": 256}), (MARENGO_2, {}), (MARENGO_3, {})):
        answer = gateway.embed({"model": model, "input": "s3://media/a/sound.wav", **asked})

        start = started(emulator)[-1]
        assert "s3://media/a/sound.wav" in json.dumps(start["modelInput"])
        check_data(answer.items(), 0, segments(model, start["modelInput"], {"s3://media/a/sound.wav": sound}))

    assert objects(media_bucket, "media") == ["a/sound.wav"]
    assert emptied(media_bucket)


def test_a_profile_is_called_by_its_model(gateway: Gateway, emulator: Emulator) -> None:
    answer = gateway.embed({"model": f"bedrock/us.{MARENGO_2}", "input": wav_uri(3), "embedding_option": ["audio"]})

    assert len(answer.items()) == 1
    assert [start["modelId"] for start in started(emulator)] == [MARENGO_2]
    assert len(started(emulator)[0]["clientRequestToken"]) == 32


def test_packed_answers_hold_segments_too(gateway: Gateway, emulator: Emulator) -> None:
    body = {"model": MARENGO_3, "input": wav_uri(5), "encoding_format": "base64"}

    items = gateway.embed(body).items()

    assert all(isinstance(item["embedding"], str) and item["segment"] for item in items)
    assert len(started(emulator)) == 1


def test_seconds_are_billed_and_tokens_are_an_estimate(gateway: Gateway) -> None:
    answer = gateway.embed({"model": MARENGO_3, "input": ["four", wav_uri(5)]})

    assert answer.headers["x-embedrock-usage"] == "estimated"
    assert answer.json()["usage"] == {"prompt_tokens": 1, "total_tokens": 1}


def test_a_folder_of_the_callers_keeps_the_results(gateway: Gateway, emulator: Emulator, media_bucket: Any) -> None:
    body = {"model": MARENGO_3, "input": wav_uri(5), "output_s3_uri": "s3://media/out/"}

    answer = gateway.embed(body)

    (start,) = started(emulator)
    assert start["outputDataConfig"] == {"s3OutputDataConfig": {"s3Uri": "s3://media/out"}}
    kept = objects(media_bucket, "media")
    assert {key.rpartition("/")[2] for key in kept} == {"manifest.json", "output.json"}
    file = json.loads(
        media_bucket.get_object(Bucket="media", Key=next(key for key in kept if "output" in key))["Body"].read()
    )
    check_data(answer.items(), 0, [entry["embedding"] for entry in file["data"]])


def test_as_many_jobs_run_as_aws_lets_run_and_the_others_wait(gateway: Gateway, emulator: Emulator) -> None:
    takes(emulator, duration_s=0.05, max_running=1)

    answer = gateway.embed({"model": MARENGO_3, "input": [wav_uri(2), wav_uri(3), wav_uri(4)]})

    refused = [row for row in emulator.journal() if row["op"] == "StartAsyncInvoke" and row["status"] == 400]
    assert refused, "the quota was met"
    assert {item["index"] for item in answer.items()} == {0, 1, 2}


# ---------------------------------------------------------------- refused before anything is sent


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"model": MARENGO_3, "input": ["a", wav_uri(1)]}, "input[1]", "s3_bucket_missing"),
        ({"model": NOVA, "input": wav_uri(1), "duration_seconds": 1}, "input", "s3_bucket_missing"),
        (
            {"model": NOVA, "input": "a", "segmentation": True, "output_s3_uri": "s3://media/out"},
            "input",
            "s3_bucket_missing",
        ),
    ],
)
def test_without_a_bucket_the_setting_is_named(
    gateway_with: StartGateway, emulator: Emulator, body: dict[str, Any], param: str, code: str
) -> None:
    answer = gateway_with().embed(body)

    assert answer.refusal() == (param, code)
    assert "AWS_S3_REGIONAL_BUCKETS" in answer.error()["message"]
    assert emulator.journal() == []


def test_a_clip_too_long_for_a_call_is_told_of_the_bucket(gateway_with: StartGateway) -> None:
    answer = gateway_with().embed({"model": NOVA, "input": wav_uri(31)})

    assert (answer.status, answer.error()["param"]) == (400, "input")
    assert "AWS_S3_REGIONAL_BUCKETS in us-east-1" in answer.error()["message"]


def test_a_bucket_that_is_not_there_is_the_operators_fault(gateway_with: StartGateway, tmp_path: Path) -> None:
    """Waited for it is a 503; in the background the job says so, and the log."""
    buckets = '{"us-east-1": "not-there-at-all"}'
    gateway = gateway_with(AWS_S3_REGIONAL_BUCKETS=buckets, EMBEDROCK_DATABASE_URL=f"sqlite:///{tmp_path / 'db'}")
    body = {"model": MARENGO_3, "input": wav_uri(12)}

    waited = gateway.embed(body)
    begun = gateway.embed({**body, "background": True})
    path = f"/v1/batches/{begun.json()['data'][0]['batch']['id']}"
    until = time.monotonic() + 20
    while (batch := gateway.request("GET", path).json())["status"] == "in_progress" and time.monotonic() < until:
        time.sleep(0.05)

    assert (waited.status, waited.error()["code"]) == (503, "s3_bucket_unusable")
    assert batch["status"] == "failed"
    assert "AWS_S3_REGIONAL_BUCKETS" in batch["metadata"]["failure_message"]


def test_a_folder_for_results_lies_where_callers_may_write(gateway_with: StartGateway, emulator: Emulator) -> None:
    gateway = gateway_with(AWS_S3_REGIONAL_BUCKETS=BUCKETS, EMBEDROCK_S3_PREFIXES="s3://media/mine")

    answer = gateway.embed({"model": MARENGO_3, "input": wav_uri(1), "output_s3_uri": "s3://media/yours"})

    assert (answer.status, answer.error()["param"], answer.error()["code"]) == (
        403,
        "output_s3_uri",
        "s3_access_denied",
    )
    assert emulator.journal() == []


@pytest.mark.parametrize("place", ["s3://media", "s3://media/", "s3://media/sound.wav"])
def test_results_are_not_put_into_the_root_of_a_bucket_or_over_an_input(
    gateway: Gateway, emulator: Emulator, place: str
) -> None:
    body = {"model": MARENGO_3, "input": ["a", "s3://media/sound.wav"], "output_s3_uri": place}

    assert gateway.embed(body).refusal() == ("output_s3_uri", "invalid_output_location")
    assert gateway.embed(body | {"background": True}).refusal() == ("output_s3_uri", "invalid_output_location")
    assert emulator.journal() == []


@pytest.mark.parametrize(
    "members", [{"bucketOwner": "123456789012"}, {"kmsKeyId": "alias/x"}, {"tags": [{"key": "a", "value": "b"}]}]
)
def test_whose_bucket_it_is_and_how_it_is_locked_is_the_operators_to_say(
    gateway: Gateway, emulator: Emulator, members: dict[str, Any]
) -> None:
    body = {"model": MARENGO_3, "input": wav_uri(1), "output_s3_uri": "s3://media/out", **members}

    assert gateway.embed(body).refusal() == (next(iter(members)), "unsupported_parameter")
    assert emulator.journal() == []


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"segmentation": "dynamic"}, "segmentation"),
        ({"duration_seconds": 11}, "duration_seconds"),
        ({"start_sec": 4, "end_sec": 4}, "end_sec"),
        ({"output_s3_uri": "bucket/folder"}, "output_s3_uri"),
    ],
)
def test_what_contradicts_itself_is_refused(
    gateway: Gateway, emulator: Emulator, members: dict[str, Any], param: str
) -> None:
    assert gateway.embed({"model": MARENGO_3, "input": wav_uri(1), **members}).refusal() == (param, "invalid_value")
    assert emulator.journal() == []


# ---------------------------------------------------------------- what goes wrong


def test_a_job_that_fails_fails_the_request_and_leaves_nothing(
    gateway: Gateway, emulator: Emulator, media_bucket: Any
) -> None:
    """The emulator finds out while it runs that the sound ends before it is to begin."""
    answer = gateway.embed({"model": MARENGO_3, "input": ["a", wav_uri(3)], "start_sec": 50})

    assert (answer.status, answer.error()["code"], answer.error()["param"]) == (502, "job_failed", "input[1]")
    assert answer.headers["x-should-retry"] == "false"
    assert len(started(emulator)) == 1
    assert emptied(media_bucket)


def test_a_request_whose_time_passes_says_so_and_leaves_nothing(
    gateway: Gateway, emulator: Emulator, media_bucket: Any
) -> None:
    takes(emulator, duration_s=60)

    answer = gateway.embed({"model": NOVA, "input": wav_uri(3), "duration_seconds": 1}, {"x-request-timeout-ms": "600"})

    assert (answer.status, answer.error()["code"]) == (504, "upstream_timeout")
    assert len(started(emulator)) == 1
    assert all("/input" not in key for key in objects(media_bucket)) or emptied(media_bucket)


def test_a_caller_who_hangs_up_stops_the_waiting(gateway: Gateway, emulator: Emulator, media_bucket: Any) -> None:
    takes(emulator, duration_s=60)

    with gateway.asked({"model": NOVA, "input": wav_uri(3), "duration_seconds": 1}):
        assert any(started(emulator) for _ in range(500))

    assert any(not any("/input" in key for key in objects(media_bucket)) for _ in range(500))
    looks = len([row for row in emulator.journal() if row["op"] == "GetAsyncInvoke"])
    gateway.embed({"model": MARENGO_3, "input": "something else"})
    assert len([row for row in emulator.journal() if row["op"] == "GetAsyncInvoke"]) == looks
