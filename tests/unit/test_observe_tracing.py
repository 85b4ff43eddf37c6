"""Spans of hops and calls, from the SDK's own memory exporter: parents, links, what they say and what they never say."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs
from test_engine import CREATED, NOW, SESSION, WORKFLOW, FakeApi, OpenBudget, Shelf, final, json_reply, record, run

from processor.budget.permits import Ask, BudgetClosedError, Duplicate, Parked, Permit
from processor.contract import schemas
from processor.contract.codes import ErrorCode
from processor.contract.records import Output, OutputKind, Record, Source
from processor.didit.answers import NoReply
from processor.engine.engine import Engine
from processor.observe.trace_export import ComplaintLog
from processor.observe.tracing import trace_with
from processor.settings import load_settings
from processor.stream.handler import Work, WorkAbandonedError

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"
UNAVAILABLE, SEEN = json_reply(503, {}), json_reply(200, {"session_id": SESSION, "status": "Approved"})
GIVEN = (("traceparent", PARENT.encode()), ("tracestate", b"other=1"))


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Where spans go in this test."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace_with(provider.get_tracer("test"), "verification.didit.me")
    yield exporter
    trace_with(None)


def look(headers: tuple[tuple[str, bytes], ...] = (), **extra: Any) -> Record:
    return record(operation="session.decision", headers=headers, **extra)


def hops(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [s for s in spans.get_finished_spans() if s.name == "verification.process"]


def calls(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [s for s in spans.get_finished_spans() if s.name == "didit.call"]


def said(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def parent_id(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent is not None else None


def linked(span: ReadableSpan) -> list[str]:
    assert all(f"{link.context.trace_id:032x}" == trace_id(span) for link in span.links)
    return [f"{link.context.span_id:016x}" for link in span.links]


def told(output: Output) -> dict[str, str]:
    return {name: (raw or b"").decode() for name, raw in output.headers if name in {"traceparent", "tracestate"}}


def again(outputs: Sequence[Output], kind: OutputKind = OutputKind.RETRY) -> Record:
    output = next(o for o in outputs if o.kind is kind)
    kept = tuple((name, raw) for name, raw in output.headers if not name.startswith(("vp-reason", "vp-from", "vp-failed", "vp-http")))
    return Record(Source("v.retry.10s", 0, 7), output.key, output.value, kept, NOW)


def test_without_a_tracer_the_callers_context_is_passed_on_unchanged() -> None:
    for given in (GIVEN, GIVEN[:1]):
        expected = {name: raw.decode() for name, raw in given}
        retried = run(FakeApi(UNAVAILABLE), look(headers=given))
        assert [told(o) for o in retried] == [expected]
        assert [told(o) for o in run(FakeApi(SEEN), again(retried))] == [expected]
        ended = run(FakeApi(UNAVAILABLE), look(headers=given), retry={"attempts_max": 1})
        assert [(o.kind, told(o)) for o in ended] == [(OutputKind.RESULT, expected), (OutputKind.DEAD_LETTER, expected)]
        rejected = run(FakeApi(), look(headers=(*given, ("vp-nonsense", b"1"))))
        assert [told(o) for o in rejected] == [expected, expected], "also of a record whose own headers are refused"
    assert [told(o) for o in run(FakeApi(SEEN), look())] == [{}]


def test_three_hops_are_one_trace_under_the_caller_each_linked_to_the_one_before(spans: InMemorySpanExporter) -> None:
    outputs: Sequence[Output] = ()
    rec = look(headers=GIVEN)
    for n in (1, 2):
        outputs = run(FakeApi(UNAVAILABLE), rec)
        own = span_id(hops(spans)[n - 1])
        assert told(outputs[0]) == {"traceparent": PARENT, "tracestate": f"vp={own},other=1"}
        assert schemas.faults("hop-headers.v1", {name: (raw or b"").decode() for name, raw in outputs[0].headers}) == []
        rec = again(outputs)
    outputs = run(FakeApi(SEEN), rec)
    first, second, third = hops(spans)
    assert {trace_id(s) for s in spans.get_finished_spans()} == {TRACE}
    assert [parent_id(s) for s in (first, second, third)] == [CALLER] * 3
    assert [linked(s) for s in (first, second, third)] == [[], [span_id(first)], [span_id(second)]]
    assert [parent_id(s) for s in calls(spans)] == [span_id(s) for s in (first, second, third)]
    assert told(outputs[0]) == {"traceparent": f"00-{TRACE}-{span_id(third)}-01", "tracestate": "other=1"}
    assert schemas.faults("trace-headers.v1", told(outputs[0])) == []
    assert [said(s)["vp.outcome"] for s in hops(spans)] == ["retry", "retry", "succeeded"]
    assert [said(s)["vp.hop"] for s in hops(spans)] == [0, 1, 2]
    assert all(not s.context.trace_state for s in spans.get_finished_spans() if s.context), "a caller's entries are not exported"


def test_a_request_without_a_context_begins_a_trace_that_goes_on(spans: InMemorySpanExporter) -> None:
    outputs = run(FakeApi(UNAVAILABLE), look())
    first = hops(spans)[0]
    assert first.parent is None
    parent = told(outputs[0])["traceparent"]
    assert parent.startswith(f"00-{trace_id(first)}-{span_id(first)}-")
    assert told(outputs[0])["tracestate"] == f"vp={span_id(first)}"
    outputs = run(FakeApi(SEEN), again(outputs))
    second = hops(spans)[1]
    assert (trace_id(second), parent_id(second), linked(second)) == (trace_id(first), span_id(first), [span_id(first)])
    assert told(outputs[0])["traceparent"].startswith(f"00-{trace_id(first)}-{span_id(second)}-")


def test_a_redriven_dead_letter_is_linked_to_the_hop_that_gave_up(spans: InMemorySpanExporter) -> None:
    ended = run(FakeApi(UNAVAILABLE), look(headers=GIVEN), retry={"attempts_max": 1})
    gave_up = hops(spans)[0]
    assert gave_up.status.status_code is StatusCode.ERROR
    assert (said(gave_up)["vp.outcome"], said(gave_up)["vp.error_code"]) == ("failed", "http_503")
    dead_letter = next(o for o in ended if o.kind is OutputKind.DEAD_LETTER)
    assert schemas.faults("dead-letter-headers.v1", {name: (raw or b"").decode() for name, raw in dead_letter.headers}) == []
    assert told(dead_letter) == {"traceparent": PARENT, "tracestate": f"vp={span_id(gave_up)},other=1"}
    run(FakeApi(SEEN), again(ended, OutputKind.DEAD_LETTER))
    assert (parent_id(hops(spans)[1]), linked(hops(spans)[1])) == (CALLER, [span_id(gave_up)])


def test_an_entry_of_ours_from_a_caller_is_no_link(spans: InMemorySpanExporter) -> None:
    run(FakeApi(SEEN), look(headers=(GIVEN[0], ("tracestate", b"vp=00000000000000aa"))))
    assert linked(hops(spans)[0]) == []


def test_what_a_hop_and_a_call_say(spans: InMemorySpanExporter) -> None:
    run(FakeApi(SEEN), look())
    hop, call = hops(spans)[0], calls(spans)[0]
    assert (hop.kind, call.kind) == (SpanKind.CONSUMER, SpanKind.CLIENT)
    assert said(hop) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "v.requests",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 41,
        "vp.operation": "session.decision",
        "vp.hop": 0,
        "vp.attempt": 0,
        "vp.replay": 0,
        "vp.outcome": "succeeded",
    }
    assert said(call) == {
        "http.request.method": "GET",
        "url.template": "/v3/session/{session_id}/decision/",
        "server.address": "verification.didit.me",
        "http.response.status_code": 200,
        "vp.operation": "session.decision",
        "vp.verdict": "Success",
    }
    assert [e.name for e in call.events] == ["permit"]
    assert call.status.status_code is hop.status.status_code is StatusCode.UNSET


def test_a_bad_answer_is_an_error_of_the_call_and_a_refusal_one_of_the_hop(spans: InMemorySpanExporter) -> None:
    run(FakeApi(NoReply(sent=False, code=ErrorCode.CONNECT_FAILED)), record())
    run(FakeApi(json_reply(400, {"detail": "no"})), record())
    run(FakeApi(), record(nickname="x"))
    lost, refused = calls(spans)
    assert "http.response.status_code" not in said(lost)
    assert (said(lost)["error.type"], said(refused)["error.type"]) == ("Transient", "Refused")
    assert all(s.status.status_code is StatusCode.ERROR and s.status.description is None for s in (lost, refused))
    retried, failed, rejected = hops(spans)
    assert [s.status.status_code for s in (retried, failed, rejected)] == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    assert said(retried)["vp.error_code"] == "connect_failed"
    assert (said(rejected)["vp.outcome"], said(rejected)["vp.error_code"]) == ("rejected", "unknown_field")


def test_no_permit_is_no_error(spans: InMemorySpanExporter) -> None:
    run(FakeApi(), record(), OpenBudget(Parked(ErrorCode.QUEUE_FULL, 3.0)))
    run(FakeApi(), record(), OpenBudget(Duplicate()))
    assert [said(s)["vp.ended_by"] for s in calls(spans)] == ["Parked", "Duplicate"]
    assert [said(s)["vp.outcome"] for s in hops(spans)] == ["retry", "duplicate"]
    assert all(s.status.status_code is StatusCode.UNSET and not s.events for s in spans.get_finished_spans())


def test_exceptions_are_told_by_their_type_alone(spans: InMemorySpanExporter) -> None:
    with pytest.raises(WorkAbandonedError):
        run(FakeApi(), record(), OpenBudget(BudgetClosedError("Zaphodia")))
    with pytest.raises(LookupError):
        run(FakeApi(), record(), OpenBudget(LookupError("Zaphodia")))
    abandoned, broken = hops(spans)
    assert (said(abandoned)["vp.ended_by"], said(broken)["vp.ended_by"]) == ("WorkAbandonedError", "LookupError")
    assert broken.status.status_code is StatusCode.ERROR
    assert not any(e.name == "exception" for s in spans.get_finished_spans() for e in s.events)
    assert "Zaphodia" not in "".join(s.to_json() for s in spans.get_finished_spans())


async def test_a_cancelled_hop_ends_unset_and_says_so(spans: InMemorySpanExporter) -> None:
    class Silent(OpenBudget):
        async def acquire(self, ask: Ask) -> Permit:
            self.asks.append(ask)
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    asked = asyncio.Event()
    engine = Engine(load_settings(), FakeApi(), Shelf(), Silent(), clock_ms=lambda: NOW, draw=lambda: 0.5)
    rec = record()
    task = asyncio.get_running_loop().create_task(engine.handle(rec, Work(rec)))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [said(s)["vp.ended_by"] for s in spans.get_finished_spans()] == ["CancelledError"] * 2
    assert all(s.status.status_code is StatusCode.UNSET for s in spans.get_finished_spans())


async def test_many_hops_at_once_do_not_take_each_others_calls(spans: InMemorySpanExporter) -> None:
    engine = Engine(
        load_settings(),
        FakeApi(*(json_reply(201, CREATED) for _ in range(20))),
        Shelf(),
        OpenBudget(),
        clock_ms=lambda: NOW,
        draw=lambda: 0.5,
    )
    recs = [record(f"r{n}") for n in range(20)]
    await asyncio.gather(*(engine.handle(rec, Work(rec)) for rec in recs))
    assert sorted(str(parent_id(s)) for s in calls(spans)) == sorted(span_id(s) for s in hops(spans))


def test_an_unsampled_trace_stays_unsampled_on_all_hops() -> None:
    trace_with(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("test"))
    try:
        retried = run(FakeApi(UNAVAILABLE), look())
        assert told(retried[0])["traceparent"].endswith(("-00", "-02"))
        assert "tracestate" not in told(retried[0])
        assert told(run(FakeApi(SEEN), again(retried))[0]) == told(retried[0])
        assert told(run(FakeApi(SEEN), look(headers=GIVEN))[0]) == {n: v.decode() for n, v in GIVEN}
    finally:
        trace_with(None)


def test_a_disabled_sdk_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    trace_with(TracerProvider(shutdown_on_exit=False).get_tracer("test"))
    try:
        assert told(run(FakeApi(UNAVAILABLE), look(headers=GIVEN))[0]) == {n: v.decode() for n, v in GIVEN}
        assert told(run(FakeApi(UNAVAILABLE), look())[0]) == {}
    finally:
        trace_with(None)


def test_spans_hold_nothing_personal(spans: InMemorySpanExporter) -> None:
    planted = {"workflow_id": WORKFLOW, "vendor_data": "Zaphodia", "contact_details": {"email": "zaphodia@heart-of-gold.example"}}
    echo = json_reply(400, {"detail": "Zaphodia is wrong", "X-PASSPORT-99": ["+34600111222"]})
    rec = record("Zaphodia-1", input=planted, headers=(GIVEN[0], ("tracestate", b"who=zaphodia")))
    final(run(FakeApi(echo), rec))
    text = "".join(s.to_json() for s in spans.get_finished_spans()).lower()
    assert spans.get_finished_spans()
    for word in ("zaphodia", "passport", "34600111222", WORKFLOW):
        assert word not in text


def test_complaints_of_the_library_are_counted_and_told_once_a_minute_without_their_text() -> None:
    now = [100.0]
    handler = ComplaintLog(lambda: now[0])
    complaint = logging.LogRecord("opentelemetry.exporter.x", logging.ERROR, "f", 1, "answer: %s", ("Zaphodia",), None)
    with capture_logs() as logs:
        handler.handle(complaint)
        for _ in range(5):
            handler.handle(complaint)
        now[0] += 60
        handler.handle(complaint)
    assert [(entry["event"], entry["complaints"], entry["of"]) for entry in logs] == [
        ("traces_not_taken", 1, "exporter.x"),
        ("traces_not_taken", 6, "exporter.x"),
    ]
    assert "Zaphodia" not in str(logs)


RUN = "import sys; {before}; sys.argv = ['processor', 'run']; from processor.cli.app import app; app()"


@pytest.mark.parametrize(
    ("before", "variables", "words"),
    [
        ("sys.modules['opentelemetry.sdk'] = None", {}, "pip install verification-processor[otel]"),
        ("pass", {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "999999"}, "OTEL_"),
    ],
)
def test_the_start_is_refused_where_traces_cannot_be_made(before: str, variables: dict[str, str], words: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "VP_OBSERVE__TRACES": "true", "VP_DIDIT__API_KEY": "k", **variables}
    environment["PYTHONPATH"] = ":".join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(before=before)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
