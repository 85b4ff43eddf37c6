"""A fleet on three brokers under mixed load, disturbed at random all the time; judged by `processor verify` and the simulator's ledger.

The last line is one JSON object: what was disturbed, every kind of finding (all must be absent), statuses, and how long the slowest took.
``--seed``: another order of disturbances. Exit status 1 if a promise was broken or a request has no final result.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bench.billing import MIX, VARIABLES, request, sessions_to_ask_for
from bench.harness import emit
from bench.scene import LATENCY, Limits, Scene, scene
from processor.client.topics import request_producer
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.topic_watch import TopicWatch
from processor.stream.topics import topic_names
from processor.verify.audit import AuditOptions, audit
from processor.verify.bills import bills_of_ledger
from processor.verify.findings import BrokenPromise

LIMITS: Limits = {
    "session-create": (400, 10.0),
    "generic-write": (400, 10.0),
    "session-decision": (400, 10.0),
    "generic-get": (400, 10.0),
}
FAULTS = {  # a 429 pauses its scope for as long as it says: one in a hundred calls would be more than the load allows
    **LATENCY,
    "rates": {"lost_reply": 0.02, "reset": 0.01, "error_500_html": 0.01, "error_503": 0.02, "truncated": 0.01, "throttle_429": 0.0005},
}
BROKERS = 3
END_S = 300.0  # within which everything ends after the last disturbance


async def kill(s: Scene, rng: random.Random) -> None:
    """SIGKILL of a processor, back within three seconds."""
    victim = rng.choice(s.replicas)
    await asyncio.to_thread(victim.child.kill)
    await asyncio.sleep(rng.uniform(0, 3))
    victim.start()


async def freeze(s: Scene, rng: random.Random) -> None:
    """SIGSTOP of a processor: some are shorter than its session, some longer."""
    victim = rng.choice(s.replicas)
    victim.child.freeze()
    await asyncio.sleep(rng.uniform(1, 12))
    victim.child.thaw()


async def restart(s: Scene, rng: random.Random) -> None:
    """SIGTERM of a processor and another start, as a deployment does."""
    victim = rng.choice(s.replicas)
    await asyncio.to_thread(victim.child.stop, 30)
    victim.start()


async def kill_broker(s: Scene, rng: random.Random) -> None:
    """SIGKILL of a broker, back after some seconds; the next disturbance waits until it is a member again."""
    victim = rng.choice(s.kafka.brokers)
    await asyncio.to_thread(victim.kill)
    await asyncio.sleep(rng.uniform(1, 8))
    victim.start()
    await asyncio.to_thread(s.kafka.wait_ready)


async def freeze_broker(s: Scene, rng: random.Random) -> None:
    """SIGSTOP of a broker: its connections stay."""
    victim = rng.choice(s.kafka.brokers)
    victim.freeze()
    await asyncio.sleep(rng.uniform(1, 12))
    victim.thaw()
    await asyncio.to_thread(s.kafka.wait_ready)


Disturbance = Callable[[Scene, random.Random], Awaitable[None]]
DISTURBANCES: tuple[Disturbance, ...] = (kill, kill, freeze, restart, kill_broker, freeze_broker)


@dataclass(frozen=True, slots=True)
class Options:
    """``seconds`` of load at ``per_s`` requests; a disturbance begins about every ``every_s`` seconds."""

    seconds: float
    per_s: float
    every_s: float
    seed: int


async def disturb(s: Scene, options: Options, stop: asyncio.Event) -> Counter[str]:
    """One after the other until ``stop``: what guarantees.md excludes (two brokers away at once) does not happen."""
    rng, done, left = random.Random(options.seed), Counter[str](), list[Disturbance]()
    while not stop.is_set():
        await asyncio.sleep(rng.uniform(0.5, 1.5) * options.every_s)
        left = left or rng.sample(DISTURBANCES, len(DISTURBANCES))  # each kind within a round
        disturbance = left.pop()
        await disturbance(s, rng)
        done[getattr(disturbance, "__name__", "")] += 1
    return done


async def publish(s: Scene, options: Options, known: list[str]) -> int:
    """An even load; each send waits for its acknowledgement, a broker that is away included."""
    began, sent, topic = time.monotonic(), 0, topic_names(s.settings).requests
    async with request_producer(s.settings) as producer:
        while (now := time.monotonic()) < began + options.seconds:
            due = int((now - began) * options.per_s)
            batch = [request(n, MIX[n % len(MIX)], known[n % len(known)]) for n in range(sent, due)]
            await asyncio.gather(*(producer.send_and_wait(topic, value, key) for key, value in batch))
            sent = due
            await asyncio.sleep(0.2)
    return sent


async def until_all(watch: TopicWatch, sent: int) -> bool:
    """Whether every request has its final result within END_S."""
    end = time.monotonic() + END_S
    while len(watch.seen.final_ids) < sent and time.monotonic() < end:
        print(f"{len(watch.seen.final_ids)} of {sent}", end="\r", file=sys.stderr)
        await asyncio.sleep(1)
    return len(watch.seen.final_ids) >= sent


async def measure(kafka: LocalKafka, options: Options) -> dict[str, Any]:
    async with scene(kafka, LIMITS, variables=VARIABLES, faults=FAULTS, replication=BROKERS) as s:
        known = await sessions_to_ask_for(s, 50)
        watch, calm, end = TopicWatch(s.settings), asyncio.Event(), asyncio.Event()
        await s.start(3)
        async with asyncio.TaskGroup() as group:
            group.create_task(watch.follow(end))
            disturbing = group.create_task(disturb(s, options, calm))
            sent = await publish(s, options, known)
            calm.set()
            disturbed = await disturbing
            began = time.monotonic()
            ended = await until_all(watch, sent)
            drained_s = time.monotonic() - began
            end.set()
        await asyncio.to_thread(s.stop)
        found = await audit(s.settings, AuditOptions(older_s=1.0, bills=bills_of_ledger(await s.ledger())))
        return {
            "requests": sent,
            "all_ended": ended,
            "drained_s": round(drained_s, 1),
            "by_status": dict(found.figures.by_status),
            "findings": {kind.value: count for kind, count in found.findings.counts.items()},
            "billed_twice": found.count(BrokenPromise.BILLED_TWICE),
            "retries": found.figures.retries,
            "late_retry_p99_ms": found.figures.late_p99_ms,
            "disturbed": dict(disturbed),
            "scopes": found.scopes,
        }


async def main() -> int:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--per-s", type=float, default=30)
    parser.add_argument("--every-s", type=float, default=6)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with LocalKafka(brokers=BROKERS) as kafka:
        seen = await measure(kafka, Options(args.seconds, args.per_s, args.every_s, args.seed))
    emit(seen)
    return 0 if seen["all_ended"] and not seen["findings"] else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
