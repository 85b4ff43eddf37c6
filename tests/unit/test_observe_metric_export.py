"""Metrics over OTLP, judged by OpenTelemetry's own protobuf and by what Prometheus would have scraped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from processor.observe import metrics
from processor.observe.metric_export import MetricExport, metric_export
from processor.settings import ConfigurationError, load_settings

Series = tuple[str, frozenset[tuple[str, str]]]


@asynccontextmanager
async def collecting(status: int = 200) -> AsyncIterator[tuple[str, list[ExportMetricsServiceRequest]]]:
    taken: list[ExportMetricsServiceRequest] = []

    async def take(request: web.Request) -> web.Response:
        taken.append(ExportMetricsServiceRequest.FromString(await request.read()))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/v1/metrics", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", taken
    finally:
        await runner.cleanup()


def exported(request: ExportMetricsServiceRequest) -> dict[Series, float]:
    """As Prometheus has it: one value for each bucket, up to its bound."""
    found: dict[Series, float] = {}
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        kind = metric.WhichOneof("data")
        assert kind == "gauge" or getattr(metric, kind).aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        for point in getattr(metric, str(kind)).data_points:
            labels = {a.key: a.value.string_value for a in point.attributes}
            if kind == "histogram":
                assert not point.HasField("min"), "it is not known"
                bounds, below = [*map(float, point.explicit_bounds), float("inf")], 0
                for bound, count in zip(bounds, point.bucket_counts, strict=True):
                    below += count
                    found[metric.name + "_bucket", frozenset({**labels, "le": str(bound)}.items())] = below
                found[metric.name + "_count", frozenset(labels.items())] = point.count
                found[metric.name + "_sum", frozenset(labels.items())] = point.sum
            else:
                found[metric.name, frozenset(labels.items())] = point.as_double if point.HasField("as_double") else point.as_int
    return found


def scraped() -> dict[Series, float]:
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.REGISTRY).decode()):
        for s in family.samples:
            labels = {name: str(float(value)) if name == "le" else value for name, value in s.labels.items()}
            found[s.name, frozenset(labels.items())] = s.value
    return found


async def test_a_collector_gets_what_prometheus_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics.RESULTS.labels("aml", "succeeded").inc(3)
    for seconds in (0.01, 0.3, 0.3, 99):
        metrics.CALL_TIME.labels("aml").observe(seconds)
    refreshed: list[int] = []

    def refresh() -> None:
        refreshed.append(1)
        metrics.CALLS_IN_FLIGHT.set(7)

    async with collecting() as (url, taken):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        export = metric_export(load_settings(observe={"otlp_metrics": True}, kafka={"instance_id": "vp-7"}), refresh)
        assert export is not None
        before = scraped()
        await export.once(10.0)
    (request,) = taken
    assert refreshed == [1], "gauges are as fresh as in a scrape"
    resource = {a.key: a.value.string_value for a in request.resource_metrics[0].resource.attributes}
    assert (resource["service.name"], resource["service.instance.id"]) == ("verification-processor", "vp-7")
    found = exported(request)
    assert found["vp_calls_in_flight", frozenset({("application", "default")})] == 7
    assert found["vp_call_seconds_bucket", frozenset({("application", "default"), ("operation", "aml"), ("le", "0.5")})] >= 3

    def stable(series: dict[Series, float]) -> dict[Series, float]:
        return {
            key: value for key, value in series.items() if not key[0].startswith(("process_", "vp_calls_in_flight", "vp_metric_exports"))
        }

    assert stable(found) == stable(before)
    assert {name for name, _ in before if name.startswith("process_")} <= {name for name, _ in found}


async def test_a_failure_is_counted_and_told_once_until_it_works_again() -> None:
    def count(outcome: str) -> float:
        return metrics.REGISTRY.get_sample_value("vp_metric_exports_total", {"outcome": outcome}) or 0.0

    answers: list[bool | Exception] = [False, RuntimeError("Zaphodia"), True, False]

    def send(_: Any) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    export, failed, taken = MetricExport(send, lambda: None, 60.0), count("failed"), count("taken")
    with capture_logs() as logs:
        for _ in range(4):
            await export.once(10.0)
    assert [entry["event"] for entry in logs] == ["metrics_not_taken"] * 2
    assert (count("failed") - failed, count("taken") - taken) == (3, 1)
    assert "Zaphodia" not in str(logs)


async def test_one_that_hangs_is_given_up_and_no_second_one_begins_beside_it() -> None:
    go, begun = threading.Event(), []

    def send(_: Any) -> bool:
        begun.append(1)
        return go.wait(60)

    export = MetricExport(send, lambda: None, 60.0)
    with capture_logs():
        await export.once(0.01)
        await export.once(0.01)
        assert len(begun) == 1
        go.set()
        await export.once(60.0)
    assert len(begun) == 1, "the late one is waited for"
    await export.close()
    assert len(begun) == 2


async def test_it_goes_on_until_it_is_cancelled() -> None:
    thrice, begun = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def send(_: Any) -> bool:
        begun.append(1)
        if len(begun) == 3:
            loop.call_soon_threadsafe(thrice.set)
        return True

    task = asyncio.create_task(MetricExport(send, lambda: None, 0.001).run())
    async with asyncio.timeout(60):
        await thrice.wait()
    task.cancel()


@pytest.mark.parametrize(("name", "value"), [("OTEL_METRIC_EXPORT_INTERVAL", "often"), ("OTEL_METRIC_EXPORT_INTERVAL", "0")])
def test_a_variable_that_is_not_usable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="OTEL_"):
        metric_export(load_settings(observe={"otlp_metrics": True}), lambda: None)


def test_off_it_is_not_there() -> None:
    assert metric_export(load_settings(), lambda: None) is None
