"""What replicas cost that have nothing to do: part of a core, and resident memory, of each of three."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import ExitStack

from bench.harness import bench, contender, cpu_s, emit, prepare, rss_mb, wait_results


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--settle-s", type=float, default=20)
    parser.add_argument("--watch-s", type=float, default=60)
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
            before = [cpu_s(replica) for replica in replicas]
            await asyncio.sleep(args.watch_s)
            parts = [100 * (cpu_s(replica) - cpu) / args.watch_s for replica, cpu in zip(replicas, before, strict=True)]
            emit(
                {
                    "core_percent": [round(part, 2) for part in parts],
                    "rss_mb": [round(rss_mb(replica), 1) for replica in replicas],
                    "watched_s": args.watch_s,
                }
            )


asyncio.run(main())
