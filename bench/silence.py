"""How long nothing comes out while replicas are killed with SIGKILL and started again at once, or restarted one after the other as a
rolling update does it (``--roll``: SIGTERM, static ids that stay in the group, the next one when the last is ready): the longest gap
between results, of all and of one partition.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from bench.harness import OPEN_LIMITS, bench, emit, requests
from processor.client.topics import read_topics, request_producer, topic_reader
from processor.devkit.processes import ProcessorProcess, SimulatorProcess, processor_environment
from processor.devkit.verifier import percentile
from processor.settings import Settings, load_settings
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics

ROLLED = {"KAFKA__LEAVE_ON_STOP": "false", "LANES__SESSION_TIMEOUT_S": "45"}  # as in deploy/k8s
KILLED = {"LANES__SESSION_TIMEOUT_S": "6"}
LATENCY = '{"latency_s": {"median": 0.05, "sigma": 0.8, "max": 0.3}}'


class Traffic:
    """A steady stream of requests, and when the results came, by partition of the request."""

    def __init__(self, settings: Settings, per_s: float) -> None:
        self.seen: list[tuple[float, int]] = []
        self.ids: list[str] = []
        self.published = 0
        self._settings, self._per_s = settings, per_s
        self._enough, self._stop = asyncio.Event(), asyncio.Event()

    async def publish(self) -> None:
        async with request_producer(self._settings) as producer:
            while not self._enough.is_set():
                await producer.send_all(topic_names(self._settings).requests, requests(10, self.published), 30.0)
                self.published += 10
                await asyncio.sleep(10 / self._per_s)

    async def read(self) -> None:
        async with topic_reader(self._settings, [topic_names(self._settings).results]) as consumer:
            while not self._stop.is_set():
                records = await read_topics(consumer, wait_s=0.1)
                now = time.monotonic()
                for result in (orjson.loads(record.value or b"") for record in records):
                    self.seen.append((now, result["source"]["partition"]))
                    self.ids.append(result["request_id"])

    async def end(self) -> None:
        """Publish no more, and wait for what is on its way."""
        self._enough.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while len(set(self.ids)) < self.published:
                    await asyncio.sleep(0.1)
        self._stop.set()


async def measure(bootstrap: str, folder: Path, per_s: float, kills: int, *, roll: bool) -> dict[str, object]:
    limits = orjson.dumps(OPEN_LIMITS).decode()
    with SimulatorProcess(folder, "--limits", limits, "--faults", LATENCY) as simulator:
        more = ROLLED if roll else KILLED
        environment = processor_environment(bootstrap, simulator.url, "silence", BUDGET__LIMITS=limits, **more)
        settings = load_settings(kafka={"bootstrap": bootstrap, "topic_prefix": "silence", "group": "silence-group"})
        await apply_topics(settings, partitions=8, replication=1)
        fleet = [ProcessorProcess(f"s{n}", environment, folder) for n in range(3)]
        for replica in fleet:
            replica.start()
        await asyncio.gather(*(asyncio.to_thread(r.wait_event, "partitions_assigned") for r in fleet))
        traffic = Traffic(settings, per_s)
        tasks = [asyncio.create_task(traffic.publish()), asyncio.create_task(traffic.read())]
        await asyncio.sleep(10 if roll else 5)  # the group settles
        before = sum(_assignments(r) for r in fleet)
        disturbed_at = await _disturb(fleet, kills, roll=roll)
        await traffic.end()
        await asyncio.gather(*tasks)
        moved = sum(_assignments(r) for r in fleet) - before - kills
        billed = Counter(s["request_id"] for s in simulator.ledger()["sessions"])
        for replica in fleet:
            replica.child.stop(20)
    return _report(traffic, disturbed_at) | {
        "restarts" if roll else "kills": kills,
        "rebalances_beyond_the_restarted": moved,
        "billed_twice": sum(1 for n in billed.values() if n > 1),
        "per_s": per_s,
    }


async def _disturb(fleet: list[ProcessorProcess], count: int, *, roll: bool) -> list[float]:
    rng = random.Random(7)
    moments = []
    for number in range(count):
        victim = fleet[number % len(fleet)] if roll else rng.choice(fleet)
        moments.append(time.monotonic())
        if roll:
            await asyncio.to_thread(victim.child.stop, 30.0)
        else:
            await asyncio.to_thread(victim.child.kill)
        victim.start()
        if roll:
            await _until_ready(victim)
        await asyncio.sleep(rng.uniform(6, 10))
    return moments


def _report(traffic: Traffic, disturbed_at: list[float]) -> dict[str, object]:
    whole = [_gap([at for at, _ in traffic.seen], k, k + 6) for k in disturbed_at]
    worst = [max(_gap([at for at, p in traffic.seen if p == partition], k, k + 6) for partition in range(8)) for k in disturbed_at]
    return {
        "silence_p50_s": round(percentile(whole, 0.5), 2),
        "silence_max_s": round(max(whole), 2),
        "worst_partition_p50_s": round(percentile(worst, 0.5), 2),
        "worst_partition_max_s": round(max(worst), 2),
        "published": traffic.published,
        "missing": traffic.published - len(set(traffic.ids)),
        "doubled": len(traffic.ids) - len(set(traffic.ids)),
    }


def _assignments(replica: ProcessorProcess) -> int:
    return sum(1 for _ in replica.events("partitions_assigned"))


async def _until_ready(replica: ProcessorProcess) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(OSError):
                if replica.get("/readyz")[0] == 200:
                    return
            await asyncio.sleep(0.05)


def _gap(times: list[float], begin: float, end: float) -> float:
    marks = [begin, *(t for t in times if begin < t < end), end]
    return max(later - earlier for earlier, later in itertools.pairwise(marks))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--per-s", type=float, default=150)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--roll", action="store_true")
    args = parser.parse_args()
    async with bench() as b:
        with TemporaryDirectory(prefix="processor-silence-") as folder:
            emit(await measure(b.bootstrap, Path(folder), args.per_s, args.kills, roll=args.roll))


asyncio.run(main())
