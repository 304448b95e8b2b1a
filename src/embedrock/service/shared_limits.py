"""What keys have taken, kept in Redis or Valkey for all replicas.

One script decides on all limits of a request at once, in the server's time: nothing is taken unless all of it may be.
What is kept there may be lost at any time. A request waits no longer for it than a blink; then, and for a while after,
each process goes by what it knows itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Any, Final, NamedTuple

from redis.asyncio import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from embedrock.service.limits import Limits, Standing
from embedrock.telemetry import LOGGER

TIMEOUT_S: Final = 0.025
_AWAY_S: Final = 1.0  # before it is tried again
_CLOSE_S: Final = 1.0  # for what is still to be given back
_CONNECTIONS: Final = 32
_MINUTE_US: Final = 60_000_000

_log = logging.getLogger(LOGGER)

# KEYS: seats, requests, tokens. ARGV: seats there are, the request's id, how long it may sit (ms); then twice: a
# minute's worth, what to take, what must be there; and whether to take it whatever is there. Nothing of 0 is looked at.
# Answers what refused (1 seats, 2 requests, 3 tokens) or 0, the wait, and what is owed of requests and of tokens: all
# as times, in microseconds, until it is paid back. A float that is turned into text by Lua itself would be rounded.
_SCRIPT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local force = ARGV[10] == '1'
local seats = tonumber(ARGV[1])
if seats > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  if not force and redis.call('ZCARD', KEYS[1]) >= seats then return {1, 1000000, 0, 0} end
end
local refused, wait, owed, ends = 0, 0, {0, 0}, {}
for i = 1, 2 do
  local limit, cost, need = tonumber(ARGV[1 + 3 * i]), tonumber(ARGV[2 + 3 * i]), tonumber(ARGV[3 + 3 * i])
  if limit > 0 then
    local each = 60000000 / limit
    local start = math.max(tonumber(redis.call('GET', KEYS[1 + i]) or '0'), now)
    local late = start + math.max(cost, need) * each - limit * each - now
    if not force and late > 0.5 and (refused == 0 or late > wait) then
      refused, wait = 1 + i, math.ceil(late)
    end
    ends[i] = start + cost * each
    owed[i] = math.ceil(start - now)
  end
end
if refused > 0 then return {refused, wait, owed[1], owed[2]} end
if seats > 0 then
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]) * 1000, ARGV[2])
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[3]) + 1000)
end
for i = 1, 2 do
  if ends[i] and tonumber(ARGV[2 + 3 * i]) ~= 0 then
    owed[i] = math.max(0, math.ceil(ends[i] - now))
    if owed[i] > 0 then
      redis.call('SET', KEYS[1 + i], string.format('%.0f', ends[i]), 'PX', math.ceil(owed[i] / 1000) + 1000)
    else
      redis.call('DEL', KEYS[1 + i])
    end
  end
end
return {0, 0, owed[1], owed[2]}
"""


class Taken(NamedTuple):
    """What became of it. `refused`: by what, if by anything; the standings are of the limits that were looked at."""

    refused: str | None
    wait_ms: int
    requests: Standing | None
    tokens: Standing | None


