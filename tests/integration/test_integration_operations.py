"""Every operation through real Kafka: success, decline, refusal, 429, a lost reply, and a kill in the middle; billed once each."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from rig import WORKFLOW_ID, Rig, running

from processor.contract.schemas import operations
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import API_KEY
from processor.didit.catalog import COMPOSITES, OPERATIONS, WITHOUT_CALL, Idempotency

pytestmark = pytest.mark.broker

NOBODYS = "99999999-2222-4333-8444-555555555555"
PNG = b"\x89PNG\r\n\x1a\n"
IMAGES = {
    "good": PNG + b"SCORE=95 AGE=30",
    "bad": PNG + b"DECLINE SCORE=5 AGE=3",
    "unreadable": PNG + b"UNREADABLE NOFACE",
    "page": b"<html>",
}


async def settled_sessions(rig: Rig, count: int) -> list[str]:
    """Sessions made beside the processors, approved."""
    found = []
    async with aiohttp.ClientSession(headers={"x-api-key": API_KEY}) as http:
        for n in range(count):
            body = {"workflow_id": WORKFLOW_ID, "vendor_data": f"beside-{n}"}
            async with http.post(f"{rig.simulator.url}/v3/session/", json=body) as answer:
                found.append((await answer.json())["session_id"])
    for session_id in found:
        for status in ("In Progress", "Approved"):
            rig.simulator.post(f"/_sim/sessions/{session_id}/status", {"status": status})
    return found


@dataclass
class Stored:
    """What operators manage, made beside the processors."""

    phones: str = NOBODYS  # the blocklist
    entries: list[str] = field(default_factory=list)
    destinations: list[str] = field(default_factory=list)
    aml_check: str = NOBODYS


async def stored_things(rig: Rig, count: int) -> Stored:
    """A blocklist with entries, destinations that want nothing that happens here, and a check with a hit."""
    found = Stored()
    async with aiohttp.ClientSession(rig.simulator.url, headers={"x-api-key": API_KEY}) as http:

        async def post(path: str, body: dict[str, Any]) -> Any:
            async with http.post(path, json=body) as answer:
                return await answer.json()

        async with http.get("/v3/lists/", params={"list_type": "blocklist", "entry_type": "phone"}) as answer:
            found.phones = (await answer.json())["results"][0]["uuid"]
        found.aml_check = (await post("/v3/aml/", {"full_name": "Ann Hit"}))["request_id"]
        for n in range(count):
            entry = {"value": f"+34700{n:06d}"}
            found.entries.append((await post(f"/v3/lists/{found.phones}/entries/", entry))["uuid"])
            made = {"label": "x", "url": f"https://example.com/{n}", "subscribed_events": ["activity.created"]}
            found.destinations.append((await post("/v3/webhook/destinations/", made))["uuid"])
    return found


class Inputs:
    """Valid inputs, a fresh one for each story."""

    def __init__(self, folder: Path, sessions: list[str], stored: Stored | None = None) -> None:
        self._folder, self._sessions, self._number = folder, sessions, 0
        self._stored = stored or Stored()
        self.company = ""  # that was searched for
        for name, content in IMAGES.items():
            (folder / f"{name}.png").write_bytes(content)

    def image(self, name: str = "good") -> str:
        return f"file://{self._folder}/{name}.png"

    def of(self, operation: str, image: str = "good") -> dict[str, Any]:
        self._number += 1
        n = self._number
        create = {"workflow_id": WORKFLOW_ID, "vendor_data": f"user-{n}"}
        mail, phone, session = f"user-{n}@example.org", f"+346{n:08d}", {"session_id": self._sessions[n % len(self._sessions)]}
        files = {name: self.image(image) for name in (OPERATIONS[operation].files if operation in OPERATIONS else ())}
        given: dict[str, dict[str, Any]] = {
            "verification": create,
            "session.create": create,
            "session.list": {"vendor_data": "beside-0", "limit": 5},
            "session.decision": session,
            "session.media": session,
            "session.pdf": session,
            "session.update_status": {"session_id": self._sessions[n % len(self._sessions)], "new_status": "Declined"},
            "session.delete": {"session_id": self._sessions.pop()} if operation == "session.delete" else {},
            "session.share": session | {"for_application_id": "b0000000-0000-4000-8000-00000000000b"},
            "session.import_shared": {"share_token": "nonsense", "trust_review": True, "workflow_id": WORKFLOW_ID},
            "sandbox.scenarios": {},
            "sandbox.simulate": session | {"new_status": "Approved"},
            "document_ai": {"fields": [{"key": "total", "type": "number"}]},
            "database_validation": {"issuing_state": "ESP", "identification_number": f"ID-{n}", "consent": True},
            "aml": {"full_name": f"Ann {n}"},
            "email.send": {"email": mail},
            "email.check": {"email": mail, "code": "000000"},
            "email.risk": {"email": mail},
            "phone.send": {"phone_number": phone},
            "phone.check": {"phone_number": phone, "code": "000000"},
            "phone.risk": {"phone_number": phone},
            "ip.risk": {"ip_address": f"203.0.113.{n % 250}"},
            **self._managed(n, session, operation),
        }
        return (given | monitored(n, self.company)).get(operation, {}) | files

    def _managed(self, n: int, session: dict[str, str], operation: str) -> dict[str, dict[str, Any]]:
        stored = self._stored
        gone = NOBODYS
        if left := {"list.delete_entry": stored.entries, "webhook.delete": stored.destinations}.get(operation):
            gone = left.pop()
        destination = {"destination_uuid": stored.destinations[0] if stored.destinations else NOBODYS}
        hit = {"hit_id": "sim-hit", "review_status": "False Positive"}
        return {
            "user.list": {"limit": 5},
            "user.get": {"vendor_data": "beside-0"},
            "user.create": {"vendor_data": f"user-{n}", "full_name": "Ann Example"},
            "user.update": {"vendor_data": "beside-0", "display_name": f"Ann {n}"},
            "user.update_status": {"vendor_data": "beside-1", "status": "FLAGGED"},
            "cancel": {"request_id": f"nobody-{n}"},
            "user.delete": {"vendor_data_list": [f"nobody-{n}"]},
            "list.list": {"list_type": "blocklist"},
            "list.create": {"name": f"list {n}", "list_type": "custom", "entry_type": "key"},
            "list.entries": {"list_uuid": stored.phones},
            "list.add_entry": {"list_uuid": stored.phones, "value": f"+34800{n:06d}"},
            "list.delete_entry": {"list_uuid": stored.phones, "entry_uuid": gone},
            "session.update_data": session | {"first_name": f"Ann {n}"},
            "session.update_poa_data": session | {"issuer": "Bank"},
            "session.update_feature": session | {"node_id": "node-1", "new_status": "In Review"},
            "session.update_aml_hit": {"session_id": stored.aml_check, **hit},
            "session.update_aml_hits": {"session_id": stored.aml_check, "hit_updates": [hit]},
            "session.reviews": session,
            "session.add_review": session | {"comment": f"note {n}"},
            "session.delete_many": {"session_numbers": [str(90_000 + n)]},
            "webhook.list": {},
            "webhook.create": {"label": "y", "url": f"https://example.com/made/{n}", "subscribed_events": ["activity.created"]},
            "webhook.get": destination,
            "webhook.update": destination | {"label": f"z {n}"},
            "webhook.delete": {"destination_uuid": gone},
            "webhook.deliveries": destination,
            "webhook.resend": destination | {"delivery_uuid": NOBODYS},
            "workflow.list": {},
            "billing.balance": {},
        }


async def company_found(rig: Rig, name: str = "Tesco") -> str:
    """A company that was searched for beside the processors."""
    wanted = {"country_code": "GB", "name": name}
    async with (
        aiohttp.ClientSession(headers={"x-api-key": API_KEY}) as http,
        http.post(f"{rig.simulator.url}/v3/kyb/search/", json=wanted) as answer,
    ):
        return str((await answer.json())["kyb_registry"]["companies"][0]["kyb_response_id"])


def monitored(n: int, company: str = "") -> dict[str, dict[str, Any]]:
    """Valid inputs of transactions, companies and what belongs to them; 10 000 is reviewed, and is a success."""
    details = {"direction": "outbound", "amount": "10000.00", "currency": "EUR"}
    subject = {"vendor_data": f"user-{n}", "full_name": "Ann"}
    event = {
        "event_id": f"e-{n}",
        "event_category": "auth",
        "action_type": "login",
        "occurred_at": "2026-10-17T09:15:02Z",
        "subject": subject,
    }
    return {
        "transaction.create": {
            "transaction_id": f"t-{n}",
            "transaction_category": "finance",
            "transaction_details": details,
            "subject": subject,
        },
        "transaction.get": {"transaction_uuid": "11111111-2222-4333-8444-555555555555"},
        "transaction.list": {"limit": 5},
        "event.create": event,
        "event.create_batch": {"events": [event | {"event_id": f"b-{n}"}]},
        "kyb.search": {"country_code": "GB", "name": f"Company {n}"},
        **{f"kyb.{tier}": {"kyb_response_id": company, "vendor_data": f"company-{n}"} for tier in ("select", "shareholders", "ubo")},
        "wallet_screening": {"wallet_address": f"0x{n:040x}", "blockchain": "ETH"},
        "aml_monitoring.users": {"is_enabled": True, "vendor_data_list": [f"beside-{n % 8}"]},
        "aml_monitoring.businesses": {"is_enabled": True, "vendor_data_list": [f"company-{n}"]},
        "aml_monitoring.job": {"job_id": "11111111-2222-4333-8444-555555555555"},
    }


REFUSED_BY_DIDIT = {  # need a second application, a proof of address, a delivery, a sandbox; no such transaction
    *("session.import_shared", "session.share", "session.update_poa_data", "webhook.resend", "transaction.get"),
    *("aml_monitoring.job", "sandbox.simulate"),
}
ROUTES = {"session.media": "session.decision"}  # of the simulator, where its name differs
TRACED = {name for name, row in OPERATIONS.items() if row.trace is not None}
MAKES = {"user.create", "list.create", "list.add_entry", "webhook.create"}  # a second time it is there already
GOES = {"session.delete", "list.delete_entry", "webhook.delete"}  # a second time it is gone


def expected(operation: str, story: str) -> set[str]:
    """How a story of an operation may end."""
    if operation in REFUSED_BY_DIDIT and story != "wrong":
        return {"failed"}
    row = OPERATIONS.get(operation)
    if story in {"lost", "killed"} and operation in MAKES | GOES:
        return {"succeeded", "failed"}
    if story in {"lost", "killed"} and row is not None and row.idempotency is Idempotency.SINGLE:
        return {"in_doubt"} if story == "lost" else {"in_doubt", "succeeded"}
    return {"succeeded"}


def folders(folder: Path) -> dict[str, str]:
    """Where files are read, and where those of decisions are put."""
    return {"FILES__ROOTS": json.dumps([str(folder)]), "FILES__MEDIA_FOLDER": str(folder)}


def request(request_id: str, operation: str, given: Mapping[str, Any]) -> tuple[bytes, bytes]:
    return request_id.encode(), orjson.dumps({"request_id": request_id, "operation": operation, "input": dict(given)})


async def finish_verifications(rig: Rig, wanted: int) -> None:
    """Users who finish as soon as they have their link."""
    done: set[str] = set()
    while len(done) < wanted:
        for session in rig.simulator.ledger()["sessions"]:
            if "verification" in (session["request_id"] or "") and session["session_id"] not in done:
                done.add(session["session_id"])
                for status in ("In Progress", "Approved"):
                    rig.simulator.post(f"/_sim/sessions/{session['session_id']}/status", {"status": status})
        await asyncio.sleep(0.2)


async def test_every_operation_in_every_weather(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[1]", more=folders(tmp_path)) as rig:
        inputs = Inputs(tmp_path, await settled_sessions(rig, 40), await stored_things(rig, 12))
        inputs.company = await company_found(rig)
        stories = [(operation, story) for operation in operations() for story in ("fine", "throttled", "lost")]
        beside = acts(rig)
        await rig.start("a", "b")
        finishing = asyncio.create_task(finish_verifications(rig, 3))
        for story, answer in (("throttled", {"fault": "throttle_429"}), ("lost", {"fault": "lost_reply"}), ("fine", None)):
            for operation in OPERATIONS if answer else ():
                rig.simulator.post("/_sim/script", {"route": ROUTES.get(operation, operation), "answers": [answer]})
            batch = [request(f"{operation}/{story}", operation, inputs.of(operation)) for operation in operations()]
            before = len(rig.watch.seen.final_ids)
            await rig.publish(batch)
            await rig.wait_finals(before + len(batch))
        await asyncio.wait_for(finishing, 120)
        judged = await rig.judge([f"{operation}/{story}" for operation, story in stories])
        assert not judged.missing, judged.missing
        assert not judged.duplicated
        assert judged.billed_twice == 0
        assert made_since(rig, beside) == dict.fromkeys((*MAKES, "session.add_review"), 3), "nothing is made twice"
        finals = {f["request_id"]: f for f in rig.finals}
        for operation, story in stories:
            final = finals[f"{operation}/{story}"]
            assert final["status"] in expected(operation, story), final
            if operation in MAKES and final["status"] == "failed":
                assert final["error"]["code"] == "already_exists", final
            if story == "lost" and operation in TRACED:
                assert final["output"]["vp_adopted"], final
            if story == "throttled" and final["status"] == "succeeded":
                assert final["attempts"] == int(operation not in WITHOUT_CALL), final


def acts(rig: Rig) -> Counter[str]:
    """How often each route has changed something, by the simulator's ledger."""
    return Counter(call["route"] for call in rig.simulator.ledger()["calls"] if call["acted"])


