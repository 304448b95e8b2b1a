"""`/mcp` of the gateway: off unless wanted, behind the same keys and limits, closed to web pages, in any worker."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.faces.mcp.agents import ENGLISH, TITAN, TOOLS, Mode, ask, over_http, refusal

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Expected, Gateway, RunEmbedrock, StartEmulator, StartGateway

MODES: list[Mode] = ["auto", "legacy"]
NEWEST = "2026-07-28"
JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
GUARDRAIL = {"X-Amzn-Bedrock-GuardrailIdentifier": "mine", "X-Amzn-Bedrock-GuardrailVersion": "3"}


@pytest.fixture(scope="session")
def serving(gateway_with: StartGateway) -> Gateway:
    """A gateway that serves MCP."""
    return gateway_with(EMBEDROCK_MCP="true")


def call(mode: Mode, name: str, **arguments: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a call, as an agent of either generation writes it."""
    params: dict[str, Any] = {"name": name, "arguments": arguments}
    headers = dict(JSON)
    if mode == "auto":
        meta = {"protocolVersion": NEWEST, "clientCapabilities": {}}
        params["_meta"] = {f"io.modelcontextprotocol/{key}": value for key, value in meta.items()}
        headers |= {"mcp-protocol-version": NEWEST, "mcp-method": "tools/call", "mcp-name": name}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode(), headers


def post(gateway: Gateway, mode: Mode, headers: dict[str, str] | None = None, **arguments: Any) -> Answer:
    """Call `openai_embedding`, of "a" unless said otherwise."""
    body, own = call(mode, "openai_embedding", **{"input": "a", **arguments})
    return gateway.request("POST", "/mcp", body, own | (headers or {}))


def result(answer: Answer) -> dict[str, Any]:
    """Return what a tool answered."""
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()["result"]["structuredContent"]
    return found


def wait_until(true: Callable[[], bool], deadline_s: float = 15.0) -> None:
    """Poll until `true()`; fail at the deadline."""
    deadline = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


# -------------------------------------------------------------------------------------------------------------- off, on


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_off_by_default(gateway: Gateway, method: str) -> None:
    answer = gateway.request(method, "/mcp", call("auto", "openai_embedding", input="a")[0], JSON)

    assert answer.status == 404
    assert answer.error()["type"] == "invalid_request_error"


def has_loaded_the_sdk(pid: int | str) -> bool:
    """Return whether a library is in a process's memory that the SDK imports, and nothing else here."""
    return "/cryptography/" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


def test_nothing_of_it_is_loaded_while_it_is_off(gateway: Gateway, serving: Gateway) -> None:
    assert gateway.embed({"model": TITAN, "input": "a"}).status == 200
    assert post(serving, "auto").status == 200

    assert not has_loaded_the_sdk(gateway.pid)
    assert has_loaded_the_sdk(serving.pid)


def test_other_paths_answer_as_ever_while_it_is_on(serving: Gateway, expected: Expected) -> None:
    answer = serving.embed({"model": TITAN, "input": ["a", "b"]})

    assert answer.vectors() == expected(TITAN, ["a", "b"])


@pytest.fixture
def without_sdk(tmp_path: Path) -> dict[str, str]:
    """An environment in which another version of the SDK is found first."""
    other = tmp_path / "site" / "mcp-0.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: mcp\nVersion: 0.9\n", encoding="utf-8")
    return {"PYTHONPATH": str(other.parent), "AWS_REGION": "us-east-1"}


@pytest.mark.parametrize("command", ["serve --port 0", "mcp"])
def test_missing_sdk_is_one_line_that_says_how_to_get_it(
    run_embedrock: RunEmbedrock, without_sdk: dict[str, str], command: str
) -> None:
    ended = run_embedrock(*command.split(), EMBEDROCK_MCP="true", **without_sdk)

    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.count(b"\n") == 1
    assert b"pip install embedrock[mcp]" in ended.stderr


def test_gateway_without_the_sdk_serves(start_gateway: StartGateway, without_sdk: dict[str, str]) -> None:
    gateway = start_gateway("--emulator", aws=False, **without_sdk)

    assert gateway.embed({"model": TITAN, "input": "a"}).status == 200


# ----------------------------------------------------------------------------------------------------------------- keys


@pytest.fixture(scope="session")
def locked(gateway_with: StartGateway) -> Gateway:
    """A gateway that serves MCP, with a key."""
    return gateway_with(EMBEDROCK_MCP="true", EMBEDROCK_API_KEY="right")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"api-key": "right"}], ids=str)
def test_wrong_key_is_401(locked: Gateway, emulator: Emulator, mode: Mode, headers: dict[str, str]) -> None:
    answer = post(locked, mode, headers)

    assert answer.status == 401
    assert answer.error()["type"] == "invalid_request_error"
    assert emulator.journal() == []


