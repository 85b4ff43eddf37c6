"""Latency at a given rate: from Didit's answer until a read_committed reader has the result, and from the caller's send.

Also what publishing cost (transaction markers and CPU a result), what a healthy system had to say in its log, and how much CPU each of
the processes took: where their sum comes near the machine's cores, it is a queue for CPU that is measured. So the API is a raw stub;
``--simulator`` takes the simulator, which costs more than half as much as the processor.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import orjson

from bench.harness import Bench, bench, contender, cpu_s, emit, log_lines, requests, wait_results
from processor.client.topics import publish_requests, read_topics, request_producer, topic_reader
from processor.contract.records import call_reference
from processor.devkit.child_process import ChildProcess
from processor.devkit.processes import SimulatorProcess
from processor.devkit.verifier import percentile
from processor.settings import Settings
from processor.stream.partitions import TopicPartition
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics

FIRST = 50  # requests before those that are sent at the rate: the processor has started
WARM_S = 15.0  # at the rate, and not counted: a fresh broker computes for some seconds before it is warm
_TICK_S = 0.01


@dataclass
class Run:
    """What was seen. Times are epoch seconds, by request."""

    sent: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    lags_ms: list[float] = field(default_factory=list)  # of this process's own loop, which sends and reads

    async def send(self, settings: Settings, warm: int, count: int, per_s: float, on_warm: Callable[[], None]) -> None:
        async with request_producer(settings) as producer, asyncio.TaskGroup() as sending:
            begin = time.time()
            for n, (key, value) in enumerate(requests(warm + count)):
                if n == warm:
                    on_warm()
                due = begin + n / per_s  # whatever the sending of others takes
                await asyncio.sleep(max(0.0, due - time.time()))
                self.sent[orjson.loads(value or b"")["request_id"]] = due
                sending.create_task(producer.send_and_wait(topic_names(settings).requests, value, key))

    async def read(self, settings: Settings, count: int) -> None:
        async with topic_reader(settings, [topic_names(settings).results]) as consumer:
            while len(self.seen) < count:
                for record in await read_topics(consumer, wait_s=0.5):
                    self.seen[orjson.loads(record.value or b"")["request_id"]] = time.time()

    async def note_lags(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(_TICK_S)
            self.lags_ms.append(1000 * (time.monotonic() - began - _TICK_S))


class Cpu:
    """CPU of each process since ``begin``."""

    def __init__(self, processes: Mapping[str, ChildProcess | None]) -> None:
        self._processes = {name: process for name, process in processes.items() if process is not None}
        self.begin()

    def begin(self) -> None:
        self._before, self._began = self._read(), time.monotonic()

    def used_s(self) -> dict[str, float]:
        """By process, this one included."""
        return {name: used - self._before[name] for name, used in self._read().items()}

    def cores(self) -> dict[str, float]:
        """Each process's part of a core, and the sum."""
        parts = {name: used / (time.monotonic() - self._began) for name, used in self.used_s().items()}
        return {name: round(part, 2) for name, part in (parts | {"all": sum(parts.values())}).items()}

    def _read(self) -> dict[str, float]:
        return {name: cpu_s(process) for name, process in self._processes.items()} | {"bench": time.process_time()}


@contextmanager
def api(b: Bench, *, simulator: bool) -> Iterator[tuple[Bench, SimulatorProcess | None]]:
    """The benchmark with the URL of what answers."""
    if not simulator:
        yield b, None
        return
    with SimulatorProcess(b.folder, "--limits", '{"session-create":{"limit":1000000},"generic-write":{"limit":1000000}}') as running:
        yield replace(b, url=running.url, stub=running.child), running


def answered_at(b: Bench, simulator: SimulatorProcess | None) -> dict[str, float]:
    """When each call was answered, epoch seconds, by its reference."""
    if simulator is not None:
        return {c["reference"]: c["answered_at"] for c in simulator.ledger()["calls"]}
    assert b.answers is not None
    return {reference: float(at) for reference, at in (line.split() for line in b.answers.read_text().splitlines())}


async def measure(b: Bench, simulator: SimulatorProcess | None, count: int, per_s: float, partitions: int) -> dict[str, object]:
    settings, environment = b.fresh()
    await apply_topics(settings, partitions=partitions, replication=1)
    child = contender("processor", environment, b.folder, 100)
    child.start()
    warm = int(WARM_S * per_s)
    total = warm + count
    await publish_requests(settings, requests(FIRST, total))
    await wait_results(settings, FIRST, child)
    run, cpu = Run(), Cpu({"processor": child, "broker": b.kafka, "api": b.stub})
    reader, lags = asyncio.create_task(run.read(settings, FIRST + total)), asyncio.create_task(run.note_lags())
    behind = 0  # results of the warm-up that are still to come when the CPU begins to count

    def begin() -> None:
        nonlocal behind
        behind = warm - len(run.sent.keys() & run.seen.keys())
        cpu.begin()

    await run.send(settings, warm, count, per_s, begin)
    await asyncio.wait_for(reader, 60)
    cores, used_s = cpu.cores(), cpu.used_s()
    lags.cancel()
    async with topic_reader(settings, [topic_names(settings).results]) as consumer:
        bounds = await consumer.bounds(await consumer.partitions(topic_names(settings).results))
        commits = await consumer.bounds(await consumer.partitions("__consumer_offsets"))
    child.stop(20)
    answered = answered_at(b, simulator)
    counted = list(run.sent)[warm:]
    publish = [(run.seen[r] - answered[call_reference(r, 0)]) * 1000 for r in counted]
    whole = [(run.seen[r] - run.sent[r]) * 1000 for r in counted]
    return {
        "publish_p50_ms": round(percentile(publish, 0.5), 1),
        "publish_p99_ms": round(percentile(publish, 0.99), 1),
        "whole_p50_ms": round(percentile(whole, 0.5), 1),
        "whole_p99_ms": round(percentile(whole, 0.99), 1),
        "markers_per_result": round(_length(bounds) / (FIRST + total) - 1, 2),
        "results_per_transaction": round(2 * (FIRST + total) / _length(commits), 2),  # each has an offset there and a marker
        "cpu_s_per_1000": {name: round(used / (behind + count) * 1000, 2) for name, used in used_s.items()},
        "cores_used": cores,
        "bench_lag_p99_ms": round(percentile(run.lags_ms, 0.99), 1),
        "warnings": log_lines(child),
    }


def _length(bounds: Mapping[TopicPartition, tuple[int, int]]) -> int:
    return sum(end - begin for begin, end in bounds.values())


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--per-s", type=float, default=40)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--simulator", action="store_true", help="instead of the raw stub")
    args = parser.parse_args()
    async with bench(note_answers=not args.simulator) as b:
        with api(b, simulator=args.simulator) as (at, simulator):
            found = await measure(at, simulator, args.records, args.per_s, args.partitions)
            emit({**found, "per_s": args.per_s, "records": args.records, "partitions": args.partitions})


asyncio.run(main())
