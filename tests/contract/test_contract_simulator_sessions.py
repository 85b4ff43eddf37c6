"""Sessions: create, reuse, decisions, lists, timers, deletion, reports, sharing. Numbers are sections of the facts."""

from __future__ import annotations

import asyncio
import gc
import zlib
from typing import Any

import orjson
import pytest
from didit_api import KEY, SANDBOX_KEY, UNKNOWN, WORKFLOW, Api, api, until

from processor.simulator.applications import LIVE_APPLICATION, SANDBOX_APPLICATION
from processor.simulator.config import Behaviour, Config, FaultPlan, Latency, Switches
from processor.simulator.session import Session

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


async def test_2_1_create_answers_201_with_exactly_ten_members() -> None:
    async with api() as a:
        created = await a.create(metadata={"x": 1}, callback="app://back", language="pt-BR")
        assert set(created) == TEN
        assert created["status"] == "Not Started"
        assert len(created["session_token"]) == 12
        assert created["url"] == f"https://verify.didit.me/pt-BR/session/{created['session_token']}"
        assert (await a.create("other"))["url"].startswith("https://verify.didit.me/session/")
        assert (await a.call("POST", "/v2/session/", {"workflow_id": WORKFLOW}))[0] == 201


async def test_6_2_an_unfinished_session_of_the_same_person_is_returned_again_with_callback_and_metadata_overwritten() -> None:
    async with api() as a:
        first = await a.create(metadata={"vp_request_id": "one"}, callback="https://a.example")
        again = await a.create(metadata={"vp_request_id": "two"}, callback="https://b.example")
        assert again["session_id"] == first["session_id"]
        assert (again["metadata"], again["callback"]) == ({"vp_request_id": "two"}, "https://b.example")
        ledger = (await a.call("GET", "/_sim/ledger"))[1]
        assert [s["request_id"] for s in ledger["sessions"]] == ["one"]
        assert [s["request_id"] for s in ledger["reused"]] == ["two"]


@pytest.mark.parametrize("number", ["12.50", "1e2", "-0.0", "118059162071741130342400", "0.12345678901234567890123", "7"])
async def test_metadata_comes_back_with_the_digits_that_were_sent(number: str) -> None:
    async with api() as a:
        sent = f'{{"workflow_id":"{WORKFLOW}","vendor_data":"u","metadata":{{"n":{number},"m":[1]}}}}'.encode()
        async with a.session.post(
            f"{a.url}/v3/session/", data=sent, headers={"x-api-key": KEY, "Content-Type": "application/json"}
        ) as response:
            assert response.status == 201
            created = await response.read()
        assert f'"metadata":{{"n":{number},"m":[1]}}'.encode() in created
        path = f"/v3/session/{orjson.loads(created)['session_id']}/decision/"
        async with a.session.get(a.url + path, headers={"x-api-key": KEY}) as response:
            assert f'"metadata":{{"n":{number},"m":[1]}}'.encode() in await response.read()


@pytest.mark.parametrize("steps", [("In Progress", "Approved"), ("In Progress", "In Review"), ("In Progress", "Abandoned")])
async def test_6_2_a_finished_session_is_not_reused(steps: tuple[str, ...]) -> None:
    async with api() as a:
        first = await a.create()
        assert await a.move(first["session_id"], *steps) == 200
        assert (await a.create())["session_id"] != first["session_id"]


async def test_6_3_neither_without_vendor_data_nor_on_a_new_workflow_version_is_anything_reused() -> None:
    async with api() as a:
        assert (await a.create(None))["session_id"] != (await a.create(None))["session_id"]
        first = await a.create()
        await a.call("POST", f"/_sim/workflows/{WORKFLOW}/publish", {})
        second = await a.create()
        assert second["session_id"] != first["session_id"]
        assert second["workflow_version"] == first["workflow_version"] + 1


async def test_2_4_of_calls_at_the_same_time_those_that_come_after_a_delete_find_nothing() -> None:
    async with api(faults=FaultPlan(latency=Latency(0.02, 0.0, 1.0))) as a:
        path = f"/v3/session/{(await a.create())['session_id']}"
        calls = ("DELETE", "/delete/"), ("DELETE", "/delete/"), ("PATCH", "/update-status/"), ("GET", "/decision/")
        found = await asyncio.gather(*(a.call(method, path + end, {"new_status": "Declined"}) for method, end in calls))
        statuses = [status for status, _, _ in found]
        assert statuses.count(200) >= 1
        assert set(statuses) <= {200, 404}, statuses
        assert sorted(statuses[:2]) == [200, 404], "it is deleted once"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"workflow_id": ["This field is required."]}),
        ({"workflow_id": "x"}, {"workflow_id": "Invalid workflow_id."}),
        ({"workflow_id": WORKFLOW, "portrait_image": "A" * 2_900_000}, {"portrait_image": ["Image size exceeds 2MB."]}),
        ([], {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}),
    ],
)
async def test_2_1_a_wrong_create_gets_the_documented_400_in_its_own_shape(body: Any, expected: Any) -> None:
    async with api() as a:
        status, document, _ = await a.call("POST", "/v3/session/", body)
        assert (status, document) == (400, expected)


