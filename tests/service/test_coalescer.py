"""Texts of several callers in one call: when it goes, what is in it, and what becomes of it when something fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from math import ceil, log2
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedrock.errors import (
    BadRequest,
    ContextTooLong,
    EmbedrockError,
    InternalError,
    ModelAccessDenied,
    ModelNotFound,
    Unavailable,
    UpstreamThrottled,
)
from embedrock.service.attempts import start
from embedrock.service.coalescer import LULL_S, WINDOW_S, Coalescer, Part
from embedrock.service.health import Health
from embedrock.service.pacer import Pacer, Quota
from embedrock.service.ways import Way
from embedrock.upstream.bedrock import Bedrock

from .virtual_time import run

NOWHERE = Bedrock("us-east-1", "http://127.0.0.1:1", credentials=None, bearer="none")
LATENCY_S = 0.05


class Place:
    """A way to a Bedrock that embeds a text as itself, or does what `answer` says; and what fills its calls."""

    def __init__(
        self,
        most: int = 4,
        *,
        per_minute: float | None = None,
        answer: Callable[[Sequence[str]], BaseException | None] = lambda _: None,
        latency_s: float = LATENCY_S,
    ) -> None:
        self.way = Way(NOWHERE, Pacer(Quota(per_minute), clock=time.monotonic), "r", health=Health(time.monotonic))
        self.answer = answer
        self.refuses_starts: Exception | None = None
        self.sent: list[list[str]] = []
        self.at: list[float] = []
        self.begun = time.monotonic()
        self._latency_s = latency_s
        self.shared = Coalescer(self.send, self.start, most)

    async def start(self) -> Way:
        if self.refuses_starts is not None:
            raise self.refuses_starts
        return await start((self.way,), 0, time.monotonic() + 600, "shared")

    async def send(self, texts: Sequence[str], way: Way) -> list[Part]:
        self.sent.append(list(texts))
        self.at.append(time.monotonic() - self.begun)
        try:
            await asyncio.sleep(self._latency_s)
            if failure := self.answer(texts):
                raise failure
        finally:
            way.pacer.ended(0, None)
        return [Part(text.encode(), len(text), True, way.region) for text in texts]

    async def embed(self, *texts: str, caller: str = "") -> list[bytes]:
        return [part.vector for part in await self.parts(*texts, caller=caller)]

    async def parts(self, *texts: str, caller: str = "") -> list[Part]:
        return [part async for part in self.shared.embed(texts, caller)]

    def assert_nothing_left(self) -> None:
        shared = self.shared
        assert (shared.calls, shared._waiting, shared._filling) == (0, 0, None)
        assert not shared._lines
        assert not shared._on_their_way
        assert not shared._tasks
        assert shared.idle
        assert (self.way.pacer.in_flight, self.way.pacer.waiting) == (0, 0)


async def settle(steps: int = 5) -> None:
    for _ in range(steps):
        await asyncio.sleep(0)


# ---------------------------------------------------------------- when a call goes


def test_text_goes_at_once_when_no_call_is_under_way() -> None:
    async def main() -> None:
        place = Place()
        for number in range(3):
            assert await place.embed(str(number)) == [str(number).encode()]
        assert place.at == pytest.approx([0, LATENCY_S, 2 * LATENCY_S], abs=1e-6)
        place.assert_nothing_left()

    run(main)


def test_texts_that_come_while_a_call_is_under_way_wait_for_each_other_until_a_lull() -> None:
    async def main() -> None:
        place = Place(most=96)
        apart = LULL_S / 20
        async with asyncio.TaskGroup() as group:
            group.create_task(place.embed("first"))
            await asyncio.sleep(0.001)
            for number in range(40):
                group.create_task(place.embed(str(number)))
                await asyncio.sleep(apart)
        assert place.sent == [["first"], [str(number) for number in range(40)]]
        assert place.at == pytest.approx([0, 0.001 + 39 * apart + LULL_S], abs=1e-6)
        place.assert_nothing_left()

    run(main)


def test_texts_that_never_stop_coming_wait_a_window_at_most() -> None:
    async def main() -> None:
        place = Place(most=96)
        apart = LULL_S / 2
        async with asyncio.TaskGroup() as group:
            group.create_task(place.embed("first"))
            await asyncio.sleep(0.001)
            for number in range(25):
                group.create_task(place.embed(str(number)))
                await asyncio.sleep(apart)
        assert place.at[:3] == pytest.approx([0, 0.001 + WINDOW_S, 0.001 + 2 * WINDOW_S + apart], abs=2 * apart)
        assert [text for texts in place.sent[1:] for text in texts] == [str(number) for number in range(25)]
        place.assert_nothing_left()

    run(main)


def test_text_does_not_wait_longer_than_for_the_end_of_the_last_call() -> None:
    async def main() -> None:
        place = Place()
        async with asyncio.TaskGroup() as group:
            group.create_task(place.embed("first"))
            await asyncio.sleep(LATENCY_S - LULL_S / 4)
            group.create_task(place.embed("second"))
        assert place.at == pytest.approx([0, LATENCY_S], abs=1e-6)

    run(main)


def test_full_call_goes_at_once() -> None:
    async def main() -> None:
        place = Place(most=4)
        async with asyncio.TaskGroup() as group:
            group.create_task(place.embed("first"))
            await asyncio.sleep(0.001)
            for number in range(9):
                group.create_task(place.embed(str(number)))
        assert [len(texts) for texts in place.sent] == [1, 4, 4, 1]
        assert place.at == pytest.approx([0, 0.001, 0.001, 0.001 + LULL_S], abs=1e-6)
        place.assert_nothing_left()

    run(main)


def test_call_that_waits_for_the_pacer_takes_who_comes_meanwhile() -> None:
    """At the quota calls are full: a lone text does not spend a start."""

    async def main() -> None:
        place = Place(most=10, per_minute=20)
        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(place.embed(str(number)))
                await asyncio.sleep(0.3)
        assert [len(texts) for texts in place.sent] == [1, 10, 10, 9]
        assert sorted(text for texts in place.sent for text in texts) == sorted(map(str, range(30)))
        place.assert_nothing_left()

    run(main)


def test_calls_under_way_that_others_fill_count_too() -> None:
    async def main() -> None:
        place = Place()
        place.shared.calls += 1
        assert not place.shared.idle
        waiting = asyncio.create_task(place.embed("a"))
        await settle()
        assert not place.sent
        place.shared.ended()
        assert await waiting == [b"a"]
        assert place.at == pytest.approx([0], abs=1e-6)
        place.assert_nothing_left()

    run(main)


# ---------------------------------------------------------------- what is in it


def test_callers_take_turns_in_a_call() -> None:
    async def main() -> None:
        place = Place(most=4)
        async with asyncio.TaskGroup() as group:
            group.create_task(place.embed("first"))
            await settle()
            big = group.create_task(place.embed(*[f"big{number}" for number in range(8)], caller="big"))
            group.create_task(place.embed("s0", "s1", caller="small"))
            group.create_task(place.embed("t0", caller="tiny"))
        assert place.sent[1] == ["big0", "s0", "t0", "big1"]
        assert place.sent[2] == ["s1", "big2", "big3", "big4"]
        assert big.result() == [f"big{number}".encode() for number in range(8)]
        place.assert_nothing_left()

    run(main)


@pytest.mark.parametrize(
    "caller, texts, calls", [("new", 1, 0), ("new", 4, 2), ("big", 0, 2), ("big", 4, 3), ("small", 10, 4)]
)
def test_calls_before_the_last_of_some_texts_are_told(caller: str, texts: int, calls: int) -> None:
    async def main() -> None:
        place = Place(most=4)
        assert place.shared.calls_before("new", 100) == 0
        async with asyncio.TaskGroup() as group:
            group.create_task(place.embed("first"))
            await settle()
            place.way.pacer._most_in_flight = 1
            group.create_task(place.embed(*map(str, range(8)), caller="big"))
            group.create_task(place.embed("s", caller="small"))
            await settle()
            assert place.shared.calls_before(caller, texts) == calls

    run(main)


def test_call_holds_no_more_bytes_than_a_body_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedrock.service.coalescer.MAX_CALL_BYTES", 2000)

    async def main() -> None:
        place = Place(most=10)
        short, long, huge = "s" * 10, "l" * 100, "h" * 1000  # up to 120, 660 and 6,060 bytes as JSON
        async with asyncio.TaskGroup() as group:
            group.create_task(place.embed("first"))
            await settle()
            everything = group.create_task(place.embed(huge, long, short, long + "2", long + "3", short + "2"))
        assert place.sent[1:] == [[huge], [long, short, long + "2"], [long + "3", short + "2"]]
        assert len(everything.result()) == 6
        place.assert_nothing_left()

    run(main)


def test_equal_texts_on_their_way_are_sent_once() -> None:
    """Those that wait, and those of a call that is under way."""

    async def main() -> None:
        place = Place(most=10)
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(place.parts("same", "a", caller="a"))]
            await asyncio.sleep(0.01)
            asking += [group.create_task(place.parts("b", "same", "same", caller=name)) for name in "bc"]
        assert place.sent == [["same", "a"], ["b"]]
        found = [[part.vector for part in task.result()] for task in asking]
        assert found == [[b"same", b"a"], [b"b", b"same", b"same"], [b"b", b"same", b"same"]]
        tokens = [part.tokens for task in asking for part in task.result() if part.vector == b"same"]
        assert (sum(tokens), len(tokens)) == (len("same"), 5)
        assert max(tokens) <= 1
        assert sum(part.tokens for task in asking for part in task.result()) == len("sameab")
        place.assert_nothing_left()

        assert await place.embed("same") == [b"same"], "what has come is not kept"
        assert place.sent[2:] == [["same"]]

    run(main)


@given(st.integers(0, 1000), st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_tokens_of_a_shared_text_are_split_exactly(tokens: int, owners: int) -> None:
    async def main() -> list[int]:
        place = Place()

        async def send(texts: Sequence[str], way: Way) -> list[Part]:
            await asyncio.sleep(0.05)
            way.pacer.ended(0, None)
            return [Part(b"[]", tokens, True, "r") for _ in texts]

        shared = Coalescer(send, place.start, 4)

        async def ask() -> int:
            (tokens,) = [part.tokens async for part in shared.embed(["text"], "")]
            return tokens

        return list(await asyncio.gather(*[ask() for _ in range(owners)]))

    shares = run(main)

    assert sum(shares) == tokens
    assert max(shares) - min(shares) <= 1


# ---------------------------------------------------------------- who hangs up


def test_text_that_nobody_waits_for_any_more_does_not_go() -> None:
    async def main() -> None:
        place = Place()
        first = asyncio.create_task(place.embed("first"))
        await settle()
        leaving = asyncio.create_task(place.embed("left", "both", caller="leaving"))
        staying = asyncio.create_task(place.embed("both", caller="staying"))
        await settle()
        leaving.cancel()
        await asyncio.gather(first, staying)
        assert place.sent == [["first"], ["both"]]
        place.assert_nothing_left()

    run(main)


@pytest.mark.parametrize("per_minute", [None, 60.0])
def test_start_for_which_no_text_is_left_is_given_back(per_minute: float | None) -> None:
    async def main() -> None:
        place = Place(per_minute=per_minute)
        if per_minute is None:
            place.way.pacer._most_in_flight = 1
        assert place.way.pacer.try_start(0)
        leaving = asyncio.create_task(place.embed("left"))
        await settle()
        assert place.way.pacer.waiting == 1
        leaving.cancel()
        await settle()
        if per_minute is None:
            place.way.pacer.ended(0, None)
            await settle()
            place.assert_nothing_left()
        else:
            await asyncio.sleep(1.2)
            assert place.way.pacer.try_start(0), "no start was lost"
        assert place.sent == []

    run(main)


def test_owner_who_hangs_up_while_the_call_is_under_way_does_not_take_it_from_the_others() -> None:
    async def main() -> None:
        place = Place()
        leaving = asyncio.create_task(place.parts("same", "a", caller="a"))
        staying = asyncio.create_task(place.parts("same", caller="b"))
        await asyncio.sleep(0.01)
        leaving.cancel()
        (part,) = await staying
        assert (part.vector, part.tokens) == (b"same", 4)
        with pytest.raises(asyncio.CancelledError):
            await leaving
        place.assert_nothing_left()

    run(main)


def test_call_whose_owners_all_hung_up_ends_in_silence() -> None:
    async def main() -> None:
        place = Place(answer=lambda _: Unavailable("down"))
        leaving = [asyncio.create_task(place.embed("a", caller=name)) for name in "ab"]
        await asyncio.sleep(0.01)
        for task in leaving:
            task.cancel()
        await asyncio.sleep(0.01)
        place.answer = lambda _: None
        assert await place.embed("a") == [b"a"], "who comes after them has a call of its own"
        assert place.sent == [["a"], ["a"]]
        await asyncio.sleep(1)
        place.assert_nothing_left()

    run(main)


def test_call_is_given_up_with_its_last_owner_and_not_tried_again() -> None:
    async def main() -> None:
        place = Place()
        ended: list[str] = []

        async def send(texts: Sequence[str], way: Way) -> list[Part]:
            place.sent.append(list(texts))
            try:
                await asyncio.sleep(60)  # it is throttled, and tried again and again
            finally:
                ended.append("in time")
                way.pacer.ended(0, None)
            return []

        place.shared._send = send
        first, second = (asyncio.create_task(place.embed("same", name, caller=name)) for name in "ab")
        await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.sleep(0.1)
        assert not ended
        second.cancel()
        await settle()
        assert ended == ["in time"]
        assert place.sent == [["same", "b", "a"]]
        place.assert_nothing_left()

    run(main)


def test_rest_of_a_call_is_given_up_though_who_has_its_part_still_waits_for_another() -> None:
    async def main() -> None:
        place = Place(2)
        given_up: list[list[str]] = []

        async def send(texts: Sequence[str], way: Way) -> list[Part]:
            place.sent.append(list(texts))
            try:
                await asyncio.sleep(10 if texts == ["slow"] else LATENCY_S)
                if failure := bad(texts):
                    raise failure
            except asyncio.CancelledError:
                given_up.append(list(texts))
                raise
            finally:
                way.pacer.ended(0, None)
            return [Part(text.encode(), 1, True, "r") for text in texts]

        place.shared._send = send
        staying = asyncio.create_task(place.embed("a", "slow", caller="staying"))
        leaving = asyncio.create_task(alone(place, "bad", "leaving"))
        await asyncio.sleep(2.5 * LATENCY_S)
        assert place.sent == [["a", "bad"], ["slow"], ["a"], ["bad"]]
        leaving.cancel()
        await settle()
        assert given_up == [["bad"]]
        assert await staying == [b"a", b"slow"]
        place.assert_nothing_left()

    run(main)


@pytest.mark.parametrize("steps", list(range(6)))
def test_text_that_comes_while_a_call_with_it_is_given_up_is_sent_anew(steps: int) -> None:
    async def main() -> None:
        place = Place()
        leaving = asyncio.create_task(place.embed("a"))
        await asyncio.sleep(0.01)
        leaving.cancel()
        await settle(steps)
        assert await place.embed("a") == [b"a"]
        place.assert_nothing_left()

    run(main)


def test_call_goes_on_for_the_half_that_somebody_waits_for() -> None:
    async def main() -> None:
        place = Place(4, answer=bad)
        asking = [asyncio.create_task(alone(place, text, text)) for text in ("bad", "b", "c", "d")]
        await asyncio.sleep(2.5 * LATENCY_S)  # the first half is being cut further
        asking[0].cancel()
        asking[1].cancel()
        assert await asyncio.gather(*asking[2:]) == [[b"c"], [b"d"]]
        await settle()
        place.assert_nothing_left()

    run(main)


# ---------------------------------------------------------------- what is refused


def bad(texts: Sequence[str]) -> EmbedrockError | None:
    wrong = [text for text in texts if text.startswith("bad")]
    return ContextTooLong("too long") if wrong else None


@pytest.mark.parametrize("most", [2, 5, 96])
@pytest.mark.parametrize("wrong", [[0], [1], [0, 1], [3, 17, 50]])
def test_bad_text_hurts_only_its_owner(most: int, wrong: list[int]) -> None:
    async def main() -> None:
        place = Place(most, answer=bad)
        texts = [f"bad{number}" if number in wrong else str(number) for number in range(most)]
        async with asyncio.TaskGroup() as group:
            group.create_task(place.embed("first"))
            await settle()
            asking = [group.create_task(alone(place, text, str(number))) for number, text in enumerate(texts)]
        for text, task in zip(texts, asking, strict=True):
            if text.startswith("bad"):
                assert isinstance(task.result(), ContextTooLong)
            else:
                assert task.result() == [text.encode()]
        number_bad = sum(text.startswith("bad") for text in texts)
        assert len(place.sent) - 2 <= 2 * number_bad * ceil(log2(most))
        place.assert_nothing_left()

    run(main)


async def alone(place: Place, text: str, caller: str) -> list[bytes] | Exception:
    try:
        return await place.embed(text, caller=caller)
    except EmbedrockError as exc:
        return exc


@pytest.mark.parametrize(
    "error",
    [ModelAccessDenied("no"), ModelNotFound("no"), Unavailable("down"), UpstreamThrottled("slow"), InternalError("?")],
)
def test_refusal_that_no_text_can_help_costs_one_call(error: EmbedrockError) -> None:
    """Of all the texts of a call, a call each would be made otherwise."""

    async def main() -> None:
        place = Place(96, answer=lambda _: error)
        found = await asyncio.gather(*[alone(place, str(number), str(number)) for number in range(96)])
        assert [type(failure) for failure in found] == [type(error)] * 96
        assert len(place.sent) == 1
        assert len({id(failure) for failure in found}) == 96, "each owner names its own parameter in it"
        place.assert_nothing_left()

    run(main)


def test_owner_is_told_what_the_network_said() -> None:
    async def main() -> None:
        down = Unavailable("down")
        down.__cause__ = ConnectionRefusedError("refused")
        place = Place(answer=lambda _: down)
        failure = await alone(place, "a", "")
        assert isinstance(failure, Unavailable)
        assert failure.explained() == "down (refused)"

    run(main)


def test_half_whose_owners_hung_up_is_not_sent_again() -> None:
    async def main() -> None:
        place = Place(4, answer=bad)
        asking = [asyncio.create_task(alone(place, text, text)) for text in ("bad", "b", "c", "d")]
        await asyncio.sleep(LATENCY_S / 2)
        for task in asking[2:]:
            task.cancel()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert place.sent == [["bad", "b", "c", "d"], ["bad", "b"], ["bad"], ["b"]]
        assert [type(result) for result in found] == [ContextTooLong, list, *[asyncio.CancelledError] * 2]
        await settle()
        place.assert_nothing_left()

    run(main)


# ---------------------------------------------------------------- what breaks


def test_start_that_fails_fails_who_would_have_gone_and_the_next_is_tried() -> None:
    async def main() -> None:
        place = Place(4)
        place.refuses_starts = Unavailable("closed")
        found = await asyncio.gather(*[alone(place, str(number), "") for number in range(10)])
        assert [type(failure) for failure in found] == [Unavailable] * 10
        assert place.sent == []
        place.assert_nothing_left()

        place.refuses_starts = None
        assert await place.embed("a") == [b"a"]

    run(main)


def test_mistake_in_a_start_leaves_nobody_waiting_for_ever() -> None:
    async def main() -> None:
        place = Place(4)
        place.refuses_starts = ZeroDivisionError("ours")
        found = await asyncio.gather(*[alone(place, str(number), "") for number in range(10)])
        assert [type(failure) for failure in found] == [InternalError] * 10
        place.assert_nothing_left()

        place.refuses_starts = None
        assert await place.embed("a") == [b"a"]

    run(main, breaks=ZeroDivisionError)


@pytest.mark.parametrize("where", ["sending", "splitting", "parts"])
def test_mistake_in_a_call_leaves_nobody_waiting_for_ever(where: str) -> None:
    """Nor is anybody told that it was cancelled, which a request with several calls would take for an answer."""

    async def main() -> None:
        place = Place(4)
        if where == "sending":
            place.answer = lambda _: ValueError("ours")
        elif where == "splitting":
            place.answer = lambda texts: BadRequest("no") if len(texts) == 4 else ValueError("ours")
        else:
            send = place.send

            async def one_short(texts: Sequence[str], way: Way) -> list[Part]:
                return (await send(texts, way))[1:]

            place.shared._send = one_short
        found = await asyncio.gather(*[alone(place, str(number), "") for number in range(10)])
        assert [type(failure) for failure in found] == [InternalError] * 10
        place.assert_nothing_left()

        place.answer = lambda _: None
        place.shared._send = place.send
        assert await place.embed("a") == [b"a"]

    run(main, breaks=ValueError)


def test_call_that_is_cancelled_from_outside_leaves_nobody_waiting_for_ever() -> None:
    async def main() -> None:
        for wait_s in (0.0, 0.01):
            place = Place(4, per_minute=60)
            if not wait_s:
                assert place.way.pacer.try_start(0)
            asking = asyncio.create_task(alone(place, "a", ""))
            await asyncio.sleep(wait_s)
            await settle()
            for task in place.shared._tasks:
                task.cancel()
            assert isinstance(await asking, InternalError)
            assert await place.embed("b") == [b"b"]
            if not wait_s:
                place.way.pacer.ended(0, None)
            place.assert_nothing_left()

    run(main)


@settings(deadline=None, max_examples=150)
@given(
    st.integers(1, 6),
    st.sampled_from([None, 300.0, 1200.0]),
    st.lists(st.tuples(st.floats(0, 0.1), st.integers(1, 8), st.floats(0, 1.5)), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_whatever_fails_and_whoever_hangs_up_every_text_has_its_end(
    most: int, per_minute: float | None, requests: list[tuple[float, int, float]], draw: Random
) -> None:
    """`requests`: a pause before each, its texts, and how long its caller stays."""
    failures: list[Callable[[], EmbedrockError | None]] = [
        *[lambda: None] * 5,
        lambda: Unavailable("down"),
        lambda: UpstreamThrottled("slow"),
        lambda: BadRequest("no"),
    ]

    async def main() -> None:
        def answer(texts: Sequence[str]) -> EmbedrockError | None:
            return bad(texts) or draw.choice(failures)()

        place = Place(most, per_minute=per_minute, answer=answer)

        async def starts() -> Way:
            if draw.random() < 0.1:
                raise Unavailable("closed")
            return await place.start()

        place.shared._start = starts
        billed = 0

        async def request(texts: list[str], caller: str) -> None:
            nonlocal billed
            taken = 0
            try:
                async for part in place.shared.embed(texts, caller):
                    assert part.vector == texts[taken].encode(), "each has its own"
                    assert not texts[taken].startswith("bad")
                    taken += 1
                    billed += part.tokens
            except EmbedrockError:
                pass
            else:
                assert taken == len(texts)

        tasks = []
        for number, (pause_s, size, stay_s) in enumerate(requests):
            texts = [draw.choice(["bad", "same", "a", "b", f"own{number}"]) for _ in range(size)]
            task = asyncio.create_task(request(texts, str(number % 4)))
            asyncio.get_running_loop().call_later(stay_s, task.cancel)
            tasks.append(task)
            await asyncio.sleep(pause_s)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in found} <= {type(None), asyncio.CancelledError}
        while place.shared._tasks:
            await asyncio.gather(*place.shared._tasks, return_exceptions=True)
            await settle()
        place.assert_nothing_left()
        assert billed <= sum(len(text) for texts in place.sent for text in texts)

    run(main)
