"""A PostgreSQL of a test's own, which it may kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

_START_S = 60.0
#: Fewer processes, and a database that is there at once; how commits become durable stays as it is.
_OPTIONS = ("max_connections=40", "shared_buffers=16MB", "autovacuum=off", "listen_addresses=127.0.0.1")


def find_binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, if there are any."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


class OwnPostgres:
    """A server in `folder`. PostgreSQL does not run as root: there, it runs as nobody."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._data = folder / "data"
        self._user = "nobody" if os.geteuid() == 0 else None
        self._log = folder / "log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(folder, self._user)
        self._run(
            "initdb", "--username", "embedrock", "--auth", "trust", "--no-sync", "--pgdata", str(self._data)
        ).wait()

    @property
    def url(self) -> str:
        return f"postgresql://embedrock@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it, as often as it takes: what a killed one left may be in the way for a moment."""
        options = [word for option in (*_OPTIONS, f"port={self._port}") for word in ("-c", option)]
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            self._process = self._run("postgres", "-D", str(self._data), "-k", str(self._data), *options)
            while self._process.poll() is None and time.monotonic() < until:
                with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
                    return
                time.sleep(0.05)
        raise AssertionError(self._log.read_text()[-2000:])

    def kill(self) -> None:
        """Kill it, without a word; its children end by themselves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [self._binaries / program, *arguments], stdout=log, stderr=log, user=self._user, cwd=self._data.parent
            )


@contextlib.contextmanager
def own_postgres(binaries: Path, folder: Path) -> Iterator[OwnPostgres]:
    """Run a server until the end of the block. `folder` and those above it have to be open to all."""
    server = OwnPostgres(binaries, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
