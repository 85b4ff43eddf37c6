"""Spans: one for each hop of a request, one for each call (docs/tracing.md). What goes on from a hop goes on in its headers.

Until ``trace_with`` has named a tracer, nothing is made and the caller's trace context is passed on as it came. A span holds
codes, counts and positions: never an id, a key, an input, an answer, or the text of an exception.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer, set_span_in_context

from processor.contract.decode import Accepted, Rejected
from processor.contract.records import Hop, Output, Record, Status
from processor.contract.trace_context import SpanIds, last_span, parse_traceparent

_FAILED = frozenset({Status.FAILED, Status.IN_DOUBT})
_NOWHERE = Context()


@dataclass(slots=True)
class _Place:
    """Where spans go, for the whole process."""

    tracer: Tracer | None = None
    server: str = ""


_PLACE = _Place()


def trace_with(tracer: Tracer | None, server: str = "") -> None:
    """Make spans with this tracer from now on; None: make none. ``server`` is the host that calls go to."""
    _PLACE.tracer, _PLACE.server = tracer, server


class _Spanned:
    """A span that is the current one in its block, or nothing at all."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def __enter__(self) -> Self:
        if self._span is not None:
            self._token = attach(set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._span is None:
            return
        detach(self._token)
        if kind is not None:  # the type alone: a message or a traceback may quote the record
            self._span.set_attribute("vp.ended_by", kind.__name__)
            if self._is_fault(kind):
                self._fail(kind.__name__)
        self._span.end()

    def _is_fault(self, kind: type[BaseException]) -> bool:
        return not issubclass(kind, CancelledError)

    def _fail(self, error_type: str) -> None:
        if self._span is not None:
            self._span.set_attribute("error.type", error_type)
            self._span.set_status(StatusCode.ERROR)


class HopSpan(_Spanned):
    """One hop."""

    __slots__ = ()

    @property
    def ids(self) -> SpanIds | None:
        """What later hops need to know of this one; None if it has no span."""
        own = self._span.get_span_context() if self._span is not None else None
        if self._span is None or own is None or not own.is_valid:
            return None
        exported = self._span.is_recording() and own.trace_flags.sampled
        return SpanIds(own.trace_id, own.span_id, own.trace_flags, exported)

    def ended_with(self, outputs: Sequence[Output]) -> None:
        """The hop ends with these outputs, at least one."""
        if self._span is None or not self._span.is_recording():
            return
        outcome = next((o for o in outputs if o.about.status), outputs[0])
        self._span.set_attribute("vp.outcome", "answered" if outcome.about.copy else outcome.about.status or str(outcome.kind))
        if outcome.about.code is not None:
            self._span.set_attribute("vp.error_code", outcome.about.code)
        if outcome.about.status in _FAILED:
            self._fail(outcome.about.code or outcome.about.status)

    def ended_without(self, reason: str) -> None:
        """The hop ends, and there is nothing to publish."""
        if self._span is not None:
            self._span.set_attribute("vp.outcome", reason)


class CallSpan(_Spanned):
    """One call to Didit, from the wish for a permit to the verdict."""

    __slots__ = ("_permitted",)

    def __init__(self, span: Span | None) -> None:
        super().__init__(span)
        self._permitted = False

    def permitted(self) -> None:
        """The permit is there."""
        self._permitted = True
        if self._span is not None:
            self._span.add_event("permit")

    def refused(self, answer: str) -> None:
        """There is no permit, so no call is made: the name of the answer's type."""
        if self._span is not None:
            self._span.set_attribute("vp.ended_by", answer)

    def answered(self, status: int | None) -> None:
        """An answer has come; None: there was none."""
        if self._span is not None and status is not None:
            self._span.set_attribute("http.response.status_code", status)

    def judged(self, verdict: str, *, good: bool) -> None:
        """What it means, by the name of the verdict's type."""
        if self._span is not None:
            self._span.set_attribute("vp.verdict", verdict)
            if not good:
                self._fail(verdict)

    def _is_fault(self, kind: type[BaseException]) -> bool:
        return self._permitted and super()._is_fault(kind)  # without a permit no call was made: not yet, or not at all


def hop_span(record: Record, decoded: Accepted | Rejected) -> HopSpan:
    """The span of a hop: a child of the caller's span, linked to the hop before."""
    if _PLACE.tracer is None:
        return HopSpan(None)
    hop = decoded.hop
    context, links = _origin(hop)
    operation = decoded.request.operation if isinstance(decoded, Accepted) else decoded.operation
    attributes = _hop_attributes(record, hop, operation)
    return HopSpan(_start(_PLACE.tracer, "verification.process", SpanKind.CONSUMER, attributes, context, links))


def call_span(operation: str, method: str, template: str) -> CallSpan:
    """The span of a call, a child of the current one. ``template`` is the path with its fields unfilled."""
    if _PLACE.tracer is None:
        return CallSpan(None)
    attributes = {"vp.operation": operation, "http.request.method": method, "url.template": template, "server.address": _PLACE.server}
    return CallSpan(_start(_PLACE.tracer, "didit.call", SpanKind.CLIENT, attributes, None, ()))


def _start(
    tracer: Tracer, name: str, kind: SpanKind, attributes: Mapping[str, str | int], context: Context | None, links: Sequence[Link]
) -> Span:
    return tracer.start_span(name, context, kind, attributes, links, record_exception=False, set_status_on_exception=False)


def _origin(hop: Hop) -> tuple[Context, Sequence[Link]]:
    """The parent of a hop's span, and its link. The caller's ``tracestate`` stays out: it would be exported."""
    if hop.traceparent is None:
        return _NOWHERE, ()
    trace_id, span_id, flags = parse_traceparent(hop.traceparent)
    parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    before = last_span(hop)
    sampled = TraceFlags(TraceFlags.SAMPLED)
    links = (Link(SpanContext(trace_id, int(before, 16), is_remote=True, trace_flags=sampled)),) if before is not None else ()
    return set_span_in_context(NonRecordingSpan(parent), _NOWHERE), links


def _hop_attributes(record: Record, hop: Hop, operation: str | None) -> dict[str, str | int]:
    """OpenTelemetry's names for messaging, and ours."""
    found: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.source.topic,
        "messaging.destination.partition.id": str(record.source.partition),
        "messaging.kafka.offset": record.source.offset,
        "vp.hop": hop.hop,
        "vp.attempt": hop.attempt,
        "vp.replay": hop.replay,
    }
    return found if operation is None else {**found, "vp.operation": operation}
