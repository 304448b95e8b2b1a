"""When calls may start: never more than a known quota, in turn, and nothing lost with those who give up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedrock.errors import Overloaded, UpstreamThrottled
from embedrock.service.pacer import _MOST_WAITING, Pacer, Quota
from embedrock.service.turns import served

from .virtual_time import run

SHARE = 0.95  # of a known quota that is spent
_settings = settings(deadline=None, max_examples=60)


def make(
    per_minute: float | None = None, *, tokens_per_minute: float | None = None, most_in_flight: int = 256
) -> Pacer:
    return Pacer(Quota(per_minute, tokens_per_minute), most_in_flight=most_in_flight, clock=time.monotonic)


def assert_nothing_left(pacer: Pacer) -> None:
    """Check that nobody is waiting or in flight, in any account of it."""
    assert (pacer.in_flight, pacer.waiting, pacer._turns.tokens) == (0, 0, 0)
    assert not any(pacer._turns._lines)
    assert not any(pacer._turns._planned)


async def called(pacer: Pacer, starts: list[str], name: str, *, tokens: int = 0, bulk: bool = False) -> None:
    """Make a call that takes no time."""
    await pacer.start(tokens, caller=name.split()[0], bulk=bulk)
    starts.append(name)
    pacer.ended(tokens, tokens)


# ---------------------------------------------------------------- a quota that is known


@_settings
@given(
    st.sampled_from([3.0, 20.0, 60.0, 600.0, 6000.0]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30)), max_size=25),
    st.randoms(use_true_random=False),
)
def test_known_quota_is_never_exceeded(per_minute: float, bursts: list[tuple[float, int]], draw: Random) -> None:
    """Whenever calls come, and however long they take: in each window at most burst + rate * t + 1 start."""
    rate = per_minute * SHARE / 60
    burst = max(1.0, 0.1 * rate)
    starts: list[float] = []

    async def call(pacer: Pacer) -> None:
        await pacer.start(0, caller=draw.choice("abc"), bulk=draw.random() < 0.3)
        starts.append(time.monotonic())
        await asyncio.sleep(draw.random())
        pacer.ended(0, None)

    async def main() -> None:
        pacer = make(per_minute, most_in_flight=20)
        async with asyncio.TaskGroup() as group:
            for share, number in bursts:
                for _ in range(number):
                    group.create_task(call(pacer))
                await asyncio.sleep(share * 10 / rate)
        assert_nothing_left(pacer)

    run(main)

    assert len(starts) == sum(number for _, number in bursts)
    for first, begun in enumerate(starts):
        for last in range(first, len(starts)):
            assert last - first + 1 <= burst + rate * (starts[last] - begun) + 1 + 1e-6


@pytest.mark.parametrize("per_minute", [6, 20, 60, 600, 6000, 60_000])
def test_known_quota_is_nearly_spent_under_constant_demand(per_minute: int) -> None:
    starts = 0
    for_s = max(10.0, 40 * 60 / per_minute)

    async def demand(pacer: Pacer) -> None:
        nonlocal starts
        while True:
            await pacer.start(0)
            starts += 1
            await asyncio.sleep(0.05)
            pacer.ended(0, None)

    async def main() -> None:
        pacer = make(per_minute)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(demand(pacer)) for _ in range(100)]
            await asyncio.sleep(for_s)
            for task in tasks:
                task.cancel()
        assert pacer.waiting == 0

    run(main)

    assert 0.9 * per_minute / 60 * for_s <= starts <= per_minute / 60 * for_s + 1


async def test_lone_call_starts_at_once_and_there_is_no_pace_without_a_quota() -> None:
    for pacer in (make(), make(6, tokens_per_minute=60)):
        assert pacer.try_start(1_000_000)
        pacer.ended(1_000_000, 0)
        assert_nothing_left(pacer)

    free = make()
    assert all(free.try_start(10**6) for _ in range(256))
    assert free.is_free
    assert free.projected_s(10**6, 10**9) == 0.0


def test_nobody_starts_before_one_who_waits() -> None:
    async def main() -> None:
        pacer = make(60)
        assert pacer.try_start(0)
        starts: list[str] = []
        waiting = asyncio.create_task(called(pacer, starts, "first"))
        await asyncio.sleep(1.2 / SHARE)
        assert starts == ["first"]
        others = [asyncio.create_task(called(pacer, starts, name)) for name in ("second", "third")]
        await asyncio.sleep(0)
        assert not pacer.try_start(0)
        await asyncio.gather(waiting, *others)
        assert starts == ["first", "second", "third"]

    run(main)


async def test_line_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _MOST_WAITING >= 10_000
    monkeypatch.setattr("embedrock.service.pacer._MOST_WAITING", 3)
    pacer = make(most_in_flight=1)
    assert pacer.try_start(0)
    waiting = [asyncio.create_task(pacer.start(0, caller="many")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await pacer.start(0, caller="many")

    waiting += [asyncio.create_task(pacer.start(0, caller="few")) for _ in range(3)]
    await asyncio.sleep(0)
    assert pacer.waiting == 4, "not because of others"
    for _ in range(5):
        pacer.ended(0, None)
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in found] == [type(None)] * 4 + [Overloaded] * 2
    assert_nothing_left(pacer)


# ---------------------------------------------------------------- tokens


def test_tokens_are_reserved_at_the_start_and_corrected_at_the_end() -> None:
    async def main() -> None:
        pacer = make(tokens_per_minute=6000)  # 95 a second, of which 9.5 may be saved up
        begun = time.monotonic()

        def passed() -> float:
            return time.monotonic() - begun

        await pacer.start(200)
        await pacer.start(10)  # when what was owed is there, and one more
        assert passed() == pytest.approx((200 - 9.5 + 1) / 95, abs=0.01)

        pacer.ended(200, 390)  # AWS counted more
        pacer.ended(10, 10)
        await pacer.start(0)
        assert passed() == pytest.approx((390 - 9.5 + 10 + 1) / 95, abs=0.01)
        pacer.ended(0, None)
        assert_nothing_left(pacer)

    run(main)


def test_tokens_that_come_back_let_the_next_start_at_once() -> None:
    """Not when the time has passed that they would have taken."""

    async def main() -> None:
        pacer = make(tokens_per_minute=6000)
        await pacer.start(95_000)
        waiting = asyncio.create_task(pacer.start(0))
        await asyncio.sleep(1)
        assert not waiting.done()
        begun = time.monotonic()
        pacer.ended(95_000, 285)
        await waiting

        assert time.monotonic() - begun == pytest.approx((285 - 9.5 + 1) / 95 - 1, abs=0.01)
        pacer.ended(0, 0)
        assert_nothing_left(pacer)

    run(main)


def test_tokens_that_are_known_late_are_reserved_late() -> None:
    async def main() -> None:
        pacer = make(tokens_per_minute=6000)
        begun = time.monotonic()
        await pacer.start(0)
        pacer.reserve(95)
        await pacer.start(0)
        assert time.monotonic() - begun == pytest.approx((95 - 9.5 + 1) / 95, abs=0.01)
        pacer.ended(95, 0)
        assert pacer.try_start(0), "what was reserved came back"

    run(main)


@_settings
@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 2)), min_size=1, max_size=60))
def test_token_quota_is_never_exceeded_by_more_than_the_last_call(calls: list[tuple[int, float]]) -> None:
    rate, burst = 6000 * SHARE / 60, 6000 * SHARE / 600
    starts: list[tuple[float, int]] = []

    async def call(pacer: Pacer, tokens: int) -> None:
        await pacer.start(tokens)
        starts.append((time.monotonic(), tokens))
        await asyncio.sleep(0.05)
        pacer.ended(tokens, tokens)

    async def main() -> None:
        pacer = make(tokens_per_minute=6000)
        async with asyncio.TaskGroup() as group:
            for tokens, pause in calls:
                group.create_task(call(pacer, tokens))
                await asyncio.sleep(pause)
        assert_nothing_left(pacer)

    run(main)

    for first in range(len(starts)):
        before = 0
        for begun, tokens in starts[first:]:
            assert before <= burst + rate * (begun - starts[first][0]) + 1e-6
            before += tokens


# ---------------------------------------------------------------- turns


@pytest.mark.parametrize("lines, more, turn", [({}, 3, 3), ({"b": 5}, 2, 4), ({"a": 1, "b": 5, "c": 1}, 2, 7)])
def test_turn_among_lines(lines: dict[str, int], more: int, turn: int) -> None:
    assert served(lines, "a", more) == turn


def test_callers_take_turns() -> None:
    """One with a single call waits for one of each other at most, not for the thousands of one."""

    async def main() -> list[str]:
        pacer = make(600)
        assert pacer.try_start(0)
        starts: list[str] = []
        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(called(pacer, starts, f"big {number}"))
            for number in range(50):
                group.create_task(called(pacer, starts, f"other {number}"))
            await asyncio.sleep(1)
            before = len(starts)
            group.create_task(called(pacer, starts, "small"))
        pacer.ended(0, None)
        assert_nothing_left(pacer)
        assert starts.index("small") - before <= 2
        return starts

    starts = run(main)

    assert [name for name in starts if name.startswith("big")] == [f"big {number}" for number in range(200)]
    first_half = [name.split()[0] for name in starts[:80] if name != "small"]
    assert all(one != another for one, another in pairwise(first_half))


def test_bulk_gets_what_the_others_leave_and_one_start_in_twenty() -> None:
    async def main() -> list[str]:
        pacer = make(600)
        assert pacer.try_start(0)
        starts: list[str] = []
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(called(pacer, starts, f"bulk {number}", bulk=True))
            for number in range(100):
                group.create_task(called(pacer, starts, f"small {number}"))
        pacer.ended(0, None)
        assert_nothing_left(pacer)
        return [name.split()[0] for name in starts]

    starts = run(main)

    served_first = starts[: starts.index("small", 95) + 1]
    assert served_first.count("bulk") == pytest.approx(len(served_first) / 20, abs=1)
    assert all("bulk" in served_first[at : at + 20] for at in range(len(served_first) - 20))
    assert set(starts[106:]) == {"bulk"}


# ---------------------------------------------------------------- giving up


@pytest.mark.parametrize("steps", list(range(8)))
@pytest.mark.parametrize("limit", ["requests", "tokens", "in flight"])
def test_one_who_gives_up_leaves_nothing_behind_at_any_moment(steps: int, limit: str) -> None:
    """Before, while and after the start comes; and the next one in line does not wait longer for it."""

    async def main() -> None:
        pacer = make(
            60 if limit == "requests" else None,
            tokens_per_minute=600 if limit == "tokens" else None,
            most_in_flight=1 if limit == "in flight" else 256,
        )
        assert pacer.try_start(20)
        starts: list[str] = []
        leaving = asyncio.create_task(pacer.start(500, caller="leaving"))
        staying = asyncio.create_task(called(pacer, starts, "staying"))
        await asyncio.sleep(0.5)
        pacer.ended(20, 0)
        for _ in range(steps):
            await asyncio.sleep(0)
        begun = time.monotonic()
        if leaving.cancel():
            with pytest.raises(asyncio.CancelledError):
                await leaving
        else:
            pacer.ended(500, 0)
        await staying

        assert time.monotonic() - begun < 1 / SHARE
        assert_nothing_left(pacer)
        await asyncio.sleep(10)
        for bucket in (pacer._requests, pacer._tokens):
            assert bucket is None or bucket.level(time.monotonic()) == bucket._most()

    run(main)


def test_start_that_came_too_late_is_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both what it spent and its place among those in flight."""

    async def main() -> None:
        pacer = make(1)  # one start a minute: a lost one would be noticed
        assert pacer.try_start(0)
        pacer.ended(0, None)
        starts: list[str] = []
        leaving = asyncio.create_task(pacer.start(0, caller="a"))
        staying = asyncio.create_task(called(pacer, starts, "b"))
        await asyncio.sleep(0)
        (waiting,) = pacer._turns._lines[0]["a"]
        begin = pacer._begin

        def begin_and_cancel(tokens: int) -> None:
            begin(tokens)
            asyncio.get_running_loop().call_soon(leaving.cancel)  # runs before the task that was waiting does

        monkeypatch.setattr(pacer, "_begin", begin_and_cancel)
        with pytest.raises(asyncio.CancelledError):
            await leaving
        begun = time.monotonic()
        assert waiting.start.result() is None, "the start had come"
        await staying

        assert time.monotonic() - begun < 0.1
        assert_nothing_left(pacer)

    run(main)


