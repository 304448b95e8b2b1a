"""A pytest plugin, active where the package is installed: tests that talk to an emulator in place of AWS.

`bedrock_emulator` is for one test, `bedrock_emulator_session` for what lives longer. The process behind both is started
by the first test that asks, serves the whole run, and stops with it, however it ends.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

_REGION = "us-east-1"
_STOP_S = 10.0
# What would lead an AWS SDK elsewhere, or make it sign with something else.
_UNSET = (
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_DEFAULT_PROFILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
)


class BedrockEmulator:
    """A running emulator; `url` is where it listens."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def environ(self) -> dict[str, str]:
        """The variables that point an AWS SDK at the emulator, for a process of your own."""
        return {
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.url,
            "AWS_ENDPOINT_URL_BEDROCK": self.url,
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_S3_REGIONAL_BUCKETS": json.dumps({_REGION: "embedrock-emulator"}),
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_SECRET_ACCESS_KEY": "emulator",
            "AWS_REGION": _REGION,
            "AWS_DEFAULT_REGION": _REGION,
        }

    def journal(self) -> list[dict[str, Any]]:
        """Return one row for each call since the last `clear`, oldest first."""
        rows: list[dict[str, Any]] = self._call("GET", "journal")["rows"]
        return rows

    def fault(self, fault: str, **settings: Any) -> dict[str, Any]:
        """Switch a fault on, by its name and settings, and return its entry. Raises ValueError for bad ones."""
        return self._call("POST", "faults", {"fault": fault, **settings})

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that are on; `fired` counts the calls a fault has struck."""
        entries: list[dict[str, Any]] = self._call("GET", "faults")["faults"]
        return entries

    def quota(self, **settings: Any) -> dict[str, Any]:
        """Set a quota and return its entry. Raises ValueError for bad settings."""
        return self._call("POST", "quotas", settings)

    def quotas(self) -> list[dict[str, Any]]:
        """Return the quotas that are on; `used` and `throttled` count the calls let through and refused."""
        entries: list[dict[str, Any]] = self._call("GET", "quotas")["quotas"]
        return entries

    def latency(self, **settings: Any) -> dict[str, Any]:
        """Let calls take their time and return the entry. Raises ValueError for bad settings."""
        return self._call("POST", "latency", settings)

    def async_calls(self, **settings: Any) -> dict[str, Any]:
        """Set how long asynchronous calls take (`duration_s`) and how many there may be (`max_running`), when given.

        Returns both, and the calls as `jobs`. Raises ValueError for bad settings.
        """
        if settings:
            self._call("POST", "async", settings)
        return self._call("GET", "async")

    def bucket(self, name: str, **settings: Any) -> dict[str, Any]:
        """Make a bucket and return it: `region`, `owner`. Raises ValueError for bad settings."""
        return self._call("POST", "buckets", {"name": name, **settings})

    def buckets(self) -> dict[str, dict[str, Any]]:
        """Return the buckets by their names, each with its `objects` (key and size) and `uploads` under way."""
        return {bucket["name"]: bucket for bucket in self._call("GET", "buckets")["buckets"]}

    def guardrail(self, **settings: Any) -> dict[str, Any]:
        """Make a guardrail and return it. Raises ValueError for bad settings."""
        return self._call("POST", "guardrails", settings)

    def clear(self) -> None:
        """Remove all faults, quotas, latencies, guardrails, asynchronous calls, and what is in S3; empty the journal;
        take any signature."""
        for collection in ("faults", "quotas", "latency", "guardrails", "credentials", "async", "buckets", "journal"):
            self._call("DELETE", collection)

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        try:
            connection.request(method, f"/_emulator/{path}", None if body is None else json.dumps(body))
            reply = connection.getresponse()
            answer: dict[str, Any] = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status != 200:
            raise ValueError(answer["message"])
        return answer


@pytest.fixture(scope="session")
def bedrock_emulator_session() -> Iterator[BedrockEmulator]:
    """The emulator of the whole run; it is cleared around tests that use `bedrock_emulator`, not around others."""
    command = [sys.executable, "-m", "bedrock_emulator", "--port", "0", "--exit-with-parent"]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603  # our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101  # for the type checker: it is a pipe
        announced = process.stdout.readline()
        if not announced:
            process.wait()
            errors.seek(0)
            pytest.fail(f"The Bedrock emulator did not start:\n{errors.read().decode(errors='replace')}", pytrace=False)
        try:
            yield BedrockEmulator(announced.split()[-1])
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def bedrock_emulator(bedrock_emulator_session: BedrockEmulator) -> Iterator[BedrockEmulator]:
    """A Bedrock emulator with nothing in it, to which the environment points every AWS SDK while the test runs."""
    bedrock_emulator_session.clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bedrock_emulator_session.environ.items():
            patch.setenv(name, value)
        for name in _UNSET:
            patch.delenv(name, raising=False)
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1"))))
        yield bedrock_emulator_session
    bedrock_emulator_session.clear()