async def test_2_1_a_blocked_person_and_an_empty_account_are_400() -> None:
    async with api() as a:
        await a.call("POST", "/_sim/users/block", {"vendor_data": "bad"})
        status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": "bad"})
        assert status == 400
        assert "has been blocked" in document["vendor_data"]
        await a.call("POST", "/_sim/credits", {"credits": 0})
        status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW})
        assert status == 400
        assert "enough credits" in document["detail"]


async def test_2_2_a_decision_has_every_array_null_until_the_session_is_settled() -> None:
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


async def test_4_the_status_machine_takes_documented_steps_only() -> None:
    async with api() as a:
        session_id = (await a.create())["session_id"]
        assert await a.move(session_id, "Approved") == 409
        assert await a.move(session_id, "In Progress", "In Review", "Resubmitted", "Approved", "Kyc Expired") == 200
        other = (await a.create("x"))["session_id"]
        assert await a.move(other, "Expired") == 200
        assert await a.move(other, "Approved") == 409


async def test_4_timers_expire_abandon_and_age() -> None:
    async with api(session_expiration_s=100, abandon_after_s=50, kyc_valid_s=200) as a:
        fresh, begun, done = [(await a.create(v))["session_id"] for v in "abc"]
        await a.move(begun, "In Progress")
        await a.move(done, "In Progress", "Approved")
        await a.call("POST", "/_sim/clock", {"advance_s": 101})
        statuses = [(await a.call("GET", f"/v3/session/{s}/decision/"))[1]["status"] for s in (fresh, begun, done)]
        assert statuses == ["Expired", "Abandoned", "Approved"]
        await a.call("POST", "/_sim/clock", {"advance_s": 200})
        assert (await a.call("GET", f"/v3/session/{done}/decision/"))[1]["status"] == "Kyc Expired"


async def test_4_users_can_settle_by_themselves() -> None:
    async with api(behaviour=Behaviour(after_s=10, odds={"Approved": 1.0})) as a:
        session_id = (await a.create())["session_id"]
        await a.call("POST", "/_sim/clock", {"advance_s": 20})
        assert (await a.call("GET", f"/v3/session/{session_id}/decision/"))[1]["status"] == "Approved"


async def test_2_3_lists_filter_exactly_newest_first_with_absolute_pages() -> None:
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


async def test_2_3_the_list_may_lag_behind() -> None:
    async with api(list_lag_s=50) as a:
        await a.create()
        assert (await a.call("GET", "/v3/sessions/"))[1]["count"] == 0
        await a.call("POST", "/_sim/clock", {"advance_s": 51})
        assert (await a.call("GET", "/v3/sessions/"))[1]["count"] == 1


async def test_2_4_delete_works_once() -> None:
    async with api() as a:
        session_id = (await a.create())["session_id"]
        status, document, _ = await a.call("DELETE", f"/v3/session/{session_id}/delete/")
        assert (status, document["session_id"]) == (200, session_id)
        assert (await a.call("DELETE", f"/v3/session/{session_id}/delete/"))[0] == 404
    async with api(switches=Switches(delete_status=204)) as a:
        session_id = (await a.create())["session_id"]
        assert (await a.call("DELETE", f"/v3/session/{session_id}/delete/"))[0] == 204


@pytest.mark.parametrize(
    ("details", "member"),
    [
        ({"address": "Main Street 1"}, None),
        ({"nationality": "ES"}, "nationality"),
        ({"gender": "X"}, "gender"),
        ({"expected_document_types": ["LIBRARY_CARD"]}, "expected_document_types"),
    ],
)
async def test_2_1_expected_details_are_checked(details: dict[str, Any], member: str | None) -> None:
    async with api() as a:
        status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW, "expected_details": details})
        assert status == 400
        assert member is None or member in document["expected_details"]


