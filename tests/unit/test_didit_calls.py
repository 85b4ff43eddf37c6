"""Requests to calls, waits from headers, and the lookup after a lost reply."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from processor.contract.records import Hop, Request, Source
from processor.didit.calls import HttpCall, build_call, detail_call, list_call
from processor.didit.catalog import OPERATIONS
from processor.didit.reconcile import Adopt, CreateAgain, Inspect, adopt_inspected, review_list
from processor.didit.retry_after import wait_s

WORKFLOW = "9f9b1234-0000-4000-8000-1234567890ab"
SESSION = "11111111-2222-4333-8444-555555555555"
NOON_MS = 1_764_072_000_000  # 2025-11-25T12:00:00Z
HOP = Hop(Source("t", 0, 0), NOON_MS, hop=2, doubt_ms=NOON_MS)


def create(**extra: Any) -> Request:
    return Request("r-1", "session.create", {"workflow_id": WORKFLOW, **extra})


def call_of(request: Request, hop: Hop = HOP) -> HttpCall:
    return build_call(OPERATIONS[request.operation], request, hop)


def test_a_create_carries_our_id_beside_the_callers_metadata() -> None:
    call = call_of(create(vendor_data="u", metadata={"a": 1}))
    assert (call.operation.method, call.path, call.query) == ("POST", "/v3/session/", ())
    assert orjson.loads(call.body or b"") == {"workflow_id": WORKFLOW, "vendor_data": "u", "metadata": {"a": 1, "vp_request_id": "r-1"}}
    assert call.reference.endswith(".2")
    assert "r-1" not in call.reference


def test_without_vendor_data_the_request_id_stands_in() -> None:
    assert orjson.loads(call_of(create()).body or b"")["vendor_data"] == "r-1"


def test_a_decision_is_a_path_and_a_query() -> None:
    call = call_of(Request("r", "session.decision", {"session_id": SESSION, "include": ["events"]}))
    assert (call.path, call.query, call.body) == (f"/v3/session/{SESSION}/decision/", (("include", "events"),), None)
    assert detail_call("a/../b", create(), HOP).path == "/v3/session/a%2F..%2Fb/decision/"


def test_every_filter_of_a_list_goes_into_the_query() -> None:
    given = {"status": ["Approved", "In Review"], "api_service": "AML", "is_kyc_to_be_reviewed": True, "limit": 5}
    call = call_of(Request("r", "session.list", given))
    wanted = {"status": "Approved,In Review", "api_service": "AML", "is_kyc_to_be_reviewed": "true", "limit": "5"}
    assert (dict(call.query), call.body) == (wanted, None)


def test_a_persons_id_in_a_path_stays_one_part_of_it() -> None:
    call = call_of(Request("r", "user.update_status", {"vendor_data": "a/../b ü?x", "status": "BLOCKED"}))
    assert call.path == "/v3/users/a%2F..%2Fb%20%C3%BC%3Fx/update-status/"
    assert orjson.loads(call.body or b"") == {"status": "BLOCKED"}


def test_the_lookup_asks_for_the_person_the_workflow_and_the_days() -> None:
    call = list_call(create(vendor_data="ü&x=1"), HOP)
    asked = {"vendor_data": "ü&x=1", "workflow_id": WORKFLOW, "session_kind": "all", "date_from": "2025-11-24", "limit": "50"}
    assert dict(call.query) == asked


def test_a_check_is_its_input_and_our_id_and_aml_carries_one_key_for_all_hops() -> None:
    aml = Request("r-1", "aml", {"full_name": "Ann", "metadata": {"a": 1}})
    first, again = call_of(aml), call_of(aml, dataclasses.replace(HOP, hop=5, replay=1))
    assert (first.operation.method, first.path, first.query) == ("POST", "/v3/aml/", ())
    assert orjson.loads(first.body or b"") == {"full_name": "Ann", "metadata": {"a": 1, "vp_request_id": "r-1"}}
    assert first.idempotency_key is not None
    assert first.idempotency_key == again.idempotency_key, "a second call must be answered from the first"
    assert first.body == again.body, "the key stands for the exact body"
    assert "r-1" not in first.idempotency_key
    assert call_of(dataclasses.replace(aml, request_id="r-2")).idempotency_key != first.idempotency_key
    email = call_of(Request("r-1", "email.send", {"email": "a@example.com"}))
    assert (email.path, email.idempotency_key) == ("/v3/email/send/", None)
    assert orjson.loads(email.body or b"") == {"email": "a@example.com", "metadata": {"vp_request_id": "r-1"}}


def row(created_at: str, vendor: str = "u", session_id: str = SESSION) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "vendor_data": vendor,
        "created_at": created_at,
        "session_url": "https://v/session/tok",
        "status": "Approved",
    }


def test_only_sessions_made_since_the_doubt_can_be_ours() -> None:
    old, fresh = row("2025-11-25T11:58:00Z"), row("2025-11-25T11:59:30Z")
    assert review_list({"results": [old]}, create(vendor_data="u"), HOP) == CreateAgain()
    assert review_list({"results": [fresh, old]}, create(vendor_data="u"), HOP) == Inspect((SESSION,))
    assert review_list({"results": [row("2025-11-25T12:00:01Z", "other")]}, create(vendor_data="u"), HOP) == CreateAgain()
    assert review_list({"results": [row("not a time")]}, create(vendor_data="u"), HOP) == Inspect((SESSION,))


@pytest.mark.parametrize(("sent", "kept"), [(" u\n", "u"), (" u\n", " u\n"), ("u", "u"), (" ", "")])
def test_a_person_is_known_by_an_id_that_didit_has_trimmed(sent: str, kept: str) -> None:
    """Didit's framework trims texts unless it is told not to; Didit documents neither."""
    assert review_list({"results": [row("2025-11-25T12:00:01Z", kept)]}, create(vendor_data=sent), HOP) == Inspect((SESSION,))
    named = Request(sent, "session.create", {"workflow_id": WORKFLOW})
    found = review_list({"results": [row("2025-11-25T12:00:01Z", kept)]}, named, HOP)
    assert isinstance(found, Inspect if sent != kept else Adopt), "two ids that differ by white space alone are two"


