"""Whatever happens in whatever order, the books say what a plain model says, balance, and are never overdrawn."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from embedrock.errors import InsufficientCredits
from embedrock.service.ledger import HOLD_US, Ledger
from embedrock.store import Store, Violation, books, open_store
from embedrock.store.books import Budget, Charge, Close

T = TypeVar("T")

AMOUNTS = st.integers(0, 12)
_numbers = itertools.count()  # of accounts and requests, over all examples


@dataclass
class Hold:
    amount: int
    budget: str | None
    expires_at: int


@dataclass
class Model:
    """What the books of one account should say."""

    granted: int = 0
    posted: int = 0
    holds: dict[str, Hold] = field(default_factory=dict)
    charges: dict[str, int] = field(default_factory=dict)  # of requests that have an entry
    gone: dict[str, str | None] = field(default_factory=dict)  # requests whose hold expired, and their budgets
    budgets: dict[str, list[int]] = field(default_factory=dict)  # allowed, posted

    def pending(self, budget: str | None = None) -> int:
        return sum(hold.amount for hold in self.holds.values() if budget in (None, hold.budget))

    def left(self, budget: str | None) -> int:
        left = self.granted - self.posted - self.pending()
        if budget is not None:
            allowed, posted = self.budgets[budget]
            left = min(left, allowed - posted - self.pending(budget))
        return left


class Bench:
    """The database of a run, and a loop to use it in."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = asyncio.Runner()
        self.now = 0
        self.store: Store = self.run(open_store(url))
        self.ledger = Ledger(self.store, lambda: self.now)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)

    def restart(self) -> None:
        self.run(self.store.close())
        self.store = self.run(open_store(self.url))
        self.ledger = Ledger(self.store, lambda: self.now)

    def close(self) -> None:
        self.run(self.store.close())
        self.loop.close()


