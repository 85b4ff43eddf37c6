"""What replicas cost that have nothing to do: part of a core, and resident memory, of each of three.

Then other people make topics on the same brokers, and it is measured again when every client has asked for metadata since (five minutes).
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import ExitStack

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.harness import bench, contender, cpu_s, emit, prepare, rss_mb, wait_results
from processor.devkit.child_process import ChildProcess


async def watch(replicas: list[ChildProcess], watch_s: float) -> dict[str, list[float]]:
    before = [cpu_s(replica) for replica in replicas]
    await asyncio.sleep(watch_s)
    parts = [100 * (cpu_s(replica) - cpu) / watch_s for replica, cpu in zip(replicas, before, strict=True)]
    return {"core_percent": [round(part, 2) for part in parts], "rss_mb": [round(rss_mb(replica), 1) for replica in replicas]}


async def make_topics(bootstrap: str, topics: int, partitions: int) -> None:
    """Topics that are none of ours."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=120_000)
    await admin.start()
    try:
        for first in range(0, topics, 20):
            await admin.create_topics([NewTopic(f"foreign-{n}", partitions, 1) for n in range(first, min(first + 20, topics))])
    finally:
        await admin.close()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--settle-s", type=float, default=20)
    parser.add_argument("--watch-s", type=float, default=60)
    parser.add_argument("--foreign-topics", type=int, default=100)
    parser.add_argument("--foreign-partitions", type=int, default=20)
    parser.add_argument("--metadata-s", type=float, default=310, help="until every client has asked for metadata again")
    args = parser.parse_args()
    async with bench() as b:
        settings, environment = b.fresh()
        await prepare(settings, 100)
        with ExitStack() as stack:
            replicas = [
                contender("processor", {**environment, "VP_KAFKA__INSTANCE_ID": f"idle-{n}"}, b.folder, 100, name=f"idle-{n}")
                for n in range(args.replicas)
            ]
            for replica in replicas:
                replica.start()
                stack.callback(replica.stop, 20)
            await wait_results(settings, 100, replicas[0])
            await asyncio.sleep(args.settle_s)
            alone = await watch(replicas, args.watch_s)
            await make_topics(b.bootstrap, args.foreign_topics, args.foreign_partitions)
            await asyncio.sleep(max(0.0, args.metadata_s - args.watch_s))
            among = await watch(replicas, args.watch_s)
            foreign = args.foreign_topics * args.foreign_partitions
            emit({**alone, "foreign_partitions": foreign, "among_them": among, "watched_s": args.watch_s})


asyncio.run(main())
