"""The process: announcement, options, how it stops."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest

from .conftest import TITAN, running

COMMAND = [sys.executable, "-m", "bedrock_emulator"]


def test_it_announces_itself_as_an_emulator() -> None:
    with running() as emulator:
        assert emulator.process.stdout is not None
        banner = emulator.process.stdout.readline()

        assert emulator.url.startswith("http://127.0.0.1:")
        assert "emulator, not AWS" in banner
        assert "words of the text" in banner


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_exit_code_0(number: signal.Signals) -> None:
    with running() as emulator:
        emulator.process.send_signal(number)

        assert emulator.process.wait(10) == 0


def test_it_stops_when_its_parent_is_gone() -> None:
    with running("--exit-with-parent") as emulator:
        assert emulator.process.stdin is not None
        emulator.process.stdin.close()

        assert emulator.process.wait(10) == 0


def test_latency_is_added_and_calls_wait_side_by_side() -> None:
    with running("--latency-ms", "300") as emulator, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda text: emulator.invoke(TITAN, {"inputText": text}), "abcd"))

        assert all(int(answer.headers["x-amzn-bedrock-invocation-latency"]) >= 300 for answer in answers)
        assert max(row["concurrency"] for row in emulator.journal()) > 1


def test_a_taken_port_is_told_and_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=30, check=False)

    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        (["--port", "70000"], {}, "--port"),
        (["--latency-ms", "-1"], {}, "--latency-ms"),
        (["--latency", "60"], {}, "--latency"),
        (["--latency", '{"constant_ms": 1'], {}, "--latency"),
        (["--latency", '{"median_ms": 60}'], {}, "p95_ms"),
        (["--profile", "x=y"], {}, "--profile"),
        (["--access-key", "AKID"], {}, "--secret-key"),
        (["--secret-key", "secret"], {}, "--access-key"),
        (["--session-token", "token"], {}, "--access-key"),
        (["--profile", "arn:aws:bedrock:x=y"], {}, "--profile"),
        ([], {"EMBEDROCK_EMULATOR_PORT": "many"}, "--port"),
        ([], {"EMBEDROCK_EMULATOR_LATENCY_MS": "long"}, "--latency-ms"),
    ],
)
def test_a_bad_option_is_a_usage_error(options: list[str], environment: dict[str, str], told: str) -> None:
    result = subprocess.run(
        [*COMMAND, *options], env={**os.environ, **environment}, capture_output=True, text=True, timeout=30, check=False
    )

    assert result.returncode == 2
    assert told in result.stderr


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """Return the files of a certificate for this machine and of its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate of this test")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def test_tls_lets_boto3_use_a_bearer_key(certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 sends bearer keys over TLS only."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-test")
    with running("--certfile", certificate[0], "--keyfile", certificate[1]) as emulator:
        client: Any = boto3.client(
            "bedrock-runtime", region_name="us-east-1", endpoint_url=emulator.url, verify=certificate[0]
        )

        answer = json.loads(client.invoke_model(modelId=TITAN, body='{"inputText":"hello"}')["body"].read())
        client.close()

    assert emulator.url.startswith("https://")
    assert answer["inputTextTokenCount"] == 2


def test_over_tls_s3_takes_the_checksums_that_boto3_sends_at_the_end(certificate: tuple[str, str]) -> None:
    """boto3 wraps bodies into chunks with a checksum behind them over TLS only."""
    sent = []
    with running("--certfile", certificate[0], "--keyfile", certificate[1]) as emulator:
        client: Any = boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=emulator.url,
            verify=certificate[0],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.append(request.headers))
        client.put_object(Bucket="embedrock-emulator", Key="k", Body=io.BytesIO(bytes(3_000_000)))

        assert client.get_object(Bucket="embedrock-emulator", Key="k")["Body"].read() == bytes(3_000_000)
        client.close()

    assert sent[0]["X-Amz-Content-SHA256"] == b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"
