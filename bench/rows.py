"""What is measured: the rows, who is asked in them, how long, and the samples that come of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench.load import COHERE, TITAN

LANES = 64
DELAY_MS = 50
FAN_OUT = 256
PER_S = 1000  # requests, in the row `latency`


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
    lanes: int = LANES

    @property
    def ideal_s(self) -> float:
        """Return what a request would take if nothing but the upstream took time."""
        return math.ceil(self.upstream_calls / self.lanes) * self.delay_ms / 1000


def _fan_out(name: str, lanes: int) -> Row:
    row = Row(name, "", TITAN, FAN_OUT, 1, upstream_calls=FAN_OUT, delay_ms=DELAY_MS, lanes=lanes)
    ideal = f"(ideal: {row.ideal_s * 1000:.0f} ms)"
    what = f"{FAN_OUT} texts, Titan v2, {lanes} lanes, upstream answers after {DELAY_MS} ms, 1 connection"
    return replace(row, title=f"{what} {ideal}")


ROWS = (
    Row("titan", "One text, Titan v2, 32 connections", TITAN, 1, 32),
    Row("cohere", "96 texts, cohere.embed-english-v3, 32 connections", COHERE, 96, 32),
    _fan_out("fanout", LANES),
    _fan_out("fanout256", FAN_OUT),
    Row("latency", f"Added latency, one text, Titan v2, {PER_S:,} requests a second over 8 connections", TITAN, 1, 8),
)
FAN_OUTS = ("fanout", "fanout256")
START = "start"
MEMORY = "memory"


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


FULL = Effort(3, 4, {"fanout": 1, "latency": 0})
QUICK = Effort(3, 1, {"fanout": 1, "cohere": 1, "latency": 0})


@dataclass(slots=True)
class Results:
    """Everything measured, and everything that went wrong."""

    samples: list[Sample] = field(default_factory=list)
    starts: list[dict[str, float]] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)
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
