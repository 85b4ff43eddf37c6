"""Webhooks: when they leave, what they say, how they are sign, tried again, lost and doubled. Numbers are sections of the facts."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from typing import Any

import orjson
import pytest
from didit_api import SANDBOX_KEY, SECRET, Api, FrozenClock, Receiver, api, hooked, until

from processor.simulator.applications import LIVE_APPLICATION, SANDBOX_APPLICATION
from processor.simulator.config import Behaviour, Config, WebhookOptions
from processor.simulator.server import running
from processor.simulator.webhooks import canonical, headers, wire

# 5.1: computed with Didit's demo code, and confirmed by the vectors of its WordPress plug-in
VECTOR = {
    "created_at": 1764000000,
    "event_id": "00000000-0000-4000-8000-000000000001",
    "metadata": {"a": 0.5, "b": 1.0},
    "session_id": "11111111-2222-3333-4444-555555555555",
    "status": "Approved",
    "timestamp": 1764000000,
    "vendor_data": "user-é-1",
    "webhook_type": "status.updated",
    "workflow_id": "9f9b1234-aaaa-bbbb-cccc-1234567890ab",
}


def mac(message: bytes) -> str:
    return hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()


def as_didit_demo(value: Any) -> Any:
    """The canonical form once more, written apart from the product's."""
    if isinstance(value, list):
        return [as_didit_demo(item) for item in value]
    if isinstance(value, dict):
        return {name: as_didit_demo(value[name]) for name in sorted(value)}
    return round(value) if type(value) is float and value % 1 == 0 else value


def statuses(found: Receiver) -> list[str]:
    return [body["status"] for body in found.bodies]


async def answers(a: Api) -> list[tuple[int, Any]]:
    return [(hook["attempt"], hook["answer"]) for hook in (await a.ledger())["webhooks"]]


def test_5_1_the_three_signatures_are_those_of_the_published_vector() -> None:
    assert wire(VECTOR) == (
        b'{"created_at":1764000000,"event_id":"00000000-0000-4000-8000-000000000001","metadata":{"a":0.5,"b":1.0},'
        b'"session_id":"11111111-2222-3333-4444-555555555555","status":"Approved","timestamp":1764000000,"vendor_data":"user-\\u00e9-1",'
        b'"webhook_type":"status.updated","workflow_id":"9f9b1234-aaaa-bbbb-cccc-1234567890ab"}'
    )
    assert b'"metadata":{"a":0.5,"b":1}' in canonical(VECTOR)
    found = headers(VECTOR, SECRET)
    assert found["X-Signature"] == "b301030eca7c7c577bb95fdd4ad7112a8a6d6a170d47b5300b17063326bff55d"
    assert found["X-Signature-V2"] == "51033ceaa1bcf13b1f2153afbd202e0f6cbc67a0264fa188668998dcc28c6112"
    assert found["X-Signature-Simple"] == "a87e34cf0c309dd138c2835ef38885054129bae582965ebea4817696ef2008f5"
    assert found["X-Timestamp"] == "1764000000"
    assert found["User-Agent"] == "DiditWebhook/2.0 +https://didit.me"
    assert "X-Didit-Test-Webhook" not in found


async def test_5_2_every_status_change_sends_a_signed_event_with_the_documented_envelope() -> None:
    async with hooked() as (a, found):
        created = await a.create("user-é-1", metadata={"whole": 1.0, "half": 0.5, "text": "Zoë 👩‍💻"})
        assert found.arrived == [], "a create is no change"
        begun = int(time.time())
        await a.move(created["session_id"], "In Progress", "Approved")
        assert len(found.arrived) == 2
        for raw_headers, raw in found.arrived:
            body = json.loads(raw)
            assert raw == json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode(), "the wire form"
            assert raw_headers["x-signature"] == mac(raw)
            form = json.dumps(as_didit_demo(body), separators=(",", ":"), ensure_ascii=False).encode()
            assert raw_headers["x-signature-v2"] == mac(form)
            simple = f"{body['timestamp']}:{body['session_id']}:{body['status']}:{body['webhook_type']}"
            assert raw_headers["x-signature-simple"] == mac(simple.encode())
            assert raw_headers["x-timestamp"] == str(body["timestamp"])
            assert begun <= body["timestamp"] <= time.time()
            assert raw_headers["user-agent"] == "DiditWebhook/2.0 +https://didit.me"
        first, last = found.bodies
        assert set(last) - set(first) == {"decision"}
        assert set(first) == {
            "event_id",
            "webhook_type",
            "timestamp",
            "created_at",
            "application_id",
            "environment",
            "session_id",
            "status",
            "workflow_id",
            "workflow_version",
            "vendor_data",
            "metadata",
        }
        assert (last["webhook_type"], last["application_id"], last["environment"]) == ("status.updated", LIVE_APPLICATION, "live")
        assert last["decision"]["id_verifications"][0]["status"] == "Approved"
        assert last["decision"] == await a.told_decision(created["session_id"])
        assert any(isinstance(check["score"], float) and check["score"].is_integer() for check in last["decision"]["liveness_checks"])
        assert b'"score":97.0' in found.arrived[1][1], "a whole float, so that verifiers must shorten it"


