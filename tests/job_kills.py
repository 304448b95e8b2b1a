"""Jobs under fire: gateways are killed at every step of a job, one after another, and the books are compared.

Three witnesses: the answers that arrived, the rows of the last database, and the invocations that Bedrock knows.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from tests.kill_points import POINTS

from bedrock_emulator import expected_segments

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, StartGateway

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
BUCKET = "embedrock-emulator"
_LEASE_S = 1.0
_DEADLINE_S = 120.0
_SITE = """
import os, sys
if os.environ.get("KILL_AT"):
    sys.path.insert(0, {tests!r})
    import kill_points
    kill_points.install(os.environ["KILL_AT"], {lease_s})
"""


@dataclass
class Outcome:
    """What a run came to. `killed`: how often at each point; `accepted`: ids of jobs whose acceptance was heard of."""

    killed: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, tuple[str, str]] = field(default_factory=dict)  # id → its model and its text
    states: Counter[str] = field(default_factory=Counter)  # of all jobs in the database
    rows: int = 0
    invocations: list[str] = field(default_factory=list)  # the tokens of all that Bedrock knows
    wrong: list[str] = field(default_factory=list)  # jobs whose vectors are not those of their text


def run(
    start: StartGateway,
    emulator: Emulator,
    directory: Path,
    *,
    jobs: int,
    kills: int,
    seed: int,
    points: Sequence[str] = POINTS,
) -> Outcome:
    """Send `jobs` in a request a life, kill each life at the next point, and let the last one bring all to an end."""
    assert emulator.request("POST", "/_emulator/async", b'{"duration_s": 0.05}').status == 200
    site = directory / "site"
    site.mkdir()
    tests = str(Path(__file__).parent)
    (site / "sitecustomize.py").write_text(_SITE.format(tests=tests, lease_s=_LEASE_S))
    random = Random(seed)  # the same seed kills at the same calls
    outcome = Outcome()
    share = jobs // kills
    for life in range(kills):
        point = points[life % len(points)]
        nth = random.randint(1, 2 if "upload" in point else 3)  # of two uploads, three requests, or more steps
        gateway = _start(start, emulator, directory, KILL_AT=f"{point}:{nth}", PYTHONPATH=str(site))
        # Three requests, for the points that each passes once; Nova reads from S3 only, so its are uploaded.
        texts = [f"text {life}.{number}" for number in range(max(share, 6))]
        for model, part in ((NOVA, texts[:2]), (MARENGO_3, texts[2:-2]), (MARENGO_3, texts[-2:])):
            _send(gateway, model, part, outcome)
        if _dies(gateway):
            outcome.killed[point] += 1
    last = _start(start, emulator, directory)
    while (missing := jobs - len(outcome.accepted)) > 0:
        _send(last, MARENGO_3, [f"last {number}" for number in range(min(missing, 100))], outcome)
    for id_, (model, text) in outcome.accepted.items():
        _check(last, id_, model, text, outcome)
    outcome.states, outcome.rows = _states(directory)
    page = json.loads(emulator.request("GET", "/_emulator/async").body)
    outcome.invocations = [job["clientRequestToken"] for job in page["jobs"]]
    return outcome


def check(outcome: Outcome, kills: int) -> None:
    """Check that nothing was lost, and nothing done twice."""
    assert outcome.killed.total() == kills, "each life ended where it was to end"
    assert outcome.wrong == []
    assert set(outcome.states) == {"completed"}, "each is in one final state, also those nobody heard of"
    assert outcome.rows >= len(outcome.accepted)
    assert len(outcome.invocations) == len(set(outcome.invocations)) == outcome.rows, "each was started once"
    assert set(outcome.accepted) <= set(outcome.invocations)


def _start(start: StartGateway, emulator: Emulator, directory: Path, **environ: str) -> Gateway:
    return start(
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
        AWS_ENDPOINT_URL_S3=emulator.url,
        AWS_S3_REGIONAL_BUCKETS=json.dumps({"us-east-1": BUCKET}),
        EMBEDROCK_DATABASE_URL=f"sqlite:///{directory / 'jobs.db'}",
        **environ,
    )


def _send(gateway: Gateway, model: str, texts: list[str], outcome: Outcome) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = gateway.embed({"model": model, "input": texts, "background": True})
        assert answer.status == 202, answer.body
        for item, text in zip(answer.json()["data"], texts, strict=True):
            outcome.accepted[item["batch"]["id"]] = model, text


def _dies(gateway: Gateway) -> bool:
    """Return whether it ends by itself; it is ended otherwise."""
    deadline = time.monotonic() + 20
    while gateway.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    died = gateway.process.poll() is not None
    gateway.process.kill()
    gateway.process.wait()
    return died


def _check(gateway: Gateway, id_: str, model: str, text: str, outcome: Outcome) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        batch: dict[str, Any] = gateway.request("GET", f"/v1/batches/{id_}").json()
        if batch.get("status") != "in_progress":
            break
        assert time.monotonic() < deadline, f"{id_} does not end"
        time.sleep(0.05)
    content = gateway.request("GET", f"/v1/files/{batch.get('output_file_id')}/content").body
    found = [json.loads(line)["embedding"] for line in content.splitlines()] if batch["status"] == "completed" else []
    if found != _vectors(model, text):
        outcome.wrong.append(id_)


def _vectors(model: str, text: str) -> list[list[float]]:
    body: dict[str, Any] = {"inputType": "text", "text": {"inputText": text}}
    if model == NOVA:
        source = {"s3Location": {"uri": "s3://bucket/text"}}
        params = {
            "embeddingPurpose": "GENERIC_INDEX",
            "embeddingDimension": 3072,
            "text": {"truncationMode": "NONE", "source": source, "segmentationConfig": {}},
        }
        body = {"taskType": "SEGMENTED_EMBEDDING", "segmentedEmbeddingParams": params}
    return [entry["embedding"] for entry in expected_segments(model, body, {"s3://bucket/text": text.encode()})]


def _states(directory: Path) -> tuple[Counter[str], int]:
    """Return how many jobs are in each state, once all are in a final one."""
    import sqlite3

    deadline = time.monotonic() + _DEADLINE_S
    while True:
        with contextlib.closing(sqlite3.connect(directory / "jobs.db")) as connection:
            states = Counter(dict(connection.execute("SELECT state, count(*) FROM jobs GROUP BY state")))
        if not states.keys() & {"accepted", "running"} or time.monotonic() > deadline:
            return states, states.total()
        time.sleep(0.1)
