"""The jobs of LiteLLM's page on Bedrock, with another import, in this process and at a gateway."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

import embedrock
from bedrock_emulator import expected_segments
from embedrock.errors import JobFailed, NotFound, UpstreamTimeout

from .stand_ins import RunScript

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, StartGateway

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MODEL = f"bedrock/async_invoke/us.{MARENGO_2}"
OUT = "s3://your-bucket/async-invoke-output/"
ARN = re.compile(r"arn:aws:bedrock:us-east-1:\d{12}:async-invoke/[a-z0-9]{12}")

START = f"""
from embedrock import embedding
response = embedding(
    model="{MODEL}",
    input=["A greeting from the background"],
    aws_region_name="us-east-1",
    input_type="text",
    output_s3_uri="{OUT}",
)
invocation_arn = response._hidden_params._invocation_arn
job_id = invocation_arn.split("/")[-1]
print(invocation_arn)
print(job_id)
"""

WAIT = f"""{START}
import time
from embedrock import retrieve_batch

def check(invocation_arn, aws_region_name="us-east-1"):
    return retrieve_batch(
        batch_id=invocation_arn, custom_llm_provider="bedrock", aws_region_name=aws_region_name
    )

def wait_for(invocation_arn, max_wait=60):
    begun = time.time()
    while True:
        status = check(invocation_arn)
        if status.status == "completed":
            return status
        elif status.status == "failed":
            raise Exception(status.metadata.get("failure_message", "unknown"))
        elif time.time() - begun > max_wait:
            raise TimeoutError
        time.sleep(0.05)

print(wait_for(invocation_arn).metadata["output_file_id"])
"""

FILM = f"""
from embedrock import embedding
response = embedding(
    model="{MODEL}",
    input=["s3://your-bucket/video.mp4"],
    aws_region_name="us-east-1",
    input_type="video",
    output_s3_uri="{OUT}",
)
print(response._hidden_params._invocation_arn)
"""

PICTURE = f"""
import base64
from embedrock import embedding
with open("image.jpg", "rb") as file:
    encoded = base64.b64encode(file.read()).decode("utf-8")
response = embedding(
    model="{MODEL}",
    input=[f"data:image/jpeg;base64,{{encoded}}"],
    aws_region_name="us-east-1",
    input_type="image",
    output_s3_uri="{OUT}",
)
print(response._hidden_params._invocation_arn)
"""


@pytest.fixture
def s3(emulator: Emulator) -> Iterator[Any]:
    """Return boto3's client of the emulator's S3, in which there is the page's bucket, empty."""
    emulator.bucket("your-bucket")
    client = boto3.client(
        "s3",
        endpoint_url=emulator.url,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="test-secret",
        region_name="us-east-1",
    )
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def here(aws: dict[str, Any], emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that lead to the emulator, whose S3 the environment names."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", emulator.url)
    return aws


def results(s3: Any, folder: str) -> list[list[float]]:
    """Return the vectors in the output of a job of Marengo's."""
    bucket, _, key = folder.removeprefix("s3://").partition("/")
    body = s3.get_object(Bucket=bucket, Key=f"{key}/output.json")["Body"].read()
    return [entry["embedding"] for entry in json.loads(body)["data"]]


def wanted(emulator: Emulator, files: dict[str, bytes] | None = None) -> list[list[float]]:
    """Return what the last job that was started must find."""
    body = emulator.bodies("StartAsyncInvoke")[-1]
    return [entry["embedding"] for entry in expected_segments(body["modelId"], body["modelInput"], files or {})]


def done(arn: str, here: dict[str, Any]) -> str:
    """Return the folder of a job's results, once they are there."""
    return embedrock.wait(arn, max_wait=30, **here).metadata["output_file_id"]


# ---------------------------------------------------------------- the page's programs


def test_a_job_is_started_and_has_an_arn(run_script: RunScript, emulator: Emulator, s3: Any) -> None:
    del s3
    arn, job_id = run_script(START, AWS_ENDPOINT_URL_S3=emulator.url).split()

    assert ARN.fullmatch(arn)
    assert arn.endswith(f"/{job_id}")
    (body,) = emulator.bodies("StartAsyncInvoke")
    assert body["modelId"] == MARENGO_2
    assert body["outputDataConfig"] == {"s3OutputDataConfig": {"s3Uri": OUT.rstrip("/")}}


def test_a_job_is_asked_for_until_it_is_completed(run_script: RunScript, emulator: Emulator, s3: Any) -> None:
    printed = run_script(WAIT, AWS_ENDPOINT_URL_S3=emulator.url).split()

    assert printed[-1].startswith(OUT)
    assert results(s3, printed[-1]) == wanted(emulator)


def test_a_film_in_s3(run_script: RunScript, emulator: Emulator, s3: Any, here: dict[str, Any]) -> None:
    film = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(range(256)) * 40
    s3.put_object(Bucket="your-bucket", Key="video.mp4", Body=film)

    arn = run_script(FILM, AWS_ENDPOINT_URL_S3=emulator.url).strip()

    assert results(s3, done(arn, here)) == wanted(emulator, {"s3://your-bucket/video.mp4": film})


