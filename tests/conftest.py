"""Gateway and emulator as real processes over real sockets, and clients that point at them.

Nothing of this machine reaches them: their environment holds no `AWS_*` or `EMBEDROCK_*` variable but the ones given
here. Processes are stopped by their own pid. The processes of `emulator` and `gateway` are shared by the whole run;
what a test leaves in the emulator is gone before the next.

`bedrock_body` says, apart from the gateway's code, what the gateway has to send for an input; `expected` what the
emulator makes of that. It is one long module because pytest looks for all of this in one place.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
import uuid
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

import boto3
import hypothesis
import openai
import psycopg
import pytest
import redis
from PIL import Image
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
_DATA = tempfile.TemporaryDirectory(prefix="embedrock-tests-")  # gone with this process
_SEALED = {
    "XDG_DATA_HOME": _DATA.name,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
_DUMMY_AWS = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIATEST",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "EMBEDROCK_SWEEP": "false",  # it comes when it comes, and would stand in the journals of others
}

# Read before the environment is sealed.
_POSTGRES_URL = os.environ.get("EMBEDROCK_TEST_POSTGRES_URL") or "postgresql://postgres@127.0.0.1:5432/test"
_REDIS_URL = os.environ.get("EMBEDROCK_TEST_REDIS_URL") or "redis://127.0.0.1:6379"
_REQUIRE_SERVICES = bool(os.environ.get("EMBEDROCK_TEST_REQUIRE_SERVICES"))

BedrockBody: TypeAlias = Callable[..., dict[str, Any]]
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

    def refusal(self) -> tuple[str | None, str | None]:
        """Return param and code of a 400, after checking that clients are told not to try it again."""
        assert self.status == 400, self.body[:500]
        error = self.error()
        assert error["type"] == "invalid_request_error"
        assert self.headers["x-should-retry"] == "false"
        return error["param"], error["code"]

    def items(self) -> list[dict[str, Any]]:
        """Return the items of `data`, after checking what is around them."""
        assert self.status == 200, self.body[:500]
        members = self.json()
        assert members.keys() == {"object", "data", "model", "usage"}
        assert members["object"] == "list"
        assert {item["object"] for item in members["data"]} == {"embedding"}
        found: list[dict[str, Any]] = members["data"]
        return found

    def vectors(self) -> list[list[float]]:
        """Return the vectors, after checking that they are one an input and in order."""
        items = self.items()
        assert [item["index"] for item in items] == list(range(len(items)))
        assert all(item.keys() == {"object", "index", "embedding"} for item in items)
        return [item["embedding"] for item in items]

    def packed(self) -> list[bytes]:
        """Return the vectors of a base64 answer, as they are packed."""
        return [b64decode(vector, validate=True) for vector in self.vectors()]  # type: ignore[arg-type]  # strings

    def check_usage(self, rows: Iterable[Mapping[str, Any]], uncounted: Iterable[str] = ()) -> None:
        """Check that the usage is what the calls in `rows`, the journal's, were counted.

        `uncounted`: the texts of calls for which Bedrock counts no tokens; they are a quarter of their characters.
        """
        counts = [row["tokens"] for row in rows if row["op"] == "InvokeModel" and row["status"] == 200]
        tokens = sum(filter(None, counts)) + sum(max(1, -(-len(text) // 4)) for text in uncounted)
        assert self.json()["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
        assert self.headers["x-embedrock-usage"] == ("estimated" if None in counts else "reported")


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
    return received(connection)


def received(connection: http.client.HTTPConnection) -> Answer:
    """Return the answer to the request that was sent on `connection`."""
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

    def bodies(self, op: str = "InvokeModel") -> list[dict[str, Any]]:
        """Return the bodies of all calls of an operation since the last `clear`, oldest first."""
        return [json.loads(row["request_body"]) for row in self.journal() if row["op"] == op]

    def clear(self) -> None:
        """Switch faults, guardrails, quotas and latency off, take any signature, and empty the journal."""
        with contextlib.closing(self.connect()) as connection:
            for collection in (
                "faults",
                "guardrails",
                "credentials",
                "quotas",
                "latency",
                "async",
                "buckets",
                "journal",
            ):
                assert exchange(connection, "DELETE", f"/_emulator/{collection}").status == 200

    def fault(self, name: str, **settings: Any) -> None:
        """Switch a fault on."""
        self._post("faults", {"fault": name, **settings})

    def fired(self) -> int:
        """Return how many calls the faults that are on have struck."""
        return sum(entry["fired"] for entry in self.request("GET", "/_emulator/faults").json()["faults"])

    def quota(self, **settings: Any) -> None:
        """Limit model calls from now on."""
        self._post("quotas", settings)

    def throttled(self) -> int:
        """Return how many calls the quotas have refused."""
        quotas: list[dict[str, Any]] = self.request("GET", "/_emulator/quotas").json()["quotas"]
        return sum(quota["throttled"] for quota in quotas)

    def latency(self, **settings: Any) -> None:
        """Let model calls take this time from now on."""
        self._post("latency", settings)

    def guardrail(self, **settings: Any) -> None:
        """Make a guardrail."""
        self._post("guardrails", settings)

    def credentials(self, **settings: Any) -> None:
        """Check signatures from now on, against these keys."""
        self._post("credentials", settings)

    def bucket(self, name: str) -> None:
        """Make an empty bucket."""
        self._post("buckets", {"name": name})

    def _post(self, collection: str, members: Mapping[str, Any]) -> None:
        answer = self.request("POST", f"/_emulator/{collection}", json.dumps(members).encode())
        assert answer.status == 200, answer.body


class Gateway(Server):
    """A running gateway."""

    def embed(self, body: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """POST to /v1/embeddings; what is not bytes is sent as JSON in ASCII, lone surrogates as escapes."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request(
            "POST", "/v1/embeddings", sent, {"content-type": "application/json", **(dict(headers) if headers else {})}
        )

    @contextlib.contextmanager
    def asked(self, *bodies: Mapping[str, Any]) -> Iterator[Callable[[], list[Answer]]]:
        """Send these to /v1/embeddings within a few milliseconds, each over a connection of its own.

        Yields what waits for the answers and returns them; who does not call it hangs up.
        """
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(contextlib.closing(self.connect())) for _ in bodies]
            for connection in connections:
                connection.connect()
            for connection, body in zip(connections, bodies, strict=True):
                sent = json.dumps(body).encode()
                connection.request("POST", "/v1/embeddings", sent, {"content-type": "application/json"})
            yield lambda: [received(connection) for connection in connections]

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
            base = _DUMMY_AWS | {
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url,
                "AWS_ENDPOINT_URL_S3": emulator.url,
            }
            running[key] = _launcher.gateway(environ=base | environ)
        return running[key]

    return find


