"""The shared budget under skew and faults, judged by the simulator's ledger; beside it what people use who have none.

One line of progress for each case; the last line is one JSON object. Ends with 1 if a window was over, anybody was throttled, or less was
used of what a case allows (``budget_bound``) than is aimed at. ``--true``: Didit's own figures for five minutes. ``--cases``: some.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import logging
import shutil
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from bench.budget_bound import NOTHING, Rate, Taken, possible_percent
from bench.harness import WORKFLOW_ID, cpu_s, emit
from bench.scene import SCALED, Limits, Scene, scene
from processor.budget.rules import budget_rules
from processor.client.topics import request_producer
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.verifier import percentile
from processor.settings import load_settings

LIMIT, WINDOW_S = 200, 20.0
LIMITS: Limits = dict.fromkeys(load_settings().rate_limits, (LIMIT, WINDOW_S))  # all: the longest window is waited for
TRUE_LIMITS: Limits = {
    "session-create": (600, 60.0),
    "generic-write": (300, 60.0),
    "session-decision": (100, 60.0),
    "generic-get": (600, 60.0),
}
SECONDS = 75.0
AIM_PERCENT, AIM_DISTURBED_PERCENT = 99.0, 96.0  # of what is possible
Fault = Callable[[Scene], Coroutine[Any, Any, Taken]]


@dataclass(frozen=True)
class Case:
    """What happens to a fleet while work waits for it."""

    name: str
    replicas: int = 4
    skewed: bool = False
    fault: Fault | None = None
    local_part: float | None = None  # each replica has a limiter of its own, with this part of the limit
    brokers: int = 1
    mixed: bool = False  # decisions wait beside the creates, so that either is sent away when too many wait
    variables: Mapping[str, str] = field(default_factory=dict)


def request(number: int, key: bytes) -> tuple[bytes, bytes]:
    what = {"workflow_id": WORKFLOW_ID, "vendor_data": f"user-{number}"}
    return key, orjson.dumps({"request_id": f"b-{number:07d}", "operation": "session.create", "input": what})


def decision(number: int, session_id: str) -> tuple[bytes, bytes]:
    body = {"request_id": f"d-{number:07d}", "operation": "session.decision", "input": {"session_id": session_id}}
    return f"{number}".encode(), orjson.dumps(body)


# ---- faults


async def kill(s: Scene) -> Taken:
    await asyncio.sleep(15)
    await asyncio.to_thread(s.replicas[0].child.kill)
    await asyncio.sleep(5)
    s.replicas[0].start()
    return Taken(left_behind=1)


async def freeze(s: Scene) -> Taken:
    await asyncio.sleep(15)
    s.replicas[0].child.freeze()
    await asyncio.sleep(10)
    s.replicas[0].child.thaw()
    return Taken(left_behind=1)


async def join(s: Scene) -> Taken:
    for _ in range(2):
        await asyncio.sleep(15)
        await s.start(1)
    return NOTHING


async def roll(s: Scene) -> Taken:
    await asyncio.sleep(10)
    for replica in list(s.replicas):
        await asyncio.to_thread(replica.child.stop, 20)
        replica.start()
        await asyncio.sleep(4)
    return NOTHING


async def kill_all(s: Scene) -> Taken:
    """Until the first of them is up nobody can call, nor while what it reads back is dated later than it was."""
    await asyncio.sleep(25)
    killed_at, started = time.time(), len(list(s.replicas[0].events("started")))
    for replica in s.replicas:
        replica.child.kill()
    for replica in s.replicas:
        replica.start()
    await asyncio.to_thread(s.replicas[0].wait_event, "started", count=started + 1)
    return Taken(max(time.time() - killed_at, s.settings.budget.skew_s))  # which leaves more room than the asks of the dead take


async def recreate(s: Scene) -> Taken:
    """Calls stop from the deletion on; what was called before may count until a promise and a window are over."""
    await asyncio.sleep(15)
    began = time.time()
    await s.recreate_budget()
    return Taken(time.time() - began + budget_rules(s.settings).horizon_s)


async def leader(s: Scene, how: str) -> Taken:
    """Nobody can write to the log until the other brokers name another leader, or this one is back."""
    await asyncio.sleep(15)
    number = await s.budget_leader()
    broker = next(b for b in s.kafka.brokers if b.number == number)
    began, elected = time.monotonic(), asyncio.create_task(s.until_budget_leader_other_than(broker))
    await asyncio.to_thread(broker.kill if how == "kill" else broker.freeze)
    await asyncio.sleep(10)
    await asyncio.to_thread(broker.start if how == "kill" else broker.thaw)
    back = time.monotonic()
    away_s = (elected.result() if elected.done() else back) - began
    elected.cancel()
    return Taken(away_s)


CASES = [
    Case("balanced"),
    Case("all work on one of four replicas", skewed=True),
    Case("creates and decisions wait, more than lines hold", mixed=True),
    Case("SIGKILL", fault=kill),
    Case("SIGSTOP of 10 s", fault=freeze),
    Case("two join", fault=join),
    Case("rolling restart of all", fault=roll, variables={"KAFKA__LEAVE_ON_STOP": "false"}),
    Case("rolling restart of all that leave the group", fault=roll),
    Case("all killed at once", fault=kill_all),
    Case("budget topic deleted and recreated", fault=recreate),
    Case("broker clock steps by 8 s, then one joins", variables={"BUDGET__SKEW_S": "10", "BUDGET__ASK_WAIT_S": "15"}),
    Case("three brokers, leader killed", fault=functools.partial(leader, how="kill"), brokers=3),
    Case("three brokers, leader frozen for 10 s", fault=functools.partial(leader, how="freeze"), brokers=3),
    Case("AsyncLimiter(R, W) in each of four, balanced", local_part=1.0),
    Case("AsyncLimiter(R/4, W) in each of four, balanced", local_part=0.25),
    Case("AsyncLimiter(R/4, W) in each of four, all work on one", local_part=0.25, skewed=True),
]


class SkewedClock:
    """The wall clock of brokers that are started with ``environment``."""

    def __init__(self, folder: Path) -> None:
        library = folder / "skewed_clock.so"
        source = Path(__file__).parent / "skewed_clock.c"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
        self._file = folder / "skew"
        self.step(0)
        self.environment = {"LD_PRELOAD": str(library), "SKEW_FILE": str(self._file)}

    def step(self, offset_s: float) -> None:
        if not self._file.exists():
            self._file.write_bytes(bytes(8))
        with self._file.open("r+b") as file:
            file.write(struct.pack("<q", int(offset_s * 1000)))

    async def fault(self, s: Scene) -> Taken:
        """The step that budget.md found to matter: a newcomer just after it."""
        await asyncio.sleep(25)
        self.step(8)
        await asyncio.sleep(1)
        await s.start(1)
        return NOTHING


# ---- measuring


async def run(
    kafka: LocalKafka, case: Case, seconds: float, limits: Limits = LIMITS, variables: Mapping[str, str] = SCALED
) -> dict[str, Any]:
    async with scene(kafka, limits, variables={**variables, **case.variables}, replication=case.brokers) as s:
        await s.start(case.replicas, local_part=case.local_part)
        limit, window_s = min((limits["session-create"], limits["generic-write"]), key=lambda pair: pair[0] / pair[1])
        count = int(1.3 * (seconds + 30) * limit / window_s * (case.replicas if case.local_part == 1.0 else 1))
        await s.publish([request(n, b"one" if case.skewed else f"user-{n}".encode()) for n in range(count)])
        began = await s.until_calls(1)
        if case.mixed:
            await s.until_calls(30)
            known = [session["session_id"] for session in (await s.ledger())["sessions"]]
            await s.publish([decision(n, known[n % len(known)]) for n in range(count)])
        cpu_began = [cpu_s(r.child) for r in s.replicas]
        fault = asyncio.create_task(case.fault(s)) if case.fault else None
        await asyncio.sleep(max(0.0, began + seconds - time.time()))
        cpu = sum(cpu_s(r.child) - before for r, before in zip(s.replicas, cpu_began, strict=False) if case.fault is None)
        taken = NOTHING if fault is None else await fault
        ended, ledger = time.time(), await s.ledger()
        found = figures(case.name, ledger, "session-create", (limit, window_s), began, ended)
        if case.local_part is None:
            rate = rate_of(s, limit, window_s, ledger)
            found |= judged(found, possible_percent(rate, case.replicas, ended - began, taken), disturbed=case.fault is not None)
        if case.fault is None:
            found["cpu_percent_of_a_core_per_replica"] = round(100 * cpu / seconds / case.replicas, 1)
        return found


def figures(name: str, ledger: Mapping[str, Any], scope: str, limit: tuple[int, float], began: float, ended: float) -> dict[str, Any]:
    """Of one scope: the most calls in any window of the whole run, refusals, and the part of the budget that was used in an interval."""
    calls = [c for c in ledger["calls"] if scope in c["scopes"] and c["counted"]]
    (scopes,) = ledger["scopes"].values()
    answered = [c for c in calls if c["status"] != 429 and began <= c["at"] < ended]
    return {
        "name": name,
        "scope": scope,
        "limit": limit[0],
        "window_s": limit[1],
        "max_in_window": scopes[scope]["max_in_window"],
        "throttled": sum(1 for c in calls if c["status"] == 429),
        "used_percent": round(100 * len(answered) / (limit[0] * (ended - began) / limit[1]), 1),
    }


def rate_of(s: Scene, limit: int, window_s: float, ledger: Mapping[str, Any]) -> Rate:
    rules = budget_rules(s.settings)
    took_s = [c["answered_at"] - c["at"] for c in ledger["calls"] if c["answered_at"] is not None and "session-create" in c["scopes"]]
    return Rate(limit, window_s, rules.slack_s, rules.promise_of(s.settings.didit.timeout_s), statistics.fmean(took_s))


def judged(found: Mapping[str, Any], possible: float, *, disturbed: bool) -> dict[str, Any]:
    """Against what is possible; ``ok`` is False if more is lost, or anything was over."""
    part = round(100 * found["used_percent"] / possible, 1)
    held = found["max_in_window"] <= found["limit"] and not found["throttled"]
    aim = AIM_DISTURBED_PERCENT if disturbed else AIM_PERCENT
    return {"possible_percent": possible, "used_of_possible_percent": part, "ok": held and part >= aim}


async def idle_latency(kafka: LocalKafka, count: int, local: bool) -> list[float]:
    """Milliseconds from a caller's send to the call at Didit, with nothing else to do."""
    async with scene(kafka, LIMITS, variables=SCALED, faults={}) as s:
        await s.start(1, local_part=1.0 if local else None)
        sent: dict[str, float] = {}
        async with request_producer(s.settings) as producer:
            for n in range(count):
                key, value = request(n, f"user-{n}".encode())
                sent[f"user-{n}"] = time.time()
                await producer.send_and_wait(f"{s.settings.kafka.topic_prefix}.requests", value, key)
                await asyncio.sleep(0.25)
        await s.until_calls(count)
        ledger = await s.ledger()
        called = {session["vendor_data"]: session["created_at"] for session in ledger["sessions"]}
        return [1000 * (called[user] - at) for user, at in list(sent.items())[5:]]


