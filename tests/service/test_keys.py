"""Keys in the store: found by their digest, looked up seldom, ended within seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from embedrock.errors import BadRequest, EmbedrockError, InternalError, NotFound, StoreUnavailable, Unauthenticated
from embedrock.service import issuing, policy
from embedrock.service.callers import Budgets, Caller
from embedrock.service.issuing import Issued
from embedrock.service.key_form import PREFIX, digest, make, shown
from embedrock.service.keys import Keys
from embedrock.service.limits import Limits
from embedrock.service.policy import Policy
from embedrock.store import ConfigError, Store, Tx, keys, open_store, reports
from embedrock.store.secret import Secret
from embedrock.upstream.guardrail import Guardrail

T = TypeVar("T")
TITAN = "amazon.titan-embed-text-v2:0"


class Watched(Store):
    """A store that counts what is read, and that can be away."""

    reads = 0
    away = False
    answers: asyncio.Event | None = None

    async def read(self, fn: Callable[[Tx], T]) -> T:
        self.reads += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("away")
        if self.answers is not None:
            await self.answers.wait()
        return await super().read(fn)


class Place:
    """A store with one account, and keys that are looked up by a clock of the test's."""

    def __init__(self, store: Watched, path: Path) -> None:
        self.store = store
        self.secret = Secret("", path / "secret")
        self.now = 100.0
        self.keys = self.replica()

    def replica(self) -> Keys:
        async def store() -> Store:
            return self.store

        return Keys(
            store,
            self.secret.find,
            Limits(requests=7),
            clock=lambda: self.now,
            today=lambda: issuing.now_us() / 1e6 + self.now - 100.0,
        )

    async def issue(self, expires_at: int | None = None, **members: Any) -> Issued:
        return await issuing.issue(self.store, self.secret, "team", "", Policy(**members), expires_at)

    async def find(self, token: str) -> Caller:
        return await self.keys.find(token.encode())

    async def refusal(self, token: str | bytes) -> str | None:
        with pytest.raises(Unauthenticated) as caught:
            await self.keys.find(token if isinstance(token, bytes) else token.encode())
        return caught.value.code


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    store = await open_store(database_url)
    store.__class__ = Watched
    assert isinstance(store, Watched)
    place = Place(store, tmp_path)
    await issuing.open_account(store, "team", 5_000_000)
    yield place
    await store.close()


async def test_key_leads_to_what_it_may(place: Place) -> None:
    issued = await place.issue(
        models=(TITAN,),
        routes=("embeddings",),
        tokens_per_minute=100,
        budget_day=5,
        params={TITAN: {"dimensions": 256}},
        shares_calls=False,
        guardrail=("abc", "DRAFT"),
        s3_prefixes=("s3://media/a",),
    )
    account = await place.store.read(lambda tx: reports.account_named(tx, "team"))

    caller = await place.find(issued.token)

    assert account is not None
    assert caller == Caller(
        name=issued.id,
        limits=Limits(requests=7, tokens=100),
        account=account.id,
        key=issued.id,
        models=frozenset({TITAN}),
        routes=frozenset({"embeddings"}),
        budgets=Budgets(day=5),
        params={TITAN: {"dimensions": 256}},
        shares_calls=False,
        guardrail=Guardrail("abc", "DRAFT"),
        s3_prefixes=("s3://media/a",),
    )


async def test_key_without_bounds_may_all_but_read_in_s3(place: Place) -> None:
    caller = await place.find((await place.issue()).token)

    assert (caller.models, caller.routes, caller.guardrail, caller.shares_calls) == (None, None, None, True)
    assert caller.s3_prefixes == ()


async def test_key_itself_is_kept_nowhere(place: Place) -> None:
    token = (await place.issue()).token
    kept = await place.store.read(lambda tx: tx.execute("SELECT * FROM api_keys"))
    listed = await place.store.read(keys.listed)
    secret = place.secret.find()
    assert secret is not None

    random = token.removeprefix(PREFIX)
    assert len(random) == 43, "256 bits"
    assert random not in repr(kept)
    assert digest(secret, token.encode()) in [bytes(value) for value in kept[0] if isinstance(value, bytes)]
    assert listed[0].shown == shown(token) == f"sk-embedrock-…{token[-4:]}"
    assert len({make() for _ in range(1000)}) == 1000


async def test_wrong_keys_are_all_refused_in_the_same_words(place: Place) -> None:
    token = (await place.issue()).token
    flipped = token[:-1] + ("A" if token[-1] != "A" else "E")
    wrong = [flipped, token.swapcase(), token + " ", token + "\u00a0", token[:-1], make(), token.upper(), "", PREFIX]

    assert {await place.refusal(each) for each in wrong} == {"invalid_api_key"}
    with pytest.raises(Unauthenticated) as unknown:
        await place.keys.find(make().encode())
    revoked = await place.issue()
    await issuing.revoke(place.store, revoked.id)
    with pytest.raises(Unauthenticated) as ended:
        await place.keys.find(revoked.token.encode())
    assert str(unknown.value) == str(ended.value)


