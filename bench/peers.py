"""The processes of the benchmark: start, ask for CPU and memory, stop.

Every peer is started on the measured core and answers on a free port of 127.0.0.1. What is started here is stopped by
its process id, children first found through /proc.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.load import COHERE, TITAN, LoadError, fetch

ROOT = Path(__file__).resolve().parent.parent
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class PeerError(Exception):
    """A process of the benchmark did not start or ended too early."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores do what; empty when there is only one and nothing is pinned."""

    measured: frozenset[int]
    others: frozenset[int]

    @classmethod
    def split(cls) -> Cores:
        """Return the second core for what is measured and the rest for load tool and upstream."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            return cls(frozenset(), frozenset())
        return cls(frozenset({usable[1]}), frozenset(usable) - {usable[1]})


def core_busy_s(cores: frozenset[int]) -> float:
    """Return how long `cores` have worked for anybody, since the machine started; 0 for none."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.removeprefix("cpu").isdigit() and int(name.removeprefix("cpu")) in cores:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            total += user + nice + system + irq + softirq + steal
    return total * _TICK_S


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Run the block, and what it starts, on `cores`."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the name before may hold blanks; [0] is the state, [1] the parent


class Peer:
    """A running process and its children."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], *, url: str, log: Path) -> None:
        self.name = name
        self.url = url
        self._process = process
        self._log = log
        self._started = time.perf_counter()
        self.ready_s = 0.0
        self.ready_cpu_s = 0.0
        self.idle_bytes = 0

    def tree(self) -> list[int]:
        """Return the process ids of the process and all below it."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
                parents[int(entry.name)] = int(stat[1])
        found = [self._process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu_s(self) -> float:
        """Return user and system time so far, of the tree and of its children that have ended."""
        ticks = 0
        for pid in self.tree():
            stat = _stat(pid)
            if stat is not None:
                ticks += sum(int(field) for field in stat[11:15])
        return ticks * _TICK_S

    def memory_bytes(self) -> int:
        """Return the proportional set size of the tree."""
        total = 0
        for pid in self.tree():
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def wait_ready(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `ready` says so; remember how long it took and the CPU it cost."""
        while not ready():
            if self._process.poll() is not None or time.perf_counter() - self._started > seconds:
                raise PeerError(f"{self.name} did not get ready; its last words:\n{self.last_words()}")
            time.sleep(0.005)
        self.ready_s = time.perf_counter() - self._started
        self.ready_cpu_s = self.cpu_s()

    def wait_idle(self) -> None:
        """Wait until the process does next to nothing: a load that ended by the clock leaves work behind."""
        before = self.cpu_s()
        for _ in range(200):
            time.sleep(0.05)
            now = self.cpu_s()
            if now - before < 0.02:
                return
            before = now
        raise PeerError(f"{self.name} does not come to rest")

    def check_alive(self) -> None:
        """Raise PeerError when the process has ended."""
        if self._process.poll() is not None:
            raise PeerError(f"{self.name} ended with {self._process.returncode}; its last words:\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what the process printed."""
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    def stop(self) -> None:
        """End the process and its children: ask, wait, insist."""
        below = self.tree()[1:]
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, 15)


def start(
    name: str,
    command: Sequence[str],
    *,
    url: str,
    folder: Path,
    cores: frozenset[int],
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> Peer:
    """Start a process on `cores`, with what it prints in a file of `folder`."""
    log = folder / f"{name}.log"
    with pinned(cores), log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    return Peer(name, process, url=url, log=log)


def answers(url: str) -> Callable[[], bool]:
    """Return a function that says whether a GET of `url` is a 200 now."""

    def ready() -> bool:
        try:
            fetch(url, timeout_s=2)
        except LoadError:
            return False
        return True

    return ready


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1 with the `openssl` command; return it and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    made = subprocess.run(
        [*command, "-keyout", str(key), "-out", str(cert)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise PeerError(f"openssl made no certificate: {made.stderr}")
    return cert, key


class Upstream:
    """The canned Bedrock runtime in its own process."""

    def __init__(self, folder: Path, cores: Cores, *, digits17: bool) -> None:
        self.cert, key = make_certificate(folder)
        self.tls_port, plain_port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.tls_port}"
        self._control = f"http://127.0.0.1:{plain_port}/_bench"
        command = [sys.executable, "-m", "bench.upstream", "--tls-port", str(self.tls_port)]
        command += ["--plain-port", str(plain_port), "--cert", str(self.cert), "--key", str(key)]
        command += ["--digits17"] if digits17 else []
        self.peer = start("upstream", command, url=self.url, folder=folder, cores=cores.others)
        try:
            self.peer.wait_ready(answers(self._control), seconds=20)
        except PeerError:
            self.peer.stop()
            raise

    def calls(self) -> int:
        """Return how many invocations it has answered or is about to answer."""
        return int(json.loads(fetch(self._control))["calls"])

    def set_delay_ms(self, delay_ms: int) -> None:
        """Make every answer from now on wait so long."""
        fetch(self._control, json.dumps({"delay_ms": delay_ms}).encode())


def child_env(extra: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment without settings of the user's that could change what is measured."""
    foreign = ("AWS_", "EMBEDROCK_", "LITELLM_", "DEFAULT_MODEL_PARAMS", "DATABASE_URL", "SSL_", "PYTHON")
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and not name.lower().endswith("_proxy")
    }
    env |= {
        "AWS_ACCESS_KEY_ID": "AKIABENCHBENCHBENCH0",
        "AWS_SECRET_ACCESS_KEY": "benchmark-dummy",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-credentials"),
    }
    return env | dict(extra)


def start_gateway(folder: Path, cores: Cores, upstream: Upstream, *, command: str, lanes: int) -> Peer:
    """Start Embedrock in front of `upstream` and wait for its first ready answer."""
    port = free_port()
    words = shlex.split(command)
    if "{port}" in command:
        words = [word.replace("{port}", str(port)) for word in words]
    else:
        words += ["--host", "127.0.0.1", "--port", str(port)]
    env = child_env(
        {
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": upstream.url,
            "AWS_CA_BUNDLE": str(upstream.cert),
            "EMBEDROCK_LANES": str(lanes),
            "XDG_DATA_HOME": str(folder / f"data-{port}"),  # what it stores by default, it stores here
            "HOME": str(folder),
        },
        folder,
    )
    url = f"http://127.0.0.1:{port}"
    peer = start("gateway", words, url=url, folder=folder, cores=cores.measured, env=env)
    return _settled(peer, answers(f"{url}/health/ready"), seconds=30)


def start_nginx(folder: Path, cores: Cores, upstream: Upstream) -> Peer | None:
    """Start nginx as a reverse proxy of `upstream` with one worker; None when it is not installed."""
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        return None
    port = free_port()
    home = folder / "nginx"
    home.mkdir()
    config = home / "nginx.conf"
    config.write_text(_NGINX.format(home=home, port=port, upstream_port=upstream.tls_port, cert=upstream.cert))
    url = f"http://127.0.0.1:{port}"
    command = [binary, "-p", str(home), "-e", str(home / "error.log"), "-c", str(config)]
    if os.geteuid() == 0:  # the worker stays root: another user could not enter the private folder
        command += ["-g", "user root;"]
    peer = start("nginx", command, url=url, folder=folder, cores=cores.measured, env=os.environ | _NGINX_MALLOC)
    return _settled(peer, answers(f"{url}/_bench"), seconds=10)


def nginx_version() -> str:
    """Return nginx's version, as it says it."""
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or "nginx"
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False).stderr
    return said.strip().rpartition("/")[2]


# One worker, upstream connections kept and verified, TLS as the gateway speaks it, answers in memory whatever their
# size, no access log: the cheapest nginx that does the gateway's job on the wire.
_NGINX = """
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  client_body_buffer_size 256k;
  keepalive_requests 1000000;
  upstream bedrock {{
    server 127.0.0.1:{upstream_port};
    keepalive 128;
    keepalive_requests 1000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass https://bedrock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_verify on;
      proxy_ssl_name localhost;
      proxy_ssl_trusted_certificate {cert};
      proxy_buffer_size 32k;
      proxy_buffers 64 32k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"""


# After small answers glibc may give the buffers of each large one back to the kernel, only to fetch them again: up to
# 200 page faults and a third more CPU per Cohere answer, in some processes and not in others. Kept, they cost nothing.
_NGINX_MALLOC = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "33554432"}


def install_litellm() -> Path:
    """Install LiteLLM's proxy from the pinned, hashed requirements into its own environment; return its folder."""
    home = ROOT / ".venv" / "litellm"
    pins = ROOT / "requirements" / "litellm.txt"
    stamp, wanted = home / "pins", hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return home
    print("installing LiteLLM's proxy into .venv/litellm, once; this takes a minute", file=sys.stderr)
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [*pip, "--require-hashes", "-r", str(pins)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no reason given"]
            raise PeerError(f"LiteLLM cannot be installed: {said[-1]}")
    stamp.write_text(wanted)
    return home


def litellm_version(home: Path) -> str:
    """Return the version of LiteLLM that is installed in `home`."""
    ask = "import importlib.metadata as m; print(m.version('litellm'))"
    said = subprocess.run([str(home / "bin" / "python"), "-c", ask], capture_output=True, text=True, check=False)
    return said.stdout.strip()


def start_litellm(home: Path, folder: Path, cores: Cores, upstream: Upstream) -> Peer:
    """Start LiteLLM's proxy in front of `upstream`, one worker, no database; wait for its first live answer."""
    port = free_port()
    entries = [
        {
            "model_name": model,
            "litellm_params": {
                "model": f"bedrock/{model}",
                "aws_bedrock_runtime_endpoint": upstream.url,
                "aws_access_key_id": "AKIABENCHBENCHBENCH0",
                "aws_secret_access_key": "benchmark-dummy",
                "aws_region_name": "us-east-1",
            },
        }
        for model in (TITAN, COHERE)
    ]
    config = folder / "litellm.yaml"
    config.write_text(json.dumps({"model_list": entries, "litellm_settings": {"telemetry": False}}))  # JSON is YAML
    env = child_env(
        {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # the gateway runs without keys, too
            "SSL_CERT_FILE": str(upstream.cert),
            "PATH": f"{home / 'bin'}:{os.environ.get('PATH', '')}",
        },
        folder,
    )
    command = [str(home / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", "1"]
    url = f"http://127.0.0.1:{port}"
    peer = start("litellm", command, url=url, folder=folder, cores=cores.measured, env=env, cwd=folder)  # reads .env
    return _settled(peer, answers(f"{url}/health/liveliness"), seconds=120)


def _settled(peer: Peer, ready: Callable[[], bool], *, seconds: float) -> Peer:
    """Wait for `peer`, let it come to rest, note its memory; stop it when it does not start."""
    try:
        peer.wait_ready(ready, seconds=seconds)
    except PeerError:
        peer.stop()
        raise
    time.sleep(0.5)
    peer.idle_bytes = peer.memory_bytes()
    return peer
