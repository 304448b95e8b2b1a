"""CPU per request and added latency of the gateway, beside nginx and LiteLLM. `make bench`; bench/README.md explains.

Everything is measured in rounds, and in each round every peer gets its turn: what the machine does meanwhile hits all
of them, and a ratio is taken inside a round. Figures are medians over the rounds.

Exit status: 0 measured (targets missed included), 1 something broke, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bench import peers
from bench.load import COHERE, TITAN, Load, LoadError, Target, bedrock_body, check, drained, openai_body, wrk
from bench.peers import Cores, Peer, PeerError, Upstream

LANES = 64
DELAY_MS = 50
WARM_UP_S = 0.5
FAN_OUT = 256
IDEAL_S = math.ceil(FAN_OUT / LANES) * DELAY_MS / 1000
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured: what is asked, by how many connections, how often upstream is called for it."""

    name: str
    title: str
    model: str
    texts: int
    connections: int
    upstream_calls: int = 1
    delay_ms: int = 0


ROWS = (
    Row("titan", "One text, Titan v2, 32 connections", TITAN, 1, 32),
    Row("cohere", "96 texts, cohere.embed-english-v3, 32 connections", COHERE, 96, 32),
    Row(
        "fanout",
        f"{FAN_OUT} texts, Titan v2, {LANES} lanes, upstream answers after {DELAY_MS} ms, 1 connection "
        f"(ideal: {IDEAL_S * 1000:.0f} ms)",
        TITAN,
        FAN_OUT,
        1,
        upstream_calls=FAN_OUT,
        delay_ms=DELAY_MS,
    ),
    Row("latency", "Added latency, one text, Titan v2, 1 connection, closed loop", TITAN, 1, 1),
)
START = "start"


@dataclass(frozen=True, slots=True)
class Case:
    """Who is asked, and in which encoding; direct and nginx get Bedrock's own request, which has none."""

    peer: str
    encoding: str = ""

    def __str__(self) -> str:
        return f"{self.peer} {self.encoding}".rstrip()


@dataclass(frozen=True, slots=True)
class Sample:
    """What one case gave in one round of a row."""

    row: str
    case: Case
    round: int
    requests: float
    wall_s: float
    p50_us: float
    p99_us: float
    cpu_us: float  # a request; 0 for direct, which has no process of its own
    busy: float  # share of a core
    foreign: float  # share of the measured core that others took meanwhile
    answer_bytes: int


@dataclass(frozen=True, slots=True)
class Effort:
    """How often and how long to measure each case."""

    rounds: int
    seconds: float
    litellm_rounds: dict[str, int]  # by row, where one of its requests takes so long that not every round can have it


FULL = Effort(3, 4, {"fanout": 1})
QUICK = Effort(3, 1, {"fanout": 1, "cohere": 1})


@dataclass(slots=True)
class Results:
    """Everything measured, and everything that went wrong."""

    samples: list[Sample] = field(default_factory=list)
    starts: list[dict[str, float]] = field(default_factory=list)
    idle_bytes: dict[str, int] = field(default_factory=dict)
    ready_s: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def cases(self, row: str) -> list[Case]:
        """Return the cases measured in `row`, in the order they were."""
        return list(dict.fromkeys(sample.case for sample in self.samples if sample.row == row))

    def of(self, row: str, case: Case) -> list[Sample]:
        """Return the samples of one case, by round."""
        return [sample for sample in self.samples if (sample.row, sample.case) == (row, case)]

    def ratio(self, row: str, above: Case, below: Case, value: Callable[[Sample], float]) -> float | None:
        """Return the median over the rounds of one case's value divided by the other's; None where either lacks."""
        lower = {sample.round: value(sample) for sample in self.of(row, below)}
        pairs = [value(s) / lower[s.round] for s in self.of(row, above) if lower.get(s.round)]
        return statistics.median(pairs) if pairs else None


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
        cases += [Case("gateway", "float"), Case("gateway", "base64")]
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
        if case.peer == "gateway":
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
        return peers.core_busy_s(self._cores.measured)

    def _target(self, row: Row, case: Case) -> Target:
        if case.encoding:
            template = openai_body(row.model, row.texts, case.encoding)
            return Target(f"{self._peers[case.peer].url}/v1/embeddings", template, row.texts)
        base = self._peers[case.peer].url if case.peer in self._peers else self._upstream.url
        texts = 1 if row.model == TITAN else row.texts  # Titan takes one text a call
        return Target(f"{base}/model/{row.model}/invoke", bedrock_body(row.model, texts), texts)

    def _load(self, row: Row, case: Case, target: Target, *, seconds: float) -> Load:
        with peers.pinned(self._cores.others):
            if _is_slow(row, case):
                return drained(target, connections=row.connections, seconds=seconds)
            if row.name != "fanout":
                return wrk(target, connections=row.connections, seconds=seconds, folder=self._folder)
            # The load tool fans out itself: so many connections, and as many calls as a gateway makes are one request.
            load = wrk(target, connections=LANES, seconds=seconds, folder=self._folder)
            each_us = load.wall_s * FAN_OUT / load.requests * 1e6
            return Load(load.requests / FAN_OUT, load.wall_s, each_us, each_us)