def test_a_session_under_our_own_id_is_adopted_at_once() -> None:
    first = row("2025-11-25T12:00:00Z", "r-1")
    found = review_list({"results": [row("2025-11-25T12:00:09Z", "r-1", "other"), first]}, create(), HOP)
    assert isinstance(found, Adopt)
    assert found.output["session_id"] == SESSION
    assert found.output["url"] == "https://v/session/tok"
    assert found.output["session_token"] == "tok"
    assert found.output["workflow_id"] == WORKFLOW


@pytest.mark.parametrize("listed", [None, [], {"results": None}, {"results": ["x", 7, {}]}, {"count": 0}])
def test_strange_lists_find_nothing(listed: Any) -> None:
    assert review_list(listed, create(), HOP) == CreateAgain()


def test_inspection_is_bounded_and_adopts_by_metadata_alone() -> None:
    rows = [row("2025-11-25T12:00:00Z", "u", f"s-{n}") for n in range(50)]
    found = review_list({"results": rows}, create(vendor_data="u"), HOP)
    assert found == Inspect(("s-49", "s-48", "s-47", "s-46", "s-45")), "ours was the first since the doubt, and the list is newest first"
    assert adopt_inspected({**rows[0], "metadata": {"vp_request_id": "r-2"}}, create(), HOP) is None
    assert adopt_inspected({**rows[0], "metadata": None}, create(), HOP) is None
    assert adopt_inspected({**rows[0], "metadata": {"vp_request_id": "r-1"}}, create(), HOP) is not None


@pytest.mark.parametrize(
    ("status", "first_round", "redriven"),
    [
        ("Not Started", True, True),
        ("In Progress", True, True),
        ("In Review", True, True),
        ("Approved", True, True),
        ("A status of tomorrow", True, True),
        (None, True, True),
        ({}, True, True),
        ("Expired", False, False),
        ("Abandoned", True, False),
        ("Kyc Expired", True, False),
    ],
)
def test_only_a_redrive_leaves_a_session_that_somebody_has_opened(status: Any, first_round: bool, redriven: bool) -> None:
    listed = {"results": [{**row("2025-11-25T12:00:00Z"), "status": status}]}
    detail = {**row("2025-11-25T12:00:00Z"), "metadata": {"vp_request_id": "r-1"}, "status": status}
    for hop, adopted in ((HOP, first_round), (dataclasses.replace(HOP, replay=1), redriven)):
        assert isinstance(review_list(listed, create(vendor_data="u"), hop), Inspect) == adopted
        assert (adopt_inspected(detail, create(vendor_data="u"), hop) is not None) == adopted


DATE = "Tue, 25 Nov 2025 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "0.503"}, 0.503),
        ({"retry-after": " 30 "}, 30.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "Tue, 25 Nov 2025 12:00:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Tue, 25 Nov 2025 11:00:30 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Tue, 25 Nov 2025 12:00:30 GMT"}, None),
        ({"x-ratelimit-reset": "1764072042", "date": DATE}, 42.0),
        ({"retry-after": "3", "x-ratelimit-reset": "1764072042", "date": DATE}, 3.0),
        ({"x-ratelimit-reset": "1764072042"}, None),
        ({}, None),
    ],
)
def test_waits_are_read_in_every_documented_form(headers: dict[str, str], expected: float | None) -> None:
    assert wait_s(headers) == expected