async def test_2_1_workflows_can_be_limited_to_known_ones() -> None:
    async with api() as a:
        await a.control("workflows", {"known": [UNKNOWN]})
        status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW})
        assert (status, document) == (400, {"workflow_id": "Invalid workflow_id."})
        assert (await a.call("POST", "/v3/session/", {"workflow_id": UNKNOWN}))[0] == 201


async def test_2_2_each_api_version_has_its_own_decision_shape() -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "Approved")
        v1, v2, v3 = [await a.decision(session_id, version) for version in ("v1", "v2", "v3")]
        assert v1["kyc"]["document_type"] == "Passport"
        assert {"kyc", "aml", "face", "location"} <= set(v1)
        assert v2["face_match"]["status"] == "Approved"
        assert v2["nfc"] is None
        assert v3["face_matches"][0]["node_id"]
        assert v3["nfc_verifications"] is None
        assert not {"id_verification", "kyc"} & set(v3)
        for document in (v1, v2, v3):
            assert (document["environment"], document["session_kind"]) == ("live", "user")


async def test_2_2_events_show_how_the_session_came_to_be() -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "Approved")
        document = (await a.call("GET", f"/v3/session/{session_id}/decision/?include=events"))[1]
        assert (document["session_type"], document["api_service"], document["workflow_version"]) == ("HOSTED", None, 1)
        assert document["features"][0] == {"feature": "ID_VERIFICATION", "node_id": "node-0"}


async def test_2_2_arrays_of_features_that_have_not_run_may_be_empty_lists() -> None:
    async with api(switches=Switches(absent_features="empty")) as a:
        session_id = (await a.create())["session_id"]
        assert (await a.decision(session_id))["id_verifications"] == []


async def test_2_3_rows_of_settled_sessions_name_the_document_and_can_be_found_by_country() -> None:
    async with api() as a:
        await a.create("open")
        session_id = await a.settled("In Progress", "Approved", vendor="done")
        (row,) = (await a.call("GET", "/v3/sessions/?country=ESP"))[1]["results"]
        assert (row["session_id"], row["country"], row["document_type"]) == (session_id, "ESP", "Passport")
        assert row["features"][0] == {"feature": "ID_VERIFICATION", "status": "Approved"}
        assert (await a.call("GET", "/v3/sessions/?country=FRA"))[1]["count"] == 0


async def test_sessions_that_are_gone_leave_nothing_behind() -> None:
    async with api() as a:
        live = a.sim.state.directory.live
        before = sum(isinstance(thing, Session) for thing in gc.get_objects())
        for n in range(5000):
            session, _ = a.sim.sessions.create(live, {"workflow_id": "w", "vendor_data": str(n)}, a.sim.session_now())
            a.sim.sessions.delete(session)
        del session
        assert sum(isinstance(thing, Session) for thing in gc.get_objects()) <= before + 1001, "those that timers hold are bounded"
        assert a.sim.sessions._by_vendor == {}  # noqa: SLF001 - empty lists of users are seen nowhere else


async def test_2_4_numbers_are_not_given_twice_and_many_are_deleted_at_once() -> None:
    async with api() as a:
        made = [await a.create(f"u{n}") for n in range(4)]
        await a.call("DELETE", f"/v3/session/{made[3]['session_id']}/delete/")
        assert (await a.create("u9"))["session_number"] > made[3]["session_number"]
        missing = {"session_numbers": ["This field is required unless delete_all is true."]}
        assert (await a.call("POST", "/v3/sessions/delete/", {}))[:2] == (400, missing)
        numbers = [str(made[0]["session_number"]), "999999"]
        status, document, _ = await a.call("POST", "/v3/sessions/delete/", {"session_numbers": numbers})
        assert status == 200
        assert [row["session_id"] for row in document["results"]] == [made[0]["session_id"]], "unknown: skipped"
        assert (await a.call("POST", "/v3/sessions/delete/", {"session_numbers": numbers}))[1]["results"] == [], "idempotent"
        await a.control(f"sessions/{made[1]['session_id']}/hold", {"held": True})
        results = (await a.call("POST", "/v3/sessions/delete/", {"delete_all": True}))[1]["results"]
        assert sorted(row["face_retention_outcome"] for row in results) == ["failed_retryable", "none", "none"], "unfinished: no face yet"
        assert (await a.call("GET", "/v3/sessions/"))[1]["count"] == 1


async def test_2_4_a_delete_that_fails_deletes_nothing_and_may_be_repeated() -> None:
    async with api() as a:
        session_id = (await a.create())["session_id"]
        await a.control(f"sessions/{session_id}/hold", {"held": True})
        assert (await a.call("DELETE", f"/v3/session/{session_id}/delete/"))[0] == 503
        assert (await a.decision(session_id))["status"] == "Not Started"
        await a.control(f"sessions/{session_id}/hold", {"held": False})
        assert (await a.call("DELETE", f"/v3/session/{session_id}/delete/"))[0] == 200


