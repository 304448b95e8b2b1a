"""A configuration file written for LiteLLM's proxy starts this gateway, and every entry keeps to its own account.

Accounts are told apart by what reaches Bedrock: the access key and the region in each signature of the emulator's
journal, or an emulator that takes the signatures of one pair of keys only. STS and an HTTPS endpoint are small servers
of this module. It is one long module so that all a file of theirs can say is tried in one place.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import numpy as np
import openai
import pytest

from bedrock_emulator import expected_vectors

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Expected, Gateway, RunEmbedrock, StartEmulator, StartGateway

TITAN_V1 = "amazon.titan-embed-text-v1"
TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
V4 = "cohere.embed-v4:0"
#: As LiteLLM's page on embeddings of Bedrock has it.
PAGE = """\
model_list:
  - model_name: titan-embed-v1
    litellm_params:
      model: bedrock/amazon.titan-embed-text-v1
      aws_access_key_id: os.environ/AWS_ACCESS_KEY_ID
      aws_secret_access_key: os.environ/AWS_SECRET_ACCESS_KEY
      aws_region_name: us-east-1
  - model_name: titan-embed-v2
    litellm_params:
      model: bedrock/amazon.titan-embed-text-v2:0
      aws_access_key_id: os.environ/AWS_ACCESS_KEY_ID
      aws_secret_access_key: os.environ/AWS_SECRET_ACCESS_KEY
      aws_region_name: us-east-1
"""
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAPAGE", "AWS_SECRET_ACCESS_KEY": "of-the-page"}
_SCOPE = re.compile(r"Credential=([A-Z0-9]+)/\d{8}/([a-z0-9-]+)/bedrock/")

StartWith = Callable[..., "Gateway"]


def entry(name: str, model: str = TITAN, **params: Any) -> dict[str, Any]:
    """Return an entry of `model_list`; in the region us-east-1 unless it says."""
    return {
        "model_name": name,
        "litellm_params": {"model": f"bedrock/{model}", "aws_region_name": "us-east-1"} | params,
    }


def keys(name: str, region: str = "us-east-1") -> dict[str, str]:
    """Return a pair of keys and a region, as parameters of an entry."""
    return {
        "aws_access_key_id": f"AKIA{name}",
        "aws_secret_access_key": f"secret of {name}",
        "aws_region_name": region,
    }


def scope(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the access key and the region that a call of the journal was signed with."""
    found = _SCOPE.search(row["headers"]["authorization"])
    assert found
    assert row["region"] == found[2]
    return found[1], found[2]


def scopes(emulator: Emulator) -> Counter[tuple[str, str]]:
    return Counter(map(scope, emulator.journal()))


