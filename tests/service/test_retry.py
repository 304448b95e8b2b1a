"""How often a failure is tried again, and how long the waits get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.errors import EmbedrockError, Retry, Unavailable
from embedrock.service.retry import POLICIES, next_wait

LONGEST = 1.0  # the draw that gives the longest wait: `rng` comes as near as it likes


def longest_waits(retry: Retry) -> list[float]:
    """Return the longest wait after each attempt, until no more is tried."""
    waits: list[float] = []
    while (wait := next_wait(Unavailable("no", retry=retry), len(waits) + 1, lambda: LONGEST)) is not None:
        waits.append(wait)
    return waits


@pytest.mark.parametrize(
    "retry, waits",
    [
        (Retry.NEVER, []),
        (Retry.ONCE, [0.05]),
        (Retry.TRANSIENT, [0.05, 0.1]),
        (Retry.WARMING, [1.0, 2.0, 4.0, 8.0]),
        (Retry.THROTTLE, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
    ],
)
def test_longest_waits(retry: Retry, waits: list[float]) -> None:
    """They double up to a cap, and then no more is tried: one attempt more than there are waits."""
    assert longest_waits(retry) == pytest.approx(waits)


@given(st.sampled_from(list(Retry)), st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_wait_is_a_share_of_the_longest_or_there_is_none(retry: Retry, attempt: int, draw: float) -> None:
    wait = next_wait(Unavailable("no", retry=retry), attempt, lambda: draw)
    longest = longest_waits(retry)

    if attempt > len(longest):
        assert wait is None
    else:
        least = POLICIES[retry].least
        assert wait == pytest.approx((least + (1 - least) * draw) * longest[attempt - 1])


@pytest.mark.parametrize("retry, waits", [(Retry.TRANSIENT, [0.0, 0.05, 0.1]), (Retry.THROTTLE, [0.25, 0.375, 0.5])])
def test_chance_decides_how_long_to_wait(retry: Retry, waits: list[float]) -> None:
    """Callers that failed together must not come back together; a throttled one not before the quota has refilled."""
    error = Unavailable("no", retry=retry)

    assert [next_wait(error, 2, lambda draw=draw: draw) for draw in (0.0, 0.5, LONGEST)] == [  # type: ignore[misc]
        pytest.approx(wait) for wait in waits
    ]


@pytest.mark.parametrize("attempt", [1, 2, 100])
def test_nothing_is_drawn_for_an_error_that_is_not_tried_again(attempt: int) -> None:
    def never() -> float:
        raise AssertionError("drawn")

    assert next_wait(EmbedrockError("no"), attempt, never) is None


def test_every_kind_but_never_has_a_policy() -> None:
    assert set(POLICIES) == set(Retry) - {Retry.NEVER}


def test_retry_of_the_error_counts_and_not_its_class() -> None:
    assert next_wait(Unavailable("no"), 1, lambda: LONGEST) is None
    assert next_wait(Unavailable("no", retry=Retry.TRANSIENT), 1, lambda: LONGEST) is not None
