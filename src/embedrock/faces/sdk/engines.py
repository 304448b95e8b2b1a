"""Engines by place: opened when first used, shared by everybody who calls the same place, the latest kept.

Lives on one event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from embedrock.faces.sdk.arguments import InvalidArgument, Place
from embedrock.faces.sdk.link import Link
from embedrock.faces.sdk.remote import Remote
from embedrock.settings import Settings, SettingsError
from embedrock.upstream.credentials import chain_region
from embedrock.wiring import Gateway, open_gateway

Open = Callable[[AsyncExitStack], Coroutine[Any, Any, Any]]

_KEPT: Final = 64  # a program may call with the keys of each of its tenants
_NO_REGION: Final = "There is no AWS region: pass one, set AWS_REGION_NAME or AWS_REGION, or have one in the profile."


class _Engine:
    """Something open. `opening` is one task for everybody who waits for it."""

    def __init__(self, open_: Open) -> None:
        self.stack = AsyncExitStack()
        self.users = 0
        self.opening = asyncio.create_task(open_(self.stack))
        self.opening.add_done_callback(lambda task: task.cancelled() or task.exception())  # it is told to who waits

    @property
    def failed(self) -> bool:
        return self.opening.done() and (self.opening.cancelled() or self.opening.exception() is not None)


class Engines:
    """What is open in this process."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._open: dict[Hashable, _Engine] = {}  # the one used longest ago first

    @asynccontextmanager
    async def here(self, place: Place) -> AsyncIterator[Gateway]:
        """Lend the engine that calls Bedrock at `place`. Raises InvalidArgument when it cannot be opened."""

        async def open_(stack: AsyncExitStack) -> Gateway:
            try:
                return await stack.enter_async_context(open_gateway(await _completed(place.settings)))
            except SettingsError as exc:
                raise InvalidArgument(str(exc)) from None

        async with self._lent(place.key, open_) as gateway:
            yield gateway

    @asynccontextmanager
    async def remote(self, base_url: str) -> AsyncIterator[Remote]:
        """Lend the connections to a gateway. Raises InvalidArgument."""

        async def open_(stack: AsyncExitStack) -> Remote:
            link = Link(base_url)
            stack.callback(link.close)
            return Remote(link)

        async with self._lent(base_url, open_) as remote:
            yield remote

    async def close(self) -> None:
        """Close all, whoever still uses them."""
        while self._open:
            await self._open.popitem()[1].stack.aclose()

    @asynccontextmanager
    async def _lent(self, key: Hashable, open_: Open) -> AsyncIterator[Any]:
        engine = self._open.pop(key, None) or _Engine(open_)
        self._open[key] = engine
        engine.users += 1
        try:
            yield await asyncio.shield(engine.opening)  # who hangs up does not stop it for the others
        finally:
            engine.users -= 1
            if engine.failed and self._open.get(key) is engine:
                del self._open[key]  # the next caller tries again
            idle = [key for key, other in self._open.items() if not other.users]
            for oldest in idle[: max(0, len(self._open) - self._kept)]:
                await self._open.pop(oldest).stack.aclose()


async def _completed(settings: Settings) -> Settings:
    """Return the settings with a region: the profile's, where nothing else said one. Roles are asked for there too."""
    if not settings.regions:
        region = await asyncio.to_thread(chain_region, settings.account.profile)
        if region is None:
            raise InvalidArgument(_NO_REGION, param="aws_region_name")
        settings = replace(settings, regions=(region,))
    if settings.account.role_arn and not settings.account.region:
        settings = replace(settings, account=replace(settings.account, region=settings.regions[0]))
    return settings
