"""``POST /_sim/reset``: a simulator that is shared by many tests begins each of them as it was started."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import orjson
import pytest
from didit_api import WORKFLOW, api, hooked, until

from processor.simulator.config import Behaviour, FaultPlan, Latency, RateLimit


async def test_everything_is_as_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    async with api(limits={"session-create": RateLimit(2, 600)}, ledger_path=str(path)) as a:
        first = await a.create("u1")
        await a.create("u2")
        assert (await a.post("/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": "u3"}))[0] == 429
        await a.post("/v3/email/send/", {"email": "ann@example.com"})
        for route, body in (
            ("faults", {"rates": {"error_503": 1.0}}),
            ("script", {"route": "session.list", "answers": [{"status": 418}]}),
            ("clock", {"advance_s": 900}),
            ("credits", {"credits": 0}),
            ("api-keys", {"keys": ["other"]}),
            ("workflows", {"known": []}),
            ("users/block", {"vendor_data": "u1"}),
        ):
            assert (await a.control(route, body))[0] == 200
        assert (await a.control("reset", {}))[:2] == (200, {"seed": 1})
        ledger = await a.ledger()
        assert {name: len(rows) for name, rows in ledger.items()} == dict.fromkeys(ledger, 0)
        assert (await a.call("GET", "/_sim/codes", key=None))[1] == {"codes": []}
        assert a.sim.clock_offset_s == 0
        assert (await a.call("GET", "/v3/sessions/"))[1]["count"] == 0
        assert await a.create("u1") == first, "draws begin again, so do ids"
        await a.create("u2")
        assert len([line for line in path.read_bytes().splitlines() if orjson.loads(line)["kind"] == "session"]) == 4, "the file goes on"


async def test_changes_hold_until_the_next_one() -> None:
    async with api() as a:
        changes = {
            "seed": 9,
            "limits": {"session-create": {"limit": 1}},
            "switches": {"auth_status": 401},
            "behaviour": {"odds": {"Approved": 1}},
        }
        assert (await a.control("reset", changes))[:2] == (200, {"seed": 9})
        assert a.sim.config.behaviour == Behaviour(0.0, {"Approved": 1.0})
        await a.create("u1")
        assert (await a.post("/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": "u2"}))[0] == 429
        assert (await a.call("GET", "/v3/sessions/", key="wrong"))[0] == 401
        assert (await a.control("reset", {}))[:2] == (200, {"seed": 1})
        await a.create("u1")
        await a.create("u2")
        assert (await a.call("GET", "/v3/sessions/", key="wrong"))[0] == 403


@pytest.mark.parametrize(
    ("body", "word"), [({"mood": 1}, "mood"), ([], "object"), ({"seed": -1}, "seed"), ({"limits": {"x": {"limit": 1}}}, "unknown scope")]
)
async def test_a_change_that_makes_no_sense_is_named_and_nothing_is_forgotten(body: object, word: str) -> None:
    async with api() as a:
        await a.create("u1")
        status, document, _ = await a.control("reset", body)
        assert (status, word in document["detail"]) == (400, True), document
        assert len((await a.ledger())["sessions"]) == 1


async def test_a_call_that_is_under_way_has_no_effect_after_it() -> None:
    async with api(faults=FaultPlan(latency=Latency(median_s=0.3))) as a:
        calling = asyncio.create_task(a.create("u1"))
        await until(lambda: len(a.sim.ledger.calls) == 1, "the call has arrived")
        await a.control("reset", {"faults": {}})
        with pytest.raises(aiohttp.ClientError):
            await calling
        assert (await a.ledger())["sessions"] == []


async def test_no_webhook_of_before_is_sent_after_it() -> None:
    async with hooked({"jitter_s": 0.0, "retry_s": (30.0, 30.0)}) as (a, found):
        found.answers = [500]
        await a.settled("In Progress", vendor="before")
        assert len(found.arrived) == 1
        await a.control("reset", {})
        await a.advance(3600)
        await a.settled("In Progress", vendor="after")
        assert [body["vendor_data"] for body in found.bodies] == ["before", "after"]
        assert [entry["attempt"] for entry in (await a.ledger())["webhooks"]] == [1]
