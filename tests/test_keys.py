"""Keys of accounts at a running gateway: what each may, on every path, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import openai
import pytest
from tests import forged

from embedrock.faces.http.handlers import RIGHTS
from embedrock.service import issuing
from embedrock.service.issuing import Issued
from embedrock.service.policy import Policy
from embedrock.store import open_store
from embedrock.store.secret import Secret

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Expected, Gateway, RunEmbedrock, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
OPERATOR = "operators-key"
PATHS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "/v1/embeddings": ("embeddings", {"model": TITAN, "input": "four"}),
    "/embeddings": ("embeddings", {"model": TITAN, "input": "four"}),
    f"/openai/deployments/{TITAN}/embeddings": ("embeddings", {"input": "four"}),
    "/api/v3/inference/embeddings": ("v3", {"model": TITAN, "input": "four"}),
    "/v1/aws-bedrock/embeddings": ("native", {"model": TITAN, "inputText": "four"}),
    "/mcp": ("mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    "/v1/models": ("models", None),
    "/models": ("models", None),
    f"/v1/models/{TITAN}": ("models", None),
}

NO_HEADERS: Mapping[str, str] = {}


class Accounts:
    """A database with an account, as the command line would make it."""

    def __init__(self, directory: Path) -> None:
        self.url = f"sqlite:///{directory / 'embedrock.db'}"
        self._secret = Secret("", directory / "embedrock.db.secret")
        for name, granted in (("team", None), ("paid", 1_000_000), ("poor", 0), ("used", None)):
            self._run(partial(issuing.open_account, name=name, credits_micro=granted))

    def issue(self, expires_at: int | None = None, account: str = "team", **members: Any) -> Issued:
        found: Issued = self._run(
            lambda store: issuing.issue(store, self._secret, account, "", Policy(**members), expires_at)
        )
        return found

    def revoke(self, key_id: str) -> None:
        self._run(lambda store: issuing.revoke(store, key_id))

    def _run(self, work: Callable[..., Any]) -> Any:
        async def run() -> Any:
            store = await open_store(self.url)
            try:
                return await work(store)
            finally:
                await store.close()

        with asyncio.Runner() as runner:
            return runner.run(run())


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    return Accounts(tmp_path_factory.mktemp("accounts"))


@pytest.fixture(scope="module")
def place(gateway_with: StartGateway, accounts: Accounts) -> Gateway:
    """A gateway with these accounts, an operator's key, and all it can serve."""
    return gateway_with(
        EMBEDROCK_DATABASE_URL=accounts.url,
        EMBEDROCK_API_KEY=OPERATOR,
        EMBEDROCK_MCP="true",
        EMBEDROCK_OPENAI_ALIASES="true",
    )


def ask(
    gateway: Gateway, key: str, path: str = "/v1/embeddings", more: Mapping[str, str] = NO_HEADERS, **body: Any
) -> Answer:
    headers = {"authorization": f"Bearer {key}", "accept": "application/json, text/event-stream"} | dict(more)
    _, usual = PATHS[path]
    if usual is None:
        return gateway.request("GET", path, headers=headers)
    sent = json.dumps(usual | body).encode()
    return gateway.request("POST", path, sent, headers | {"content-type": "application/json"})


def refusal(answer: Answer) -> tuple[int, str | None, str | None]:
    error = answer.error()
    assert answer.headers["x-should-retry"] == "false"
    return answer.status, error["code"], error["param"]


def test_key_embeds_as_the_operators_does(place: Gateway, accounts: Accounts, expected: Expected) -> None:
    key = accounts.issue().token
    with openai.OpenAI(base_url=f"{place.url}/v1", api_key=key) as client:
        vectors = [item.embedding for item in client.embeddings.create(model=TITAN, input=["a", "b"]).data]
        listed = {model.id for model in client.models.list()}

    assert vectors == [[pytest.approx(number) for number in vector] for vector in expected(TITAN, ["a", "b"])]
    assert TITAN in listed and "text-embedding-3-small" in listed
    assert ask(place, OPERATOR).status == 200


@pytest.mark.parametrize("right", sorted(RIGHTS))
def test_key_for_some_paths_is_for_no_others(
    place: Gateway, accounts: Accounts, emulator: Emulator, right: str
) -> None:
    key = accounts.issue(routes=(right,)).token
    outcomes = {path: ask(place, key, path) for path in PATHS}
    elsewhere = place.request("GET", "/somewhere", headers={"authorization": f"Bearer {key}"})

    assert {path for path, answer in outcomes.items() if answer.status == 200} == {
        path for path, (needs, _) in PATHS.items() if needs == right
    }
    refused = [answer for answer in outcomes.values() if answer.status != 200]
    assert {refusal(answer) for answer in refused} == {(403, "permission_denied", None)}
    assert refusal(elsewhere) == (403, "permission_denied", None), "what is not allowed is forbidden"
    assert len(emulator.journal()) == sum(
        1 for path in PATHS if PATHS[path][0] == right and right in ("embeddings", "v3", "native")
    )


