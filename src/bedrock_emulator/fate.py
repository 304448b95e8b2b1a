"""What becomes of an asynchronous call that a fault struck when it was started."""

from __future__ import annotations

from dataclasses import dataclass

#: ways in which the output is not what it should be
OUTPUTS = ("missing", "empty", "truncated", "huge", "fewer", "more", "foreign", "partial", "failed")


@dataclass(frozen=True, slots=True)
class Fate:
    """`status`: how it ends, InProgress when it never does; `message`: of a failure; `output`: one of `OUTPUTS`.

    `late_s`: after the end the output comes so much later, None for never; `size`: of a huge output, in bytes.
    """

    status: str = "Completed"
    message: str | None = None
    output: str | None = None
    late_s: float | None = None
    size: int = 0


PLAIN = Fate()