async def test_5_2_a_decision_is_in_events_of_outcomes_only_and_nodes_in_a_resubmission() -> None:
    async with hooked() as (a, found):
        for vendor, steps in (
            ("a", ("In Review", "Resubmitted")),
            ("b", ("Declined",)),
            ("c", ("Abandoned",)),
            ("d", ("Approved", "Kyc Expired")),
        ):
            await a.settled("In Progress", *steps, vendor=vendor)
        assert len(found.arrived) == 10
        with_decision = {body["status"] for body in found.bodies if "decision" in body}
        assert with_decision == {"Approved", "Declined", "In Review", "Abandoned"}
        (resubmitted,) = [body for body in found.bodies if "resubmit_info" in body]
        assert resubmitted["status"] == "Resubmitted"
        assert set(resubmitted["resubmit_info"]["nodes_to_resubmit"][0]) == {"node_id", "feature"}


async def test_5_2_events_carry_the_version_of_the_destination() -> None:
    async with hooked({"version": "v2"}) as (a, found):
        await a.settled("In Progress", "Approved")
        assert len(found.arrived) == 2
        assert found.bodies[1]["decision"]["id_verification"]["status"] == "Approved"


async def test_2_4_an_operators_update_sends_an_event_and_the_same_status_none() -> None:
    async with hooked() as (a, found):
        session_id = await a.settled("In Progress", "In Review")
        path = f"/v3/session/{session_id}/update-status/"
        await a.call("PATCH", path, {"new_status": "Approved"})
        await a.call("PATCH", path, {"new_status": "Approved"})
        await a.idle()
        await a.call("PATCH", f"/v3/session/{session_id}/update-data/", {"first_name": "Ann"})
        await a.call("DELETE", f"/v3/session/{session_id}/delete/")
        await a.idle()
        sent = [(body["webhook_type"], body["status"]) for body in found.bodies]
        assert sent[2:] == [("status.updated", "Approved"), ("data.updated", "Approved")], "and none for the deletion"
        assert found.bodies[3]["decision"]["id_verifications"][0]["first_name"] == "Ann"


async def test_2_5_a_kept_check_sends_an_event_and_one_that_is_not_kept_none() -> None:
    async with hooked() as (a, found):
        await a.post("/v3/aml/", {"full_name": "Bob", "save_api_request": False})
        document = (await a.post("/v3/aml/", {"full_name": "Ann Hit"}))[1]
        await a.idle()
        (body,) = found.bodies
        assert (body["session_id"], body["status"], body["workflow_id"]) == (document["request_id"], "In Review", None)
        assert body["decision"]["aml_screenings"][0]["total_hits"] == 1


async def test_7_events_of_a_sandbox_say_so() -> None:
    async with hooked() as (a, found):
        session_id = (await a.create(key=SANDBOX_KEY))["session_id"]
        await a.move(session_id, "In Progress")
        assert (found.bodies[0]["environment"], found.bodies[0]["application_id"]) == ("sandbox", SANDBOX_APPLICATION)


async def test_4_events_leave_by_themselves_when_the_user_finishes() -> None:
    async with hooked(behaviour=Behaviour(after_s=0.1, odds={"In Review > Approved": 1.0})) as (a, found):
        await a.create()
        await until(lambda: len(found.arrived) == 3, "three events without a call")
        assert sorted(statuses(found)) == ["Approved", "In Progress", "In Review"], "under load they may overtake each other"


async def test_4_timers_send_events_too() -> None:
    async with hooked(session_expiration_s=0.1) as (a, found):
        await a.create()
        await until(lambda: statuses(found) == ["Expired"], "the expiry")


@pytest.mark.parametrize("status", [500, 503, 404])
async def test_5_3_a_5xx_or_404_is_tried_again_after_one_and_four_minutes_and_then_given_up(status: int) -> None:
    async with hooked(clock=FrozenClock()) as (a, found):
        found.answers = [status] * 9
        session_id = (await a.create())["session_id"]
        await a.move(session_id, "In Progress")
        assert len(found.arrived) == 1
        for forward_s, attempts in ((59, 1), (1, 2), (239, 2), (1, 3), (10_000, 3)):
            await a.advance(forward_s)
            assert len(found.arrived) == attempts, f"{forward_s} s later"
        assert await answers(a) == [(1, status), (2, status), (3, status)]
        hook = a.sim.ledger.webhooks[0]
        assert (hook["session_id"], hook["status"], hook["webhook_type"]) == (session_id, "In Progress", "status.updated")
        assert hook["at"] == FrozenClock().now_s


@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 401, 410, 429])
async def test_5_3_other_answers_are_final(status: int) -> None:
    async with hooked({"retry_s": (0.0, 0.0)}) as (a, found):
        found.answers = [status]
        await a.settled("In Progress")
        assert await answers(a) == [(1, status)]
        assert len(found.arrived) == 1, "a redirect is not followed"