@pytest.mark.parametrize("mode", MODES)
async def test_agent_with_the_key_is_served(locked: Gateway, mode: Mode) -> None:
    async with over_http(locked, mode=mode, headers={"authorization": "Bearer right"}) as client:
        assert (await ask(client, "openai_embedding", input="a"))["count"] == 1


@pytest.mark.parametrize("mode", MODES)
async def test_agent_with_a_wrong_key_is_not(locked: Gateway, emulator: Emulator, mode: Mode) -> None:
    with pytest.raises(Exception) as caught:  # what the SDK makes of a 401 is its own affair
        async with over_http(locked, mode=mode, headers={"authorization": "Bearer wrong"}) as client:
            await client.call_tool("openai_embedding", {"input": "a"})

    assert not isinstance(caught.value, AssertionError)
    assert emulator.journal() == []


# ------------------------------------------------------------------------------------------------------ Host and Origin


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:80", "localhost:4000", "localhost", "[::1]:4000"])
def test_this_machine_is_served_under_its_names(serving: Gateway, mode: Mode, host: str) -> None:
    assert result(post(serving, mode, {"host": host}))["count"] == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4000", "127.0.0.1.evil.example", "localhost.evil.example:4000", "10.0.0.1", "::1"],
)
def test_other_name_in_host_is_refused(serving: Gateway, emulator: Emulator, mode: Mode, host: str) -> None:
    """A page that leads its own name to this address, so that the browser takes the gateway for the page's server."""
    answer = post(serving, mode, {"host": host})

    assert answer.status == 421
    error = answer.error()
    assert (error["param"], error["code"]) == ("Host", "invalid_header_value")
    assert "EMBEDROCK_MCP_HOSTS" in error["message"]
    assert emulator.journal() == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:4000", "http://localhost", "null"])
def test_request_of_a_web_page_is_refused(serving: Gateway, emulator: Emulator, mode: Mode, origin: str) -> None:
    answer = post(serving, mode, {"origin": origin})

    assert answer.status == 403
    assert answer.error()["param"] == "Origin"
    assert not {name for name in answer.headers if name.startswith("access-control")}
    assert emulator.journal() == []


@pytest.mark.parametrize("mode", MODES)
def test_names_of_the_settings_are_served(gateway_with: StartGateway, mode: Mode) -> None:
    gateway = gateway_with(EMBEDROCK_MCP="true", EMBEDROCK_MCP_HOSTS="embeddings.example.com, Other.example:8443")
    hosts = ["embeddings.example.com", "embeddings.example.com:444", "other.example:8443", "127.0.0.1"]

    served = [post(gateway, mode, {"host": host}).status for host in hosts]
    refused = [post(gateway, mode, {"host": host}).status for host in ("other.example", "evil.example")]

    assert (served, refused) == ([200] * 4, [421] * 2)


def test_gateway_that_listens_everywhere_still_checks_host(start_gateway: StartGateway, emulator: Emulator) -> None:
    gateway = start_gateway(
        *("--host", "0.0.0.0"),  # noqa: S104
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url,
        EMBEDROCK_MCP="true",
        EMBEDROCK_ALLOW_NO_AUTH="true",
    )

    with socket.create_connection(("127.0.0.1", gateway.port), timeout=15) as connection:
        connection.sendall(request(*call("auto", "openai_embedding", input="a"), host="evil.example"))
        head = connection.recv(4096)

    assert head.startswith(b"HTTP/1.1 421 ")
    assert emulator.journal() == []


def request(body: bytes, headers: dict[str, str], *, host: str) -> bytes:
    """Return a request as it goes over the wire."""
    lines = [f"{name}: {value}" for name, value in {"host": host, "content-length": str(len(body)), **headers}.items()]
    return "\r\n".join(["POST /mcp HTTP/1.1", *lines, "", ""]).encode() + body


@pytest.mark.parametrize("value", ["https://a.example", "a example", "a.example/mcp", "*"])
def test_wrong_name_of_a_host_is_one_line(run_embedrock: RunEmbedrock, value: str) -> None:
    ended = run_embedrock("config", "check", AWS_REGION="us-east-1", EMBEDROCK_MCP_HOSTS=value)

    assert ended.returncode == 1
    assert ended.stderr.count(b"\n") == 1
    assert b"EMBEDROCK_MCP_HOSTS" in ended.stderr


# ----------------------------------------------------------------------------------------------------- as on every path


@pytest.mark.parametrize("mode", MODES)
def test_answer_is_one_json_document_with_the_headers_of_all_answers(serving: Gateway, mode: Mode) -> None:
    answer = post(serving, mode)

    assert result(answer)["count"] == 1
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["x-request-id"].startswith("req_")
    assert "mcp-session-id" not in answer.headers


