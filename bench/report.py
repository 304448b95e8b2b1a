"""The report: a table a row, the targets and whether they are met, and all of it as JSON.

It is made of what was measured and starts nothing.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from bench.process import Cores
from bench.rows import FAN_OUTS, PER_S, ROWS, Case, Results, Row, Sample

_MB = 1_000_000
_ORDER = ("direct", "nginx", "gateway", "lanes", "workers", "litellm")  # of the lines of a table
V = TypeVar("V")


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
    """Return the targets, with what was measured."""
    nginx, one = Case("nginx"), Case("gateway", "float")
    found = []
    for row, title, limits in (("titan", "one Titan text", (1.8, 2.2)), ("cohere", "96 Cohere texts", (1.1, 2.2))):
        for encoding, limit in zip(("float", "base64"), limits, strict=True):
            ratio = results.ratio(row, Case("gateway", encoding), nginx, _cpu)
            found.append(Goal(f"CPU v nginx, {title}, {encoding}", " x", ratio, limit))
    for encoding in ("float", "base64"):
        ratio = results.ratio("titan", Case("litellm", encoding), Case("gateway", encoding), _cpu)
        found.append(Goal(f"CPU less than LiteLLM, one Titan text, {encoding}", " x", ratio, 80, at_least=True))
    found.append(
        Goal("CPU, two workers v one", " x", results.ratio("titan", Case("workers", "float"), one, _cpu), 1.08)
    )
    for row, peer, limit in (("fanout", "gateway", 93), ("fanout256", "lanes", 82)):
        for encoding in ("float", "base64"):
            share = _median(results.of(row, Case(peer, encoding)), _share)
            percent = None if share is None else share * 100
            found.append(Goal(f"{row}, share of the ideal, {encoding}", " %", percent, limit, at_least=True))
    for name, value, limit in (("p50", _p50, 1.7), ("p99", _p99, 2.0)):
        ours, theirs = (_median(_added(results, case, value), float) for case in (one, nginx))
        ratio = ours / theirs if ours is not None and theirs else None
        found.append(Goal(f"added {name} v nginx's at {PER_S:,} requests a second", " x", ratio, limit))
    for encoding in ("float", "base64"):
        rises = [m["rise"] / m["in_flight"] for m in results.memory if encoding in m]
        rise = statistics.median(rises) if rises else None
        found.append(Goal(f"memory for each byte in flight, {encoding}", " bytes", rise, 2))
    starts = results.starts
    idle = statistics.median(s["idle_bytes"] for s in starts) / _MB if starts else None
    ready = statistics.median(s["ready_s"] for s in starts) if starts else None
    found.append(Goal("idle memory, PSS of the process tree", " MB", idle, 60))
    found.append(Goal("start to the first ready answer", " s", ready, 0.5))
    return found


def report(results: Results) -> Iterator[str]:
    """Yield the lines of the report: a table a row, then the targets."""
    for row in ROWS:
        cases = sorted(
            results.cases(row.name),
            key=lambda case: ["direct", "nginx", "gateway", "lanes", "workers", "litellm"].index(case.peer),
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
            f"{middle['vector_s']:.2f} s, idle PSS {middle['idle_bytes'] / _MB:.1f} MB; {len(results.starts)} starts"
        )
    for name, seconds in results.ready_s.items():
        yield f"  {name}: ready after {seconds:.2f} s, idle PSS {results.idle_bytes[name] / _MB:.1f} MB"
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
    heads += {"fanout": ["of the ideal"], "fanout256": ["of the ideal"], "latency": ["added p50", "added p99"]}.get(
        row.name, []
    )
    lines = [[*heads, "answer"]]
    nginx = Case("nginx")
    for case in cases:
        samples = results.of(row.name, case)
        cpus = [sample.cpu_us for sample in samples]
        litellm = Case("litellm", case.encoding or "float")
        process = case.peer != "direct"
        line = [
            str(case),
            time_text(statistics.median(cpus)) if process else "-",
            f"({time_text(min(cpus))} - {time_text(max(cpus))})" if process else "-",
            _times(results.ratio(row.name, case, nginx, _cpu)) if process else "-",
            _times(results.ratio(row.name, litellm, case, _cpu)) if process else "-",
            f"{statistics.median(s.requests / s.wall_s for s in samples):,.1f}",
            f"{statistics.median(s.busy for s in samples):.0%}" if process else "-",
            time_text(statistics.median(s.p50_us for s in samples)),
            time_text(statistics.median(s.p99_us for s in samples)),
        ]
        if row.name in FAN_OUTS:
            line.append(f"{statistics.median(map(_share, samples)):.1%}")
        if row.name == "latency":
            for value in (_p50, _p99):
                added = _median(_added(results, case, value), float)
                line.append(time_text(added) if process and added is not None else "-")
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


def _p50(sample: Sample) -> float:
    return sample.p50_us


def _p99(sample: Sample) -> float:
    return sample.p99_us


def _added(results: Results, case: Case, value: Callable[[Sample], float]) -> list[float]:
    """Return what a case adds to the latency of the upstream alone, by round."""
    below = {sample.round: value(sample) for sample in results.of("latency", Case("direct"))}
    return [value(s) - below[s.round] for s in results.of("latency", case) if s.round in below]


def _share(sample: Sample) -> float:
    row = next(row for row in ROWS if row.name == sample.row)
    return row.ideal_s * 1e6 / sample.p50_us


def _median(samples: Sequence[V], value: Callable[[V], float]) -> float | None:
    return statistics.median(map(value, samples)) if samples else None


def time_text(us: float) -> str:
    """Return `us` microseconds in the unit that reads best."""
    if us < 10_000:
        return f"{us:,.0f} us"
    return f"{us / 1000:,.1f} ms" if us < 10_000_000 else f"{us / 1_000_000:,.1f} s"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f} x"


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


def save(results: Results, file: Path) -> None:
    """Write every sample and every target to `file` as JSON."""
    data = {
        "samples": [asdict(sample) for sample in results.samples],
        "starts": results.starts,
        "memory": results.memory,
        "peers": {n: {"idle_bytes": results.idle_bytes[n], "ready_s": results.ready_s[n]} for n in results.ready_s},
        "targets": [asdict(goal) | {"met": goal.met} for goal in goals(results)],
        "broken": results.broken,
    }
    file.write_text(json.dumps(data, indent=1) + "\n")