def native(gateway: Gateway, model: str, **members: Any) -> Answer:
    body = json.dumps({"model": model, **members}).encode()
    return gateway.request("POST", "/v1/aws-bedrock/embeddings", body, {"content-type": "application/json"})


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a file, as text or as entries with other sections, and return its path."""

    def write_file(content: str | list[dict[str, Any]], **sections: Any) -> str:
        path = tmp_path / "config.yaml"
        text = content if isinstance(content, str) else json.dumps({"model_list": content, **sections}, indent=1)
        path.write_text(text, encoding="utf-8")  # JSON is YAML
        return str(path)

    return write_file


@pytest.fixture
def start(start_gateway: StartGateway, emulator: Emulator, write: Callable[..., str]) -> StartWith:
    """Start a gateway to the shared emulator with a file; nothing of AWS is in its environment but what is given."""

    def start_with(
        content: str | list[dict[str, Any]],
        sections: Mapping[str, Any] | None = None,
        *options: str,
        **environ: str,
    ) -> Gateway:
        base = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url}
        file = write(content, **(sections or {}))
        return start_gateway("--config", file, *options, aws=False, **(base | environ))

    return start_with


# ---------------------------------------------------------------- the page's file, unchanged


def test_file_of_the_page_starts_the_gateway_and_openais_client_works_on_the_bare_host(
    start: StartWith, emulator: Emulator, expected: Expected
) -> None:
    """With any key, and base64, which the client asks for unless told otherwise."""
    gateway = start(PAGE, **KEYS)

    with openai.OpenAI(api_key="anything", base_url=gateway.url) as client:
        replies = [
            client.embeddings.create(input=["good morning"], model=name)
            for name in ("titan-embed-v1", "titan-embed-v2")
        ]

    vectors = [np.array(expected(model, ["good morning"])[0], np.float32).tolist() for model in (TITAN_V1, TITAN)]
    assert [reply.data[0].embedding for reply in replies] == vectors
    assert [reply.model for reply in replies] == ["titan-embed-v1", "titan-embed-v2"]
    assert scopes(emulator) == {("AKIAPAGE", "us-east-1"): 2}
    assert gateway.errors() == ""


def test_base_url_may_end_as_clients_write_it(start: StartWith) -> None:
    gateway = start(PAGE, **KEYS)

    sizes = []
    for base in ("", "/", "/v1", "/v1/"):
        with openai.OpenAI(api_key="anything", base_url=gateway.url + base) as client:
            model = client.models.retrieve("titan-embed-v2")
            reply = client.embeddings.create(input="a", model=model.id, dimensions=256)
            sizes.append(len(reply.data[0].embedding))

    assert sizes == [256] * 4


def test_port_is_4000_unless_somebody_says(run_embedrock: RunEmbedrock, write: Callable[..., str]) -> None:
    ended = run_embedrock("config", "check", "--config", write(PAGE), **KEYS)

    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.decode()
    assert re.search(r"^EMBEDROCK_PORT +4000 ", said, re.MULTILINE)
    assert "titan-embed-v1 is bedrock/amazon.titan-embed-text-v1" in said
    assert "Note" not in said
    assert "of-the-page" not in said


def test_file_of_the_page_works_with_credentials_from_a_profile(
    start: StartWith, emulator: Emulator, tmp_path: Path
) -> None:
    """Variables of AWS's that are not there are no error: its chain goes on looking."""
    shared = tmp_path / "credentials"
    shared.write_text("[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = s\n")

    gateway = start(PAGE, AWS_SHARED_CREDENTIALS_FILE=str(shared))

    assert gateway.embed({"model": "titan-embed-v1", "input": "a"}).status == 200
    assert scopes(emulator) == {("AKIADEFAULT", "us-east-1"): 1}


def test_file_of_the_page_can_be_tried_on_the_emulator_without_an_account(
    start_gateway: StartGateway, write: Callable[..., str]
) -> None:
    roles = [entry("by-role", aws_role_name="arn:aws:iam::1:role/a"), entry("by-key", api_key="ABSK")]
    content = PAGE + "".join(f"  - {json.dumps(one)}\n" for one in roles)

    gateway = start_gateway("--emulator", "--config", write(content), aws=False)

    for name in ("titan-embed-v2", "by-role", "by-key"):
        assert gateway.embed({"model": name, "input": "a"}).vectors() == expected_vectors(TITAN, {"inputText": "a"})


# ---------------------------------------------------------------- accounts and regions


ACCOUNTS = [
    entry("red", **keys("RED")),
    entry("blue", **keys("BLUE", "eu-west-1")),
    entry("green", **keys("GREEN", "eu-west-1")),
    entry("own-chain", aws_region_name="ap-south-1"),
    entry("cohere-red", ENGLISH, **keys("RED")),
]
SCOPES = {
    "red": ("AKIARED", "us-east-1"),
    "blue": ("AKIABLUE", "eu-west-1"),
    "green": ("AKIAGREEN", "eu-west-1"),
    "own-chain": ("AKIAPAGE", "ap-south-1"),
    "cohere-red": ("AKIARED", "us-east-1"),
    TITAN: ("AKIAPAGE", "us-west-2"),  # a name of the model itself
}


