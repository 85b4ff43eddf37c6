"""Throughput of the whole path with budgets off, against the bare loop, in one run: interleaved rounds, medians, a ratio."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys

from bench.harness import Bench, bench, contender, cpu_s, emit, prepare, wait_results


async def measure(b: Bench, which: str, count: int, concurrency: int) -> tuple[float, float]:
    """Records per second from the first call to the last result, and CPU seconds per 1000 records."""
    settings, environment = b.fresh()
    await prepare(settings, count)
    b.times.unlink(missing_ok=True)
    child = contender(which, environment, b.folder, concurrency)
    child.start()
    try:
        stamps = await wait_results(settings, count, child)
        rate = count / (max(stamps) - min(stamps))
        return rate, cpu_s(child) / count * 1000
    finally:
        child.stop(20)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rates: dict[str, list[float]] = {"bare": [], "processor": []}
    cpu: dict[str, list[float]] = {"bare": [], "processor": []}
    async with bench() as b:
        for n in range(args.rounds):
            for which in ("bare", "processor"):
                rate, used = await measure(b, which, args.records, 100)
                rates[which].append(rate)
                cpu[which].append(used)
                print(f"round {n + 1} {which}: {rate:.0f}/s, {used:.2f} CPU s per 1000", file=sys.stderr)
    async with bench(latency_s=0.1) as b:
        slow, _ = await measure(b, "processor", 6000, 100)
        print(f"100 ms calls, 100 in flight: {slow:.0f}/s", file=sys.stderr)
    bare, ours = statistics.median(rates["bare"]), statistics.median(rates["processor"])
    emit(
        {
            "ratio": round(ours / bare, 3),
            "processor_per_s": round(ours),
            "bare_per_s": round(bare),
            "processor_cpu_s_per_1000": round(statistics.median(cpu["processor"]), 3),
            "bare_cpu_s_per_1000": round(statistics.median(cpu["bare"]), 3),
            "at_100_ms_per_s": round(slow),
        }
    )


asyncio.run(main())
