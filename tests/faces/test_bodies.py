"""The bytes of bodies that the gateway holds at once are bounded."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from embedrock.errors import Overloaded
from embedrock.faces.http.bodies import Bodies

LARGEST = 100_000_000
CHUNKED = {b"transfer-encoding": b"chunked"}


def announced(length: int) -> dict[bytes, bytes]:
    return {b"content-length": b"%d" % length}


def test_large_bodies_have_room_until_together_they_are_too_many() -> None:
    bodies = Bodies()
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(bodies.room(announced(25_000_000), LARGEST))

        with pytest.raises(Overloaded), bodies.room(announced(25_000_000), LARGEST):
            pass
        with bodies.room(announced(60_000), LARGEST):
            pass  # a usual request is not refused

    assert bodies.held == 0
    with bodies.room(announced(25_000_000), LARGEST):
        pass


def test_one_alone_always_has_room() -> None:
    bodies = Bodies()

    with (
        bodies.room(announced(LARGEST), LARGEST),
        pytest.raises(Overloaded),
        bodies.room(announced(LARGEST), LARGEST),
    ):
        pass


def test_a_body_that_announces_nothing_counts_as_it_comes() -> None:
    bodies = Bodies()

    with bodies.room(CHUNKED, LARGEST) as one, bodies.room(CHUNKED, LARGEST) as other:
        one.grow(1)
        other.grow(1)
        assert bodies.held == 0, "a small one is not counted"
        one.grow(90_000_000)
        assert bodies.held == 90_000_000
        with pytest.raises(Overloaded):
            other.grow(60_000_000)

    assert bodies.held == 0


def test_a_body_over_the_limit_is_left_to_its_reader() -> None:
    bodies = Bodies()

    with bodies.room(announced(LARGEST + 1), LARGEST):
        assert bodies.held == 0


def test_a_failure_frees_what_was_held() -> None:
    bodies = Bodies()
    with pytest.raises(KeyError), bodies.room(announced(LARGEST), LARGEST):
        raise KeyError

    assert bodies.held == 0
