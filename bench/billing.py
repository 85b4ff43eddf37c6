"""Billing under fire: kills every few seconds and lost replies; was anything billed twice, and has each request one final result?"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
from collections import Counter
from typing import Any

import aiohttp
import orjson

from bench.harness import WORKFLOW_ID, emit
from bench.scene import LATENCY, SCALED, Limits, Scene, scene
from processor.contract.records import call_reference
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import API_KEY
from processor.devkit.topic_watch import TopicWatch
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


async def fire(s: Scene, every_s: float, stop: asyncio.Event) -> int:
    """Kill somebody every few seconds, and start it again at once."""
    rng, kills = random.Random(5), 0
    while not stop.is_set():
        await asyncio.sleep(rng.uniform(0.5, 1.5) * every_s)
        victim = rng.choice(s.replicas)
        await asyncio.to_thread(victim.child.kill)
        victim.start()
        kills += 1
    return kills


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
            },
            "succeeded_without_a_bill": sum(
                1
                for f in watch.seen.finals
                if f.status == "succeeded" and operations[f.request_id] != "session.decision" and f.request_id not in billed
            ),
            "kills": kills,
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
