"""Jobs of Bedrock's that go wrong, in each way they can: a clear error, nothing started twice, nothing left behind."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.job_files import wav_uri

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Answer, Emulator, Gateway, StartEmulator, StartGateway

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
BUCKET = "embedrock-emulator"
BUCKETS = json.dumps({"us-east-1": BUCKET})
DEADLINE_S = 60.0

OF_MARENGO = {"model": MARENGO_3, "input": wav_uri(9), "duration_seconds": 3, "embedding_option": ["audio"]}
OF_NOVA = {"model": NOVA, "input": wav_uri(9), "duration_seconds": 3, "dimensions": 256}
BOTH = pytest.mark.parametrize("body", [OF_MARENGO, OF_NOVA], ids=["marengo", "nova"])


@pytest.fixture
def own(start_gateway: StartGateway, emulator: Emulator, tmp_path: Path) -> Gateway:
    """A gateway of the test's own: for a while, one remembers that Bedrock failed."""
    return gateway_before(emulator, start_gateway, tmp_path)


def gateway_before(emulator: Emulator, start_gateway: StartGateway, tmp_path: Path) -> Gateway:
    return start_gateway(
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
        AWS_ENDPOINT_URL_S3=emulator.url,
        AWS_S3_REGIONAL_BUCKETS=BUCKETS,
        EMBEDROCK_DATABASE_URL=f"sqlite:///{tmp_path / 'jobs.db'}",
    )


@pytest.fixture
def shared(gateway_with: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """A gateway that the tests of jobs share, where what goes wrong is of one job."""
    directory = tmp_path_factory.getbasetemp() / "shared-jobs"
    directory.mkdir(exist_ok=True)
    return gateway_with(AWS_S3_REGIONAL_BUCKETS=BUCKETS, EMBEDROCK_DATABASE_URL=f"sqlite:///{directory / 'jobs.db'}")


def jobs(emulator: Emulator) -> list[dict[str, Any]]:
    """Return the jobs that Bedrock knows."""
    found: list[dict[str, Any]] = json.loads(emulator.request("GET", "/_emulator/async").body)["jobs"]
    return found


def poll(true: Callable[[], bool]) -> bool:
    """Return whether it comes true in time."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_tidy(client: Any) -> bool:
    """Return whether nothing of the gateway's stays in its bucket."""
    return poll(lambda: "Contents" not in client.list_objects_v2(Bucket=BUCKET))


def in_background(gateway: Gateway, body: dict[str, Any]) -> dict[str, Any]:
    """Return the batch of a job in the background, once it has ended."""
    answer = gateway.embed(body | {"background": True})
    assert answer.status == 202, answer.body
    id_ = answer.json()["data"][0]["batch"]["id"]

    def look() -> dict[str, Any]:
        found: dict[str, Any] = gateway.request("GET", f"/v1/batches/{id_}").json()
        return found

    assert poll(lambda: look()["status"] != "in_progress")
    return look()


def failure(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.error()["code"]


# ---------------------------------------------------------------- started, and nobody heard


@pytest.mark.parametrize("answer", ["server_error", "throttle", "reset"])
def test_a_start_whose_answer_is_lost_starts_nothing_twice(
    start_emulator: StartEmulator, start_gateway: StartGateway, tmp_path: Path, answer: str
) -> None:
    """With an emulator of its own: all jobs there are this gateway's."""
    emulator = start_emulator()
    own = gateway_before(emulator, start_gateway, tmp_path)
    emulator.fault("async_lost", answer=answer, n=1)

    waited = own.embed(OF_MARENGO)
    emulator.fault("async_lost", answer=answer, n=1)
    batch = in_background(own, OF_NOVA)

    assert len(waited.items()) == 3
    assert batch["status"] == "completed"
    assert emulator.fired() == 2
    assert len(jobs(emulator)) == 2


def test_a_token_of_another_job_fails_the_job(shared: Gateway, emulator: Emulator, media_bucket: Any) -> None:
    emulator.fault("async_conflict", n=1)
    waited = shared.embed(OF_NOVA)
    emulator.fault("async_conflict", n=1)
    batch = in_background(shared, OF_MARENGO)

    assert failure(waited) == (502, "job_failed")
    assert batch["status"] == "failed"
    assert (emulator.fired(), jobs(emulator)) == (2, [])
    del media_bucket


# ---------------------------------------------------------------- how they end


@pytest.mark.parametrize(
    ("message", "words"),
    [("The audio of arn:aws:s3:::x is broken.", "The audio of … is broken."), (None, "does not say why")],
)
def test_a_job_that_fails_says_why_and_no_more(
    shared: Gateway, emulator: Emulator, media_bucket: Any, message: str | None, words: str
) -> None:
    emulator.fault("async_end", **({"message": message} if message else {}))

    waited = shared.embed(OF_NOVA)
    tidy = is_tidy(media_bucket)
    batch = in_background(shared, OF_MARENGO)

    assert failure(waited) == (502, "job_failed")
    assert words in waited.error()["message"]
    assert tidy
    assert words in batch["metadata"]["failure_message"]
    assert emulator.fired() == 2


def test_a_job_that_never_ends_ends_with_the_request(shared: Gateway, emulator: Emulator, media_bucket: Any) -> None:
    emulator.fault("async_end", status="InProgress")

    answer = shared.embed(OF_NOVA, {"x-request-timeout-ms": "1200"})

    assert failure(answer) == (504, "upstream_timeout")
    assert answer.headers["x-should-retry"] == "false", "it would start another job"
    assert emulator.fired() == 1
    assert is_tidy(media_bucket)


@pytest.mark.parametrize("status", ["InProgress", "Unknown", "NotFound"])
def test_odd_news_of_a_job_are_waited_out(shared: Gateway, emulator: Emulator, status: str) -> None:
    emulator.fault("async_status", status=status, n=2)

    assert len(shared.embed(OF_MARENGO).items()) == 3
    assert emulator.fired() == 2


def test_looking_goes_on_while_bedrock_throttles(own: Gateway, emulator: Emulator) -> None:
    emulator.fault("throttle", match={"op": "GetAsyncInvoke"}, n=3)

    batch = in_background(own, OF_MARENGO)

    assert batch["status"] == "completed"
    assert emulator.fired() == 3


# ---------------------------------------------------------------- what they leave


@BOTH
def test_results_that_come_late_are_waited_for(shared: Gateway, emulator: Emulator, body: dict[str, Any]) -> None:
    emulator.fault("async_output", kind="missing", late_s=0.7)

    assert len(shared.embed(body).items()) == 3
    assert emulator.fired() == 1


@BOTH
def test_results_that_never_come_are_an_error(
    shared: Gateway, emulator: Emulator, media_bucket: Any, body: dict[str, Any]
) -> None:
    emulator.fault("async_output", kind="missing")

    answer = shared.embed(body, {"x-request-timeout-ms": "1500"})

    assert failure(answer) == (502, "upstream_invalid_response")
    assert emulator.fired() == 1
    assert is_tidy(media_bucket)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        *((OF_MARENGO, kind) for kind in ("empty", "truncated", "huge", "more")),
        *((OF_NOVA, kind) for kind in ("empty", "truncated", "huge", "more", "fewer")),
    ],
    ids=lambda value: value if isinstance(value, str) else value["model"].partition(".")[0],
)
def test_results_that_are_not_whole_are_never_answered(
    shared: Gateway, emulator: Emulator, media_bucket: Any, body: dict[str, Any], kind: str
) -> None:
    emulator.fault("async_output", kind=kind)

    answer = shared.embed(body)

    assert failure(answer) == (502, "upstream_invalid_response")
    assert emulator.fired() == 1
    assert is_tidy(media_bucket)


