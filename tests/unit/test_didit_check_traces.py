"""What Didit's list and decisions say of a check whose answer was lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openapi
import pytest

from processor.contract import schemas
from processor.contract.records import Hop, Request, Source
from processor.didit.calls import HttpCall
from processor.didit.catalog import OPERATIONS
from processor.didit.check_traces import Inconclusive, idempotency_of
from processor.didit.lookups import LOOKUPS, LookedUp, step
from processor.didit.operation import Idempotency, Operation

NOON_MS = 1_764_072_000_000  # 2025-11-25T12:00:00Z
HOP = Hop(Source("t", 0, 0), NOON_MS, doubt_ms=NOON_MS)
MATCH = Request("r-1", "face_match", {"user_image": "file:///a", "ref_image": "file:///b", "vendor_data": "u"})
TRACED = [row for row in OPERATIONS.values() if row.trace is not None]
# what the answer of a check has and the decision of its session has not, by the OpenAPI; it stands in docs/contract.md
NOT_IN_DECISIONS = {
    "id_verification": {"barcodes"},
    "passive_liveness": {"user_image"},
    "face_match": {"user_image", "ref_image"},
    "age_estimation": {"user_image"},
    "poa": set(),
    "database_validation": {"services_used", "match_score"},
    **{f"kyb.{tier}": {"registry_tier_delivered", "registry_ownership_status"} for tier in ("select", "shareholders", "ubo")},
}
COMPANY = Request("r-1", "kyb.ubo", {"kyb_response_id": "k", "vendor_data": "u"})


def row(number: int, created_at: str = "2025-11-25T12:00:01Z", vendor: str | None = "u", status: str = "Approved") -> dict[str, Any]:
    return {"session_id": f"s-{number}", "vendor_data": vendor, "created_at": created_at, "status": status}


def detail(number: int, request_id: str = "r-1", **reports: Any) -> dict[str, Any]:
    return {"session_id": f"s-{number}", "metadata": {"vp_request_id": request_id}, "vendor_data": "u", "created_at": "c", **reports}


def look_up(request: Request, *answers: Any) -> tuple[list[HttpCall], Any]:
    """The calls of a lookup that gets these answers, all of them, and what it comes to."""
    lookup, calls, left = LOOKUPS[request.operation](request, HOP), [], list(answers)
    found = step(lookup, None)
    while not isinstance(found, LookedUp):
        calls.append(found)
        found = step(lookup, left.pop(0))
    assert not left, "it asked for less"
    return calls, found.output


def test_a_check_is_found_by_its_session_and_has_the_shape_of_its_own_answer() -> None:
    report: dict[str, Any] = {"node_id": None, "status": "Declined", "score": 12.5, "source_image": "https://m/1", "warnings": []}
    calls, output = look_up(MATCH, {"results": [row(2), row(1)]}, detail(1, "r-0"), detail(2, face_matches=[report]))
    assert [(call.operation.name, call.path) for call in calls] == [
        ("session.list", "/v3/sessions/"),
        ("session.decision", "/v3/session/s-1/decision/"),
        ("session.decision", "/v3/session/s-2/decision/"),
    ], "the oldest first"
    assert dict(calls[0].query) == {
        "session_type": "API",
        "api_service": "FACE_MATCH",
        "vendor_data": "u",
        "date_from": "2025-11-24",
        "limit": "50",
    }
    assert not any(call.operation.versioned for call in calls), "v2 has no reports in lists"
    assert output == {
        "request_id": "s-2",
        "face_match": {"status": "Declined", "score": 12.5, "source_image": "https://m/1", "warnings": []},
        "vendor_data": "u",
        "metadata": {"vp_request_id": "r-1"},
        "created_at": "c",
        "vp_adopted": True,
    }


@pytest.mark.parametrize("status", ["Approved", "Not Finished"])
def test_a_company_is_found_by_its_business_session_though_its_report_is_pending(status: str) -> None:
    company = {"node_id": "feature_kyb_registry", "status": status, "fetch_status": "pending"}
    calls, output = look_up(COMPANY, {"results": [row(1)]}, detail(1, registry_checks=[{"status": "Approved", "company": company}]))
    assert dict(calls[0].query) == {"session_kind": "business", "vendor_data": "u", "date_from": "2025-11-24", "limit": "50"}
    assert (output["request_id"], output["kyb_registry"], output["vp_adopted"]) == ("s-1", company, True)


def test_a_company_was_not_bought_if_the_list_shows_other_businesses_alone() -> None:
    calls, output = look_up(COMPANY, {"results": []}, {"results": [row(9, "2025-01-01T00:00:00Z")]})
    assert (dict(calls[1].query), output) == ({"session_kind": "business", "limit": "1"}, None)
    assert look_up(COMPANY, {"results": []}, {"results": []})[1] == Inconclusive(took_place=False)
    assert look_up(COMPANY, {"results": [row(1)]}, detail(1, registry_checks=[{"status": "Approved"}]))[1] == Inconclusive(took_place=True)


def test_without_vendor_data_it_is_looked_for_among_those_of_nobody() -> None:
    request = Request("r-1", "poa", {"document": "file:///a"})
    answers = ({"results": [row(1), row(2, vendor=None)]}, detail(2, poa_verifications=[{"status": "Approved"}]))
    calls, output = look_up(request, *answers)
    assert "vendor_data" not in dict(calls[0].query)
    assert [call.path for call in calls[1:]] == ["/v3/session/s-2/decision/"]
    assert output["poa"] == {"status": "Approved"}


@pytest.mark.parametrize(("sent", "kept"), [(" u ", "u"), (None, ""), (None, " ")])
def test_a_person_is_known_by_an_id_that_didit_has_trimmed(sent: str | None, kept: str) -> None:
    request = Request("r-1", "poa", {"document": "file:///a"} | ({} if sent is None else {"vendor_data": sent}))
    _, output = look_up(request, {"results": [row(1, vendor=kept)]}, detail(1, poa_verifications=[{"status": "Approved"}]))
    assert output["request_id"] == "s-1", "else it would be made, and paid, again"


@pytest.mark.parametrize(
    "answers",
    [
        ({"results": [row(1, "2025-11-25T11:58:00Z")]},),  # from before
        ({"results": [row(1, vendor="other")]},),
        ({"results": [row(1)]}, detail(1, "r-2")),
        ({"results": [row(1, status="Not Finished")]},),  # no service answered, nothing is billed
        ({"results": []}, {"results": [row(9, "2025-01-01T00:00:00Z")]}),
    ],
)
def test_a_check_that_the_list_would_show_and_does_not_was_not_made(answers: tuple[Any, ...]) -> None:
    assert look_up(MATCH, *answers)[1] is None


@pytest.mark.parametrize(
    ("answers", "took_place"),
    [
        (({"results": []}, {"results": []}), False),  # perhaps the key may not see checks
        (({"results": [row(n) for n in range(11)]},), False),
        (({"results": [row(n) for n in range(3)], "next": "https://more"},), False),
        (({"results": [row(1)]}, detail(1, face_matches=None)), True),
        (({"results": [row(1)]}, detail(1, face_matches=[{"status": "Not Finished"}])), True),
        (({"results": [row(1)]}, detail(1, face_matches="x")), True),
        (({"results": [row(2), row(1)]}, None, detail(2, "r-2")), False),  # it is not shown (yet), or was deleted since: perhaps ours
        ((None, None), False),
        (({"results": ["x", 7, {}]}, []), False),
    ],
)
def test_a_lookup_that_cannot_tell_says_so(answers: tuple[Any, ...], took_place: bool) -> None:
    assert look_up(MATCH, *answers)[1] == Inconclusive(took_place)


def test_a_check_is_adopted_although_another_one_of_the_person_is_not_shown() -> None:
    shown = detail(2, face_matches=[{"status": "Approved"}])
    assert look_up(MATCH, {"results": [row(2), row(1)]}, None, shown)[1]["request_id"] == "s-2"


def test_older_pages_are_of_no_interest() -> None:
    rows = [row(1), row(2, "2025-11-25T09:00:00Z")]
    assert (
        look_up(MATCH, {"results": rows, "next": "https://more"}, detail(1, face_matches=[{"status": "Approved"}]))[1]["request_id"]
        == "s-1"
    )


def test_what_didit_does_not_keep_cannot_be_looked_up() -> None:
    unsaved = Request("r-1", "face_match", {**MATCH.input, "save_api_request": False})
    assert idempotency_of(OPERATIONS["face_match"], MATCH) is Idempotency.RECONCILABLE
    assert idempotency_of(OPERATIONS["face_match"], unsaved) is Idempotency.SINGLE
    assert idempotency_of(OPERATIONS["session.create"], unsaved) is Idempotency.RECONCILABLE


@pytest.mark.parametrize("operation", TRACED, ids=lambda operation: operation.name)
def test_service_and_reports_are_the_documented_ones(operation: Operation) -> None:
    assert operation.trace is not None
    assert operation.trace.service in openapi.fields(OPERATIONS["session.list"])["api_service"]["enum"]
    decision = openapi.resolved(openapi.described(OPERATIONS["session.decision"])["responses"]["200"])
    shape = openapi.resolved(decision["content"]["application/json"]["schema"])
    reports = openapi.resolved(openapi.resolved(openapi.resolved(shape)["properties"][operation.trace.reports])["items"])["properties"]
    if operation.trace.of_company:
        reports = openapi.resolved(reports["company"])["properties"]
    answer = openapi.resolved(openapi.described(operation)["responses"]["200"])["content"]["application/json"]["schema"]
    members = _members(openapi.resolved(answer)["properties"][operation.answer])
    assert set(members) - set(reports) == NOT_IN_DECISIONS[operation.name]
    assert "save_api_request" in openapi.fields(operation)


def _members(node: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = openapi.resolved(node)["properties"]
    return found


def test_every_filter_of_the_list_goes_out() -> None:
    offered = schemas.input_schema("session.list")["properties"]
    assert set(OPERATIONS["session.list"].query) == set(offered)