def test_each_entry_is_called_with_its_own_keys_in_its_own_region(start: StartWith, emulator: Emulator) -> None:
    gateway = start(ACCOUNTS, AWS_REGION="us-west-2", **KEYS)

    answers = {name: gateway.embed({"model": name, "input": ["a", "b"]}) for name in SCOPES}

    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(SCOPES, 200)
    assert {name: answer.headers["x-embedrock-region"] for name, answer in answers.items()} == {
        name: region for name, (_, region) in SCOPES.items()
    }
    assert list(dict.fromkeys(map(scope, emulator.journal()))) == list(dict.fromkeys(SCOPES.values()))


def test_entries_never_mix_under_concurrency(start: StartWith, emulator: Emulator) -> None:
    """Every text says under which name it was sent; 400 requests of 24 callers."""
    gateway = start(ACCOUNTS, AWS_REGION="us-west-2", **KEYS)
    asked = [(name, number) for number in range(80) for name in SCOPES]

    def ask(one: tuple[str, int]) -> int:
        name, number = one
        return gateway.embed({"model": name, "input": [f"{name}|{number}|{at}" for at in range(number % 3 + 1)]}).status

    with ThreadPoolExecutor(24) as pool:
        statuses = list(pool.map(ask, asked))

    signed: Counter[tuple[str, tuple[str, str]]] = Counter()
    for row in emulator.journal():
        body = json.loads(row["request_body"])
        for text in body.get("texts") or [body["inputText"]]:
            signed[text.partition("|")[0], scope(row)] += 1
    assert set(statuses) == {200}
    assert signed.keys() == set(SCOPES.items())
    assert signed.total() == sum(number % 3 + 1 for _, number in asked)


def test_keys_and_session_tokens_of_two_accounts_sign_rightly(start: StartWith, start_emulator: StartEmulator) -> None:
    """Each emulator takes the signatures of one account only, its token included."""
    places, entries = [], []
    for name in ("RED", "BLUE"):
        place = start_emulator()
        place.credentials(access_key=f"AKIA{name}", secret_key=f"secret of {name}", session_token=f"token of {name}")
        token = {"aws_session_token": f"token of {name}", "aws_bedrock_runtime_endpoint": place.url}
        entries.append(entry(name.lower(), **keys(name), **token))
        places.append(place)
    gateway = start(entries, **KEYS)

    answers = [gateway.embed({"model": name, "input": ["a", "b", "c"]}) for name in ("red", "blue", "red")]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert [len(place.journal()) for place in places] == [6, 3]


def test_profiles_of_two_accounts(start: StartWith, emulator: Emulator, tmp_path: Path) -> None:
    shared = tmp_path / "credentials"
    shared.write_text(
        "".join(
            f"[{name}]\naws_access_key_id = AKIA{name.upper()}\naws_secret_access_key = s\n" for name in ("red", "blue")
        )
    )
    entries = [entry(name, aws_profile_name=name) for name in ("red", "blue")]
    gateway = start(entries, AWS_SHARED_CREDENTIALS_FILE=str(shared))

    for name in ("red", "blue", "blue"):
        assert gateway.embed({"model": name, "input": "a"}).status == 200

    assert scopes(emulator) == {("AKIARED", "us-east-1"): 1, ("AKIABLUE", "us-east-1"): 2}


def test_native_path_keeps_to_the_entry_too_and_to_its_price(start: StartWith, emulator: Emulator) -> None:
    entries = [entry(TITAN, **keys("RED", "eu-west-1"), input_cost_per_token=0.00001, dimensions=256)]
    gateway = start(entries, AWS_REGION="us-west-2", **KEYS)

    own = native(gateway, TITAN, inputText="a red bicycle")
    plain = gateway.embed({"model": f"bedrock/{TITAN}", "input": "a"})

    red, chain = emulator.journal()
    assert own.json()["usage"]["credits_used"] == red["tokens"] * 100
    assert len(own.json()["embedding"]) == 1024, "parameters of an entry are for OpenAI's path"
    assert own.headers["x-embedrock-region"] == "eu-west-1"
    assert plain.status == 200
    assert (scope(red), scope(chain)) == (("AKIARED", "eu-west-1"), ("AKIAPAGE", "us-west-2"))