@pytest.fixture
def media_bucket(emulator: Emulator) -> Iterator[Any]:
    """Return boto3's client of the emulator's S3, in which there is an empty bucket `media`."""
    client = boto3.client(
        "s3",
        endpoint_url=emulator.url,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="test-secret",
        region_name="us-east-1",
    )
    try:
        client.create_bucket(Bucket="media")
        yield client
    finally:
        client.close()


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


@pytest.fixture
def own_gateway(start_gateway: StartGateway, emulator: Emulator) -> Gateway:
    """A gateway to `emulator` for this test alone: for a while, one remembers that Bedrock failed or throttled."""
    return start_gateway(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=emulator.url, AWS_ENDPOINT_URL_S3=emulator.url)


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


def _bedrock_body(model: str, item: str, dimensions: int | None = None) -> dict[str, Any]:
    """Return the InvokeModel body for a text, or for a picture or clip as a data URI, when nothing else is said."""
    head, _, base64 = item.partition(";base64,") if item.startswith("data:") else ("", "", "")
    kind, _, form = head.removeprefix("data:").partition("/")
    match model:
        case "amazon.titan-embed-text-v1" | "amazon.titan-embed-g1-text-02":
            return {"inputText": item}
        case "amazon.titan-embed-text-v2:0":
            return {"inputText": item} | ({"dimensions": dimensions} if dimensions else {})
        case "amazon.titan-embed-image-v1":
            body: dict[str, Any] = {"inputImage": base64} if kind else {"inputText": item}
            return body | ({"embeddingConfig": {"outputEmbeddingLength": dimensions}} if dimensions else {})
        case "amazon.nova-2-multimodal-embeddings-v1:0":
            mode = {"embeddingMode": "AUDIO_VIDEO_COMBINED"} if kind == "video" else {}
            medium: dict[str, Any] = {"format": form, "source": {"bytes": base64}, **mode}
            params: dict[str, Any] = {kind: medium} if kind else {"text": {"truncationMode": "NONE", "value": item}}
            params |= {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": dimensions or 3072}
            return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}
        case "cohere.embed-english-v3" | "cohere.embed-multilingual-v3" if kind:
            return {"images": [item], "input_type": "image", "embedding_types": ["float"]}
        case "cohere.embed-english-v3" | "cohere.embed-multilingual-v3" | "cohere.embed-v4:0":
            common: dict[str, Any] = {"input_type": "search_document", "truncate": "NONE", "embedding_types": ["float"]}
            size = {"output_dimension": dimensions} if dimensions and "v4" in model else {}
            return {"images" if kind else "texts": [item]} | common | size
        case "twelvelabs.marengo-embed-2-7-v1:0":
            if kind:
                return {"inputType": "image", "mediaSource": {"base64String": base64}}
            return {"inputType": "text", "inputText": item, "textTruncate": "none"}
        case "twelvelabs.marengo-embed-3-0-v1:0":
            if kind:
                return {"inputType": "image", "image": {"mediaSource": {"base64String": base64}}}
            return {"inputType": "text", "text": {"inputText": item}}
    raise KeyError(model)


