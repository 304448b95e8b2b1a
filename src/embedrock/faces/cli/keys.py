"""The command `keys`: what callers send, and what it may."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from embedrock.errors import EmbedrockError
from embedrock.faces.cli.books import AsJson, amount, as_time, in_credits, print_rows, tell_key, with_store
from embedrock.faces.cli.common import ConfigFile, UsageError, find_settings, help_without_command

if TYPE_CHECKING:
    from embedrock.catalog import Names

keys_app = typer.Typer(help="Keys: what callers send, and what each may.", rich_markup_mode=None)
_SPAN = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_S3_PREFIX = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[!-~]*)?")
_GUARDRAIL = re.compile(r"([a-z0-9]+):([1-9][0-9]{0,7}|DRAFT)")


@keys_app.callback(invoke_without_command=True)
def keys_top(context: typer.Context) -> None:
    """Keys: what callers send, and what each may."""
    help_without_command(context)


@keys_app.command("create")
def keys_create(
    account: Annotated[str, typer.Option(help="Whose key it is: the name of an account.")],
    name: Annotated[str, typer.Option(help="What to call it.")] = "",
    model: Annotated[list[str] | None, typer.Option(help="A model or alias it may use; may be repeated.")] = None,
    route: Annotated[
        list[str] | None,
        typer.Option(help="What it may call: embeddings, native, v3, models, mcp; may be repeated."),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: 90d, 12h, or 2030-01-31.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, max=10**9)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, max=10**9)] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=10**6, help="Requests at once.")] = None,
    budget_day: Annotated[str | None, typer.Option(help="Credits a day (UTC).")] = None,
    budget_month: Annotated[str | None, typer.Option(help="Credits a month (UTC).")] = None,
    budget_total: Annotated[str | None, typer.Option(help="Credits in all.")] = None,
    params: Annotated[
        str | None, typer.Option(help="JSON: any name of a model → parameters, for requests that do not say.")
    ] = None,
    own_calls: Annotated[bool, typer.Option("--own-calls", help="Its texts share no call with others'.")] = False,
    guardrail: Annotated[str | None, typer.Option(help="ID:VERSION of a guardrail that all texts must pass.")] = None,
    s3_prefix: Annotated[
        list[str] | None, typer.Option(help="A place in S3 it may name, s3://bucket/folder; may be repeated.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Make a key, and print it: this once.

    embedrock keys create --account search-team --model cohere.embed-v4 --requests-per-minute 600 --expires 90d
    """
    from embedrock.service import issuing
    from embedrock.service.policy import Policy

    for place in s3_prefix or ():
        if not _S3_PREFIX.fullmatch(place):
            raise UsageError("--s3-prefix takes places like s3://bucket/folder.")
    if route:
        from embedrock.faces.http.handlers import RIGHTS  # and with it the whole server

        if not RIGHTS.issuperset(route):
            raise UsageError(f"--route takes {', '.join(sorted(RIGHTS))}.")
    policy = Policy(
        models=None if model is None else tuple(dict.fromkeys(_model(_names(config), each) for each in model)),
        routes=None if route is None else tuple(dict.fromkeys(route)),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrency=concurrency,
        budget_day=None if budget_day is None else amount(budget_day, "--budget-day"),
        budget_month=None if budget_month is None else amount(budget_month, "--budget-month"),
        budget_total=None if budget_total is None else amount(budget_total, "--budget-total"),
        params=_params(params, config),
        shares_calls=not own_calls,
        guardrail=_guardrail(guardrail),
        s3_prefixes=tuple(s3_prefix or ()),
    )
    until = None if expires is None else _until(expires)
    made = with_store(config, lambda store, secret: issuing.issue(store, secret, account, name, policy, until))
    _tell(made.id, made.token, as_json=as_json)


