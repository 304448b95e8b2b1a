"""The books: what each account was granted, what was taken from it, and what is held for requests under way.

`granted` and `posted` are the sums of an account's entries, `pending` that of its holds, all in micro-credits. Entries
are only ever added. A request is a hold at first, and in the end one entry: its charge, and the record of its use.
Budgets are further limits, such as that of a key for a day; a hold may count against some.

Rows are locked in one order, claims before holds before accounts before budgets, each by id: two transactions may wait
for one another, but never in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from embedrock.store import claims
from embedrock.store.claims import Claim as Claim
from embedrock.store.claims import Claimed as Claimed
from embedrock.store.engine import Param, Tx

GRANT: Final = "grant"  # credits came, or were taken back
USE: Final = "use"  # a request was answered
ABSORBED: Final = "absorbed"  # Bedrock billed calls for which nobody pays

#: An account is granted no more in all.
MOST: Final = 2**53


class Budget(NamedTuple):
    """A limit beside the account's; its name tells whose it is and the window."""

    id: str
    allowed: int


class Ask(NamedTuple):
    """A request that wants to spend up to `amount`."""

    request: str
    account: str
    amount: int
    expires_at: int
    budgets: tuple[Budget, ...] = ()
    claim: Claim | None = None


class Held(NamedTuple):
    """The amount is held. `first`: the request that was charged for the same, and whose answer is no longer kept."""

    first: str | None = None


class Refused(NamedTuple):
    """There is not enough left; `frozen`: nothing is taken from the account, as its books do not balance.

    `budget`: the one that has so little `left`; None: the account has. `asked`: what was to be held.
    """

    frozen: bool = False
    budget: str | None = None
    left: int = 0
    asked: int = 0


Outcome = Held | Refused | Claimed


class Close(NamedTuple):
    """The end of a request that had a hold, and what Bedrock billed for it."""

    request: str
    account: str
    answered: bool  # only then its account pays
    cost: int = 0
    key: str = ""
    model: str = ""
    tokens: int = 0
    reported: bool = True
    user: str | None = None
    metadata: str | None = None
    claim: str | None = None  # its idempotency key
    budgets: tuple[Budget, ...] = ()  # that it counts against when its hold is gone


class Charge(NamedTuple):
    """What the account paid, what it could not, and what it has left; None: it has no limit."""

    charged: int
    absorbed: int
    remaining: int | None


@dataclass(slots=True)
class _Purse:
    """An account or a budget, its row locked. Its numbers may be off, but are never written below nothing."""

    allowed: int
    posted: int
    pending: int
    unlimited: bool = False
    frozen: bool = False

    @property
    def left(self) -> int:
        """What may still be held or taken."""
        return MOST if self.unlimited else self.allowed - self.posted - self.pending

    @property
    def remaining(self) -> int | None:
        """What is not taken yet; None: there is no limit."""
        return None if self.unlimited else self.allowed - self.posted

    def release(self, amount: int) -> None:
        self.pending = max(0, self.pending - amount)


class _Hold(NamedTuple):
    account: str
    amount: int
    budgets: tuple[str, ...]


def post(tx: Tx, closes: Sequence[Close], asks: Sequence[Ask], now: int) -> tuple[list[Charge], list[Outcome]]:
    """Close requests, and then hold what others ask for; return what became of each."""
    lost = _finish_claims(tx, closes, now)
    claimed = claims.take(tx, [(ask.account, ask.request, ask.claim) for ask in asks if ask.claim], now)
    hopeful = [ask for ask in asks if not isinstance(claimed.get(ask.request), Claimed)]
    holds = _take(tx, sorted(close.request for close in closes))
    accounts = _lock_accounts(
        tx,
        {close.account for close in closes} | {hold.account for hold in holds.values()} | {a.account for a in hopeful},
    )
    allowed: dict[str, int | None] = {name: None for hold in holds.values() for name in hold.budgets}
    allowed |= {budget.id: budget.allowed for close in closes if close.request not in holds for budget in close.budgets}
    allowed |= {budget.id: budget.allowed for ask in hopeful for budget in ask.budgets}
    budgets = _lock_budgets(tx, allowed)

    charges = _close(tx, closes, holds, accounts, budgets, lost, now)
    outcomes: list[Outcome] = []
    held = []
    for ask in asks:
        before = claimed.get(ask.request)
        if isinstance(before, Claimed):
            outcomes.append(before)
            continue
        amount = 0 if before else ask.amount
        purses = _purses(ask.account, (budget.id for budget in ask.budgets), accounts, budgets)
        short = [at for at, purse in enumerate(purses) if purse.left < amount]
        if accounts[ask.account].frozen or short:
            at = short[0] if short else 0
            budget = ask.budgets[at - 1].id if at else None
            outcomes.append(Refused(accounts[ask.account].frozen, budget, purses[at].left, amount))
            if ask.claim:
                claims.give_back(tx, ask.account, ask.claim.name, ask.request)
            continue
        outcomes.append(Held(before.request if before else None))
        for purse in purses:
            purse.pending += amount
        names = " ".join(budget.id for budget in ask.budgets)
        held.append((ask.request, ask.account, amount, names, ask.expires_at))
    _save(tx, accounts, budgets)
    if held:
        _insert(tx, _HOLD, held)
    return charges, outcomes


def expire(tx: Tx, now: int) -> int:
    """Release the holds of requests that ended without a word; return how many. Their accounts pay nothing."""
    sql = "SELECT id FROM holds WHERE expires_at < ? ORDER BY id LIMIT 1000"  # the others the next time
    due = [request for (request,) in tx.execute(sql, now)]
    holds = _take(tx, due)
    accounts = _lock_accounts(tx, {hold.account for hold in holds.values()})
    budgets = _lock_budgets(tx, {name: None for hold in holds.values() for name in hold.budgets})
    for hold in holds.values():
        for purse in _purses(hold.account, hold.budgets, accounts, budgets):
            purse.release(hold.amount)
    _save(tx, accounts, budgets)
    claims.forget(tx, now)
    return len(holds)


def pass_on(tx: Tx, request: str, shares: Sequence[tuple[str, int]], expires_at: int) -> None:
    """Have others hold what a request holds, each up to its share, and the last one all the rest."""
    hold = _take(tx, [request]).get(request)
    if hold is None:
        return
    rows: list[tuple[Param, ...]] = []
    left = hold.amount
    for number, (other, share) in enumerate(shares, 1):
        amount = left if number == len(shares) else min(left, share)
        left -= amount
        rows.append((other, hold.account, amount, " ".join(hold.budgets), expires_at))
    _insert(tx, _HOLD, rows)


def renew(tx: Tx, requests: Iterable[str], expires_at: int) -> None:
    """Keep the holds of requests that are still under way."""
    tx.execute_many(
        "UPDATE holds SET expires_at = ? WHERE id = ?", [(expires_at, request) for request in sorted(requests)]
    )


def open_account(tx: Tx, account: str, name: str, now: int, *, unlimited: bool = False) -> None:
    """Add an account without credits. Raises Violation when the name is taken."""
    tx.execute(
        "INSERT INTO accounts (id, name, created_at, unlimited) VALUES (?, ?, ?, ?)", account, name, now, int(unlimited)
    )


def grant(tx: Tx, account: str, amount: int, now: int) -> None:
    """Give credits, or with a negative amount take some back. Raises Violation when the account has not so many."""
    tx.execute("UPDATE accounts SET granted = granted + ? WHERE id = ?", amount, account)
    tx.execute("INSERT INTO entries (at, account, kind, amount) VALUES (?, ?, ?, ?)", now, account, GRANT, amount)


def unbalanced(tx: Tx) -> list[str]:
    """Return the accounts whose columns are not the sums of their entries and holds. Needs to see one moment."""
    rows = tx.execute(
        """
        SELECT a.id FROM accounts a
        LEFT JOIN (
            SELECT account, sum(CASE kind WHEN 'grant' THEN amount ELSE 0 END) AS granted,
                   sum(CASE kind WHEN 'grant' THEN 0 ELSE amount END) AS posted
            FROM entries GROUP BY account
        ) e ON e.account = a.id
        LEFT JOIN (SELECT account, sum(amount) AS pending FROM holds GROUP BY account) h ON h.account = a.id
        WHERE a.granted <> coalesce(e.granted, 0) OR a.posted <> coalesce(e.posted, 0)
           OR a.pending <> coalesce(h.pending, 0)
        ORDER BY a.id
        """
    )
    return [account for (account,) in rows]


def freeze(tx: Tx, accounts: Iterable[str]) -> None:
    """Let nothing more be taken from these accounts, until somebody has looked."""
    tx.execute_many("UPDATE accounts SET frozen = 1 WHERE id = ?", [(account,) for account in sorted(accounts)])


def unfreeze(tx: Tx, account: str) -> None:
    """Let more be taken from an account again."""
    tx.execute("UPDATE accounts SET frozen = 0 WHERE id = ?", account)


def _finish_claims(tx: Tx, closes: Sequence[Close], now: int) -> set[str]:
    """End the claims of requests; return those whose idempotency key is another's, who pays for the same."""
    lost = set()
    mine = {(close.account, close.claim, close.request, close.answered) for close in closes if close.claim is not None}
    for account, name, request, answered in sorted(mine):
        if not answered:
            claims.give_back(tx, account, name, request)
        elif not claims.finish(tx, account, name, request, now):
            lost.add(request)
    return lost


def _take(tx: Tx, requests: Sequence[str]) -> dict[str, _Hold]:
    """Delete the holds of requests, where there are any, and return them."""
    if not requests:
        return {}
    marks = ", ".join("?" * len(requests))
    rows = tx.execute(f"DELETE FROM holds WHERE id IN ({marks}) RETURNING id, account, amount, budgets", *requests)  # noqa: S608
    return {request: _Hold(account, amount, tuple(budgets.split())) for request, account, amount, budgets in rows}


