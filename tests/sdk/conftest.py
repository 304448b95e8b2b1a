"""What the SDK's tests share: arguments that lead to the emulator, programs, and servers of the tests' own."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .stand_ins import Got, Reply, RunScript, Scripted, Silent, StartSts, Stub

if TYPE_CHECKING:
    from tests.conftest import Emulator


@pytest.fixture
def aws(emulator: Emulator) -> dict[str, Any]:
    """The arguments of `embedding` that lead to the shared emulator."""
    return {
        "aws_access_key_id": "AKIATEST",
        "aws_secret_access_key": "test-secret",
        "aws_region_name": "us-east-1",
        "aws_bedrock_runtime_endpoint": emulator.url,
    }


@pytest.fixture
def run_script(emulator: Emulator) -> RunScript:
    """Run a program whose AWS is the shared emulator; return what it printed. It warns of nothing, also at its end."""

    def run(code: str, *, cwd: object = None, dev: bool = True, **environ: str) -> str:
        known = {
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url,
        }
        ended = subprocess.run(
            [sys.executable, *(("-X", "dev", "-W", "error") if dev else ()), "-c", code],
            capture_output=True,
            text=True,
            env=dict(os.environ) | known | environ,
            cwd=str(cwd) if cwd else None,
            timeout=60,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
        return ended.stdout

    return run


@pytest.fixture
def silent() -> Iterator[Silent]:
    """An endpoint that takes requests, answers none, and knows when the caller hangs up."""
    with contextlib.closing(Silent()) as server:
        yield server


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """Start servers with these replies, on TLS where there is a certificate."""
    with contextlib.ExitStack() as stack:

        def start(*replies: Reply, certificate: tuple[Path, Path] | None = None) -> Stub:
            stub = Stub(replies)
            turn = threading.Lock()

            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def do_POST(self) -> None:
                    body = self.rfile.read(int(self.headers.get("content-length", 0)))
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    with turn:
                        reply = stub.replies[min(len(stub.got), len(stub.replies) - 1)]
                        stub.got.append(Got(self.command, self.path, headers, body))
                    self.send_response(reply.status)
                    for name, value in {**reply.headers, "content-length": str(len(reply.body))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(reply.body)

                do_GET = do_POST  # noqa: N815  # the library's names

                def log_message(self, *_: object) -> None:
                    pass

            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            if certificate:
                tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                tls.load_cert_chain(*certificate)
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            stub.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return stub

        yield start


_ROLE = """<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey><SessionToken>role-token</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/r/s
</Arn><AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser></{action}Result></{action}Response>"""


@pytest.fixture
def sts(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> StartSts:
    """Start a Security Token Service that gives one role's keys, ASIAROLE, to everybody."""

    def start(action: str) -> Stub:
        stub = scripted(Reply(200, _ROLE.format(action=action).encode(), {"content-type": "text/xml"}))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", stub.url)
        return stub

    return start
