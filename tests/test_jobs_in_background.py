"""Jobs in the background: answered at once, told by OpenAI's batches and files, and never lost or started twice."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
import openai
import pytest
from tests.job_files import wav, wav_uri

from bedrock_emulator import expected_segments

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Expected, Gateway, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
BUCKET = "embedrock-emulator"
BUCKETS = json.dumps({"us-east-1": BUCKET})
DEADLINE_S = 60.0


@pytest.fixture
def start(start_gateway: StartGateway, emulator: Emulator, tmp_path: Path) -> Callable[..., Gateway]:
    """Start a gateway with a bucket; all of a test have one database."""

    def start(**environ: str) -> Gateway:
        usual = {
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url,
            "AWS_ENDPOINT_URL_S3": emulator.url,
            "AWS_S3_REGIONAL_BUCKETS": BUCKETS,
            "EMBEDROCK_DATABASE_URL": f"sqlite:///{tmp_path / 'jobs.db'}",
        }
        return start_gateway(**(usual | environ))

    return start


@pytest.fixture
def gateway(gateway_with: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """A gateway that these tests share."""
    directory = tmp_path_factory.getbasetemp() / "shared-jobs"
    directory.mkdir(exist_ok=True)
    return gateway_with(AWS_S3_REGIONAL_BUCKETS=BUCKETS, EMBEDROCK_DATABASE_URL=f"sqlite:///{directory / 'jobs.db'}")


def takes(emulator: Emulator, **settings: float) -> None:
    """Say how long jobs take, and how many there may be."""
    assert emulator.request("POST", "/_emulator/async", json.dumps(settings).encode()).status == 200


def accepted(answer: Answer) -> list[dict[str, Any]]:
    """Return the batches of an answer, after checking what is around them."""
    assert answer.status == 202, answer.body[:500]
    members = answer.json()
    assert members.keys() == {"object", "data", "model", "usage"}
    assert [item["index"] for item in members["data"]] == list(range(len(members["data"])))
    assert all(item["object"] == "embedding" and item["embedding"] == [] for item in members["data"])
    return [item["batch"] for item in members["data"]]


def batch(gateway: Gateway, id_: str, key: str | None = None) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = gateway.request("GET", f"/v1/batches/{quote(id_, safe='')}", headers=headers)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def ended(gateway: Gateway, id_: str, key: str | None = None) -> dict[str, Any]:
    """Return a batch that has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while (found := batch(gateway, id_, key))["status"] == "in_progress":
        assert time.monotonic() < deadline, "the job did not end in time"
        time.sleep(0.05)
    return found


def lines(gateway: Gateway, file: str) -> list[dict[str, Any]]:
    answer = gateway.request("GET", f"/v1/files/{file}/content")
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in answer.body.splitlines()]


def starts(emulator: Emulator) -> list[dict[str, Any]]:
    return [row for row in emulator.journal() if row["op"] == "StartAsyncInvoke" and row["status"] == 200]


def segments(emulator: Emulator, model: str, id_: str, files: dict[str, bytes]) -> list[list[float]]:
    """Return what the job of a batch must find."""
    (body,) = [body for body in emulator.bodies("StartAsyncInvoke") if body["clientRequestToken"] == id_]
    return [entry["embedding"] for entry in expected_segments(model, body["modelInput"], files)]


# ---------------------------------------------------------------- answered at once, told later


