"""Answers that are kept: packed without holding up others, and not at all when they are too large."""

from __future__ import annotations

import random
import threading
import zlib
from typing import Any

import pytest

from embedrock.faces.http import replays
from embedrock.faces.http.messages import Answer
from embedrock.wire import openai


class Watched:
    """`zlib`, and the threads that used it."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def compress(self, data: bytes, level: int) -> bytes:
        self.threads.append(threading.current_thread())
        return zlib.compress(data, level)

    def decompress(self, data: bytes) -> bytes:
        self.threads.append(threading.current_thread())
        return zlib.decompress(data)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    watched = Watched()
    monkeypatch.setattr(replays, "zlib", watched)
    return watched


def answer_of(size: int) -> Answer:
    pieces = tuple(random.Random(1).randbytes(size)[at : at + 100_000] for at in range(0, size, 100_000))
    return Answer(openai.Body(size, pieces), [(b"x-embedrock-model", b"m")], 202)


def parts(answer: Answer) -> tuple[Any, ...]:
    return answer.status, answer.headers, b"".join(answer.body.pieces), answer.body.length


@pytest.mark.parametrize("size, in_a_thread", [(0, False), (1000, False), (500_000, True)])
async def test_answer_comes_back_as_it_was_and_a_large_one_holds_nobody_up(
    watched: Watched, size: int, in_a_thread: bool
) -> None:
    answer = answer_of(size)
    kept = await replays.pack(answer)
    assert kept is not None

    assert parts(await replays.unpack(kept)) == parts(answer)
    assert [thread is not threading.main_thread() for thread in watched.threads] == [in_a_thread] * 2


async def test_answer_that_is_too_large_is_not_even_packed(watched: Watched) -> None:
    assert await replays.pack(answer_of(8_000_001)) is None
    assert watched.threads == []


async def test_answer_that_is_too_large_when_it_is_packed_is_not_kept() -> None:
    assert await replays.pack(answer_of(4_500_000)) is None
