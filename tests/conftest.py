"""Gateway and emulator as real processes over real sockets, and clients that point at them.

Nothing of this machine reaches them: their environment holds no `AWS_*` or `EMBEDROCK_*` variable but the ones given
here. Processes are stopped by their own pid. The processes of `emulator` and `gateway` are shared by the whole run;
faults and journal are emptied before each test.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

import hypothesis
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bedrock_emulator import expected_vectors

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

EMBEDROCK = str(Path(sysconfig.get_path("scripts")) / "embedrock")
_START_S = 30.0
_STOP_S = 15.0
_OURS = ("AWS_", "EMBEDROCK_")
_OTHERS = {"DEFAULT_MODEL_PARAMS", "PROMETHEUS_MULTIPROC_DIR", "PYTHONUNBUFFERED"}
_SEALED = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
_DUMMY_AWS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test-secret"}

Expected: TypeAlias = Callable[..., list[list[float]]]
RunEmbedrock: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]
StartEmulator: TypeAlias = Callable[..., "Emulator"]
StartGateway: TypeAlias = Callable[..., "Gateway"]


def clean_environ() -> dict[str, str]:
    """Return this process's environment without AWS's variables, ours, and proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OURS) and name not in _OTHERS and not name.lower().endswith("_proxy")
    } | _SEALED


@pytest.fixture(scope="session", autouse=True)
def _sealed_environ() -> Iterator[None]:
    """Keep the machine's AWS account, settings and proxies out of this process too."""
    clean = clean_environ()
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - clean.keys():
            patch.delenv(name)
        for name, value in _SEALED.items():
            patch.setenv(name, value)
        yield


class Answer(NamedTuple):
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def error(self) -> dict[str, Any]:
        """Return the error, after checking that the envelope is whole and the answer has its id."""
        assert self.headers["content-type"] == "application/json"
        assert self.headers["x-request-id"].startswith("req_")
        members = self.json()
        assert members.keys() == {"error"}
        error: dict[str, Any] = members["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str) and error["message"]
        return error


class Child:
    """A process of ours. It has started when it has written its first line, which is kept in `first_line`."""

    def __init__(self, command: list[str], environ: Mapping[str, str], errors: Path) -> None:
        self._errors = errors
        with errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(environ),
                text=True,
                start_new_session=True,  # a signal to the tests' process group is not for it
            )
        self.pid = self.process.pid
        self.first_line = self.read_line()
        if not self.first_line:
            self.stop()
            raise AssertionError(f"{command} did not start, exit {self.process.returncode}:\n{self.errors()}")

    def read_line(self) -> str:
        """Return the next line of its output, or nothing when it ends, or says nothing for too long."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(_START_S, self.process.kill)
        watchdog.start()
        try:
            return self.process.stdout.readline().strip()
        finally:
            watchdog.cancel()

    def errors(self) -> str:
        """Return what it wrote to standard error so far."""
        return self._errors.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout_s: float = _STOP_S) -> int:
        """Return its exit status when it ends by itself."""
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        """End it, gently at first."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Server(Child):
    """A child that serves HTTP at `url`."""

    def __init__(self, command: list[str], environ: Mapping[str, str], errors: Path) -> None:
        super().__init__(command, environ, errors)
        self.url = next((word for word in self.first_line.split() if word.startswith(("http://", "https://"))), "")
        parts = urlsplit(self.url)
        self.host, self.port = parts.hostname or "", parts.port or 0

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that the caller closes."""
        if self.url.startswith("https:"):
            import ssl

            anyone = ssl._create_unverified_context()  # noqa: S323  # the emulator's control port, on loopback
            return http.client.HTTPSConnection(self.host, self.port, timeout=60, context=anyone)
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request on a connection of its own; the path goes out as it is, an iterable body in chunks."""
        with contextlib.closing(self.connect()) as connection:
            return exchange(connection, method, path, body, headers)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request on `connection` and read its answer whole."""
    chunked = body is not None and not isinstance(body, bytes)
    extra = {"transfer-encoding": "chunked"} if chunked else {}
    connection.request(method, path, body, {**extra, **(headers or {})}, encode_chunked=chunked)
    response = connection.getresponse()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


ChildT = TypeVar("ChildT", bound=Child)


class Emulator(Server):
    """A running emulator and its control port."""

    def journal(self) -> list[dict[str, Any]]:
        """Return the rows of all calls since the last `clear`, oldest first."""
        page = self.request("GET", "/_emulator/journal").json()
        assert page["dropped"] == 0
        rows: list[dict[str, Any]] = page["rows"]
        return rows

    def clear(self) -> None:
        """Switch all faults off and empty the journal."""
        for collection in ("faults", "journal"):
            assert self.request("DELETE", f"/_emulator/{collection}").status == 200

    def fault(self, name: str, **settings: Any) -> None:
        """Switch a fault on."""
        answer = self.request("POST", "/_emulator/faults", json.dumps({"fault": name, **settings}).encode())
        assert answer.status == 200, answer.body


class Gateway(Server):
    """A running gateway."""

    def embed(self, body: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """POST to /v1/embeddings; what is not bytes is sent as JSON in ASCII, lone surrogates as escapes."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request(
            "POST", "/v1/embeddings", sent, {"content-type": "application/json", **(dict(headers) if headers else {})}
        )

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        text = self.request("GET", "/metrics").body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


