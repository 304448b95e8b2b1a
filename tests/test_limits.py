"""Limits of keys, as clients meet them: OpenAI's headers and errors, on every path that embeds."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import openai
import pytest

from embedrock.faces.http import rates

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Gateway, RunEmbedrock, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
OF = ("limit", "remaining", "reset")
PATHS: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"model": TITAN, "input": "four"},
    "/embeddings": {"model": TITAN, "input": "four"},
    f"/openai/deployments/{TITAN}/embeddings": {"input": "four"},
    "/api/v3/inference/embeddings": {"model": TITAN, "input": "four"},
    "/v1/aws-bedrock/embeddings": {"model": TITAN, "inputText": "four"},
    "/mcp": {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "openai_embedding", "arguments": {"input": "four"}},
    },
}


def ask(gateway: Gateway, path: str = "/v1/embeddings", key: str = "one", **members: Any) -> Answer:
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "authorization": f"Bearer {key}",
    }
    return gateway.request("POST", path, json.dumps(PATHS[path] | members).encode(), headers)


def told(answer: Answer, kind: str) -> list[str | None]:
    return [answer.headers.get(f"x-ratelimit-{name}-{kind}") for name in OF]


@pytest.fixture
def limited(start_gateway: StartGateway, emulator: Emulator) -> StartGateway:
    """Start a gateway to `emulator` with keys and limits of theirs."""

    def start(*_: str, **environ: str) -> Gateway:
        return start_gateway(
            AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **{"EMBEDROCK_API_KEY": "one,another"} | environ
        )

    return start


def test_every_path_that_embeds_counts_and_tells(limited: StartGateway, emulator: Emulator) -> None:
    gateway = limited(
        EMBEDROCK_KEY_REQUESTS_PER_MINUTE="6", EMBEDROCK_KEY_TOKENS_PER_MINUTE="6000", EMBEDROCK_MCP="true"
    )
    answers = [ask(gateway, path) for path in PATHS]
    refused = {path: ask(gateway, path) for path in PATHS}
    calls = len(emulator.journal())

    assert [answer.status for answer in answers] == [200] * 6, answers
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == list("543210")
    assert {answer.headers["x-ratelimit-limit-tokens"] for answer in answers} == {"6000"}
    for path, answer in refused.items():
        error = answer.error()
        assert (answer.status, error["type"], error["code"]) == (429, "requests", "rate_limit_exceeded"), path
        assert told(answer, "requests")[:2] == ["6", "0"]
        assert 0 < int(answer.headers["retry-after-ms"]) <= 10_000
        assert int(answer.headers["retry-after"]) <= 10
        assert "x-should-retry" not in answer.headers
    assert calls == 6, "nothing is sent for a request that is refused"
    assert ask(gateway, key="another").status == 200, "another key's limits are its own"
    models = gateway.request("GET", "/v1/models", headers={"authorization": "Bearer one"})
    assert (models.status, told(models, "requests")) == (200, [None] * 3), "looking is free"


def test_tokens_are_those_that_bedrock_counted(limited: StartGateway, emulator: Emulator) -> None:
    gateway = limited(EMBEDROCK_KEY_TOKENS_PER_MINUTE="60")
    answer = ask(gateway, input=["a red bicycle", "a blue one"])
    counted = sum(row["tokens"] for row in emulator.journal())

    assert answer.json()["usage"]["total_tokens"] == counted
    assert told(answer, "tokens") == ["60", str(60 - counted), f"{counted}s"]
    assert told(answer, "requests") == [None] * 3, "there is no such limit"
    refused = ask(gateway, input="x" * 4 * 59)
    assert (refused.status, refused.error()["type"], refused.error()["code"]) == (429, "tokens", "rate_limit_exceeded")
    assert told(refused, "tokens")[:2] == ["60", str(60 - counted)]
    assert ask(gateway, input="x" * 4 * 61).refusal() == ("input", "request_tokens_exceeded")
    assert ask(gateway, input="good", dimensions=7).refusal() == ("dimensions", "invalid_value")
    assert len(emulator.journal()) == 2


def test_failed_call_gives_its_tokens_back(limited: StartGateway, emulator: Emulator) -> None:
    gateway = limited(EMBEDROCK_KEY_TOKENS_PER_MINUTE="60")
    emulator.fault("access_denied")
    failed = ask(gateway, input="x" * 200)
    fired = emulator.fired()

    assert fired == 1
    assert failed.status == 403
    assert told(failed, "tokens") == ["60", "60", "0ms"]


def test_requests_at_once_are_bounded_by_key(limited: StartGateway, emulator: Emulator) -> None:
    gateway = limited(EMBEDROCK_KEY_CONCURRENCY="2", EMBEDROCK_API_KEY="")
    emulator.latency(constant_ms=400)
    with gateway.asked(*[{"model": TITAN, "input": f"text {number}"} for number in range(5)]) as answers:
        got = answers()
    at_once = max(row["concurrency"] for row in emulator.journal())

    assert sorted(answer.status for answer in got) == [200, 200, 429, 429, 429]
    assert at_once == 2
    refused = next(answer for answer in got if answer.status == 429)
    assert refused.error()["code"] == "rate_limit_exceeded"
    assert refused.headers["retry-after-ms"] == "1000"
    emulator.clear()
    assert gateway.embed({"model": TITAN, "input": "after"}).status == 200, "who has left makes room"


def test_replicas_that_share_a_redis_share_the_limits(
    limited: StartGateway, emulator: Emulator, redis_url: str
) -> None:
    """Never more than the limit over both. A process that finds Redis too slow counts for itself, and says so."""
    key = f"key-{uuid.uuid4().hex}"
    settings = {"EMBEDROCK_API_KEY": key, "EMBEDROCK_REDIS_URL": redis_url, "EMBEDROCK_KEY_REQUESTS_PER_MINUTE": "6"}
    replicas = [limited(**settings, EMBEDROCK_KEY_TOKENS_PER_MINUTE="600") for _ in range(2)]
    answers = [ask(replicas[number % 2], key=key) for number in range(14)]
    allowed = sum(answer.status == 200 for answer in answers)
    shared = not any("not shared" in replica.errors() for replica in replicas)

    assert {answer.status for answer in answers} == {200, 429}
    assert allowed == len(emulator.journal()) <= (7 if shared else 13)
    assert allowed >= 6
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "600"
    assert told(answers[-1], "requests")[:2] == ["6", "0"]


@pytest.mark.parametrize("url, said", [("redis://[", "not the URL of a Redis"), ("redis://h:port", "not the URL")])
def test_redis_that_cannot_be_one_is_told_at_start(run_embedrock: RunEmbedrock, url: str, said: str) -> None:
    ended = run_embedrock("config", "check", AWS_REGION="us-east-1", EMBEDROCK_REDIS_URL=url)

    assert ended.returncode == 1
    assert said in ended.stderr.decode()


def test_official_client_reads_a_limit_as_its_own_kind_of_error(limited: StartGateway) -> None:
    gateway = limited(EMBEDROCK_KEY_REQUESTS_PER_MINUTE="1")
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="one", max_retries=0) as client:
        client.embeddings.create(model=TITAN, input="first")
        with pytest.raises(openai.RateLimitError) as caught:
            client.embeddings.create(model=TITAN, input="second")

    assert (caught.value.type, caught.value.code) == ("requests", "rate_limit_exceeded")
    assert 50_000 < int(caught.value.response.headers["retry-after-ms"]) <= 60_000


def test_without_limits_no_header_speaks_of_any(gateway: Gateway) -> None:
    answer = gateway.embed({"model": TITAN, "input": "hello"})

    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


@pytest.mark.parametrize(
    "ms, written",
    [
        (0, "0ms"),
        (12, "12ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1001, "2s"),
        (59_000, "59s"),
        (59_001, "1m0s"),
        (360_000, "6m0s"),
        (3_723_000, "1h2m3s"),
        (3_600_000, "1h0m0s"),
    ],
)
def test_durations_read_as_openai_writes_them(ms: int, written: str) -> None:
    assert rates.duration(ms) == written
