"""Names and shapes of what operators watch: Prometheus metrics.

Labels hold catalogue ids, regions, routes, statuses and codes from closed lists: never anything a caller wrote.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

LOGGER: Final = "embedrock"

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "embedrock_requests_total", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "embedrock_request_seconds",
            "Time from a request's last body byte to its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._inputs = Counter("embedrock_inputs_total", "Inputs embedded.", ("model",), registry=self.registry)
        self._tokens = Counter(
            "embedrock_tokens_total", "Input tokens embedded.", ("model", "source"), registry=self.registry
        )
        self._calls = Counter(
            "embedrock_upstream_calls_total",
            "Calls to Bedrock, by outcome: ok or an error code.",
            ("model", "region", "outcome"),
            registry=self.registry,
        )
        self._call_seconds = Histogram(
            "embedrock_upstream_seconds",
            "Time of one call to Bedrock.",
            ("model", "region"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        # `labels()` takes a lock and builds a tuple each time; a child is looked up once.
        self._request_child = cache(self._requests.labels)
        self._seconds_child = cache(self._seconds.labels)
        self._inputs_child = cache(self._inputs.labels)
        self._tokens_child = cache(self._tokens.labels)
        self._calls_child = cache(self._calls.labels)
        self._call_seconds_child = cache(self._call_seconds.labels)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._request_child(route, str(status)).inc()
        self._seconds_child(route).observe(seconds)

    def embedded(self, model: str, inputs: int, tokens: int, *, reported: bool) -> None:
        """Count what one request embedded."""
        self._inputs_child(model).inc(inputs)
        self._tokens_child(model, "reported" if reported else "estimated").inc(tokens)

    def upstream_call(self, model: str, region: str, outcome: str, seconds: float) -> None:
        """Count one call to Bedrock."""
        self._calls_child(model, region, outcome).inc()
        self._call_seconds_child(model, region).observe(seconds)

    def expose(self) -> tuple[bytes, str]:
        """Return the text for Prometheus and its content type: of all workers, where there are several."""
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            from prometheus_client.multiprocess import MultiProcessCollector  # only with workers

            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST
