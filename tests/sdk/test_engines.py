"""Engines by place: shared, kept while in use, the oldest idle ones let go."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from embedrock.accounts import Account
from embedrock.faces.sdk.arguments import Place, find_place
from embedrock.faces.sdk.engines import Engines


def place(key: str) -> Place:
    account = Account(access_key=key, secret_key="s")
    return find_place("m", account=account, region="us-east-1", endpoint="http://127.0.0.1:1", environ={})


async def test_equal_places_share_one_that_is_opened_once() -> None:
    engines = Engines()

    async def use() -> object:
        async with engines.here(place("a")) as gateway:
            await asyncio.sleep(0)
            return gateway

    first, *others = await asyncio.gather(*(use() for _ in range(10)))

    assert all(other is first for other in others)
    await engines.close()


async def test_others_are_apart() -> None:
    engines = Engines()
    async with engines.here(place("a")) as first, engines.here(place("b")) as second:
        assert first is not second
    await engines.close()


async def test_those_used_longest_ago_are_let_go() -> None:
    engines = Engines(kept=2)

    async def use(key: str) -> object:
        async with engines.here(place(key)) as gateway:
            return gateway

    a, b = await use("a"), await use("b")
    assert await use("a") is a, "used again"
    await use("c")

    assert await use("a") is a
    assert await use("b") is not b
    await engines.close()


async def test_those_in_use_are_kept() -> None:
    engines = Engines(kept=1)
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(engines.here(place(key))) for key in "abc"]
        for key, gateway in zip("abc", held, strict=True):
            async with engines.here(place(key)) as again:
                assert again is gateway
    await engines.close()


async def test_few_that_idle_are_kept() -> None:
    engines = Engines(kept=64)

    async def use(key: str) -> object:
        async with engines.here(place(key)) as gateway:
            return gateway

    held = [await use(str(number)) for number in range(40)]

    assert [await use(str(number)) for number in range(40)] == held
    await engines.close()


async def test_who_gives_up_does_not_stop_the_opening_for_others() -> None:
    engines = Engines()

    async def use() -> object:
        async with engines.here(place("a")) as gateway:
            return gateway

    impatient, patient = asyncio.create_task(use()), asyncio.create_task(use())
    await asyncio.sleep(0)
    impatient.cancel()

    assert await patient is not None
    with pytest.raises(asyncio.CancelledError):
        await impatient
    await engines.close()
