"""Requests of accounts while the gateway, or the database, is killed again and again; and what the books say then.

Three witnesses: the answers that callers got, the emulator's journal, and the books. The short form is in
tests/test_kills.py, the long one in tests/campaign.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from tests.account_books import Books

from embedrock.catalog import MODELS
from embedrock.catalog.prices import Billed, cost_usd, micro_credits
from embedrock.service.ledger import HOLD_US, now_us
from embedrock.settings import Settings
from embedrock.store import Tx, books

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway

TITAN = "amazon.titan-embed-text-v2:0"
RICH = 10**9
POOR = 40  # a few requests' worth
ACCOUNTS = {"a": RICH, "b": RICH, "c": RICH, "poor": POOR}
CALLERS = 8
_WAIT_S = 60.0


@dataclass
class Witness:
    """What callers saw: the number of each request is its `user`, and stands in its text."""

    answered: dict[str, tuple[str, int]] = field(default_factory=dict)  # number → request id, tokens
    refused: Counter[tuple[int, str | None]] = field(default_factory=Counter)
    unknown: set[str] = field(default_factory=set)  # numbers of requests whose connection ended without an answer
    without_answer: set[str] = field(default_factory=set)  # and of those with an error for an answer


class Callers:
    """Threads that ask, one request after another, whichever gateway there is."""

    def __init__(self, keys: dict[str, str]) -> None:
        self.witness = Witness()
        self._keys = list(keys.values())
        self._numbers = count()
        self._lock = threading.Lock()
        self._gateway: Gateway | None = None
        self._there = threading.Event()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def go_to(self, gateway: Gateway) -> None:
        """Ask this gateway from now on."""
        self._gateway = gateway
        self._there.set()

    def wait_for_answers(self, more: int) -> None:
        """Return when so many more requests were answered."""
        goal, until = len(self.witness.answered) + more, time.monotonic() + _WAIT_S
        while len(self.witness.answered) < goal:
            assert time.monotonic() < until, "requests are no longer answered"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        self._there.set()
        for thread in self._threads:
            thread.join(_WAIT_S)

    def _ask(self, lane: int) -> None:
        key = self._keys[lane % len(self._keys)]
        while not self._stop.is_set():
            self._there.wait(_WAIT_S)
            gateway = self._gateway
            if gateway is None or self._stop.is_set():
                continue
            number = ""
            try:
                with contextlib.closing(gateway.connect()) as connection:
                    connection.connect()
                    while not self._stop.is_set():
                        number = str(next(self._numbers))
                        self._one(connection, key, number)
            except (OSError, http.client.HTTPException):
                with self._lock:
                    self.witness.unknown.add(number)
                time.sleep(0.02)

    def _one(self, connection: http.client.HTTPConnection, key: str, number: str) -> None:
        body = json.dumps({"model": TITAN, "input": f"number {number} of many", "user": number})
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        connection.request("POST", "/v1/embeddings", body, headers)
        response = connection.getresponse()
        members = json.loads(response.read())
        with self._lock:
            if response.status == 200:
                request = str(response.headers["x-request-id"])
                self.witness.answered[number] = request, members["usage"]["total_tokens"]
            else:
                self.witness.refused[response.status, members["error"]["code"]] += 1
                self.witness.without_answer.add(number)
        if response.status == 503:
            time.sleep(0.05)


@dataclass
class Outcome:
    """The three witnesses side by side."""

    witness: Witness
    kills: int
    charged: dict[str, tuple[str, int, int, int]]  # number → request id, amount, absorbed, tokens
    entries: int
    billed: Counter[str]  # number → tokens in the emulator's journal


def run(
    books_: Books,
    emulator: Emulator,
    start: Callable[[], Gateway],
    kill: Callable[[Gateway], Gateway],
    *,
    kills: int,
    answers: int,
    rng: Random,
) -> Outcome:
    """Ask all the time, and kill so many times, each after about so many answers; `kill` returns who answers then."""
    books_.make()
    callers = Callers({name: books_.account(name, granted) for name, granted in ACCOUNTS.items()})
    billed: Counter[str] = Counter()
    try:
        gateway = start()
        callers.go_to(gateway)
        for _ in range(kills):
            callers.wait_for_answers(rng.randint(answers // 2, answers))
            gateway = kill(gateway)
            callers.go_to(gateway)
            never_overdrawn(books_)
        callers.wait_for_answers(answers)
    finally:
        callers.stop()
    for row in emulator.journal():
        if row["op"] == "InvokeModel" and row["status"] == 200:
            billed[json.loads(row["request_body"])["inputText"].split()[1]] += row["tokens"]
    rows = books_.write(
        lambda tx: tx.execute("SELECT end_user, request, amount, absorbed, tokens FROM entries WHERE kind = 'use'")
    )
    charged = {number: (request, amount, absorbed, tokens) for number, request, amount, absorbed, tokens in rows}
    return Outcome(callers.witness, kills, charged, len(rows), billed)


def never_overdrawn(books_: Books) -> None:
    rows = books_.write(lambda tx: tx.execute("SELECT granted, posted, pending FROM accounts"))
    assert all(posted + pending <= granted for granted, posted, pending in rows)


def check(outcome: Outcome, books_: Books) -> None:
    """Check that no charge that was acknowledged is lost, none doubled, and all adds up."""
    witness, charged = outcome.witness, outcome.charged
    assert outcome.entries == len(charged), "a request was charged twice"
    for number, (request, tokens) in witness.answered.items():
        assert number in charged, "an answered request was not charged"
        assert (charged[number][0], charged[number][3]) == (request, tokens)
    # Charged without an answer: only where nobody can tell the caller, as the connection, or the database, had gone.
    assert charged.keys() - witness.answered.keys() <= witness.unknown | witness.without_answer
    for _, amount, absorbed, tokens in charged.values():
        assert amount + absorbed == price(tokens)
    # The emulator's journal: whatever Bedrock billed is charged, or nobody got it.
    assert all(outcome.billed[number] >= tokens for number, (_, _, _, tokens) in charged.items())
    lost = {number: tokens for number, tokens in outcome.billed.items() if number not in charged}
    assert sum(outcome.billed[number] for number in charged) + sum(lost.values()) == sum(outcome.billed.values())
    assert not lost.keys() & witness.answered.keys()
    # What was held for requests that ended without a word is free again once its time has passed.
    books_.write(lambda tx: books.expire(tx, now_us() + 2 * HOLD_US))
    rows = books_.write(_totals)
    assert all(pending == 0 and posted == entered and posted <= granted for granted, posted, pending, entered in rows)
    assert books_.write(books.unbalanced) == []
    assert books_.write(lambda tx: books.expire(tx, now_us() + 2 * HOLD_US)) == 0


def price(tokens: int) -> int:
    return micro_credits(cost_usd(MODELS[TITAN], Billed(tokens, 1)), Settings().credits_per_usd)


def _totals(tx: Tx) -> list[tuple[int, int, int, int]]:
    sql = """
        SELECT granted, posted, pending,
               coalesce((SELECT sum(amount) FROM entries e WHERE e.account = a.id AND kind = 'use'), 0)
        FROM accounts a
    """
    return [(granted, posted, pending, int(entered)) for granted, posted, pending, entered in tx.execute(sql)]