def test_region_in_the_models_name_is_called(start: StartWith, emulator: Emulator) -> None:
    file = [{"model_name": "mine", "litellm_params": {"model": f"bedrock/eu-central-1/{TITAN}"}}]
    gateway = start(file, AWS_REGION="us-west-2", **KEYS)

    assert gateway.embed({"model": "mine", "input": "a"}).status == 200
    assert scopes(emulator) == {("AKIAPAGE", "eu-central-1"): 1}


# ---------------------------------------------------------------- pools

POOL = [entry("pool", **keys("RED")), entry("pool", **keys("BLUE", "eu-west-1"))]


def test_pool_spreads_the_calls_of_a_request(start: StartWith, emulator: Emulator, expected: Expected) -> None:
    gateway = start(POOL)
    texts = [f"text {number}" for number in range(40)]

    answer = gateway.embed({"model": "pool", "input": texts})

    used = scopes(emulator)
    assert answer.vectors() == expected(TITAN, texts)
    assert sorted(answer.headers["x-embedrock-region"].split(",")) == ["eu-west-1", "us-east-1"]
    assert used.keys() == {("AKIARED", "us-east-1"), ("AKIABLUE", "eu-west-1")}
    assert used.total() == 40
    assert min(used.values()) >= 10


@pytest.mark.parametrize("path", ["openai", "native"])
def test_pool_spreads_requests_that_come_together(start: StartWith, start_emulator: StartEmulator, path: str) -> None:
    slow = start_emulator("--latency-ms", "50")
    pool = [one | {"model_name": TITAN} for one in POOL]
    gateway = start(pool, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=slow.url)

    def ask(number: int) -> int:
        if path == "openai":
            return gateway.embed({"model": TITAN, "input": f"text {number}"}).status
        return native(gateway, TITAN, inputText=f"text {number}").status

    with ThreadPoolExecutor(10) as callers:
        statuses = list(callers.map(ask, range(30)))

    used = scopes(slow)
    assert set(statuses) == {200}
    assert used.keys() == {("AKIARED", "us-east-1"), ("AKIABLUE", "eu-west-1")}
    assert min(used.values()) >= 5


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_pool_goes_on_where_one_place_throttles(
    start: StartWith, emulator: Emulator, expected: Expected, region: str
) -> None:
    gateway = start(POOL)
    emulator.fault("throttle", match={"region": region})
    texts = [f"text {number}" for number in range(12)]

    answer = gateway.embed({"model": "pool", "input": texts})

    rows = emulator.journal()
    other = ({"us-east-1", "eu-west-1"} - {region}).pop()
    assert answer.vectors() == expected(TITAN, texts)
    assert answer.headers["x-embedrock-region"] == other
    assert emulator.fired() == len([row for row in rows if row["status"] == 429]) >= 1
    assert {row["region"] for row in rows if row["status"] == 200} == {other}


def test_native_call_goes_on_where_one_place_throttles(start: StartWith, emulator: Emulator) -> None:
    gateway = start([one | {"model_name": TITAN} for one in POOL])
    emulator.fault("throttle", match={"region": "us-east-1"})

    answers = [native(gateway, TITAN, inputText="a") for _ in range(3)]

    assert [(answer.status, answer.headers["x-embedrock-region"]) for answer in answers] == [(200, "eu-west-1")] * 3
    assert emulator.fired() >= 1


def test_pool_that_throttles_everywhere_is_a_429(start: StartWith, emulator: Emulator) -> None:
    gateway = start(POOL)
    emulator.fault("throttle")

    answer = gateway.embed({"model": "pool", "input": "a"}, {"x-request-timeout-ms": "500"})

    assert (answer.status, answer.error()["code"]) == (429, "upstream_throttled")
    assert emulator.fired() >= 1


