"""An SDK fetches its credentials from the emulator as in a container, and the endpoint can misbehave."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from botocore.credentials import ContainerProvider

if TYPE_CHECKING:
    from tests.emulator.conftest import Running

PATH = "/v2/credentials/any"


def fetched(emulator: Running) -> dict[str, str]:
    answer = emulator.request("GET", PATH)
    assert answer.status == 200
    found: dict[str, str] = json.loads(answer.body)
    return found


def test_sdk_gets_the_keys_that_the_emulator_checks(emulator: Running) -> None:
    emulator.request(
        "POST",
        "/_emulator/credentials",
        json.dumps({"access_key": "AKIDNEW", "secret_key": "s", "session_token": "t"}).encode(),
    )

    provider = ContainerProvider(environ={"AWS_CONTAINER_CREDENTIALS_FULL_URI": emulator.url + PATH})
    found = provider.load().get_frozen_credentials()

    assert (found.access_key, found.secret_key, found.token) == ("AKIDNEW", "s", "t")


def test_credentials_last_for_hours(emulator: Running) -> None:
    ends = datetime.strptime(fetched(emulator)["Expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)

    assert (ends - datetime.now(UTC)).total_seconds() > 3600


@pytest.mark.parametrize(("kind", "expiration"), [("past", "2020-01-01T00:00:00Z"), ("empty", None)])
def test_endpoint_answers_nonsense_when_told_to(emulator: Running, kind: str, expiration: str | None) -> None:
    emulator.request(
        "POST", "/_emulator/faults", json.dumps({"fault": "container_credentials", "kind": kind, "n": 1}).encode()
    )

    assert fetched(emulator).get("Expiration") == expiration
    assert fetched(emulator)["Expiration"] > "2026", "it struck once"
    assert json.loads(emulator.request("GET", "/_emulator/faults").body)["faults"][0]["fired"] == 1