def test_each_input_is_a_batch_whose_file_has_its_vectors(
    gateway: Gateway, emulator: Emulator, expected: Expected
) -> None:
    answer = gateway.embed({"model": MARENGO_3, "input": [wav_uri(7), "a text"], "background": True})

    sound, text = accepted(answer)
    assert answer.headers["x-embedrock-region"] == "us-east-1"
    assert (sound["object"], sound["endpoint"], sound["status"]) == ("batch", "/v1/embeddings", "in_progress")
    assert answer.json()["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    of_sound, of_text = ended(gateway, sound["id"]), ended(gateway, text["id"])
    assert (of_sound["status"], of_text["status"]) == ("completed", "completed")
    assert of_sound["created_at"] <= of_sound["in_progress_at"] <= of_sound["completed_at"]
    assert of_sound["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    assert of_sound["metadata"]["output_file_id"] == of_sound["output_file_id"]
    found = lines(gateway, of_sound["output_file_id"])
    assert [line["embedding"] for line in found] == segments(emulator, MARENGO_3, sound["id"], {})
    assert all(line["object"] == "embedding" and line["index"] == 0 and line["segment"] for line in found)
    (line,) = lines(gateway, of_text["output_file_id"])
    assert line == {"object": "embedding", "index": 1, "embedding": expected(MARENGO_3, ["a text"])[0]}


def test_the_official_client_reads_batches_and_files(gateway: Gateway, emulator: Emulator) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any") as client:
        raw = client.embeddings.with_raw_response.create(
            model=f"bedrock/async_invoke/us.{MARENGO_2}", input=[wav_uri(3)], encoding_format="float"
        )
        (job,) = [item["batch"] for item in json.loads(raw.content)["data"]]
        ended(gateway, job["id"])

        found = client.batches.retrieve(job["id"])
        assert found.output_file_id is not None
        content = client.files.content(found.output_file_id).text

    assert (raw.status_code, found.status, found.completed_at is not None) == (202, "completed", True)
    assert [json.loads(line)["embedding"] for line in content.splitlines()] == segments(
        emulator, MARENGO_2, job["id"], {}
    )


def test_nova_reads_what_was_inline_from_the_gateways_bucket(
    gateway: Gateway, emulator: Emulator, media_bucket: Any
) -> None:
    body = {"model": NOVA, "input": [wav_uri(9), "words " * 500], "dimensions": 256, "background": True}

    jobs = accepted(gateway.embed(body | {"duration_seconds": 4, "max_length_chars": 900}))

    for job, content in zip(jobs, (wav(9), ("words " * 500).encode()), strict=True):
        done = ended(gateway, job["id"])
        (sent,) = [b for b in emulator.bodies("StartAsyncInvoke") if b["clientRequestToken"] == job["id"]]
        params = sent["modelInput"]["segmentedEmbeddingParams"]
        uri = next(value["source"]["s3Location"]["uri"] for value in params.values() if isinstance(value, dict))
        key = uri.removeprefix(f"s3://{BUCKET}/")
        assert media_bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read() == content
        found = [line["embedding"] for line in lines(gateway, done["output_file_id"])]
        assert found == segments(emulator, NOVA, job["id"], {uri: content})


def test_a_long_file_is_streamed_and_asked_for_by_its_head(gateway: Gateway, emulator: Emulator) -> None:
    (job,) = accepted(
        gateway.embed({"model": MARENGO_3, "input": wav_uri(40), "duration_seconds": 1, "background": True})
    )
    file = ended(gateway, job["id"])["output_file_id"]

    head = gateway.request("HEAD", f"/v1/files/{file}/content")
    answer = gateway.request("GET", f"/v1/files/{file}/content")

    assert (head.status, head.body) == (200, b"")
    assert "content-length" not in answer.headers
    assert answer.headers["x-request-id"].startswith("req_")
    found = [json.loads(line)["embedding"] for line in answer.body.splitlines()]
    assert len(found) == 80
    assert found == segments(emulator, MARENGO_3, job["id"], {})


def test_packed_vectors_are_packed_in_the_file_too(gateway: Gateway) -> None:
    (job,) = accepted(
        gateway.embed({"model": MARENGO_3, "input": "a", "background": True, "encoding_format": "base64"})
    )

    (line,) = lines(gateway, ended(gateway, job["id"])["output_file_id"])

    assert isinstance(line["embedding"], str)


def test_a_folder_of_the_callers_is_told_and_kept(gateway: Gateway, media_bucket: Any) -> None:
    body = {"model": MARENGO_3, "input": wav_uri(2), "background": True, "output_s3_uri": "s3://media/out"}

    (job,) = accepted(gateway.embed(body))
    done = ended(gateway, job["id"])

    folder = done["metadata"]["output_file_id"]
    assert folder.startswith("s3://media/out/")
    keys = [entry["Key"] for entry in media_bucket.list_objects_v2(Bucket="media")["Contents"]]
    assert f"{folder.removeprefix('s3://media/')}/output.json" in keys
    assert lines(gateway, done["output_file_id"])


def test_a_job_that_fails_says_why(gateway: Gateway) -> None:
    (job,) = accepted(gateway.embed({"model": MARENGO_3, "input": wav_uri(2), "start_sec": 60, "background": True}))

    done = ended(gateway, job["id"])

    assert (done["status"], done["output_file_id"]) == ("failed", None)
    assert done["metadata"]["failure_message"]
    assert done["errors"]["data"][0]["code"] == "job_failed"
    assert done["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    assert gateway.request("GET", f"/v1/files/file-{job['id'].removeprefix('batch_')}/content").status == 404


def test_jobs_are_counted(start: Callable[..., Gateway]) -> None:
    gateway = start()
    (job,) = accepted(gateway.embed({"model": MARENGO_3, "input": "a", "background": True}))
    ended(gateway, job["id"])

    assert gateway.metric("embedrock_jobs_total", model=MARENGO_3, state="accepted") == 1
    assert gateway.metric("embedrock_jobs_total", model=MARENGO_3, state="completed") == 1
    assert gateway.metric("embedrock_job_seconds_count", model=MARENGO_3) == 1
    assert gateway.metric("embedrock_inputs_total", model=MARENGO_3) == 1


# ---------------------------------------------------------------- whose they are


def test_another_keys_job_is_one_there_is_not(start: Callable[..., Gateway]) -> None:
    gateway = start(EMBEDROCK_API_KEY="one,two")
    mine, others = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
    (job,) = accepted(gateway.embed({"model": MARENGO_3, "input": "a", "background": True}, mine))
    done = ended(gateway, job["id"], "one")
    missing = gateway.request("GET", f"/v1/batches/batch_{'0' * 32}", headers=others)

    for method, path in (
        ("GET", f"/v1/batches/{job['id']}"),
        ("POST", f"/v1/batches/{job['id']}/cancel"),
        ("GET", f"/v1/files/{done['output_file_id']}/content"),
    ):
        answer = gateway.request(method, path, headers=others)
        assert (answer.status, answer.body) == (404, missing.body)
        assert gateway.request(method, path).status == 401
    assert gateway.request("GET", f"/v1/files/{done['output_file_id']}/content", headers=mine).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/batches/batch_1",
        "/v1/batches/..%2f..%2fx",
        "/v1/batches/arn:aws:iam::123456789012:role/x",
        "/v1/files/file-1/content",
        "/v1/files/s3%3A%2F%2Fbucket%2Fkey/content",
    ],
)
def test_what_is_no_name_of_a_job_is_not_there(gateway: Gateway, path: str) -> None:
    assert gateway.request("GET", path).status == 404


def test_bedrocks_own_jobs_are_told_by_their_arns_to_a_lone_operator(
    start: Callable[..., Gateway], emulator: Emulator
) -> None:
    emulator.bucket("media")
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=emulator.url,
        region_name="us-east-1",
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="test-secret",
    )
    try:
        arn = client.start_async_invoke(
            modelId=MARENGO_2,
            modelInput={"inputType": "text", "inputText": "hello"},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://media/mine"}},
        )["invocationArn"]
    finally:
        client.close()
    alone, shared = start(), start(EMBEDROCK_API_KEY="one,two")
    raw = alone.request("GET", f"/v1/batches/{arn}")

    done = ended(alone, arn)

    assert raw.status == 200
    assert (done["id"], done["status"], done["model"]) == (arn, "completed", MARENGO_2)
    assert done["metadata"]["output_file_id"].startswith("s3://media/mine/")
    path = f"/v1/batches/{quote(arn, safe='')}"
    assert shared.request("GET", path, headers={"authorization": "Bearer one"}).status == 404
    for other in (arn[:-1] + ("1" if arn.endswith("0") else "0"), arn.replace("us-east-1", "eu-west-1")):
        assert alone.request("GET", f"/v1/batches/{quote(other, safe='')}").status == 404