async def test_many_who_give_up_together_do_no_harm_to_who_ends_meanwhile() -> None:
    """When one lane fails, its others are cancelled at once: those in flight end before those in line have left."""
    pacer = make(most_in_flight=4)

    async def call() -> None:
        await pacer.start(0)
        try:
            await asyncio.Event().wait()
        finally:
            pacer.ended(0, None)

    calls = [asyncio.create_task(call()) for _ in range(64)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (pacer.in_flight, pacer.waiting) == (4, 60)
    for task in calls:
        task.cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(error) for error in found} == {asyncio.CancelledError}
    assert_nothing_left(pacer)
    assert pacer.try_start(0)


@_settings
@given(
    st.sampled_from([(None, None), (600.0, None), (None, 60_000.0), (600.0, 60_000.0)]),
    st.integers(1, 10),
    st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 2), st.integers(0, 400), st.booleans()), max_size=60),
)
def test_counts_hold_whoever_gives_up_when(
    quota: tuple[float | None, float | None], most: int, plan: list[tuple[float, float, int, bool]]
) -> None:
    """`plan`: pause before a call comes, how long it stays at most, its tokens, and whether it is bulk."""
    now = 0

    async def call(pacer: Pacer, number: int, tokens: int, bulk: bool) -> None:
        nonlocal now
        await pacer.start(tokens, caller=str(number % 3), bulk=bulk)
        now += 1
        assert pacer.in_flight <= most
        assert now <= most
        try:
            await asyncio.sleep(number % 5 / 10)
        finally:
            now -= 1
            pacer.ended(tokens, tokens // 2)

    async def main() -> None:
        pacer = make(quota[0], tokens_per_minute=quota[1], most_in_flight=most)
        loop = asyncio.get_running_loop()
        tasks = []
        for number, (pause, stay, tokens, bulk) in enumerate(plan):
            task = asyncio.create_task(call(pacer, number, tokens, bulk))
            loop.call_later(stay, task.cancel)
            tasks.append(task)
            await asyncio.sleep(pause)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in found} <= {type(None), asyncio.CancelledError}
        assert_nothing_left(pacer)
        await asyncio.sleep(60)
        for bucket in (pacer._requests, pacer._tokens):
            assert bucket is None or bucket.level(time.monotonic()) == bucket._most()
        for _ in range(most):
            assert pacer.in_flight < most
            await pacer.start(0)

    run(main)


