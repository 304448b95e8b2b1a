"""A process of the benchmark: start it on its cores, wait for it, ask for its CPU and memory, stop it.

What is started here is stopped by its process id, children first found through /proc.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.load import LoadError, fetch

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

    def forget_peak(self) -> int:
        """Let the peak of the process's memory begin now; return what it holds."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """Return the most memory the process has held since then."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))

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


def settle(peer: Peer, ready: Callable[[], bool], *, seconds: float) -> Peer:
    """Wait for `peer`, let it come to rest, note its memory; stop it when it does not start."""
    try:
        peer.wait_ready(ready, seconds=seconds)
    except PeerError:
        peer.stop()
        raise
    time.sleep(0.5)
    peer.idle_bytes = peer.memory_bytes()
    return peer
