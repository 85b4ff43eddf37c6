"""Verifications from the request to the decision, on a real broker, against the simulator."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from rig import WORKFLOW_ID, Rig, running

from processor.client.topics import request_producer
from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker


def verification(number: int, **extra: Any) -> tuple[bytes, bytes]:
    what = {"workflow_id": WORKFLOW_ID, "vendor_data": f"user-{number:06d}"}
    body = {"request_id": f"r-{number:06d}", "operation": "verification", "input": what, **extra}
    return f"user-{number}".encode(), orjson.dumps(body)


def ids(count: int) -> list[str]:
    return [f"r-{n:06d}" for n in range(count)]


async def results(rig: Rig) -> list[dict[str, Any]]:
    return [orjson.loads(r.value) for r in await rig.records("results")]


def finish(rig: Rig, session_id: str, *steps: str) -> None:
    for step in steps:
        rig.simulator.post(f"/_sim/sessions/{session_id}/status", {"status": step})


async def test_the_link_comes_at_once_and_the_decision_when_it_falls(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[1,2]") as rig:
        hidden = {"status": 404, "headers": [["Content-Type", "application/json"]], "body": '{"detail": "Not found."}'}
        rig.simulator.post("/_sim/script", {"route": "session.decision", "answers": [hidden] * 6})  # not shown at the first looks
        await rig.start("a", "b")
        await rig.publish([verification(n) for n in range(6)])
        await rig.until(lambda: len(rig.simulator.ledger()["sessions"]) >= 6, "6 sessions")
        sessions = {s["request_id"]: s["session_id"] for s in rig.simulator.ledger()["sessions"]}
        ends = [
            ("In Progress", "Approved"),
            ("In Progress", "Declined"),
            ("In Progress", "In Review", "Approved"),
            ("Expired",),
            ("In Progress", "Abandoned"),
            ("In Progress", "Approved"),
        ]
        for request_id, steps in zip(ids(6), ends, strict=True):
            finish(rig, sessions[request_id], *steps)
        await rig.wait_finals(6)
        judged = await rig.judge(ids(6))
        assert judged.ok, judged
        found = await results(rig)
        progress = {r["request_id"]: r for r in found if r["kind"] == "progress"}
        finals = {r["request_id"]: r for r in found if r["kind"] == "final"}
        assert len(found) == 12, "one progress and one final result for each"
        for request_id, steps in zip(ids(6), ends, strict=True):
            assert progress[request_id]["output"]["url"].startswith("https://verify.didit.me/")
            assert finals[request_id]["output"]["status"] == steps[-1]
            assert finals[request_id]["output"]["session_id"] == sessions[request_id]
        assert {finals[i]["status"] for i in (ids(6)[3], ids(6)[4])} == {"expired"}


async def test_an_event_ends_a_wait_of_hours(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[3600]", RETRY__DELAYS_S="[1,60]") as rig:
        await rig.start("a", "b")
        await rig.publish([verification(n) for n in range(4)])
        await rig.until(lambda: len(rig.watch.seen.retries) >= 4, "4 waiting records")
        sessions = [(s["request_id"], s["session_id"]) for s in rig.simulator.ledger()["sessions"]]
        async with request_producer(rig.settings) as producer:
            for request_id, session_id in sessions:
                finish(rig, session_id, "In Progress", "Approved")
                believed = request_id != "r-000000"
                decision = {"session_id": session_id, "status": "Approved", "from": "event"}
                payload = {"session_id": session_id, "status": "Approved", "timestamp": 4_000_000_000, "decision": decision}
                event = {"session_id": session_id, "status": "Approved", "verified_by": "v2" if believed else "simple"}
                event |= {"payload": payload if believed else None}
                for _ in range(2):  # delivered twice
                    await producer.send_and_wait(f"{rig.prefix}.events", json.dumps(event).encode(), session_id.encode())
        await rig.wait_finals(4)
        judged = await rig.judge(ids(4))
        assert judged.ok, judged
        finals = {f["request_id"]: f["output"] for f in rig.finals}
        assert [finals[i].get("from") for i in ids(4)] == [None, "event", "event", "event"]
        polls = [c for c in rig.simulator.ledger()["calls"] if c["route"] == "session.decision"]
        assert len(polls) == 1, "only the event that was not signed whole needed a look"


def decided(session_id: str, status: str, environment: str) -> dict[str, Any]:
    decision = {"session_id": session_id, "status": status, "environment": environment, "from": "event"}
    payload = {"session_id": session_id, "status": status, "timestamp": 4_000_000_000, "environment": environment, "decision": decision}
    return {"session_id": session_id, "status": status, "verified_by": "v2", "payload": payload}


async def test_a_verdict_before_the_answer_of_the_create_ends_it_and_one_of_another_environment_does_not(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[3600]", RETRY__DELAYS_S="[1,60]") as rig:
        rig.simulator.post("/_sim/faults", {"rates": {}, "hang_s": 2})
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": "late_reply"}] * 2})
        (a,) = await rig.start("a")
        await rig.publish([verification(n) for n in range(2)])
        await rig.until(lambda: len(rig.simulator.ledger()["sessions"]) >= 2, "2 sessions")
        assert not rig.watch.seen.retries, "Didit has not answered yet"
        early, other = (s["session_id"] for s in sorted(rig.simulator.ledger()["sessions"], key=lambda s: s["request_id"]))
        finish(rig, early, "In Progress", "Approved")
        finish(rig, other, "In Progress")

        async with request_producer(rig.settings) as producer:

            async def tell(event: dict[str, Any]) -> None:
                await producer.send_and_wait(f"{rig.prefix}.events", json.dumps(event).encode(), b"k")

            await tell(decided(early, "Approved", "live"))
            await rig.wait_finals(1)
            await rig.until(lambda: len(rig.watch.seen.retries) >= 2, "2 waiting records")
            await tell(decided(other, "Declined", "sandbox"))
            await asyncio.to_thread(a.wait_event, "event_of_other_environment")
            await rig.until(lambda: len(rig.watch.seen.retries) >= 3, "a poll that found nobody done")
            assert {f["request_id"] for f in rig.finals} == {"r-000000"}
            await tell(decided(other, "Approved", "live"))
        await rig.wait_finals(2)
        judged = await rig.judge(ids(2))
        assert judged.ok, judged
        assert {f["request_id"]: (f["status"], f["output"]["status"]) for f in rig.finals} == dict.fromkeys(
            ids(2), ("succeeded", "Approved")
        )
        polls = [c for c in rig.simulator.ledger()["calls"] if c["route"] == "session.decision"]
        assert len(polls) == 2, "one that told the environment of the key, and one for the event of another one"


async def test_killed_replicas_follow_on_and_nothing_is_created_twice(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[1,2,2,3]") as rig:
        replicas = await rig.start("a", "b")
        await rig.publish([verification(n) for n in range(60)])
        for round_ in range(3):
            await asyncio.sleep(1.5)
            victim = replicas[round_ % 2]
            await asyncio.to_thread(victim.child.kill)
            victim.start()
        await rig.until(lambda: len(rig.simulator.ledger()["sessions"]) >= 60, "60 sessions")
        for n, session in enumerate(rig.simulator.ledger()["sessions"]):
            finish(rig, session["session_id"], "In Progress", "Approved" if n % 2 else "Declined")
        await rig.wait_finals(60)
        judged = await rig.judge(ids(60))
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 60}
        progress = [r for r in await results(rig) if r["kind"] == "progress"]
        assert len(progress) == 60
