"""What tracing costs: CPU time of the engine for one request (one call, one result) without spans, with them, and unsampled.

No Kafka and no HTTP: both would hide the difference. Spans are encoded as for a collector and dropped. Interleaved rounds, medians.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import orjson
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from bench.harness import WORKFLOW_ID, emit
from processor.bounds.byte_budget import ByteBudget, ByteReservation
from processor.budget.permits import Ask, CallIdentity, Ending, ParkedWait, Permit, Place
from processor.contract.records import Record, Source
from processor.didit.answers import Answer, Reply
from processor.didit.calls import FileContent, FilePart, HttpCall
from processor.engine.engine import Engine
from processor.observe.tracing import trace_with
from processor.settings import load_settings
from processor.stream.handler import Work

CREATED = {"session_id": "11111111-2222-4333-8444-555555555555", "url": "https://verify.didit.me/session/t", "status": "Not Started"}


class Api:
    """Answers every call at once."""

    reply = Reply(201, {"content-type": "application/json"}, orjson.dumps(CREATED))

    async def send(self, call: HttpCall, files: Sequence[FileContent] = ()) -> Answer:
        return self.reply

    def refresh_key(self) -> bool:
        return False


class NoFiles:
    longest_s = 0.0

    def reservation(self) -> AbstractContextManager[ByteReservation]:
        return ByteBudget(1).reservation()

    async def fetch(self, parts: Sequence[FilePart], held: ByteReservation) -> list[FileContent]:
        return []


class Budget:
    """Says yes."""

    async def acquire(self, ask: Ask) -> Permit:
        return Permit("1", ask)

    async def claim(self, identity: CallIdentity) -> None:
        return None

    def park(self, place: Place, start: Callable[[], None]) -> ParkedWait:
        raise AssertionError("nobody is sent away")

    def turn_away(self, place: Place, *, aside: bool) -> None:
        return None

    def release(self, permit: Permit, ending: Ending) -> None: ...

    def pause(self, scope: str, wait_s: float, limit: int | None = None) -> None: ...

    def is_paused(self, endpoint: str) -> bool:
        return False

    def is_down(self, endpoint: str) -> bool:
        return False


class Dropped(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializePartialToString()
        return SpanExportResult.SUCCESS


def spans_of(sampler: Sampler) -> tuple[Callable[[], None], Callable[[], bool]]:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Dropped(), max_queue_size=100_000))
    return lambda: trace_with(provider.get_tracer("bench"), "verification.didit.me"), provider.force_flush


async def cpu_us(engine: Engine, count: int, flush: Callable[[], bool] | None) -> float:
    """CPU time of the process for one request, its share of the sending thread included."""
    value = orjson.dumps(
        {"request_id": "r", "operation": "session.create", "input": {"workflow_id": WORKFLOW_ID, "vendor_data": "user-000001"}}
    )
    headers = (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
    began = time.process_time()
    for offset in range(count):
        record = Record(Source("bench.requests", 0, offset), b"k", value, headers, 1)
        await engine.handle(record, Work(record))
    if flush is not None:
        flush()
    return (time.process_time() - began) / count * 1e6


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    engine = Engine(load_settings(), Api(), NoFiles(), Budget(), clock_ms=lambda: 2, draw=lambda: 0.5)
    every, flush_every = spans_of(ALWAYS_ON)
    none, flush_none = spans_of(ALWAYS_OFF)
    ways: dict[str, tuple[Callable[[], None], Callable[[], bool] | None]] = {
        "off": (lambda: trace_with(None), None),
        "on": (every, flush_every),
        "unsampled": (none, flush_none),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for n in range(args.rounds):
        for name, (begin, flush) in ways.items():
            begin()
            found[name].append(await cpu_us(engine, args.records, flush))
        print(f"round {n + 1}: " + ", ".join(f"{name} {values[-1]:.1f} us" for name, values in found.items()), file=sys.stderr)
    off, on, unsampled = (statistics.median(found[name]) for name in ways)
    emit(
        {
            "off_us": round(off, 1),
            "on_us": round(on, 1),
            "unsampled_us": round(unsampled, 1),
            "on_ratio": round(on / off, 2),
            "unsampled_ratio": round(unsampled / off, 2),
        }
    )


asyncio.run(main())
