"""What poison among honest requests costs the honest ones: the same load without it and with it, one after the other."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator

import orjson
from aiokafka import AIOKafkaProducer

from bench.harness import Bench, bench, contender, emit, requests, rss_mb
from bench.judging import HOSTILE
from processor.client.topics import read_topics, request_producer, topic_reader
from processor.devkit.child_process import ChildProcess
from processor.devkit.verifier import percentile
from processor.settings import Settings
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics

BOMB_BYTES = 50_000_000  # of blanks; gzip makes 50 KB of them
LARGEST = 1_048_000  # what a broker takes as a batch, less its headers
PARTITIONS = 8


def poison(rng: random.Random) -> Iterator[tuple[bytes | None, dict[str, bytes]]]:
    """Values and headers, for ever: every kind in turn."""
    large = [make()[:LARGEST] for make in HOSTILE.values()]
    small: list[tuple[bytes | None, dict[str, bytes]]] = [
        (None, {}),
        (b"", {}),
        (b"\xff\xfe\x00", {}),
        (b"[" * 5000, {}),
        (b'{"request_id":"p","operation":"session.create","input":{"metadata":{"x":1e400}}}', {}),
        (b'{"request_id":"p","operation":"nothing","input":{}}', {}),
        (b"{}", {"vp-attempt": b"-1"}),
        (b"{}", {"vp-due-ms": b"253402300800000"}),
    ]
    while True:
        kinds = [*small, *((value, {}) for value in large)]
        rng.shuffle(kinds)
        yield from kinds


async def publish_honest(settings: Settings, per_s: float, seconds: float, sent: dict[str, float]) -> None:
    async with request_producer(settings) as producer, asyncio.TaskGroup() as group:
        began = time.monotonic()
        for n, (key, value) in enumerate(requests(int(per_s * seconds))):
            sent[orjson.loads(value or b"")["request_id"]] = time.time()
            group.create_task(producer.send_and_wait(topic_names(settings).requests, value, key))
            await asyncio.sleep(max(0.0, began + n / per_s - time.monotonic()))


async def publish_poison(settings: Settings, per_s: float, seconds: float, seed: int) -> int:
    """Records of every kind, each 20th a bomb; returns how many."""
    rng, topic, count = random.Random(seed), topic_names(settings).requests, 0
    options = {"bootstrap_servers": settings.kafka.bootstrap, "max_request_size": 2 * BOMB_BYTES}
    plain = AIOKafkaProducer(**options)
    packed = AIOKafkaProducer(**options, compression_type="gzip", max_batch_size=2 * BOMB_BYTES)
    await plain.start()
    await packed.start()
    try:
        began, kinds = time.monotonic(), poison(rng)
        while time.monotonic() < began + seconds:
            partition = rng.randrange(PARTITIONS)
            if count % 20 == 19:
                await packed.send_and_wait(topic, b" " * BOMB_BYTES, partition=partition)
            else:
                value, headers = next(kinds)
                await plain.send(topic, value, b"p", partition=partition, headers=list(headers.items()))
            count += 1
            await asyncio.sleep(max(0.0, began + count / per_s - time.monotonic()))
        await plain.flush()
    finally:
        await plain.stop()
        await packed.stop()
    return count


async def read_honest(settings: Settings, seen: dict[str, float], count: int) -> None:
    async with topic_reader(settings, [topic_names(settings).results]) as consumer:
        while len(seen) < count:
            for record in await read_topics(consumer, wait_s=0.2):
                found = orjson.loads(record.value or b"")
                if (found["request_id"] or "").startswith("b-"):
                    seen[found["request_id"]] = time.time()


async def peak_mb(child: ChildProcess) -> float:
    """The largest resident memory until it is cancelled."""
    most = 0.0
    while True:
        try:
            most = max(most, rss_mb(child))
            await asyncio.sleep(0.25)
        except asyncio.CancelledError:
            return most


async def measure(b: Bench, share: float, per_s: float, seconds: float) -> dict[str, float]:
    settings, environment = b.fresh()
    await apply_topics(settings, partitions=PARTITIONS, replication=1)
    child = contender("processor", environment, b.folder, 100)
    child.start()
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    memory = asyncio.create_task(peak_mb(child))
    reader = asyncio.create_task(read_honest(settings, seen, int(per_s * seconds)))
    # in a thread, with a loop of its own: packing a bomb takes this process a quarter of a second
    poisoned = asyncio.to_thread(asyncio.run, publish_poison(settings, per_s * share, seconds, seed=1)) if share else asyncio.sleep(0, 0)
    _, poison_count = await asyncio.gather(publish_honest(settings, per_s, seconds, sent), poisoned)
    await asyncio.wait_for(reader, 120)
    memory.cancel()
    child.stop(20)
    warm = list(sent)[len(sent) // 10 :]  # the first ones meet a processor that is still starting
    waits = [(seen[r] - sent[r]) * 1000 for r in warm]
    return {"p50_ms": percentile(waits, 0.5), "p99_ms": percentile(waits, 0.99), "peak_mb": await memory, "poison": poison_count}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--per-s", type=float, default=40)
    parser.add_argument("--share", type=float, default=0.01)
    args = parser.parse_args()
    async with bench() as b:
        without = await measure(b, 0.0, args.per_s, args.seconds)
        among = await measure(b, args.share, args.per_s, args.seconds)
    rounded = {"without": {k: round(v, 1) for k, v in without.items()}, "with": {k: round(v, 1) for k, v in among.items()}}
    emit({**rounded, "p99_ratio": round(among["p99_ms"] / without["p99_ms"], 2), "per_s": args.per_s, "seconds": args.seconds})


asyncio.run(main())
