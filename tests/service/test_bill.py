"""One request's bill, whatever happens to the request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from embedrock.catalog import MODELS, Names, Target
from embedrock.catalog.prices import Billed
from embedrock.errors import IdempotencyInProgress, InsufficientCredits
from embedrock.service.bill import Bill, Billing, Rates, Replay
from embedrock.service.callers import Budgets, Caller
from embedrock.service.ledger import HOLD_US, Ledger, now_us
from embedrock.store import Store, Tx, books, open_store

ACCOUNT = "acct_1"
TITAN = "amazon.titan-embed-text-v2:0"
MILLION = Billed(tokens=1_000_000)  # of tokens: 0.02 $, 200,000 micro-credits


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{tmp_path / 'embedrock.db'}")
    await store.write(lambda tx: books.open_account(tx, ACCOUNT, "team", 1))
    await store.write(lambda tx: books.grant(tx, ACCOUNT, 1_000_000, 1))
    yield store
    assert await store.read(books.unbalanced) == []
    await store.close()


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store)


def target() -> Target:
    return Names(("us-east-1",)).find(TITAN)


def bill(ledger: Ledger, **rights: Any) -> Bill:
    caller = Caller(name="root_1", account=ACCOUNT, key="key_1", **rights)
    return Bill(ledger, f"req_{time.monotonic_ns()}", caller, ACCOUNT, Rates(Decimal(10)))


def money(tx: Tx) -> tuple[int, int]:
    """Return what was taken from the account and what is held."""
    return tx.execute("SELECT posted, pending FROM accounts WHERE id = ?", ACCOUNT)[0]


def test_price_of_a_million_tokens_is_as_expected() -> None:
    assert MODELS[TITAN].prices.text_per_million_tokens == Decimal("0.02")


async def test_what_is_counted_is_charged_not_what_was_held(store: Store, ledger: Ledger) -> None:
    request = bill(ledger)
    request.hold(target(), MILLION)
    await request.held()
    assert await store.read(money) == (0, 200_000)
    request.add(Billed(tokens=11), reported=True)
    charge = await request.settle()

    assert charge is not None
    assert (charge.charged, charge.remaining) == (3, 999_997)
    request.end()
    await ledger.flush()
    assert await store.read(money) == (3, 0)


async def test_caller_who_hangs_up_while_the_charge_is_written_is_charged(store: Store, ledger: Ledger) -> None:
    request = bill(ledger)
    request.hold(target(), MILLION)
    await request.held()
    request.add(MILLION, reported=True)
    settling = asyncio.create_task(request.settle())
    await asyncio.sleep(0)  # the charge is on its way
    settling.cancel()
    await asyncio.wait([settling])
    request.end()
    await ledger.flush()

    assert settling.cancelled()
    assert await store.read(money) == (200_000, 0)


@pytest.mark.parametrize("turns", range(4))
async def test_caller_who_hangs_up_while_the_hold_is_written_leaves_nothing(
    store: Store, ledger: Ledger, turns: int
) -> None:
    request = bill(ledger)
    request.hold(target(), MILLION)
    for _ in range(turns):
        await asyncio.sleep(0)
    request.end()
    await ledger.flush()

    assert await store.read(money) == (0, 0)


async def test_every_call_of_a_request_that_is_not_covered_is_refused(ledger: Ledger) -> None:
    request = bill(ledger)
    request.hold(target(), Billed(tokens=10_000_000))
    lanes = await asyncio.gather(*(request.held() for _ in range(3)), return_exceptions=True)

    assert [type(lane) for lane in lanes] == [InsufficientCredits] * 3
    request.end()
    await ledger.flush()


async def test_budgets_are_those_of_the_utc_day_and_month(store: Store, ledger: Ledger) -> None:
    request = bill(ledger, budgets=Budgets(300_000, 400_000, 500_000))
    before = time.gmtime()
    request.hold(target(), MILLION)
    await request.held()
    days = {time.strftime("%Y-%m-%d", at) for at in (before, time.gmtime())}

    rows = await store.read(lambda tx: tx.execute("SELECT id, allowed, pending FROM budgets ORDER BY allowed"))
    assert [row[1:] for row in rows] == [(300_000, 200_000), (400_000, 200_000), (500_000, 200_000)]
    assert rows[0][0] in {f"root_1:day:{day}" for day in days}
    assert rows[1][0] in {f"root_1:month:{day[:7]}" for day in days}
    assert rows[2][0] == "root_1:total:"
    request.end()
    await ledger.flush()


async def test_request_whose_answer_is_no_longer_kept_is_made_again_at_our_cost(store: Store, ledger: Ledger) -> None:
    for _ in range(2):
        request = bill(ledger)
        request.claim("key-1", b"digest")
        request.hold(target(), MILLION)
        await request.held()
        request.add(MILLION, reported=True)
        await request.settle()
        await request.remember(None)  # too large to be kept

    rows = await store.read(
        lambda tx: tx.execute("SELECT kind, amount, absorbed FROM entries WHERE request IS NOT NULL ORDER BY seq")
    )
    assert rows == [("use", 200_000, 0), ("absorbed", 0, 200_000)]
    assert await store.read(money) == (200_000, 0)


async def test_request_that_was_answered_is_replayed(ledger: Ledger) -> None:
    first = bill(ledger)
    first.claim("key-1", b"digest")
    first.hold(target(), MILLION)
    await first.held()
    await first.settle()
    await first.remember(b"the answer")
    second = bill(ledger)
    second.claim("key-1", b"digest")
    second.hold(target(), MILLION)

    with pytest.raises(Replay) as caught:
        await second.held()
    assert caught.value.answer == b"the answer"
    with pytest.raises(Replay):
        await second.settle()
    second.end()


async def test_request_that_ends_after_its_key_is_used_up_is_repeated_for_nothing(ledger: Ledger, store: Store) -> None:
    """What it wrote is there, and its caller never heard of it."""
    first, again = bill(ledger), bill(ledger)
    for request in (first, again):
        request.claim("key-1", b"digest")
    first.hold(target(), MILLION)
    await first.held()
    await store.write(first.keep)
    first.end()
    again.hold(target(), MILLION)
    await again.held()

    assert again.first == again.name == first.name
    assert (again.payer().account, first.payer().account) == ("", ACCOUNT)
    await store.write(again.keep)
    again.end()
    await ledger.flush()


async def test_request_that_lost_its_idempotency_key_keeps_nothing(ledger: Ledger, store: Store) -> None:
    first, second = bill(ledger), bill(ledger)
    for request in (first, second):
        request.claim("key-1", b"digest")
        request.hold(target(), MILLION)
        await request.held()
        await store.write(lambda tx: books.expire(tx, now_us() + 2 * HOLD_US))

    with pytest.raises(IdempotencyInProgress):
        await store.write(first.keep)
    await store.write(second.keep)


async def test_bill_without_a_hold_costs_nothing(store: Store, ledger: Ledger) -> None:
    request = bill(ledger)
    await request.held()

    assert await request.settle() is None
    request.end()
    assert await store.read(money) == (0, 0)


async def test_books_are_opened_with_the_first_bill_and_looked_at_then(store: Store) -> None:
    opened = 0

    async def find() -> Store:
        nonlocal opened
        opened += 1
        return store

    await store.write(lambda tx: tx.execute("UPDATE accounts SET posted = 7"))
    billing = Billing(find, Decimal(10))
    assert opened == 0
    await asyncio.gather(*(billing.bill(f"r{n}", Caller(), ACCOUNT) for n in range(5)))
    async with asyncio.timeout(30):
        while await store.write(lambda tx: tx.execute("SELECT frozen FROM accounts")) != [(1,)]:
            pass
    await billing.close()

    assert opened == 1
    assert await store.read(lambda tx: tx.execute("SELECT frozen FROM accounts")) == [(1,)]
    await store.write(lambda tx: tx.execute("UPDATE accounts SET posted = 0"))
