"""Limits that replicas share: exact over all of them while Redis is there, and of each by itself when it is not."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from embedrock.errors import RateLimited, TokensLimited
from embedrock.service import shared_limits
from embedrock.service.callers import Caller
from embedrock.service.door import Admission, Door
from embedrock.service.limits import Limits
from embedrock.service.shared_limits import SharedLimits

PATIENT_S = 10.0  # a busy machine is no Redis that is away


class Replicas:
    """Some gateways' doors, that share a Redis."""

    def __init__(self, url: str, count: int, timeout_s: float = PATIENT_S) -> None:
        self.shared = [SharedLimits(url, seat_s=60, timeout_s=timeout_s) for _ in range(count)]
        self.doors = [Door(shared=shared) for shared in self.shared]
        self.name = f"test-{uuid.uuid4().hex}"

    async def enter(self, replica: int, limits: Limits) -> Admission:
        admission = self.doors[replica].open(Caller(self.name, limits))
        try:
            await admission.enter()
        except RateLimited:
            admission.leave()
            raise
        return admission

    async def allowed(self, replica: int, limits: Limits, tries: int) -> int:
        """Return how many of so many requests one after the other are let in."""
        count = 0
        for _ in range(tries):
            try:
                (await self.enter(replica, limits)).leave()
                count += 1
            except RateLimited:
                pass
        return count

    async def settled(self) -> None:
        """Return when all that is given back has been."""
        for shared in self.shared:
            while shared._tasks:
                await asyncio.wait(shared._tasks)

    async def close(self) -> None:
        for shared in self.shared:
            await shared.close()


@pytest.fixture
async def three(redis_url: str) -> AsyncIterator[Replicas]:
    replicas = Replicas(redis_url, 3)
    yield replicas
    await replicas.settled()
    for shared in replicas.shared[:1]:
        await shared._redis.delete(*shared_limits._keys(replicas.name))
    await replicas.close()


async def test_requests_are_counted_over_all_replicas(three: Replicas) -> None:
    """8 clients with 100 calls each: never more than the burst and the rate, and nearly all of it."""
    limits = Limits(requests=600)
    started = time.monotonic()
    clients = [three.allowed(number % 3, limits, 100) for number in range(8)]
    allowed = sum(await asyncio.gather(*clients))
    took_s = time.monotonic() - started

    assert 0.99 * 600 <= allowed <= 600 + 10 * took_s + 1


async def test_standing_is_that_of_all_replicas(three: Replicas) -> None:
    limits = Limits(requests=60, tokens=600)
    for replica in (0, 1, 2, 0):
        admission = await three.enter(replica, limits)
    await admission.spend(100)

    assert admission.requests is not None and admission.tokens is not None
    assert admission.requests.remaining in (56, 57), "a second gives one back"
    assert 500 <= admission.tokens.remaining <= 520
    assert 3000 < admission.requests.reset_ms <= 4000


async def test_seats_are_counted_over_all_replicas_and_given_back(three: Replicas) -> None:
    limits = Limits(concurrency=2)
    inside = [await three.enter(replica, limits) for replica in (0, 1)]
    with pytest.raises(RateLimited, match="under way"):
        await three.enter(2, limits)
    inside[0].leave()
    await three.settled()

    await three.enter(2, limits)
    with pytest.raises(RateLimited, match="under way"):
        await three.enter(0, limits)


async def test_seat_of_a_process_that_died_is_free_again(redis_url: str) -> None:
    shared = SharedLimits(redis_url, seat_s=0.001, timeout_s=PATIENT_S)
    name, limits = f"test-{uuid.uuid4().hex}", Limits(concurrency=1)
    outcomes = []
    for number in range(200):
        taken = await shared.enter(name, limits, f"request {number}")
        assert taken is not None
        outcomes.append(taken.refused)
    await shared.close()

    assert outcomes.count(None) > 1, "none of them left"


async def test_tokens_are_shared_and_put_right(three: Replicas) -> None:
    limits = Limits(tokens=600)
    first = await three.enter(0, limits)
    await first.spend(500)
    second = await three.enter(1, limits)
    with pytest.raises(TokensLimited) as caught:
        await second.spend(200)
    assert 9_000 < caught.value.wait_ms <= 10_000
    first.correct(100)
    await three.settled()

    await second.spend(450)
    assert first.tokens is not None and 490 <= first.tokens.remaining <= 520
    second.correct(2000)
    await three.settled()
    with pytest.raises(TokensLimited) as late:
        await three.enter(2, limits)
    assert 140_000 < late.value.wait_ms < 160_000


async def test_what_is_refused_takes_nothing_anywhere(three: Replicas) -> None:
    limits = Limits(requests=5, tokens=10)
    admission = await three.enter(0, limits)
    await admission.spend(10)
    for _ in range(10):
        with pytest.raises(TokensLimited):
            await three.enter(1, limits)
    admission.correct(0)
    await three.settled()

    assert await three.allowed(1, limits, 10) == 4


