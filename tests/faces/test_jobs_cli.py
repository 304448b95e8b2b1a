"""The command `jobs`: what it lists, shows, waits for and cancels are the gateway's own jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.job_files import wav_uri

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, RunEmbedrock, StartGateway

MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"


@pytest.fixture
def where(tmp_path: Path) -> dict[str, str]:
    return {"EMBEDROCK_DATABASE_URL": f"sqlite:///{tmp_path / 'jobs.db'}"}


@pytest.fixture
def gateway(start_gateway: StartGateway, emulator: Emulator, where: dict[str, str]) -> Gateway:
    return start_gateway(
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
        AWS_ENDPOINT_URL_S3=emulator.url,
        AWS_S3_REGIONAL_BUCKETS='{"us-east-1": "embedrock-emulator"}',
        **where,
    )


def accepted(gateway: Gateway, **members: Any) -> list[str]:
    """Return the ids of the jobs of a request."""
    answer = gateway.embed({"model": MARENGO_3, "background": True, **members})
    assert answer.status == 202, answer.body
    return [item["batch"]["id"] for item in answer.json()["data"]]


def test_jobs_are_watched_until_they_end_then_listed_and_shown(
    gateway: Gateway, run_embedrock: RunEmbedrock, where: dict[str, str]
) -> None:
    ids = accepted(gateway, input=["a", wav_uri(3)])

    watched = run_embedrock("jobs", "watch", *ids, **where)
    listed = run_embedrock("jobs", "list", "--json", **where)
    table = run_embedrock("jobs", "list", "--limit", "1", **where)
    shown = run_embedrock("jobs", "show", ids[1], **where)
    batch = run_embedrock("jobs", "show", ids[1], "--json", **where)

    assert watched.returncode == 0, watched.stderr
    assert all(id_ in watched.stdout.decode() for id_ in ids)
    rows = json.loads(listed.stdout)
    assert {row["id"] for row in rows} == set(ids)
    assert {(row["status"], row["model"]) for row in rows} == {("completed", MARENGO_3)}
    assert {row["input"] for row in rows} == {"text", "audio"}
    assert len(table.stdout.decode().splitlines()) == 2
    assert f"id         {ids[1]}" in shown.stdout.decode()
    assert "region     us-east-1" in shown.stdout.decode()
    assert json.loads(batch.stdout) == gateway.request("GET", f"/v1/batches/{ids[1]}").json()


def test_a_job_is_cancelled_once(
    gateway: Gateway, emulator: Emulator, run_embedrock: RunEmbedrock, where: dict[str, str]
) -> None:
    emulator.request("POST", "/_emulator/async", b'{"duration_s": 60}')
    (id_,) = accepted(gateway, input="a")

    cancelled = run_embedrock("jobs", "cancel", id_, **where)
    watched = run_embedrock("jobs", "watch", id_, **where)

    assert cancelled.stdout.decode() == f"{id_} is cancelled.\n"
    assert gateway.request("GET", f"/v1/batches/{id_}").json()["status"] == "cancelled"
    assert (watched.returncode, b"Not all" in watched.stderr) == (1, True)


def test_a_job_that_has_ended_is_not_cancelled(
    gateway: Gateway, run_embedrock: RunEmbedrock, where: dict[str, str]
) -> None:
    (id_,) = accepted(gateway, input="a")
    run_embedrock("jobs", "watch", **where)

    ended = run_embedrock("jobs", "cancel", id_, **where)

    assert (ended.returncode, ended.stdout) == (1, b"")
    assert b"completed already" in ended.stderr


def test_without_a_database_there_are_no_jobs_and_none_is_made(
    run_embedrock: RunEmbedrock, where: dict[str, str], tmp_path: Path
) -> None:
    listed = run_embedrock("jobs", "list", **where)
    watched = run_embedrock("jobs", "watch", **where)
    shown = run_embedrock("jobs", "show", "batch_1", **where)

    assert (listed.returncode, listed.stdout) == (0, b"There are no jobs.\n")
    assert watched.stdout == b"There is no job to wait for.\n"
    assert (shown.returncode, b"There is no job 'batch_1'" in shown.stderr) == (1, True)
    assert not (tmp_path / "jobs.db").exists()
