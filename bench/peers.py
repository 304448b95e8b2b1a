"""Who is measured: the gateway, nginx and LiteLLM's proxy, and the canned upstream they all stand before.

Every peer is started on the measured core and answers on a free port of 127.0.0.1.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.load import COHERE, TITAN, fetch
from bench.process import ROOT, Cores, Peer, PeerError, answers, free_port, settle, start


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
        "XDG_DATA_HOME": str(folder / "data"),  # where there are no keys
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-credentials"),
    }
    return env | dict(extra)


def start_gateway(
    folder: Path,
    cores: Cores,
    upstream: Upstream,
    *,
    command: str,
    lanes: int,
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
) -> Peer:
    """Start Embedrock in front of `upstream` and wait for its first ready answer."""
    port = free_port()
    words = shlex.split(command)
    words += ["--workers", str(workers)] if workers > 1 else []
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
            **(settings or {}),
        },
        folder,
    )
    url = f"http://127.0.0.1:{port}"
    peer = start(f"gateway-{port}", words, url=url, folder=folder, cores=cores.measured, env=env)
    return settle(peer, answers(f"{url}/health/ready"), seconds=30)


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
    return settle(peer, answers(f"{url}/_bench"), seconds=10)


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
    return settle(peer, answers(f"{url}/health/liveliness"), seconds=120)
