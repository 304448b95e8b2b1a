"""Whose credentials sign which call: by argument, by profile, by role, by environment; and never another's."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from embedrock import Account, AsyncClient, Client, aembedding, embedding
from embedrock.errors import UpstreamAuthFailed

from .stand_ins import StartSts, whose

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, StartEmulator

TITAN = "amazon.titan-embed-text-v2:0"
REGIONS = ("us-east-1", "us-west-2", "eu-west-1")
KEYS = [f"AKIA{letter * 4}" for letter in "ABCDE"]


def plan(calls: int) -> dict[str, tuple[str, str]]:
    """Return texts, each with a key and a region, in no order."""
    rng = Random(7)
    return {f"text {number}": (rng.choice(KEYS), rng.choice(REGIONS)) for number in range(calls)}


def asked(emulator: Emulator, key: str, region: str) -> dict[str, Any]:
    return {
        "model": TITAN,
        "dimensions": 256,
        "aws_access_key_id": key,
        "aws_secret_access_key": f"secret of {key}",
        "aws_region_name": region,
        "aws_bedrock_runtime_endpoint": emulator.url,
    }


def signed(emulator: Emulator) -> dict[str, tuple[str, str]]:
    """Return whose calls the texts went out in, and to which region, as the journal saw it."""
    return {json.loads(row["request_body"])["inputText"]: whose(row) for row in emulator.journal()}


def test_calls_of_many_threads_never_mix(emulator: Emulator, expected: Expected) -> None:
    calls = plan(300)

    def call(text: str) -> list[float] | str:
        return embedding(input=text, **asked(emulator, *calls[text])).data[0].embedding

    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(call, calls))

    assert found == expected(TITAN, calls, 256)
    assert signed(emulator) == calls


async def test_calls_of_one_event_loop_never_mix(emulator: Emulator, expected: Expected) -> None:
    calls = plan(300)

    found = await asyncio.gather(*(aembedding(input=text, **asked(emulator, *where)) for text, where in calls.items()))

    assert [response.data[0].embedding for response in found] == expected(TITAN, calls, 256)
    assert signed(emulator) == calls


async def test_clients_never_mix(emulator: Emulator) -> None:
    calls = plan(100)
    clients = {
        (key, region): AsyncClient(
            TITAN, region=region, account=Account(access_key=key, secret_key="s"), endpoint=emulator.url
        )
        for key in KEYS
        for region in REGIONS
    }

    await asyncio.gather(*(clients[where].embed(text) for text, where in calls.items()))

    assert signed(emulator) == calls


def test_session_token_goes_with_its_keys_only(start_emulator: StartEmulator) -> None:
    checking = start_emulator("--access-key", "ASIAX", "--secret-key", "s", "--session-token", "tok/en==")
    arguments = asked(checking, "ASIAX", "us-east-1") | {"aws_secret_access_key": "s"}

    embedding(input="a", aws_session_token="tok/en==", **arguments)
    with pytest.raises(UpstreamAuthFailed):
        embedding(input="a", **arguments)

    assert [row["status"] for row in checking.journal()] == [200, 403]


def test_bedrock_key_is_sent_over_tls(
    start_emulator: StartEmulator, certificate: tuple[Path, Path], expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = map(str, certificate)
    secure = start_emulator("--certfile", cert, "--keyfile", key)
    monkeypatch.setenv("AWS_CA_BUNDLE", cert)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    place: dict[str, Any] = {"aws_region_name": "us-east-1", "aws_bedrock_runtime_endpoint": secure.url}

    response = embedding(TITAN, "a", api_key="bedrock-key", **place)
    embedding(TITAN, "b", **place)

    assert response.data[0].embedding == expected(TITAN, ["a"])[0]
    headers = [row["headers"] for row in secure.journal()]
    assert headers[0]["authorization"] == "Bearer ***"
    assert headers[1]["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAENV/")


def test_profile_with_its_keys_and_region(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "".join(
            f"[profile {name}]\nregion = {region}\naws_access_key_id = AKIA{name.upper()}\n"
            f"aws_secret_access_key = secret\n"
            for name, region in (("work", "eu-west-1"), ("home", "us-west-2"))
        )
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    for name in ("work", "home", "work"):
        embedding(TITAN, "a", aws_profile_name=name, aws_bedrock_runtime_endpoint=emulator.url)
    Client(TITAN, account=Account(profile="home"), region="us-east-1", endpoint=emulator.url).embed("a")

    assert [whose(row) for row in emulator.journal()] == [
        ("AKIAWORK", "eu-west-1"),
        ("AKIAHOME", "us-west-2"),
        ("AKIAWORK", "eu-west-1"),
        ("AKIAHOME", "us-east-1"),
    ]


def test_profile_that_is_not_there(emulator: Emulator) -> None:
    with pytest.raises(UpstreamAuthFailed):
        embedding(
            TITAN,
            "a",
            aws_profile_name="nobody",
            aws_region_name="us-east-1",
            aws_bedrock_runtime_endpoint=emulator.url,
        )

    assert emulator.journal() == []


def test_role_is_assumed_in_the_region_of_the_call(emulator: Emulator, sts: StartSts) -> None:
    service = sts("AssumeRole")
    role: dict[str, Any] = {
        "aws_role_name": "arn:aws:iam::123456789012:role/embedder",
        "aws_session_name": "a-session",
        "aws_external_id": "an-id",
    }

    embedding(input="a", **asked(emulator, "AKIABASE", "eu-west-1"), **role)
    embedding(input="b", **asked(emulator, "AKIABASE", "eu-west-1"), **role)

    (got,) = service.got
    assert got.form["RoleArn"] == role["aws_role_name"]
    assert (got.form["RoleSessionName"], got.form["ExternalId"]) == ("a-session", "an-id")
    assert "Credential=AKIABASE/" in got.headers["authorization"]
    assert "/eu-west-1/sts/" in got.headers["authorization"]
    assert [whose(row) for row in emulator.journal()] == [("ASIAROLE", "eu-west-1")] * 2
    assert "x-amz-security-token" in emulator.journal()[0]["headers"]


@pytest.mark.parametrize("as_file", [False, True])
def test_role_of_a_web_identity(emulator: Emulator, sts: StartSts, tmp_path: Path, as_file: bool) -> None:
    service = sts("AssumeRoleWithWebIdentity")
    file = tmp_path / "token"
    file.write_text("the-token")

    embedding(
        TITAN,
        "a",
        aws_web_identity_token=str(file) if as_file else "the-token",
        aws_role_name="arn:aws:iam::123456789012:role/embedder",
        aws_session_name="a-session",
        aws_region_name="us-west-2",
        aws_bedrock_runtime_endpoint=emulator.url,
    )

    (got,) = service.got
    assert got.form["Action"] == "AssumeRoleWithWebIdentity"
    assert got.form["WebIdentityToken"] == "the-token"
    assert "authorization" not in got.headers
    assert [whose(row) for row in emulator.journal()] == [("ASIAROLE", "us-west-2")]


def test_keys_that_the_program_changes_in_the_environment_count_at_once(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for key, region in (("AKIAONE", "us-east-1"), ("AKIATWO", "us-west-2"), ("AKIAONE", "us-west-2")):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_REGION_NAME", region)

        embedding(TITAN, "a")

    assert [whose(row) for row in emulator.journal()] == [
        ("AKIAONE", "us-east-1"),
        ("AKIATWO", "us-west-2"),
        ("AKIAONE", "us-west-2"),
    ]


def test_keys_of_one_call_are_not_there_for_the_next(emulator: Emulator) -> None:
    embedding(input="a", **asked(emulator, "AKIAONE", "us-east-1"))

    with pytest.raises(UpstreamAuthFailed):
        embedding(TITAN, "b", aws_region_name="us-east-1", aws_bedrock_runtime_endpoint=emulator.url)

    assert [whose(row) for row in emulator.journal()] == [("AKIAONE", "us-east-1")]
