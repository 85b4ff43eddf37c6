"""What Didit does to us: throttling, lost replies, refusals, account faults; judged by the simulator's ledger."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from rig import WORKFLOW_ID, create_request, running

from processor.contract.records import call_reference
from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

SESSION = "11111111-2222-4333-8444-555555555555"


def decision(request_id: str, session_id: str) -> tuple[bytes, bytes]:
    body = {"request_id": request_id, "operation": "session.decision", "input": {"session_id": session_id}}
    return request_id.encode(), orjson.dumps(body)


def calls_of(ledger: dict[str, Any], request_id: str) -> list[dict[str, Any]]:
    stem = call_reference(request_id, 0)[:-1]
    return [c for c in ledger["calls"] if c["reference"].startswith(stem)]


async def test_a_lost_reply_is_reconciled_and_billed_once(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": "lost_reply"}] * 3})
        await rig.start("a")
        await rig.publish([create_request(1)])  # the caller's vendor_data: the session is known by its metadata
        body = {"request_id": "own", "operation": "session.create", "input": {"workflow_id": WORKFLOW_ID}}
        await rig.publish([(b"own", orjson.dumps(body))])  # ours: the session is known by vendor_data
        await rig.publish([create_request(2)])
        await rig.wait_finals(3)
        ledger = rig.simulator.ledger()
        assert len(ledger["sessions"]) == 3
        by_request = {s["request_id"]: s["session_id"] for s in ledger["sessions"]}
        for final in rig.finals:
            assert final["status"] == "succeeded"
            assert final["output"]["session_id"] == by_request[final["request_id"]]
            assert final["output"]["url"].endswith(final["output"]["session_token"])
        creates = [c for c in ledger["calls"] if c["route"] == "session.create"]
        assert len(creates) == 3, "no create was repeated"
        assert not ledger["reused"]


async def test_a_create_that_never_acted_is_made_again(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        faults = ["reset", "error_500_html", "error_502", "truncated"]
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": f} for f in faults]})
        await rig.start("a")
        await rig.publish([create_request(n) for n in range(4)])
        await rig.wait_finals(4)
        judged = await rig.judge([f"r-{n:06d}" for n in range(4)])
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 4}
        assert judged.billed_twice == 0
        assert all(f["attempts"] == 2 and f["error"] is None for f in rig.finals)


async def test_twenty_refusals_cost_no_attempt_and_every_retry_after_is_a_floor(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, RETRY__ATTEMPTS_MAX="2") as rig:
        text = '{"detail":"Session creation rate limit exceeded. You can make up to 600 requests per minute."}'
        refusal = {"status": 429, "headers": [["Retry-After", "1"]], "body": text}
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [refusal] * 20})
        await rig.start("a")
        await rig.publish([create_request(1)])
        await rig.wait_finals(1)
        ledger = rig.simulator.ledger()
        at = [c["at"] for c in calls_of(ledger, "r-000001")]
        assert len(at) == 21
        assert min(later - earlier for earlier, later in itertools.pairwise(at)) >= 1.0
        assert rig.finals[0]["status"] == "succeeded"
        assert rig.finals[0]["attempts"] == 1
        assert await rig.records("dead-letters") == []


async def test_a_long_retry_after_holds_its_scope_only_and_not_the_shutdown(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        text = '{"detail":"Session creation rate limit exceeded. You can make up to 600 requests per minute."}'
        rig.simulator.post(
            "/_sim/script", {"route": "session.create", "answers": [{"status": 429, "headers": [["Retry-After", "86400"]], "body": text}]}
        )
        (a,) = await rig.start("a")
        await rig.publish([create_request(1)])
        await rig.until(lambda: bool(rig.watch.seen.retries), "retry")
        await rig.publish([create_request(2), decision("d-1", SESSION)])
        await rig.wait_finals(1)
        assert rig.finals[0]["request_id"] == "d-1"
        await rig.until(lambda: len(rig.watch.seen.retries) >= 2, "retry of the second create, which waits without a call")
        ledger = rig.simulator.ledger()
        assert sum(c["route"] == "session.create" for c in ledger["calls"]) == 1
        assert all(r.due_ms > (time.time() + 86_000) * 1000 for r in rig.watch.seen.retries)
        a.child.terminate()
        assert await asyncio.to_thread(a.child.wait, 120.0) == 0
        a.start()
        await asyncio.to_thread(a.wait_event, "partitions_assigned", count=2)
        await rig.publish([decision("d-2", SESSION)])
        await rig.wait_finals(2)
        assert sum(c["route"] == "session.create" for c in rig.simulator.ledger()["calls"]) == 1, "the wait survives a restart"


@pytest.mark.parametrize(("auth_status", "said"), [(401, 3), (403, 1)])
async def test_an_account_fault_holds_everything_and_dead_letters_nothing(
    kafka: LocalKafka, tmp_path: Path, auth_status: int, said: int
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("old-key")
    options = ("--switches", f'{{"auth_status":{auth_status}}}')
    async with running(kafka, tmp_path, simulator_options=options, LOG__LEVEL="info") as rig:
        del rig.environment["VP_DIDIT__API_KEY"]
        a = rig.processor("a", DIDIT__API_KEY_FILE=str(key_file))
        a.start()
        await rig.publish([create_request(n) for n in range(50)])
        await asyncio.to_thread(a.wait_event, "account_fault", count=said)
        ledger = rig.simulator.ledger()
        probes = [c["at"] for c in ledger["calls"]]
        assert not rig.finals
        key_file.write_text("sim-key")  # repaired in place: no restart
        await rig.wait_finals(50)
        judged = await rig.judge([f"r-{n:06d}" for n in range(50)])
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 50}
        assert judged.retries == 0 or auth_status == 403, "a 403 waits until it is known whose it is"
        assert all(f["attempts"] == 1 for f in rig.finals)
        assert await rig.records("dead-letters") == []
        late = [at for at in probes if at > probes[0] + 0.5]
        assert auth_status == 403 or len(late) <= (probes[-1] - probes[0]) / 0.9 + 1, "one probe a second after the first refusals"


async def test_refusals_and_exhaustion_end_with_a_result_and_a_dead_letter(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, RETRY__ATTEMPTS_MAX="2", RETRY__DELAYS_S="[1]") as rig:
        answers = [
            {"status": 400, "body": '{"workflow_id":"Invalid workflow_id."}'},
            {
                "status": 400,
                "body": '{"vendor_data":"This user or business has been blocked and cannot create new verification sessions."}',
            },
            {"status": 301, "headers": [["Location", "/v3/session/"]]},
        ]
        await rig.start("a")
        for n, answer in enumerate(answers):
            rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [answer]})
            await rig.publish([create_request(n)])
            await rig.wait_finals(n + 1)
        await rig.publish([decision("gone", SESSION)])
        await rig.wait_finals(4)
        rig.simulator.post("/_sim/faults", {"rates": {"error_503": 1.0}, "routes": ["session.create"]})
        await rig.publish([create_request(7)])
        await rig.wait_finals(5)
        await rig.read_rest()
        found = {f["request_id"]: (f["status"], f["error"]["type"], f["error"]["code"], f["attempts"]) for f in rig.finals}
        assert found == {
            "r-000000": ("failed", "request_refused", "http_400", 1),
            "r-000001": ("failed", "request_refused", "vendor_data_blocked", 1),
            "r-000002": ("failed", "our_fault", "redirected", 1),
            "gone": ("failed", "request_refused", "http_404", 1),
            "r-000007": ("in_doubt", "in_doubt", "http_503", 2),
        }
        assert rig.finals[0]["error"]["field"] == "input.workflow_id"
        assert rig.finals[0]["output"] == {"workflow_id": "Invalid workflow_id."}
        dead = {dict(r.headers)["vp-reason-code"].decode(): r for r in await rig.records("dead-letters")}
        assert set(dead) == {"http_400", "redirected", "http_404", "http_503"}
        assert dead["http_503"].value == create_request(7)[1]


async def test_an_answer_too_large_for_its_topic_is_handled_before_it_is_sent(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1, LANES__OUTPUT_BYTES_MAX="1200000") as rig:
        body = json.dumps({"session_id": SESSION, "status": "Approved", "x": "y" * 1_500_000})
        rig.simulator.post("/_sim/script", {"route": "session.decision", "answers": [{"status": 200, "body": body}]})
        (a,) = await rig.start("a")
        await rig.publish([decision("large", SESSION)])
        await rig.wait_finals(1)
        await rig.publish([create_request(1)])
        await rig.wait_finals(2)
        assert rig.finals[0]["status"] == "failed"
        assert rig.finals[0]["error"]["code"] == "output_too_large"
        assert rig.finals[1]["status"] == "succeeded"
        assert not list(a.events("life_ended")), "the producer was not poisoned"
        assert len(await rig.records("dead-letters")) == 1


async def test_deadlines_end_requests_that_wait(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        rig.simulator.post("/_sim/faults", {"rates": {"throttle_429": 1.0}, "retry_after_s": 5})
        await rig.start("a")
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
        past = "2020-01-01T00:00:00+02:00"
        await rig.publish([create_request(1, deadline=soon), create_request(2, deadline=past)])
        await rig.wait_finals(2)
        assert {f["request_id"]: f["status"] for f in rig.finals} == {"r-000001": "expired", "r-000002": "expired"}
        rig.simulator.post("/_sim/faults", {})
        await rig.publish([create_request(2), create_request(2, input={"workflow_id": WORKFLOW_ID, "vendor_data": "another"})])
        await rig.until(lambda: len(rig.watch.seen.copies) == 1 and len(rig.finals) == 3, "a copy and a conflict")
        assert rig.finals[2]["status"] == "conflict", "its id stays that of the request that has expired"
        assert not [c for c in rig.simulator.ledger()["calls"] if c["reference"].startswith(call_reference("r-000002", 0)[:-1])]


async def test_nothing_personal_reaches_the_logs(kafka: LocalKafka, tmp_path: Path) -> None:
    secrets = ["Zaphodia", "Beeblebrox", "zaphodia@example.org", "+34600111222", "1979-10-12", "X-PASSPORT-99", "user-secret-42", "sim-key"]
    async with running(kafka, tmp_path, LOG__LEVEL="debug", RETRY__ATTEMPTS_MAX="2") as rig:
        (a,) = await rig.start("a")
        details = {
            "first_name": secrets[0],
            "last_name": secrets[1],
            "date_of_birth": secrets[4],
            "identification_number": secrets[5],
        }
        contact = {"email": secrets[2], "phone": secrets[3]}
        body = {"workflow_id": WORKFLOW_ID, "vendor_data": secrets[6], "expected_details": details, "contact_details": contact}
        echo = {"status": 400, "body": json.dumps({"detail": f"bad {secrets[0]} {secrets[2]}", secrets[5]: [secrets[4]]})}
        faults = [echo, {"fault": "error_503"}, {"fault": "truncated"}, {"fault": "lost_reply"}]
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": faults})
        for n in range(5):
            request = {"request_id": f"{secrets[1]}-{n}", "operation": "session.create", "input": body}
            await rig.publish([(secrets[6].encode(), orjson.dumps(request))])
        broken = {"request_id": f"{secrets[1]}-x", "operation": "session.create", "input": {**body, secrets[0]: secrets[1]}}
        await rig.publish([(secrets[6].encode(), orjson.dumps(broken))])
        await rig.wait_finals(6)
        urls = [f["output"]["session_token"] for f in rig.finals if f["status"] == "succeeded"]
        await asyncio.to_thread(a.child.stop, 20.0)
        text = a.log_path.read_text()
        for word in [*secrets, *urls]:
            assert word not in text, word
        for dead_letter in await rig.records("dead-letters"):
            headers = b" ".join(v for _, v in dead_letter.headers).decode()
            assert not [w for w in secrets[1:] if w in headers], headers
        for delay in ("1s", "2s", "5s"):
            for retry in await rig.records(f"retry.{delay}"):
                headers = b" ".join(v for _, v in retry.headers).decode()
                assert not [w for w in secrets if w in headers], headers
        for final in rig.finals:
            assert not [w for w in secrets[1:] if final["error"] and w in final["error"]["message"]]
