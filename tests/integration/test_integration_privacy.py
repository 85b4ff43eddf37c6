"""A full run of every operation with planted personal data and secrets: none of them is anywhere but in Kafka's own values and at Didit."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from rig import WORKFLOW_ID, Rig, running
from signing import SECRET

from processor.contract.schemas import operations
from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

NAME, SURNAME, MAIL, PHONE = "Zaphodia", "Beeblebrox", "zaphodia@heart-of-gold.example", "+34600111222"
BORN, PASSPORT, USER, CODE = "1979-10-12", "X-PASSPORT-99", "user-secret-42", "hush-4711"
PLANTED = [NAME, SURNAME, MAIL, PHONE, BORN, PASSPORT, USER, CODE, "sim-key", SECRET, "203.0.113.77", "PIXELS-OF-A-FACE", "secret-folder"]
SESSION = "11111111-2222-4333-8444-555555555555"
PNG = b"\x89PNG\r\n\x1a\n" + b"PIXELS-OF-A-FACE" * 20


def managed() -> dict[str, dict[str, Any]]:
    """Those that manage what is stored at Didit."""
    person = {"full_name": f"{NAME} {SURNAME}", "date_of_birth": BORN, "metadata": {"note": SURNAME}, "approved_emails": [MAIL]}
    return {
        "user.list": {"limit": 5},
        "user.get": {"vendor_data": USER},
        "user.create": {"vendor_data": USER + "-3", "approved_phones": [PHONE], **person},
        "user.update": {"vendor_data": USER, **person},
        "user.update_status": {"vendor_data": USER, "status": "FLAGGED"},
        "cancel": {"request_id": "of nobody"},
        "user.delete": {"vendor_data_list": [USER + "-4"]},
        "session.update_data": {"session_id": SESSION, "first_name": NAME, "document_number": PASSPORT, "extra_fields": {"a": SURNAME}},
        "session.update_poa_data": {"session_id": SESSION, "name_on_document": f"{NAME} {SURNAME}"},
        "session.update_feature": {"session_id": SESSION, "node_id": CODE, "new_status": "Approved", "comment": SURNAME},
        "session.update_aml_hit": {"session_id": SESSION, "hit_id": CODE, "review_status": "False Positive"},
        "session.update_aml_hits": {"session_id": SESSION, "hit_updates": [{"hit_id": CODE, "review_status": "Unreviewed"}]},
        "session.reviews": {"session_id": SESSION},
        "session.add_review": {"session_id": SESSION, "comment": f"{NAME} {MAIL}"},
        "session.delete_many": {"session_numbers": ["999999"], "instruction_id": SURNAME},
        "webhook.list": {},
        "webhook.create": {"label": SURNAME, "url": f"http://localhost:9/{CODE}", "subscribed_events": ["activity.created"]},
        "webhook.get": {"destination_uuid": SESSION},
        "webhook.update": {"destination_uuid": SESSION, "label": SURNAME},
        "webhook.delete": {"destination_uuid": SESSION},
        "webhook.deliveries": {"destination_uuid": SESSION},
        "webhook.resend": {"destination_uuid": SESSION, "delivery_uuid": SESSION},
        "workflow.list": {},
        "billing.balance": {},
        "list.list": {"list_type": "blocklist"},
        "list.create": {"name": SURNAME, "list_type": "custom", "entry_type": "key"},
        "list.entries": {"list_uuid": SESSION, "search": MAIL},
        "list.add_entry": {"list_uuid": SESSION, "value": PHONE, "comment": NAME},
        "list.delete_entry": {"list_uuid": SESSION, "entry_uuid": SESSION},
    }


def inputs(folder: Path) -> dict[str, dict[str, Any]]:
    """One valid input for each operation."""
    image = f"file://{folder}/{NAME}.png"
    person = {"vendor_data": USER, "metadata": {"note": SURNAME}}
    details = {"first_name": NAME, "last_name": SURNAME, "date_of_birth": BORN, "identification_number": PASSPORT}
    create = {"workflow_id": WORKFLOW_ID, **person, "expected_details": details, "contact_details": {"email": MAIL, "phone": PHONE}}
    given: dict[str, dict[str, Any]] = {
        "verification": create,
        "session.create": create | {"vendor_data": USER + "-2"},
        "session.decision": {"session_id": SESSION},
        "session.media": {"session_id": SESSION},
        "session.list": {"vendor_data": USER, "search": NAME},
        "session.update_status": {"session_id": SESSION, "new_status": "Approved", "comment": SURNAME},
        "session.delete": {"session_id": SESSION, "deletion_instruction": SURNAME},
        "session.pdf": {"session_id": SESSION},
        "sandbox.scenarios": {},
        "sandbox.simulate": {"session_id": SESSION, "new_status": "Approved", "comment": SURNAME},
        "session.share": {"session_id": SESSION, "for_application_id": PASSPORT},
        "session.import_shared": {"share_token": CODE, "trust_review": True, "workflow_id": WORKFLOW_ID, "vendor_data": USER},
        "id_verification": {"front_image": image, **person},
        "passive_liveness": {"user_image": image, **person},
        "face_match": {"user_image": image, "ref_image": image, **person},
        "face_search": {"user_image": image, **person},
        "age_estimation": {"user_image": image, **person},
        "poa": {"document": image, "expected_first_name": NAME, **person},
        "document_ai": {"document": image, "fields": [{"key": "name"}], **person},
        "database_validation": {"issuing_state": "ESP", "identification_number": PASSPORT, "first_name": NAME, **person},
        "aml": {"full_name": f"{NAME} {SURNAME}", "date_of_birth": BORN, "document_number": PASSPORT, **person},
        "email.send": {"email": MAIL, **person},
        "email.check": {"email": MAIL, "code": CODE},
        "phone.send": {"phone_number": PHONE, **person},
        "phone.check": {"phone_number": PHONE, "code": CODE},
        "email.risk": {"email": MAIL, **person},
        "phone.risk": {"phone_number": PHONE, **person},
        "ip.risk": {"ip_address": "203.0.113.77", **person},
        **managed(),
    }
    return given | monitored()


def monitored() -> dict[str, dict[str, Any]]:
    """The same for transactions and what belongs to them."""
    payment = {"direction": "in", "amount": "1.00", "currency": "EUR", "payment_details": PASSPORT}
    event: dict[str, Any] = {"event_id": USER, "event_category": "auth", "action_type": "login", "occurred_at": "2026-10-17T09:15:02Z"}
    event |= {"subject": {"vendor_data": USER}, "payload": {"email": MAIL}}
    return {
        "transaction.create": {
            "transaction_id": PASSPORT,
            "transaction_category": "finance",
            "transaction_details": payment,
            "subject": {"vendor_data": USER, "full_name": f"{NAME} {SURNAME}", "date_of_birth": BORN},
        },
        "transaction.get": {"transaction_uuid": SESSION},
        "transaction.list": {},
        "event.create": event,
        "event.create_batch": {"events": [event | {"event_id": CODE}]},
        "kyb.search": {"country_code": "GB", "name": SURNAME, "vendor_data": USER},
        **{f"kyb.{tier}": {"kyb_response_id": PASSPORT, "vendor_data": USER} for tier in ("select", "shareholders", "ubo")},
        "wallet_screening": {"wallet_address": PASSPORT, "blockchain": "BTC"},
        **{f"aml_monitoring.{who}": {"is_enabled": True, "vendor_data_list": [USER]} for who in ("users", "businesses")},
        "aml_monitoring.job": {"job_id": SESSION},
    }


def publication(folder: Path) -> list[tuple[bytes, bytes]]:
    """Each operation three times, and each once with a fault of its own in the middle of personal data."""
    found = []
    for operation, given in inputs(folder).items():
        for n in range(3):
            request = {"request_id": f"{SURNAME}-{operation}-{n}", "operation": operation, "input": given}
            found.append((USER.encode(), orjson.dumps(request)))
        broken = {"request_id": f"{SURNAME}-{operation}-x", "operation": operation, "input": given | {"nickname": SURNAME}}
        found.append((USER.encode(), orjson.dumps(broken)))
    missing = {"request_id": f"{SURNAME}-missing", "operation": "poa", "input": {"document": f"file://{folder}/{PASSPORT}.pdf"}}
    outside = {"request_id": f"{SURNAME}-outside", "operation": "poa", "input": {"document": f"https://{SURNAME}.example/{NAME}?{CODE}"}}
    return [*found, *((USER.encode(), orjson.dumps(request)) for request in (missing, outside))]


async def headers_of(rig: Rig, topic: str) -> str:
    return "\n".join(f"{name}={(value or b'').decode(errors='replace')}" for r in await rig.records(topic) for name, value in r.headers)


async def test_personal_data_and_secrets_stay_where_they_belong(kafka: LocalKafka, tmp_path: Path, held_port: int) -> None:
    folder = tmp_path / "secret-folder"
    folder.mkdir()
    (folder / f"{NAME}.png").write_bytes(PNG)
    options = ["--webhook-url", f"http://127.0.0.1:{held_port}/webhooks/didit", "--webhook-secret", SECRET]
    options += ["--behaviour", json.dumps({"after_s": 0.5, "odds": {"Approved": 1}})]
    variables = {
        "LOG__LEVEL": "debug",
        "RETRY__ATTEMPTS_MAX": "2",
        "FOLLOW__POLLS_S": "[2]",
        "FILES__ROOTS": json.dumps([str(folder)]),
        "WEBHOOKS__PORT": str(held_port),
        "WEBHOOKS__SECRETS": json.dumps([SECRET]),
    }
    async with running(kafka, tmp_path, simulator_options=options, more=variables) as rig:
        await rig.receive()
        assert set(inputs(folder)) == set(operations())
        echo = {"status": 400, "body": json.dumps({"detail": f"{NAME} {MAIL} is wrong", PASSPORT: [BORN, PHONE]})}
        page = {"status": 500, "headers": [["Content-Type", "text/html"]], "body": f"<h1>{SURNAME} {CODE}</h1>"}
        composed = {"verification", "cancel", "session.media"}  # of calls of others, or of none
        for operation in [*inputs(folder).keys() - composed, "session.create"]:
            rig.simulator.post("/_sim/script", {"route": operation, "answers": [echo, page, {"fault": "lost_reply"}]})
        await rig.start("a", "b")
        requests = publication(folder)
        await rig.publish(requests)
        await rig.wait_finals(len(requests))
        await rig.read_rest()
        assert {"succeeded", "failed", "rejected", "in_doubt"} <= {f["status"] for f in rig.finals}
        assert await rig.records("events"), "webhooks came"
        for process in rig.processors:
            await asyncio.to_thread(process.child.stop, 20.0)
        tokens = [s["session_id"] for s in rig.simulator.ledger()["sessions"]]
        assert tokens
        urls = {f["output"]["url"] for f in rig.finals if isinstance(f["output"], dict) and isinstance(f["output"].get("url"), str)}
        told = {
            **{p.name: p.log_path.read_text() for p in rig.processors},
            **{
                f"headers of {t}": await headers_of(rig, t)
                for t in ("results", "dead-letters", "retry.1s", "retry.2s", "retry.5s", "events", "budget")
            },
            "budget log": "\n".join((r.value or b"").decode() for r in await rig.records("budget")),
            "error texts": "\n".join(json.dumps(f["error"]) for f in rig.finals),
        }
        for where, text in told.items():
            assert text or where.startswith("headers"), where
            for word in [*PLANTED, *(url.rsplit("/", 1)[-1] for url in urls)]:
                assert word not in text, (where, word, text[max(0, text.find(word) - 200) : text.find(word) + 100])