class SharedLimits:
    """The limits in one server. `seat_s`: how long a request may be under way, whatever becomes of its process."""

    def __init__(self, url: str, *, seat_s: float, timeout_s: float = TIMEOUT_S) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            client_name="embedrock",
        )
        self._redis: Redis = Redis(connection_pool=pool)
        self._script = self._redis.register_script(_SCRIPT)
        self._seat_ms = int(seat_s * 1000)
        self._timeout_s = timeout_s
        self._away_until = 0.0
        self._is_away = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._seats: set[str] = set()  # of requests that asked for one, whether they know that they got it or not
        self._left: list[tuple[str, str]] = []  # seats to be given back, and whose they are
        self._returning = False

    def warm(self) -> None:
        """Connect, and bring the script there, in a moment: no request has to wait for that."""
        self._soon(self._warmed())

    async def enter(self, name: str, limits: Limits, request: str) -> Taken | None:
        """Take a seat and a request, while some tokens are left; None: the server is away."""
        if limits.concurrency and not self._is_resting():
            self._seats.add(request)
        taken = await self._run(name, limits, request, requests=1, tokens_needed=1)
        if taken is not None and taken.refused is not None:
            self._seats.discard(request)
        return taken

    async def spend(self, name: str, limits: Limits, tokens: int) -> Taken | None:
        """Take tokens; None: the server is away."""
        return await self._run(name, Limits(tokens=limits.tokens), "", tokens=tokens)

    def correct(self, name: str, limits: Limits, tokens: int) -> None:
        """Take so many tokens more, or give some back, in a moment."""
        if tokens:
            self._soon(self._run(name, Limits(tokens=limits.tokens), "", tokens=tokens, force=True))

    def leave(self, name: str, request: str) -> None:
        """Give a seat back, in a moment; or, while the server is away, as soon as it is there again."""
        if request in self._seats:
            self._seats.remove(request)
            self._left.append((name, request))
            if not self._returning:
                self._returning = True
                self._soon(self._return())

    async def close(self) -> None:
        """Finish what is to be given back, unless the server stays away, and let go of it."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._redis.aclose(close_connection_pool=True)

    async def _warmed(self) -> None:
        try:
            await self._redis.script_load(_SCRIPT)
        except (RedisError, OSError) as exc:
            self._failed(exc)

    async def _return(self) -> None:
        """Give back all seats that were left, and those that are left meanwhile."""
        try:
            while self._left:
                if (rest := self._away_until - time.monotonic()) > 0:
                    await asyncio.sleep(rest)
                    continue
                left, self._left = self._left, []
                try:
                    async with asyncio.timeout(self._timeout_s), self._redis.pipeline(transaction=False) as commands:
                        for name, request in left:
                            commands.zrem(_keys(name)[0], request)
                        await commands.execute()
                except (RedisError, OSError) as exc:
                    self._left += left
                    self._failed(exc)
        finally:
            self._returning = False

    def _is_resting(self) -> bool:
        """Return whether it was away a moment ago."""
        return self._away_until > time.monotonic()

    async def _run(
        self,
        name: str,
        limits: Limits,
        request: str,
        *,
        requests: int = 0,
        tokens: int = 0,
        tokens_needed: int = 0,
        force: bool = False,
    ) -> Taken | None:
        if self._is_resting():
            return None
        of_requests = (limits.requests or 0, requests, requests)
        of_tokens = (limits.tokens or 0, tokens, max(tokens, tokens_needed))
        seat = (limits.concurrency or 0, request, self._seat_ms)
        try:
            async with asyncio.timeout(self._timeout_s):  # connecting, waiting for a connection, and the command
                answer = await self._script(keys=_keys(name), args=[*seat, *of_requests, *of_tokens, int(force)])
        except (RedisError, OSError) as exc:  # a time that is over is an OSError
            self._failed(exc)
            return None
        if self._is_away:
            self._is_away = False
            _log.warning("limits are shared again")
        refused, wait_us, owed_requests, owed_tokens = answer
        return Taken(
            (None, "seats", "requests", "tokens")[refused],
            -(-wait_us // 1000),
            _standing(limits.requests, owed_requests),
            _standing(limits.tokens, owed_tokens),
        )

    def _failed(self, exc: Exception) -> None:
        self._away_until = time.monotonic() + _AWAY_S
        if not self._is_away:
            self._is_away = True
            _log.warning("limits are not shared: Redis is away (%s); each process goes by its own", type(exc).__name__)

    def _soon(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _keys(name: str) -> list[str]:
    # In braces: what stands there decides where in a cluster a key lives, and those of a script live together.
    return [f"embedrock:{{limits:{name}}}:{kind}" for kind in ("seats", "requests", "tokens")]


def _standing(limit: int | None, owed_us: int) -> Standing | None:
    if limit is None:
        return None
    remaining = (_MINUTE_US - owed_us) * limit // _MINUTE_US
    return Standing(limit, min(limit, max(0, remaining)), -(-owed_us // 1000))