async def test_what_cannot_be_a_key_is_not_looked_up(place: Place) -> None:
    await place.issue()
    reads = place.store.reads
    for token in (b"' OR 1=1--", b"sk-embedrock-" + b"A" * 44, b"\xff" * 50, make().encode() + b"\0", b"x" * 1_000_000):
        await place.refusal(token)

    assert place.store.reads == reads


async def test_key_is_looked_up_once_in_a_while_and_once_for_all(place: Place) -> None:
    token = (await place.issue()).token
    reads = place.store.reads
    await asyncio.gather(*[place.find(token) for _ in range(50)])
    for _ in range(100):
        await place.find(token)
    await place.refusal(wrong := make())
    await place.refusal(wrong)

    assert place.store.reads == reads + 2


async def test_revoked_key_ends_within_seconds_on_every_replica(place: Place) -> None:
    issued = await place.issue()
    replicas = [place.keys, place.replica()]
    for replica in replicas:
        await replica.find(issued.token.encode())
    await issuing.revoke(place.store, issued.id)
    place.now += 2.0

    for replica in replicas:
        with pytest.raises(Unauthenticated):
            await replica.find(issued.token.encode())


async def test_expired_key_ends_at_once(place: Place) -> None:
    issued = await place.issue(issuing.now_us() + 1_000_000)
    await place.find(issued.token)
    place.now += 1.5

    assert await place.refusal(issued.token) == "expired_api_key"


async def test_rotated_key_and_the_next_work_side_by_side_for_a_while(place: Place) -> None:
    old = await place.issue(models=(TITAN,), requests_per_minute=3)
    first = await place.find(old.token)
    new = await issuing.rotate(place.store, place.secret, old.id, 10)
    place.now += 3
    both = [await place.find(token) for token in (old.token, new.token)]

    assert both[0] == first
    assert (both[1].key, both[1].name, both[1].limits, both[1].models) == (new.id, old.id, first.limits, first.models)
    place.now += 10
    assert await place.refusal(old.token) == "expired_api_key"
    again = await issuing.rotate(place.store, place.secret, new.id, 0)
    place.now += 3
    assert await place.refusal(new.token) == "expired_api_key"
    assert (await place.find(again.token)).name == old.id, "limits and budgets are those of the first"


async def test_key_that_has_ended_is_not_rotated(place: Place) -> None:
    issued = await place.issue()
    await issuing.revoke(place.store, issued.id)

    with pytest.raises(BadRequest, match="works no more"):
        await issuing.rotate(place.store, place.secret, issued.id, 10)


