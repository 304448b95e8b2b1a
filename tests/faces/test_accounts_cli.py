"""The commands for accounts, keys and use: what they make is what the gateway takes."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from tests.faces.test_cli import check_failed

from embedrock.faces import cli

if TYPE_CHECKING:
    from tests.conftest import Emulator, RunEmbedrock, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
Run: TypeAlias = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process, with a database of this test's own."""
    monkeypatch.setenv("EMBEDROCK_DATABASE_URL", f"sqlite:///{tmp_path / 'db'}")

    def run_here(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        monkeypatch.setattr(sys, "argv", ["embedrock", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(arguments, ended.value.code, told.out.encode(), told.err.encode())

    return run_here


def out(ended: subprocess.CompletedProcess[bytes]) -> str:
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.decode()


def made(ended: subprocess.CompletedProcess[bytes]) -> Any:
    return json.loads(out(ended))


def test_first_account_and_key_are_one_command_and_the_key_works_at_once(
    run_embedrock: RunEmbedrock, start_gateway: StartGateway, emulator: Emulator, tmp_path: Path
) -> None:
    """The database is where it is by default; the gateway runs already."""
    home = {"XDG_DATA_HOME": str(tmp_path)}
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, EMBEDROCK_API_KEY="operators", **home)

    ended = run_embedrock("accounts", "create", "first", "--credits", "12.5", "--key", **home)
    key = out(ended).splitlines()[-1]
    answer = gateway.embed({"model": TITAN, "input": "a"}, {"authorization": f"Bearer {key}"})

    assert re.fullmatch(r"sk-embedrock-[\w-]{43}", key)
    assert "12.5 credits" in out(ended)
    assert answer.status == 200
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "embedrock").iterdir()}
    assert files["embedrock.db"] == files["embedrock.db.secret"] == 0o600


def test_keys_are_made_listed_rotated_and_revoked(run: Run) -> None:
    assert made(run("accounts", "create", "team", "--json"))["credits"] is None
    first = made(run("keys", "create", "--account", "team", "--name", "ci", "--requests-per-minute", "9", "--json"))
    second = made(run("keys", "rotate", first["id"], "--overlap", "1h", "--json"))
    revoked = run("keys", "revoke", first["id"])
    rows = made(run("keys", "list", "--account", "team", "--json"))
    table = out(run("keys", "list"))

    assert first.keys() == second.keys() == {"id", "key"}
    assert out(revoked) == f"Key {first['id']} is revoked.\n"
    assert [(row["id"], row["state"], row["name"], row["may"]) for row in rows] == [
        (first["id"], "revoked", "ci", {"requests_per_minute": 9}),
        (second["id"], "active", "ci", {"requests_per_minute": 9}),
    ]
    assert [row["key"] for row in rows] == [f"sk-embedrock-…{key['key'][-4:]}" for key in (first, second)]
    assert first["key"] not in table and second["key"] not in table
    assert table.splitlines()[0].split() == ["id", "account", "name", "key", "state", "created", "expires", "may"]


def test_all_keys_of_an_account_are_revoked_at_once(run: Run) -> None:
    keys = [made(run("accounts", "create", name, "--key", "--json"))["key"] for name in ("leaves", "stays")]
    made(run("keys", "create", "--account", "leaves", "--json"))

    assert out(run("keys", "revoke", "--account", "leaves")) == "2 keys of leaves are revoked.\n"
    assert out(run("keys", "revoke", "--account", "leaves")) == "0 keys of leaves are revoked.\n"
    active = [row["id"] for row in made(run("keys", "list", "--json")) if row["state"] == "active"]
    assert active == [keys[1]["id"]]
    check_failed(run("keys", "revoke"), 2, "which")
    check_failed(run("keys", "revoke", keys[1]["id"], "--account", "stays"), 2, "which")
    check_failed(run("keys", "revoke", "--account", "nobody"), 1, "no account")


def test_everything_a_key_may_is_kept(run: Run) -> None:
    out(run("accounts", "create", "team"))
    options: dict[str, str] = {
        "--model": "bedrock/cohere.embed-v4",
        "--route": "embeddings",
        "--tokens-per-minute": "1000",
        "--concurrency": "4",
        "--budget-day": "0.5",
        "--budget-month": "10",
        "--budget-total": "100.000001",
        "--params": '{"bedrock/amazon.titan-embed-text-v2:0": {"dimensions": 256}}',
        "--guardrail": "abc123:DRAFT",
        "--s3-prefix": "s3://media/team",
        "--expires": "2100-01-01",
    }
    given = [part for pair in options.items() for part in pair]
    made(run("keys", "create", "--account", "team", "--own-calls", "--json", *given))
    (row,) = made(run("keys", "list", "--json"))

    assert row["expires"] == "2100-01-01T00:00:00Z"
    assert row["may"] == {
        "models": ["cohere.embed-v4:0"],
        "routes": ["embeddings"],
        "tokens_per_minute": 1000,
        "concurrency": 4,
        "budget_day": "0.5",
        "budget_month": "10",
        "budget_total": "100.000001",
        "params": {TITAN: {"dimensions": 256}},
        "shares_calls": False,
        "guardrail": ["abc123", "DRAFT"],
        "s3_prefixes": ["s3://media/team"],
    }


@pytest.mark.parametrize(
    "options, said",
    [
        (["--model", "gpt-4"], "--model"),
        (["--route", "/*"], "--route takes"),
        (["--route", "admin"], "--route takes"),
        (["--requests-per-minute", "0"], "requests-per-minute"),
        (["--tokens-per-minute", str(10**30)], "tokens-per-minute"),
        (["--concurrency", "-1"], "concurrency"),
        (["--budget-day", "-1"], "--budget-day"),
        (["--budget-total", "1e30"], "--budget-total"),
        (["--budget-total", "nan"], "--budget-total"),
        (["--budget-month", "0.0000001"], "six places"),
        (["--params", "{"], "--params"),
        (["--params", '{"no-model": {}}'], "--params"),
        (["--params", f'{{"{TITAN}": {{"dimensions": 300}}}}'], "--params"),
        (["--guardrail", "abc"], "--guardrail"),
        (["--s3-prefix", "https://media"], "--s3-prefix"),
        (["--expires", "soon"], "--expires"),
        (["--expires", "2020-01-01"], "--expires"),
        (["--role", "admin"], "--role"),
        (["--account", "other"], "no account"),
    ],
)
def test_what_a_key_cannot_be_is_refused(run: Run, options: list[str], said: str) -> None:
    """Nothing that is not a right of a key can be slipped in, and a bound that is none is not taken for one."""
    ended = run("keys", "create", "--account", "team", *options)

    check_failed(ended, 1 if "--account" in options else 2, said)


def test_accounts_are_listed_and_topped_up(run: Run) -> None:
    out(run("accounts", "create", "a", "--credits", "1"))
    out(run("accounts", "create", "b"))
    topped = out(run("accounts", "top-up", "a", "0.25"))
    rows = made(run("accounts", "list", "--json"))

    assert topped == "Account a: 1.25 credits left of 1.25.\n"
    assert [(row["name"], row["granted"], row["used"], row["remaining"], row["frozen"]) for row in rows] == [
        ("a", "1.25", "0", "1.25", False),
        ("b", None, "0", None, False),
    ]
    check_failed(run("accounts", "top-up", "a", "--", "-2"), 1, "not so much left")
    check_failed(run("accounts", "top-up", "a", "9007199254"), 1, "9007199254 credits at most")
    check_failed(run("accounts", "top-up", "a", "0"), 2, "must not be 0. Try")
    check_failed(run("accounts", "top-up", "c", "1"), 1, "no account")
    check_failed(run("accounts", "create", "a"), 1, "already")
    check_failed(run("accounts", "create", "x" * 101), 1, "A name has")
    check_failed(run("accounts", "create", "c", "--credits", "ten"), 2, "--credits")
    check_failed(run("accounts", "create", "c", "--credits", "-1"), 2, "--credits")
    check_failed(run("keys", "revoke", "key_of-nobody"), 1, "no key")
    check_failed(run("keys", "rotate", "key_of-nobody", "--overlap", "long"), 2, "--overlap")


def test_usage_of_nobody_is_told_in_each_form(run: Run) -> None:
    out(run("accounts", "create", "team"))

    assert out(run("usage")) == "Nothing was used.\n"
    assert made(run("usage", "--json", "--account", "team")) == []
    table = csv.reader(io.StringIO(out(run("usage", "--csv", "--by", "model"))))
    assert list(table) == [["model", "requests", "tokens", "credits", "absorbed"]]
    check_failed(run("usage", "--account", "nobody"), 1, "no account")
    check_failed(run("usage", "--json", "--csv"), 2, "not both")
    assert "Value error" not in check_failed(run("usage", "--by", "password"), 2, "password")


def test_empty_lists_say_how_to_begin(run: Run) -> None:
    assert "accounts create" in out(run("accounts", "list"))
    assert "keys create" in out(run("keys", "list"))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_keys_in_postgresql_need_a_secret_that_replicas_share(run_embedrock: RunEmbedrock, database_url: str) -> None:
    """The gateway that has none, or another, does not start; and no account is left of an order that failed."""
    here = {"EMBEDROCK_DATABASE_URL": database_url}
    secret = {"EMBEDROCK_KEY_SECRET": "0123456789" * 4}
    other = {"EMBEDROCK_KEY_SECRET": "9876543210" * 4}
    create = ["accounts", "create", "team", "--key"]
    check_failed(run_embedrock(*create, **here), 1, "EMBEDROCK_KEY_SECRET")

    first = run_embedrock(*create, **secret, **here)

    assert out(first).splitlines()[-1].startswith("sk-embedrock-")
    wrongs: list[dict[str, str]] = [{}, other]
    for wrong in wrongs:
        check_failed(run_embedrock("accounts", "create", "late", "--key", **wrong, **here), 1, "EMBEDROCK_KEY_SECRET")
        check_failed(run_embedrock("keys", "create", "--account", "team", **wrong, **here), 1, "EMBEDROCK_KEY_SECRET")
        served = run_embedrock("serve", "--port", "0", AWS_REGION="us-east-1", **wrong, **here)
        check_failed(served, 1, "EMBEDROCK_KEY_SECRET")
    assert [row["name"] for row in made(run_embedrock("accounts", "list", "--json", **here))] == ["team"]
    (key,) = made(run_embedrock("keys", "list", "--json", **here))
    assert out(run_embedrock("keys", "revoke", key["id"], **here))
    assert out(run_embedrock("keys", "create", "--account", "team", **other, **here)).startswith("sk-embedrock-")


def test_database_that_cannot_be_reached_is_told_with_the_reason(
    run_embedrock: RunEmbedrock, postgres_url: str, unused_tcp_port: int
) -> None:
    away = f"postgresql://postgres:canary@127.0.0.1:{unused_tcp_port}/test"
    missing = f"{postgres_url.partition('?')[0].rpartition('/')[0]}/there_is_none"

    refused = check_failed(run_embedrock("accounts", "list", EMBEDROCK_DATABASE_URL=away), 1, str(unused_tcp_port))
    absent = run_embedrock("accounts", "list", EMBEDROCK_DATABASE_URL=missing)

    assert "canary" not in refused
    check_failed(absent, 1, "there_is_none", "does not exist")