def test_every_path_needs_a_key_and_has_a_right(place: Gateway) -> None:
    """A path that nobody thought of is forbidden: only health and metrics are for everybody."""
    from embedrock.faces.http.handlers import ROUTES

    assert {path for path, route in ROUTES.items() if not route.needs_key} == {
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    assert all(route.right for route in ROUTES.values() if route.needs_key)
    assert {PATHS[path][0] for path in ROUTES if path in PATHS} == RIGHTS - {"mcp"}
    for path in ROUTES:
        status = place.request("GET", path).status
        assert status == (200 if path.startswith(("/health", "/metrics")) else 401), path


def test_models_are_those_of_the_key_on_every_path(place: Gateway, accounts: Accounts, emulator: Emulator) -> None:
    key = accounts.issue(models=(ENGLISH, "text-embedding-ada-002")).token
    listed = {model["id"] for model in ask(place, key, "/v1/models").json()["data"]}
    shown = ask(place, key, f"/v1/models/{TITAN}")
    tools = ask(
        place, key, "/mcp", method="tools/call", params={"name": "list_embedding_models", "arguments": {}}
    ).json()["result"]["structuredContent"]
    refused = [path for path, (right, body) in PATHS.items() if body is not None and right != "mcp"]

    assert listed == {ENGLISH, "text-embedding-ada-002"}
    assert refusal(shown) == (404, "model_not_found", "model")
    assert {model["id"] for model in tools["models"]} == {ENGLISH}
    assert [alias["name"] for alias in tools["aliases"]] == ["text-embedding-ada-002"]
    assert {refusal(ask(place, key, path)) for path in refused} == {(403, "permission_denied", "model")}
    agents = ask(
        place, key, "/mcp", method="tools/call", params={"name": "similarity", "arguments": {"texts": ["a", "b"]}}
    )
    assert agents.json()["result"]["isError"]
    assert emulator.journal() == []
    for name in (ENGLISH, f"bedrock/{ENGLISH}", "text-embedding-ada-002"):
        assert ask(place, key, model=name).status == 200, name
    assert refusal(ask(place, key, model="text-embedding-3-small"))[0] == 403
    assert refusal(ask(place, key, model="amazon.titan-embed-text-v1"))[0] == 403, (
        "the alias is, what is behind it is not"
    )


def test_parameters_of_a_key_are_weaker_than_a_requests_and_stronger_than_an_aliass(
    place: Gateway, accounts: Accounts, emulator: Emulator
) -> None:
    key = accounts.issue(params={TITAN: {"dimensions": 256}}).token
    asks: list[dict[str, Any]] = [{}, {"dimensions": 512}, {"normalize": True}]
    sizes = [len(ask(place, key, **asked).vectors()[0]) for asked in asks]
    native = ask(place, key, "/v1/aws-bedrock/embeddings").json()

    assert sizes == [256, 512, 256]
    assert len(native["embedding"]) == 1024, "the native path takes no defaults"
    assert len(emulator.bodies()) == 4


def test_guardrail_of_a_key_cannot_be_left_out_or_changed(
    place: Gateway, accounts: Accounts, emulator: Emulator
) -> None:
    emulator.guardrail(id="mine", version=3, blocked_words=["top secret"])
    emulator.guardrail(id="lax", version=1)
    key = accounts.issue(guardrail=("mine", "3")).token
    lax = {"X-Amzn-Bedrock-GuardrailIdentifier": "lax", "X-Amzn-Bedrock-GuardrailVersion": "1"}
    same = {"X-Amzn-Bedrock-GuardrailIdentifier": "mine", "X-Amzn-Bedrock-GuardrailVersion": "3"}

    assert refusal(ask(place, key, input="it is top secret")) == (400, "content_filter", "input")
    assert ask(place, key, input="it is not").status == 200
    assert ask(place, key, more=same, input="it is not").status == 200
    assert refusal(ask(place, key, more=lax)) == (403, "permission_denied", "X-Amzn-Bedrock-GuardrailIdentifier")
    newer = same | {"X-Amzn-Bedrock-GuardrailVersion": "DRAFT"}
    assert refusal(ask(place, key, more=newer))[:2] == (403, "permission_denied")
    assert refusal(ask(place, key, "/v1/aws-bedrock/embeddings")) == (403, "permission_denied", None)
    assert refusal(ask(place, key, "/api/v3/inference/embeddings", input="top secret"))[1] == "content_filter"
    assert [row["op"] for row in emulator.journal()].count("InvokeModel") == 2


def test_objects_in_s3_are_those_of_the_key(place: Gateway, accounts: Accounts) -> None:
    own, none = accounts.issue(s3_prefixes=("s3://media/team",)).token, accounts.issue().token
    nova: dict[str, Any] = {"model": "amazon.nova-2-multimodal-embeddings-v1:0"}
    for key, uri in (
        (none, "s3://media/team/a.png"),
        (own, "s3://media/others/a.png"),
        (own, "s3://media/team-2/a.png"),
    ):
        assert refusal(ask(place, key, **nova, input=uri)) == (403, "s3_access_denied", "input"), uri

    assert (
        ask(place, own, **nova, input="s3://media/team/a.png").json().get("error", {}).get("code") != "s3_access_denied"
    )


def test_texts_of_a_key_that_shares_no_calls_go_alone(place: Gateway, accounts: Accounts, emulator: Emulator) -> None:
    shared, alone = accounts.issue().token, accounts.issue(shares_calls=False).token
    emulator.latency(constant_ms=150)

    async def embed(key: str) -> None:
        async with openai.AsyncOpenAI(base_url=f"{place.url}/v1", api_key=key, max_retries=0) as client:
            texts = [f"{key[-4:]} {number}" for number in range(8)]
            await asyncio.gather(*[client.embeddings.create(model=ENGLISH, input=text) for text in texts])

    async def both() -> None:
        await embed(shared)
        await embed(alone)

    with asyncio.Runner() as runner:
        runner.run(both())
    sizes = [len(body["texts"]) for body in emulator.bodies() if body["texts"][0].startswith(alone[-4:])]
    together = [len(body["texts"]) for body in emulator.bodies() if body["texts"][0].startswith(shared[-4:])]

    assert sizes == [1] * 8
    assert len(together) < 8 and sum(together) == 8


def test_limits_of_a_key_are_its_own(place: Gateway, accounts: Accounts) -> None:
    key, other = accounts.issue(requests_per_minute=1).token, accounts.issue().token
    first, second = ask(place, key), ask(place, key)

    assert (first.status, first.headers["x-ratelimit-limit-requests"]) == (200, "1")
    assert (second.status, second.error()["code"]) == (429, "rate_limit_exceeded")
    unbounded = ask(place, other)
    assert unbounded.status == 200
    assert not [name for name in unbounded.headers if name.startswith("x-ratelimit")]


def test_statuses_of_the_native_path_are_those_documented_with_accounts_too(
    place: Gateway, accounts: Accounts, emulator: Emulator
) -> None:
    """Each of them refused or failed, and none of them charged."""
    path, key = "/v1/aws-bedrock/embeddings", accounts.issue(account="paid").token
    poor = accounts.issue(account="poor").token
    good = ask(place, key, path)
    left = good.json()["usage"]["credits_remaining"]
    outcomes = {
        401: (ask(place, "sk-embedrock-" + "A" * 43, path), "invalid_api_key"),
        402: (ask(place, poor, path), "insufficient_credits"),
        404: (ask(place, key, path, model="amazon.titan-embed-text-v9:0"), "model_not_found"),
        422: (ask(place, key, path, user="x"), "validation_error"),
        400: (ask(place, key, path, dimensions=300), None),
    }
    emulator.credentials(access_key="AKIASOMEBODY", secret_key="else")
    outcomes[503] = (ask(place, key, path), "upstream_auth_failed")
    emulator.clear()

    assert left == 1_000_000 - good.json()["usage"]["credits_used"]
    assert {status: (answer.status, answer.error()["code"]) for status, (answer, _) in outcomes.items()} == {
        status: (status, code) for status, (_, code) in outcomes.items()
    }
    again = ask(place, key, path).json()["usage"]
    assert again["credits_remaining"] == left - again["credits_used"]
    assert ask(place, accounts.issue().token, path).json()["usage"]["credits_remaining"] is None, "without limit"


def test_use_is_told_by_account_key_model_and_day(
    place: Gateway, accounts: Accounts, emulator: Emulator, run_embedrock: RunEmbedrock
) -> None:
    first, second = accounts.issue(account="used"), accounts.issue(account="used")
    ask(place, first.token, input=["a red bicycle", "another"])
    ask(place, first.token, model=ENGLISH)
    ask(place, second.token, "/v1/aws-bedrock/embeddings")
    rows = emulator.journal()

    def usage(*options: str) -> Any:
        ended = run_embedrock("usage", "--account", "used", *options, EMBEDROCK_DATABASE_URL=accounts.url)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.decode()

    by_model = {row["model"]: (row["requests"], row["tokens"]) for row in json.loads(usage("--by", "model", "--json"))}
    tokens = {model: sum(row["tokens"] for row in rows if row["model"] == model) for model in (TITAN, ENGLISH)}
    assert by_model == {TITAN: (2, tokens[TITAN]), ENGLISH: (1, tokens[ENGLISH])}
    by_key = {line.split(",")[0]: line.split(",")[1:4] for line in usage("--by", "key", "--csv").splitlines()}
    named = ["", "used", "2"], ["", "used", "1"]
    assert by_key == {"key": ["name", "account", "requests"], first.id: named[0], second.id: named[1]}
    assert usage("--by", "day").splitlines()[1].split()[1:3] == ["3", str(sum(tokens.values()))]


def test_expired_key_is_told_so_and_revoked_one_is_wrong(place: Gateway, accounts: Accounts) -> None:
    ended, revoked = accounts.issue(issuing.now_us() - 1), accounts.issue()
    accounts.revoke(revoked.id)

    assert refusal(ask(place, ended.token)) == (401, "expired_api_key", None)
    assert refusal(ask(place, revoked.token)) == (401, "invalid_api_key", None)


def test_gateway_without_operators_keys_takes_accounts_keys_only(
    start_gateway: StartGateway, emulator: Emulator, tmp_path: Path
) -> None:
    accounts = Accounts(tmp_path)
    keyless = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, EMBEDROCK_DATABASE_URL=accounts.url)
    before = keyless.embed({"model": TITAN, "input": "a"}).status
    key = accounts.issue(requests_per_minute=5).token
    with_key = ask(keyless, key)
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, EMBEDROCK_DATABASE_URL=accounts.url)
    after = gateway.embed({"model": TITAN, "input": "a"})

    assert before == 200, "there is an account, and no key yet"
    assert with_key.headers["x-ratelimit-remaining-requests"] == "4", "a key that is sent is heeded"
    assert refusal(ask(keyless, "sk-embedrock-" + "A" * 43)) == (401, "invalid_api_key", None)
    assert refusal(after) == (401, None, None)
    assert ask(gateway, key).status == 200


