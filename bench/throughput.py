"""Throughput of the whole path with budgets off, against the bare loop, in one run: interleaved rounds, medians, a ratio."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections import defaultdict
from contextlib import ExitStack

from bench.harness import Bench, bench, contender, cpu_s, emit, prepare, wait_results

CASES = {"bare": ("bare", 1), "processor": ("processor", 1), "three": ("processor", 3)}  # what runs, how many of it


async def measure(b: Bench, case: str, count: int, concurrency: int) -> tuple[float, float]:
    """Records per second, and CPU seconds of all processes for 1000 of them: of the second half, when everybody has started."""
    which, replicas = CASES[case]
    settings, environment = b.fresh()
    await prepare(settings, count)
    with ExitStack() as stack:
        names = [f"{case}-{n}-{settings.kafka.topic_prefix}" for n in range(replicas)]
        children = [
            contender(which, {**environment, "VP_KAFKA__INSTANCE_ID": name}, b.folder, concurrency // replicas, name) for name in names
        ]
        for child in children:
            child.start()
            stack.callback(child.stop, 20)
        half: list[tuple[int, float]] = []
        stamps = await wait_results(
            settings, count, children[0], 240, on_half=lambda found: half.append((found, sum(cpu_s(child) for child in children)))
        )
        used = sum(cpu_s(child) for child in children) - half[0][1]
    stamps.sort()
    return (count - count // 2) / (stamps[-1] - stamps[count // 2]), used / (count - half[0][0]) * 1000


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rates: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    async with bench() as b:
        for n in range(args.rounds):
            for case in CASES:
                rate, used = await measure(b, case, args.records, 100)
                rates[case].append(rate)
                cpu[case].append(used)
                print(f"round {n + 1} {case}: {rate:.0f}/s, {used:.2f} CPU s per 1000", file=sys.stderr)
    slow: dict[str, dict[str, int]] = defaultdict(dict)
    async with bench(latency_s=0.1) as b:
        for in_flight in (100, 1000):
            for case in ("bare", "processor"):
                rate, used = await measure(b, case, args.records * 6 // 10, in_flight)
                slow[case][str(in_flight)] = round(rate)
                print(f"100 ms calls, {in_flight} in flight, {case}: {rate:.0f}/s, {used:.2f} CPU s per 1000", file=sys.stderr)
    of = {case: statistics.median(found) for case, found in rates.items()}
    of_cpu = {case: round(statistics.median(found), 3) for case, found in cpu.items()}
    emit(
        {
            "ratio": round(of["processor"] / of["bare"], 3),
            "three_to_one": round(of["three"] / of["processor"], 3),
            "per_s": {case: round(rate) for case, rate in of.items()},
            "cpu_s_per_1000": of_cpu,
            "at_100_ms_per_s": slow["processor"],
            "bare_at_100_ms_per_s": slow["bare"],
        }
    )


asyncio.run(main())