def test_a_picture(
    run_script: RunScript, emulator: Emulator, s3: Any, here: dict[str, Any], pictures: dict[str, str], tmp_path: Path
) -> None:
    from base64 import b64decode

    (tmp_path / "image.jpg").write_bytes(b64decode(pictures["jpeg"].partition(",")[2]))

    arn = run_script(PICTURE, cwd=tmp_path, AWS_ENDPOINT_URL_S3=emulator.url).strip()

    assert results(s3, done(arn, here)) == wanted(emulator)


# ---------------------------------------------------------------- what is around them


def test_each_input_has_its_batch(here: dict[str, Any], emulator: Emulator, s3: Any) -> None:
    del s3
    answer = embedrock.embedding(MODEL, ["one", "two"], input_type="text", output_s3_uri=OUT, **here)

    assert [item.embedding for item in answer.data] == [[], []]
    batches = [item.batch for item in answer.data]
    assert all(batch and ARN.fullmatch(batch.id) and batch.object == "batch" for batch in batches)
    assert answer._hidden_params._invocation_arn == answer["data"][0]["batch"]["id"]
    assert len({batch.id for batch in batches if batch}) == 2
    assert len(emulator.bodies("StartAsyncInvoke")) == 2
    assert "_invocation_arn" not in answer._hidden_params.model_dump()


async def test_the_awaitable_names_do_the_same(here: dict[str, Any], emulator: Emulator, s3: Any) -> None:
    answer = await embedrock.aembedding(MODEL, "one", input_type="text", output_s3_uri=OUT, **here)
    arn = answer._hidden_params._invocation_arn
    assert arn is not None

    first = await embedrock.aretrieve_batch(arn, "bedrock", **here)
    last = await embedrock.await_batch(arn, max_wait=30, **here)

    assert first.id == last.id == arn
    assert (last.status, last.completed_at is not None) == ("completed", True)
    assert results(s3, last.metadata["output_file_id"]) == wanted(emulator)


def test_a_job_that_fails_says_why(here: dict[str, Any], s3: Any) -> None:
    """There is no such film, as Bedrock finds out while the job runs."""
    s3.put_object(Bucket="your-bucket", Key="video.mp4", Body=b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41")
    answer = embedrock.embedding(
        MODEL, ["s3://your-bucket/video.mp4"], input_type="video", output_s3_uri=OUT, start_sec=5000, **here
    )
    arn = answer._hidden_params._invocation_arn
    assert arn is not None

    with pytest.raises(JobFailed) as caught:
        embedrock.wait(arn, max_wait=30, **here)

    batch = embedrock.retrieve_batch(batch_id=arn, **here)
    assert (batch.status, batch.failed_at is not None) == ("failed", True)
    assert batch.metadata["failure_message"] in str(caught.value)


def test_who_waits_may_have_enough(here: dict[str, Any], emulator: Emulator, s3: Any) -> None:
    del s3
    emulator.request("POST", "/_emulator/async", b'{"duration_s": 60}')
    answer = embedrock.embedding(MODEL, "one", input_type="text", output_s3_uri=OUT, **here)

    with pytest.raises(UpstreamTimeout):
        embedrock.wait(answer._hidden_params._invocation_arn or "", max_wait=0.1, **here)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_id": "batch_1"}, "ARN"),
        ({"batch_id": ""}, "name of a job"),
        (
            {"batch_id": "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefabcdef", "timeout": 0},
            "timeout",
        ),
        ({"batch_id": "arn:aws:bedrock:eu-west-1:123456789012:async-invoke/abcdefabcdef"}, "different regions"),
        ({"batch_id": "x", "custom_llm_provider": "openai"}, "custom_llm_provider"),
    ],
)
def test_a_wrong_argument_is_a_value_error(here: dict[str, Any], arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        embedrock.retrieve_batch(**here, **arguments)


def test_help_tells_the_arguments() -> None:
    import inspect

    assert "aws_region_name" in inspect.signature(embedrock.retrieve_batch).parameters
    assert "metadata" in (embedrock.aretrieve_batch.__doc__ or "")


# ---------------------------------------------------------------- at a gateway


@pytest.fixture
def remote(gateway_with: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    directory = tmp_path_factory.getbasetemp() / "shared-jobs"
    directory.mkdir(exist_ok=True)
    return gateway_with(
        AWS_S3_REGIONAL_BUCKETS='{"us-east-1": "embedrock-emulator"}',
        EMBEDROCK_DATABASE_URL=f"sqlite:///{directory / 'jobs.db'}",
    )


def test_a_gateways_jobs_are_known_by_its_own_ids(remote: Gateway) -> None:
    answer = embedrock.embedding(MODEL, ["one"], api_base=f"{remote.url}/v1", background=True)

    id_ = answer._hidden_params._invocation_arn
    assert id_ is not None and re.fullmatch(r"batch_[0-9a-f]{32}", id_)
    batch = embedrock.wait(id_, max_wait=30, api_base=f"{remote.url}/v1")
    assert batch.status == "completed"
    assert batch.output_file_id == batch.metadata["output_file_id"]
    with pytest.raises(NotFound):
        embedrock.retrieve_batch(f"batch_{'0' * 32}", api_base=f"{remote.url}/v1")