def _is_slow(row: Row, case: Case) -> bool:
    """Return whether a request takes milliseconds, so that those under way at the end would count."""
    match row.name:
        case "titan":
            return case.peer == "litellm"
        case "cohere":
            return case.peer != "direct"
        case "fanout":
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


# -- the report ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Goal:
    """A target, what was measured, and whether the one meets the other."""

    text: str
    unit: str
    measured: float | None
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Return whether it is met; None when it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        word = {True: "met   ", False: "MISSED", None: "-     "}[self.met]
        sign = ">=" if self.at_least else "<="
        measured = "not measured" if self.measured is None else f"{self.measured:.2f}{self.unit}"
        return f"  {word}  {self.text}: {measured} (target {sign} {self.limit:g}{self.unit})"


def goals(results: Results) -> list[Goal]:
    """Return the targets of the first performance step, with what was measured."""
    nginx = Case("nginx")
    found = []
    for row, title, limits in (("titan", "one Titan text", (2.2, 2.6)), ("cohere", "96 Cohere texts", (1.3, 2.5))):
        for encoding, limit in zip(("float", "base64"), limits, strict=True):
            ratio = results.ratio(row, Case("gateway", encoding), nginx, _cpu)
            found.append(Goal(f"CPU v nginx, {title}, {encoding}", " x", ratio, limit))
    for encoding in ("float", "base64"):
        ratio = results.ratio("titan", Case("litellm", encoding), Case("gateway", encoding), _cpu)
        found.append(Goal(f"CPU less than LiteLLM, one Titan text, {encoding}", " x", ratio, 60, at_least=True))
    for encoding in ("float", "base64"):
        share = _median(results.of("fanout", Case("gateway", encoding)), _share)
        percent = None if share is None else share * 100
        found.append(Goal(f"fan-out, share of the ideal, {encoding}", " %", percent, 85, at_least=True))
    starts = results.starts
    idle = statistics.median(s["idle_bytes"] for s in starts) / MB if starts else None
    ready = statistics.median(s["ready_s"] for s in starts) if starts else None
    found.append(Goal("idle memory, PSS of the process tree", " MB", idle, 80))
    found.append(Goal("start to the first ready answer", " s", ready, 1))
    return found


def _share(sample: Sample) -> float:
    return IDEAL_S * 1e6 / sample.p50_us


def _median(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float | None:
    return statistics.median(map(value, samples)) if samples else None


def _time(us: float) -> str:
    if us < 10_000:
        return f"{us:,.0f} us"
    return f"{us / 1000:,.1f} ms" if us < 10_000_000 else f"{us / 1_000_000:,.1f} s"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f} x"


def report(results: Results) -> Iterator[str]:
    """Yield the lines of the report: a table a row, then the targets."""
    for row in ROWS:
        cases = sorted(
            results.cases(row.name), key=lambda case: ["direct", "nginx", "gateway", "litellm"].index(case.peer)
        )
        if cases:
            yield ""
            yield row.title
            yield from _table(row, results, cases)
            yield from _noise(row, results)
    if results.starts or results.ready_s:
        yield ""
        yield "Start and memory"
    if results.starts:
        middle = {name: statistics.median(s[name] for s in results.starts) for name in results.starts[0]}
        yield (
            f"  gateway: ready after {middle['ready_s']:.2f} s ({middle['ready_cpu_s']:.2f} s CPU), first vector after "
            f"{middle['vector_s']:.2f} s, idle PSS {middle['idle_bytes'] / MB:.1f} MB; {len(results.starts)} starts"
        )
    for name, seconds in results.ready_s.items():
        yield f"  {name}: ready after {seconds:.2f} s, idle PSS {results.idle_bytes[name] / MB:.1f} MB"
    yield ""
    yield "Targets"
    yield from map(str, goals(results))
    for what in results.broken:
        yield f"  BROKEN  {what}"