async def test_2_4_a_report_is_a_pdf_of_settled_sessions_only() -> None:
    async with api() as a:
        session_id = (await a.create())["session_id"]
        path = f"/v3/session/{session_id}/generate-pdf/"
        refusal = {"detail": "You can only generate a PDF for sessions in review, declined, approved or kyc expired"}
        assert (await a.call("GET", path))[:2] == (403, refusal)
        await a.move(session_id, "In Progress", "Abandoned")
        assert (await a.call("GET", path))[0] == 403
        for steps in (("Approved",), ("Declined",), ("In Review",), ("Approved", "Kyc Expired")):
            session_id = await a.settled("In Progress", *steps, vendor=steps[-1])
            status, raw, headers = await a.call("GET", f"/v3/session/{session_id}/generate-pdf/")
            assert status == 200
            assert raw.startswith(b"%PDF-")
            assert raw.rstrip().endswith(b"%%EOF")
            assert headers["Content-Type"] == "application/pdf"
            assert f"session_{session_id}.pdf" in headers["Content-Disposition"]
            assert int(raw.rsplit(b"startxref\n", 1)[1].split()[0]) == raw.index(b"xref\n"), "its table is where it says"
        assert zlib.crc32(raw) == zlib.crc32((await a.call("GET", f"/v3/session/{session_id}/generate-pdf/"))[1]), "the same bytes again"


async def shared(a: Api, session_id: str, **extra: Any) -> str:
    body = {"for_application_id": SANDBOX_APPLICATION, **extra}
    status, document, _ = await a.call("POST", f"/v3/session/{session_id}/share/", body)
    assert status == 200, document
    assert document["for_application_id"] == SANDBOX_APPLICATION
    assert document["session_kind"] == "user"
    token: str = document["share_token"]
    return token


async def test_2_4_sharing_is_refused_as_documented() -> None:
    async with api() as a:
        session_id = (await a.create())["session_id"]
        path = f"/v3/session/{session_id}/share/"
        unfinished = {"detail": ['Only finished sessions ("Approved", "Declined", "In Review") can be shared.']}
        assert (await a.call("POST", path, {"for_application_id": SANDBOX_APPLICATION}))[:2] == (400, unfinished)
        assert (await a.call("POST", path, {}, key="wrong"))[0] == 401, "documented for this route alone"
        await a.move(session_id, "In Progress", "Approved")
        for target, words in (
            (UNKNOWN, "Target application does not exist."),
            (LIVE_APPLICATION, "Cannot share a session with the same application."),
        ):
            assert (await a.call("POST", path, {"for_application_id": target}))[:2] == (400, {"for_application_id": [words]})
        assert "for_application_id" in (await a.call("POST", path, {}))[1]
        for ttl in (59, 86_401, "long"):
            status, document, _ = await a.call("POST", path, {"for_application_id": SANDBOX_APPLICATION, "ttl_in_seconds": ttl})
            assert (status, list(document)) == (400, ["ttl_in_seconds"])


async def test_2_4_a_shared_session_is_imported_once_and_reviewed_unless_trusted() -> None:
    async with api() as a:
        for trust, status in ((True, "Approved"), (False, "In Review")):
            session_id = await a.settled("In Progress", "Approved", vendor=f"t{trust}")
            body = {"share_token": await shared(a, session_id), "trust_review": trust, "workflow_id": WORKFLOW, "vendor_data": f"p{trust}"}
            code, document, _ = await a.call("POST", "/v3/session/import-shared/", body, SANDBOX_KEY)
            assert code == 201
            assert (document["status"], document["shared_from_session"], document["vendor_data"]) == (status, session_id, f"p{trust}")
            assert (await a.decision(document["session_id"], key=SANDBOX_KEY))["id_verifications"]
            again = await a.call("POST", "/v3/session/import-shared/", body, SANDBOX_KEY)
            assert again[:2] == (403, {"detail": "This session has already been shared with your application."})