def test_tokens_of_an_identity_provider_are_taken_for_keys(
    start_gateway: StartGateway, emulator: Emulator, tmp_path: Path
) -> None:
    """With its keys at a URL that is a file server's, beside keys of accounts and of operators."""
    accounts = Accounts(tmp_path)
    served = tmp_path / "served"
    served.mkdir()
    (served / "keys").write_text(json.dumps({"keys": [forged.JWK]}), encoding="utf-8")
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with HTTPServer(("127.0.0.1", 0), handler) as provider:
        thread = Thread(target=provider.serve_forever)
        thread.start()
        try:
            gateway = start_gateway(
                AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
                EMBEDROCK_DATABASE_URL=accounts.url,
                EMBEDROCK_JWT_JWKS_URL=f"http://127.0.0.1:{provider.server_port}/keys",
                EMBEDROCK_JWT_ISSUER=forged.ISSUER,
                EMBEDROCK_JWT_AUDIENCE=forged.AUDIENCE,
                EMBEDROCK_KEY_REQUESTS_PER_MINUTE="100",
            )
            good = [ask(gateway, forged.token(jti=str(number))) for number in range(2)]
            bad = {what: ask(gateway, token) for what, token in forged.forged().items() if len(token) < 60_000}
        finally:
            provider.shutdown()
            thread.join()

    assert [answer.status for answer in good] == [200, 200]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in good] == ["99", "98"], "by account"
    assert len(bad) >= 40
    assert {refusal(answer) for answer in bad.values()} <= {
        (401, "invalid_token", None),
        (401, "invalid_api_key", None),
    }
    assert len(emulator.journal()) == 2
    assert ask(gateway, accounts.issue().token).status == 200
    assert refusal(gateway.embed({"model": TITAN, "input": "a"})) == (401, None, None)
    seen = gateway.errors()
    assert not [what for what, token in forged.forged().items() if len(token) > 100 and token[-40:] in seen]


def test_gateway_with_a_bad_secret_does_not_start(run_embedrock: RunEmbedrock, tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    accounts.issue()
    (tmp_path / "embedrock.db.secret").chmod(0o644)
    environ = {"AWS_REGION": "us-east-1", "EMBEDROCK_DATABASE_URL": accounts.url}

    ended = run_embedrock("serve", "--port", "0", **environ)

    assert (ended.returncode, ended.stdout) == (1, b"")
    assert b"chmod 600" in ended.stderr and ended.stderr.count(b"\n") == 1