@keys_app.command("list")
def keys_list(
    account: Annotated[str | None, typer.Option(help="Of this account only.")] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """List keys, what is known of each, and what it may. No key itself: nobody knows it."""
    from embedrock.errors import NotFound
    from embedrock.store import keys, reports

    async def work(store: Any, _: Any) -> list[keys.Key]:
        def read(tx: Any) -> list[keys.Key]:
            found = None if account is None else reports.account_named(tx, account)
            if account is not None and found is None:
                raise NotFound("There is no account of this name; `embedrock accounts list` shows them.")
            return keys.listed(tx, found and found.id)

        listed: list[keys.Key] = await store.read(read)
        return listed

    rows = [_row(key, as_json=as_json) for key in with_store(config, work)]
    print_rows(rows, as_json=as_json, nothing="There are no keys; `embedrock keys create --account NAME` makes one.")


@keys_app.command("rotate")
def keys_rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key, by its id.")],
    overlap: Annotated[str, typer.Option(help="How long the old one goes on working: 24h, 7d, 0s.")] = "24h",
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Make a key in the place of another, with the same rights, limits and budgets."""
    from embedrock.service import issuing

    seconds = 0 if overlap == "0s" else _span(overlap)
    if seconds is None:
        raise UsageError("--overlap takes a time such as 24h, 7d or 0s.")
    made = with_store(config, lambda store, secret: issuing.rotate(store, secret, key_id, seconds))
    _tell(made.id, made.token, as_json=as_json)


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The key, by its id.")] = None,
    account: Annotated[str | None, typer.Option(help="All keys of this account.")] = None,
    config: ConfigFile = None,
) -> None:
    """Make a key, or all of an account, useless; on every replica within seconds."""
    from embedrock.service import issuing

    if (key_id is None) == (account is None):
        raise UsageError("Say which: the ID of a key, or --account.")
    if account is not None:
        count = with_store(config, lambda store, _: issuing.revoke_all(store, account))
        print(f"{count} keys of {account} are revoked.")
    elif key_id is not None:
        with_store(config, lambda store, _: issuing.revoke(store, key_id))
        print(f"Key {key_id} is revoked.")


def _tell(key_id: str, token: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"id": key_id, "key": token}))
    else:
        tell_key(key_id, token)


def _row(key: Any, *, as_json: bool) -> dict[str, Any]:
    now = time.time() * 1e6
    state = "revoked" if key.revoked_at else "expired" if key.expires_at and key.expires_at <= now else "active"
    row = {
        "id": key.id,
        "account": key.account_name,
        "name": key.name,
        "key": key.shown,
        "state": state,
        "created": as_time(key.created_at),
        "expires": as_time(key.expires_at),
    }
    may = msgspec.json.decode(key.policy)
    for name in ("budget_day", "budget_month", "budget_total"):
        if name in may:
            may[name] = in_credits(may[name])
    row["may"] = may if as_json else ", ".join(f"{name}={json.dumps(value)}" for name, value in may.items())
    return row


def _names(config: Path | None) -> Names:
    from embedrock import wiring

    chosen = find_settings(config)
    if not chosen.regions:
        chosen = dataclasses.replace(chosen, regions=("us-east-1",))  # a model's name is the same in all
    return wiring.check(chosen)


def _model(names: Names, name: str) -> str:
    """Return what a policy knows a model by: an alias by its name, any other by its id."""
    try:
        target = names.find(name)
    except EmbedrockError as exc:
        raise UsageError(f"--model: {exc.message}") from None
    return name if target.alias is not None else target.spec.id


def _params(text: str | None, config: Path | None) -> dict[str, dict[str, Any]]:
    if text is None:
        return {}
    from embedrock.service.defaults import Defaults

    names = _names(config)
    try:
        given = json.loads(text)
        if not isinstance(given, dict) or not all(isinstance(members, dict) for members in given.values()):
            raise ValueError("it must map names of models to their parameters")
        Defaults(names, given)
    except ValueError as exc:
        raise UsageError(f"--params: {exc}.") from None
    return {names.find(name).spec.id: members for name, members in given.items()}


def _guardrail(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    found = _GUARDRAIL.fullmatch(text)
    if found is None:
        raise UsageError("--guardrail takes ID:VERSION, such as abc123:1 or abc123:DRAFT.")
    return found[1], found[2]


def _until(text: str) -> int:
    """Return when a key ends, in microseconds since 1970."""
    seconds = _span(text)
    if seconds is not None:
        return int((time.time() + seconds) * 1_000_000)
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError("--expires takes a time such as 90d or 12h, or a date such as 2030-01-31.") from None
    at = int((day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    if at <= time.time() * 1e6:
        raise UsageError("--expires: that is over.")
    return at


def _span(text: str) -> int | None:
    found = _SPAN.fullmatch(text)
    return int(found[1]) * _SECONDS[found[2]] if found else None
