"""The ledger: nobody spends what they do not have, every answer is charged once, and the books balance."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from embedrock.errors import (
    BadRequest,
    IdempotencyInProgress,
    IdempotencyReused,
    InsufficientCredits,
    StoreUnavailable,
)
from embedrock.service import issuing
from embedrock.service.ledger import HOLD_US, Ledger, now_us
from embedrock.store import Store, Tx, Violation, books, claims, open_store, reports
from embedrock.store.books import Budget, Charge, Claim, Claimed, Close, Held

ACCOUNT = "acct_1"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = await open_store(database_url)
    await store.write(lambda tx: books.open_account(tx, ACCOUNT, "team", 1))
    yield store
    assert await store.read(books.unbalanced) == []
    await store.close()


@pytest.fixture
async def ledger(store: Store) -> Ledger:
    return Ledger(store)


async def give(store: Store, amount: int, account: str = ACCOUNT) -> None:
    await store.write(lambda tx: books.grant(tx, account, amount, 1))


def money(tx: Tx, account: str = ACCOUNT) -> tuple[Any, ...]:
    """Return what the account was granted, what was taken, and what is held."""
    return tx.execute("SELECT granted, posted, pending FROM accounts WHERE id = ?", account)[0]


def answered(request: str, cost: int, **more: Any) -> Close:
    return Close(request, ACCOUNT, answered=True, cost=cost, **more)


async def test_what_a_request_holds_is_passed_on_no_more_and_no_less(store: Store, ledger: Ledger) -> None:
    await give(store, 100)
    await ledger.hold("more", ACCOUNT, 10, budgets=(Budget("b", 50),))
    await ledger.hold("less", ACCOUNT, 5)

    await store.write(lambda tx: books.pass_on(tx, "more", [("m1", 4), ("m2", 4)], now_us() + HOLD_US))
    await store.write(lambda tx: books.pass_on(tx, "less", [("l1", 4), ("l2", 4)], now_us() + HOLD_US))
    await store.write(lambda tx: books.pass_on(tx, "none", [("n1", 4)], now_us() + HOLD_US))

    holds = await store.read(lambda tx: tx.execute("SELECT id, amount, budgets FROM holds ORDER BY id"))
    assert holds == [("l1", 4, ""), ("l2", 1, ""), ("m1", 4, "b"), ("m2", 6, "b")]
    assert await ledger.close(answered("more", 0)) == Charge(0, 0, 100)
    assert await store.read(money) == (100, 0, 15)
    for request in ("l1", "l2", "m1", "m2"):
        await ledger.close(Close(request, ACCOUNT, answered=False))
    assert await store.read(money) == (100, 0, 0)
    assert await store.read(lambda tx: tx.execute("SELECT pending FROM budgets")) == [(0,)]


async def test_what_is_held_is_not_there_for_others_until_it_is_released(store: Store, ledger: Ledger) -> None:
    await give(store, 10)
    assert await ledger.hold("r1", ACCOUNT, 6) == Held()
    with pytest.raises(InsufficientCredits):
        await ledger.hold("r2", ACCOUNT, 5)
    await ledger.hold("r3", ACCOUNT, 4)
    assert await store.read(money) == (10, 0, 10)

    assert await ledger.close(answered("r1", 2)) == Charge(charged=2, absorbed=0, remaining=8)
    assert await ledger.close(Close("r3", ACCOUNT, answered=False)) == Charge(0, 0, 8)
    assert await store.read(money) == (10, 2, 0)


async def test_request_is_charged_once_however_often_it_is_closed(store: Store, ledger: Ledger) -> None:
    await give(store, 10)
    await ledger.hold("r1", ACCOUNT, 3)
    charges = await asyncio.gather(*(ledger.close(answered("r1", 3)) for _ in range(5)))

    assert charges == [Charge(3, 0, 7)] * 5
    assert await store.read(lambda tx: tx.execute("SELECT count(*) FROM entries WHERE kind = 'use'")) == [(1,)]


async def test_cost_beyond_the_hold_is_taken_as_far_as_nobody_else_holds_it(store: Store, ledger: Ledger) -> None:
    await give(store, 10)
    await ledger.hold("r1", ACCOUNT, 2)
    await ledger.hold("r2", ACCOUNT, 5)

    assert await ledger.close(answered("r1", 9)) == Charge(charged=5, absorbed=4, remaining=5)
    assert await ledger.close(answered("r2", 5)) == Charge(5, 0, 0)


async def test_request_that_was_not_answered_costs_nothing_and_what_it_cost_us_is_on_record(
    store: Store, ledger: Ledger
) -> None:
    await give(store, 10)
    await ledger.hold("r1", ACCOUNT, 4)
    await ledger.close(Close("r1", ACCOUNT, answered=False, cost=3, model="m", tokens=12))

    rows = await store.read(
        lambda tx: tx.execute("SELECT kind, amount, absorbed, model, tokens FROM entries WHERE request = 'r1'")
    )
    assert rows == [("absorbed", 0, 3, "m", 12)]
    assert await store.read(money) == (10, 0, 0)


async def test_entry_is_the_record_of_use(store: Store, ledger: Ledger) -> None:
    await give(store, 10)
    await ledger.hold("r1", ACCOUNT, 4)
    told = {"key": "key_1", "model": "amazon.titan-embed-text-v2:0", "tokens": 11, "reported": False}
    await ledger.close(answered("r1", 3, **told, user="u-1", metadata='{"team":"a"}'))

    rows = await store.read(
        lambda tx: tx.execute(
            "SELECT account, kind, amount, absorbed, key_id, model, tokens, reported, end_user, metadata "
            "FROM entries WHERE request = 'r1'"
        )
    )
    assert rows == [(ACCOUNT, "use", 3, 0, "key_1", told["model"], 11, 0, "u-1", '{"team":"a"}')]


async def test_unlimited_account_is_counted_and_never_refused(store: Store, ledger: Ledger) -> None:
    await store.write(lambda tx: books.open_account(tx, "op", "operators", 1, unlimited=True))
    await ledger.hold("r1", "op", 10**12)

    assert await ledger.close(Close("r1", "op", answered=True, cost=7)) == Charge(7, 0, None)
    assert await store.read(lambda tx: money(tx, "op")) == (0, 7, 0)


async def test_budget_ends_a_key_before_the_account_and_a_new_window_is_a_new_budget(
    store: Store, ledger: Ledger
) -> None:
    await give(store, 100)
    monday, tuesday = Budget("key_1:2026-11-16", 5), Budget("key_1:2026-11-17", 5)
    await ledger.hold("r1", ACCOUNT, 4, budgets=(monday,))
    await ledger.close(answered("r1", 4))
    with pytest.raises(InsufficientCredits):
        await ledger.hold("r2", ACCOUNT, 2, budgets=(monday,))
    await ledger.hold("r3", ACCOUNT, 2, budgets=(tuesday,))
    await ledger.hold("r4", ACCOUNT, 2, budgets=(monday._replace(allowed=6),))

    with pytest.raises(InsufficientCredits):
        await ledger.hold("r5", ACCOUNT, 1, budgets=(monday._replace(allowed=1),))
    assert await store.read(lambda tx: tx.execute("SELECT * FROM budgets ORDER BY id")) == [
        (monday.id, 6, 4, 2),
        (tuesday.id, 5, 0, 2),
    ]


async def test_hold_of_a_request_that_ended_without_a_word_is_released(store: Store) -> None:
    clock = itertools.chain([0], itertools.repeat(HOLD_US + 1))
    await give(store, 10)
    await Ledger(store, lambda: next(clock)).hold("r1", ACCOUNT, 10)

    assert await store.write(lambda tx: books.expire(tx, HOLD_US)) == 0
    assert await store.write(lambda tx: books.expire(tx, HOLD_US + 1)) == 1
    assert await store.read(money) == (10, 0, 0)


async def test_late_answer_is_charged_as_far_as_there_is_anything(store: Store, ledger: Ledger) -> None:
    """A process that was stopped for longer than its holds last comes back."""
    await give(store, 10)
    await ledger.hold("r1", ACCOUNT, 6)
    await store.write(lambda tx: books.expire(tx, now_us() + 2 * HOLD_US))
    await ledger.hold("r2", ACCOUNT, 7)

    assert await ledger.close(answered("r1", 6)) == Charge(charged=3, absorbed=3, remaining=7)
    assert await ledger.close(answered("r2", 7)) == Charge(7, 0, 0)


async def test_late_answer_counts_against_its_budgets(store: Store, ledger: Ledger) -> None:
    budgets = (Budget("key_1:total:", 8),)
    await give(store, 100)
    await ledger.hold("r1", ACCOUNT, 6, budgets=budgets)
    await store.write(lambda tx: books.expire(tx, now_us() + 2 * HOLD_US))

    assert await ledger.close(answered("r1", 6, budgets=budgets)) == Charge(6, 0, 94)
    assert await ledger.close(answered("r2", 6, budgets=budgets)) == Charge(2, 4, 92)
    with pytest.raises(InsufficientCredits):
        await ledger.hold("r3", ACCOUNT, 1, budgets=budgets)


async def test_hold_is_renewed_while_its_request_is_under_way(store: Store) -> None:
    now = 0
    ledger = Ledger(store, lambda: now)
    await give(store, 10)
    await ledger.hold("r1", ACCOUNT, 5)
    now = HOLD_US * 3 // 4
    keeping = asyncio.create_task(ledger.keep())
    async with asyncio.timeout(30):
        while await store.write(lambda tx: tx.execute("SELECT expires_at FROM holds")) != [(now + HOLD_US,)]:
            pass
    keeping.cancel()

    assert await store.read(lambda tx: tx.execute("SELECT amount, expires_at FROM holds")) == [(5, now + HOLD_US)]


async def test_hold_of_a_caller_who_left_before_it_was_written_is_none(store: Store, ledger: Ledger) -> None:
    await give(store, 10)
    for n in range(20):
        hold = asyncio.create_task(ledger.hold(f"r{n}", ACCOUNT, 1))
        for _ in range(n % 5):
            await asyncio.sleep(0)
        hold.cancel()
        await asyncio.wait([hold])
        await ledger.close(Close(f"r{n}", ACCOUNT, answered=False))

    assert await store.read(money) == (10, 0, 0)


async def test_account_whose_books_do_not_balance_is_frozen_and_no_other(store: Store, ledger: Ledger) -> None:
    await store.write(lambda tx: books.open_account(tx, "acct_2", "others", 1))
    await give(store, 10)
    await give(store, 10, "acct_2")
    assert await ledger.reconcile() == []
    await store.write(lambda tx: tx.execute("UPDATE accounts SET posted = 1 WHERE id = ?", ACCOUNT))

    assert await ledger.reconcile() == [ACCOUNT]
    with pytest.raises(StoreUnavailable, match="balance"):
        await ledger.hold("r1", ACCOUNT, 1)
    await ledger.hold("r2", "acct_2", 1)
    name = (await store.read(reports.accounts))[0].name
    with pytest.raises(BadRequest, match="balance"):
        await issuing.unfreeze(store, name)
    await store.write(lambda tx: tx.execute("UPDATE accounts SET posted = 0 WHERE id = ?", ACCOUNT))
    await issuing.unfreeze(store, name)
    await ledger.hold("r3", ACCOUNT, 1)


async def test_account_whose_books_are_off_keeps_no_other_from_its_charge(store: Store, ledger: Ledger) -> None:
    await store.write(lambda tx: books.open_account(tx, "acct_2", "others", 1))
    await give(store, 10)
    await give(store, 10, "acct_2")
    for request in ("r1", "r2", "r3"):
        await ledger.hold(request, ACCOUNT, 2)
    await ledger.hold("r4", "acct_2", 2)
    await store.write(lambda tx: tx.execute("UPDATE accounts SET pending = 0 WHERE id = ?", ACCOUNT))
    assert await ledger.reconcile() == [ACCOUNT]

    closes = (answered("r1", 2), Close("r4", "acct_2", answered=True, cost=2))
    charges = await asyncio.gather(*map(ledger.close, closes))
    assert charges == [Charge(charged=0, absorbed=2, remaining=10), Charge(charged=2, absorbed=0, remaining=8)]
    assert await store.write(lambda tx: books.expire(tx, now_us() + 2 * HOLD_US)) == 2
    assert await store.read(money) == (10, 0, 0)


async def test_request_that_cannot_be_written_keeps_no_other_from_it(store: Store, ledger: Ledger) -> None:
    await give(store, 10)
    asks = (ledger.ask("r1", "nobody", 1), ledger.ask("r2", ACCOUNT, 2))
    outcomes = await asyncio.gather(*asks, return_exceptions=True)
    closes = (Close("r1", "nobody", answered=True, cost=1), answered("r2", 2))
    charges = await asyncio.gather(*map(ledger.close, closes), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [KeyError, Held]
    assert type(charges[0]) is KeyError
    assert charges[1] == Charge(2, 0, 8)


async def test_holds_are_looked_after_again_after_a_failure(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("embedrock.service.ledger._BEAT_S", 0.01)
    await give(store, 10)
    await Ledger(store, lambda: 0).hold("r1", ACCOUNT, 10)
    await store.write(lambda tx: tx.execute("ALTER TABLE idempotency RENAME TO gone"))
    keeping = asyncio.create_task(Ledger(store).keep())
    async with asyncio.timeout(30):
        while "unexpected" not in caplog.text:
            await store.read(money)
    assert await store.read(money) == (10, 0, 10)
    await store.write(lambda tx: tx.execute("ALTER TABLE gone RENAME TO idempotency"))
    async with asyncio.timeout(30):
        while await store.read(money) != (10, 0, 0):
            pass
    keeping.cancel()


async def test_as_many_requests_as_there_may_be_are_held_and_charged_at_once(store: Store, ledger: Ledger) -> None:
    await give(store, 10_000)
    count = 2600  # more than one statement takes
    outcomes = await asyncio.gather(*(ledger.ask(f"r{n}", ACCOUNT, 1) for n in range(count)))
    assert outcomes == [Held()] * count
    before = store.commits
    charges = await asyncio.gather(*(ledger.close(answered(f"r{n}", 1)) for n in range(count)))

    assert {charge.charged for charge in charges} == {1}
    assert await store.read(money) == (10_000, count, 0)
    assert store.commits - before == 3


@pytest.mark.parametrize("sql", ["UPDATE entries SET amount = 1", "DELETE FROM entries"])
async def test_entries_are_only_ever_added(store: Store, sql: str) -> None:
    await give(store, 10)

    with pytest.raises(Violation, match="only ever added"):
        await store.write(lambda tx: tx.execute(sql))


async def test_database_itself_refuses_an_overdraft(store: Store) -> None:
    await give(store, 10)

    for sql in ("SET posted = 11", "SET pending = 11", "SET pending = -1", "SET granted = -1"):
        with pytest.raises(Violation):
            await store.write(lambda tx, sql=sql: tx.execute(f"UPDATE accounts {sql}"))  # type: ignore[misc]
    with pytest.raises(Violation):
        await give(store, -11)


# ------------------------------------------------------------------------------------------------------- idempotency


def claim(name: str = "key-1", body: bytes = b"digest") -> Claim:
    return Claim(name, body)


async def test_answer_is_replayed_for_its_idempotency_key_and_charged_once(store: Store, ledger: Ledger) -> None:
    await give(store, 10)
    await ledger.hold("r1", ACCOUNT, 3, claim=claim())
    with pytest.raises(IdempotencyInProgress):
        await ledger.hold("r2", ACCOUNT, 3, claim=claim())
    await ledger.close(answered("r1", 3, claim="key-1"))
    await ledger.remember(ACCOUNT, "key-1", b"the answer")

    assert await ledger.hold("r3", ACCOUNT, 3, claim=claim()) == Claimed(b"the answer")
    with pytest.raises(IdempotencyReused):
        await ledger.hold("r4", ACCOUNT, 3, claim=claim(body=b"other"))
    assert await store.read(money) == (10, 3, 0)


async def test_of_requests_at_once_with_one_idempotency_key_one_is_made(store: Store, ledger: Ledger) -> None:
    await give(store, 100)
    outcomes = await asyncio.gather(*(ledger.ask(f"r{n}", ACCOUNT, 3, claim=claim()) for n in range(8)))

    assert outcomes == [Held(), *[Claimed()] * 7]
    await ledger.close(answered("r0", 3, claim="key-1"))
    assert await store.read(money) == (100, 3, 0)


async def test_of_requests_at_once_whose_first_had_died_one_is_made(store: Store, ledger: Ledger) -> None:
    await give(store, 100)
    await ledger.hold("r0", ACCOUNT, 3, claim=claim())
    await store.write(lambda tx: books.expire(tx, now_us() + 2 * HOLD_US))
    other = claim(body=b"other")
    asks = [ledger.ask(f"r{n}", ACCOUNT, 3, claim=claim()) for n in range(1, 4)]

    assert await asyncio.gather(*asks, ledger.ask("r4", ACCOUNT, 3, claim=other)) == [
        Held(),
        Claimed(),
        Claimed(),
        Claimed(other=True),
    ]


async def test_request_that_came_to_nothing_may_be_sent_again_with_its_key(store: Store, ledger: Ledger) -> None:
    await give(store, 3)
    with pytest.raises(InsufficientCredits):
        await ledger.hold("r0", ACCOUNT, 4, claim=claim())
    await ledger.hold("r1", ACCOUNT, 3, claim=claim())
    await ledger.close(Close("r1", ACCOUNT, answered=False, claim="key-1"))
    await ledger.hold("r2", ACCOUNT, 3, claim=claim())
    await store.write(lambda tx: books.expire(tx, now_us() + 2 * HOLD_US))  # its process died

    assert await ledger.hold("r3", ACCOUNT, 3, claim=claim()) == Held()


@pytest.mark.parametrize("order", [("r1", "r2"), ("r2", "r1")])
async def test_request_whose_idempotency_key_went_to_another_is_not_charged(
    store: Store, ledger: Ledger, order: tuple[str, str]
) -> None:
    """A process that was stopped for longer than its holds last answers late, and its caller has asked again."""
    await give(store, 10)
    await ledger.hold("r1", ACCOUNT, 3, claim=claim())
    await store.write(lambda tx: books.expire(tx, now_us() + 2 * HOLD_US))
    await ledger.hold("r2", ACCOUNT, 3, claim=claim())

    charges = {request: await ledger.close(answered(request, 3, claim="key-1")) for request in order}
    assert {request: charge[:2] for request, charge in charges.items()} == {"r1": (0, 3), "r2": (3, 0)}
    assert await store.read(money) == (10, 3, 0)


async def test_answer_too_large_to_keep_is_made_again_and_not_charged_again(store: Store, ledger: Ledger) -> None:
    await give(store, 3)
    await ledger.hold("r1", ACCOUNT, 3, claim=claim())
    await ledger.close(answered("r1", 3, claim="key-1"))
    await ledger.remember(ACCOUNT, "key-1", None)

    assert await ledger.hold("r2", ACCOUNT, 3, claim=claim()) == Held(first="r1")


async def test_request_whose_answer_is_about_to_be_kept_is_under_way(store: Store, ledger: Ledger) -> None:
    await give(store, 3)
    await ledger.hold("r1", ACCOUNT, 3, claim=claim())
    await ledger.close(answered("r1", 3, claim="key-1"))
    with pytest.raises(IdempotencyInProgress):
        await ledger.hold("r2", ACCOUNT, 3, claim=claim())
    later = Ledger(store, lambda: now_us() + 6_000_000)  # its process died

    assert await later.hold("r3", ACCOUNT, 3, claim=claim()) == Held(first="r1")


async def test_idempotency_keys_of_accounts_are_their_own(store: Store, ledger: Ledger) -> None:
    await store.write(lambda tx: books.open_account(tx, "acct_2", "others", 1, unlimited=True))
    await give(store, 10)
    await ledger.hold("r1", ACCOUNT, 1, claim=claim())

    assert await ledger.hold("r2", "acct_2", 1, claim=claim(body=b"other")) == Held()


async def test_idempotency_key_is_forgotten_after_three_days(store: Store, ledger: Ledger) -> None:
    await give(store, 10)
    await ledger.hold("r1", ACCOUNT, 1, claim=claim())
    await ledger.close(answered("r1", 1, claim="key-1"))
    await ledger.remember(ACCOUNT, "key-1", b"x")
    await store.write(lambda tx: books.expire(tx, now_us() + claims.REPLAY_US + 1))
    assert await ledger.hold("r2", ACCOUNT, 1, claim=claim()) == Held(first="r1")
    await store.write(lambda tx: books.expire(tx, now_us() + claims.REMEMBER_US + 1))

    assert await ledger.hold("r3", ACCOUNT, 1, claim=claim(body=b"other")) == Held()


# ------------------------------------------------------------------------------------------------------------- races


async def _spend(store: Store, name: str, tries: int) -> int:
    """Spend 3 as often as it is possible; return how often it was."""
    ledger, won = Ledger(store), 0
    for n in range(tries):
        try:
            await ledger.hold(f"{name}-{n}", ACCOUNT, 3)
        except InsufficientCredits:
            continue
        await ledger.close(answered(f"{name}-{n}", 3))
        won += 1
    return won


def _spend_in_process(url: str, name: str, tries: int, counts: Any) -> None:
    async def run() -> None:
        store = await open_store(url)
        wins = await asyncio.gather(*(_spend(store, f"{name}-{n}", tries) for n in range(4)))
        await store.close()
        counts.put(sum(wins))

    asyncio.run(run())


async def test_threads_racing_for_the_last_credits_win_exactly_as_often_as_there_are_any(
    store: Store, database_url: str
) -> None:
    """Eight threads, each with a loop and a store of its own."""
    await give(store, 100)
    wins: list[int] = []

    def race(name: str) -> None:
        async def run() -> int:
            own = await open_store(database_url)
            won = await _spend(own, name, 10)
            await own.close()
            return won

        wins.append(asyncio.run(run()))

    threads = [threading.Thread(target=race, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)

    assert sum(wins) == 33
    assert await store.read(money) == (100, 99, 0)


async def test_processes_racing_for_the_last_credits_win_exactly_as_often_as_there_are_any(
    store: Store, database_url: str
) -> None:
    await give(store, 100)
    context = multiprocessing.get_context("spawn")
    counts = context.Queue()
    processes = [context.Process(target=_spend_in_process, args=(database_url, f"p{n}", 8, counts)) for n in range(3)]
    for process in processes:
        process.start()
    wins = [await asyncio.to_thread(counts.get, timeout=60) for _ in processes]
    for process in processes:
        await asyncio.to_thread(process.join, 60)

    assert sum(wins) == 33
    assert await store.read(money) == (100, 99, 0)
