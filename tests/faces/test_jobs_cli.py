"""The command `jobs`: what it lists, shows, waits for and cancels are the gateway's own jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from tests.job_files import wav_uri

from embedrock.faces import cli

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, StartGateway

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.getbasetemp() / "jobs-cli"
    directory.mkdir(exist_ok=True)
    return f"sqlite:///{directory / 'jobs.db'}"


@pytest.fixture
def gateway(gateway_with: StartGateway, database: str) -> Gateway:
    return gateway_with(AWS_S3_REGIONAL_BUCKETS='{"us-east-1": "embedrock-emulator"}', EMBEDROCK_DATABASE_URL=database)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], database: str) -> Run:
    """Run a command in this process, beside the gateway's database."""
    monkeypatch.setenv("EMBEDROCK_DATABASE_URL", database)

    def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["embedrock", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(arguments, ended.value.code, told.out, told.err)

    return run_here


def accepted(gateway: Gateway, **members: Any) -> list[str]:
    """Return the ids of the jobs of a request."""
    answer = gateway.embed({"model": MARENGO_3, "background": True, **members})
    assert answer.status == 202, answer.body
    return [item["batch"]["id"] for item in answer.json()["data"]]


def test_jobs_are_watched_until_they_end_then_listed_and_shown(gateway: Gateway, run: Run) -> None:
    ids = accepted(gateway, input=["a", wav_uri(3)])

    watched = run("jobs", "watch", *ids)
    listed = run("jobs", "list", "--json")
    table = run("jobs", "list", "--limit", "1")
    shown = run("jobs", "show", ids[1])
    batch = run("jobs", "show", ids[1], "--json")

    assert (watched.returncode, watched.stderr) == (0, ""), "no bar where nobody watches"
    assert all(id_ in watched.stdout for id_ in ids)
    rows = [row for row in json.loads(listed.stdout) if row["id"] in ids]
    assert {row["id"] for row in rows} == set(ids)
    assert {(row["status"], row["model"]) for row in rows} == {("completed", MARENGO_3)}
    assert {row["input"] for row in rows} == {"text", "audio"}
    assert len(table.stdout.splitlines()) == 2
    assert f"id         {ids[1]}" in shown.stdout
    assert "region     us-east-1" in shown.stdout
    assert json.loads(batch.stdout) == gateway.request("GET", f"/v1/batches/{ids[1]}").json()


def test_a_job_is_cancelled_once(gateway: Gateway, emulator: Emulator, run: Run) -> None:
    emulator.request("POST", "/_emulator/async", b'{"duration_s": 60}')
    (id_,) = accepted(gateway, input="a")

    cancelled = run("jobs", "cancel", id_)
    watched = run("jobs", "watch", id_)

    assert cancelled.stdout == f"{id_} is cancelled.\n"
    assert gateway.request("GET", f"/v1/batches/{id_}").json()["status"] == "cancelled"
    assert (watched.returncode, "Not all" in watched.stderr) == (1, True)


def test_a_job_that_has_ended_is_not_cancelled(gateway: Gateway, run: Run) -> None:
    (id_,) = accepted(gateway, input="a")
    run("jobs", "watch", id_)

    ended = run("jobs", "cancel", id_)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "completed already" in ended.stderr


def test_without_a_database_there_are_no_jobs_and_none_is_made(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDROCK_DATABASE_URL", f"sqlite:///{tmp_path / 'jobs.db'}")

    listed = run("jobs", "list")
    watched = run("jobs", "watch")
    shown = run("jobs", "show", "batch_1")

    assert (listed.returncode, listed.stdout) == (0, "There are no jobs.\n")
    assert watched.stdout == "There is no job to wait for.\n"
    assert (shown.returncode, "There is no job 'batch_1'" in shown.stderr) == (1, True)
    assert not (tmp_path / "jobs.d").exists()