def test_notification_is_accepted(serving: Gateway) -> None:
    body = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'

    answer = serving.request("POST", "/mcp", body, JSON)

    assert (answer.status, answer.body, answer.headers["content-length"]) == (202, b"", "0")
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
def test_only_post_is_taken(serving: Gateway, method: str) -> None:
    answer = serving.request(method, "/mcp", headers={"accept": "text/event-stream"})

    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-encoding": "gzip"}, 415),
        ({"accept": "text/html"}, 406),
        ({"x-request-timeout-ms": "soon"}, 400),
        ({"X-Amzn-Bedrock-Trace": "perhaps"}, 400),
    ],
    ids=str,
)
def test_bad_header_is_our_error(
    serving: Gateway, emulator: Emulator, mode: Mode, headers: dict[str, str], status: int
) -> None:
    answer = post(serving, mode, headers)

    assert answer.status == status
    assert answer.error()["type"] == "invalid_request_error"
    assert answer.headers["x-should-retry"] == "false"
    assert emulator.journal() == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'{"jsonrpc":"2.0"}', b'{"jsonrpc":"2.0","id":1,"method":7}', b"[" * 100_000]
)
@pytest.mark.parametrize("version", [None, NEWEST, "2099-01-01"])
def test_what_is_no_message_is_an_error_of_the_protocol(serving: Gateway, body: bytes, version: str | None) -> None:
    headers = JSON | ({"mcp-protocol-version": version} if version else {})

    answer = serving.request("POST", "/mcp", body, headers)

    assert answer.status == 400
    assert answer.json()["error"]["code"] < 0


@pytest.mark.parametrize("mode", MODES)
def test_body_over_the_limit_is_413(gateway_with: StartGateway, emulator: Emulator, mode: Mode) -> None:
    gateway = gateway_with(EMBEDROCK_MCP="true", EMBEDROCK_MAX_BODY_BYTES="2000")

    answer = post(gateway, mode, input="a" * 2000)
    chunked = gateway.request("POST", "/mcp", [b"a" * 1000] * 3, JSON)

    assert (answer.status, answer.error()["code"]) == (413, "request_too_large")
    assert chunked.status == 413
    assert post(gateway, mode).status == 200
    assert len(emulator.journal()) == 1


@pytest.mark.parametrize("mode", MODES)
def test_body_of_megabytes_is_taken(serving: Gateway, emulator: Emulator, mode: Mode) -> None:
    """The SDK by itself would refuse it."""
    answer = post(serving, mode, input=["a" * 40_000] * 150, model="cohere.embed-v4:0", truncate="END")

    assert result(answer)["count"] == 150
    assert emulator.journal()


async def test_most_inputs_of_the_settings_hold(gateway_with: StartGateway) -> None:
    gateway = gateway_with(EMBEDROCK_MCP="true", EMBEDROCK_MAX_INPUTS="2")

    async with over_http(gateway) as client:
        assert await refusal(client, "openai_embedding", input=["a"] * 3) == ("input", "too_many_inputs")
        assert await refusal(client, "search_texts", query="a", texts=["a"] * 3) == ("texts", "too_many_inputs")
        assert await refusal(client, "similarity", texts=["a"] * 3) == ("texts", "too_many_inputs")


def test_requests_are_counted(start_gateway: StartGateway, emulator: Emulator) -> None:
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, EMBEDROCK_MCP="true")

    post(gateway, "auto", input=["a", "b"])
    post(gateway, "legacy", {"host": "evil.example"})

    assert gateway.metric("embedrock_requests_total", route="mcp", status="200") == 1
    assert gateway.metric("embedrock_requests_total", route="mcp", status="421") == 1
    assert gateway.metric("embedrock_inputs_total", model=TITAN) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_guardrail_of_the_headers_holds(serving: Gateway, emulator: Emulator, mode: Mode) -> None:
    emulator.guardrail(id="mine", version=3, blocked_words=["top secret"], masked_pii=["EMAIL"])

    async with over_http(serving, mode=mode, headers=GUARDRAIL) as client:
        blocked = await refusal(client, "search_texts", query="a", texts=["b", "a top secret"])
        masked = await ask(client, "openai_embedding", input=["a", "jo@example.com"])

    assert blocked == ("texts", "content_filter")
    assert masked["masked"] == [1]
    assert "top secret" not in str(emulator.bodies())
    assert "jo@example.com" not in str(emulator.bodies())


