"""Sends the metrics to a collector over OTLP/HTTP, where that is enabled: those of ``/metrics``, under the same names. The SDK is an extra.

Endpoint, headers, interval and resource are OpenTelemetry's own variables (OTEL_...). One export is under way at a time, in a thread of
its own and within a deadline. A collector that is slow, or gone, costs exports and nothing else; they are counted, and told once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import structlog
from prometheus_client import Metric as Family

from processor import __version__
from processor.observe.metrics import METRIC_EXPORTS, REGISTRY
from processor.observe.trace_export import resource_of
from processor.settings import ConfigurationError, Settings

_INTERVAL, _INTERVAL_MS = "OTEL_METRIC_EXPORT_INTERVAL", 60_000  # the variable and its default (OpenTelemetry, SDK environment variables)
_EXPORT_S = 10.0
_LAST_S = 1.0
_LOGGER = "opentelemetry.exporter.otlp.proto.http.metric_exporter"
_SCOPE = "verification-processor"

log = structlog.get_logger(__name__)


class MetricExport:
    """Exports again and again.

    Args:
        send: takes what ``otlp_metrics`` gives, and says whether the collector has taken it; called in a thread.
        refresh: sets the gauges, before each export.
        every_s: between two exports.
        within_s: an export that takes longer has failed; the next begins when it has ended.
    """

    def __init__(self, send: Callable[[Any], bool], refresh: Callable[[], None], every_s: float, within_s: float = _EXPORT_S) -> None:
        self._send, self._refresh, self._every_s, self._within_s = send, refresh, every_s, within_s
        self._began_ns = time.time_ns()
        self._under_way: asyncio.Future[bool] | None = None
        self._failing = False

    async def run(self) -> None:
        """Export until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.once(self._within_s)

    async def close(self) -> None:
        """The last figures."""
        await self.once(_LAST_S)

    async def once(self, within_s: float) -> None:
        """One export, unless an earlier one is still under way: that counts as a failure."""
        if self._under_way is None or self._under_way.done():
            self._refresh()
            found = otlp_metrics(REGISTRY.collect(), self._began_ns, time.time_ns())
            self._under_way = _in_thread(lambda: self._send(found))
        await asyncio.wait({self._under_way}, timeout=within_s)
        self._note(taken=self._under_way.done() and self._under_way.result())

    def _note(self, *, taken: bool) -> None:
        METRIC_EXPORTS.labels("taken" if taken else "failed").inc()
        if not taken and not self._failing:
            hint = "look at the collector and OTEL_EXPORTER_OTLP_ENDPOINT; said again after the next export that is taken"
            log.warning("metrics_not_taken", hint=hint)
        self._failing = not taken


def metric_export(settings: Settings, refresh: Callable[[], None]) -> MetricExport | None:
    """What exports, if the settings say so.

    Raises:
        ConfigurationError: if the extra is not installed, or a variable of OpenTelemetry is not usable.
    """
    if not settings.observe.otlp_metrics:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - the extra [otel]
        from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, ResourceMetrics, ScopeMetrics  # noqa: PLC0415 - the same
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415 - the same
    except ImportError:
        raise ConfigurationError(
            "VP_OBSERVE__OTLP_METRICS is true, and what sends metrics is not installed: pip install verification-processor[otel]"
        ) from None
    library = logging.getLogger(_LOGGER)  # its lines quote addresses and answers
    library.handlers, library.propagate = [logging.NullHandler()], False
    try:
        every_ms = int(os.environ.get(_INTERVAL, _INTERVAL_MS))
        exporter, resource = OTLPMetricExporter(), resource_of(settings)
    except ValueError as exc:
        raise ConfigurationError(f"a variable of OpenTelemetry (OTEL_...) is not usable: {exc}") from None
    if every_ms < 1:
        raise ConfigurationError(f"{_INTERVAL} is a number of milliseconds, at least 1")

    def send(found: Any) -> bool:
        scope = ScopeMetrics(InstrumentationScope(_SCOPE, __version__), found, "")
        return exporter.export(MetricsData([ResourceMetrics(resource, [scope], "")])) is MetricExportResult.SUCCESS

    return MetricExport(send, refresh, every_ms / 1000)


def otlp_metrics(families: Iterable[Family], began_ns: int, now_ns: int) -> list[Any]:
    """Prometheus' families as OpenTelemetry's metrics, cumulative since ``began_ns``; their names are those of ``/metrics``.

    Returns:
        ``opentelemetry.sdk.metrics.export.Metric``, one for each family that has a series.
    """
    from opentelemetry.sdk.metrics import export as otel  # noqa: PLC0415 - the extra [otel]

    cumulative, found = otel.AggregationTemporality.CUMULATIVE, []
    for family in families:
        if family.type == "histogram":
            data: Any = otel.Histogram(_histogram_points(family, began_ns, now_ns), cumulative)
        else:
            points = [otel.NumberDataPoint(dict(s.labels), began_ns, now_ns, s.value) for s in family.samples]
            data = otel.Sum(points, cumulative, is_monotonic=True) if family.type == "counter" else otel.Gauge(points)
        if data.data_points:
            name = family.name + "_total" * (family.type == "counter")
            found.append(otel.Metric(name, family.documentation, family.unit or "", data))
    return found


def _histogram_points(family: Family, began_ns: int, now_ns: int) -> list[Any]:
    """One point for each set of labels: what Prometheus counts up to a bound, OpenTelemetry counts between two."""
    from opentelemetry.sdk.metrics.export import HistogramDataPoint  # noqa: PLC0415 - the extra [otel]

    series: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for sample in family.samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        one = series.setdefault(labels, {"bounds": [], "below": [], "sum": 0.0})
        if sample.name.endswith("_bucket"):
            one["bounds"].append(float(sample.labels["le"]))
            one["below"].append(round(sample.value))
        elif sample.name.endswith("_sum"):
            one["sum"] = sample.value
    found = []
    for labels, one in series.items():
        below = one["below"]
        counts = [count - before for count, before in zip(below, [0, *below], strict=False)]
        least: Any = None  # the smallest and the largest are not known
        found.append(HistogramDataPoint(dict(labels), began_ns, now_ns, below[-1], one["sum"], counts, one["bounds"][:-1], least, least))
    return found


def _in_thread(work: Callable[[], bool]) -> asyncio.Future[bool]:
    """Whether it has worked. A thread that hangs holds nobody, not even the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def settle(taken: bool) -> None:
        if not done.done():
            done.set_result(taken)

    def act() -> None:
        try:
            taken = work()
        except Exception:  # noqa: BLE001 - whatever the library raises, the export has failed, and its text may quote an address
            taken = False
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, taken)

    threading.Thread(target=act, name="metrics-export", daemon=True).start()
    return done