async def test_2_4_imports_are_refused_as_documented() -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "Declined")
        body: dict[str, Any] = {
            "share_token": await shared(a, session_id, ttl_in_seconds=60),
            "trust_review": True,
            "workflow_id": WORKFLOW,
        }

        async def refused(key: str = SANDBOX_KEY, **change: Any) -> tuple[int, Any]:
            return (await a.call("POST", "/v3/session/import-shared/", {**body, **change}, key))[:2]

        assert set((await a.call("POST", "/v3/session/import-shared/", {}, SANDBOX_KEY))[1]) == {
            "share_token",
            "trust_review",
            "workflow_id",
        }
        for token in ("x", body["share_token"][:-3] + "AAA", "é.é.é"):
            assert await refused(share_token=token) == (400, {"share_token": ["Invalid share token."]})
        assert await refused(KEY) == (400, {"share_token": ["This token is not valid for this application."]})
        await a.control("workflows", {"known": [UNKNOWN]})
        assert await refused() == (404, {"detail": "Workflow does not exist for this application."})
        await a.control("workflows", {"known": None})
        await a.control("clock", {"advance_s": 61})
        assert await refused() == (400, {"share_token": ["Share token has expired."]})
        fresh = await shared(a, session_id)
        await a.call("DELETE", f"/v3/session/{session_id}/delete/")
        assert await refused(share_token=fresh) == (400, {"share_token": ["Original session does not exist."]})


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("Approved", "Approved"),
        ("Abandoned", "Abandoned"),
        ("Expired", "Expired"),
        ("In Review > Approved", "Approved"),
        ("In Review > Resubmitted > Declined", "Declined"),
        ("Not Started", "Not Started"),
    ],
)
async def test_4_users_end_as_their_odds_say_by_themselves(outcome: str, status: str) -> None:
    async with api(behaviour=Behaviour(after_s=0.05, odds={outcome: 1.0})) as a:
        seen: list[str] = []
        a.sim.sessions.listener = lambda session, _kind, _at: seen.append(session.status)  # before there is anything to miss
        created = await a.create()
        path = outcome.split(" > ")
        expected = {"Not Started": [], "Expired": path}.get(status, ["In Progress", *path])
        await until(lambda: len(seen) >= len(expected), f"{expected} without a call")
        assert seen == expected
        assert (await a.decision(created["session_id"]))["status"] == status
        if status == "Not Started":
            session = a.sim.sessions.get(created["session_id"], a.sim.session_now())
            assert session is not None
            assert a.sim.sessions.next_due() == session.expires_at, "the user will do nothing"


async def test_4_a_user_comes_after_the_timer() -> None:
    async with api(behaviour=Behaviour(after_s=100, odds={"Approved": 1.0}), session_expiration_s=5) as a:
        session_id = (await a.create())["session_id"]
        await a.control("clock", {"advance_s": 1000})
        assert (await a.decision(session_id))["status"] == "Expired", "nothing leads out of it"
    async with api(behaviour=Behaviour(after_s=100, odds={"Approved": 1.0}), abandon_after_s=1) as a:
        session_id = (await a.create())["session_id"]
        await a.control("clock", {"advance_s": 1000})
        assert (await a.decision(session_id))["status"] == "Abandoned", "an operator alone can save it"


async def test_4_a_user_who_completes_the_flow_now_is_approved() -> None:
    async with api() as a:
        session_id = (await a.create())["session_id"]
        assert (await a.control(f"sessions/{session_id}/finish", {}))[1] == {"status": "Approved"}


def test_4_an_impossible_outcome_is_refused() -> None:
    for outcome in ("Approved > In Progress", "Nonsense", "Expired > Approved", ""):
        with pytest.raises(ValueError, match="no step"):
            Behaviour(odds={outcome: 1.0})
    assert Config().behaviour.odds == {}


async def test_links_to_files_live_for_an_hour_and_are_fresh_in_each_answer() -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "Approved")

        async def link(member: str) -> str:
            found: str = (await a.decision(session_id))["id_verifications"][0][member]
            return found.removeprefix(a.url)

        first = await link("front_image")
        status, raw, headers = await a.call("GET", first, key=None)
        assert (status, raw[:3], headers["Content-Type"]) == (200, b"\xff\xd8\xff", "image/jpeg")
        video = await a.call("GET", await link("front_video"), key=None)
        assert (video[1][4:8], video[2]["Content-Type"]) == (b"ftyp", "video/mp4")
        await a.advance(3601)
        status, raw, _ = await a.call("GET", first, key=None)
        assert (status, b"<Error>" in raw) == (403, True)
        assert (await a.call("GET", first.partition("?")[0], key=None))[0] == 403, "no link without a signature"
        assert (await a.call("GET", await link("front_image"), key=None))[0] == 200
        await a.control("media", {"ended": 1})
        assert [(await a.call("GET", await link("front_image"), key=None))[0] for _ in range(2)] == [403, 200]
