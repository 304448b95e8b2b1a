"""`embedrock mcp`: one agent over standard input and output, and nothing there but the protocol."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client, StdioServerParameters
from tests.faces.mcp.agents import TITAN, ask, over_http, over_stdio

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, RunEmbedrock, StartGateway

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "how-to" / "use-with-agents.md"
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a test", "version": "1"}}
AWS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}


def messages(*calls: tuple[str, dict[str, Any]]) -> bytes:
    """Return requests as an agent writes them, each with the number of its place, after the handshake."""
    lines: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
    ]
    lines += [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        for number, (method, params) in enumerate(calls, 1)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.fixture
def talking(emulator: Emulator) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has greeted its agent."""
    environ = os.environ | AWS | {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url}
    with subprocess.Popen(
        [sys.executable, "-m", "embedrock", "mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    ) as process:
        try:
            say(process, messages())
            assert b'"protocolVersion"' in hear(process)
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def hear(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_it_ends_with_its_input_and_prints_nothing_but_answers(
    talking: subprocess.Popen[bytes], expected: Expected
) -> None:
    params = {"name": "openai_embedding", "arguments": {"input": "a", "full_vectors": True}}
    refused = {"name": "openai_embedding", "arguments": {"input": ["a", ""]}}
    calls = [("tools/call", params), ("tools/call", refused), ("tools/list", {})]
    say(talking, b"".join(messages(*calls).splitlines(keepends=True)[2:]) + b"this is no message\n")
    answers = {answer["id"]: answer for answer in (json.loads(hear(talking)) for _ in calls)}

    rest, errors = talking.communicate(timeout=15)

    assert talking.returncode == 0
    assert (rest, errors) == (b"", b"")
    assert answers.keys() == {1, 2, 3}
    assert answers[1]["result"]["structuredContent"]["data"][0]["embedding"] == expected(TITAN, ["a"])[0]
    assert answers[2]["result"]["isError"] is True


def test_failures_are_logged_on_standard_error(talking: subprocess.Popen[bytes], emulator: Emulator) -> None:
    emulator.fault("zeros")
    say(talking, messages(("tools/call", {"name": "openai_embedding", "arguments": {"input": "canary"}})))
    heard = [json.loads(hear(talking)) for _ in range(2)]

    _, errors = talking.communicate(timeout=15)

    assert emulator.fired() > 0
    assert heard[-1]["result"]["isError"] is True
    assert errors.startswith(b"WARNING mcp openai_embedding upstream_invalid_response: ")
    assert b"canary" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_while_it_waits_for_input(talking: subprocess.Popen[bytes], number: signal.Signals) -> None:
    talking.send_signal(number)

    assert talking.wait(15) == -number


def test_its_emulator_ends_with_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = os.environ | {"EMBEDROCK_EMULATOR_PORT": str(port)}
    with subprocess.Popen(
        [sys.executable, "-m", "embedrock", "mcp", "--emulator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
    ) as process:
        say(process, messages())
        assert b'"protocolVersion"' in hear(process)
        assert listens(port)

        process.kill()

    deadline = time.monotonic() + 15
    while listens(port):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


def test_wrong_setting_is_one_line_on_standard_error(run_embedrock: RunEmbedrock) -> None:
    ended = run_embedrock("mcp", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y")

    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.count(b"\n") == 1
    assert b"AWS_REGION" in ended.stderr


async def test_configuration_file_is_read(emulator: Emulator, tmp_path: Path) -> None:
    config = tmp_path / "embedrock.yaml"
    config.write_text(f"max_inputs: 2\naliases:\n  mine: {TITAN}\n", encoding="utf-8")

    async with over_stdio("--config", str(config), AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, **AWS) as client:
        answer = await ask(client, "openai_embedding", input=["a", "b"], model="mine")
        listed = await ask(client, "list_embedding_models")

    assert (answer["model"], answer["count"]) == ("mine", 2)
    assert listed["aliases"] == [{"name": "mine", "model": TITAN}]


# ---------------------------------------------------------------------------------------------------- the page's agents


def configured() -> list[dict[str, Any]]:
    """Return the servers of the page's configurations of agents."""
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [json.loads(block)["mcpServers"]["embedrock"] for block in blocks]


async def test_pages_configuration_for_standard_input_and_output_works() -> None:
    (server,) = (server for server in configured() if "command" in server)
    assert server.pop("command") == ".venv/bin/embedrock"
    scripts = Path(sys.executable).parent

    async with Client(StdioServerParameters(command=str(scripts / "embedrock"), **server)) as client:
        answer = await ask(client, "similarity", texts=["a red bicycle", "a blue bicycle"])

    assert answer["matrix"][0][1] > 0.3


async def test_pages_configuration_for_http_works(gateway_with: StartGateway) -> None:
    gateway = gateway_with(EMBEDROCK_MCP="true", EMBEDROCK_API_KEY="a-long-secret")
    (server,) = (server for server in configured() if "url" in server)
    assert (server["type"], server["url"]) == ("http", "http://127.0.0.1:4000/mcp")
    assert "EMBEDROCK_MCP=true EMBEDROCK_API_KEY=a-long-secret" in PAGE.read_text(encoding="utf-8")

    async with over_http(gateway, headers=server["headers"]) as client:
        assert (await ask(client, "openai_embedding", input="a"))["count"] == 1
