"""What three reads say of an account: one row for each thing, with its state and a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from processor.contract.codes import ErrorCode, http_code
from processor.didit.account_checks import CheckState, Found, NotAsked, SetupCheck, account_checks, balance_of
from processor.didit.verdicts import AccountFault, Forbidden, Success, Throttled, Transient

OK, FAILED, UNKNOWN, SKIPPED = CheckState
WANTED = "a1b2c3d4-5678-90ab-cdef-111111111111"
FORBIDDEN = Forbidden(ErrorCode.NOT_PERMITTED, 403, {}, key_works=False)
SESSIONS = Success({"results": []})
CREDIT = Success({"balance": "12.5000", "auto_refill_enabled": False})
DOWN = Transient(http_code(503), 503, None)


def version(**members: Any) -> dict[str, Any]:
    """A row of the list, as the OpenAPI shows it ("List workflows")."""
    shown = {
        "uuid": WANTED,
        "workflow_id": WANTED,
        "workflow_label": "Standard KYC",
        "version": 1,
        "status": "published",
        "is_archived": False,
    }
    return shown | members


def listed(*rows: dict[str, Any], more: str | None = None) -> Success:
    return Success({"results": list(rows), "next": more})


def checks(
    sessions: Found = SESSIONS, workflows: Found | None = None, credit: Found = CREDIT, wanted: tuple[str, ...] = (WANTED,)
) -> dict[str, SetupCheck]:
    found = account_checks(sessions, listed(version()) if workflows is None else workflows, credit, wanted)
    assert all(row.remedy for row in found if row.state is FAILED), "what is missing says what to do"
    assert len({row.name for row in found}) == len(found)
    return {row.name.partition(" ")[0]: row for row in found}


def states(found: dict[str, SetupCheck]) -> dict[str, CheckState]:
    return {name: row.state for name, row in found.items()}


def test_everything_is_there() -> None:
    found = checks()
    assert states(found) == dict.fromkeys(("key", "application", "sessions", "workflow", "credits"), OK)
    assert found["workflow"].found == '"Standard KYC", version 1, is published'
    assert found["credits"].found == "12.50 US dollars, not refilled automatically"


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        (AccountFault(ErrorCode.KEY_REFUSED, 401), "key"),
        (AccountFault(ErrorCode.APPLICATION_CLOSED, 403), "application"),
        (AccountFault(ErrorCode.CONTRACT_SUSPENDED, 403), "application"),
    ],
)
def test_a_fault_of_the_account_is_named_and_nothing_else_is_judged(fault: AccountFault, failed: str) -> None:
    found = checks(fault, fault, fault)
    assert {name for name, row in found.items() if row.state is FAILED} == {failed}
    assert {found[name].state for name in ("sessions", "workflow", "credits")} == {SKIPPED}


def test_a_key_that_may_read_nothing_counts_as_refused_and_one_that_may_read_anything_does_not() -> None:
    found = checks(FORBIDDEN, FORBIDDEN, FORBIDDEN)
    assert (found["key"].state, found["application"].state) == (FAILED, SKIPPED)
    assert "403" in found["key"].found
    one = checks(FORBIDDEN, FORBIDDEN, CREDIT)
    assert states(one) == {"key": OK, "application": OK, "sessions": FAILED, "workflow": UNKNOWN, "credits": OK}
    assert "right to read workflows" in one["workflow"].remedy
    works = checks(Forbidden(ErrorCode.NOT_IN_CONTRACT, 403, {}, key_works=True), FORBIDDEN, FORBIDDEN)
    assert works["key"].state is OK


@pytest.mark.parametrize("nothing", [NotAsked("no call was free"), DOWN, Throttled(("generic-get",), 5.0)])
def test_what_could_not_be_asked_is_unknown_and_says_why(nothing: Found) -> None:
    found = checks(nothing, nothing, nothing)
    assert set(states(found).values()) == {UNKNOWN}
    assert all(row.found for row in found.values())
    assert checks(DOWN)["sessions"].found == "http_503 (HTTP 503)"


@pytest.mark.parametrize(
    ("rows", "state", "words"),
    [
        ([], FAILED, "no such workflow, and 0 others"),
        ([version(uuid="b", workflow_id="b")], FAILED, "no such workflow, and 1 other"),
        ([version(status="draft")], FAILED, "is a draft"),
        ([version(is_archived=True)], FAILED, "is archived"),
        ([version(status="draft", version=3, uuid="c"), version(version=2)], OK, "version 2, is published"),
        ([version(version=1, is_archived=True, uuid="c"), version(version=2)], OK, "version 2, is published"),
        ([version(version=2, is_archived=True, uuid="c"), version(version=1)], FAILED, "is archived"),
        ([version(workflow_id="group"), version(workflow_id="group", uuid="c", version=4)], OK, "version 4, is published"),
        ([version(uuid=WANTED.upper(), workflow_id=None)], OK, "is published"),
        ([version(workflow_label=None, version=None)], OK, "it, version 0, is published"),
        ([None], FAILED, "no such workflow"),
    ],
)
def test_a_workflow_is_the_newest_published_version_of_its_group(rows: list[Any], state: CheckState, words: str) -> None:
    found = checks(workflows=listed(*rows))["workflow"]
    assert (found.name, found.state) == (f"workflow {WANTED}", state)
    assert words in found.found


def test_a_list_that_goes_on_does_not_prove_that_a_workflow_is_missing() -> None:
    assert checks(workflows=listed(version(uuid="b", workflow_id="b"), more="https://x"))["workflow"].state is UNKNOWN
    assert checks(workflows=listed(version(), more="https://x"))["workflow"].state is OK


def test_without_a_configured_workflow_none_is_judged() -> None:
    found = checks(workflows=listed(version(), version(uuid="d", workflow_id="d", status="draft")), wanted=())
    assert (found["workflows"].state, "1 that are published" in found["workflows"].found) == (SKIPPED, True)
    assert checks(workflows=FORBIDDEN, wanted=())["workflows"].state is SKIPPED


@pytest.mark.parametrize(
    ("credit", "state"),
    [
        (Success({"balance": "0.0000", "auto_refill_enabled": False}), FAILED),
        (Success({"balance": "-1.5000", "auto_refill_enabled": False}), FAILED),
        (Success({"balance": "0.0000", "auto_refill_enabled": True}), OK),
        (Success({"balance": "a lot"}), UNKNOWN),
        (FORBIDDEN, SKIPPED),
        (DOWN, UNKNOWN),
    ],
)
def test_credits_that_are_gone_are_a_fault_unless_they_are_refilled(credit: Found, state: CheckState) -> None:
    assert checks(credit=credit)["credits"].state is state


def test_a_balance_is_decimal_text() -> None:
    assert balance_of({"balance": "1234.5600", "auto_refill_enabled": True}) == (1234.56, True)
    assert balance_of({"balance": "-0.1000"}) == (-0.1, False)
    wrong: Any
    for wrong in (None, [], {}, {"balance": None}, {"balance": "Infinity"}):
        assert balance_of(wrong) is None
