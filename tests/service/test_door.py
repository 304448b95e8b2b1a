"""Who is let in: by requests, tokens and requests at once of a key."""

from __future__ import annotations

import pytest

from embedrock.errors import BadRequest, RateLimited, TokensLimited
from embedrock.service import door as door_module
from embedrock.service.callers import Caller
from embedrock.service.door import Admission, Door
from embedrock.service.limits import Limits

SECOND = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        return self.now


class Place:
    """A door, its clock, and what its callers do."""

    def __init__(self, share: int = 1) -> None:
        self.clock = Clock()
        self.door = Door(share, self.clock)

    async def enter(self, limits: Limits, name: str = "key") -> Admission:
        admission = self.door.open(Caller(name, limits))
        await admission.enter()
        return admission

    async def refusal(self, limits: Limits, name: str = "key") -> RateLimited:
        with pytest.raises(RateLimited) as caught:
            await self.enter(limits, name)
        return caught.value


async def test_requests_a_minute_are_counted_by_key() -> None:
    place, limits = Place(), Limits(requests=2)
    first = await place.enter(limits)
    await place.enter(limits)
    refused = await place.refusal(limits)
    await place.enter(limits, "another key")

    assert first.requests is not None and first.requests.remaining == 1
    assert (type(refused), refused.type, refused.code) == (RateLimited, "requests", "rate_limit_exceeded")
    assert (refused.wait_ms, refused.retry_after_s) == (30_000, 30)
    place.clock.now += 30 * SECOND
    await place.enter(limits)


async def test_refused_request_takes_nothing() -> None:
    place, limits = Place(), Limits(requests=2, concurrency=1)
    inside = await place.enter(limits)
    for _ in range(5):
        assert "under way" in (await place.refusal(limits)).message
    inside.leave()
    inside.leave()  # again, at no harm

    assert (await place.enter(limits)).requests is not None


async def test_request_that_was_not_let_in_does_not_leave() -> None:
    place, limits = Place(), Limits(concurrency=1)
    await place.enter(limits)
    outside = place.door.open(Caller("key", limits))
    with pytest.raises(RateLimited):
        await outside.enter()
    outside.leave()

    assert "1" in (await place.refusal(limits)).message


async def test_tokens_are_taken_as_an_estimate_and_put_right() -> None:
    place, limits = Place(), Limits(tokens=100)
    admission = await place.enter(limits)
    await admission.spend(40)
    assert admission.tokens is not None and admission.tokens.remaining == 60

    admission.correct(25)

    assert admission.tokens.remaining == 75
    with pytest.raises(TokensLimited) as caught:
        await admission.spend(76)
    assert (caught.value.type, caught.value.wait_ms) == ("tokens", 600)


async def test_request_of_a_key_that_owes_tokens_is_refused_before_its_body_is_read() -> None:
    place, limits = Place(), Limits(requests=5, tokens=100)
    admission = await place.enter(limits)
    await admission.spend(100)
    admission.correct(200)
    refused = await place.refusal(limits)
    place.clock.now += 61 * SECOND
    again = await place.enter(limits)

    assert (type(refused), refused.wait_ms) == (TokensLimited, 60_600)
    assert refused.retry_after_s == 60, "no header tells more"
    assert again.requests is not None and again.requests.remaining == 4, "the refused one was not counted"


async def test_request_of_more_tokens_than_a_minutes_worth_is_no_matter_of_waiting() -> None:
    admission = await Place().enter(Limits(tokens=100))
    with pytest.raises(BadRequest) as caught:
        await admission.spend(101)

    assert (caught.value.param, caught.value.code, caught.value.hopeless) == ("input", "request_tokens_exceeded", True)


async def test_what_a_failed_request_was_going_to_use_is_given_back() -> None:
    place, limits = Place(), Limits(tokens=100)
    admission = await place.enter(limits)
    await admission.spend(80)
    admission.leave()

    await (await place.enter(limits)).spend(100)


async def test_changed_limits_count_anew() -> None:
    place = Place()
    await place.enter(Limits(requests=1))
    await place.refusal(Limits(requests=1))

    await place.enter(Limits(requests=2))


async def test_callers_who_owe_nothing_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "_KEPT", 3)
    place, limits = Place(), Limits(requests=60, concurrency=2)
    busy = await place.enter(limits, "busy")
    for number in range(50):
        (await place.enter(limits, f"once {number}")).leave()
        place.clock.now += 2 * SECOND

    assert len(place.door._accounts) <= 3
    assert "busy" in place.door._accounts
    busy.leave()


async def test_processes_at_one_port_divide_requests_at_once() -> None:
    place, limits = Place(share=2), Limits(concurrency=5)
    await place.enter(limits)
    await place.enter(limits)

    await place.refusal(limits)