def made_since(rig: Rig, before: Counter[str]) -> dict[str, int]:
    """How often what must not come twice was made since then."""
    now = acts(rig)
    return {name: now[name] - before[name] for name in (*MAKES, "session.add_review")}


DECLINES: dict[str, dict[str, Any]] = {
    "wallet_screening": {"wallet_address": f"0x{0xBAD:040x}", "blockchain": "ETH"},
    "transaction.create": monitored(0)["transaction.create"]
    | {"transaction_details": {"direction": "in", "amount": 1_000_000, "currency": "EUR"}},
    "aml": {"full_name": "Ann Hit", "aml_score_approve_threshold": 50, "aml_score_review_threshold": 80},
    "email.send": {"email": "nobody@nowhere.invalid"},
    "phone.send": {"phone_number": "+34600000666"},
    "database_validation": {"issuing_state": "ESP", "identification_number": "NOMATCH", "consent": True},
}


async def test_declines_are_successes_and_wrong_inputs_are_refused(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, FILES__ROOTS=json.dumps([str(tmp_path)])) as rig:
        inputs = Inputs(tmp_path, ["11111111-2222-4333-8444-555555555555"] * 9)
        declines = {
            op: inputs.of(op, "bad")
            for op, row in OPERATIONS.items()
            if row.files and op not in {"face_search", "document_ai", "database_validation"}
        } | DECLINES
        struck = {"kyb_response_id": await company_found(rig, "Struck Ltd")}
        declines |= {f"kyb.{tier}": struck for tier in ("select", "shareholders", "ubo")}
        wrong = {op: inputs.of(op, "unreadable") for op in ("id_verification", "poa")}
        wrong |= {
            op: inputs.of(op)
            for op in (
                *("session.decision", "session.pdf", "session.update_status", "session.delete", "session.add_review"),
                *("session.update_data", "session.update_feature", "session.update_aml_hit", "user.get", "user.update_status"),
                *("list.add_entry", "list.delete_entry", "webhook.get", "webhook.update", "webhook.resend"),
            )
        }  # no such session, user, list, destination
        wrong |= {"aml": {"full_name": "Ann", "aml_name_weight": 50}}
        wrong |= {"kyb.search": {"country_code": "US", "name": "x"}, "kyb.ubo": {"kyb_response_id": "gone"}}
        wrong |= {"wallet_screening": {"wallet_address": "0x1", "blockchain": "ETH"}}
        wrong |= {op: inputs.of(op) for op in ("transaction.get", "aml_monitoring.job")}  # nor these
        wrong |= {"transaction.create": monitored(1)["transaction.create"] | {"transaction_category": "gambling"}}
        pages = {op: inputs.of(op, "page") for op, row in OPERATIONS.items() if row.files}
        await rig.start("a")
        batches = {"decline": declines, "wrong": wrong, "page": pages}
        batch = [request(f"{op}/{story}", op, given) for story, found in batches.items() for op, given in found.items()]
        await rig.publish(batch)
        await rig.wait_finals(len(batch))
        await rig.read_rest()
        finals = {f["request_id"]: f for f in rig.finals}
        for op in declines:
            final = finals[f"{op}/decline"]
            assert final["status"] == "succeeded", final
            words = ("Declined", "DECLINED", "CRITICAL", "Undeliverable", "Blocked", "no_match")
            assert any(word in json.dumps(final["output"]) for word in words), final
        for op in wrong:
            final = finals[f"{op}/wrong"]
            assert final["status"] == "failed", final
            assert final["error"]["type"] == "request_refused", final
        for op in pages:
            assert (finals[f"{op}/page"]["status"], finals[f"{op}/page"]["error"]["code"]) == ("rejected", "file_type")
        dead_letters = await rig.records("dead-letters")
        assert len(dead_letters) == len(wrong) + len(pages)