async def test_known_keys_work_while_the_database_hangs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing: one request waits a moment for it, and those that come then do not."""
    monkeypatch.setattr("embedrock.service.keys._WAIT_S", 0.02)
    issued = await place.issue()
    caller = await place.find(issued.token)
    place.now += 10
    place.store.answers = asyncio.Event()
    reads = place.store.reads
    assert [await place.find(issued.token) for _ in range(5)] == [caller] * 5
    assert place.store.reads == reads + 1, "it is asked once"
    place.now += 900
    unknown = asyncio.create_task(place.find(issued.token))
    await asyncio.wait([unknown], timeout=0.05)
    assert not unknown.done(), "what was found so long ago tells nothing"

    place.store.answers.set()
    assert await unknown == caller


async def test_known_keys_work_while_the_database_is_away_and_unknown_ones_are_not_called_wrong(place: Place) -> None:
    token = (await place.issue()).token
    await place.find(token)
    place.store.away = True
    place.now += 600
    caller = await place.find(token)

    assert caller.account is not None
    with pytest.raises(StoreUnavailable):
        await place.find(make())
    place.now += 600
    with pytest.raises(StoreUnavailable):
        await place.find(token)
    place.store.away = False
    assert await place.find(token) == caller


@pytest.mark.parametrize("text", ["", "null", "{", '{"models": 5}', '{"role": "admin"}', '{"requests_per_minute": 0}'])
async def test_row_that_cannot_be_read_stops_its_own_key_only(place: Place, text: str) -> None:
    bad, good = await place.issue(), await place.issue()
    await place.store.write(lambda tx: tx.execute("UPDATE api_keys SET policy = ? WHERE id = ?", text, bad.id))

    with pytest.raises(InternalError):
        await place.find(bad.token)
    await place.find(good.token)


async def test_without_a_database_every_key_is_wrong_and_nothing_is_made(tmp_path: Path) -> None:
    async def none() -> None:
        return None

    for secret in (Secret("", tmp_path / "secret"), Secret("0" * 64, None)):
        nobody = Keys(none, secret.find, Limits())
        assert not await nobody.any_usable()
        with pytest.raises(Unauthenticated):
            await nobody.find(make().encode())
    assert Secret("", tmp_path / "secret").find() is None


async def test_keys_are_usable_until_they_are_revoked_or_expire(place: Place) -> None:
    assert not await place.keys.any_usable()
    issued = await place.issue(issuing.now_us() + 60_000_000)
    assert await place.keys.any_usable()
    place.now += 61
    assert not await place.keys.any_usable()
    place.now -= 61
    await issuing.revoke(place.store, issued.id)
    assert not await place.keys.any_usable()


async def test_secret_that_is_gone_is_not_made_anew(place: Place, tmp_path: Path) -> None:
    await place.issue()
    (tmp_path / "secret").unlink()
    place.secret = Secret("", tmp_path / "secret")

    with pytest.raises(ConfigError, match="bring back"):
        await place.issue()
    assert not (tmp_path / "secret").exists()


async def test_accounts_are_topped_up_and_never_below_what_is_left(place: Place) -> None:
    await issuing.open_account(place.store, "open", None)
    assert (await issuing.top_up(place.store, "team", 1)).remaining == 5_000_001
    assert (await issuing.top_up(place.store, "team", -5_000_001)).remaining == 0

    refusals: list[tuple[type[EmbedrockError], str, int]] = [
        (BadRequest, "team", -1),
        (BadRequest, "open", 1),
        (NotFound, "nobody", 1),
    ]
    for kind, name, amount in refusals:
        with pytest.raises(kind):
            await issuing.top_up(place.store, name, amount)


@pytest.mark.parametrize("name", ["", " a", "a ", "x" * 101, "a\nb", "a'b", "<b>", "a\u202eb", "a;b", "%00"])
async def test_names_that_could_be_something_else_are_refused(place: Place, name: str) -> None:
    with pytest.raises(BadRequest):
        await issuing.open_account(place.store, name, 1)
    with pytest.raises(NotFound):
        await issuing.issue(place.store, place.secret, name, "", Policy())


async def test_account_of_a_name_exists_once(place: Place) -> None:
    with pytest.raises(BadRequest, match="already"):
        await issuing.open_account(place.store, "team", 1)


@pytest.mark.parametrize(
    "members",
    [
        {"requests_per_minute": 0},
        {"requests_per_minute": 10**30},
        {"budget_day": -1},
        {"budget_total": 2**63},
        {"models": ("",)},
        {"concurrency": True},
    ],
)
def test_policy_out_of_bounds_is_not_written(members: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        policy.write(Policy(**members))


def test_policy_comes_back_as_it_was_written() -> None:
    full = Policy(
        models=("a",), routes=("v3",), concurrency=1, params={"a": {"b": [1]}}, guardrail=("a", "1"), s3_prefixes=("s",)
    )

    assert policy.read(policy.write(full)) == full
    assert policy.write(Policy()) == "{}"


async def test_usage_adds_up_by_each_group(place: Place) -> None:
    account = await place.store.read(lambda tx: reports.account_named(tx, "team"))
    assert account is not None
    day = 24 * 3600 * 1_000_000
    rows = [(day + 5, "k1", "m1", 3, 30), (day + 6, "k1", "m2", 4, 40), (2 * day, "k2", "m1", 5, 50)]

    def write(tx: Tx) -> None:
        for number, (at, key, model, tokens, cost) in enumerate(rows):
            tx.execute(
                "INSERT INTO entries (at, account, kind, amount, request, key_id, model, tokens, reported)"
                " VALUES (?, ?, 'use', ?, ?, ?, ?, ?, 1)",
                *(at, account.id, cost, f"r{number}", key, model, tokens),
            )

    await place.store.write(write)

    async def usage(by: reports.By, account: str | None = None) -> list[tuple[object, ...]]:
        lines = await place.store.read(lambda tx: reports.usage(tx, by, account))
        assert {line.absorbed for line in lines} <= {0}
        return [tuple(line[:4]) for line in lines]

    assert await usage("account") == [("team", 3, 12, 120)], "what was granted is no use"
    assert await usage("key", account.id) == [("k1", 2, 7, 70), ("k2", 1, 5, 50)]
    assert await usage("model") == [("m1", 2, 8, 80), ("m2", 1, 4, 40)]
    assert await usage("day") == [(day, 2, 7, 70), (2 * day, 1, 5, 50)]
    assert await usage("model", "acc_other") == []
