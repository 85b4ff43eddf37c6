"""The simulator route by route against Didit's documents. Each test names the documented behaviour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from processor.simulator.app import Simulator
from processor.simulator.config import Behaviour, Config, FaultPlan, Latency, Limit, Switches
from processor.simulator.server import running

WORKFLOW = "9f9b1234-0000-4000-8000-1234567890ab"
UNKNOWN = "11111111-2222-4333-8444-555555555555"
TEN = {
    "session_id",
    "session_number",
    "session_token",
    "url",
    "vendor_data",
    "metadata",
    "status",
    "workflow_id",
    "workflow_version",
    "callback",
}
WIDE = {name: Limit(100_000) for name in ("session-create", "session-decision", "generic-write", "generic-get")}


class Api:
    def __init__(self, session: aiohttp.ClientSession, url: str, simulator: Simulator) -> None:
        self.session, self.url, self.sim = session, url, simulator

    async def call(self, method: str, path: str, body: Any = None, key: str | None = "sim-key", **options: Any) -> tuple[int, Any, Any]:
        headers = {"x-api-key": key} if key else {}
        async with self.session.request(
            method,
            self.url + path,
            data=orjson.dumps(body) if body is not None else None,
            headers=headers,
            allow_redirects=False,
            **options,
        ) as response:
            raw = await response.read()
            document = orjson.loads(raw) if response.content_type == "application/json" and raw else raw
            return response.status, document, response.headers

    async def create(self, vendor: str | None = "u", **extra: Any) -> dict[str, Any]:
        body = {"workflow_id": WORKFLOW, **({"vendor_data": vendor} if vendor else {}), **extra}
        status, document, _ = await self.call("POST", "/v3/session/", body)
        assert status == 201, document
        found: dict[str, Any] = document
        return found

    async def move(self, session_id: str, *steps: str) -> int:
        for step in steps:
            status, _, _ = await self.call("POST", f"/_sim/sessions/{session_id}/status", {"status": step})
        return status


@asynccontextmanager
async def api(**options: Any) -> AsyncIterator[Api]:
    config = Config(**{"limits": WIDE, **options})
    async with running(config) as (simulator, url), aiohttp.ClientSession() as session:
        yield Api(session, url, simulator)


async def test_create_answers_201_with_exactly_ten_members() -> None:
    async with api() as a:
        created = await a.create(metadata={"x": 1}, callback="app://back", language="pt-BR")
        assert set(created) == TEN
        assert created["status"] == "Not Started"
        assert len(created["session_token"]) == 12
        assert created["url"] == f"https://verify.didit.me/pt-BR/session/{created['session_token']}"
        assert (await a.create("other"))["url"].startswith("https://verify.didit.me/session/")
        assert (await a.call("POST", "/v2/session/", {"workflow_id": WORKFLOW}))[0] == 201


async def test_an_unfinished_session_of_the_same_person_is_returned_again_with_callback_and_metadata_overwritten() -> None:
    async with api() as a:
        first = await a.create(metadata={"vp_request_id": "one"}, callback="a")
        again = await a.create(metadata={"vp_request_id": "two"}, callback="b")
        assert again["session_id"] == first["session_id"]
        assert (again["metadata"], again["callback"]) == ({"vp_request_id": "two"}, "b")
        ledger = (await a.call("GET", "/_sim/ledger"))[1]
        assert [s["request_id"] for s in ledger["sessions"]] == ["one"]
        assert [s["request_id"] for s in ledger["reused"]] == ["two"]


@pytest.mark.parametrize("steps", [("In Progress", "Approved"), ("In Progress", "In Review"), ("In Progress", "Abandoned")])
async def test_a_finished_session_is_not_reused(steps: tuple[str, ...]) -> None:
    async with api() as a:
        first = await a.create()
        assert await a.move(first["session_id"], *steps) == 200
        assert (await a.create())["session_id"] != first["session_id"]


async def test_neither_without_vendor_data_nor_on_a_new_workflow_version_is_anything_reused() -> None:
    async with api() as a:
        assert (await a.create(None))["session_id"] != (await a.create(None))["session_id"]
        first = await a.create()
        await a.call("POST", f"/_sim/workflows/{WORKFLOW}/publish", {})
        second = await a.create()
        assert second["session_id"] != first["session_id"]
        assert second["workflow_version"] == first["workflow_version"] + 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"workflow_id": ["This field is required."]}),
        ({"workflow_id": "x"}, {"workflow_id": "Invalid workflow_id."}),
        ({"workflow_id": WORKFLOW, "portrait_image": "A" * 2_900_000}, {"portrait_image": ["Image size exceeds 2MB."]}),
        ([], {"detail": "JSON parse error"}),
    ],
)
async def test_a_wrong_create_gets_the_documented_400_in_its_own_shape(body: Any, expected: Any) -> None:
    async with api() as a:
        status, document, _ = await a.call("POST", "/v3/session/", body)
        assert (status, document) == (400, expected)


async def test_a_blocked_person_and_an_empty_account_are_400() -> None:
    async with api() as a:
        await a.call("POST", "/_sim/users/block", {"vendor_data": "bad"})
        status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": "bad"})
        assert status == 400
        assert "has been blocked" in document["vendor_data"]
        await a.call("POST", "/_sim/credits", {"credits": 0})
        status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW})
        assert status == 400
        assert "enough credits" in document["detail"]


@pytest.mark.parametrize("auth_status", [401, 403])
async def test_a_wrong_or_missing_key_is_refused_as_the_switch_says(auth_status: Any) -> None:
    async with api(switches=Switches(auth_status=auth_status)) as a:
        for key in ("wrong", None):
            status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key=key)
            assert (status, "detail" in document) == (auth_status, True)
        await a.call("POST", "/_sim/api-keys", {"keys": ["new"]})
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key="new"))[0] == 201
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}))[0] == auth_status


async def test_the_session_is_looked_up_before_the_key() -> None:
    async with api() as a:
        assert (await a.call("GET", f"/v3/session/{UNKNOWN}/decision/", key=None))[0] == 404
        known = (await a.create())["session_id"]
        assert (await a.call("GET", f"/v3/session/{known}/decision/", key=None))[0] == 403


async def test_an_id_that_is_no_uuid_is_a_404_in_html() -> None:
    async with api() as a:
        status, document, headers = await a.call("GET", "/v3/session/7/decision/")
        assert status == 404
        assert headers["Content-Type"].startswith("text/html")
        assert isinstance(document, bytes)


async def test_a_missing_slash_is_a_301_with_the_query_kept() -> None:
    async with api() as a:
        status, _, headers = await a.call("GET", "/v3/sessions?limit=3")
        assert (status, headers["Location"]) == (301, "/v3/sessions/?limit=3")
        assert (await a.call("POST", "/v3/session", {"workflow_id": WORKFLOW}))[0] == 301
        assert (await a.call("GET", "/v3/nonsense/"))[0] == 404


async def test_the_healthcheck_is_public() -> None:
    async with api() as a:
        status, document, _ = await a.call("GET", "/system/healthcheck", key=None)
        assert (status, document["status"]) == (200, "ok")


async def test_a_decision_has_every_array_null_until_the_session_is_settled() -> None:
    async with api() as a:
        session_id = (await a.create(metadata={"k": "v"}))["session_id"]
        document = (await a.call("GET", f"/v3/session/{session_id}/decision/"))[1]
        assert document["status"] == "Not Started"
        assert document["id_verifications"] is None
        assert document["metadata"] == {"k": "v"}
        await a.move(session_id, "In Progress", "Declined")
        document = (await a.call("GET", f"/v3/session/{session_id}/decision/?include=events"))[1]
        assert document["status"] == "Declined"
        assert document["id_verifications"][0]["node_id"]
        assert document["face_matches"][0]["warnings"][0]["log_type"] == "error"
        assert "session_kind" not in document
        assert document["events"] == []
        older = (await a.call("GET", f"/v2/session/{session_id}/decision/"))[1]
        assert older["id_verification"]["document_type"] == "Passport"
        assert "id_verifications" not in older


async def test_the_status_machine_takes_documented_steps_only() -> None:
    async with api() as a:
        session_id = (await a.create())["session_id"]
        assert await a.move(session_id, "Approved") == 409
        assert await a.move(session_id, "In Progress", "In Review", "Resubmitted", "Approved", "Kyc Expired") == 200
        other = (await a.create("x"))["session_id"]
        assert await a.move(other, "Expired") == 200
        assert await a.move(other, "Approved") == 409


async def test_timers_expire_abandon_and_age() -> None:
    async with api(session_expiration_s=100, abandon_after_s=50, kyc_valid_s=200) as a:
        fresh, begun, done = [(await a.create(v))["session_id"] for v in "abc"]
        await a.move(begun, "In Progress")
        await a.move(done, "In Progress", "Approved")
        await a.call("POST", "/_sim/clock", {"advance_s": 101})
        statuses = [(await a.call("GET", f"/v3/session/{s}/decision/"))[1]["status"] for s in (fresh, begun, done)]
        assert statuses == ["Expired", "Abandoned", "Approved"]
        await a.call("POST", "/_sim/clock", {"advance_s": 200})
        assert (await a.call("GET", f"/v3/session/{done}/decision/"))[1]["status"] == "Kyc Expired"


async def test_users_can_settle_by_themselves() -> None:
    async with api(behaviour=Behaviour(after_s=10, odds={"Approved": 1.0})) as a:
        session_id = (await a.create())["session_id"]
        await a.call("POST", "/_sim/clock", {"advance_s": 20})
        assert (await a.call("GET", f"/v3/session/{session_id}/decision/"))[1]["status"] == "Approved"


async def test_lists_filter_exactly_newest_first_with_absolute_pages() -> None:
    async with api() as a:
        made = [(await a.create(f"u{n}"))["session_id"] for n in range(5)]
        page = (await a.call("GET", "/v3/sessions/?limit=2&offset=1"))[1]
        assert [r["session_id"] for r in page["results"]] == [made[3], made[2]]
        assert page["count"] == 5
        assert page["next"].startswith(a.url)
        assert page["previous"].startswith(a.url)
        assert not {"workflow_id", "metadata", "session_token"} & set(page["results"][0])
        one = (await a.call("GET", f"/v3/sessions/?vendor_data=u2&workflow_id={WORKFLOW}"))[1]
        assert [r["session_id"] for r in one["results"]] == [made[2]]
        assert one["results"][0]["session_url"].startswith("https://verify.didit.me/")
        assert (await a.call("GET", "/v3/sessions/?vendor_data=u"))[1]["count"] == 0
        assert (await a.call("GET", "/v3/sessions/?status=not started"))[1]["count"] == 0
        assert (await a.call("GET", "/v3/sessions/?status=Approved,Not Started"))[1]["count"] == 5
        assert (await a.call("GET", "/v3/sessions/?date_from=2099-01-01"))[1]["count"] == 0
        assert (await a.call("GET", "/v3/sessions/?date_from=soon"))[:2] == (400, {"date_from": ["Enter a valid date."]})
        assert (await a.call("GET", "/v3/sessions/?session_kind=x"))[0] == 400


async def test_the_list_may_lag_behind() -> None:
    async with api(list_lag_s=50) as a:
        await a.create()
        assert (await a.call("GET", "/v3/sessions/"))[1]["count"] == 0
        await a.call("POST", "/_sim/clock", {"advance_s": 51})
        assert (await a.call("GET", "/v3/sessions/"))[1]["count"] == 1


async def test_update_status_checks_the_present_status_before_the_body() -> None:
    async with api() as a:
        session_id = (await a.create())["session_id"]
        path = f"/v3/session/{session_id}/update-status/"
        status, document, _ = await a.call("PATCH", path, {})
        assert status == 400
        assert "Current status: Not Started" in document["detail"]
        await a.move(session_id, "In Progress", "In Review")
        assert "new_status" in (await a.call("PATCH", path, {"new_status": "Nonsense"}))[1]
        assert (await a.call("PATCH", path, {"new_status": "Approved"}))[:2] == (200, {"session_id": session_id})
        assert (await a.call("PATCH", path, {"new_status": "Approved"}))[:2] == (400, ["The new status is the same as the current status."])
    async with api(switches=Switches(same_status_update=200)) as a:
        session_id = (await a.create())["session_id"]
        await a.move(session_id, "In Progress", "Approved")
        assert (await a.call("PATCH", f"/v3/session/{session_id}/update-status/", {"new_status": "Approved"}))[0] == 200


async def test_delete_works_once() -> None:
    async with api() as a:
        session_id = (await a.create())["session_id"]
        status, document, _ = await a.call("DELETE", f"/v3/session/{session_id}/delete/")
        assert (status, document["session_id"]) == (200, session_id)
        assert (await a.call("DELETE", f"/v3/session/{session_id}/delete/"))[0] == 404
    async with api(switches=Switches(delete_status=204)) as a:
        session_id = (await a.create())["session_id"]
        assert (await a.call("DELETE", f"/v3/session/{session_id}/delete/"))[0] == 204


async def test_the_429_has_the_documented_headers_and_text_and_only_it_has_them() -> None:
    async with api(limits={**WIDE, "session-create": Limit(2, 30.0)}) as a:
        for n in range(2):
            status, _, headers = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": f"u{n}"})
            assert status == 201
            assert not [h for h in headers if h.lower().startswith("x-ratelimit") or h.lower() == "retry-after"]
        status, document, headers = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW})
        assert status == 429
        assert document == {"detail": "Session creation rate limit exceeded. You can make up to 2 requests per minute."}
        assert 1 <= int(headers["Retry-After"]) <= 30
        assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("2", "0")
        assert int(headers["X-RateLimit-Reset"]) > 1_700_000_000
        scopes = next(iter(a.sim.ledger.scopes().values()))
        assert scopes["session-create"]["max_in_window"] == 3, "a rejected call counts, in the stricter reading"


async def test_a_create_counts_in_generic_write_too_and_keys_are_counted_apart() -> None:
    limits = {**WIDE, "generic-write": Limit(1, 30.0)}
    async with api(limits=limits, api_keys=("one", "two")) as a:
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key="one"))[0] == 201
        status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key="one")
        assert status == 429
        assert document["detail"].startswith("Write request rate limit")
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key="two"))[0] == 201
    async with api(limits=limits, switches=Switches(create_counts_in_generic_write=False)) as a:
        assert [(await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}))[0] for _ in range(3)] == [201] * 3


async def test_decisions_of_v3_count_in_the_decision_scope_unless_switched() -> None:
    limits = {**WIDE, "session-decision": Limit(1, 30.0)}
    for strict, expected in ((True, [200, 429]), (False, [200, 200])):
        async with api(limits=limits, switches=Switches(v3_decision_counts_in_decision_scope=strict)) as a:
            session_id = (await a.create())["session_id"]
            assert [(await a.call("GET", f"/v3/session/{session_id}/decision/"))[0] for _ in range(2)] == expected


async def test_every_fault_really_happens() -> None:
    async with api(faults=FaultPlan(hang_s=30)) as a:

        async def order(*faults: str) -> None:
            await a.call("POST", "/_sim/script", {"route": "session.create", "answers": [{"fault": f} for f in faults]})

        body = {"workflow_id": WORKFLOW, "vendor_data": "f"}
        await order("reset")
        with pytest.raises(aiohttp.ClientError):
            await a.call("POST", "/v3/session/", body)
        assert len(a.sim.sessions) == 0
        await order("lost_reply")
        with pytest.raises(aiohttp.ClientError):
            await a.call("POST", "/v3/session/", body)
        assert len(a.sim.sessions) == 1, "it was done"
        await order("truncated")
        with pytest.raises(aiohttp.ClientError):
            await a.call("POST", "/v3/session/", body)
        await order("hang")
        with pytest.raises(asyncio.TimeoutError):
            await a.call("POST", "/v3/session/", body, timeout=aiohttp.ClientTimeout(total=0.2))
        await order("error_500_html", "error_502", "error_503", "throttle_429", "throttle_429_bare", "slow_body")
        answers = [await a.call("POST", "/v3/session/", body) for _ in range(6)]
        assert [status for status, _, _ in answers] == [500, 502, 503, 429, 429, 201]
        assert answers[0][2]["Content-Type"].startswith("text/html")
        assert "Retry-After" in answers[3][2]
        assert "Retry-After" not in answers[4][2]
        assert set(answers[5][1]) == TEN


async def test_scripted_answers_come_in_order_and_are_used_up() -> None:
    async with api() as a:
        literal = {"status": 418, "headers": [["X-Odd", "1"]], "body": "tea"}
        await a.call("POST", "/_sim/script", {"route": "*", "answers": [literal, {"fault": None}]})
        status, document, headers = await a.call("GET", "/v3/sessions/")
        assert (status, document, headers["X-Odd"]) == (418, b"tea", "1")
        assert (await a.call("GET", "/v3/sessions/"))[0] == 200
        assert (await a.call("POST", "/_sim/script", {"route": "*", "answers": [{"fault": "nonsense"}]}))[0] == 400
        assert (await a.call("POST", "/_sim/faults", {"rates": {"nonsense": 1}}))[0] == 400


async def test_the_ledger_holds_every_call_and_no_key() -> None:
    async with api() as a:
        async with a.session.post(
            a.url + "/v3/session/", data=orjson.dumps({"workflow_id": WORKFLOW}), headers={"x-api-key": "sim-key", "X-Request-Id": "ref.0"}
        ) as response:
            assert response.status == 201
        ledger = (await a.call("GET", "/_sim/ledger"))[1]
        (call,) = ledger["calls"]
        assert (call["reference"], call["status"], call["acted"], call["counted"]) == ("ref.0", 201, True, True)
        assert call["answered_at"] >= call["at"]
        assert "sim-key" not in orjson.dumps(ledger).decode()
        assert (await a.call("GET", "/_sim/ledger?since=1"))[1]["calls"] == []


async def post(a: Api, path: str, body: Any, key: str | None = None) -> tuple[int, Any, Any]:
    headers = {"x-api-key": "sim-key", "X-Request-Id": "ref.0", **({"Idempotency-Key": key} if key is not None else {})}
    async with a.session.post(a.url + path, data=orjson.dumps(body), headers=headers) as response:
        return response.status, await response.json(), response.headers


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, {"full_name": ["This field is required."]}),
        ({"full_name": "A"}, {"full_name": ["Ensure this field has at least 2 characters."]}),
        ({"full_name": "Ann", "entity_type": "dog"}, {"entity_type": ['"dog" is not a valid choice.']}),
        (
            {"full_name": "Ann", "aml_name_weight": 50},
            {"error": ["AML weights must sum to 100. Current sum: 90 (name: 50, dob: 25, country: 15)"]},
        ),
        (
            {"full_name": "Ann", "aml_score_approve_threshold": 90, "aml_score_review_threshold": 80},
            {"aml_score_approve_threshold": ["Must be less than or equal to aml_score_review_threshold."]},
        ),
    ],
)
async def test_a_wrong_aml_body_is_a_400_and_costs_nothing(body: Any, fault: Any) -> None:
    async with api() as a:
        assert (await post(a, "/v3/aml/", body, "k"))[:2] == (400, fault)
        assert (await post(a, "/v3/aml/", {"full_name": "Ann"}, "k"))[0] == 200, "a refused call does not use its key up"
        assert len(a.sim.ledger.checks) == 1


@pytest.mark.parametrize(
    ("body", "status", "hits"),
    [
        ({"full_name": "Ann"}, "Approved", 0),
        ({"full_name": "Ann Hit"}, "In Review", 1),
        ({"full_name": "Ann Hit", "aml_score_approve_threshold": 50, "aml_score_review_threshold": 80}, "Declined", 1),
    ],
)
async def test_a_decline_of_aml_is_a_200(body: Any, status: str, hits: int) -> None:
    async with api() as a:
        code, document, _ = await post(a, "/v3/aml/", {**body, "vendor_data": "u", "metadata": {"m": 1}})
        assert code == 200
        assert set(document) == {"request_id", "aml", "vendor_data", "metadata", "created_at"}
        assert (document["aml"]["status"], document["aml"]["total_hits"]) == (status, hits)
        assert (document["vendor_data"], document["metadata"]) == ("u", {"m": 1})


async def test_an_idempotency_key_is_answered_from_the_first_call_and_billed_once() -> None:
    async with api() as a:
        first = await post(a, "/v3/aml/", {"full_name": "Ann"}, "k")
        assert (await post(a, "/v3/aml/", {"full_name": "Ann"}, "k"))[:2] == first[:2]
        assert len(a.sim.ledger.checks) == 1
        assert (await post(a, "/v3/aml/", {"full_name": "Bob"}, "k"))[0] == 409, "another body"
        assert (await post(a, "/v3/aml/", {"full_name": "Ann"}, "other"))[1]["request_id"] != first[1]["request_id"]
        assert (await post(a, "/v3/aml/", {"full_name": "Ann"}))[0] == 200
        assert (await post(a, "/v3/aml/", {"full_name": "Ann"}, "k" * 256))[0] == 400
        assert [c["operation"] for c in a.sim.ledger.document()["checks"]] == ["aml"] * 3
        assert a.sim.ledger.checks[0]["reference"] == "ref.0"


async def test_a_key_whose_call_is_running_is_a_409_with_retry_after() -> None:
    async with api(faults=FaultPlan(latency=Latency(0.5, 0.0, 1.0))) as a:
        running_call = asyncio.create_task(post(a, "/v3/aml/", {"full_name": "Ann"}, "k"))
        while not a.sim.ledger.calls:
            await asyncio.sleep(0.01)
        status, _, headers = await post(a, "/v3/aml/", {"full_name": "Ann"}, "k")
        assert (status, headers["Retry-After"]) == (409, "2")
        assert (await running_call)[0] == 200
        assert (await post(a, "/v3/aml/", {"full_name": "Ann"}, "k"))[0] == 200
        assert len(a.sim.ledger.checks) == 1


async def test_a_keyed_call_that_failed_before_it_acted_may_be_made_again() -> None:
    async with api() as a:
        await a.call("POST", "/_sim/script", {"route": "aml", "answers": [{"fault": "error_503"}]})
        assert (await post(a, "/v3/aml/", {"full_name": "Ann"}, "k"))[0] == 503
        assert (await post(a, "/v3/aml/", {"full_name": "Ann"}, "k"))[0] == 200
        assert len(a.sim.ledger.checks) == 1


async def test_an_email_code_is_sent_twice_and_then_anew_and_never_to_nobody() -> None:
    async with api() as a:
        sent = [(await post(a, "/v3/email/send/", {"email": "a@example.com"}))[1] for _ in range(3)]
        assert [s["status"] for s in sent] == ["Success", "Retry", "Success"]
        assert sent[0]["request_id"] == sent[1]["request_id"] != sent[2]["request_id"]
        assert len(a.sim.ledger.checks) == 3
        status, document, _ = await post(a, "/v3/email/send/", {"email": "a@nowhere.invalid"})
        assert (status, document["status"], document["reason"]) == (200, "Undeliverable", "email_can_not_be_delivered")
        assert len(a.sim.ledger.checks) == 3
        for body in ({}, {"email": "nobody"}, {"email": "a@example.com", "options": {"code_size": 9}}):
            assert (await post(a, "/v3/email/send/", body))[0] == 400


async def test_checks_need_credits() -> None:
    async with api(credits=1) as a:
        assert (await post(a, "/v3/email/send/", {"email": "a@example.com"}))[0] == 200
        for path, body in (("/v3/aml/", {"full_name": "Ann"}), ("/v3/email/send/", {"email": "b@example.com"})):
            status, document, _ = await post(a, path, body)
            assert (status, "enough credits" in document["error"]) == (403, True)