# ---------------------------------------------------------------- how long it would take


@_settings
@given(
    st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=5),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([60.0, 600.0]),
)
def test_projection_tells_when_the_last_call_starts(
    others: list[tuple[int, bool]], mine: int, bulk: bool, per_minute: float
) -> None:
    """In turn with the others, and behind or before those of the other class."""

    async def main() -> tuple[float, float]:
        pacer = make(per_minute)
        while pacer.try_start(0):
            pass
        starts: list[str] = []
        async with asyncio.TaskGroup() as group:
            for number, (calls, others_bulk) in enumerate(others):
                for _ in range(calls):
                    group.create_task(called(pacer, starts, f"other{number}", bulk=others_bulk))
            await asyncio.sleep(0)
            projected = pacer.projected_s(mine, 0, caller="me", bulk=bulk)
            begun = time.monotonic()
            for _ in range(mine):
                last = group.create_task(called(pacer, starts, "me", bulk=bulk))
            await last
            took = time.monotonic() - begun
        return projected, took

    projected, took = run(main)
    a_start = 60 / (per_minute * SHARE)

    assert took == pytest.approx(projected, rel=0.1, abs=3 * a_start)


def test_projection_counts_tokens() -> None:
    async def main() -> None:
        pacer = make(tokens_per_minute=6000)
        await pacer.start(950)
        waiting = [asyncio.create_task(pacer.start(95, caller=name)) for name in ("a", "b")]
        await asyncio.sleep(0)

        assert pacer.projected_s(1, 95, caller="c") == pytest.approx((950 - 9.5 + 2 * 95) / 95)
        assert pacer.projected_s(2, 190, caller="c") == pytest.approx((950 - 9.5 + 3 * 95) / 95)

        pacer.ended(950, 0)
        await asyncio.gather(*waiting)

    run(main)


