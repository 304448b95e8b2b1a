"""What accounts pay for sound and film: by the second, on every way, and never more than there is.

For jobs in the background they pay when those are completed, once.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
from tests.account_books import Books
from tests.job_files import wav, wav_uri
from tests.media.samples import picture

from embedrock.store import reports

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Gateway, StartGateway

MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"
FIVE_SECONDS = 7000  # micro-credits: 0.00014 $ a second, 10 credits a dollar
SOUND = {"model": MARENGO_3, "input": wav_uri(5), "background": True}
DEADLINE_S = 60.0
FORGET = "UPDATE idempotency SET answer = NULL WHERE account = ? AND answer IS NOT NULL RETURNING name"


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
    return wait_for_end(gateway, key, ids(answer)[0])


def ids(answer: Answer) -> list[str]:
    """Return the ids of the jobs that a request was answered with."""
    return [row["batch"]["id"] for row in answer.json()["data"]]


def wait_for_end(gateway: Gateway, key: str, id_: str) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {key}"}
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
    [used] = books.write(lambda tx: reports.usage(tx, "account", books.id("team")))
    assert (used.requests, used.cost) == (1, FIVE_SECONDS), "a job is one request, not another for its 202"


def test_a_job_that_fails_costs_nothing(gateway: Gateway, books: Books) -> None:
    key = books.account("team", 1_000_000)

    batch = ended(gateway, key, start_sec=90)

    assert batch["status"] == "failed"
    assert books.settled("team").posted == 0


def test_what_the_account_no_longer_has_is_not_taken(gateway: Gateway, books: Books, media_bucket: Any) -> None:
    key = books.account("poor", 5_000, s3_prefixes=("s3://media/",))
    media_bucket.put_object(Bucket="media", Key="slow.wav", Body=wav(5))  # by its size it were shorter

    batch = ended(gateway, key, input="s3://media/slow.wav")

    (entry,) = [entry for entry in books.entries("poor") if entry.request == batch["id"]]
    assert batch["status"] == "completed"
    assert (entry.amount, entry.absorbed) == (5_000, 2_000)
    assert books.settled("poor").posted == 5_000


def test_a_budget_of_the_key_counts(gateway: Gateway, books: Books) -> None:
    key = books.account("team", 1_000_000, budget_total=10_000)

    batch = ended(gateway, key)
    refused = gateway.embed(SOUND, {"authorization": f"Bearer {key}"})

    (entry,) = [entry for entry in books.entries("team") if entry.request == batch["id"]]
    assert (entry.amount, entry.absorbed) == (FIVE_SECONDS, 0)
    assert (refused.status, refused.error()["code"]) == (402, "insufficient_credits")


@pytest.mark.parametrize("granted", [0, FIVE_SECONDS - 1])
@pytest.mark.parametrize(
    ("model", "members"),
    [
        (MARENGO_3, {"background": True}),
        (MARENGO_3, {}),
        (MARENGO_2, {}),
        (NOVA, {"background": True}),
        (NOVA, {"duration_seconds": 2}),
        (NOVA, {}),
    ],
)
def test_sound_that_the_account_cannot_pay_is_not_sent(
    gateway: Gateway, books: Books, emulator: Emulator, model: str, members: dict[str, Any], granted: int
) -> None:
    key = books.account("broke", granted)

    answer = gateway.embed({"model": model, "input": wav_uri(5), **members}, {"authorization": f"Bearer {key}"})

    assert (answer.status, answer.error()["code"]) == (402, "insufficient_credits")
    assert emulator.bodies("StartAsyncInvoke") == emulator.bodies("InvokeModel") == []
    assert books.settled("broke").posted == 0


@pytest.mark.parametrize(
    ("model", "part"), [(MARENGO_3, {"end_sec": 5}), (MARENGO_2, {"length_sec": 4, "start_sec": 1})]
)
def test_who_can_pay_the_part_that_is_asked_for_gets_it(
    gateway: Gateway, books: Books, model: str, part: dict[str, Any]
) -> None:
    key = books.account("team", FIVE_SECONDS)

    answer = gateway.embed({"model": model, "input": wav_uri(60), **part}, {"authorization": f"Bearer {key}"})

    assert answer.status == 200, answer.body
    [entry] = books.entries("team")
    assert 0 < entry.amount <= FIVE_SECONDS
    assert entry.absorbed == 0


def test_who_has_no_credits_gets_nothing_whatever_it_is_thought_to_cost(
    gateway: Gateway, books: Books, emulator: Emulator, media_bucket: Any
) -> None:
    key = books.account("broke", 0, s3_prefixes=("s3://media/",))
    media_bucket.put_object(Bucket="media", Key="one.txt", Body=b"words in S3, which nobody has counted")

    answer = gateway.embed({"model": NOVA, "input": "s3://media/one.txt"}, {"authorization": f"Bearer {key}"})

    assert (answer.status, answer.error()["code"]) == (402, "insufficient_credits")
    assert emulator.bodies("InvokeModel") == []


def test_sound_in_a_call_is_charged_by_its_seconds(gateway: Gateway, books: Books, emulator: Emulator) -> None:
    key = books.account("team", 1_000_000)
    headers = {"authorization": f"Bearer {key}"}

    answer = gateway.embed({"model": NOVA, "input": [wav_uri(5), wav_uri(2)]}, headers)

    assert answer.status == 200, answer.body
    assert len(emulator.bodies("InvokeModel")) == 2
    assert emulator.bodies("StartAsyncInvoke") == []
    (entry,) = books.entries("team")
    assert (entry.kind, entry.amount, entry.absorbed, entry.model) == ("use", FIVE_SECONDS * 7 // 5, 0, NOVA)
    assert books.settled("team").posted == entry.amount


def test_sound_in_segments_is_charged_beside_what_is_in_calls(gateway: Gateway, books: Books) -> None:
    key = books.account("team", 1_000_000)
    image = f"data:image/png;base64,{b64encode(picture('PNG')).decode()}"
    body = {"model": NOVA, "input": [wav_uri(5), image], "duration_seconds": 2}

    answer = gateway.embed(body, {"authorization": f"Bearer {key}"})

    assert answer.status == 200, answer.body
    assert books.settled("team").posted == FIVE_SECONDS + 600  # 0.00006 $ the picture


def test_a_clip_that_a_call_refuses_is_charged_as_the_job_that_it_becomes(
    gateway: Gateway, books: Books, emulator: Emulator
) -> None:
    key = books.account("team", 1_000_000)

    answer = gateway.embed({"model": NOVA, "input": wav_uri(40)}, {"authorization": f"Bearer {key}"})

    assert answer.status == 200, answer.body
    assert len(emulator.bodies("StartAsyncInvoke")) == 1
    assert books.settled("team").posted == 8 * FIVE_SECONDS


def test_sound_that_does_not_tell_its_length_is_charged_by_its_size(gateway: Gateway, books: Books) -> None:
    key = books.account("team", 1_000_000)
    second = f"data:audio/mpeg;base64,{b64encode(b'ID3' + bytes(15_997)).decode()}"

    answer = gateway.embed({"model": NOVA, "input": second}, {"authorization": f"Bearer {key}"})

    assert answer.status == 200, answer.body
    assert books.settled("team").posted == FIVE_SECONDS // 5


@pytest.mark.parametrize(
    ("kind", "source", "cost"),
    [
        ("audio", {"bytes": wav_uri(5).rpartition(",")[2]}, FIVE_SECONDS),
        ("audio", {"s3Location": {"uri": "s3://media/five.wav"}}, 6 * FIVE_SECONDS),  # as long as it may be
    ],
    ids=["inline", "in S3"],
)
def test_sound_in_bedrocks_own_body_is_charged_by_its_seconds(
    gateway_with: StartGateway, books: Books, media_bucket: Any, kind: str, source: dict[str, Any], cost: int
) -> None:
    media_bucket.put_object(Bucket="media", Key="five.wav", Body=wav(5))
    opened = gateway_with(EMBEDROCK_NATIVE_PREFIXES="amazon.nova-", EMBEDROCK_API_KEY="operator", **books.environ)
    params = {"embeddingPurpose": "GENERIC_INDEX", kind: {"format": "wav", "source": source}}
    body = {"model": NOVA, "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}

    def ask(name: str, granted: int) -> Answer:
        key = books.account(name, granted, s3_prefixes=("s3://media/",))
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        return opened.request("POST", "/v1/aws-bedrock/embeddings", json.dumps(body).encode(), headers)

    answer, refused = ask("team", 1_000_000), ask("poor", cost - 1)

    assert answer.status == 200, answer.body
    assert answer.json()["usage"]["credits_used"] == cost
    assert books.settled("team").posted == cost
    assert (refused.status, refused.error()["code"]) == (402, "insufficient_credits")


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


def test_a_request_whose_answer_is_no_longer_kept_has_the_jobs_it_had(
    gateway: Gateway, books: Books, emulator: Emulator
) -> None:
    key = books.account("team", 1_000_000)
    headers = {"authorization": f"Bearer {key}", "idempotency-key": "once"}
    body = {**SOUND, "input": ["one text", "another"]}

    first = gateway.embed(body, headers)
    assert books.write(lambda tx: tx.execute(FORGET, books.id("team"))) == [("once",)]
    second = gateway.embed(body, headers)

    assert (first.status, second.status) == (202, 202)
    assert ids(first) == ids(second)
    for id_ in ids(first):
        wait_for_end(gateway, key, id_)
    assert len(emulator.bodies("StartAsyncInvoke")) == 2
    assert {entry.request for entry in books.entries("team") if entry.kind == "use"} >= set(ids(first))


def test_jobs_under_way_hold_what_they_cost(gateway: Gateway, books: Books, emulator: Emulator) -> None:
    assert emulator.request("POST", "/_emulator/async", b'{"duration_s": 60}').status == 200
    headers = {"authorization": f"Bearer {books.account('team', 3 * FIVE_SECONDS)}"}

    accepted = gateway.embed({**SOUND, "input": [wav_uri(5), wav_uri(5)]}, headers)
    refused = gateway.embed({**SOUND, "input": [wav_uri(5), wav_uri(5)]}, headers)

    assert (accepted.status, refused.status) == (202, 402)
    assert (books.money("team").posted, books.money("team").pending) == (0, 2 * FIVE_SECONDS)
    for item in accepted.json()["data"]:
        path = f"/v1/batches/{item['batch']['id']}/cancel"
        assert gateway.request("POST", path, headers=headers).status == 200
    assert books.settled("team").posted == 0


def test_a_job_counts_towards_the_tokens_a_minute(gateway: Gateway, books: Books) -> None:
    key = books.account("team", 1_000_000, tokens_per_minute=60)
    headers = {"authorization": f"Bearer {key}"}

    first, second = (gateway.embed({**SOUND, "input": "x" * 4 * 40}, headers) for _ in range(2))

    assert (first.status, second.status) == (202, 429)
    assert first.headers["x-ratelimit-remaining-tokens"] == "20"
    assert (second.error()["type"], second.error()["code"]) == ("tokens", "rate_limit_exceeded")