def _table(row: Row, results: Results, cases: Sequence[Case]) -> Iterator[str]:
    heads: list[str] = [
        "",
        "CPU a request",
        "(min - max)",
        "v nginx",
        "LiteLLM v it",
        "requests/s",
        "busy",
        "p50",
        "p99",
    ]
    heads += {"fanout": ["of the ideal"], "latency": ["added p50", "added p99"]}.get(row.name, [])
    lines = [[*heads, "answer"]]
    direct, nginx = results.of(row.name, Case("direct")), Case("nginx")
    for case in cases:
        samples = results.of(row.name, case)
        cpus = [sample.cpu_us for sample in samples]
        litellm = Case("litellm", case.encoding or "float")
        process = case.peer != "direct"
        line = [
            str(case),
            _time(statistics.median(cpus)) if process else "-",
            f"({_time(min(cpus))} - {_time(max(cpus))})" if process else "-",
            _times(results.ratio(row.name, case, nginx, _cpu)) if process else "-",
            _times(results.ratio(row.name, litellm, case, _cpu)) if process else "-",
            f"{statistics.median(s.requests / s.wall_s for s in samples):,.1f}",
            f"{statistics.median(s.busy for s in samples):.0%}" if process else "-",
            _time(statistics.median(s.p50_us for s in samples)),
            _time(statistics.median(s.p99_us for s in samples)),
        ]
        if row.name == "fanout":
            line.append(f"{statistics.median(map(_share, samples)):.1%}")
        if row.name == "latency":
            below = {s.round: s for s in direct}
            both = [(s, below[s.round]) for s in samples if s.round in below]
            line.append(_time(statistics.median(s.p50_us - d.p50_us for s, d in both)) if process and both else "-")
            line.append(_time(statistics.median(s.p99_us - d.p99_us for s, d in both)) if process and both else "-")
        lines.append([*line, f"{samples[0].answer_bytes / 1000:,.1f} KB"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        rest = (text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))
        yield "  " + "  ".join([line[0].ljust(widths[0]), *rest])


def _noise(row: Row, results: Results) -> Iterator[str]:
    samples = [sample for sample in results.samples if sample.row == row.name]
    foreign = statistics.mean(sample.foreign for sample in samples)
    if foreign > 0.1:
        yield f"  noisy: others took {foreign:.0%} of the measured core; trust CPU ratios only, and not much"


def _cpu(sample: Sample) -> float:
    return sample.cpu_us


def machine(cores: Cores, versions: dict[str, str]) -> str:
    """Return one line on where this runs."""
    about = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in about if line.startswith("model name")), "?")
    pinning = "not pinned (one core)"
    if cores.measured:
        pinning = f"measured process on core {_list(cores.measured)}, load tool and upstream on {_list(cores.others)}"
    parts = [f"{os.cpu_count()} cores ({model})", f"Linux {platform.release()}", f"Python {platform.python_version()}"]
    parts += [f"{name} {version}" for name, version in versions.items()]
    return f"{', '.join(parts)}; {pinning}"


def _list(cores: frozenset[int]) -> str:
    return ",".join(map(str, sorted(cores)))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- the run ---------------------------------------------------------------------------------------------------------


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
        if rows:
            gateway = peers.start_gateway(folder, cores, upstream, command=options.gateway_command, lanes=LANES)
            stack.callback(gateway.stop)
            running["gateway"] = gateway
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
        _say(f"{row.name}, round {round_ + 1}, {case}: CPU {_time(sample.cpu_us)}, p50 {_time(sample.p50_us)}")


def _wrk_version() -> str:
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return said.split()[1].removeprefix("debian/") if said.startswith("wrk ") else "?"


def save(results: Results, file: Path) -> None:
    """Write every sample and every target to `file` as JSON."""
    data = {
        "samples": [asdict(sample) for sample in results.samples],
        "starts": results.starts,
        "peers": {n: {"idle_bytes": results.idle_bytes[n], "ready_s": results.ready_s[n]} for n in results.ready_s},
        "targets": [asdict(goal) | {"met": goal.met} for goal in goals(results)],
        "broken": results.broken,
    }
    file.write_text(json.dumps(data, indent=1) + "\n")


def main() -> int:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__.partition("\n")[0])
    names = [*(row.name for row in ROWS), START]
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
