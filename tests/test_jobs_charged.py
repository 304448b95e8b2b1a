"""What accounts pay for jobs in the background: when they are completed, once, and never more than there is."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.account_books import Books
from tests.job_files import wav_uri

if TYPE_CHECKING:
    from tests.conftest import Emulator, Gateway, StartGateway

MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
FIVE_SECONDS = 7000  # micro-credits: 0.00014 $ a second, 10 credits a dollar
SOUND = {"model": MARENGO_3, "input": wav_uri(5), "background": True}
DEADLINE_S = 60.0


@pytest.fixture
def books(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """The books of a database that these tests share; each makes accounts of its own."""
    directory = tmp_path_factory.getbasetemp() / "charged-jobs"
    directory.mkdir(exist_ok=True)
    books = Books(f"sqlite:///{directory / 'jobs.db'}")
    books.make()
    return books


@pytest.fixture
def gateway(gateway_with: StartGateway, books: Books) -> Gateway:
    return gateway_with(
        AWS_S3_REGIONAL_BUCKETS='{"us-east-1": "embedrock-emulator"}',
        EMBEDROCK_API_KEY="operator",
        **books.environ,
    )


def ended(gateway: Gateway, key: str, **members: Any) -> dict[str, Any]:
    """Return the batch of a job in the background, once it has ended."""
    headers = {"authorization": f"Bearer {key}"}
    answer = gateway.embed(SOUND | members, headers)
    assert answer.status == 202, answer.body
    id_ = answer.json()["data"][0]["batch"]["id"]
    deadline = time.monotonic() + DEADLINE_S
    while True:
        batch: dict[str, Any] = gateway.request("GET", f"/v1/batches/{id_}", headers=headers).json()
        if batch["status"] != "in_progress":
            return batch
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_seconds_are_charged_to_the_account_when_the_job_is_completed(gateway: Gateway, books: Books) -> None:
    key = books.account("team", 1_000_000)

    batch = ended(gateway, key)

    money = books.settled("team")
    (entry,) = [entry for entry in books.entries("team") if entry.request == batch["id"]]
    assert batch["status"] == "completed"
    assert (entry.kind, entry.amount, entry.absorbed, entry.model) == ("use", FIVE_SECONDS, 0, MARENGO_3)
    assert entry.key_id == f"key_{books.id('team')}"
    assert money.posted == FIVE_SECONDS


def test_a_job_that_fails_costs_nothing(gateway: Gateway, books: Books) -> None:
    key = books.account("team", 1_000_000)

    batch = ended(gateway, key, start_sec=90)

    assert batch["status"] == "failed"
    assert books.settled("team").posted == 0


def test_what_the_account_no_longer_has_is_not_taken(gateway: Gateway, books: Books) -> None:
    key = books.account("poor", 5_000)

    batch = ended(gateway, key)

    (entry,) = [entry for entry in books.entries("poor") if entry.request == batch["id"]]
    assert batch["status"] == "completed"
    assert (entry.amount, entry.absorbed) == (5_000, 2_000)
    assert books.settled("poor").posted == 5_000


def test_a_budget_of_the_key_counts(gateway: Gateway, books: Books) -> None:
    key = books.account("team", 1_000_000, budget_total=10_000)

    first, second = ended(gateway, key), ended(gateway, key)

    charged = {entry.request: (entry.amount, entry.absorbed) for entry in books.entries("team")}
    assert charged[first["id"]] == (FIVE_SECONDS, 0)
    assert charged[second["id"]] == (3_000, 4_000)


def test_an_account_without_credits_gets_no_job(gateway: Gateway, books: Books, emulator: Emulator) -> None:
    key = books.account("broke", 0)

    answer = gateway.embed({**SOUND, "input": ["some words", wav_uri(2)]}, {"authorization": f"Bearer {key}"})

    assert (answer.status, answer.error()["code"]) == (402, "insufficient_credits")
    assert emulator.bodies("StartAsyncInvoke") == []


def test_a_request_that_waits_is_charged_for_its_seconds_too(gateway: Gateway, books: Books) -> None:
    key = books.account("team", 1_000_000)

    answer = gateway.embed({**SOUND, "background": False}, {"authorization": f"Bearer {key}"})

    assert answer.status == 200
    assert books.settled("team").posted == FIVE_SECONDS
    assert json.loads(answer.body)["usage"]["prompt_tokens"] == 0


def test_a_request_that_is_sent_twice_with_one_key_makes_one_job(
    gateway: Gateway, books: Books, emulator: Emulator
) -> None:
    headers = {"authorization": f"Bearer {books.account('team', 1_000_000)}", "idempotency-key": "once"}

    first, second = gateway.embed(SOUND, headers), gateway.embed(SOUND, headers)

    assert (first.status, second.status) == (202, 202)
    assert first.json() == second.json()
    assert len({body["clientRequestToken"] for body in emulator.bodies("StartAsyncInvoke")}) <= 1


def test_a_job_counts_towards_the_tokens_a_minute(gateway: Gateway, books: Books) -> None:
    key = books.account("team", 1_000_000, tokens_per_minute=60)
    headers = {"authorization": f"Bearer {key}"}

    first, second = (gateway.embed({**SOUND, "input": "x" * 4 * 40}, headers) for _ in range(2))

    assert (first.status, second.status) == (202, 429)
    assert first.headers["x-ratelimit-remaining-tokens"] == "20"
    assert (second.error()["type"], second.error()["code"]) == ("tokens", "rate_limit_exceeded")