# ---------------------------------------------------------------- keys of callers, parameters, prices


def test_master_key_is_the_key_callers_need(start: StartWith, emulator: Emulator) -> None:
    gateway = start(
        PAGE + "general_settings:\n  master_key: os.environ/LITELLM_MASTER_KEY\n", LITELLM_MASTER_KEY="sk-1"
    )

    statuses = [
        gateway.embed({"model": "titan-embed-v1", "input": "a"}, headers).status
        for headers in ({}, {"authorization": "Bearer sk-2"}, {"authorization": "Bearer sk-1"})
    ]

    assert statuses[:2] == [401, 401]
    assert statuses[2] != 401
    assert len(emulator.journal()) <= 1


def test_parameters_of_an_entry_hold_until_a_request_says_otherwise(start: StartWith, emulator: Emulator) -> None:
    entries = [
        entry("small", dimensions=256),
        entry("queries", ENGLISH, input_type="search_query", truncate="END"),
    ]
    gateway = start(entries, **KEYS)

    for body in (
        {"model": "small"},
        {"model": "small", "dimensions": 512},
        {"model": "queries"},
        {"model": "queries", "input_type": "clustering"},
        {"model": ENGLISH},
    ):
        assert gateway.embed(body | {"input": "a"}).status == 200

    sent = [{name: body.get(name) for name in ("dimensions", "input_type", "truncate")} for body in emulator.bodies()]
    assert sent == [
        {"dimensions": 256, "input_type": None, "truncate": None},
        {"dimensions": 512, "input_type": None, "truncate": None},
        {"dimensions": None, "input_type": "search_query", "truncate": "END"},
        {"dimensions": None, "input_type": "clustering", "truncate": "END"},
        {"dimensions": None, "input_type": "search_document", "truncate": "NONE"},
    ]


@pytest.mark.parametrize("of_all", [None, True, False])
def test_drop_params_of_an_entry_wins_over_that_of_all(start: StartWith, of_all: bool | None) -> None:
    sections = {} if of_all is None else {"litellm_settings": {"drop_params": of_all}}
    entries = [entry("silent"), entry("drops", drop_params=True), entry("refuses", drop_params=False)]
    gateway = start(entries, sections, **KEYS)

    answers = {
        name: gateway.embed({"model": name, "input": "a", "temperature": 1}) for name in ("silent", "drops", "refuses")
    }

    dropping = {"drops"} | ({"silent"} if of_all else set())
    assert {name for name, answer in answers.items() if answer.status == 200} == dropping
    for name, answer in answers.items():
        if name in dropping:
            assert answer.headers["x-embedrock-dropped-params"] == "temperature"
        else:
            assert answer.refusal() == ("temperature", "unsupported_parameter")


# ---------------------------------------------------------------- what is told, and what stops the start

SECRETS = ("secret of RED", "sk-master", "s3cret")


