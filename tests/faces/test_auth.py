"""Who is let in: hostile keys cost nothing and leave no trace, and who tries many is told to wait."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from embedrock import settings
from embedrock.faces.http import auth
from embedrock.faces.http.app import App
from embedrock.service import issuing
from embedrock.service.key_form import make
from embedrock.service.policy import Policy
from embedrock.store import Store, open_store
from embedrock.store.engine import Param
from embedrock.store.secret import Secret
from embedrock.store.sqlite import SqliteSession

OPERATOR = "operators-key"
CANARY = "zebrafinch-8841"
ELSEWHERE, NEIGHBOUR, FAR = "192.0.2.10", "192.0.2.99", "198.51.100.1"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Place:
    """The application by plain ASGI, with a database of keys."""

    def __init__(self, app: App, store: Store, secret: Secret) -> None:
        self.app = app
        self.store = store
        self.secret = secret

    async def issue(self) -> issuing.Issued:
        return await issuing.issue(self.store, self.secret, "team", "", Policy())

    async def get(self, *authorizations: bytes, client: str = "127.0.0.1", path: str = "/v1/models") -> Reply:
        scope = {
            "type": "http",
            "method": "GET",
            "raw_path": path.encode(),
            "headers": [(b"authorization", value) for value in authorizations],
            "client": (client, 5000),
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            raise AssertionError("the body of a request without a key is not read")

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, end = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], headers, end["body"])


@asynccontextmanager
async def living(app: App) -> AsyncIterator[None]:
    """Open the application as a server does."""
    life: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    told: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan"}, life.get, told.put))
    await life.put({"type": "lifespan.startup"})
    assert (await told.get())["type"] == "lifespan.startup.complete"
    yield
    await life.put({"type": "lifespan.shutdown"})
    await task


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    url = f"sqlite:///{tmp_path / 'db'}"
    store = await open_store(url)
    await issuing.open_account(store, "team", None)
    chosen = settings.load({"EMBEDROCK_EMULATED": "true", "EMBEDROCK_API_KEY": OPERATOR, "EMBEDROCK_DATABASE_URL": url})
    app = App(chosen)
    async with living(app):
        yield Place(app, store, Secret("", tmp_path / "db.secret"))
    await store.close()


def hostile(seed: int, count: int) -> list[bytes]:
    """Return values of Authorization that somebody might try: words of attacks, of SQL too, odd bytes, near misses."""
    rng = random.Random(seed)
    words = [
        b"' OR 1=1--", b"'; DROP TABLE api_keys; --", b"%00", b"\x00", "😀".encode(), "\u202e".encode(), b"%s%n%x",
        b"${jndi:ldap://x}", b"{{7*7}}", b"\" UNION SELECT * FROM api_keys --", b"../../etc/passwd", b"sk-embedrock-",
        CANARY.encode(), b"\xa0", "ｋｅｙ".encode(), b"Bearer ", b"\t", b",", b"=", OPERATOR.encode()[:-1],
    ]  # fmt: skip
    found = []
    for _ in range(count):
        scheme = rng.choice([b"Bearer ", b"Bearer ", b"Bearer ", b"bearer", b"Basic ", b"", b"Bearer  "])
        if rng.random() < 0.4:
            body = bytearray(make().encode())
            body[rng.randrange(13, len(body))] = rng.randrange(256)
            value = bytes(body) + rng.choice([b"", b"", rng.choice(words)])
        else:
            value = b"".join(rng.choice(words) for _ in range(rng.randrange(1, 6)))
        found.append(scheme + CANARY.encode() * (rng.random() < 0.5) + value)
    return found


async def test_hostile_keys_reach_no_statement_no_log_and_no_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """5,000 of them, with every statement to the database traced."""
    right = (await place.issue()).token
    traced: list[tuple[str, tuple[Param, ...]]] = []
    execute = SqliteSession.execute

    def trace(self: SqliteSession, sql: str, *params: Param) -> list[tuple[Any, ...]]:
        traced.append((sql, params))
        return execute(self, sql, *params)

    monkeypatch.setattr(SqliteSession, "execute", trace)
    values = hostile(8841, 5000)
    with caplog.at_level(logging.DEBUG):
        replies = [await place.get(value) for value in values]
    assert (await place.get(b"Bearer " + right.encode())).status == 200

    looked_up = [(sql, params) for sql, params in traced if "api_keys" in sql]
    assert {reply.status for reply in replies} == {401}
    assert len(looked_up) > 50, "some of them look like keys, and are looked up"
    assert len({sql for sql, _ in looked_up}) == 1
    assert all(len(params) == 1 and isinstance(params[0], bytes) and len(params[0]) == 32 for _, params in looked_up)
    seen = repr(traced) + caplog.text + repr([reply.body + repr(reply.headers).encode() for reply in replies])
    assert CANARY not in seen
    assert "DROP" not in seen and "jndi" not in seen and right not in seen


@pytest.mark.parametrize(
    "sent, code",
    [
        ((), None),
        ((b"Bearer",), "invalid_api_key"),
        ((b"Bearer ",), "invalid_api_key"),
        ((b"Bearer " + b"x" * 1_000_000,), "invalid_api_key"),
        ((b"Basic " + OPERATOR.encode(),), "invalid_api_key"),
        ((b"Bearer " + OPERATOR.encode(), b"Bearer " + OPERATOR.encode()), "invalid_api_key"),
        ((b"Bearer " + OPERATOR.encode() + b" ",), "invalid_api_key"),
        ((b"Bearer " + OPERATOR.upper().encode(),), "invalid_api_key"),
        ((b"Bearer " + OPERATOR.encode()[:-1] + b"z",), "invalid_api_key"),
        ((b"Bearer " + OPERATOR.encode() + b"\xc2\xa0",), "invalid_api_key"),
    ],
)
async def test_nothing_but_a_key_is_a_key(place: Place, sent: tuple[bytes, ...], code: str | None) -> None:
    reply = await place.get(*sent)

    assert reply.status == 401
    assert (f'"code":"{code}"' if code else '"code":null').encode() in reply.body
    assert reply.headers["x-should-retry"] == "false"


async def test_wrong_keys_cost_next_to_nothing(place: Place) -> None:
    """Also those that are as long as a header can be, and those that look like keys and are looked up."""
    for key in (b"x" * 60_000, b"eyJ" + b"x" * 60_000, make().encode(), OPERATOR.encode() + b"x"):
        await place.get(b"Bearer " + key)
        started = time.thread_time()
        for _ in range(200):
            await place.get(b"Bearer " + key)

        assert (time.thread_time() - started) / 200 < 0.001


async def test_key_is_read_in_one_place_only(place: Place) -> None:
    for path in (f"/v1/models?api_key={OPERATOR}", f"/v1/models/{OPERATOR}"):
        assert (await place.get(path=path)).status == 401


async def test_who_tries_many_keys_is_told_to_wait_and_nobody_else_is(place: Place) -> None:
    right = (await place.issue()).token.encode()
    tries = [await place.get(b"Bearer " + make().encode(), client=ELSEWHERE) for _ in range(50)]
    neighbour = await place.get(b"Bearer wrong", client=NEIGHBOUR)
    far = await place.get(b"Bearer wrong", client=FAR)

    assert [reply.status for reply in tries] == [401] * 20 + [429] * 30
    assert tries[-1].headers["retry-after"] == "3"
    assert (neighbour.status, far.status) == (429, 401), "a network is 256 addresses"
    for client in (ELSEWHERE, FAR):
        for key in (right, OPERATOR.encode()):
            assert (await place.get(b"Bearer " + key, client=client)).status == 200


async def test_wrong_keys_from_this_machine_are_not_counted_together(place: Place) -> None:
    """A proxy in front of the gateway stands there for everybody."""
    replies = [await place.get(b"Bearer wrong") for _ in range(50)]

    assert {reply.status for reply in replies} == {401}


@pytest.mark.parametrize(
    "client, network",
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("::ffff:127.0.0.1", None),
        ("127.0.0.9", None),
        ("::1", None),
        ("", None),
        ("unix", None),
    ],
)
def test_network_of_an_address(client: str, network: str | None) -> None:
    assert auth._network(client) == network


async def test_networks_that_were_long_quiet_are_forgotten(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_NETWORKS", 5)
    now = 10**15
    monkeypatch.setattr("time.monotonic_ns", lambda: now)
    for number in range(50):
        await place.get(b"Bearer wrong", client=f"10.0.{number}.1")
        now += 4 * 10**9

    kept = place.app._auth
    assert kept is not None
    assert len(kept._tries) <= 6