async def test_call_of_more_tokens_than_a_minute_has_is_let_in() -> None:
    """Those who come after it wait; it would never be let in otherwise."""
    pacer = make(tokens_per_minute=6000)

    pacer.admit(1, 10_000, time.monotonic() + 5)
    assert pacer.try_start(10_000)
    with pytest.raises(UpstreamThrottled):
        pacer.admit(1, 1, time.monotonic() + 5)


async def test_calls_of_requests_that_were_let_in_are_expected() -> None:
    pacer = make(60)
    second = 1 / SHARE

    with pacer.expecting(100, caller="a") as come:
        assert pacer.projected_s(50, 0, caller="b") == pytest.approx(99 * second)
        assert pacer.projected_s(1, 0, caller="b") == pytest.approx(1 * second), "callers take turns"
        assert pacer.projected_s(10, 0, caller="a") == pytest.approx(109 * second)
        assert pacer.projected_s(10, 0, caller="b", bulk=True) == pytest.approx(109 * second)
        for _ in range(60):
            come()
        assert pacer.projected_s(10, 0, caller="a") == pytest.approx(49 * second)
    assert pacer.projected_s(10, 0, caller="a") == pytest.approx(9 * second)
    assert_nothing_left(pacer)


async def test_what_cannot_end_in_time_is_refused_with_the_time_that_is_missing() -> None:
    pacer = make(60)
    now = time.monotonic()

    pacer.admit(20, 0, now + 30)
    with pytest.raises(UpstreamThrottled) as caught:
        pacer.admit(31, 0, now + 20)

    assert caught.value.retry_after_s == 12
    assert (caught.value.status, caught.value.code) == (429, "upstream_throttled")