@pytest.fixture(scope="session")
def bedrock_body() -> BedrockBody:
    """Return the InvokeModel body that an input of a model has to become, alone in its call."""
    return _bedrock_body


@pytest.fixture(scope="session")
def expected() -> Expected:
    """Return what the emulator embeds texts, pictures and clips as, computed in this process."""

    def vectors(model: str, items: Iterable[str], dimensions: int | None = None) -> list[list[float]]:
        return [vector for item in items for vector in expected_vectors(model, _bedrock_body(model, item, dimensions))]

    return vectors


def _data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{b64encode(data).decode()}"


@pytest.fixture(scope="session")
def pictures() -> dict[str, str]:
    """Small pictures as data URIs, all different, by Bedrock's name of their format."""
    found = {}
    for number, form in enumerate(("png", "jpeg", "gif", "webp")):
        out = io.BytesIO()
        image = Image.new("RGB", (24, 16), (250 - 60 * number, 40 * number, 90))
        image.paste((255, 255, 40 * number), (0, 0, 6 + 3 * number, 8))
        image.save(out, form)
        found[form] = _data_uri(f"image/{form}", out.getvalue())
    return found


@pytest.fixture(scope="session")
def clips() -> dict[str, str]:
    """The beginnings of a film and of a sound as data URIs, by Bedrock's name of their format."""
    film = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(range(64))
    return {"mp4": _data_uri("video/mp4", film), "ogg": _data_uri("audio/ogg", b"OggS\0\x02" + bytes(range(58)))}


@pytest.fixture(scope="session")
def require_services() -> bool:
    """Whether a test that finds no database fails, rather than to be skipped."""
    return _REQUIRE_SERVICES


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A schema of the PostgreSQL at EMBEDROCK_TEST_POSTGRES_URL, gone after the run, as is each that begins like it."""
    schema = f"embedrock_test_{uuid.uuid4().hex}"
    try:
        connection = psycopg.connect(_POSTGRES_URL, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError:
        if _REQUIRE_SERVICES:
            raise
        pytest.skip("no PostgreSQL at EMBEDROCK_TEST_POSTGRES_URL: what needs it is NOT tested")
    with connection:
        yield f"{_POSTGRES_URL}?schema={schema}"
        made = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", [schema]
        ).fetchall()
        for (name,) in made:
            connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of this test's own, on either engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'embedrock.db'}"
        return
    url: str = request.getfixturevalue("postgres_url")

    def empty() -> None:
        with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {url.rpartition('=')[2]} CASCADE")

    empty()  # a module's gateway may have used it before
    yield url
    empty()


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The Redis at EMBEDROCK_TEST_REDIS_URL, which others use too."""
    try:
        with redis.Redis.from_url(_REDIS_URL, socket_connect_timeout=5) as client:
            client.ping()
    except redis.RedisError:
        if _REQUIRE_SERVICES:
            raise
        pytest.skip("no Redis at EMBEDROCK_TEST_REDIS_URL: what needs it is NOT tested")
    return _REDIS_URL


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
