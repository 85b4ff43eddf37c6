"""Resident memory with 100 000 requests waiting in the input and a budget that lets few of them go."""

from __future__ import annotations

import argparse
import asyncio
import json
import time

from bench.harness import bench, contender, emit, prepare, rss_mb

LIMITS = {s: {"limit": 120, "window_s": 60} for s in ("session-create", "session-decision", "generic-write", "generic-get")}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--watch-s", type=float, default=30)
    args = parser.parse_args()
    async with bench() as b:
        settings, environment = b.fresh()
        await prepare(settings, args.records)
        child = contender("processor", {**environment, "VP_BUDGET__LIMITS": json.dumps(LIMITS)}, b.folder, 100)
        child.start()
        end = time.monotonic() + args.watch_s
        most = 0.0
        while time.monotonic() < end and child.alive:
            most = max(most, rss_mb(child))
            await asyncio.sleep(0.25)
        if not child.alive:
            raise RuntimeError(child.log_tail())
        child.stop(20)
        emit({"rss_mb": round(most, 1), "waiting": args.records, "watched_s": args.watch_s})


asyncio.run(main())