async def test_a_kill_in_the_middle_of_every_operation_bills_nothing_twice(kafka: LocalKafka, tmp_path: Path) -> None:
    slow = ["--faults", '{"latency_s": {"median": 1.5, "sigma": 0, "max": 2}}']
    async with running(kafka, tmp_path, simulator_options=slow, FOLLOW__POLLS_S="[1]", more=folders(tmp_path)) as rig:
        inputs = Inputs(tmp_path, await settled_sessions(rig, 8), await stored_things(rig, 4))
        inputs.company = await company_found(rig)
        (a,) = await rig.start("a")
        arrived, beside = len(rig.simulator.ledger()["calls"]), acts(rig)
        await rig.publish([request(f"{operation}/killed", operation, inputs.of(operation)) for operation in operations()])
        await rig.until(lambda: len(rig.simulator.ledger()["calls"]) >= arrived + len(OPERATIONS) + len(COMPOSITES), "all calls under way")
        a.child.kill()
        await asyncio.sleep(2.0)  # they come to their end without us
        rig.simulator.post("/_sim/faults", {})
        a.start()
        finishing = asyncio.create_task(finish_verifications(rig, 1))
        await rig.wait_finals(len(operations()))
        await asyncio.wait_for(finishing, 120)
        judged = await rig.judge([f"{operation}/killed" for operation in operations()])
        assert not judged.missing
        assert not judged.duplicated
        assert judged.billed_twice == 0
        assert made_since(rig, beside) == dict.fromkeys((*MAKES, "session.add_review"), 1), "nothing is made twice"
        for final in rig.finals:
            operation = final["request_id"].partition("/")[0]
            assert final["status"] in expected(operation, "killed"), final
            if operation in TRACED:
                assert final["output"]["vp_adopted"], final