@settings(max_examples=15)
@given(limit=st.integers(1, 10**6), amounts=st.lists(st.integers(1, 10**6), min_size=1, max_size=12))
def test_script_agrees_with_the_buckets_of_one_process(redis_url: str, limit: int, amounts: list[int]) -> None:
    """Taken at once, so that next to nothing comes back meanwhile."""

    async def check() -> None:
        shared = SharedLimits(redis_url, seat_s=60, timeout_s=PATIENT_S)
        name, left = f"test-{uuid.uuid4().hex}", limit
        started = time.monotonic()
        for amount in (min(amount, limit) for amount in amounts):
            taken = await shared.spend(name, Limits(tokens=limit), amount)
            assert taken is not None and taken.tokens is not None
            back = (time.monotonic() - started) * limit / 60 + 1
            if taken.refused is None:
                left -= amount
                assert left + back >= 0, "no more than there is"
            else:
                assert amount > left, "no less than there is"
            assert left - 1 <= taken.tokens.remaining <= left + back
        await shared._redis.delete(*shared_limits._keys(name))
        await shared.close()

    with asyncio.Runner() as runner:
        runner.run(check())


# ----------------------------------------------------------------------------------------- Redis flushed and stopped


class Server:
    """A Redis of the test's own."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, cwd=self._directory, stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            until = time.monotonic() + 10
            while time.monotonic() < until:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert self._process.poll() is None
        raise AssertionError("it did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def flush(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server: that limits hold without Redis is NOT tested")
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


async def test_limits_hold_per_replica_when_redis_is_flushed_or_stopped(server: Server) -> None:
    """In mid-load, and when it comes back empty: no replica ever lets in more than the limits allow."""
    limits = Limits(requests=300, tokens=10**6)
    replicas = Replicas(server.url, 2, timeout_s=0.5)
    started = time.monotonic()
    counts = [0, 0]

    async def load(tries: int) -> list[int]:
        found = await asyncio.gather(*[replicas.allowed(replica, limits, tries) for replica in (0, 1)])
        for replica, count in enumerate(found):
            counts[replica] += count
        return found

    def most() -> float:
        return 300 + 5 * (time.monotonic() - started) + 1

    together = await load(100)
    server.flush()
    await load(100)
    await asyncio.to_thread(server.stop)
    alone = await load(200)
    assert sum(together) == 200
    assert all(shared._is_away for shared in replicas.shared)
    assert alone[0] >= 1 and max(counts) <= most()
    await asyncio.to_thread(server.start)
    for shared in replicas.shared:
        shared._away_until = 0.0
    await load(400)
    again = [await shared.enter(f"{replicas.name} anew", limits, "request") for shared in replicas.shared]

    assert None not in again, "it is used again"
    assert max(counts) <= most()
    assert min(counts) >= 0.99 * 300, "and nearly all of it can be had"
    await replicas.close()


async def test_redis_that_hangs_costs_a_request_a_blink_and_the_next_ones_nothing(server: Server) -> None:
    replicas = Replicas(server.url, 1, timeout_s=0.05)
    limits = Limits(requests=1000)
    assert await replicas.allowed(0, limits, 10) == 10
    server.signal(signal.SIGSTOP)
    started = time.monotonic()
    allowed = await replicas.allowed(0, limits, 101)
    took_s = time.monotonic() - started
    server.signal(signal.SIGCONT)

    assert allowed == 101
    assert replicas.shared[0]._is_away
    assert took_s < 1, "nobody waits for what was away a moment ago"
    await replicas.close()


async def test_server_is_ready_before_the_first_request(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    shared = SharedLimits(server.url, seat_s=60, timeout_s=PATIENT_S)
    shared.warm()
    await shared.close()
    with redis.Redis.from_url(server.url) as client:
        assert client.script_exists(shared._script.sha) == [True]

    server.stop()
    nowhere = SharedLimits(server.url, seat_s=60)
    nowhere.warm()
    await nowhere.close()
    assert "limits are not shared" in caplog.text, "the operator is told at start"


async def test_answer_to_a_caller_who_hung_up_is_nobody_elses(server: Server) -> None:
    """A command that was given up leaves its answer on the way; the next must not read it."""
    replicas = Replicas(server.url, 1)
    limits = Limits(requests=1000, tokens=5000)
    for number in range(200):
        entering = asyncio.create_task(replicas.enter(0, limits))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        admission = await replicas.enter(0, limits)
        assert admission.requests is not None and admission.tokens is not None
        assert (admission.requests.limit, admission.tokens.limit) == (1000, 5000)
        assert admission.tokens.remaining == 5000
        assert admission.requests.remaining <= 1000 - number - 1 + 20
        admission.leave()
    await replicas.close()


async def test_seats_left_while_redis_was_away_are_given_back_when_it_is_there(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hiccup must not lock a key out until its seats end by themselves."""
    monkeypatch.setattr(shared_limits, "_AWAY_S", 0.05)
    replicas = Replicas(server.url, 2, timeout_s=0.5)
    limits = Limits(concurrency=2)
    inside = [await replicas.enter(0, limits) for _ in range(2)]
    with pytest.raises(RateLimited, match="under way"):
        await replicas.enter(1, limits)
    server.signal(signal.SIGSTOP)
    assert await replicas.shared[0].enter(f"{replicas.name} other", limits, "request") is None, "it hangs"
    for admission in inside:
        admission.leave()
    server.signal(signal.SIGCONT)
    await replicas.settled()

    again = [await replicas.enter(1, limits) for _ in range(2)]
    assert len(again) == 2
    await replicas.close()


async def test_closing_waits_only_so_long_for_a_redis_that_stays_away(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_limits, "_CLOSE_S", 0.05)
    replicas = Replicas(server.url, 1, timeout_s=0.5)
    inside = await replicas.enter(0, Limits(concurrency=1))
    server.signal(signal.SIGSTOP)
    inside.leave()
    async with asyncio.timeout(10):
        await replicas.close()
    server.signal(signal.SIGCONT)
