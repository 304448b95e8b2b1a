"""A gateway is killed at each step of a job, and the next one goes on. `make campaign` does it sixty times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.job_kills import check, run
from tests.kill_points import POINTS

if TYPE_CHECKING:
    from tests.conftest import Emulator, StartGateway


def test_no_job_is_lost_or_started_twice(start_gateway: StartGateway, emulator: Emulator, tmp_path: Path) -> None:
    outcome = run(start_gateway, emulator, tmp_path, jobs=6 * len(POINTS), kills=len(POINTS), seed=1)

    check(outcome, len(POINTS))
    assert set(outcome.killed) == set(POINTS)
