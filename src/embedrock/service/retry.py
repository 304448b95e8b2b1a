"""When to try a failed call again, and after how long. The only place that retries.

Delays are drawn up to a bound that doubles, so callers that failed together do not come back together. A throttle
waits longer than a blip, and half of the bound at least: the quota refills by the second, and all attempts of a call
must not be over before the pacer has found the pace; a broken connection is whole at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from embedrock.errors import EmbedrockError, Retry


@dataclass(frozen=True, slots=True)
class Policy:
    """How often one kind of failure is tried, and how long the waits may get."""

    attempts: int
    base_s: float
    cap_s: float
    least: float = 0.0  # of a wait, as a share of the longest


POLICIES: Final = {
    Retry.THROTTLE: Policy(attempts=8, base_s=0.25, cap_s=8.0, least=0.5),
    Retry.TRANSIENT: Policy(attempts=3, base_s=0.05, cap_s=2.0),
    Retry.WARMING: Policy(attempts=5, base_s=1.0, cap_s=8.0),
    Retry.ONCE: Policy(attempts=2, base_s=0.05, cap_s=0.05),
}


def next_wait(
    error: EmbedrockError, attempt: int, rng: Callable[[], float], retries: int | None = None
) -> float | None:
    """Return the seconds to wait before trying again, or None to give up.

    `attempt` counts from 1; `rng` draws from [0, 1); `retries` is the caller's own bound, in place of the table's.
    """
    policy = POLICIES.get(error.retry)
    if policy is None or attempt >= (policy.attempts if retries is None else retries + 1):
        return None
    share = policy.least + (1.0 - policy.least) * rng()
    return share * min(policy.base_s * 2.0 ** (attempt - 1), policy.cap_s)
