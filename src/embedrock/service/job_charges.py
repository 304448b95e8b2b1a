"""What jobs in the background cost their accounts: held from their request on until they end, charged if completed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from embedrock.catalog import MODELS
from embedrock.catalog.prices import Billed, cost_usd, micro_credits
from embedrock.store import Tx, books
from embedrock.store.jobs import Job

_AFTER_US: Final = 3600 * 1_000_000  # a job that was given up has been settled by then


def hold(tx: Tx, request: str, jobs: Sequence[Job], credits_per_usd: Decimal) -> None:
    """Hold for jobs what their request held for them; it was estimated by what they are expected to cost."""
    shares = [(job.id, _cost(job, job.milliseconds, credits_per_usd)) for job in jobs]
    books.pass_on(tx, request, shares, max(job.give_up_at for job in jobs) + _AFTER_US)


def settle(tx: Tx, job: Job, milliseconds: int, credits_per_usd: Decimal) -> None:
    """Take what a completed job cost from its account, once: in the transaction that says that it is completed.

    Of what is more than was held, what the account, or a budget of the key, has no longer left is not taken, and goes
    on record.
    """
    budgets = msgspec.json.decode(job.budgets, type=tuple[books.Budget, ...]) if job.budgets else ()
    cost, told = _cost(job, milliseconds, credits_per_usd), (job.key_id, job.spec, job.tokens)
    _post(tx, books.Close(job.id, job.account, True, cost, *told, reported=False, budgets=budgets))


def release(tx: Tx, job: Job) -> None:
    """Hold nothing any more for a job that ended and is not charged."""
    _post(tx, books.Close(job.id, job.account, answered=False))


def _post(tx: Tx, close: books.Close) -> None:
    if close.account:
        books.post(tx, [close], [], time.time_ns() // 1000)


def _cost(job: Job, milliseconds: int, credits_per_usd: Decimal) -> int:
    length = {job.kind: milliseconds / 1000}
    bill = Billed(job.tokens, job.texts, job.images, length.get("audio", 0.0), length.get("video", 0.0))
    return micro_credits(cost_usd(MODELS[job.spec], bill, Decimal(job.price) if job.price else None), credits_per_usd)
