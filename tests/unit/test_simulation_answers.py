"""The judge of a world's answers: what results say of a request is what was done for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from simulation.answers import leaving_out, misheard, misread, not_erased, untrue
from simulation.asked import Asked
from simulation.clients import Heard
from simulation.observed import Answer

from processor.contract.records import call_reference
from processor.repair.person_erase import EraseSummary
from processor.repair.person_search import PersonFindings


def _answer(status: str, code: str | None = None, *, request_id: str = "r-1", copy_for: str | None = None, **changes: Any) -> Answer:
    told = Answer(request_id, "email.send", status, code, 0, 1, "requests[0]@1", 0, f"result of {request_id}", copy_for)
    return told._replace(**changes)


def _ledger(*, paid: bool) -> dict[str, Any]:
    reference = call_reference("r-1", 2)
    check = {"reference": reference, "credits": 1}
    return {"calls": [{"reference": reference, "acted": paid}], "checks": [check] if paid else [], "sessions": []}


_NEVER = {"calls": [{"reference": call_reference("r-2", 0), "acted": True}], "checks": [], "sessions": []}


def _rules(answers: list[Answer], ledger: dict[str, Any], **asked: Any) -> list[str]:
    return [rule for rule, _ in untrue(answers, Asked(**asked), ledger)]


def test_good_answers_are_true() -> None:
    succeeded = _answer("succeeded")
    copies = [succeeded._replace(copy_for="requests[0]@7"), succeeded._replace(copy_for="requests[1]@7")]
    assert not _rules([succeeded, *copies], _ledger(paid=True))
    assert not _rules([_answer("in_doubt", "timeout")], _ledger(paid=True))
    assert not _rules([_answer("failed", "cancelled")], _ledger(paid=False), cancels={"c-1": "r-1"})
    assert not _rules([_answer("succeeded", operation="cancel")], _NEVER)
    assert not _rules([_answer("failed", "exhausted"), _answer("succeeded", replay=1)], _ledger(paid=True)), "a redrive did it"


@pytest.mark.parametrize(("status", "code"), [("failed", "cancelled"), ("expired", "deadline_passed"), ("rejected", "missing_field")])
def test_what_was_paid_for_is_not_told_as_not_done(status: str, code: str) -> None:
    told = _rules([_answer(status, code)], _ledger(paid=True), cancels={"c-1": "r-1"})
    assert told == ["paid for and told as not done"]


def test_what_nobody_was_asked_for_is_not_told_as_done() -> None:
    assert _rules([_answer("succeeded")], _NEVER) == ["told as done though nobody was asked"]


def test_only_what_somebody_takes_back_is_taken_back() -> None:
    told = _rules([_answer("failed", "cancelled")], _ledger(paid=False), cancels={"c-1": "r-2"})
    assert told == ["taken back though nobody has asked"]


def test_a_doubt_that_is_to_be_repeated_ends_as_one_for_a_reason_only() -> None:
    doubt = _answer("in_doubt", "timeout")
    assert _rules([doubt], _ledger(paid=True), repeated={"r-1"}) == ["in doubt though it was to be repeated"]
    assert not _rules([doubt], _ledger(paid=True), repeated={"r-1"}, expiring={"r-1"})
    assert not _rules([doubt._replace(attempts=6)], _ledger(paid=True), repeated={"r-1"})


def test_another_content_under_one_id_has_a_result_of_its_own() -> None:
    assert _rules([_answer("succeeded")], _ledger(paid=True), conflicts={"r-1"}) == ["another content under one id has no result"]
    assert not _rules([_answer("succeeded"), _answer("conflict", "conflict")], _ledger(paid=True), conflicts={"r-1"})


def test_who_asks_again_gets_one_copy_of_what_is_there() -> None:
    succeeded = _answer("succeeded")
    copy = succeeded._replace(copy_for="requests[0]@7")
    assert _rules([succeeded, copy, copy], _ledger(paid=True)) == ["two copies for one record"]
    assert _rules([succeeded, copy._replace(result_id="another")], _ledger(paid=True)) == ["a copy of nothing"]


def test_what_may_be_done_twice_is_left_out_of_a_ledger() -> None:
    ledger = {**_ledger(paid=True), "sessions": [{"request_id": "r-1"}, {"request_id": None}], "scopes": {"key": {}}}
    assert leaving_out(ledger, ()) is ledger
    assert leaving_out(ledger, {"r-1"}) == {"calls": [], "checks": [], "sessions": [{"request_id": None}], "scopes": {"key": {}}}
    assert leaving_out(ledger, {"r-2"}) == ledger


def test_a_caller_is_told_what_a_topic_holds_and_soon() -> None:
    answers = [_answer("succeeded", stamp_ms=100_000)]
    told = Heard("r-1", "result of r-1", 500.0)
    assert not list(misheard(answers, [told, Heard("r-1", None, 130.0), Heard("r-2", None, 500.0)]))
    assert [rule for rule, _ in misheard(answers, [told._replace(result_id="another")])] == ["a caller was told what no topic holds"]
    assert list(misheard(answers, [Heard("r-1", None, 150.0), Heard("r-1", None, 200.0)])) == [
        ("a caller was not told", "r-1: for 100.0 s")
    ]


def test_of_a_person_who_was_erased_no_session_is_left() -> None:
    answers = [_answer("succeeded", session_id="s-1"), _answer("succeeded", request_id="r-2", session_id="s-2")]
    findings = PersonFindings((), *3 * (frozenset(),), {}, frozenset(), {})
    done = EraseSummary("run", 1, 0, 2, 0, (), (), findings)
    assert not list(not_erased(answers, "r-1", ["s-1", "s-2"], [], 6))
    assert not list(not_erased(answers, "r-1", ["s-2"], [replace(done, left=("erase-1",)), done], 6))
    assert [rule for rule, _ in not_erased(answers, "r-1", ["s-1"], [done], 6)] == ["a session of an erased person is there"]
    assert [rule for rule, _ in not_erased(answers, "r-1", [], [replace(done, failed=("erase-1",))], 6)] == ["a person is not erased"]
    tired = [*answers, answers[0]._replace(request_id="erase-1", attempts=6)]
    assert not list(not_erased(tired, "r-1", ["s-1"], [replace(done, failed=("erase-1",))], 6)), "Didit was away for all of its attempts"


def test_a_batch_has_a_row_for_each_request_with_what_its_topic_holds() -> None:
    answers, asked = [_answer("succeeded"), _answer("failed", request_id="r-2")], ["r-1", "r-2"]
    good = [("r-1", "succeeded"), ("r-2", "failed")]
    assert not list(misread(answers, asked, good))
    for rows in (good[:1], [*good, good[0]]):
        assert [rule for rule, _ in misread(answers, asked, rows)] == ["a batch has not each request once"]
    wrong = list(misread(answers, asked, [good[0], ("r-2", "succeeded")]))
    assert wrong == [("a batch tells what no topic holds", "r-2: succeeded")]


def test_a_result_names_a_record_that_its_caller_wrote() -> None:
    places = {"r-1": {"requests"}}
    assert not _rules([_answer("succeeded")], _ledger(paid=True), places=places)
    other = _answer("succeeded", source="shop.requests[0]@3")
    assert _rules([other], _ledger(paid=True), places=places) == ["a result names a record that nobody wrote"]