def test_what_is_not_supported_is_told_at_start_and_by_config_check(
    start: StartWith, run_embedrock: RunEmbedrock, write: Callable[..., str], tmp_path: Path
) -> None:
    text = f"""{PAGE}      weight: 2
      max_retries: 3
  - model_name: gpt
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
  - model_name: chat
    litellm_params:
      model: bedrock/anthropic.claude-3-haiku-20240307-v1:0
    model_info:
      mode: chat
router_settings:
  num_retries: 2
general_settings:
  master_key: sk-master
  database_url: s3cret
litellm_settings:
  drop_params: true
  success_callback: [langfuse]
"""
    told = {
        14: "weight is not supported",
        15: "max_retries is not supported",
        18: "openai/gpt-4o is not a model of Bedrock; left out",
        24: "a mode other than embedding is not supported",
        25: "router_settings is not supported",
        29: "general_settings.database_url is not supported",
        32: "litellm_settings.success_callback is not supported",
    }
    file = tmp_path / "config.yaml"

    gateway = start(text, **KEYS)
    ended = run_embedrock("config", "check", "--config", write(text), **KEYS)

    at_start, checked = gateway.errors(), ended.stdout.decode()
    for line, note in told.items():
        assert f"{file}:{line}: {note}\n" in at_start
        assert f"{file}:{line}: {note}\n" in checked
    for said in (at_start, checked):
        (left_out,) = [line for line in said.splitlines() if "claude" in line]
        assert "22: " in left_out
        assert "no embedding model" in left_out
        assert not any(secret in said for secret in SECRETS)
    assert len(at_start.splitlines()) == len(told) + 1
    assert ended.returncode == 0
    key = {"authorization": "Bearer sk-master"}
    assert gateway.embed({"model": "titan-embed-v1", "input": "a"}, key).status == 200
    assert gateway.embed({"model": "chat", "input": "a"}, key).status == 404