class Books(RuleBasedStateMachine):
    """The ledger beside the model. The database is kept between examples: each has an account of its own."""

    bench: Bench

    @initialize(granted=st.integers(0, 40))
    def start(self, granted: int) -> None:
        self.account = f"acct_{next(_numbers)}"
        self.window = 0
        self.model = Model()
        name = self.account
        self.bench.run(self.bench.store.write(lambda tx: books.open_account(tx, name, name, 0)))
        self.give(granted)

    def request(self) -> str:
        return f"r{next(_numbers)}"

    @rule(amount=AMOUNTS)
    def give(self, amount: int) -> None:
        self.bench.run(self.bench.store.write(lambda tx: books.grant(tx, self.account, amount, 0)))
        self.model.granted += amount

    @rule(amount=AMOUNTS)
    def take_back(self, amount: int) -> None:
        back = self.bench.store.write(lambda tx: books.grant(tx, self.account, -amount, 0))
        if amount > self.model.left(None):
            with pytest.raises(Violation):
                self.bench.run(back)
        else:
            self.bench.run(back)
            self.model.granted -= amount

    @rule(amount=AMOUNTS, allowed=st.none() | st.integers(0, 20))
    def hold(self, amount: int, allowed: int | None) -> None:
        request, name = self.request(), None
        budgets: tuple[Budget, ...] = ()
        if allowed is not None:
            name = f"{self.account}:{self.window}"
            budgets = (Budget(name, allowed),)
            posted = self.model.budgets.get(name, [0, 0])[1]
            self.model.budgets[name] = [max(allowed, posted + self.model.pending(name)), posted]
        ask = self.bench.ledger.hold(request, self.account, amount, budgets=budgets)
        if amount > self.model.left(name):
            with pytest.raises(InsufficientCredits):
                self.bench.run(ask)
        else:
            self.bench.run(ask)
            self.model.holds[request] = Hold(amount, name, self.bench.now + HOLD_US)

    @rule(amounts=st.lists(AMOUNTS, min_size=2, max_size=5))
    def hold_at_once(self, amounts: list[int]) -> None:
        """Those win who come first, and no others."""
        requests = [self.request() for _ in amounts]

        async def all_at_once() -> list[object]:
            asks = (self.bench.ledger.hold(*ask) for ask in zip(requests, itertools.repeat(self.account), amounts))
            return await asyncio.gather(*asks, return_exceptions=True)

        for request, amount, outcome in zip(requests, amounts, self.bench.run(all_at_once()), strict=True):
            assert isinstance(outcome, InsufficientCredits) == (amount > self.model.left(None))
            if not isinstance(outcome, InsufficientCredits):
                self.model.holds[request] = Hold(amount, None, self.bench.now + HOLD_US)

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data(), cost=st.integers(0, 20), answered=st.booleans(), times=st.integers(1, 2))
    def close(self, data: st.DataObject, cost: int, answered: bool, times: int) -> None:
        """Once or twice, with a cost that is less or more than what is held."""
        request = data.draw(st.sampled_from(list(self.model.holds)))
        hold = self.model.holds.pop(request)
        self._close(request, cost, answered, hold.budget, times)

    @precondition(lambda self: self.model.gone)
    @rule(cost=st.integers(0, 20), answered=st.booleans())
    def close_late(self, cost: int, answered: bool) -> None:
        """After the hold expired: its budget counts all the same."""
        request, budget = self.model.gone.popitem()
        self._close(request, cost, answered, budget, 1)

    def _close(self, request: str, cost: int, answered: bool, budget: str | None, times: int) -> None:
        charged = min(cost, self.model.left(budget)) if answered else 0
        self.model.posted += charged
        if budget is not None:
            self.model.budgets[budget][1] += charged
        if answered or cost:
            self.model.charges[request] = charged
        expected = Charge(charged, cost - charged, self.model.granted - self.model.posted)
        budgets = () if budget is None else (Budget(budget, self.model.budgets[budget][0]),)
        end = Close(request, self.account, answered=answered, cost=cost, budgets=budgets)

        async def close() -> list[Charge]:
            return [*await asyncio.gather(*(self.bench.ledger.close(end) for _ in range(times)))]

        assert self.bench.run(close()) == [expected] * times

    @precondition(lambda self: self.model.charges)
    @rule(data=st.data(), cost=AMOUNTS)
    def close_again(self, data: st.DataObject, cost: int) -> None:
        request = data.draw(st.sampled_from(list(self.model.charges)))
        end = Close(request, self.account, answered=True, cost=cost)

        async def close() -> Charge:
            return await self.bench.ledger.close(end)

        charge = self.bench.run(close())

        assert charge.charged == self.model.charges[request]

    @rule(seconds=st.integers(0, 45))
    def let_time_pass(self, seconds: int) -> None:
        self.bench.now += seconds * 1_000_000
        self.bench.run(self.bench.store.write(lambda tx: books.expire(tx, self.bench.now)))
        expired = [request for request, hold in self.model.holds.items() if hold.expires_at < self.bench.now]
        self.model.gone |= {request: self.model.holds.pop(request).budget for request in expired}

    @rule()
    def turn_the_window(self) -> None:
        self.window += 1

    @rule()
    def restart(self) -> None:
        self.bench.restart()

    @invariant()
    def books_are_as_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        rows = self.bench.run(
            self.bench.store.read(
                lambda tx: (
                    tx.execute("SELECT granted, posted, pending FROM accounts WHERE id = ?", self.account),
                    tx.execute("SELECT id, amount FROM holds WHERE account = ? ORDER BY id", self.account),
                    tx.execute(
                        "SELECT request, amount FROM entries WHERE account = ? AND kind <> 'grant'", self.account
                    ),
                    tx.execute(
                        "SELECT id, posted, pending FROM budgets WHERE id LIKE ?",
                        f"{self.account}:%",
                    ),
                    books.unbalanced(tx),
                )
            )
        )
        model = self.model

        assert rows[0] == [(model.granted, model.posted, model.pending())]
        assert model.posted + model.pending() <= model.granted
        assert dict(rows[1]) == {request: hold.amount for request, hold in model.holds.items()}
        assert dict(rows[2]) == model.charges
        assert sum(model.charges.values()) == model.posted
        for name, posted, pending in rows[3]:
            assert (posted, pending) == (model.budgets[name][1], model.pending(name))
            assert posted + pending <= model.budgets[name][0]
        assert rows[4] == []


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    bench = Bench(database_url)
    yield bench
    bench.close()


def test_books_are_right_whatever_happens(bench: Bench) -> None:
    class Here(Books):
        pass

    Here.bench = bench
    run_state_machine_as_test(Here, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))
