"""A thousand jobs, and sixty gateways killed over all steps of a job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.job_kills import check, run

if TYPE_CHECKING:
    from tests.conftest import Emulator, StartGateway

JOBS, KILLS, SEED = 1_000, 60, 20_261_120


def test_no_job_is_lost_or_started_twice(start_gateway: StartGateway, emulator: Emulator, tmp_path: Path) -> None:
    outcome = run(start_gateway, emulator, tmp_path, jobs=JOBS, kills=KILLS, seed=SEED)

    print(
        f"\n{outcome.rows} jobs, {len(outcome.accepted)} of them heard of; killed {dict(outcome.killed)}; "
        f"states {dict(outcome.states)}; {len(outcome.invocations)} invocations"
    )
    check(outcome, KILLS)
