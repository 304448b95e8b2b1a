"""Names, labels and text of the metrics."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from embedrock.telemetry import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample of the exposition by its name and labels, without the times of creation."""
    text, _ = metrics.expose()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_names_types_and_labels(metrics: Metrics) -> None:
    """Dashboards and alerts are written against these."""
    metrics.request("embeddings", 200, 0.01)
    metrics.embedded("m", 1, 2, reported=True)
    metrics.upstream_call("m", "us-east-1", "ok", 0.01)
    metrics.job("m", "completed", 0.01)
    text, _ = metrics.expose()
    families = {
        family.name: (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
        for family in text_string_to_metric_families(text.decode())
        if not family.name.endswith("_created")
    }

    assert families == {
        "embedrock_requests": ("counter", {"route", "status"}),
        "embedrock_request_seconds": ("histogram", {"route"}),
        "embedrock_inputs": ("counter", {"model"}),
        "embedrock_tokens": ("counter", {"model", "source"}),
        "embedrock_upstream_calls": ("counter", {"model", "region", "outcome"}),
        "embedrock_upstream_seconds": ("histogram", {"model", "region"}),
        "embedrock_jobs": ("counter", {"model", "state"}),
        "embedrock_job_seconds": ("histogram", {"model"}),
    }


def test_every_metric_has_help(metrics: Metrics) -> None:
    text, _ = metrics.expose()

    assert all(family.documentation for family in text_string_to_metric_families(text.decode()))


def test_request_is_counted_by_route_and_status_and_timed(metrics: Metrics) -> None:
    metrics.request("embeddings", 200, 0.02)
    metrics.request("embeddings", 200, 0.3)
    metrics.request("embeddings", 404, 0.001)

    assert value(metrics, "embedrock_requests_total", route="embeddings", status="200") == 2
    assert value(metrics, "embedrock_requests_total", route="embeddings", status="404") == 1
    assert value(metrics, "embedrock_request_seconds_count", route="embeddings") == 3
    assert value(metrics, "embedrock_request_seconds_sum", route="embeddings") == pytest.approx(0.321)
    assert value(metrics, "embedrock_request_seconds_bucket", route="embeddings", le="0.025") == 2


def test_inputs_and_tokens_are_added_up_by_their_source(metrics: Metrics) -> None:
    metrics.embedded("m", 96, 672, reported=True)
    metrics.embedded("m", 1, 5, reported=True)
    metrics.embedded("m", 2, 3, reported=False)

    assert value(metrics, "embedrock_inputs_total", model="m") == 99
    assert value(metrics, "embedrock_tokens_total", model="m", source="reported") == 677
    assert value(metrics, "embedrock_tokens_total", model="m", source="estimated") == 3


def test_call_is_counted_by_outcome_and_timed(metrics: Metrics) -> None:
    metrics.upstream_call("m", "us-east-1", "ok", 0.05)
    metrics.upstream_call("m", "us-east-1", "upstream_throttled", 0.01)
    metrics.upstream_call("m", "eu-west-1", "ok", 0.05)

    assert value(metrics, "embedrock_upstream_calls_total", model="m", region="us-east-1", outcome="ok") == 1
    assert value(metrics, "embedrock_upstream_calls_total", model="m", region="eu-west-1", outcome="ok") == 1
    assert (
        value(metrics, "embedrock_upstream_calls_total", model="m", region="us-east-1", outcome="upstream_throttled")
        == 1
    )
    assert value(metrics, "embedrock_upstream_seconds_count", model="m", region="us-east-1") == 2
    assert value(metrics, "embedrock_upstream_seconds_sum", model="m", region="us-east-1") == pytest.approx(0.06)


def test_two_gateways_in_one_process_do_not_mix(metrics: Metrics) -> None:
    other = Metrics()
    other.request("embeddings", 200, 0.01)

    assert value(metrics, "embedrock_requests_total", route="embeddings", status="200") is None


def test_exposition_is_prometheus_text(metrics: Metrics) -> None:
    text, content_type = metrics.expose()

    assert content_type.startswith("text/plain; version=")
    assert text.startswith(b"# HELP ")
    assert text.endswith(b"\n")


def test_workers_are_added_up(tmp_path: Path) -> None:
    """Several processes share a port; whichever answers /metrics tells of all."""
    code = (
        "import sys, pathlib; from embedrock.telemetry import Metrics; m = Metrics(pathlib.Path(sys.argv[1])); "
        "m.request('embeddings', 200, 0.01); m.share(); print(m.expose()[0].decode())"
    )
    for _ in range(2):
        worker = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)

    assert 'embedrock_requests_total{route="embeddings",status="200"} 2.0' in worker.stdout
    assert 'embedrock_request_seconds_bucket{le="0.01",route="embeddings"} 2.0' in worker.stdout
