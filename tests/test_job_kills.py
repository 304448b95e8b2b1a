"""Gateways are killed at steps of a job, and the next one goes on. `make campaign` does so at all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.job_kills import check, run

if TYPE_CHECKING:
    from tests.conftest import Emulator, StartGateway


def test_no_job_is_lost_or_started_twice(start_gateway: StartGateway, emulator: Emulator, tmp_path: Path) -> None:
    points = ["upload:after", "insert:after", "accept:after", "start:after", "collect:after", "end:before"]

    outcome = run(start_gateway, emulator, tmp_path, jobs=6 * len(points), kills=len(points), seed=1, points=points)

    check(outcome, len(points))
    assert set(outcome.killed) == set(points)
