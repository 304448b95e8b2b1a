"""Makes accounts and keys, and ends keys. A key is told once, when it is made: what is kept cannot be turned back."""

from __future__ import annotations

import secrets
import time
from typing import Final, NamedTuple

from embedrock.errors import BadRequest, NotFound
from embedrock.service import key_form
from embedrock.service import policy as policies
from embedrock.service.policy import Policy
from embedrock.store import ConfigError, Store, Tx, books, keys, reports
from embedrock.store.secret import Secret

MICRO: Final = 1_000_000  # micro-credits in a credit, microseconds in a second


class Issued(NamedTuple):
    """A new key; `token` is what callers send."""

    id: str
    token: str


async def open_account(store: Store, name: str, credits_micro: int | None) -> str:
    """Return the id of a new account with so many credits; None: as many as it likes.

    Raises BadRequest when the name is taken, or none.
    """
    _check_name(name)
    account, now = f"acc_{secrets.token_hex(8)}", now_us()

    def write(tx: Tx) -> None:
        if reports.account_named(tx, name) is not None:
            raise BadRequest(f"There is an account {name!r} already.", param="name")
        books.open_account(tx, account, name, now, unlimited=credits_micro is None)
        if credits_micro:
            books.grant(tx, account, credits_micro, now)

    await store.write(write)
    return account


async def top_up(store: Store, name: str, credits_micro: int) -> reports.AccountLine:
    """Give an account credits, or take some back, and return how it stands. Raises NotFound, BadRequest."""
    now = now_us()

    def write(tx: Tx) -> reports.AccountLine:
        account = _account(tx, name)
        if account.remaining is None:
            raise BadRequest(f"The account {name!r} has no limit that could be raised.", param="name")
        if account.remaining + credits_micro < 0:
            raise BadRequest(f"The account {name!r} has not so much left.", param="credits")
        if account.granted + credits_micro > books.MOST:
            raise BadRequest(f"An account has {books.MOST // MICRO} credits at most.", param="credits")
        books.grant(tx, account.id, credits_micro, now)
        return _account(tx, name)

    return await store.write(write)


async def unfreeze(store: Store, name: str) -> None:
    """Let an account be used again. Raises NotFound, and BadRequest while its books do not balance."""

    def write(tx: Tx) -> None:
        account = _account(tx, name)
        if account.id in books.unbalanced(tx):
            raise BadRequest(
                f"The books of the account {name!r} do not balance: its sums in the table accounts are not those of "
                "its entries and holds.",
                param="name",
            )
        books.unfreeze(tx, account.id)

    await store.write(write)


async def secret_of_keys(store: Store, secret: Secret) -> bytes:
    """Return what new keys are kept under, made with the first. Raises ConfigError."""
    await check_secret(store, secret.find())
    return secret.make()


async def check_secret(store: Store, secret: bytes | None) -> None:
    """Raise ConfigError when keys in use were made under another secret, or there is none any more."""
    await store.read(lambda tx: _check_mark(tx, secret))


async def issue(
    store: Store, secret: Secret, account: str, name: str, policy: Policy, expires_at: int | None = None
) -> Issued:
    """Return a new key of the account with this name. Raises NotFound, BadRequest, or ConfigError for the secret."""
    if name:
        _check_name(name)
    try:
        text = policies.write(policy)
    except ValueError as exc:
        raise BadRequest(f"The key's rights are not in order: {exc}.") from None
    under = await secret_of_keys(store, secret)
    issued = _new()

    def write(tx: Tx) -> None:
        _keep_mark(tx, under)
        row = _row(issued, issued.id, _account(tx, account), name, expires_at, text)
        keys.add(tx, row, key_form.digest(under, issued.token.encode()))

    await store.write(write)
    return issued


async def rotate(store: Store, secret: Secret, key_id: str, overlap_s: int) -> Issued:
    """Return a key in the place of another, which goes on working for so long. Raises NotFound, BadRequest."""
    under = await secret_of_keys(store, secret)
    issued, now = _new(), now_us()

    def write(tx: Tx) -> None:
        _keep_mark(tx, under)
        old = _key(tx, key_id)
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise BadRequest(f"The key {key_id} works no more; make a new one.", param="id")
        row = _row(issued, old.root, _account(tx, old.account_name), old.name, old.expires_at, old.policy)
        keys.add(tx, row, key_form.digest(under, issued.token.encode()))
        keys.expire(tx, old.id, now + overlap_s * MICRO)

    await store.write(write)
    return issued


async def revoke(store: Store, key_id: str) -> None:
    """Make a key useless, within seconds everywhere. Raises NotFound."""
    now = now_us()

    def write(tx: Tx) -> None:
        keys.revoke(tx, _key(tx, key_id).id, now)

    await store.write(write)


async def revoke_all(store: Store, account: str) -> int:
    """Make all keys of the account with this name useless, and return how many were not. Raises NotFound."""
    now = now_us()
    return await store.write(lambda tx: keys.revoke_all(tx, _account(tx, account).id, now))


def now_us() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1000


def _check_mark(tx: Tx, secret: bytes | None) -> bool:
    """Return whether any key is in use. Raises ConfigError when the secret is not theirs."""
    if not keys.any_usable(tx, now_us()):
        return False
    if secret is None:
        raise ConfigError(
            "the secret that keys are kept under is gone, and without it none of them works: set EMBEDROCK_KEY_SECRET "
            "to it, or bring back the file beside the database"
        )
    if keys.mark(tx) not in (None, key_form.mark(secret)):
        raise ConfigError(
            "EMBEDROCK_KEY_SECRET, or the file beside the database, is not the secret that the keys in it are kept "
            "under: none of them would work"
        )
    return True


def _keep_mark(tx: Tx, secret: bytes) -> None:
    if not _check_mark(tx, secret):
        keys.set_mark(tx, key_form.mark(secret))


def _new() -> Issued:
    return Issued(f"key_{secrets.token_hex(8)}", key_form.make())


def _row(
    issued: Issued, root: str, account: reports.AccountLine, name: str, expires_at: int | None, text: str
) -> keys.Key:
    shown = key_form.shown(issued.token)
    return keys.Key(issued.id, root, account.id, account.name, name, shown, now_us(), expires_at, None, text)


def _check_name(name: str) -> None:
    if not reports.is_name(name):
        raise BadRequest("A name has 1 to 100 letters, digits, spaces and . _ - @ : + in it.", param="name")


def _account(tx: Tx, name: str) -> reports.AccountLine:
    found = reports.account_named(tx, name) if reports.is_name(name) else None
    if found is None:
        raise NotFound("There is no account of this name; `embedrock accounts list` shows them.", param="account")
    return found


def _key(tx: Tx, key_id: str) -> keys.Key:
    found = keys.find_id(tx, key_id)
    if found is None:
        raise NotFound("There is no key of this id; `embedrock keys list` shows them.", param="id")
    return found
