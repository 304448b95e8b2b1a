"""Jobs that the process did not begin itself: what becomes of them."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from embedrock.errors import BadRequest
from embedrock.service.background import Background
from embedrock.store import Store, open_store
from embedrock.store import jobs as rows
from embedrock.store.jobs import Job
from embedrock.telemetry import Metrics

NOW = time.time_ns() // 1000
MINUTE = 60_000_000
JOB = Job(
    id="batch_1",
    owner="me",
    state="running",
    input=0,
    model="m",
    spec="amazon.nova-2-multimodal-embeddings-v1:0",
    place="us-east-1",
    region="us-east-1",
    kind="text",
    body=b"body",
    own_folder="",
    size=256,
    scale=0,
    as_base64=0,
    tokens=3,
    created_at=NOW - MINUTE,
    give_up_at=NOW + 60 * MINUTE,
    due_at=NOW,
    arn="arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefghijkl",
    started_at=NOW - MINUTE,
)


class Forgetful:
    """A runner whose Bedrock knows no job."""

    looks = 0

    def at(self, *_: str) -> Any:
        return self

    way = s3 = None

    async def look(self, *_: Any) -> NoReturn:
        self.looks += 1
        raise BadRequest("Bedrock refused the request as invalid.")


async def test_job_that_bedrock_does_not_know_fails_and_says_why(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path / 'db'}")

    async def opened() -> Store:
        return store

    runner: Any = Forgetful()
    job = JOB
    background = Background(runner, opened, Metrics(), Decimal(10))
    try:
        await store.write(lambda tx: rows.insert(tx, [JOB]))
        background.start()
        async with asyncio.timeout(10):
            while job.state == "running":
                job = await background.find(job.id, None)
    finally:
        await background.close()
        await store.close()

    assert runner.looks == 1
    assert (job.state, "an emulator that has ended" in job.message) == ("failed", True)
