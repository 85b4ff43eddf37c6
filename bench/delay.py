"""How late retries start: 10 000 records wait in a delay topic; the simulator's ledger says when each call came."""

from __future__ import annotations

import argparse
import asyncio
import random
import time

from bench.harness import Bench, bench, contender, emit, requests
from processor.client.topics import request_producer
from processor.contract.encode import retry_output
from processor.contract.records import Hop, Output, Record, Source, call_reference
from processor.devkit.processes import SimulatorProcess
from processor.devkit.verifier import percentile
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics

DELAY_S = 10
LEAD_S = 15  # publishing and starting are over by then
SPREAD_S = 50


async def measure(b: Bench, count: int) -> dict[str, object]:
    with SimulatorProcess(b.folder, "--limits", '{"session-create":{"limit":1000000},"generic-write":{"limit":1000000}}') as simulator:
        settings, environment = Bench(b.bootstrap, b.folder, simulator.url, b.times).fresh()
        await apply_topics(settings, partitions=1, replication=1)
        rng = random.Random(1)
        now_ms = int(time.time() * 1000)
        due_ms = {}
        async with request_producer(settings) as producer:
            sent: list[Output] = []
            for n, (key, value) in enumerate(requests(count)):
                due = now_ms + LEAD_S * 1000 + rng.randrange(SPREAD_S * 1000)
                due_ms[call_reference(f"b-{n:07d}", 1)] = due
                hop = Hop(Source(topic_names(settings).requests, 0, n), now_ms, hop=1, attempt=1, due_ms=due, last_error="bench")
                output = retry_output(Record(Source("bench", 0, n), key, value), hop, DELAY_S)
                sent.append(output)
            topic = topic_names(settings).retry(DELAY_S)
            for at in range(0, count, 200):
                await asyncio.gather(*(producer.send_and_wait(topic, o.value, o.key, headers=o.headers) for o in sent[at : at + 200]))
        child = contender("processor", environment, b.folder, 100)
        child.start()
        end = time.monotonic() + LEAD_S + SPREAD_S + 30
        calls: list[dict[str, object]] = []
        while len(calls) < count and time.monotonic() < end:
            await asyncio.sleep(2)
            calls += (await asyncio.to_thread(simulator.get, f"/_sim/ledger?since={len(calls)}"))["calls"]
        child.stop(20)
    late = [float(str(c["at"])) * 1000 - due_ms[str(c["reference"])] for c in calls]
    return {
        "late_p50_ms": round(percentile(late, 0.5), 1),
        "late_p99_ms": round(percentile(late, 0.99), 1),
        "late_max_ms": round(max(late), 1),
        "early": sum(1 for x in late if x < -1),
        "waiting": count,
        "started": len(late),
    }


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=10_000)
    async with bench() as b:
        emit(await measure(b, parser.parse_args().records))


asyncio.run(main())