def _lock_accounts(tx: Tx, ids: set[str]) -> dict[str, _Purse]:
    if not ids:
        return {}
    rows = tx.execute_many(
        "UPDATE accounts SET pending = pending WHERE id = ? RETURNING id, granted, posted, pending, unlimited, frozen",
        [(account,) for account in sorted(ids)],
    )
    return {
        account: _Purse(granted, posted, pending, bool(unlimited), bool(frozen))
        for account, granted, posted, pending, unlimited, frozen in rows
    }


def _lock_budgets(tx: Tx, allowed: dict[str, int | None]) -> dict[str, _Purse]:
    """Lock budgets, made where they are new; `allowed`: what is said now. None: it stays."""
    found = {}
    for name, most in sorted(allowed.items()):
        if most is not None:
            tx.execute("INSERT INTO budgets (id, allowed) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", name, most)
        [(was, posted, pending)] = tx.execute(
            "UPDATE budgets SET pending = pending WHERE id = ? RETURNING allowed, posted, pending", name
        )
        found[name] = _Purse(was if most is None else max(most, posted + pending), posted, pending)
    return found


def _purses(
    account: str, names: Iterable[str], accounts: dict[str, _Purse], budgets: dict[str, _Purse]
) -> list[_Purse]:
    return [accounts[account], *(budgets[name] for name in names)]


def _save(tx: Tx, accounts: dict[str, _Purse], budgets: dict[str, _Purse]) -> None:
    tx.execute_many(
        "UPDATE accounts SET posted = ?, pending = ? WHERE id = ?",
        [(purse.posted, purse.pending, account) for account, purse in accounts.items()],
    )
    if budgets:
        tx.execute_many(
            "UPDATE budgets SET allowed = ?, posted = ?, pending = ? WHERE id = ?",
            [(purse.allowed, purse.posted, purse.pending, name) for name, purse in budgets.items()],
        )


def _close(
    tx: Tx,
    closes: Sequence[Close],
    holds: dict[str, _Hold],
    accounts: dict[str, _Purse],
    budgets: dict[str, _Purse],
    lost: set[str],
    now: int,
) -> list[Charge]:
    """Release holds, take what answered requests cost, and write an entry for each that cost anything or was answered.

    More than was held is taken only as far as nobody else holds it; nothing from an account that is frozen, and nothing
    for requests that `lost` their idempotency key.
    """
    charges: list[Charge] = []
    entries: dict[str, tuple[Charge, tuple[Param, ...]]] = {}
    for close in closes:
        if close.request in entries:  # twice in a breath
            charges.append(entries[close.request][0])
            continue
        hold = holds.pop(close.request, None)
        names = hold.budgets if hold else tuple(budget.id for budget in close.budgets)
        if hold is None and (before := tx.execute(_CHARGED, close.request)):
            [(charged, absorbed)] = before  # it was closed already
            charges.append(Charge(charged, absorbed, accounts[close.account].remaining))
            continue
        purses = _purses(close.account, names, accounts, budgets)
        for purse in purses:
            purse.release(hold.amount if hold else 0)
        payable = close.answered and close.request not in lost and not accounts[close.account].frozen
        charged = max(0, min(close.cost, *(purse.left for purse in purses))) if payable else 0
        for purse in purses:
            purse.posted += charged
        charge = Charge(charged, close.cost - charged, accounts[close.account].remaining)
        charges.append(charge)
        if close.answered or close.cost:
            entries[close.request] = charge, _entry(close, charge, names, now)
    if entries:
        _insert(tx, _ENTER, [row for _, row in entries.values()])
    return charges


_CHARGED: Final = "SELECT amount, absorbed FROM entries WHERE request = ?"
_ENTER: Final = """
    INSERT INTO entries
    (at, account, kind, amount, absorbed, request, key_id, model, tokens, reported, end_user, metadata, budgets)
    VALUES
"""
_HOLD: Final = "INSERT INTO holds (id, account, amount, budgets, expires_at) VALUES "


def _insert(tx: Tx, head: str, rows: Sequence[tuple[Param, ...]]) -> None:
    """Insert all rows by one statement: each statement hands the interpreter from thread to thread."""
    row = f"({', '.join('?' * len(rows[0]))})"
    tx.execute(head + ", ".join([row] * len(rows)), *chain.from_iterable(rows))


def _entry(close: Close, charge: Charge, budgets: Sequence[str], now: int) -> tuple[Param, ...]:
    kind = USE if close.answered else ABSORBED
    money = (charge.charged, charge.absorbed)
    counted = (close.tokens, int(close.reported))
    told = (close.user, close.metadata, " ".join(budgets))
    return (now, close.account, kind, *money, close.request, close.key, close.model, *counted, *told)
