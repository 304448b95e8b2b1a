"""CPU per request and added latency of the gateway, beside nginx and LiteLLM. `make bench`; bench/README.md explains.

Everything is measured in rounds, and in each round every peer gets its turn: what the machine does meanwhile hits all
of them, and a ratio is taken inside a round. Figures are medians over the rounds.

Exit status: 0 measured (targets missed included), 1 something broke, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from bench import peers
from bench.load import COHERE, TITAN, Load, LoadError, Target, bedrock_body, check, drained, openai_body, paced, wrk
from bench.peers import Upstream
from bench.process import Cores, Peer, PeerError, core_busy_s, pinned
from bench.report import machine, report, save, time_text
from bench.rows import (
    FAN_OUT,
    FAN_OUTS,
    FULL,
    LANES,
    MEMORY,
    PER_S,
    QUICK,
    ROWS,
    START,
    Case,
    Effort,
    Results,
    Row,
    Sample,
)

WARM_UP_S = 0.5


class Bench:
    """The running processes and how to measure with them."""

    def __init__(self, upstream: Upstream, running: dict[str, Peer], cores: Cores, folder: Path) -> None:
        self._upstream = upstream
        self._peers = running
        self._cores = cores
        self._folder = folder

    def cases(self, row: Row, round_: int, effort: Effort) -> list[Case]:
        """Return who is measured in this round of `row`."""
        cases = [Case("direct")]
        cases += [Case("nginx")] if "nginx" in self._peers else []
        if row.name == "titan":
            cases += [Case("workers", "float")]
        name = "gateway" if row.lanes == LANES else "lanes"
        cases += [Case(name, "float"), Case(name, "base64")]
        if "litellm" in self._peers and round_ < effort.litellm_rounds.get(row.name, effort.rounds):
            cases += [Case("litellm", "float"), Case("litellm", "base64")]
        return cases if round_ % 2 == 0 else cases[::-1]

    def measure(self, row: Row, case: Case, round_: int, effort: Effort) -> Sample:
        """Check one answer of the case, load it, and return what it took. Raises LoadError or PeerError."""
        target = self._target(row, case)
        peer = self._peers.get(case.peer)
        self._upstream.set_delay_ms(0)
        size = check(target, self._upstream.cert)
        if round_ == 0:
            self._load(row, case, target, seconds=WARM_UP_S)  # connections open, caches fill
        self._upstream.set_delay_ms(row.delay_ms)
        if peer:
            peer.wait_idle()
        calls, core_s, cpu_s = self._upstream.calls(), self._core_s(), peer.cpu_s() if peer else 0.0
        load = self._load(row, case, target, seconds=effort.seconds)
        cpu_s = peer.cpu_s() - cpu_s if peer else 0.0
        core_s = self._core_s() - core_s
        if peer:
            peer.check_alive()
        if case.peer in ("gateway", "lanes", "workers"):
            _check_calls(row, load, self._upstream.calls() - calls)
        return Sample(
            row=row.name,
            case=case,
            round=round_,
            requests=load.requests,
            wall_s=load.wall_s,
            p50_us=load.p50_us,
            p99_us=load.p99_us,
            cpu_us=cpu_s * 1e6 / load.requests,
            busy=cpu_s / load.wall_s,
            foreign=max(0.0, (core_s - cpu_s) / load.wall_s),
            answer_bytes=size,
        )

    def _core_s(self) -> float:
        return core_busy_s(self._cores.measured)

    def _target(self, row: Row, case: Case) -> Target:
        if case.encoding:
            template = openai_body(row.model, row.texts, case.encoding)
            return Target(f"{self._peers[case.peer].url}/v1/embeddings", template, row.texts)
        base = self._peers[case.peer].url if case.peer in self._peers else self._upstream.url
        texts = 1 if row.model == TITAN else row.texts  # Titan takes one text a call
        return Target(f"{base}/model/{row.model}/invoke", bedrock_body(row.model, texts), texts)

    def _load(self, row: Row, case: Case, target: Target, *, seconds: float) -> Load:
        with pinned(self._cores.others):
            if row.name == "latency":
                kept, trust = row.connections, self._upstream.cert
                return paced(target, per_s=PER_S, connections=kept, seconds=seconds, trust=trust)
            if _is_slow(row, case):
                return drained(target, connections=row.connections, seconds=seconds)
            if row.name not in FAN_OUTS:
                return wrk(target, connections=row.connections, seconds=seconds, folder=self._folder)
            # The load tool fans out itself: so many connections, and as many calls as a gateway makes are one request.
            load = wrk(target, connections=row.lanes, seconds=seconds, folder=self._folder)
            each_us = load.wall_s * FAN_OUT / load.requests * 1e6
            return Load(load.requests / FAN_OUT, load.wall_s, each_us, each_us)


def _is_slow(row: Row, case: Case) -> bool:
    """Return whether a request takes milliseconds, so that those under way at the end would count."""
    match row.name:
        case "titan":
            return case.peer == "litellm"
        case "cohere":
            return case.peer != "direct"
        case "fanout" | "fanout256":
            return case.encoding != ""
        case _:
            return False


def _check_calls(row: Row, load: Load, calls: int) -> None:
    """Raise LoadError unless the gateway called upstream as often as it was asked: no retries, nothing shared."""
    expected = load.requests * row.upstream_calls
    slack = expected * 0.02 + row.connections * row.upstream_calls  # what was under way when the load tool stopped
    if abs(calls - expected) > slack:
        raise LoadError(f"{load.requests:.0f} requests to the gateway made {calls} upstream calls, not {expected:.0f}")


def measure_starts(
    upstream: Upstream, cores: Cores, folder: Path, *, command: str, times: int
) -> list[dict[str, float]]:
    """Start the gateway alone so many times; return wall and CPU seconds to ready, to the first vector, and memory."""
    starts = []
    upstream.set_delay_ms(0)
    for _ in range(times):
        begin = time.perf_counter()
        peer = peers.start_gateway(folder, cores, upstream, command=command, lanes=LANES)
        try:
            settled = time.perf_counter()
            target = Target(f"{peer.url}/v1/embeddings", openai_body(TITAN, 1, "float"), 1)
            check(target, upstream.cert)
            first_s = peer.ready_s + time.perf_counter() - settled
        finally:
            peer.stop()
        starts.append(
            {
                "ready_s": peer.ready_s,
                "ready_cpu_s": peer.ready_cpu_s,
                "vector_s": first_s,
                "idle_bytes": peer.idle_bytes,
            }
        )
        _say(f"start: ready after {peer.ready_s:.2f} s, {time.perf_counter() - begin:.1f} s with rest and stop")
    return starts


def measure_memory(
    upstream: Upstream, cores: Cores, folder: Path, *, command: str, times: int
) -> list[dict[str, float]]:
    """Let requests for 96 vectors each wait together; return the bytes in flight and by how much memory rose."""
    requests = 32
    found: list[dict[str, float]] = []
    for encoding in ("float", "base64") * times:
        upstream.set_delay_ms(0)
        peer = peers.start_gateway(folder, cores, upstream, command=command, lanes=LANES)
        try:
            target = Target(f"{peer.url}/v1/embeddings", openai_body(COHERE, 96, encoding), 96)
            direct = Target(f"{upstream.url}/model/{COHERE}/invoke", bedrock_body(COHERE, 96), 96)
            each = len(target.template) + check(direct, upstream.cert) + check(target, upstream.cert)
            upstream.set_delay_ms(200)
            idle = peer.forget_peak()
            drained(target, connections=requests, seconds=2)
            found.append({"in_flight": requests * each, "rise": peer.peak_bytes() - idle, encoding: 1})
        finally:
            peer.stop()
        rise = found[-1]["rise"] / found[-1]["in_flight"]
        _say(f"memory, {encoding}: {rise:.2f} bytes more for each of {found[-1]['in_flight'] / 1e6:.0f} MB in flight")
    return found


def run(options: argparse.Namespace, effort: Effort, folder: Path) -> Results:
    """Start everything, measure the rows asked for, stop everything."""
    results = Results()
    cores = Cores.split()
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    with ExitStack() as stack:
        upstream = Upstream(folder, cores, digits17=options.digits17)
        stack.callback(upstream.peer.stop)
        versions = {"wrk": _wrk_version(), "gateway": importlib.metadata.version("embedrock")}
        running: dict[str, Peer] = {}

        def keep(name: str, peer: Peer, version: str) -> None:
            stack.callback(peer.stop)
            running[name] = peer
            results.idle_bytes[name], results.ready_s[name] = peer.idle_bytes, peer.ready_s
            versions[name] = version

        if not options.only or START in options.only:
            results.starts = measure_starts(
                upstream, cores, folder, command=options.gateway_command, times=effort.rounds
            )
        if not options.only or MEMORY in options.only:
            results.memory = measure_memory(upstream, cores, folder, command=options.gateway_command, times=2)
        if rows:
            gateway = peers.start_gateway(folder, cores, upstream, command=options.gateway_command, lanes=LANES)
            stack.callback(gateway.stop)
            running["gateway"] = gateway
            for name, used_in, lanes, workers in (("lanes", "fanout256", FAN_OUT, 1), ("workers", "titan", LANES, 2)):
                if any(row.name == used_in for row in rows):
                    running[name] = peers.start_gateway(
                        folder, cores, upstream, command=options.gateway_command, lanes=lanes, workers=workers
                    )
                    stack.callback(running[name].stop)
            nginx = peers.start_nginx(folder, cores, upstream)
            if nginx is None:
                results.skipped.append("nginx: it is not installed")
            else:
                keep("nginx", nginx, peers.nginx_version())
            if options.no_litellm:
                results.skipped.append("LiteLLM: as asked")
            else:
                _keep_litellm(results, keep, folder, cores, upstream)
        print(f"Embedrock benchmark on {machine(cores, versions)}", flush=True)
        print(f"Upstream: canned answers over TLS; medians of {effort.rounds} interleaved rounds.", flush=True)
        for what in results.skipped:
            print(f"Skipped: {what}.", flush=True)
        bench = Bench(upstream, running, cores, folder)
        for row in rows:
            for round_ in range(effort.rounds):
                _measure_round(bench, row, round_, effort, results)
    return results


def _keep_litellm(
    results: Results, keep: Callable[[str, Peer, str], None], folder: Path, cores: Cores, upstream: Upstream
) -> None:
    """Install and start LiteLLM: skip it when it cannot be installed, call it broken when it does not start."""
    try:
        home = peers.install_litellm()
    except PeerError as exc:
        results.skipped.append(str(exc))
        return
    _say("starting LiteLLM's proxy")
    try:
        keep("litellm", peers.start_litellm(home, folder, cores, upstream), peers.litellm_version(home))
    except PeerError as exc:
        results.broken.append(str(exc))


def _measure_round(bench: Bench, row: Row, round_: int, effort: Effort, results: Results) -> None:
    for case in bench.cases(row, round_, effort):
        try:
            sample = bench.measure(row, case, round_, effort)
        except (LoadError, PeerError) as exc:
            results.broken.append(f"{row.name}, {case}, round {round_ + 1}: {exc}")
            _say(results.broken[-1])
            continue
        results.samples.append(sample)
        _say(f"{row.name}, round {round_ + 1}, {case}: CPU {time_text(sample.cpu_us)}, p50 {time_text(sample.p50_us)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _wrk_version() -> str:
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return said.split()[1].removeprefix("debian/") if said.startswith("wrk ") else "?"


def main() -> int:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__.partition("\n")[0])
    names = [*(row.name for row in ROWS), START, MEMORY]
    parser.add_argument("--quick", action="store_true", help="about two minutes: shorter rounds")
    parser.add_argument(
        "--only", action="append", choices=names, metavar="ROW", help=f"one of {', '.join(names)}; may be repeated"
    )
    parser.add_argument("--rounds", type=int, help="rounds, instead of 3")
    parser.add_argument("--no-litellm", action="store_true", help="leave LiteLLM out")
    parser.add_argument("--digits17", action="store_true", help="upstream's Titan numbers with 17 digits")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all figures")
    parser.add_argument(
        "--gateway-command",
        default=f"{Path(sys.executable).parent / 'embedrock'} serve",
        metavar="COMMAND",
        help="what starts the gateway; {port} in it is replaced, else --host and --port are added",
    )
    options = parser.parse_args()
    missing = [tool for tool in ("wrk", "openssl") if shutil.which(tool) is None]
    if missing:
        print(f"The benchmark needs {' and '.join(missing)}; install the package of that name.", file=sys.stderr)
        return 1
    effort = QUICK if options.quick else FULL
    if options.rounds:
        effort = replace(effort, rounds=options.rounds)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that what was started is stopped
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="embedrock-bench-") as folder:
        try:
            results = run(options, effort, Path(folder))
        except (PeerError, LoadError) as exc:
            print(exc, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print("\n".join(report(results)))
    print(f"\n{time.perf_counter() - begin:.0f} s")
    if options.json:
        save(results, options.json)
    return 1 if results.broken else 0


if __name__ == "__main__":
    sys.exit(main())