async def added_latency(kafka: LocalKafka, count: int) -> dict[str, float]:
    ours, theirs = await idle_latency(kafka, count, local=False), await idle_latency(kafka, count, local=True)
    return {
        "idle_p50_ms": round(percentile(ours, 0.5), 1),
        "idle_p99_ms": round(percentile(ours, 0.99), 1),
        "idle_without_the_log_p50_ms": round(percentile(theirs, 0.5), 1),
        "idle_without_the_log_p99_ms": round(percentile(theirs, 0.99), 1),
    }


async def true_figures(kafka: LocalKafka, seconds: float) -> list[dict[str, Any]]:
    """Didit's own limits and our own defaults; three replicas, creates and decisions, one SIGKILL."""
    async with scene(kafka, TRUE_LIMITS, variables={}) as s:
        await s.start(3)
        minutes = seconds / 60 + 1
        await s.publish([request(n, f"user-{n}".encode()) for n in range(int(300 * minutes))])
        began = await s.until_calls(1)
        await s.until_calls(30)
        known = [session["session_id"] for session in (await s.ledger())["sessions"]]
        await s.publish([decision(n, known[n % len(known)]) for n in range(int(100 * minutes))])
        await asyncio.sleep(seconds / 3)
        await asyncio.to_thread(s.replicas[0].child.kill)
        await asyncio.sleep(5)
        s.replicas[0].start()
        await asyncio.sleep(max(0.0, began + seconds - time.time()))
        ended, ledger = time.time(), await s.ledger()
        return [figures(f"true figures, {scope}", ledger, scope, TRUE_LIMITS[scope], began, ended) for scope in TRUE_LIMITS]


async def main() -> int:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a case")
    parser.add_argument("--cases", default="", help="only those whose name holds this")
    parser.add_argument("--true", action="store_true", help="Didit's own figures, five minutes")
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    latency: dict[str, float] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="processor-bench-")))
        if args.true:
            with LocalKafka() as kafka:
                found += await true_figures(kafka, max(args.seconds, 300.0))
        for case in CASES if not args.true else []:
            if args.cases not in case.name:
                continue
            clock = SkewedClock(folder) if "clock" in case.name and shutil.which("gcc") else None
            if "clock" in case.name and clock is None:
                print(f"{case.name}: left out, it needs gcc", file=sys.stderr)
                continue
            with LocalKafka(case.brokers, environment=clock.environment if clock else {}) as kafka:
                changed = replace(case, fault=clock.fault) if clock else case
                found.append(await run(kafka, changed, args.seconds))
            print(found[-1], file=sys.stderr)
        if not args.true and args.cases in "idle":
            with LocalKafka() as kafka:
                latency = await added_latency(kafka, 200)
    emit({"cases": found, **latency})
    return 0 if all(case.get("ok", True) for case in found) else 1


sys.exit(asyncio.run(main()))