async def test_callers_own_time_limit_holds(start_emulator: StartEmulator, start_gateway: StartGateway) -> None:
    slow = start_emulator("--latency-ms", "20000")
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=slow.url, EMBEDROCK_MCP="true")

    for mode in MODES:
        async with over_http(gateway, mode=mode, headers={"x-request-timeout-ms": "300"}) as client:
            assert await refusal(client, "openai_embedding", input="a") == (None, "upstream_timeout")


def connections_to(port: int, pid: int) -> int:
    """Return how many established TCP connections of a process go to `port` of loopback."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text(encoding="utf-8").splitlines()[1:]
    remote = f"0100007F:{port:04X}"
    return sum(1 for fields in map(str.split, lines) if fields[2] == remote and fields[3] == "01")


def test_agent_that_hangs_up_stops_the_work(start_emulator: StartEmulator, start_gateway: StartGateway) -> None:
    slow = start_emulator("--latency-ms", "60000")
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=slow.url, EMBEDROCK_MCP="true")

    for mode in MODES:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=15) as connection:
            connection.sendall(request(*call(mode, "openai_embedding", input="a"), host="127.0.0.1"))
            wait_until(lambda: connections_to(slow.port, gateway.pid) == 1)
        wait_until(lambda: connections_to(slow.port, gateway.pid) == 0)

    assert gateway.request("GET", "/health/live").status == 200
    assert gateway.errors() == ""


# ------------------------------------------------------------------------------------------------------------- odd text


def test_lone_surrogate_is_no_obstacle(serving: Gateway) -> None:
    """JSON can spell it and UTF-8 cannot; where the older generation's reader refuses it, it says so."""
    texts = ["\ud800law", "b"]

    found = serving.request("POST", "/mcp", *call("auto", "search_texts", query="law\ud800", texts=texts))
    named = serving.request("POST", "/mcp", *call("auto", "openai_embedding", input="a", **{"\ud800": 1}))
    older = serving.request("POST", "/mcp", *call("legacy", "search_texts", query="law", texts=texts))

    assert [item["text"] for item in result(found)["results"]] == ["?law", "b"]
    assert result(named)["error"]["code"] == "unsupported_parameter"
    assert (older.status, older.json()["error"]["code"]) == (400, -32700)


@pytest.mark.parametrize("mode", MODES)
def test_deep_nesting_is_refused(serving: Gateway, mode: Mode) -> None:
    deep: Any = 1
    for _ in range(150):
        deep = [deep]

    answer = post(serving, mode, extra_body={"a": deep})

    assert result(answer)["error"]["code"] == "unsupported_parameter"


@pytest.mark.parametrize("mode", MODES)
def test_nothing_a_caller_sends_is_logged(start_gateway: StartGateway, emulator: Emulator, mode: Mode) -> None:
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, EMBEDROCK_MCP="true")
    emulator.fault("norm")
    malformed = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 7, "canary": "canary"}}
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": {"canary": 1}}}

    post(gateway, mode, {"host": "canary.example"})
    post(gateway, mode, {"origin": "http://canary.example"})
    post(gateway, mode, input=["canary", ""])
    post(gateway, mode, input="canary", canary=3)
    post(gateway, mode, input="canary", model="canary")
    for message in (malformed, note):
        gateway.request("POST", "/mcp", json.dumps(message).encode(), call(mode, "canary")[1])
    gateway.request("POST", "/mcp", b'{"canary', JSON)

    assert "canary" not in gateway.errors()


# -------------------------------------------------------------------------------------------------------------- workers


@pytest.mark.parametrize("mode", MODES)
async def test_any_worker_answers_any_request(
    start_gateway: StartGateway, emulator: Emulator, expected: Expected, mode: Mode
) -> None:
    gateway = start_gateway("--workers", "2", AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, EMBEDROCK_MCP="true")
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(over_http(gateway, mode=mode)) for _ in range(6)]
        listed = [[tool.name for tool in (await client.list_tools()).tools] for client in clients]
        answers = [
            await ask(client, "openai_embedding", input=f"text {number}", model=ENGLISH, full_vectors=True)
            for number, client in enumerate(clients * 4)
        ]

    assert listed == [TOOLS] * 6
    assert [answer["data"][0]["embedding"] for answer in answers] == expected(
        ENGLISH, [f"text {number}" for number in range(24)]
    )
    assert [has_loaded_the_sdk(pid) for pid in workers(gateway)] == [True, True]


def workers(gateway: Gateway) -> list[str]:
    """Return the ids of its worker processes."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text(encoding="utf-8").split()
    return [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_gateway_that_serves_mcp_ends_with_exit_status_0(start_gateway: StartGateway, emulator: Emulator) -> None:
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, EMBEDROCK_MCP="true")
    assert post(gateway, "legacy").status == 200

    gateway.process.terminate()

    assert gateway.wait() == 0
    assert gateway.errors() == ""