async def test_5_3_timeouts_and_broken_connections_are_tried_again() -> None:
    async with hooked({"timeout_s": 0.05}) as (a, found):
        found.answers = [None]
        await a.settled("In Progress")
        await a.control("webhooks", {"timeout_s": 60.0})
        await a.advance(60)
        assert await answers(a) == [(1, "timeout"), (2, 200)]
    async with api(webhooks=WebhookOptions(url="http://127.0.0.1:1/hook")) as a:
        await a.settled("In Progress")
        await a.advance(60)
        await a.advance(240)
        assert await answers(a) == [(n, "connection_error") for n in (1, 2, 3)]


def test_5_3_the_documented_waits_and_timeout_are_the_defaults() -> None:
    assert (WebhookOptions().retry_s, WebhookOptions().timeout_s) == ((60.0, 240.0), 5.0)


@pytest.mark.parametrize(("mode", "count"), [("per_attempt", 2), ("stable", 1)])
async def test_5_3_the_event_id_is_new_for_each_attempt_or_stays(mode: str, count: int) -> None:
    async with hooked({"event_id": mode, "retry_s": (0.0,)}) as (a, found):
        found.answers = [500]
        await a.settled("In Progress")
        assert len(found.arrived) == 2
        assert len({body["event_id"] for body in found.bodies}) == count
        assert len({body["created_at"] for body in found.bodies}) == 1


async def test_5_1_a_late_attempt_is_signed_with_its_own_time_unless_switched() -> None:
    for mode, later_s in (("per_attempt", 60), ("stable", 0)):
        clock = FrozenClock()
        async with hooked({"timestamp": mode}, clock=clock) as (a, found):
            found.answers = [500]
            await a.settled("In Progress")
            clock.now_s += 60
            await a.advance(0)
            first, second = found.bodies
            assert second["timestamp"] - first["timestamp"] == later_s
            for raw_headers, raw in found.arrived:
                assert raw_headers["x-timestamp"] == str(orjson.loads(raw)["timestamp"])


async def test_11_6_events_are_lost_doubled_and_overtake_each_other_on_demand() -> None:
    async with hooked({"lost": 1.0}) as (a, found):
        await a.settled("In Progress", "Approved")
        assert await answers(a) == [(0, "lost")] * 2
    async with hooked({"doubled": 1.0, "event_id": "stable"}) as (a, found):
        await a.settled("In Progress")
        assert len(found.arrived) == 2
        assert found.bodies[0]["event_id"] == found.bodies[1]["event_id"]
    async with hooked({"jitter_s": 300}, clock=FrozenClock()) as (a, found):
        for n in range(10):
            await a.settled("In Progress", "Approved", vendor=f"u{n}")
        for _ in range(30):
            await a.advance(10)
        assert len(found.arrived) == 20
        orders: dict[str, list[str]] = {}
        for body in found.bodies:
            orders.setdefault(body["session_id"], []).append(body["status"])
        assert ["Approved", "In Progress"] in orders.values(), "an older one came later"


async def test_5_1_headers_get_lost_on_demand() -> None:
    async with hooked({"drop_headers": ("X-Timestamp", "x-signature")}) as (a, found):
        await a.settled("In Progress")
        assert len(found.arrived) == 1
        names = {name for name in found.arrived[0][0] if name.startswith("x-")}
        assert names == {"x-signature-v2", "x-signature-simple"}


async def test_5_1_a_test_event_says_so_and_an_event_can_be_sent_again_by_hand() -> None:
    async with hooked() as (a, found):
        session_id = await a.settled("In Progress")
        await a.control(f"sessions/{session_id}/webhook", {"test": True})
        await a.control(f"sessions/{session_id}/webhook", {})
        await a.idle()
        assert sorted(name.get("x-didit-test-webhook", "") for name, _ in found.arrived) == ["", "", "true"]


async def test_the_destination_can_be_set_while_it_runs() -> None:
    async with hooked() as (a, found), api() as b:
        await b.settled("In Progress")
        assert (await b.control("webhooks", {"url": found.url, "secret": SECRET, "retry_s": [1, 2]}))[0] == 200
        await b.settled("In Progress", vendor="x")
        assert len(found.arrived) == 1, "what came after"
        for wrong in ({"lost": "often"}, {"event_id": "x"}, {"nonsense": 1}, {"retry_s": ["x"]}):
            assert (await b.control("webhooks", wrong))[0] == 400
        assert a.sim.ledger.webhooks == []


async def test_what_waits_is_bounded_and_all_of_it_ends_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.simulator.webhook_sender._WAITING_MAX", 3)
    config = Config(webhooks=WebhookOptions(url="http://127.0.0.1:1/hook", jitter_s=500.0))
    async with running(config) as (simulator, _):
        application = simulator.state.directory.live
        for n in range(5):
            session, _ = simulator.sessions.create(application, {"workflow_id": "w", "vendor_data": str(n)}, simulator.session_now())
            simulator.sessions.change_status(session, "In Progress", simulator.session_now())
        assert [hook["answer"] for hook in simulator.ledger.webhooks] == ["no_room"] * 2
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []
