"""What operators do to sessions by the API. Numbers are sections of the facts."""

from __future__ import annotations

import pytest
from didit_api import api

from processor.simulator.config import Switches


async def test_2_4_update_status_checks_the_present_status_before_the_body() -> None:
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


async def test_2_4_an_approved_person_can_be_declined_and_an_abandoned_one_approved() -> None:
    async with api() as a:
        for before, after in (("Approved", "Declined"), ("Abandoned", "Approved"), ("Declined", "Resubmitted")):
            session_id = await a.settled("In Progress", before, vendor=before)
            body = {"new_status": after, "comment": "seen"}
            assert (await a.call("PATCH", f"/v3/session/{session_id}/update-status/", body))[0] == 200
            document = await a.decision(session_id)
            assert document["status"] == after
            assert document["reviews"][0]["new_status"] == after
            assert document["reviews"][0]["comment"] == "seen"
            assert document["reviews"][0]["created_at"].endswith("Z")


async def test_2_4_an_expired_session_stays_expired() -> None:
    async with api() as a:
        session_id = await a.settled("Expired")
        assert (await a.call("PATCH", f"/v3/session/{session_id}/update-status/", {"new_status": "Approved"}))[0] == 400


async def test_2_4_a_mail_needs_an_address_and_nodes_their_members() -> None:
    async with api() as a:
        path = f"/v3/session/{await a.settled('In Progress', 'Declined')}/update-status/"
        assert "email_address" in (await a.call("PATCH", path, {"new_status": "Approved", "send_email": True}))[1]
        body = {"new_status": "Resubmitted", "nodes_to_resubmit": [{"node_id": "n"}]}
        assert "nodes_to_resubmit" in (await a.call("PATCH", path, body))[1]


async def test_2_4_what_was_approved_has_nothing_to_resubmit_unless_named() -> None:
    async with api() as a:
        path = f"/v3/session/{await a.settled('In Progress', 'Approved')}/update-status/"
        assert (await a.call("PATCH", path, {"new_status": "Resubmitted"}))[:2] == (
            400,
            {"nodes_to_resubmit": "No features found that need resubmission. All features are already approved."},
        )
        nodes = [{"node_id": "node-0", "feature": "ID_VERIFICATION"}]
        assert (await a.call("PATCH", path, {"new_status": "Resubmitted", "nodes_to_resubmit": nodes}))[0] == 200


async def test_2_4_a_backend_resubmit_has_a_cooldown_without_rate_headers() -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "Declined")
        path = f"/v3/session/{session_id}/update-status/"
        body = {"new_status": "Resubmitted", "nodes_to_resubmit": [{"node_id": "n", "feature": "AML"}]}
        assert (await a.call("PATCH", path, body))[0] == 200
        status, document, headers = await a.call("PATCH", path, body)
        assert (status, "wait 30 seconds" in document["detail"]) == (429, True)
        assert not [name for name in headers if name.lower().startswith(("x-ratelimit", "retry-after"))]
        await a.move(session_id, "In Review")
        await a.control("clock", {"advance_s": 31})
        assert (await a.call("PATCH", path, body))[0] == 200


async def test_2_4_a_review_is_a_note_and_never_a_status() -> None:
    async with api() as a:
        session_id = await a.settled("In Progress", "In Review")
        path = f"/v3/sessions/{session_id}/reviews/"
        assert (await a.call("POST", path, {"comment": "hm", "new_status": "Approved"}))[0] == 201
        assert (await a.decision(session_id))["status"] == "In Review"
        assert [note["comment"] for note in (await a.call("GET", path))[1]["results"]] == ["hm"]


async def test_2_4_corrected_data_shows_in_the_decision() -> None:
    async with api() as a:
        unfinished = (await a.create("x"))["session_id"]
        assert (await a.call("PATCH", f"/v3/session/{unfinished}/update-data/", {"first_name": "Ann"}))[0] == 404
        session_id = await a.settled("In Progress", "Approved")
        assert (await a.call("PATCH", f"/v3/session/{session_id}/update-data/", {"first_name": "Ann"}))[0] == 200
        assert (await a.decision(session_id))["id_verifications"][0]["first_name"] == "Ann"
        assert (await a.call("PATCH", f"/v3/session/{session_id}/update-data/", {}))[0] == 200
        assert (await a.call("PATCH", f"/v3/session/{session_id}/update-poa-data/", {"issuer": "X"}))[0] == 404, "it has no such check"


@pytest.mark.parametrize("switch", [400, 200])
async def test_2_4_the_same_status_twice_is_as_the_switch_says_and_changes_nothing(switch: int) -> None:
    async with api(switches=Switches(same_status_update=switch)) as a:  # type: ignore[arg-type]
        session_id = await a.settled("In Progress", "Declined")
        assert (await a.call("PATCH", f"/v3/session/{session_id}/update-status/", {"new_status": "Declined"}))[0] == switch
        assert (await a.decision(session_id))["reviews"] == []
