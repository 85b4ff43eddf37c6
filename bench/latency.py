"""Latency at a given rate: from Didit's answer until a read_committed reader has the result, and from the caller's send.

Also what publishing cost (transaction markers and CPU a result), and what a healthy system had to say in its log.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import orjson

from bench.harness import Bench, bench, contender, cpu_s, emit, log_lines, requests, wait_results
from processor.client.topics import publish_requests, read_topics, request_producer, topic_reader
from processor.contract.records import call_reference
from processor.devkit.processes import SimulatorProcess
from processor.devkit.verifier import percentile
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics

WARM = 50  # requests before those that count


async def measure(b: Bench, count: int, per_s: float) -> dict[str, float]:
    with SimulatorProcess(b.folder, "--limits", '{"session-create":{"limit":1000000},"generic-write":{"limit":1000000}}') as simulator:
        settings, environment = Bench(b.bootstrap, b.folder, simulator.url, b.times).fresh()
        await apply_topics(settings, partitions=8, replication=1)
        child = contender("processor", environment, b.folder, 100)
        child.start()
        await publish_requests(settings, requests(WARM, count))
        await wait_results(settings, WARM, child)  # it has started
        began_cpu_s = cpu_s(child)
        sent: dict[str, float] = {}
        seen: dict[str, float] = {}

        async def read() -> None:
            async with topic_reader(settings, [topic_names(settings).results]) as consumer:
                while len(seen) < WARM + count:
                    for record in await read_topics(consumer, wait_s=0.5):
                        seen[orjson.loads(record.value or b"")["request_id"]] = time.time()

        reader = asyncio.create_task(read())
        async with request_producer(settings) as producer, asyncio.TaskGroup() as sending:
            begin = time.time()
            for n, (key, value) in enumerate(requests(count)):
                due = begin + n / per_s  # whatever the sending of others takes
                await asyncio.sleep(max(0.0, due - time.time()))
                sent[orjson.loads(value or b"")["request_id"]] = due
                sending.create_task(producer.send_and_wait(topic_names(settings).requests, value, key))
        await asyncio.wait_for(reader, 60)
        used_s = cpu_s(child) - began_cpu_s
        async with topic_reader(settings, [topic_names(settings).results]) as consumer:
            bounds = await consumer.bounds(await consumer.partitions(topic_names(settings).results))
        child.stop(20)
        answered = {c["reference"]: c["answered_at"] for c in simulator.ledger()["calls"]}
    warm = list(sent)[count // 10 :]
    publish = [(seen[r] - answered[call_reference(r, 0)]) * 1000 for r in warm]
    whole = [(seen[r] - sent[r]) * 1000 for r in warm]
    return {
        "publish_p50_ms": round(percentile(publish, 0.5), 1),
        "publish_p99_ms": round(percentile(publish, 0.99), 1),
        "whole_p50_ms": round(percentile(whole, 0.5), 1),
        "whole_p99_ms": round(percentile(whole, 0.99), 1),
        "markers_per_result": round(sum(end - begin for begin, end in bounds.values()) / (WARM + count) - 1, 2),
        "cpu_s_per_1000": round(used_s / count * 1000, 2),
        "warnings": log_lines(child),
    }


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--per-s", type=float, default=40)
    args = parser.parse_args()
    async with bench() as b:
        emit({**await measure(b, args.records, args.per_s), "per_s": args.per_s, "records": args.records})


asyncio.run(main())
