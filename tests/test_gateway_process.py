"""The gateway as a process: how it starts, stops, refuses to start, and shares its work."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import openai
import pytest

if TYPE_CHECKING:
    from tests.conftest import Answer, Emulator, Expected, Gateway, RunEmbedrock, StartEmulator, StartGateway

TITAN = "amazon.titan-embed-text-v2:0"
ONE = {"model": TITAN, "input": "a red bicycle"}
AWS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}


def wait_until(true: Callable[[], bool], deadline_s: float = 15.0) -> None:
    """Poll until `true()`; fail at the deadline."""
    deadline = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


def vector(answer: Answer) -> list[float]:
    assert answer.status == 200, answer.body[:500]
    found: list[float] = answer.json()["data"][0]["embedding"]
    return found


# Start


def test_serve_prints_its_url_once_it_answers(gateway: Gateway) -> None:
    assert gateway.url == f"http://127.0.0.1:{gateway.port}"
    assert f"{gateway.url}/v1" in gateway.first_line
    assert gateway.request("GET", "/health/ready").status == 200


def test_serve_names_the_endpoint_it_uses(start_gateway: StartGateway, emulator: Emulator) -> None:
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url)

    assert emulator.url in gateway.read_line()


def test_the_runtimes_own_endpoint_variable_wins(
    start_gateway: StartGateway, emulator: Emulator, expected: Expected
) -> None:
    gateway = start_gateway(AWS_ENDPOINT_URL="http://127.0.0.1:1", AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url + "/")

    assert vector(gateway.embed(ONE)) == expected(TITAN, ["a red bicycle"])[0]


def test_host_is_taken_from_the_option(start_gateway: StartGateway, emulator: Emulator) -> None:
    gateway = start_gateway("--host", "localhost", AWS_ENDPOINT_URL=emulator.url)

    assert gateway.request("GET", "/health/live").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104
def test_serve_refuses_to_listen_beyond_loopback_without_a_key(run_embedrock: RunEmbedrock, host: str) -> None:
    ended = run_embedrock("serve", "--port", "0", "--host", host, **AWS)

    assert ended.returncode == 1
    assert ended.stdout == b""
    assert ended.stderr.count(b"\n") == 1
    assert host.encode() in ended.stderr
    assert b"EMBEDROCK_API_KEY" in ended.stderr


@pytest.mark.parametrize("setting", [{"EMBEDROCK_API_KEY": "a-key"}, {"EMBEDROCK_ALLOW_NO_AUTH": "true"}], ids=str)
def test_serve_listens_everywhere_with_a_key_or_when_told_to(
    start_gateway: StartGateway, emulator: Emulator, setting: dict[str, str]
) -> None:
    gateway = start_gateway("--host", "0.0.0.0", AWS_ENDPOINT_URL=emulator.url, **setting)  # noqa: S104

    assert listens(gateway.port)


def test_port_in_use_is_one_line(run_embedrock: RunEmbedrock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_embedrock("serve", "--port", port, **AWS)

    assert ended.returncode == 1
    assert ended.stdout == b""
    assert ended.stderr.count(b"\n") == 1
    assert port.encode() in ended.stderr


def test_no_region_is_one_line(run_embedrock: RunEmbedrock) -> None:
    ended = run_embedrock("serve", "--port", "0", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y")

    assert ended.returncode == 1
    assert ended.stderr.count(b"\n") == 1
    assert b"AWS_REGION" in ended.stderr


def test_bearer_key_is_not_sent_without_tls(run_embedrock: RunEmbedrock) -> None:
    ended = run_embedrock(
        *("serve", "--port", "0"),
        AWS_REGION="us-east-1",
        AWS_BEARER_TOKEN_BEDROCK="bearer-canary",
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://127.0.0.1:1",
    )

    assert ended.returncode == 1
    assert ended.stderr.count(b"\n") == 1
    assert b"bearer-canary" not in ended.stderr


# Stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_with_exit_status_0(
    start_gateway: StartGateway, emulator: Emulator, number: signal.Signals
) -> None:
    gateway = start_gateway(AWS_ENDPOINT_URL=emulator.url)
    assert gateway.embed(ONE).status == 200

    os.kill(gateway.pid, number)

    assert gateway.wait() == 0
    assert "Traceback" not in gateway.errors()


def test_request_in_flight_is_finished_after_sigterm(
    start_emulator: StartEmulator, start_gateway: StartGateway, expected: Expected
) -> None:
    slow = start_emulator("--latency-ms", "700")
    gateway = start_gateway(AWS_ENDPOINT_URL=slow.url)
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.embed(ONE)))
    asking.start()
    # The call's connection to the emulator tells that the request is being worked on.
    wait_until(lambda: connections_to(slow.port, gateway.pid) > 0)

    os.kill(gateway.pid, signal.SIGTERM)
    asking.join(15)
    gateway.wait()

    (answer,) = answers
    assert vector(answer) == expected(TITAN, ["a red bicycle"])[0]
    assert not listens(gateway.port)


def connections_to(port: int, pid: int) -> int:
    """Return how many established TCP connections of a process go to `port` of loopback."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    remote = f"0100007F:{port:04X}"
    return sum(1 for fields in map(str.split, lines) if fields[2] == remote and fields[3] == "01")


# Emulator inside


def test_serve_emulator_needs_no_aws_variable(start_gateway: StartGateway, expected: Expected) -> None:
    gateway = start_gateway("--emulator", aws=False)
    second_line = gateway.read_line()

    assert "emulator" in second_line
    assert "not AWS" in second_line
    assert gateway.request("GET", "/health/ready").status == 200
    assert vector(gateway.embed(ONE)) == expected(TITAN, ["a red bicycle"])[0]