# ---------------------------------------------------------------- cancelled


def test_a_job_can_be_cancelled_until_it_ends(gateway: Gateway, emulator: Emulator) -> None:
    takes(emulator, duration_s=60)
    (job,) = accepted(gateway.embed({"model": MARENGO_3, "input": "a", "background": True}))

    cancelled = gateway.request("POST", f"/v1/batches/{job['id']}/cancel")
    again = gateway.request("POST", f"/v1/batches/{job['id']}/cancel")

    assert (cancelled.status, cancelled.json()["status"]) == (200, "cancelled")
    assert batch(gateway, job["id"])["cancelled_at"] is not None
    assert again.status == 200, "whoever asks twice has what they want"
    assert len(starts(emulator)) <= 1


def test_a_job_that_is_completed_is_not_cancelled(gateway: Gateway) -> None:
    (job,) = accepted(gateway.embed({"model": MARENGO_3, "input": "a", "background": True}))
    ended(gateway, job["id"])

    answer = gateway.request("POST", f"/v1/batches/{job['id']}/cancel")

    assert answer.refusal() == ("id", "invalid_value")


# ---------------------------------------------------------------- never lost, never twice


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_gateway_that_starts_goes_on_with_what_another_left(
    start: Callable[..., Gateway], emulator: Emulator, how: signal.Signals
) -> None:
    _goes_on(start, emulator, how)


