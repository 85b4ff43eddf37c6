"""Field cases that are stories: sessions that nobody opens, reviews of days, verdicts that change. The data is in tests/cases/data."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from rig import Rig, running
from signing import SECRET, delivery, signed

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

DATA = Path(__file__).parent.parent / "cases" / "data"


def case(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return found


def records(name: str) -> list[tuple[bytes, bytes]]:
    return [(r["key"].encode(), r["value"].encode()) for r in case(name)["records"]]


async def finals(rig: Rig) -> list[dict[str, Any]]:
    await rig.read_rest()
    return rig.finals


async def session_of(rig: Rig) -> str:
    await rig.until(lambda: bool(rig.simulator.ledger()["sessions"]), "session")
    found: str = rig.simulator.ledger()["sessions"][0]["session_id"]
    return found


def polls(rig: Rig) -> int:
    return sum(c["route"] == "session.decision" for c in rig.simulator.ledger()["calls"])


def step(rig: Rig, session_id: str, status: str) -> None:
    rig.simulator.post(f"/_sim/sessions/{session_id}/status", {"status": status})


async def test_k02_a_session_that_nobody_opens_ends_soon_after_it_expired(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[1,2]", RETRY__DELAYS_S="[1,2,150]") as rig:
        await rig.start("a")
        await rig.publish(records("K02"))
        step(rig, await session_of(rig), "Expired")
        expired_at = time.monotonic()
        await rig.wait_finals(1)
        assert time.monotonic() - expired_at < 120, "below the longest delay tier"
        (final,) = await finals(rig)
        assert (final["status"], final["error"]["code"]) == (case("K02")["expected"]["final"], "session_expired")


async def test_k03_a_review_of_days_waits_and_never_fails(kafka: LocalKafka, tmp_path: Path) -> None:
    """With short waits; how many looks three days cost is in test_didit_follow."""
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[1,1,2]", RETRY__ATTEMPTS_MAX="2") as rig:
        await rig.start("a")
        await rig.publish(records("K03"))
        session_id = await session_of(rig)
        step(rig, session_id, "In Progress")
        step(rig, session_id, "In Review")
        await rig.until(lambda: polls(rig) >= 5, "5 looks")
        assert rig.finals == [], "more looks than attempts, and no failure"
        step(rig, session_id, "Approved")
        await rig.wait_finals(1)
        (final,) = await finals(rig)
        assert (final["status"], final["output"]["status"], final["attempts"]) == ("succeeded", "Approved", 1)


async def test_k04_a_lost_create_is_found_and_adopted(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": "lost_reply"}]})
        await rig.start("a")
        await rig.publish(records("K04"))
        await rig.wait_finals(1)
        (final,) = await finals(rig)
        ledger = rig.simulator.ledger()
        assert len(ledger["sessions"]) == case("K04")["expected"]["sessions_made"]
        assert final["output"]["session_id"] == ledger["sessions"][0]["session_id"]
        assert sum(c["route"] == "session.list" for c in ledger["calls"]) == 1


async def test_k13_a_success_carries_no_error_of_earlier_tries(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        answers = [{"status": r["status"], "headers": r["headers"], "body": r["body"]} for r in case("K13")["responses"]]
        rig.simulator.post("/_sim/script", {"route": "aml", "answers": answers})
        await rig.start("a")
        await rig.publish(records("K13"))
        await rig.wait_finals(1)
        (final,) = await finals(rig)
        expected = case("K13")["expected"]
        assert (final["status"], final["error"], final["attempts"]) == (
            expected["final"],
            expected["error_in_result"],
            expected["attempts"],
        )


async def test_k15_a_person_without_a_name_is_warned_of_once(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        (a,) = await rig.start("a")
        await rig.publish(records("K15"))
        await rig.until(lambda: len(rig.simulator.ledger()["sessions"]) >= 2, "2 sessions")
        assert {s["vendor_data"] for s in rig.simulator.ledger()["sessions"]} == {"k15-0", "k15-1"}
        assert len(list(a.events("vendor_data_missing"))) == 1


class Hooks:
    """Signs events of a session as Didit does, and posts them to the receiver inside a replica."""

    def __init__(self, rig: Rig, url: str) -> None:
        self.rig, self.url, self.number = rig, url, 0

    async def post(self, session_id: str, status: str, created_ago_s: int = 1) -> int:
        now, self.number = int(time.time()), self.number + 1
        extra: dict[str, Any] = {"decision": {"session_id": session_id, "status": status}} if status in {"Approved", "Declined"} else {}
        event_id = f"e0000000-0000-4000-8000-{self.number:012d}"
        body = delivery(session_id=session_id, status=status, timestamp=now, created_at=now - created_ago_s, event_id=event_id, **extra)
        raw, headers = signed(body)
        async with aiohttp.ClientSession() as http, http.post(self.url, data=raw, headers=headers) as answer:
            return answer.status


async def receiving_replica(rig: Rig) -> Hooks:
    """One process that does both: `run` with a receiver in it."""
    (a,) = await rig.start("a", WEBHOOKS__IN_RUN="true", WEBHOOKS__PORT="0", WEBHOOKS__SECRETS=json.dumps([SECRET]))
    await asyncio.to_thread(a.wait_event, "webhooks_listening")
    (listening,) = a.events("webhooks_listening")
    return Hooks(rig, f"http://{listening['host']}:{listening['port']}{listening['path']}")


@pytest.mark.parametrize("name", ["E02", "E08"])
async def test_a_verdict_is_final_whatever_comes_after_it(kafka: LocalKafka, tmp_path: Path, name: str) -> None:
    """E02: an older status arrives later. E08: an operator overturns the verdict; that is an event, not a second result."""
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[3600]", RETRY__DELAYS_S="[1,60]") as rig:
        hooks = await receiving_replica(rig)
        await rig.publish(records("K02"))
        await rig.until(lambda: bool(rig.watch.seen.retries), "waiting record")
        session_id = await session_of(rig)
        assert await hooks.post(session_id, "Approved") == 200
        await rig.wait_finals(1)
        late = ("In Progress", 600) if name == "E02" else ("Declined", 0)
        assert await hooks.post(session_id, *late) == 200
        assert await hooks.post("99999999-2222-4333-8444-555555555555", "Approved") == 200, "E05: a session of somebody else"
        async with asyncio.timeout(120):
            while len(await rig.records("events")) < 3:
                await asyncio.sleep(0.1)
        (final,) = await finals(rig)
        assert final["output"]["status"] == case("E02")["final_status"]
        assert [orjson.loads(r.value)["status"] for r in await rig.records("events") if r.key == session_id.encode()] == [
            "Approved",
            late[0],
        ]
        looks = [c for c in rig.simulator.ledger()["calls"] if c["route"] == "session.decision"]
        assert len(looks) <= 1, "the first one tells the environment of the key; after it no event costs a read"