def emulator_port(gateway: Gateway) -> int:
    """Return the port of the emulator that `gateway` started, read from its second line."""
    (url,) = (word for word in gateway.read_line().split() if word.startswith("http://"))
    return int(url.rpartition(":")[2])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_emulator_ends_with_the_gateway(start_gateway: StartGateway, number: signal.Signals) -> None:
    gateway = start_gateway("--emulator", aws=False)
    port = emulator_port(gateway)
    assert listens(port)

    os.kill(gateway.pid, number)
    gateway.wait()

    wait_until(lambda: not listens(port))


def test_emulators_port_is_the_one_that_is_set(start_gateway: StartGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    gateway = start_gateway("--emulator", aws=False, EMBEDROCK_EMULATOR_PORT=str(port))

    assert emulator_port(gateway) == port


# Workers


def test_two_workers_share_a_port_and_add_up_their_metrics(
    start_gateway: StartGateway, emulator: Emulator, expected: Expected
) -> None:
    gateway = start_gateway("--workers", "2", AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url)
    texts = [f"text {number}" for number in range(60)]

    answers = [gateway.embed({"model": TITAN, "input": text}) for text in texts]  # a connection each

    assert [vector(answer) for answer in answers] == expected(TITAN, texts)
    wait_until(lambda: gateway.metric("embedrock_requests_total", route="embeddings", status="200") == 60)
    for _ in range(8):  # whichever worker answers, once each has told the others
        wait_until(lambda: gateway.metric("embedrock_inputs_total", model=TITAN) == 60)


def test_two_workers_end_with_sigterm(start_gateway: StartGateway, emulator: Emulator) -> None:
    gateway = start_gateway("--workers", "2", AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url)
    assert gateway.embed(ONE).status == 200

    os.kill(gateway.pid, signal.SIGTERM)

    assert gateway.wait() == 0
    assert not listens(gateway.port)


def test_settings_reach_every_worker(start_gateway: StartGateway, tmp_path: Path) -> None:
    config = tmp_path / "embedrock.yaml"
    config.write_text(f"api_key: [file-key]\naliases:\n  mine: {TITAN}\n", encoding="utf-8")
    gateway = start_gateway("--workers", "2", "--emulator", "--config", str(config), aws=False)
    body = json.dumps({"model": "mine", "input": "a"}).encode()

    statuses = {
        (gateway.embed(body).status, gateway.embed(body, {"authorization": "Bearer file-key"}).status)
        for _ in range(12)
    }

    assert statuses == {(401, 200)}


# TLS


def test_bearer_key_goes_over_tls_to_a_trusted_endpoint(
    start_emulator: StartEmulator, start_gateway: StartGateway, certificate: tuple[Path, Path], expected: Expected
) -> None:
    cert, key = map(str, certificate)
    secure = start_emulator("--certfile", cert, "--keyfile", key)
    gateway = start_gateway(
        aws=False,
        AWS_REGION="us-east-1",
        AWS_BEARER_TOKEN_BEDROCK="bedrock-canary",
        AWS_CA_BUNDLE=cert,
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=secure.url,
    )

    answer = gateway.embed(ONE)

    (row,) = secure.journal()
    assert secure.url.startswith("https://")
    assert vector(answer) == expected(TITAN, ["a red bicycle"])[0]
    assert row["headers"]["authorization"] == "Bearer ***"
    assert "x-amz-date" not in row["headers"]
    assert gateway.request("GET", "/health/ready").status == 200
    assert "bedrock-canary" not in gateway.errors()


def test_signed_calls_go_over_tls_too(
    start_emulator: StartEmulator, start_gateway: StartGateway, certificate: tuple[Path, Path], expected: Expected
) -> None:
    cert, key = map(str, certificate)
    secure = start_emulator("--certfile", cert, "--keyfile", key)
    gateway = start_gateway(AWS_CA_BUNDLE=cert, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=secure.url)
    texts = [f"text {number}" for number in range(150)]

    with openai.OpenAI(base_url=gateway.url, api_key="any") as client:
        reply = client.embeddings.create(model=TITAN, input=texts, encoding_format="float")

    assert [item.embedding for item in reply.data] == expected(TITAN, texts)
    assert {row["headers"]["authorization"].partition(" ")[0] for row in secure.journal()} == {"AWS4-HMAC-SHA256"}


def test_untrusted_endpoint_gets_nothing(
    start_emulator: StartEmulator, start_gateway: StartGateway, certificate: tuple[Path, Path]
) -> None:
    cert, key = map(str, certificate)
    secure = start_emulator("--certfile", cert, "--keyfile", key)
    gateway = start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=secure.url)

    answer = gateway.embed(ONE)

    assert answer.status == 503
    assert answer.error()["code"] == "upstream_unavailable"
    assert secure.journal() == []


def test_ca_bundle_that_is_not_there_is_one_line(run_embedrock: RunEmbedrock, tmp_path: Path) -> None:
    ended = run_embedrock("serve", "--port", "0", **AWS, AWS_CA_BUNDLE=str(tmp_path / "missing.pem"))

    assert ended.returncode == 1
    assert ended.stderr.count(b"\n") == 1
    assert b"AWS_CA_BUNDLE" in ended.stderr


def test_embed_reads_a_whole_vector_over_tls(
    start_emulator: StartEmulator, run_embedrock: RunEmbedrock, certificate: tuple[Path, Path], expected: Expected
) -> None:
    """The command runs on asyncio's own event loop, where the server runs on uvloop."""
    cert, key = map(str, certificate)
    emulator = start_emulator("--certfile", cert, "--keyfile", key)
    aws = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_CA_BUNDLE": cert}

    ended = run_embedrock("embed", "a text", **aws, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["embeddings"] == expected(TITAN, ["a text"])
