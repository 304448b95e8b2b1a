"""Limits are exact: never more than the rate and what may come at once, and all of that can be had."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.service.limits import Bucket, Limits, Standing

SECOND = 10**9
MINUTE = 60 * SECOND

#: Nanoseconds between takes, and amounts: a caller who sends much, little, and at odd moments.
TAKES = st.lists(st.tuples(st.integers(0, 2 * MINUTE), st.integers(1, 50)), max_size=60)


@given(limit=st.integers(50, 10**6), takes=TAKES)
def test_no_window_has_more_than_a_minutes_worth_and_the_rate(limit: int, takes: list[tuple[int, int]]) -> None:
    bucket, now, taken = Bucket(limit), 10**15, []
    for pause, amount in takes:
        now += pause
        if not bucket.take(amount, now).wait_ms:
            taken.append((now, amount))

    for first in range(len(taken)):
        total = 0
        for at, amount in taken[first:]:
            total += amount
            assert total <= limit + Fraction((at - taken[first][0]) * limit, MINUTE)


@given(limit=st.integers(1, 10**6), takes=TAKES)
def test_what_is_refused_would_have_been_too_much(limit: int, takes: list[tuple[int, int]]) -> None:
    """Beside it, the plainest token bucket there is, in fractions."""
    bucket, now, level = Bucket(limit), 0, Fraction(limit)
    for pause, amount in takes:
        if amount > limit:
            continue
        now += pause
        level = min(Fraction(limit), level + Fraction(pause * limit, MINUTE))
        standing = bucket.take(amount, now)

        assert (standing.wait_ms == 0) == (level >= amount)
        if level >= amount:
            level -= amount
        assert standing.remaining == level // 1
        assert standing.reset_ms == -(-(limit - level) * 60_000 // limit)


@given(limit=st.integers(1, 10**6), amount=st.integers(1, 50), pause=st.integers(0, MINUTE))
def test_wait_that_is_told_suffices_and_is_no_longer_than_needed(limit: int, amount: int, pause: int) -> None:
    amount = min(amount, limit)
    bucket = Bucket(limit)
    bucket.take(limit, 0)
    wait = bucket.take(amount, pause).wait_ms

    if wait:
        assert bucket.take(amount, pause + (wait - 1) * 10**6).wait_ms > 0
        assert bucket.take(amount, pause + wait * 10**6).wait_ms == 0


def test_a_fresh_bucket_has_a_minutes_worth_at_once() -> None:
    bucket = Bucket(60)

    standings = [bucket.take(1, 5 * SECOND) for _ in range(61)]

    assert [standing.remaining for standing in standings] == [*range(59, -1, -1), 0]
    assert standings[0] == Standing(60, 59, 1000)
    assert standings[60] == Standing(60, 0, 60_000, 1000)


def test_looking_takes_nothing() -> None:
    bucket = Bucket(2)
    bucket.take(1, 0)

    assert [bucket.look(0) for _ in range(3)] == [Standing(2, 1, 30_000)] * 3
    bucket.take(1, 0)
    assert bucket.look(0) == Standing(2, 0, 60_000, 30_000)


def test_what_was_more_than_thought_is_owed_and_what_was_less_is_there_again() -> None:
    bucket = Bucket(60)
    bucket.take(10, 0)
    bucket.correct(70, 0)

    assert bucket.look(0) == Standing(60, 0, 80_000, 21_000)
    bucket.correct(-80, 0)
    assert bucket.look(0) == Standing(60, 60, 0)
    bucket.correct(-1000, 0)
    assert bucket.look(0) == Standing(60, 60, 0), "nothing is given that was not there"


@pytest.mark.parametrize("limit, share, at_once", [(60, 4, 15), (61, 4, 15), (3, 4, 1), (1, 64, 1)])
def test_processes_that_share_a_limit_take_a_part_each(limit: int, share: int, at_once: int) -> None:
    """And none of them nothing: a key with a small limit is served by whichever process it meets."""
    bucket = Bucket(limit, share)

    taken = sum(not bucket.take(1, 0).wait_ms for _ in range(limit + 1))
    later = sum(not bucket.take(1, 60 * 64 * SECOND).wait_ms for _ in range(limit + 1))

    assert (taken, later) == (at_once, at_once)
    assert bucket.limit == limit


def test_limits_are_true_when_there_is_one() -> None:
    assert [bool(limits) for limits in (Limits(), Limits(1), Limits(tokens=1), Limits(concurrency=1))] == [
        False,
        True,
        True,
        True,
    ]
