"""What operators manage at Didit. Each answer of the simulator is held to Didit's OpenAPI, and read by the product."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any

import openapi
import orjson
import pytest
from didit_api import KEY, SANDBOX_KEY, WORKFLOW, Api, api, receiver
from multidict import CIMultiDict

from processor.contract.codes import ErrorCode
from processor.didit.answers import Reply
from processor.didit.catalog import OPERATIONS
from processor.didit.verdicts import Refused, Success, Verdict, classify

PAYMENT = {
    "transaction_category": "finance",
    "transaction_details": {"direction": "outbound", "amount": 15, "currency": "EUR"},
    "subject": {"vendor_data": "u", "full_name": "Maria Garcia"},
}


async def judged(a: Api, operation: str, body: Any = None, *, query: str = "", **path: str) -> tuple[int, Any, Verdict]:
    """One call: status, body, and what the product makes of it. Fails where the OpenAPI has something against the answer."""
    row = OPERATIONS[operation]
    status, document, _ = await a.call(row.method, row.path.format(**path) + query, body)
    if openapi.path_of(row) is not None:
        assert openapi.faults_of_answer(operation, status, document) == []
    raw = document if isinstance(document, bytes) else orjson.dumps(document)
    return status, document, classify(row, Reply(status, CIMultiDict({"Content-Type": "application/json"}), raw))


async def test_a_user_is_made_corrected_blocked_and_deleted() -> None:
    async with api() as a:
        status, made, verdict = await judged(a, "user.create", {"vendor_data": "u", "full_name": "Ann Example", "metadata": {"tier": 1}})
        assert (status, made["status"], made["effective_name"], made["metadata"]) == (201, "ACTIVE", "Ann Example", {"tier": 1})
        assert isinstance(verdict, Success)
        _, twice, verdict = await judged(a, "user.create", {"vendor_data": "u"})
        assert isinstance(verdict, Refused)
        assert (verdict.code, twice) == (ErrorCode.ALREADY_EXISTS, {"vendor_data": ["A user with this vendor_data already exists."]})
        corrected = (await judged(a, "user.update", {"display_name": "A.", "metadata": {}}, vendor_data="u"))[1]
        assert (corrected["effective_name"], corrected["metadata"]) == ("A.", {})
        blocked = (await judged(a, "user.update_status", {"status": "BLOCKED"}, vendor_data="u"))[1]
        assert [(note["previous_status"], note["new_status"]) for note in blocked["comments"]] == [("ACTIVE", "BLOCKED")]
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": "u"}))[0] == 400
        again = (await judged(a, "user.update_status", {"status": "BLOCKED"}, vendor_data="u"))[1]
        assert len(again["comments"]) == 1, "the same once more changes nothing"
        await judged(a, "user.update_status", {"status": "ACTIVE"}, vendor_data="u")
        await a.create("u")
        assert (await judged(a, "user.get", vendor_data="u"))[1]["session_count"] == 1
        assert (await judged(a, "user.delete", {"vendor_data_list": ["u", "nobody"]}))[1] == {"deleted": 1}
        assert (await judged(a, "user.delete", {"didit_internal_id_list": [made["didit_internal_id"]]}))[1] == {"deleted": 0}
        assert (await judged(a, "user.get", vendor_data="u"))[0] == 404


async def test_the_list_of_users_has_those_of_sessions_and_comes_in_pages() -> None:
    async with api() as a:
        await judged(a, "user.create", {"vendor_data": "no session"})
        for n in range(3):
            await a.create(f"u{n}")
        _, page, verdict = await judged(a, "user.list", query="?limit=2")
        assert (page["count"], [row["vendor_data"] for row in page["results"]], page["previous"]) == (4, ["u2", "u1"], None)
        assert isinstance(verdict, Success)
        rest = (await a.call("GET", page["next"].removeprefix(a.url)))[1]
        assert ([row["vendor_data"] for row in rest["results"]], rest["next"]) == (["u0", "no session"], None)


@pytest.mark.parametrize(
    ("operation", "body", "status", "field"),
    [
        ("user.create", {}, 400, "vendor_data"),
        ("user.create", {"vendor_data": "v", "metadata": [1]}, 400, "metadata"),
        ("user.create", {"vendor_data": "v", "status": "active"}, 400, "status"),
        ("user.create", {"vendor_data": "v", "full_name": "x" * 513}, 400, "full_name"),
        ("user.update", {"date_of_birth": "15.05.1990"}, 400, "date_of_birth"),
        ("user.update", {"status": "GONE"}, 400, "status"),
        ("user.update_status", {}, 400, "status"),
        ("user.update_status", {"status": "GONE"}, 400, "status"),
        ("user.delete", {}, 400, 0),
        ("user.delete", {"filter_status": "BLOCKED", "delete_all": True}, 400, 0),
    ],
)
async def test_what_is_wrong_is_refused_as_documented(operation: str, body: Any, status: int, field: Any) -> None:
    async with api() as a:
        await a.create("u")
        path = dict.fromkeys(OPERATIONS[operation].path_fields, "u")
        found, document, verdict = await judged(a, operation, body, **path)
        assert found == status
        assert document[field]
        assert isinstance(verdict, Refused)
        assert not any(call["acted"] for call in (await a.ledger())["calls"][1:]), "and nothing was done"


async def test_a_value_is_put_on_a_list_found_there_and_taken_off() -> None:
    async with api() as a:
        blocklists = (await judged(a, "list.list", query="?list_type=blocklist&limit=50"))[1]["results"]
        assert len(blocklists) == 10
        assert all(row["is_system"] for row in blocklists)
        users = next(row["uuid"] for row in blocklists if row["entry_type"] == "user")
        status, entry, verdict = await judged(a, "list.add_entry", {"value": "u", "comment": "fraud"}, list_uuid=users)
        assert (status, entry["value"], entry["comment"], entry["added_by"]) == (201, "u", "fraud", "api")
        assert isinstance(verdict, Success)
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": "u"}))[0] == 400, "the person is blocked"
        _, _, verdict = await judged(a, "list.add_entry", {"value": "u"}, list_uuid=users)
        assert isinstance(verdict, Refused)
        assert verdict.code == ErrorCode.ALREADY_EXISTS
        found = (await judged(a, "list.entries", query="?search=U", list_uuid=users))[1]["results"]
        assert [row["uuid"] for row in found] == [entry["uuid"]]
        path = {"list_uuid": users, "entry_uuid": entry["uuid"]}
        assert (await judged(a, "list.delete_entry", **path))[0] == 204
        assert (await judged(a, "list.delete_entry", **path))[0] == 404
        await a.create("u")


@pytest.mark.parametrize("way", ["status", "made so", "list", "control"])
async def test_who_is_blocked_in_one_application_is_not_in_another(way: str) -> None:
    async with api() as a:
        if way == "status":
            await a.create("u")
            assert (await a.call("PATCH", "/v3/users/u/update-status/", {"status": "BLOCKED"}))[0] == 200
        elif way == "made so":
            assert (await a.call("POST", "/v3/users/create/", {"vendor_data": "u", "status": "BLOCKED"}))[0] == 201
        elif way == "list":
            users = await blocklist_of_users(a, KEY)
            assert (await a.call("POST", f"/v3/lists/{users}/entries/", {"value": "u"}))[0] == 201
        else:
            assert (await a.control("users/block", {"vendor_data": "u"}))[:2] == (200, {"blocked": 1})
        session, payment = {"workflow_id": WORKFLOW, "vendor_data": "u"}, {"transaction_id": "t", **PAYMENT}
        for path, body in (("/v3/session/", session), ("/v3/transactions/", payment)):
            assert (await a.call("POST", path, body))[0] == 400
            assert (await a.call("POST", path, body, SANDBOX_KEY))[0] == 201
        assert (await a.call("GET", "/v3/users/u/", key=SANDBOX_KEY))[1]["status"] == "ACTIVE"
        for key, count in ((KEY, 1), (SANDBOX_KEY, 0)):
            entries = f"/v3/lists/{await blocklist_of_users(a, key)}/entries/"
            assert (await a.call("GET", entries, key=key))[1]["count"] == count


async def blocklist_of_users(a: Api, key: str) -> str:
    rows = (await a.call("GET", "/v3/lists/?list_type=blocklist&limit=50", key=key))[1]["results"]
    found: str = next(row["uuid"] for row in rows if row["entry_type"] == "user")
    return found


async def test_a_user_who_is_blocked_stands_on_the_blocklist_and_a_session_gives_its_document() -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "Approved")
        await judged(a, "user.update_status", {"status": "BLOCKED"}, vendor_data="u")
        lists = {row["entry_type"]: row for row in (await judged(a, "list.list", query="?list_type=blocklist"))[1]["results"]}
        assert lists["user"]["entry_count"] == 1
        number = (await a.decision(session_id))["id_verifications"][0]["document_number"]
        body = {"reference_session_id": session_id}
        entry = (await judged(a, "list.add_entry", body, list_uuid=lists["document"]["uuid"]))[1]
        assert (entry["value"], entry["reference_session_id"]) == (number.lower(), session_id)
        assert (await judged(a, "list.add_entry", body, list_uuid=lists["phone"]["uuid"]))[0] == 400, "it has none"


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("email", "User@Example.COM", "user@example.com"),
        ("email", "no address", None),
        ("phone", "+14155552671", "+14155552671"),
        ("phone", "555", None),
        ("ip_address", "10.0.0.0/8", "10.0.0.0/8"),
        ("ip_address", "10.0.0", None),
        ("country", "esp", "ESP"),
        ("device_fingerprint", "short", None),
        ("key", "Anything", "anything"),
    ],
)
async def test_a_value_is_judged_by_the_kind_of_its_list(kind: str, value: str, stored: str | None) -> None:
    async with api() as a:
        body = {"name": "mine", "list_type": "custom", "entry_type": kind}
        status, made, _ = await judged(a, "list.create", body)
        assert (status, made["entry_type"], made["is_system"], made["entry_count"]) == (201, kind, False, 0)
        assert (await judged(a, "list.create", body))[1] == {"name": ["A list with this name already exists."]}
        assert (await judged(a, "list.create", body | {"name": "x", "list_type": "blocklist"}))[0] == 400, "those are Didit's own"
        status, entry, _ = await judged(a, "list.add_entry", {"value": value}, list_uuid=made["uuid"])
        assert (status, entry.get("uuid") and entry["value"]) == ((201, stored) if stored else (400, None))


async def test_extracted_data_is_corrected_key_by_key() -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "Approved")
        body = {"first_name": "Carmen", "document_type": "Passport", "issuing_state": "esp", "extra_fields": {"blood_group": "O+", "x": 1}}
        body |= {"parsed_address": {"street_1": "Avda de Madrid 34", "city": "Madrid", "country": "es"}}
        status, record, verdict = await judged(a, "session.update_data", body, session_id=session_id)
        assert (status, record["document_type"], record["issuing_state"]) == (200, "P", "ESP")
        assert record["parsed_address"]["formatted_address"].startswith("Avda de Madrid 34, Madrid")
        assert isinstance(verdict, Success)
        body = {"extra_fields": {"x": None}, "parsed_address": {"city": None}}
        record = (await judged(a, "session.update_data", body, session_id=session_id))[1]
        assert (record["first_name"], record["extra_fields"]["blood_group"], "x" in record["extra_fields"]) == ("Carmen", "O+", False)
        assert (record["parsed_address"]["street_1"], record["parsed_address"]["city"]) == ("Avda de Madrid 34", None)
        assert (await judged(a, "session.update_data", {}, session_id=session_id))[1] == record
        feed = (await judged(a, "session.reviews", session_id=session_id))[1]
        assert [entry["activity_type"] for entry in feed["results"]] == ["KYC_DATA_UPDATED"] * 2, "an empty body changes nothing"


async def test_proof_of_address_is_corrected_where_there_is_one() -> None:
    async with api() as a:
        session_id = (await a.create("p", key=SANDBOX_KEY, sandbox_scenario="decline_poa_address_mismatch"))["session_id"]
        await a.control(f"sessions/{session_id}/finish", {})
        row, body = OPERATIONS["session.update_poa_data"], {"issuer": "Bank", "extra_fields": {"additional_names": ["C."]}}
        status, record, _ = await a.call(row.method, row.path.format(session_id=session_id), body, SANDBOX_KEY)
        assert (status, record["issuer"], record["extra_fields"]["additional_names"]) == (200, "Bank", ["C."])
        assert openapi.faults_of_answer(row.name, status, record) == []


async def test_one_features_status_changes_and_the_sessions_does_not() -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "Approved")
        path = {"session_id": session_id, "node_id": "node-1"}
        status, answer, verdict = await judged(a, "session.update_feature", {"new_status": "Declined", "comment": "seen"}, **path)
        assert (status, answer["feature_type"], answer["new_status"]) == (200, "LIVENESS", "Declined")
        assert isinstance(verdict, Success)
        document = await a.decision(session_id)
        assert (document["status"], document["liveness_checks"][0]["status"]) == ("Approved", "Declined")
        status, _, verdict = await judged(a, "session.update_feature", {"new_status": "Declined"}, **path)
        assert status == 400
        assert isinstance(verdict, Success), "what was asked for is done"


async def test_hits_are_judged_all_or_none() -> None:
    async with api() as a:
        check = (await a.post("/v3/aml/", {"full_name": "Ann Hit", "date_of_birth": "1990-01-01", "nationality": "ES"}))[1]["request_id"]
        one = {"hit_id": "sim-hit", "review_status": "False Positive"}
        assert isinstance((await judged(a, "session.update_aml_hit", one, session_id=check))[2], Success)
        assert (await a.decision(check))["aml_screenings"][0]["hits"][0]["review_status"] == "False Positive"
        both = {"hit_updates": [one | {"review_status": "Confirmed Match"}, {"hit_id": "zzz999", "review_status": "Inconclusive"}]}
        assert (await judged(a, "session.update_aml_hits", both, session_id=check))[1] == {"detail": "Hits not found: zzz999"}
        assert (await a.decision(check))["aml_screenings"][0]["hits"][0]["review_status"] == "False Positive"
        done = (await judged(a, "session.update_aml_hits", {"hit_updates": both["hit_updates"][:1]}, session_id=check))[1]
        assert done == {"message": "Updated 1 hit(s) successfully", "updated_hits": ["sim-hit"]}


async def test_the_feed_has_the_newest_first_and_a_note_changes_nothing() -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "In Review")
        status, note, _ = await judged(a, "session.add_review", {"new_status": "Declined", "comment": "hm"}, session_id=session_id)
        assert (status, note["user"]) == (201, "Unknown")
        assert (await judged(a, "session.add_review", {"new_status": "approved"}, session_id=session_id))[0] == 400
        await judged(a, "session.update_status", {"new_status": "Approved"}, session_id=session_id)
        feed = (await judged(a, "session.reviews", query="?limit=1", session_id=session_id))[1]
        assert (feed["count"], feed["results"][0]["previous_status"], feed["results"][0]["new_status"]) == (2, "In Review", "Approved")
        oldest = (await judged(a, "session.reviews", query="?ordering=created_at", session_id=session_id))[1]["results"][0]
        assert (oldest["comment"], oldest["actor_type"]) == ("hm", "CONSOLE_USER")


@pytest.mark.parametrize(
    ("operation", "body", "status", "told"),
    [
        ("session.update_data", {"gender": "X"}, 400, "gender"),
        ("session.update_data", {"document_type": "PASSPORT"}, 400, "document_type"),
        ("session.update_data", {"date_of_birth": "1.1.1980"}, 400, "date_of_birth"),
        ("session.update_data", {"issuing_state": "Spain"}, 400, "issuing_state"),
        ("session.update_data", {"parsed_address": {"zipcode": "1"}}, 400, "parsed_address"),
        ("session.update_data", {"parsed_address": {"country": "ESP"}}, 400, "parsed_address"),
        ("session.update_data", {"extra_fields": [1]}, 400, "extra_fields"),
        ("session.update_data", {"node_id": "feature_missing"}, 404, "detail"),
        ("session.update_poa_data", {"issuer": "X"}, 404, "detail"),
        ("session.update_feature", {}, 400, "new_status"),
        ("session.update_aml_hit", {"hit_id": "", "review_status": "Unreviewed"}, 400, "hit_id"),
        ("session.update_aml_hit", {"hit_id": "x", "review_status": "Maybe"}, 400, "review_status"),
        ("session.update_aml_hit", {"hit_id": "x", "review_status": "Unreviewed"}, 404, "detail"),
        ("session.update_aml_hits", {"hit_updates": []}, 400, "hit_updates"),
        ("session.delete_many", {"session_numbers": []}, 400, "session_numbers"),
        ("session.delete_many", {"session_numbers": ["12a"]}, 400, "session_numbers"),
    ],
)
async def test_a_correction_that_is_wrong_changes_nothing(operation: str, body: Any, status: int, told: str) -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "Approved")
        before = _without_times(await a.decision(session_id))
        path = {name: {"session_id": session_id}.get(name, "node-0") for name in OPERATIONS[operation].path_fields}
        found, document, verdict = await judged(a, operation, body, **path)
        assert (found, told in document) == (status, True)
        assert isinstance(verdict, Refused)
        assert _without_times(await a.decision(session_id)) == before


def _without_times(decision: Any) -> str:
    """Links are signed anew for each reading."""
    return re.sub("X-Amz-Date=[0-9TZ]+", "", orjson.dumps(decision).decode())


async def test_a_destination_is_made_and_gets_what_it_wants_signed_with_its_secret() -> None:
    async with api() as a, receiver() as hooks:
        body: dict[str, Any] = {"label": "mine", "url": hooks.url, "subscribed_events": ["data.updated"]}
        status, made, verdict = await judged(a, "webhook.create", body)
        assert (status, len(made["secret_shared_key"]), made["enabled"]) == (201, 43, True)
        assert isinstance(verdict, Success)
        _, _, verdict = await judged(a, "webhook.create", body)
        assert isinstance(verdict, Refused)
        assert verdict.code == ErrorCode.ALREADY_EXISTS
        path = {"destination_uuid": made["uuid"]}
        await judged(a, "webhook.update", {"subscribed_events": ["status.updated"]}, **path)
        await a.settled("In Progress", "Approved")
        assert [body["status"] for body in hooks.bodies] == ["In Progress", "Approved"]
        for headers, raw in hooks.arrived:
            assert headers["x-signature"] == hmac.new(made["secret_shared_key"].encode(), raw, hashlib.sha256).hexdigest()
        rows = (await judged(a, "webhook.deliveries", query="?limit=1", **path))[1]
        assert (rows["count"], rows["results"][0]["response_status"]) == (2, 200)
        again = await judged(a, "webhook.resend", delivery_uuid=rows["results"][0]["uuid"], **path)
        assert again[0] == 200
        await a.idle()
        assert [body["status"] for body in hooks.bodies][2:] == ["Approved"]
        listed = (await judged(a, "webhook.list"))[1]
        assert (listed[0]["deliveries_count"], "secret_shared_key" in listed[0]) == (3, False)
        await judged(a, "webhook.update", {"enabled": False}, **path)
        await a.settled("In Progress", vendor="v")
        assert len(hooks.arrived) == 3, "it is switched off"
        assert (await judged(a, "webhook.delete", **path))[0] == 204
        assert (await judged(a, "webhook.get", **path))[0] == 404


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"label": "x", "url": "http://example.com/", "subscribed_events": ["data.updated"]}, "url"),
        ({"label": "x", "url": "https://example.com/", "subscribed_events": []}, "subscribed_events"),
        ({"label": "x", "url": "https://example.com/", "subscribed_events": ["foo.bar"]}, "subscribed_events"),
        ({"label": "x", "url": "https://example.com/", "webhook_version": "v9"}, "webhook_version"),
        ({"url": "https://example.com/"}, "label"),
    ],
)
async def test_a_destination_that_is_wrong_is_refused(body: Any, told: str) -> None:
    async with api() as a:
        status, document, _ = await judged(a, "webhook.create", body)
        assert (status, told in document) == (400, True)
        assert (await judged(a, "webhook.list"))[1] == []


async def test_workflows_are_listed_and_the_balance_falls_with_each_session() -> None:
    async with api(credits=5) as a:
        assert (await judged(a, "workflow.list"))[1]["count"] == 0
        await a.create()
        assert [row["workflow_id"] for row in (await judged(a, "workflow.list"))[1]["results"]] == [WORKFLOW]
        assert (await judged(a, "billing.balance"))[1]["balance"] == "4.0000"
        await a.control("workflows", {"known": []})
        assert (await judged(a, "workflow.list"))[1]["results"] == []
        await a.control("workflows", {"known": [WORKFLOW, "a"], "archived": ["a"]})
        rows = (await judged(a, "workflow.list"))[1]["results"]
        assert {row["workflow_id"]: row["is_archived"] for row in rows} == {WORKFLOW: False, "a": True}