@pytest.mark.parametrize(
    "texts, requests, patience_s, callers", [(1, 120, 20.0, 120), (10, 12, 20.0, 1), (25, 8, 40.0, 1)]
)
def test_those_who_are_refused_succeed_when_they_come_back_as_told(
    texts: int, requests: int, patience_s: float, callers: int
) -> None:
    """All come at once; each obeys, and has the same patience again. Nobody can be told more than 60 s."""
    told = came_back_well = 0

    async def lane(pacer: Pacer, name: str, come: Callable[[], None]) -> None:
        come()
        await pacer.start(0, caller=name)
        pacer.ended(0, None)

    async def request(pacer: Pacer, name: str) -> None:
        nonlocal told, came_back_well
        was_told = False
        while True:
            deadline = time.monotonic() + patience_s
            try:
                pacer.admit(texts, 0, deadline, caller=name)
            except UpstreamThrottled as exc:
                assert exc.retry_after_s is not None
                was_told = exc.retry_after_s < 60
                told += was_told
                await asyncio.sleep(exc.retry_after_s)
                continue
            with pacer.expecting(texts, caller=name) as come:
                await asyncio.gather(*[lane(pacer, name, come) for _ in range(texts)])
            assert time.monotonic() <= deadline + 0.1, "who is let in ends in time"
            came_back_well += was_told
            return

    async def main() -> None:
        pacer = make(60)
        async with asyncio.TaskGroup() as group:
            for number in range(requests):
                group.create_task(request(pacer, str(number % callers)))
        assert_nothing_left(pacer)

    run(main)

    assert told >= requests / 3
    assert came_back_well >= 0.95 * told
