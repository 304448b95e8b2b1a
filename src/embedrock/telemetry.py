"""What operators watch: names and counts of the metrics.

Labels hold catalogue ids, regions, routes, statuses and codes from closed lists: never anything a caller wrote.

Counting is a dictionary and an addition. The Prometheus library takes a lock for each and did half a dozen a request,
which was a tenth of its CPU; so it only prints, when somebody asks. Where several worker processes share a port, each
keeps its counts in a file too, and whichever is asked adds them up.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

LOGGER: Final = "embedrock"

_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

#: The values of one metric by its labels: one of a counter; of a histogram a count a bound, one beyond, and the sum.
Cells: TypeAlias = dict[tuple[str, ...], list[float]]

_Rows: TypeAlias = list[tuple[str, list[tuple[tuple[str, ...], list[float]]]]]


class Description(NamedTuple):
    """What a metric is called and means; one whose name ends in `_seconds` is a histogram."""

    name: str
    help: str
    labels: tuple[str, ...]


REQUESTS: Final = Description("embedrock_requests", "Requests answered.", ("route", "status"))
REQUEST_SECONDS: Final = Description(
    "embedrock_request_seconds", "Time from a request's head to its answer's.", ("route",)
)
INPUTS: Final = Description("embedrock_inputs", "Inputs embedded.", ("model",))
TOKENS: Final = Description("embedrock_tokens", "Input tokens embedded.", ("model", "source"))
CALLS: Final = Description(
    "embedrock_upstream_calls", "Calls to Bedrock, by outcome: ok or an error code.", ("model", "region", "outcome")
)
CALL_SECONDS: Final = Description("embedrock_upstream_seconds", "Time of one call to Bedrock.", ("model", "region"))
JOBS: Final = Description("embedrock_jobs", "Background jobs, by what became of them.", ("model", "state"))
JOB_SECONDS: Final = Description("embedrock_job_seconds", "Time from accepting a job to its end.", ("model",))
METRICS: Final = (REQUESTS, REQUEST_SECONDS, INPUTS, TOKENS, CALLS, CALL_SECONDS, JOBS, JOB_SECONDS)


class Metrics:
    """The counts of one process. `shared`: a directory where the workers of one port keep theirs."""

    def __init__(self, shared: Path | None = None) -> None:
        self._cells: dict[str, Cells] = {metric.name: {} for metric in METRICS}
        self._shared = shared

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._add(REQUESTS, (route, str(status)), 1)
        self._observe(REQUEST_SECONDS, (route,), seconds)

    def embedded(self, model: str, inputs: int, tokens: int, *, reported: bool) -> None:
        """Count what one request embedded."""
        self._add(INPUTS, (model,), inputs)
        self._add(TOKENS, (model, "reported" if reported else "estimated"), tokens)

    def upstream_call(self, model: str, region: str, outcome: str, seconds: float) -> None:
        """Count one call to Bedrock."""
        self._add(CALLS, (model, region, outcome), 1)
        self._observe(CALL_SECONDS, (model, region), seconds)

    def job(self, model: str, state: str, seconds: float | None = None) -> None:
        """Count a background job that was accepted, or came to an end after so many seconds."""
        self._add(JOBS, (model, state), 1)
        if seconds is not None:
            self._observe(JOB_SECONDS, (model,), seconds)

    def expose(self) -> tuple[bytes, str]:
        """Return the text for Prometheus and its content type: of all workers, where there are several."""
        total = self._cells if self._shared is None else _sum(self._of_all_workers(self._shared))
        registry = CollectorRegistry()
        registry.register(_Printer(total))
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def share(self) -> None:
        """Write the counts to where the other workers read them, if there are any."""
        if self._shared is not None:
            rows = [(name, list(cells.items())) for name, cells in self._cells.items()]
            file = self._shared / str(os.getpid())
            draft = file.with_suffix(".draft")
            draft.write_bytes(msgspec.json.encode(rows))
            draft.replace(file)

    def _add(self, metric: Description, labels: tuple[str, ...], amount: float) -> None:
        cells = self._cells[metric.name]
        if labels in cells:
            cells[labels][0] += amount
        else:
            cells[labels] = [amount]

    def _observe(self, metric: Description, labels: tuple[str, ...], seconds: float) -> None:
        cells = self._cells[metric.name]
        cell = cells.get(labels) or cells.setdefault(labels, [0.0] * (len(_BOUNDS_S) + 2))
        cell[bisect_left(_BOUNDS_S, seconds)] += 1
        cell[-1] += seconds

    def _of_all_workers(self, shared: Path) -> Iterator[tuple[str, tuple[str, ...], list[float]]]:
        self.share()
        for file in shared.iterdir():
            if not file.suffix:
                rows = msgspec.json.decode(file.read_bytes(), type=_Rows)
                yield from ((name, labels, cell) for name, cells in rows for labels, cell in cells)


def _sum(rows: Iterable[tuple[str, tuple[str, ...], list[float]]]) -> dict[str, Cells]:
    total: dict[str, Cells] = {metric.name: {} for metric in METRICS}
    for name, labels, cell in rows:
        so_far = total[name].get(labels, [0.0] * len(cell))
        total[name][labels] = [a + b for a, b in zip(so_far, cell, strict=True)]
    return total


class _Printer(Collector):
    """Hands counts to the Prometheus library."""

    def __init__(self, cells: dict[str, Cells]) -> None:
        self._cells = cells

    def collect(self) -> Iterator[Metric]:
        for metric in METRICS:
            if metric.name.endswith("_seconds"):
                histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, cell in self._cells[metric.name].items():
                    bounds = [*map(str, _BOUNDS_S), "+Inf"]
                    buckets = list(zip(bounds, accumulate(cell[:-1]), strict=True))
                    histogram.add_metric(labels, buckets=buckets, sum_value=cell[-1])
                yield histogram
            else:
                counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, cell in self._cells[metric.name].items():
                    counter.add_metric(labels, cell[0])
                yield counter
