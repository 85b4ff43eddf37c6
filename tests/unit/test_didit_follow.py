"""When a session is over, what an event is worth, and when to look again."""

from __future__ import annotations

from typing import Any

import pytest

from processor.contract.codes import ErrorCode
from processor.contract.records import Hint
from processor.didit.follow import Settled, expires_in_s, is_settled, judge_decision, judge_hint, next_poll_s

SESSION = "11111111-2222-4333-8444-555555555555"
AT_S = 1_764_000_000
SINCE_MS = AT_S * 1000


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("Approved", None),
        ("Declined", None),
        ("Kyc Expired", None),
        ("Expired", ErrorCode.SESSION_EXPIRED),
        ("Abandoned", ErrorCode.SESSION_ABANDONED),
    ],
)
def test_what_ends_a_verification(status: str, code: ErrorCode | None) -> None:
    decision: dict[str, Any] = {"session_id": SESSION, "status": status}
    assert judge_decision(decision) == Settled(decision, code)
    assert is_settled(status)


@pytest.mark.parametrize(
    "status",
    ["Not Started", "In Progress", "Awaiting User", "In Review", "Resubmitted", "approved", "APPROVED", "New", None, 7, ["Approved"]],
)
def test_everything_else_goes_on(status: Any) -> None:
    assert judge_decision({"session_id": SESSION, "status": status}) is None
    assert not is_settled(status)


@pytest.mark.parametrize("decision", [None, [], "Approved", {}])
def test_an_answer_of_another_shape_settles_nothing(decision: Any) -> None:
    assert judge_decision(decision) is None


def event(**changes: Any) -> Hint:
    decision = {"session_id": SESSION, "status": "Approved", "id_verifications": []}
    payload: dict[str, Any] = {"session_id": SESSION, "status": "Approved", "timestamp": AT_S + 60, "decision": decision}
    body: dict[str, Any] = {"session_id": SESSION, "status": "Approved", "verified_by": "v2", "payload": payload}
    for name, value in changes.items():
        where, _, member = name.partition("__")
        {"event": body, "payload": payload, "decision": decision}[where][member] = value
    return Hint(SESSION, SINCE_MS + 61_000, body)


def test_an_event_that_was_signed_whole_is_the_decision() -> None:
    found = judge_hint(event(), SESSION, SINCE_MS)
    assert found == Settled({"session_id": SESSION, "status": "Approved", "id_verifications": []}, None)
    assert judge_hint(event(event__verified_by="raw"), SESSION, SINCE_MS) is not None
    assert judge_hint(event(payload__timestamp=AT_S), SESSION, SINCE_MS + 999) is not None, "told in whole seconds"


@pytest.mark.parametrize(
    "changes",
    [
        {"event__verified_by": "simple"},
        {"event__verified_by": None},
        {"event__payload": None},
        {"payload__session_id": "22222222-2222-4333-8444-555555555555"},
        {"decision__session_id": "22222222-2222-4333-8444-555555555555"},
        {"payload__decision": None},
        {"payload__decision": "Approved"},
        {"payload__status": "Declined"},
        {"payload__status": "In Review", "decision__status": "In Review"},
        {"payload__timestamp": AT_S - 3600},
        {"payload__timestamp": "soon"},
        {"payload__timestamp": None},
    ],
)
def test_any_other_event_is_only_a_reason_to_look(changes: dict[str, Any]) -> None:
    assert judge_hint(event(**changes), SESSION, SINCE_MS) is None


def test_looks_widen_and_go_on() -> None:
    assert [next_poll_s(n, (15, 60, 3600), None, 0.0) for n in range(5)] == [15, 60, 3600, 3600, 3600]
    assert 13.5 <= next_poll_s(0, (15,), None, 0.999) < 15
    assert next_poll_s(2, (15, 60, 3600), 120.0, 0.0) == 120.0, "it is over then, one way or the other"
    assert next_poll_s(0, (15,), 120.0, 0.0) == 15
    assert next_poll_s(0, (15,), -5.0, 0.0) == 15


def test_three_days_of_review_cost_few_looks() -> None:
    """K03."""
    steps, at_s, polls = (15, 30, 60, 120, 300, 600, 1800, 3600), 0.0, 0
    while at_s < 3 * 86_400:
        at_s += next_poll_s(polls, steps, None, 0.5)
        polls += 1
    assert polls < 300


@pytest.mark.parametrize(
    ("decision", "left_s"),
    [
        ({"status": "Not Started", "expires_at": "2025-11-24T16:01:00Z"}, 60.0),
        ({"status": "Not Started", "expires_at": "2025-11-24T16:01:00"}, 60.0),
        ({"status": "In Progress", "expires_at": "2025-11-24T16:01:00Z"}, None),
        ({"status": "Not Started", "expires_at": "later"}, None),
        ({"status": "Not Started"}, None),
        ([], None),
    ],
)
def test_an_unopened_session_says_when_it_expires(decision: Any, left_s: float | None) -> None:
    assert expires_in_s(decision, 1_764_000_000_000) == left_s
