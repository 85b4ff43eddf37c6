"""How long nothing comes out when a replica is killed with SIGKILL and started again at once: the longest gap between results."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from bench.harness import OPEN_LIMITS, bench, emit, requests
from processor.local.fleet import ProcessorProcess, SimulatorProcess, processor_environment
from processor.local.judge import percentile
from processor.settings import load_settings
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics
from processor.traffic import read_topics, request_producer, topic_reader

LATENCY = '{"latency_s": {"median": 0.05, "sigma": 0.8, "max": 0.3}}'


async def measure(bootstrap: str, folder: Path, per_s: float, kills: int) -> dict[str, object]:
    limits = orjson.dumps(OPEN_LIMITS).decode()
    with SimulatorProcess(folder, "--limits", limits, "--faults", LATENCY) as simulator:
        environment = processor_environment(bootstrap, simulator.url, "silence", BUDGET__LIMITS=limits, LANES__SESSION_TIMEOUT_S="6")
        settings = load_settings(kafka={"bootstrap": bootstrap, "topic_prefix": "silence", "group": "silence-group"})
        await apply_topics(settings, partitions=8, replication=1)
        fleet = [ProcessorProcess(f"s{n}", environment, folder) for n in range(3)]
        for replica in fleet:
            replica.start()
        await asyncio.gather(*(asyncio.to_thread(r.wait_event, "partitions_assigned") for r in fleet))
        rng = random.Random(7)
        stop = asyncio.Event()
        seen: list[tuple[float, int]] = []
        killed_at: list[float] = []

        async def publish() -> int:
            count = 0
            async with request_producer(settings) as producer:
                while not stop.is_set():
                    for key, value in requests(10, count):
                        await producer.send(topic_names(settings).requests, value, key)
                    count += 10
                    await asyncio.sleep(10 / per_s)
            return count

        async def read() -> None:
            async with topic_reader(settings, [topic_names(settings).results]) as consumer:
                while not stop.is_set():
                    records = await read_topics(consumer, wait_s=0.1)
                    now = time.monotonic()
                    seen.extend((now, orjson.loads(record.value)["source"]["partition"]) for record in records)

        publisher, reader = asyncio.create_task(publish()), asyncio.create_task(read())
        await asyncio.sleep(5)
        for _ in range(kills):
            victim = rng.choice(fleet)
            killed_at.append(time.monotonic())
            await asyncio.to_thread(victim.child.kill)
            victim.start()
            await asyncio.sleep(rng.uniform(6, 10))
        stop.set()
        await publisher
        await reader
        for replica in fleet:
            replica.child.stop(20)
    whole = [_gap([at for at, _ in seen], k, k + 6) for k in killed_at]
    worst = [max(_gap([at for at, p in seen if p == partition], k, k + 6) for partition in range(8)) for k in killed_at]
    return {
        "silence_p50_s": round(percentile(whole, 0.5), 2),
        "silence_max_s": round(max(whole), 2),
        "worst_partition_p50_s": round(percentile(worst, 0.5), 2),
        "worst_partition_max_s": round(max(worst), 2),
        "kills": kills,
        "per_s": per_s,
    }


def _gap(times: list[float], begin: float, end: float) -> float:
    marks = [begin, *(t for t in times if begin < t < end), end]
    return max(later - earlier for earlier, later in itertools.pairwise(marks))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--per-s", type=float, default=150)
    parser.add_argument("--kills", type=int, default=8)
    args = parser.parse_args()
    async with bench() as b:
        with TemporaryDirectory(prefix="processor-silence-") as folder:
            emit(await measure(b.bootstrap, Path(folder), args.per_s, args.kills))


asyncio.run(main())