def test_broken_results_fail_a_job_in_the_background(shared: Gateway, emulator: Emulator) -> None:
    emulator.fault("async_output", kind="truncated")

    batch = in_background(shared, OF_NOVA)

    assert (batch["status"], batch["output_file_id"]) == ("failed", None)
    assert emulator.fired() == 1


@pytest.mark.parametrize("kind", ["partial", "failed"])
def test_a_request_that_waits_gets_all_segments_or_an_error(
    shared: Gateway, emulator: Emulator, media_bucket: Any, kind: str
) -> None:
    emulator.fault("async_output", kind=kind)

    answer = shared.embed(OF_NOVA)

    assert failure(answer) == (502, "job_failed")
    assert "INTERNAL_SERVER_EXCEPTION" in answer.error()["message"]
    assert ("from 3 to 6 s" in answer.error()["message"]) is (kind == "partial")
    assert emulator.fired() == 1
    assert is_tidy(media_bucket)


def test_in_the_background_what_could_be_embedded_is_kept_and_what_not_is_named(
    shared: Gateway, emulator: Emulator
) -> None:
    emulator.fault("async_output", kind="partial")

    batch = in_background(shared, OF_NOVA)

    assert batch["status"] == "completed"
    (error,) = batch["errors"]["data"]
    assert error["code"] == "INTERNAL_SERVER_EXCEPTION"
    assert "from 3 to 6 s" in error["message"]
    content = shared.request("GET", f"/v1/files/{batch['output_file_id']}/content").body
    lines = [json.loads(line) for line in content.splitlines()]
    assert [line["embedding"] is None for line in lines] == [False, False, True]
    assert lines[-1]["segment"] == {"start_sec": 3.0, "end_sec": 6.0}
    assert lines[-1]["error"]["code"] == "INTERNAL_SERVER_EXCEPTION"
    assert emulator.fired() == 1


def test_a_job_of_which_nothing_could_be_embedded_failed(shared: Gateway, emulator: Emulator) -> None:
    emulator.fault("async_output", kind="failed")

    batch = in_background(shared, OF_NOVA)

    assert batch["status"] == "failed"
    assert "INTERNAL_SERVER_EXCEPTION" in batch["metadata"]["failure_message"]
    assert emulator.fired() == 1


# ---------------------------------------------------------------- S3


@pytest.mark.parametrize("op", ["PutObject", "GetObject", "HeadObject", "ListObjectsV2"])
def test_s3_may_be_slow_for_a_moment(shared: Gateway, emulator: Emulator, media_bucket: Any, op: str) -> None:
    emulator.fault("s3_error", code="SlowDown", match={"op": op}, n=1)

    assert len(shared.embed(OF_NOVA).items()) == 3
    assert poll(lambda: emulator.fired() == 1)
    assert is_tidy(media_bucket)


def test_a_bucket_elsewhere_is_told(shared: Gateway, emulator: Emulator) -> None:
    emulator.fault("s3_error", code="PermanentRedirect", match={"op": "PutObject"})

    answer = shared.embed(OF_NOVA)

    assert failure(answer) == (503, "s3_bucket_unusable")
    assert "eu-west-1" in answer.error()["message"]
    assert emulator.fired() == 1
    assert jobs(emulator) == []
