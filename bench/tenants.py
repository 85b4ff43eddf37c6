"""Ten tenants with one request each behind the flood of another in the same partition of one replica: how long until theirs are called?"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from bench.harness import cpu_s, emit, rss_mb
from bench.scene import Limits, Scene, scene
from processor.contract.records import call_reference
from processor.devkit.kafka_cluster import LocalKafka
from processor.verify.audit import AuditOptions, audit

LIMITS: Limits = {"generic-write": (300, 60.0)}  # Didit's own
KEY = b"one partition"
WITHIN_S = 600.0


def request(number: int, tenant: str) -> tuple[bytes | None, bytes | None]:
    given = {"full_name": f"Ann Example {number}", "vendor_data": f"user-{number:07d}"}
    return KEY, orjson.dumps({"request_id": f"b-{number:07d}", "operation": "aml", "tenant": tenant, "input": given})


def epoch_s(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def cpu_waited_s(s: Scene) -> float:
    """For how long the replica was ready to run and others had the processors (proc_pid_schedstat)."""
    return int(Path(f"/proc/{s.replicas[0].child.pid}/schedstat").read_text().split()[1]) / 1e9


async def called_at(s: Scene, wanted: set[str]) -> tuple[dict[str, float], int]:
    """When each of these requests was first called, by reference without its hop; and all calls until then."""
    end = time.monotonic() + WITHIN_S
    while True:
        calls = (await s.ledger())["calls"]
        found: dict[str, float] = {}
        for call in calls:
            found.setdefault(call["reference"].partition(".")[0], call["at"])
        print(f"{len(calls)} calls, {len(found.keys() & wanted)} of {len(wanted)}", end="\r", file=sys.stderr)
        if found.keys() >= wanted:
            return {name: found[name] for name in wanted}, len(calls)
        if time.monotonic() > end:
            raise RuntimeError(f"{len(found.keys() & wanted)} of {len(wanted)} after {WITHIN_S} s\n{s.replicas[0].child.log_tail()}")
        await asyncio.sleep(0.5)


async def measure(kafka: LocalKafka, flood: int, small: int) -> dict[str, Any]:
    async with scene(kafka, LIMITS, variables={}, faults={"latency_s": {"median": 0.12, "sigma": 0.6, "max": 2.0}}) as s:
        await s.publish([request(n, "flood") for n in range(flood)])
        await s.publish([request(flood + n, f"small-{n}") for n in range(small)])
        print(f"{flood + small} published", file=sys.stderr)
        began = time.time()
        (replica,) = await s.start(1)
        assigned = epoch_s(next(replica.events("partitions_assigned")))
        wanted = {call_reference(f"b-{flood + n:07d}", 0).partition(".")[0] for n in range(small)}
        at, calls = await called_at(s, wanted)
        used_s, held_mb, waited_s = cpu_s(replica.child), rss_mb(replica.child), cpu_waited_s(s)
        s.stop()
        audited = await audit(s.settings, AuditOptions(older_s=3600.0))
        return {
            "flood": flood,
            "small": small,
            "first_s": round(min(at.values()) - assigned, 1),
            "last_s": round(max(at.values()) - assigned, 1),
            "last_from_start_s": round(max(at.values()) - began, 1),
            "read_per_s": round(flood / (max(at.values()) - assigned)),
            "cpu_s_per_1000": round(1000 * used_s / flood, 3),
            "cpu_waited_s": round(waited_s, 1),
            "resident_mb": round(held_mb),
            "calls_until_then": calls,
            "sent_away": audited.figures.retries,
            "finals": audited.figures.finals,
            "findings": {kind.value: count for kind, count in audited.findings.counts.items()},
        }


async def main() -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--flood", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=10)
    args = parser.parse_args()
    with LocalKafka() as kafka:
        emit(await measure(kafka, args.flood, args.small))


if __name__ == "__main__":
    asyncio.run(main())