def test_so_it_is_where_the_database_is_postgresql(
    start: Callable[..., Gateway], emulator: Emulator, postgres_url: str
) -> None:
    def start_there() -> Gateway:
        return start(EMBEDROCK_DATABASE_URL=postgres_url, EMBEDROCK_KEY_SECRET="a secret of thirty-two letters, here")

    _goes_on(start_there, emulator, signal.SIGKILL)


def _goes_on(start: Callable[..., Gateway], emulator: Emulator, how: signal.Signals) -> None:
    takes(emulator, duration_s=1)
    first = start()
    jobs = accepted(first.embed({"model": MARENGO_3, "input": ["a", wav_uri(2), "c"], "background": True}))
    os.kill(first.pid, how)
    first.wait()

    second = start()

    assert {ended(second, job["id"])["status"] for job in jobs} == {"completed"}
    tokens = [json.loads(row["request_body"])["clientRequestToken"] for row in starts(emulator)]
    assert set(tokens) == {job["id"] for job in jobs}
    known = json.loads(emulator.request("GET", "/_emulator/async").body)["jobs"]
    assert len(known) == 3, "each was started once"


def test_jobs_over_awss_quota_wait_and_end(gateway: Gateway, emulator: Emulator) -> None:
    takes(emulator, duration_s=0.1, max_running=1)

    jobs = accepted(gateway.embed({"model": MARENGO_3, "input": ["a", "b", "c"], "background": True}))

    assert {ended(gateway, job["id"])["status"] for job in jobs} == {"completed"}
    refused = [row for row in emulator.journal() if row["op"] == "StartAsyncInvoke" and row["status"] == 400]
    assert refused, "the quota was met"


def test_bedrock_may_be_away_for_a_while(start: Callable[..., Gateway], emulator: Emulator) -> None:
    gateway = start()
    emulator.fault("server_error", n=3)

    (job,) = accepted(gateway.embed({"model": MARENGO_3, "input": "a", "background": True}))

    assert ended(gateway, job["id"])["status"] == "completed"
    assert emulator.fired() == 3


# ---------------------------------------------------------------- refused before anything is accepted


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"model": f"async_invoke/{MARENGO_3}", "input": ["a", ""]}, "input[1]", "empty_input"),
        ({"model": f"async_invoke/{TITAN}", "input": "a"}, "model", "model_not_supported"),
        (
            {"model": "amazon.titan-embed-text-v2:0", "input": "a", "background": True},
            "background",
            "unsupported_parameter",
        ),
        ({"model": MARENGO_3, "input": "a", "background": "yes"}, "background", "invalid_type"),
    ],
)
def test_what_cannot_be_a_job_is_refused(
    gateway: Gateway, emulator: Emulator, body: dict[str, Any], param: str, code: str
) -> None:
    assert gateway.embed(body).refusal() == (param, code)
    assert emulator.journal() == []


def test_background_false_waits_whatever_the_name_says(gateway: Gateway) -> None:
    answer = gateway.embed({"model": f"async_invoke/{MARENGO_3}", "input": ["a"], "background": False})

    assert len(answer.items()) == 1


def test_other_doors_have_no_background(gateway: Gateway) -> None:
    body = {"model": MARENGO_3, "input": ["a"], "background": True}

    answer = gateway.request(
        "POST", "/api/v3/inference/embeddings", json.dumps(body).encode(), {"content-type": "application/json"}
    )

    assert answer.refusal() == ("background", "model_not_supported")
