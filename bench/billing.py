"""Billing under fire: kills every few seconds and lost replies; was anything billed twice, and has each request one final result?"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp
import orjson

from bench.harness import WORKFLOW_ID, emit
from bench.scene import LATENCY, SCALED, Limits, Scene, scene
from processor.budget.log_records import Alive, Asked, Begun, LogRecord, decode_entry
from processor.client.topics import read_topics, topic_reader
from processor.contract.digests import request_digest
from processor.contract.records import call_reference
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import API_KEY
from processor.devkit.topic_watch import TopicWatch
from processor.devkit.verifier import percentile
from processor.stream.topics import topic_names
from processor.verify.audit import AuditOptions, audit
from processor.verify.bills import bills_of_ledger
from processor.verify.findings import BrokenPromise

LIMITS: Limits = {
    "session-create": (300, 10.0),
    "generic-write": (300, 10.0),
    "session-decision": (150, 10.0),
    "generic-get": (300, 10.0),
}
FAULTS = {**LATENCY, "rates": {"lost_reply": 0.05}}
VARIABLES = SCALED | {"RETRY__DELAYS_S": "[1,2,5]", "RETRY__PARTITIONS": "2", "RETRY__BACKOFF_BASE_S": "1", "RETRY__BACKOFF_MAX_S": "5"}
_STAMP_S = 0.1  # the note of a kill may come before the stamp of what that replica had just sent
MIX = ("session.create", "session.create", "session.decision", "aml", "email.send")


async def sessions_to_ask_for(s: Scene, count: int) -> list[str]:
    """Sessions made beside the processors."""
    found: list[str] = []
    async with aiohttp.ClientSession(headers={"x-api-key": API_KEY}, raise_for_status=True) as http:
        while len(found) < count:
            body = {"workflow_id": WORKFLOW_ID, "vendor_data": f"beside-{len(found)}"}
            try:
                async with http.post(f"{s.simulator.url}/v3/session/", json=body) as response:
                    found.append((await response.json())["session_id"])
            except aiohttp.ClientError:
                continue  # a fault; the next one returns the same session
    return found


def request(number: int, operation: str, session_id: str) -> tuple[bytes, bytes]:
    what: dict[str, Any] = {
        "session.create": {"workflow_id": WORKFLOW_ID, "vendor_data": f"user-{number}"},
        "session.decision": {"session_id": session_id},
        "aml": {"full_name": f"Ann Example {number}"},
        "email.send": {"email": f"user-{number}@example.com"},
    }[operation]
    return f"user-{number}".encode(), orjson.dumps({"request_id": f"b-{number:06d}", "operation": operation, "input": what})


class Kill(NamedTuple):
    """Of a replica; epoch seconds."""

    at: float
    replica: str


async def fire(s: Scene, every_s: float, stop: asyncio.Event) -> list[Kill]:
    """Kill somebody every few seconds, and start it again at once."""
    rng, kills = random.Random(5), list[Kill]()
    while not stop.is_set():
        await asyncio.sleep(rng.uniform(0.5, 1.5) * every_s)
        victim = rng.choice(s.replicas)
        kills.append(Kill(time.time(), victim.name))
        await asyncio.to_thread(victim.child.kill)
        victim.start()
    return kills


async def read_log(s: Scene) -> list[tuple[float, LogRecord | None]]:
    """The records of the budget log, each with its broker's stamp, epoch seconds."""
    found: list[tuple[float, LogRecord | None]] = []
    async with topic_reader(s.settings, [topic_names(s.settings).budget]) as reader:
        bounds = await reader.bounds(reader.assigned)
        while not all((reader.position(tp) or 0) >= end for tp, (_, end) in bounds.items()):
            for entry in await read_topics(reader, wait_s=0.2):
                found += [(entry.timestamp_ms / 1000, record) for record in decode_entry(entry.value)]
    return found


class Announced(NamedTuple):
    """The last announcement of a request's call."""

    at: float  # the broker's stamp, epoch seconds
    replica: str


def announcements(log: Iterable[tuple[float, LogRecord | None]], digests: Collection[str]) -> dict[str, Announced]:
    """Of those of these requests, by their digests, whose call was announced."""
    found: dict[str, Announced] = {}
    replicas: dict[str, str] = {}  # by the beginning of the ids of their asks
    asked: dict[str, str] = {}
    for at, record in log:
        if isinstance(record, Alive):
            replicas[record.client] = record.instance
        elif isinstance(record, Asked) and record.identity is not None and record.identity.request in digests:
            asked[record.id] = record.identity.request
        elif isinstance(record, Begun) and record.id in asked:
            found[asked[record.id]] = Announced(at, replicas.get(record.id.rpartition("-")[0], ""))
    return found


