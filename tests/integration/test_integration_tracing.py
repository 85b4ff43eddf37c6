"""Spans and metrics of real processors at a collector in this process: one trace a request, nothing personal, no harm if it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from rig import WORKFLOW_ID, Rig, create_request, running

from processor.client.topics import request_producer
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import ProcessorProcess
from processor.stream.topics import topic_names

pytestmark = pytest.mark.broker

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"
NAME, MAIL, USER, NOTE = "Zaphodia", "zaphodia@heart-of-gold.example", "user-secret-42", "Beeblebrox"
PLANTED = [NAME, MAIL, USER, NOTE, "sim-key", "tracestate-secret", WORKFLOW_ID]


class Collector:
    """Takes spans over OTLP/HTTP, or holds whoever brings them."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.hangs, self.raw, self.spans, self.resources, self.counted = hangs, [], [], [], {}
        self.asked = asyncio.Event()
        self.url = ""

    raw: list[bytes]
    spans: list[Span]
    resources: list[dict[str, str]]
    counted: dict[str, float]  # sums of the latest metrics, by name

    async def take(self, request: web.Request) -> web.Response:
        self.asked.set()
        if self.hangs:
            await asyncio.sleep(60)
        raw = await request.read()
        self.raw.append(raw)
        for resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
            self.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response()

    async def take_metrics(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.raw.append(raw)
        for resource in ExportMetricsServiceRequest.FromString(raw).resource_metrics:
            metrics = [metric for scope in resource.scope_metrics for metric in scope.metrics if metric.HasField("sum")]
            self.counted |= {metric.name: sum(point.as_double for point in metric.sum.data_points) for metric in metrics}
        return web.Response()

    def named(self, name: str) -> list[Span]:
        return sorted((s for s in self.spans if s.name == name), key=lambda s: s.start_time_unix_nano)


@asynccontextmanager
async def collecting(*, hangs: bool = False) -> AsyncIterator[Collector]:
    collector = Collector(hangs=hangs)
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    app.router.add_post("/v1/metrics", collector.take_metrics)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


async def traced(rig: Rig, endpoint: str) -> ProcessorProcess:
    """A replica that sends its spans there."""
    variables = {"VP_OBSERVE__TRACES": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    variables |= {"VP_OBSERVE__OTLP_METRICS": "true", "OTEL_METRIC_EXPORT_INTERVAL": "200", "VP_LANES__CLOUDEVENTS_SOURCE": "/kyc/eu"}
    replica = ProcessorProcess("traced", {**rig.environment, **variables}, rig.folder)
    rig.processors.append(replica)
    replica.start()
    await asyncio.to_thread(replica.wait_event, "partitions_assigned")
    return replica


async def publish(rig: Rig, value: bytes, *headers: tuple[str, bytes]) -> None:
    async with request_producer(rig.settings) as producer:
        await producer.send_and_wait(topic_names(rig.settings).requests, value, USER.encode(), headers=list(headers))


def lists(request_id: str) -> bytes:
    return orjson.dumps({"request_id": request_id, "operation": "session.list", "input": {"vendor_data": USER, "search": NAME}})


def said(span: Span) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def headers_of(records: list[Any]) -> list[dict[str, str]]:
    return [{name: raw.decode() for name, raw in r.headers if name in {"traceparent", "tracestate"}} for r in records]


async def test_a_request_is_one_trace_through_its_retries_to_its_result(kafka: LocalKafka, tmp_path: Path) -> None:
    async with collecting() as collector, running(kafka, tmp_path) as rig:
        rig.simulator.post("/_sim/script", {"route": "session.list", "answers": [{"status": 503, "body": f"<p>{NOTE}"}] * 2})
        await traced(rig, collector.url)
        await publish(rig, lists(f"{NOTE}-1"), ("traceparent", PARENT.encode()), ("tracestate", b"shop=tracestate-secret"))
        await rig.wait_finals(1)
        await rig.until(lambda: len(collector.named("verification.process")) == 3, "three spans of hops")
        hops, calls = collector.named("verification.process"), collector.named("didit.call")
        assert {s.trace_id.hex() for s in collector.spans} == {TRACE}
        assert [s.parent_span_id.hex() for s in hops] == [CALLER] * 3
        assert [[link.span_id for link in s.links] for s in hops] == [[], [hops[0].span_id], [hops[1].span_id]]
        assert [s.parent_span_id for s in calls] == [s.span_id for s in hops]
        assert [said(s)["http.response.status_code"] for s in calls] == [503, 503, 200]
        assert [said(s)["vp.outcome"] for s in hops] == ["retry", "retry", "succeeded"]
        assert [said(s)["url.template"] for s in calls] == ["/v3/sessions/"] * 3
        (result,) = results = await rig.records("results")
        event = {name: raw.decode() for name, raw in result.headers if name.startswith(("ce_", "content-type"))}
        assert event["ce_source"] == "/kyc/eu"
        assert event["ce_id"] == orjson.loads(result.value)["result_id"]
        assert {"ce_specversion", "ce_type", "ce_time", "content-type"} <= event.keys(), "as the Kafka binding of CloudEvents has it"
        await rig.until(lambda: collector.counted.get("vp_results_total", 0.0) == 1.0, "metrics that count the result")
        assert collector.counted["vp_retries_total"] == len(hops) - 1
        told = headers_of(results)
        assert told == [{"traceparent": f"00-{TRACE}-{hops[2].span_id.hex()}-01", "tracestate": "shop=tracestate-secret"}]
        waited = headers_of([r for topic in ("retry.1s", "retry.2s", "retry.5s") for r in await rig.records(topic)])
        marks = [f"vp={s.span_id.hex()},shop=tracestate-secret" for s in hops[:2]]
        assert sorted(w["tracestate"] for w in waited) == sorted(marks)
        assert {w["traceparent"] for w in waited} == {PARENT}
        assert collector.resources[0]["service.name"] == "verification-processor"
        assert collector.resources[0]["service.instance.id"] == "traced"
        for word in PLANTED:
            assert not any(word.lower().encode() in raw.lower() for raw in collector.raw), word


async def test_requests_without_a_context_each_begin_a_trace_and_the_last_spans_are_sent_at_the_end(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    async with collecting() as collector, running(kafka, tmp_path) as rig:
        replica = await traced(rig, collector.url)
        body = {"workflow_id": WORKFLOW_ID, "vendor_data": USER, "contact_details": {"email": MAIL}, "metadata": {"note": NOTE}}
        create = {"request_id": f"{NOTE}-1", "operation": "session.create", "input": body}
        broken = {**create, "request_id": f"{NOTE}-2", "input": {**body, "nickname": NAME}}
        refused = {"request_id": f"{NOTE}-3", "operation": "session.decision", "input": {"session_id": WORKFLOW_ID}}
        for document in (create, broken, refused):
            await publish(rig, orjson.dumps(document))
        await rig.wait_finals(3)
        await asyncio.to_thread(replica.child.stop, 20.0)
        assert replica.child.exit_status == 0
        hops = collector.named("verification.process")
        assert sorted(said(s)["vp.outcome"] for s in hops) == ["failed", "rejected", "succeeded"]
        assert len({s.trace_id for s in hops}) == 3
        assert not any(s.parent_span_id or s.links for s in hops)
        told = headers_of(await rig.records("results"))
        assert {t["traceparent"][:52] for t in told} == {f"00-{s.trace_id.hex()}-{s.span_id.hex()}" for s in hops}
        for word in PLANTED:
            assert not any(word.lower().encode() in raw.lower() for raw in collector.raw), word


async def test_a_collector_that_hangs_or_is_gone_costs_spans_and_nothing_else(kafka: LocalKafka, tmp_path: Path) -> None:
    async with collecting(hangs=True) as hanging:
        for endpoint in (hanging.url, "http://127.0.0.1:1"):
            folder = tmp_path / endpoint.rpartition(":")[2]
            folder.mkdir()
            async with running(kafka, folder) as rig:
                replica = await traced(rig, endpoint)
                await rig.publish([create_request(n) for n in range(300)])
                await rig.wait_finals(300)
                assert {f["status"] for f in rig.finals} == {"succeeded"}
                if endpoint == hanging.url:
                    await asyncio.wait_for(hanging.asked.wait(), 60)
                else:
                    await asyncio.to_thread(replica.wait_event, "traces_not_taken")
                replica.child.terminate()
                assert await asyncio.to_thread(replica.child.wait, 45.0) == 0, "the end does not wait for the minute that a collector takes"
                assert len(list(replica.events("traces_not_taken"))) <= 1, "once a minute"
                assert endpoint.removeprefix("http://") not in replica.log_path.read_text()
