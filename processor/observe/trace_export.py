"""Sends spans to a collector over OTLP/HTTP, where that is enabled. The SDK is an extra, and is imported only then.

Endpoint, sampling, queue and resource are OpenTelemetry's own variables (OTEL_...). A collector that is slow, or gone, costs spans
and nothing else: they wait in a bounded queue, a thread sends them, and the end of the process waits for it no longer than two
seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import structlog

from processor import __version__
from processor.observe.tracing import trace_with
from processor.settings import ConfigurationError, Settings

_STOP_S = 2.0
_SAY_EVERY_S = 60.0
_LIBRARY = "opentelemetry"

log = structlog.get_logger(__name__)


class ComplaintLog(logging.Handler):
    """Stands in for OpenTelemetry's log lines, which quote addresses and answers: a count of them, once a minute."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._clock_s, self._next_s, self._count = clock_s, 0.0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Called under the handler's lock, from any thread."""
        self._count += 1
        if self._clock_s() >= self._next_s:
            log.warning("traces_not_taken", complaints=self._count, of=record.name.removeprefix(f"{_LIBRARY}."))
            self._count, self._next_s = 0, self._clock_s() + _SAY_EVERY_S


def start_traces(settings: Settings) -> Callable[[], None]:
    """Make and send spans from now on, if the settings say so; returns what ends it, within two seconds.

    Raises:
        ConfigurationError: if the extra is not installed, or a variable of OpenTelemetry is not usable.
    """
    if not settings.observe.traces:
        return lambda: None
    library = logging.getLogger(_LIBRARY)
    library.handlers, library.propagate = [ComplaintLog()], False
    shutdown = _start_sdk(settings)

    def stop() -> None:
        trace_with(None)
        last = threading.Thread(target=shutdown, name="traces-end", daemon=True)  # a dead collector holds it, and it alone
        last.start()
        last.join(_STOP_S)

    return stop


def _start_sdk(settings: Settings) -> Callable[[], None]:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - the extra [otel]
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the extra [otel]
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the extra [otel]
    except ImportError:
        raise ConfigurationError(
            "VP_OBSERVE__TRACES is true, and what sends traces is not installed: pip install verification-processor[otel]"
        ) from None
    try:
        provider = TracerProvider(resource=resource_of(settings), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as exc:
        raise ConfigurationError(f"a variable of OpenTelemetry (OTEL_...) is not usable: {exc}") from None
    trace_with(provider.get_tracer("verification-processor", __version__), urlsplit(settings.didit.base_url).hostname or "")
    return provider.shutdown


def resource_of(settings: Settings) -> Any:
    """Who sends: an ``opentelemetry.sdk.resources.Resource``. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first.

    Raises:
        ValueError: if one of them is not usable.
    """
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 - the extra [otel]

    ours = {
        "service.name": "verification-processor",
        "service.version": __version__,
        "service.instance.id": settings.kafka.instance_id,
    }
    given = OTELResourceDetector().detect().attributes
    return Resource.create({name: value for name, value in ours.items() if name not in given})