def announced_ms(
    found: Mapping[str, Announced], unmade: Collection[str], called_at: Mapping[str, float], kills: Sequence[Kill]
) -> dict[str, Any]:
    """How long after the announcement each call left, or its replica was killed. Requests are named by their digests."""
    left = [1000 * (called_at[digest] - announced.at) for digest, announced in found.items() if digest in called_at]
    ends: list[int | None] = []
    for digest in unmade:
        announced = found.get(digest)
        after = [kill.at for kill in kills if announced and kill.replica == announced.replica and kill.at > announced.at - _STAMP_S]
        ends.append(round(1000 * (min(after) - announced.at)) if announced and after else None)
    return {"call_p50": round(percentile(left, 0.5)), "call_p99": round(percentile(left, 0.99)), "killed_and_not_made": ends}


async def measure(kafka: LocalKafka, count: int, every_s: float) -> dict[str, Any]:
    async with scene(kafka, LIMITS, variables=VARIABLES, faults=FAULTS) as s:
        known = await sessions_to_ask_for(s, 50)
        ids = [f"b-{n:06d}" for n in range(count)]
        operations = {request_id: MIX[n % len(MIX)] for n, request_id in enumerate(ids)}
        watch, stop = TopicWatch(s.settings), asyncio.Event()
        follow = asyncio.create_task(watch.follow(stop))
        await s.start(3)
        await s.publish([request(n, operations[i], known[n % len(known)]) for n, i in enumerate(ids)])
        firing = asyncio.create_task(fire(s, every_s, stop))
        async with asyncio.timeout(60 + count):
            while len(watch.seen.final_ids) < count:
                await asyncio.sleep(1)
                print(f"{len(watch.seen.final_ids)} of {count}", end="\r", file=sys.stderr)
        stop.set()
        kills = await firing
        await follow
        ledger = await s.ledger()
        audited = await audit(s.settings, AuditOptions(older_s=1.0, bills=bills_of_ledger(ledger)))
        in_doubt = {f.request_id for f in watch.seen.finals if f.status == "in_doubt"}
        checked = {c["reference"].rpartition(".")[0] for c in ledger["checks"]}
        digests = {request_digest(topic_names(s.settings).prefix, i): i for i in ids if operations[i] == "email.send"}
        called = {c["reference"].rpartition(".")[0]: c["at"] for c in ledger["calls"] if c["reference"]}
        called_at = {digest: called[base] for digest, i in digests.items() if (base := call_reference(i, 0).rpartition(".")[0]) in called}
        billed = {s["request_id"] for s in ledger["sessions"] if s["request_id"]}
        billed |= {i for i in ids if call_reference(i, 0).rpartition(".")[0] in checked}
        return {
            "requests": count,
            "by_operation": dict(Counter(operations.values())),
            "by_status": dict(audited.figures.by_status),
            "missing": len(set(ids) - watch.seen.final_ids),
            "duplicated": audited.count(BrokenPromise.DOUBLE_FINAL),
            "billed_twice": audited.count(BrokenPromise.BILLED_TWICE),
            "findings": {kind.value: count for kind, count in audited.findings.counts.items()},
            "in_doubt": {
                "all": len(in_doubt),
                "by_operation": dict(Counter(operations[i] for i in in_doubt)),
                "billed": len(in_doubt & billed),
                "ms_from_announcement": announced_ms(
                    announcements(await read_log(s), digests), [d for d, i in digests.items() if i in in_doubt - billed], called_at, kills
                ),
            },
            "succeeded_without_a_bill": sum(
                1
                for f in watch.seen.finals
                if f.status == "succeeded" and operations[f.request_id] != "session.decision" and f.request_id not in billed
            ),
            "kills": len(kills),
            "lost_replies": sum(1 for c in ledger["calls"] if c["fault"] == "lost_reply"),
            "throttled": sum(1 for c in ledger["calls"] if c["status"] == 429),
            "scopes": audited.scopes,
        }


async def main() -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--kill-every-s", type=float, default=4.0)
    args = parser.parse_args()
    with LocalKafka() as kafka:
        emit(await measure(kafka, args.requests, args.kill_every_s))


if __name__ == "__main__":
    asyncio.run(main())
