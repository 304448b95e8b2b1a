"""A real emulator: a child process on a free port, spoken to over HTTP."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

TITAN = "amazon.titan-embed-text-v2:0"
ENGLISH = "cohere.embed-english-v3"
MULTILINGUAL = "cohere.embed-multilingual-v3"
PROFILE_ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/otnfa2ysixqd"
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/{region}/bedrock/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=7778b2901963658c"
)


@dataclass(frozen=True)
class Answer:
    """One answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Running:
    """A running emulator."""

    url: str
    process: subprocess.Popen[str]

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request just as given."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return Answer(reply.status, {key.lower(): value for key, value in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def invoke(self, model: str, body: Any, *, region: str = "us-east-1") -> Answer:
        """InvokeModel, with the path as boto3 writes it and no Content-Type."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = f"/model/{model.replace(':', '%3A').replace('/', '%2F')}/invoke"
        return self.request("POST", path, sent, {"Authorization": SIGNED.format(region=region)})

    def post(self, collection: str, members: Any) -> Answer:
        """Post to one of the emulator's own collections."""
        return self.request("POST", f"/_emulator/{collection}", json.dumps(members).encode())

    def fault(self, **members: Any) -> Any:
        """Switch a fault on and return its entry."""
        answer = self.post("faults", members)
        assert answer.status == 200, answer.body
        return answer.json

    def guardrail(self, **members: Any) -> Any:
        """Make a guardrail and return it."""
        answer = self.post("guardrails", members)
        assert answer.status == 200, answer.body
        return answer.json

    def faults(self) -> Any:
        """Return the faults that are on."""
        return self.request("GET", "/_emulator/faults").json["faults"]

    def journal(self) -> Any:
        """Return the rows of the journal."""
        return self.request("GET", "/_emulator/journal").json["rows"]

    def upload(self, objects: Mapping[str, bytes]) -> None:
        """Put objects into S3, by their URIs, in buckets that are made anew, and forget that in the journal."""
        signed = {"Authorization": SIGNED.format(region="us-east-1").replace("/bedrock/", "/s3/")}
        for bucket in {uri.split("/")[2] for uri in objects}:
            assert self.post("buckets", {"name": bucket}).status == 200
        for uri, data in objects.items():
            assert self.request("PUT", uri.removeprefix("s3:/"), data, signed).status == 200
        self.request("DELETE", "/_emulator/journal")

    def client(
        self,
        service: str = "bedrock-runtime",
        *,
        region: str = "us-east-1",
        attempts: int = 1,
        keys: tuple[str, str, str | None] = ("test", "test", None),
    ) -> Any:
        """Return a boto3 client, by default with dummy keys; `keys`: id, secret, session token."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
            aws_session_token=keys[2],
            config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}),
        )


@contextmanager
def running(*options: str) -> Iterator[Running]:
    """Start an emulator on a free port; stop it at the end, gently."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bedrock_emulator", "--port", "0", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            announced = process.stdout.readline()
            assert announced.startswith("bedrock-emulator listening on "), announced
            yield Running(announced.split()[-1], process)
        finally:
            process.terminate()
            assert process.wait(10) == 0


@pytest.fixture(scope="session")
def session_emulator() -> Iterator[Running]:
    with running("--profile", f"{PROFILE_ARN}={TITAN}", "--exit-with-parent") as emulator:
        yield emulator


@pytest.fixture
def emulator(session_emulator: Running) -> Running:
    """The session's emulator, with no fault, guardrail, quota or latency, any signature taken, an empty journal."""
    for collection in ("faults", "guardrails", "credentials", "quotas", "latency", "async", "buckets", "journal"):
        session_emulator.request("DELETE", f"/_emulator/{collection}")
    return session_emulator