#: A file that cannot work, the line it is told by (if any), and a part of what is said.
REFUSED: dict[str, tuple[list[dict[str, Any]] | str, int | None, str]] = {
    "a variable that is missing": (
        PAGE.replace("os.environ/AWS_SECRET_ACCESS_KEY", "os.environ/TEAM_SECRET"),
        6,
        "TEAM_SECRET is not in the environment",
    ),
    "a key without its secret": (
        PAGE.replace("aws_secret_access_key", "aws_session_token"),
        3,
        "need each other",
    ),
    "a price that is none": (PAGE + "      input_cost_per_token: cheap\n", 14, "must be a number, 0 or more"),
    "a Bedrock key and plain HTTP": (PAGE + "      api_key: s3cret\n", 9, "without https"),
    "an alias of the same name": (PAGE + f"aliases: {{titan-embed-v1: {V4}}}\n", None, "is an alias and a model_name"),
    "a pool of two models": (
        [entry("pool"), entry("pool", ENGLISH)],
        None,
        "its places have different models, or parameters",
    ),
    "a size the model lacks": ([entry("mine", dimensions=300)], None, "not 300"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_file_that_cannot_work_stops_the_start_with_one_line(
    run_embedrock: RunEmbedrock, write: Callable[..., str], reason: str
) -> None:
    content, line, part = REFUSED[reason]
    file = write(content)

    ended = run_embedrock("serve", "--port", "0", "--config", file, AWS_ENDPOINT_URL="http://127.0.0.1:9", **KEYS)

    (said,) = ended.stderr.decode().splitlines()
    assert ended.returncode == 1
    assert said.startswith(f"embedrock: {file}:{line}: " if line else "embedrock: ")
    assert part in said
    assert "s3cret" not in said


# ---------------------------------------------------------------- roles


class _Recorder:
    """A small HTTP server that records what it is sent and answers what `answer` makes of it."""

    def __init__(self, answer: Callable[[str, bytes], tuple[int, bytes]], tls: tuple[Path, Path] | None = None) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                recorder.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status, content = answer(self.path, body)
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Be silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Sts(_Recorder):
    """An STS that lends each role keys of its own: of the role `red` AKIARED1, and AKIARED2 when asked again."""

    def __init__(self) -> None:
        self.refuses = False
        self._lent: Counter[str] = Counter()
        super().__init__(self._lend)

    def asked(self) -> list[dict[str, str]]:
        """Return the parameters of each request, and the access key that signed it."""
        found = []
        for headers, body in self.requests:
            signed = re.search("Credential=([A-Z0-9]+)/", headers.get("authorization", ""))
            members = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            found.append(members | {"signed": signed[1] if signed else "nobody"})
        return found

    def _lend(self, path: str, body: bytes) -> tuple[int, bytes]:  # noqa: ARG002
        asked = parse_qs(body.decode())
        action, role = asked["Action"][0], asked["RoleArn"][0]
        name = role.rpartition("/")[2].upper()
        if self.refuses:
            error = f"<Code>AccessDenied</Code><Message>User: arn:aws:iam::1:user/x may not assume {role}</Message>"
            return 403, f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error></ErrorResponse>".encode()
        self._lent[name] += 1
        lent = f"{name}{self._lent[name]}"
        keys_xml = (
            f"<Credentials><AccessKeyId>AKIA{lent}</AccessKeyId><SecretAccessKey>secret of {lent}</SecretAccessKey>"
            f"<SessionToken>token of {lent}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
        )
        user = f"<AssumedRoleUser><Arn>{role}</Arn><AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser>"
        namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
        result = f"<{action}Result>{keys_xml}{user}</{action}Result>"
        return 200, f'<{action}Response xmlns="{namespace}">{result}</{action}Response>'.encode()


@pytest.fixture
def sts() -> Iterator[Sts]:
    server = Sts()
    yield server
    server.close()


def lent(name: str) -> dict[str, str]:
    """Return what an emulator is told to take the keys that STS lends."""
    return {"access_key": f"AKIA{name}", "secret_key": f"secret of {name}", "session_token": f"token of {name}"}


def role(name: str) -> dict[str, str]:
    return {"aws_role_name": f"arn:aws:iam::123456789012:role/{name}"}


def test_role_is_assumed_with_the_entrys_keys_and_its_keys_sign(
    start: StartWith, start_emulator: StartEmulator, sts: Sts
) -> None:
    emulator = start_emulator()
    emulator.credentials(**lent("RED1"))
    asked = role("red") | {"aws_session_name": "of-mine", "aws_external_id": "x-1"}
    gateway = start(
        [entry("mine", **keys("BASE"), **asked)],
        AWS_ENDPOINT_URL_STS=sts.url,
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
    )

    answer = gateway.embed({"model": "mine", "input": ["a", "b"]})

    assert answer.status == 200, answer.body
    (request,) = sts.asked()
    assert request["Action"] == "AssumeRole"
    assert request["RoleArn"] == "arn:aws:iam::123456789012:role/red"
    assert (request["RoleSessionName"], request["ExternalId"]) == ("of-mine", "x-1")
    assert request["signed"] == "AKIABASE"


def test_role_is_assumed_with_the_chains_keys_when_the_entry_has_none(
    start: StartWith, emulator: Emulator, sts: Sts
) -> None:
    """And where only the environment says a region."""
    file = [{"model_name": "mine", "litellm_params": {"model": f"bedrock/{TITAN}"} | role("red")}]
    gateway = start(file, AWS_ENDPOINT_URL_STS=sts.url, AWS_REGION="eu-west-1", **KEYS)

    assert gateway.embed({"model": "mine", "input": "a"}).status == 200

    assert [request["signed"] for request in sts.asked()] == ["AKIAPAGE"]
    assert scopes(emulator) == {("AKIARED1", "eu-west-1"): 1}


def test_roles_of_two_entries_never_mix(start: StartWith, emulator: Emulator, sts: Sts) -> None:
    entries = [entry("red", **role("red")), entry("blue", **role("blue")), entry("chain")]
    gateway = start(entries, AWS_ENDPOINT_URL_STS=sts.url, **KEYS)
    names = ["red", "blue", "chain"] * 20

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda name: gateway.embed({"model": name, "input": name}), names))

    assert {answer.status for answer in answers} == {200}
    signed = Counter((json.loads(row["request_body"])["inputText"], scope(row)[0]) for row in emulator.journal())
    assert signed == {("red", "AKIARED1"): 20, ("blue", "AKIABLUE1"): 20, ("chain", "AKIAPAGE"): 20}
    assert sorted(request["RoleArn"].rpartition("/")[2] for request in sts.asked()) == ["blue", "red"]