class _Launcher:
    """Starts processes, and stops them all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0
        self._stack = contextlib.ExitStack()

    def emulator(self, *options: str) -> Emulator:
        command = [sys.executable, "-m", "bedrock_emulator", "--port", "0", "--exit-with-parent", *options]
        return self._keep(Emulator(command, clean_environ(), self._errors_file()))

    def gateway(self, *options: str, environ: Mapping[str, str]) -> Gateway:
        command = [EMBEDROCK, "serve", "--port", "0", *options]
        return self._keep(Gateway(command, clean_environ() | dict(environ), self._errors_file()))

    def close(self) -> None:
        self._stack.close()

    def _keep(self, child: ChildT) -> ChildT:
        self._stack.callback(child.stop)
        return child

    def _errors_file(self) -> Path:
        self._count += 1
        return self._directory / f"{self._count}.stderr"


@pytest.fixture(scope="session")
def _launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Launcher]:
    launcher = _Launcher(tmp_path_factory.mktemp("processes"))
    try:
        yield launcher
    finally:
        launcher.close()


@pytest.fixture(scope="session")
def emulator(_launcher: _Launcher) -> Emulator:
    """The emulator of the whole run."""
    return _launcher.emulator()


@pytest.fixture(scope="session")
def gateway_with(_launcher: _Launcher, emulator: Emulator) -> StartGateway:
    """Return a gateway to `emulator` with these `EMBEDROCK_…` settings, shared by all tests that want the same."""
    running: dict[frozenset[tuple[str, str]], Gateway] = {}

    def find(**environ: str) -> Gateway:
        key = frozenset(environ.items())
        if key not in running:
            base = _DUMMY_AWS | {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url}
            running[key] = _launcher.gateway(environ=base | environ)
        return running[key]

    return find


@pytest.fixture(scope="session")
def gateway(gateway_with: StartGateway) -> Gateway:
    """The gateway of the whole run: default settings, no keys, to `emulator`."""
    return gateway_with()


@pytest.fixture
def start_emulator(tmp_path: Path) -> Iterator[StartEmulator]:
    """Start emulators with other options; they stop with the test."""
    launcher = _Launcher(tmp_path)
    try:
        yield launcher.emulator
    finally:
        launcher.close()


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Start gateways with options and an environment, to which dummy AWS keys are added; they stop with the test."""
    directory = tmp_path / "gateways"
    directory.mkdir()
    launcher = _Launcher(directory)

    def start(*options: str, aws: bool = True, **environ: str) -> Gateway:
        return launcher.gateway(*options, environ=(_DUMMY_AWS if aws else {}) | environ)

    try:
        yield start
    finally:
        launcher.close()


@pytest.fixture(autouse=True)
def _no_faults_no_journal(request: pytest.FixtureRequest) -> None:
    """Begin each test that uses the shared emulator with none of what the one before left there."""
    if {"emulator", "gateway", "gateway_with", "openai_client", "async_openai_client"} & set(request.fixturenames):
        shared = request.getfixturevalue("emulator")
        if isinstance(shared, Emulator):  # a folder may have an emulator of its own
            shared.clear()


@pytest.fixture(scope="session")
def openai_client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    """The official client, synchronous, with its defaults."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any") as client:
        yield client


@pytest.fixture(scope="session")
async def async_openai_client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, asynchronous, with its defaults."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any") as client:
        yield client


@pytest.fixture(scope="session")
def expected() -> Expected:
    """Return what the emulator embeds `texts` as, computed in this process."""

    def vectors(model: str, texts: Iterable[str], dimensions: int | None = None) -> list[list[float]]:
        if model.startswith("cohere."):
            body: dict[str, Any] = {"input_type": "search_document", "embedding_types": ["float"]}
            held = list(texts)
            runs = [held[start : start + 96] for start in range(0, len(held), 96)]
            return [vector for run in runs for vector in expected_vectors(model, body | {"texts": run})]
        body = {} if dimensions is None else {"dimensions": dimensions}
        return [vector for text in texts for vector in expected_vectors(model, body | {"inputText": text})]

    return vectors


@pytest.fixture(scope="session")
def run_embedrock() -> RunEmbedrock:
    """Run the command to its end; `environ` is added to a clean environment."""

    def run(*arguments: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [EMBEDROCK, *arguments],
            input=stdin,
            capture_output=True,
            env=clean_environ() | environ,
            timeout=_START_S,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and localhost, and its key, as PEM files."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key
