"""The commands `accounts` and `usage`: who may spend, and who spent what."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from embedrock.faces.cli.common import ConfigFile, UsageError, find_settings, help_without_command
from embedrock.settings import SettingsError

T = TypeVar("T")

accounts_app = typer.Typer(help="Accounts: who may spend, and how much.", rich_markup_mode=None)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_MICRO = 1_000_000
_MOST = 2**53 // _MICRO


class By(StrEnum):
    """What `usage` adds up by."""

    account = "account"
    key = "key"
    model = "model"
    day = "day"


def with_store(config: ConfigFile, work: Callable[[Any, Any], Awaitable[T]]) -> T:
    """Return what `work` makes of the store and the secret of the keys, both made if they were not there."""
    from embedrock.database import Database
    from embedrock.store import ConfigError

    chosen = find_settings(config)

    async def run() -> T:
        database = Database(chosen)
        try:
            return await work(await database.store(), database.secret)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except ConfigError as exc:
        raise SettingsError(str(exc)) from None


def micro(value: str, option: str) -> int:
    """Return decimal credits as micro-credits. Raises UsageError."""
    try:
        number = Decimal(value) * _MICRO
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite() or number != number.to_integral_value() or abs(number) > _MOST * _MICRO:
        raise UsageError(f"{option} takes credits, such as 100 or 0.25, with six places at most.")
    return int(number)


def amount(value: str, option: str) -> int:
    """Return decimal credits, 0 or more, as micro-credits. Raises UsageError."""
    found = micro(value, option)
    if found < 0:
        raise UsageError(f"{option} must be 0 or more.")
    return found


def in_credits(amount: int | None) -> str:
    """Return micro-credits as decimal credits."""
    if amount is None:
        return "unlimited"
    text = f"{Decimal(amount) / _MICRO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def as_time(at: int | None) -> str | None:
    """Return microseconds since 1970 as a time in UTC."""
    return None if at is None else datetime.fromtimestamp(at // _MICRO, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool, nothing: str) -> None:
    """Print rows of one kind: as JSON, or as a table."""
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
    elif not rows:
        print(nothing)
    else:
        from embedrock.faces.show import aligned

        cells = [["" if cell is None else str(cell) for cell in row.values()] for row in rows]
        print(aligned([list(rows[0]), *cells]))


@accounts_app.callback(invoke_without_command=True)
def accounts_top(context: typer.Context) -> None:
    """Accounts: who may spend, and how much."""
    help_without_command(context)


@accounts_app.command("create")
def accounts_create(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    credits_given: Annotated[
        str | None, typer.Option("--credits", help="Credits to begin with; without it, there is no limit.")
    ] = None,
    key: Annotated[bool, typer.Option("--key", help="Make a key of it at once, and print it.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Make an account; with --key its first key too.

    embedrock accounts create search-team --credits 100 --key
    """
    from embedrock.service import issuing
    from embedrock.service.policy import Policy

    granted = None if credits_given is None else amount(credits_given, "--credits")

    async def work(store: Any, secret: Any) -> dict[str, Any]:
        if key:
            await issuing.secret_of_keys(store, secret)  # before there is an account
        account = await issuing.open_account(store, name, granted)
        made: dict[str, Any] = {
            "id": account,
            "name": name,
            "credits": None if granted is None else in_credits(granted),
        }
        if key:
            issued = await issuing.issue(store, secret, name, "", Policy())
            made["key"] = {"id": issued.id, "key": issued.token}
        return made

    made = with_store(config, work)
    if as_json:
        print(msgspec.json.encode(made).decode())
    else:
        print(f"Account {made['name']} ({made['id']}), {in_credits(granted)} credits.")
        if key:
            tell_key(made["key"]["id"], made["key"]["key"])


def tell_key(key_id: str, token: str) -> None:
    """Print a new key; what explains it goes to standard error, so that the key can be piped on."""
    print(f"Key {key_id}. It is shown this once:", file=sys.stderr)
    print(token)


@accounts_app.command("list")
def accounts_list(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """List accounts and what is left in them."""
    from embedrock.store import reports

    async def work(store: Any, _: Any) -> list[reports.AccountLine]:
        found: list[reports.AccountLine] = await store.read(reports.accounts)
        return found

    rows = [
        {
            "name": line.name,
            "id": line.id,
            "created": as_time(line.created_at),
            "granted": None if line.unlimited else in_credits(line.granted),
            "used": in_credits(line.used),
            "held": in_credits(line.held),
            "remaining": None if line.remaining is None and as_json else in_credits(line.remaining),
            "frozen": line.frozen if as_json else "frozen" if line.frozen else "",
        }
        for line in with_store(config, work)
    ]
    print_rows(rows, as_json=as_json, nothing="There are no accounts; `embedrock accounts create NAME` makes one.")


@accounts_app.command("top-up")
def accounts_top_up(
    name: Annotated[str, typer.Argument(help="The account.")],
    credits_given: Annotated[str, typer.Argument(metavar="CREDITS", help="How many more; negative: how many fewer.")],
    config: ConfigFile = None,
) -> None:
    """Give an account more credits."""
    from embedrock.service import issuing

    more = micro(credits_given, "CREDITS")
    if not more:
        raise UsageError("CREDITS must not be 0.")
    line = with_store(config, lambda store, _: issuing.top_up(store, name, more))
    print(f"Account {line.name}: {in_credits(line.remaining)} credits left of {in_credits(line.granted)}.")


@accounts_app.command("unfreeze")
def accounts_unfreeze(
    name: Annotated[str, typer.Argument(help="The account.")],
    config: ConfigFile = None,
) -> None:
    """Let an account be used again that was frozen because its books did not balance, once they do."""
    from embedrock.service import issuing

    with_store(config, lambda store, _: issuing.unfreeze(store, name))
    print(f"Account {name} is not frozen.")


def usage(
    account: Annotated[str | None, typer.Option(help="Of this account only.")] = None,
    by: Annotated[By, typer.Option(help="Add up by account, key, model or day (UTC).")] = By.account,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    config: ConfigFile = None,
) -> None:
    """Tell what was used: requests, tokens and credits of those that were answered.

    Absorbed are credits that Bedrock billed and no account was charged: of requests that failed half-way, and what was
    more than an account had.
    """
    from embedrock.errors import NotFound
    from embedrock.store import reports

    if as_json and as_csv:
        raise UsageError("--json or --csv, not both.")

    async def work(store: Any, _: Any) -> list[reports.UseLine]:
        def read(tx: Any) -> list[reports.UseLine]:
            found = None if account is None else reports.account_named(tx, account)
            if account is not None and found is None:
                raise NotFound("There is no account of this name; `embedrock accounts list` shows them.")
            return reports.usage(tx, by.value, found and found.id)

        lines: list[reports.UseLine] = await store.read(read)
        return lines

    rows = [
        {
            by.value: line.group if isinstance(line.group, str) else str(as_time(line.group))[:10],
            **(dict(zip(("name", "account"), line.whose, strict=True)) if by is By.key else {}),
            "requests": line.requests,
            "tokens": line.tokens,
            "credits": in_credits(line.cost),
            "absorbed": in_credits(line.absorbed),
        }
        for line in with_store(config, work)
    ]
    if as_csv:
        named = ["name", "account"] if by is By.key else []
        heads = [by.value, *named, "requests", "tokens", "credits", "absorbed"]
        writer = csv.DictWriter(sys.stdout, heads, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        print_rows(rows, as_json=as_json, nothing="Nothing was used.")