@pytest.mark.parametrize("kind", ["file", "token"])
def test_web_identity_is_exchanged_for_keys(
    start: StartWith, emulator: Emulator, sts: Sts, tmp_path: Path, kind: str
) -> None:
    """Nobody's keys sign that request: the token says who asks."""
    file = tmp_path / "token"
    file.write_text("jwt.of.mine\n")
    token = str(file) if kind == "file" else "jwt.of.mine"
    gateway = start([entry("mine", **role("red"), aws_web_identity_token=token)], AWS_ENDPOINT_URL_STS=sts.url)

    assert gateway.embed({"model": "mine", "input": "a"}).status == 200

    (request,) = sts.asked()
    assert (request["Action"], request["WebIdentityToken"]) == ("AssumeRoleWithWebIdentity", "jwt.of.mine")
    assert request["signed"] == "nobody"
    assert scopes(emulator) == {("AKIARED1", "us-east-1"): 1}


def test_keys_of_a_role_that_aws_no_longer_takes_are_fetched_anew(
    start: StartWith, start_emulator: StartEmulator, sts: Sts
) -> None:
    emulator = start_emulator()
    emulator.credentials(**lent("RED1"))
    gateway = start(
        [entry("mine", **role("red"))],
        AWS_ENDPOINT_URL_STS=sts.url,
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
        **KEYS,
    )
    before = gateway.embed({"model": "mine", "input": "a"})

    emulator.credentials(**lent("RED2"), expired=["AKIARED1"])
    after = gateway.embed({"model": "mine", "input": "a"})

    assert (before.status, after.status) == (200, 200)
    assert [row["status"] for row in emulator.journal()] == [200, 403, 200]
    assert len(sts.asked()) == 2


def test_role_that_may_not_be_assumed_is_a_503_of_its_entry_alone(
    start: StartWith, emulator: Emulator, sts: Sts
) -> None:
    sts.refuses = True
    gateway = start([entry("red", **role("red")), entry("blue", **keys("BLUE"))], AWS_ENDPOINT_URL_STS=sts.url, **KEYS)

    red, blue = (gateway.embed({"model": name, "input": "a"}) for name in ("red", "blue"))

    assert (red.status, red.error()["code"]) == (503, "upstream_auth_failed")
    assert b"arn:" not in red.body
    assert blue.status == 200
    assert scopes(emulator) == {("AKIABLUE", "us-east-1"): 1}, "never the chain's keys in place of the role's"


# ---------------------------------------------------------------- keys of Bedrock


def test_key_of_bedrock_is_sent_by_its_entry_alone(
    start: StartWith, certificate: tuple[Path, Path], expected: Expected
) -> None:
    """The server takes anything, and records what it is sent."""
    (vector,) = expected(TITAN, ["a"])
    answer = {"embedding": vector, "embeddingsByType": {}, "inputTextTokenCount": 2}
    bedrock = _Recorder(lambda path, body: (200, json.dumps(answer).encode()), certificate)  # noqa: ARG005
    try:
        there = {"aws_bedrock_runtime_endpoint": bedrock.url}
        entries = [
            entry("red", api_key="ABSKRED", **there),
            entry("blue", api_key="os.environ/BLUE", **there),
            entry("signed", **keys("GREEN"), **there),
        ]
        ca = {"AWS_CA_BUNDLE": str(certificate[0])}
        gateway = start(entries, BLUE="ABSKBLUE", AWS_ENDPOINT_URL_BEDROCK_RUNTIME="", **ca)

        answers = [gateway.embed({"model": name, "input": "a"}) for name in ("red", "blue", "red", "signed")]
    finally:
        bedrock.close()

    assert [one.vectors() for one in answers] == [[vector]] * 4
    sent = [headers["authorization"] for headers, _ in bedrock.requests]
    assert sent[:3] == ["Bearer ABSKRED", "Bearer ABSKBLUE", "Bearer ABSKRED"]
    assert sent[3].startswith("AWS4-HMAC-SHA256 Credential=AKIAGREEN/")
