"""Kills this very process at a step of a job: put into a gateway by `sitecustomize`, which `job_kills` writes.

A point is a function of the product, `before` or `after` it does its work; its n-th call is the last thing it does.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

#: Name → where it is, and which calls count (None: all).
STEPS: dict[str, tuple[str, str, Callable[[Any], bool] | None]] = {
    "upload": ("embedrock.upstream.s3.S3", "put", None),
    "accept": ("embedrock.service.background.Background", "accept", None),
    "insert": ("embedrock.store.jobs", "insert", None),
    "start": ("embedrock.service.jobs.JobRunner", "start", None),
    "started": (
        "embedrock.service.background.Background", "_remember", lambda change: change.get("state") == "running",
    ),
    "look": ("embedrock.service.jobs.JobRunner", "look", None),
    "collect": ("embedrock.service.jobs.JobRunner", "collect", None),
    "end": ("embedrock.service.background.Background", "_remember", lambda change: "ended_at" in change),
}  # fmt: skip
#: What is after `insert`, in its transaction, is before a commit.
POINTS = [
    "upload:before", "upload:after", "insert:before", "insert:after", "accept:after", "start:before", "start:after",
    "started:before", "started:after", "look:after", "collect:before", "collect:after", "end:before", "end:after",
]  # fmt: skip


def install(said: str, lease_s: float) -> None:
    """Kill the process at `step:when:n`; claims of jobs hold `lease_s`."""
    from importlib import import_module

    from embedrock.service import background

    background.LEASE_S = lease_s  # type: ignore[misc]  # so that a run does not wait for those of the dead
    step, when, nth = said.split(":")
    home, name, counts = STEPS[step]
    try:
        owner = import_module(home)
    except ModuleNotFoundError:
        module, _, cls = home.rpartition(".")
        owner = getattr(import_module(module), cls)
    true = getattr(owner, name)
    left = int(nth)

    def hit(arguments: tuple[Any, ...]) -> bool:
        nonlocal left
        if counts is not None and not counts(arguments[-1]):
            return False
        left -= 1
        return left == 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if step == "insert":

        @functools.wraps(true)
        def plain(*arguments: Any) -> Any:
            last = hit(arguments)
            if last and when == "before":
                die()
            found = true(*arguments)
            if last:
                die()
            return found

        setattr(owner, name, plain)
        return

    @functools.wraps(true)
    async def awaited(*arguments: Any, **options: Any) -> Any:
        last = hit(arguments)
        if last and when == "before":
            die()
        found = await true(*arguments, **options)
        if last:
            die()
        return found

    setattr(owner, name, awaited)
