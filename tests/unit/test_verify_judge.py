"""The judge is judged: a clean world has no finding, and each fault that is planted is named at its record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from verify_plants import PLANTS
from verify_world import NAMES, REQUESTS, World, clean_world, judge_world, place

from processor.budget.log_records import Ended
from processor.budget.permits import HealthSignal
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.records import Record, Status, call_reference
from processor.contract.result_copies import COPY_HEADER
from processor.verify.findings import SHOWN_MAX, BrokenPromise
from processor.verify.waiting import WaitingPlace

Plant = Callable[[World], list[tuple[BrokenPromise, Record]]]


def test_a_clean_world_has_no_finding() -> None:
    judged = judge_world(clean_world())
    assert judged.findings == []
    figures = judged.judge.figures
    assert figures.requests == 12
    assert figures.by_status == {"succeeded": 5, "failed": 3, "rejected": 1, "conflict": 1}
    assert (figures.duplicates, figures.too_young, figures.too_old, figures.redrives) == (1, 0, 0, 1)
    assert judged.judge.waiting.by_place == {WaitingPlace.REQUESTS: 1, WaitingPlace.NOT_DUE: 1}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_each_planted_fault_is_named_at_its_record_and_nothing_else(plant: Plant) -> None:
    world = clean_world()
    expected = plant(world)
    assert judge_world(world).named == {(kind.value, place(record)) for kind, record in expected}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_what_happened_before_the_moment_that_was_asked_for_is_read_and_not_named(plant: Plant) -> None:
    world = clean_world()
    since_ms = world.now_ms + 1
    expected = plant(world)
    if world.bills.sessions:
        world.bills.sessions[-1] = (world.bills.sessions[-1][0], world.now_ms)
    unread = {BrokenPromise.COPY_OF_NOTHING}  # its final result may be older than what was read
    assert judge_world(world, since_ms=since_ms).named == {(kind.value, place(record)) for kind, record in expected if kind not in unread}
    assert judge_world(world, since_ms=world.now_ms + 1).findings == []


def test_every_kind_that_one_request_can_show_is_planted() -> None:
    planted = {kind for plant in PLANTS for kind, _ in plant(clean_world())}
    assert planted == set(BrokenPromise) - {BrokenPromise.DELETED_UNFINISHED}  # of a partition, not of a record: test_integration_verify.py


def test_a_copy_for_somebody_who_asked_again_is_no_second_final() -> None:
    world = World()
    final = world.succeed(world.request("asked-again"))
    world.finish(again := world.request("asked-again"))
    world.append(NAMES.results, 0, final.value, final.key, ((COPY_HEADER, str(again.source).encode()),))
    judged = judge_world(world)
    assert judged.findings == []
    figures = judged.judge.figures
    assert (figures.finals, figures.copies, figures.duplicates) == (1, 1, 1)


def test_a_redrive_of_a_dead_letter_that_retention_has_deleted_is_no_fault() -> None:
    world = World()
    letter = world.succeed_in_a_second_round("failing")
    world.topics[NAMES.dead_letters, 0].clear()
    dead_letters = (*NAMES.inputs, NAMES.results, NAMES.dead_letters).index(NAMES.dead_letters)
    kept = letter.source.offset + 1
    judged = judge_world(world, ranges={(dead_letters, 0): (kept, kept)}, dead_letters_from_ms=letter.timestamp_ms + 1)
    assert judged.findings == []


STRANGE = [
    {"source": {"topic": REQUESTS, "partition": 1.5, "offset": 0}},
    {"source": {"topic": REQUESTS, "partition": 0, "offset": 1e3}},
    {"source": {"topic": REQUESTS, "partition": True, "offset": 0}},
    {"replay": 2.0},
    {"error": {"code": ["x"]}},
]


@pytest.mark.parametrize("strange", STRANGE)
def test_what_somebody_else_wrote_to_the_results_ends_no_audit(strange: dict[str, Any]) -> None:
    world = World()
    final = world.succeed(world.request("plain"))
    world.append(NAMES.results, 0, orjson.dumps(orjson.loads(final.value or b"") | strange), final.key)
    assert judge_world(world).findings == []


def test_a_type_of_an_error_that_is_no_text_ends_no_audit() -> None:
    world = World()
    final = world.succeed(world.request("plain"))
    world.topics[NAMES.results, 0].clear()
    strange = {"status": "failed", "error": {"code": ErrorCode.VENDOR_DATA_BLOCKED, "type": []}}
    world.append(NAMES.results, 0, orjson.dumps(orjson.loads(final.value or b"") | strange), final.key)
    assert judge_world(world).findings == []


def test_a_request_that_is_young_is_not_missed_yet() -> None:
    world = World()
    world.finish(world.request("just-now"))
    judged = judge_world(world, older_s=7200)
    assert {kind for kind, _ in judged.named} == {"offset_beyond_work"}, "its commit is wrong all the same"
    assert judged.judge.figures.too_young == 1


def test_what_is_older_than_the_results_that_are_kept_is_counted_and_not_judged() -> None:
    world = World()
    world.finish(world.request("long-ago"))
    judged = judge_world(world, judged_from_ms=world.now_ms + 1)
    assert judged.findings == []
    assert judged.judge.figures.too_old == 1


def test_where_each_waiting_request_stands_is_told_oldest_first() -> None:
    world = World()
    first = world.request("first")
    doubt = world.retry(world.request("doubt", partition=1), 86_400, doubt_ms=world.now_ms)
    follows = world.retry(world.request("follows", partition=1), 5, session_id="9f9b1234-0000-4000-8000-1234567890ac")
    world.retry(world.request("due", partition=1), 5)
    judged = judge_world(world)
    assert judged.findings == []
    assert judged.judge.waiting.by_place == {
        WaitingPlace.REQUESTS: 1,
        WaitingPlace.IN_DOUBT: 1,
        WaitingPlace.SESSION: 1,
        WaitingPlace.DUE: 1,
    }
    stands = [waiting.alive.offset for _, waiting in judged.judge.waiting.oldest]
    assert stands[:3] == [first.source.offset, doubt.source.offset, follows.source.offset]


def test_a_redriven_request_that_waits_is_told_though_it_has_a_result() -> None:
    world = World()
    _, letter = world.fail(failing := world.request("again"))
    world.wait(86_400)
    second = world.redrive(letter, failing)
    assert second is not None
    for older_s, old in ((7200.0, 0), (1800.0, 1)):  # an hour ago: so old is its round, the request a day more
        judged = judge_world(world, older_s=older_s)
        waiting = judged.judge.waiting
        assert (judged.findings, waiting.by_place, waiting.old) == ([], {WaitingPlace.DUE: 1}, old)
        stands = [(each.request.offset, each.alive.offset) for _, each in waiting.oldest]
        assert stands == [(failing.source.offset, second.source.offset)]
    world.succeed(second)
    assert not judge_world(world).judge.waiting.by_place


def test_ends_that_are_told_after_their_promise_are_no_full_window() -> None:
    """As after an outage of the log: their calls were answered before, and others start when the promises and a window are over."""
    world = World()
    asks = [world.ask(world.request(f"early-{n}")) for n in range(3)]
    world.wait(100)
    world.log(Ended(asks[0], used=True, acted=True))
    world.log(Ended(asks[1], used=True, acted=True))
    world.wait(25)
    for n in range(3):
        world.call(world.request(f"late-{n}"))
    assert "window_over" not in {kind for kind, _ in judge_world(world).named}
    last = world.call(world.request("one-more"))
    assert ("window_over", place(last)) in judge_world(world).named


def test_that_every_call_is_held_is_told_by_the_log() -> None:
    world = World()
    ask = world.ask(world.request("a"))
    world.log(Ended(ask, used=True, health=HealthSignal.ACCOUNT))
    assert judge_world(world).account_held
    world.call(world.request("b"))
    assert judge_world(world).account_held, "its end says nothing"
    ask = world.ask(world.request("c"))
    world.log(Ended(ask, used=True, acted=True, health=HealthSignal.GOOD))
    assert not judge_world(world).account_held


def test_an_early_start_has_a_reason_if_it_waited_for_room_or_for_its_session() -> None:
    world = World()
    reasons: list[dict[str, Any]] = [{"last_error": ErrorCode.QUEUE_FULL}, {"session_id": "9f9b1234-0000-4000-8000-1234567890ac"}]
    for number, changes in enumerate(reasons):
        retry = world.retry(world.request(f"r-{number}"), 3600, **changes)
        world.call(retry)
        world.succeed(retry)
    assert judge_world(world).findings == []


def test_a_call_in_the_ledger_may_be_that_of_a_copy() -> None:
    world = World()
    first = world.request("twice")
    world.bills.first_call_ms[call_reference("twice", 1)] = float(world.now_ms)
    world.succeed(world.retry(first, -1))
    world.finish(world.retry(world.request("twice", partition=1), 3600, last_error=ErrorCode.OPERATION_HELD))
    assert judge_world(world).findings == []
    world.bills.first_call_ms[call_reference("early", 1)] = float(world.now_ms)
    world.succeed(world.retry(world.request("early"), 3600))
    assert [kind for kind, _ in judge_world(world).named] == ["retry_started_early"]


def test_a_copy_that_comes_after_the_memory_is_a_new_request() -> None:
    world = World()
    world.succeed(world.request("again"))
    world.wait(3601)
    world.succeed(world.request("again"))
    judged = judge_world(world)
    assert judged.findings == []
    assert judged.judge.figures.asked_again == 1


@pytest.mark.parametrize(("apart_s", "found"), [(3601, set()), (3000, {"double_final"})])
def test_a_verification_is_remembered_from_its_creation_on_whatever_its_person_takes(apart_s: int, found: set[str]) -> None:
    world = World()
    session = {"session_id": "9f9b1234-0000-4000-8000-1234567890ac"}
    first = world.retry(world.request("slow-person"), 86_400, **session)
    world.wait(apart_s)
    second = world.retry(world.request("slow-person"), 86_400, **session)
    world.wait(7200)
    for each in (second, first):  # whose session the person has finished first
        world.succeed(each)
    assert {kind for kind, _ in judge_world(world).named} == found


def test_a_rejected_copy_may_be_answered_if_more_were_rejected_than_are_remembered() -> None:
    world = World()
    for _ in range(2):
        world.fail(world.append(REQUESTS, 0, b'{"request_id": "bad"}', b"key"), Status.REJECTED)
    assert {kind for kind, _ in judge_world(world).named} == {"double_final"}
    assert judge_world(world, forgets_claims=True).findings == []


def test_one_that_expired_without_a_call_is_forgotten_as_a_rejected_one_is() -> None:
    world = World()
    world.finish(late := world.request("late"))
    world.result(late, Status.EXPIRED)
    world.succeed(world.request("late"))
    assert {kind for kind, _ in judge_world(world).named} == {"double_final"}
    assert judge_world(world, forgets_claims=True).findings == []


@pytest.mark.parametrize("waited", [False, True])
def test_what_was_not_handed_on_may_end_here_and_owes_nothing(waited: bool) -> None:
    """E.g. one whose headers are too long, that expires while its application is away, or that an operator ends."""
    world = World()
    record = world.request("elsewhere", application="shop")
    if waited:
        record = world.retry(record, last_error=ErrorCode.APPLICATION_UNREADY)
    world.fail(record, Status.REJECTED, ErrorCode.TOO_LARGE)
    world.finish(world.request("handed-on", application="shop"))
    world.request("not-yet-handed-on", application="shop")
    judged = judge_world(world)
    assert judged.findings == []
    assert (judged.judge.figures.requests, judged.judge.figures.finals) == (0, 1)


def test_one_for_another_application_that_is_ended_or_redriven_is_on_record() -> None:
    world = World()
    waiting = world.retry(world.request("ended", application="shop"), last_error=ErrorCode.APPLICATION_UNREADY)
    world.release(waiting, end=True)
    world.fail(waiting, Status.FAILED, ErrorCode.ENDED_BY_HAND)
    refused = world.request("redriven", application="shop")
    _, letter = world.fail(refused, Status.REJECTED, ErrorCode.TOO_LARGE)
    assert world.redrive(letter, refused) is not None
    assert judge_world(world).findings == []


def test_a_second_bill_is_what_an_operator_or_the_caller_asked_for() -> None:
    world = World()
    record = world.request("insisted")
    _, letter = world.fail(record, Status.IN_DOUBT, ErrorCode.CALL_UNANSWERED)
    redriven = world.redrive(letter, record)
    assert redriven is not None
    world.succeed(redriven)
    world.succeed(world.request("likes-to-pay", on_doubt="repeat"))
    world.bills.sessions += 2 * [("insisted", 1), ("likes-to-pay", 1)]
    assert judge_world(world).findings == []
    world.bills.sessions.append(("insisted", 2))
    assert {kind for kind, _ in judge_world(world).named} == {"billed_twice"}


@pytest.mark.parametrize(
    ("operation", "kind", "found"),
    [
        ("wallet_screening", ErrorType.OUTPUT_TOO_LARGE, set()),
        ("wallet_screening", ErrorType.INTERNAL, set()),
        ("wallet_screening", ErrorType.EXHAUSTED, {"billed_twice"}),
        ("session.create", ErrorType.OUTPUT_TOO_LARGE, {"billed_twice"}),  # the session is looked up before another one is made
    ],
)
def test_a_round_that_an_operator_insisted_on_may_be_billed_once_more(operation: str, kind: ErrorType, found: set[str]) -> None:
    world = World()
    record = world.request("too-large")
    world.finish(record)
    world.result(record, Status.FAILED, ErrorCode.OUTPUT_TOO_LARGE, kind=kind, operation=operation)
    redriven = world.redrive(world.dead_letter(record), record)
    assert redriven is not None
    world.succeed(redriven)
    world.bills.sessions += 2 * [("too-large", 1)]
    assert {kind for kind, _ in judge_world(world).named} == found
    world.bills.sessions.append(("too-large", 2))
    assert {kind for kind, _ in judge_world(world).named} == {"billed_twice"}


SESSIONS = ("11111111-2222-4333-8444-555555555555", "11111111-2222-4333-8444-666666666666")


@pytest.mark.parametrize(
    ("followed", "attempt", "bills"),
    [
        (SESSIONS[0], 1, 2),  # its session was over when the round began: it made another one
        (SESSIONS[0], 0, 1),  # it went on with its session
        (None, 1, 1),  # it had none to follow: the create was looked up before it was made again
    ],
)
def test_a_redriven_verification_whose_session_was_over_is_paid_for_once_more(followed: str | None, attempt: int, bills: int) -> None:
    world = World()
    first = world.request("left")
    waiting = world.retry(first, attempt=1, session_id=followed)
    redriven = world.redrive(world.fail(waiting)[1], waiting)
    assert redriven is not None
    again = world.retry(redriven, attempt=attempt, session_id=SESSIONS[1 if attempt else 0])
    world.succeed(world.retry(again, polls=1, last_error=None))
    world.bills.sessions += bills * [("left", 1)]
    assert judge_world(world).findings == []
    world.bills.sessions.append(("left", 2))
    assert {kind for kind, _ in judge_world(world).named} == {"billed_twice"}


def test_one_that_was_forgotten_and_asked_for_again_is_billed_again() -> None:
    world = World()
    world.succeed(world.request("again"))
    world.wait(3601)
    world.succeed(world.request("again"))
    world.bills.sessions += 2 * [("again", 1)]
    assert judge_world(world).findings == []
    world.bills.sessions.append(("again", 2))
    assert {kind for kind, _ in judge_world(world).named} == {"billed_twice"}


def test_a_person_who_is_blocked_has_no_dead_letter() -> None:
    world = World()
    record = world.request("blocked")
    world.finish(record)
    world.result(record, Status.FAILED, ErrorCode.VENDOR_DATA_BLOCKED)
    assert judge_world(world).findings == []


def test_a_dead_letter_that_was_cut_is_known_by_where_its_request_stood() -> None:
    world = World()
    record = world.request("large", filler="x" * 20_000)
    world.fail(record, Status.REJECTED)
    assert judge_world(world).findings == []
    del world.topics[NAMES.dead_letters, 0]
    assert {kind for kind, _ in judge_world(world).named} == {"result_without_dead_letter"}


def test_a_commit_that_is_gone_is_not_taken_for_work_that_is_done() -> None:
    world = World()
    world.succeed(world.request("a"))
    world.lost.add((REQUESTS, 0))
    assert {kind for kind, _ in judge_world(world).named} == {"unfinished_after_final"}


def test_all_are_counted_and_the_first_are_kept() -> None:
    world = World()
    for number in range(SHOWN_MAX + 5):
        world.finish(world.request(f"r-{number}"))
    judged = judge_world(world)
    assert judged.counts[BrokenPromise.MISSING_RESULT] == SHOWN_MAX + 5
    assert sum(finding.kind is BrokenPromise.MISSING_RESULT for finding in judged.findings) == SHOWN_MAX


def test_foreign_records_are_counted_and_do_no_harm() -> None:
    world = clean_world()
    for value in (b"", b"[]", b"null", b'{"kind":"final"}', b'{"source":{}}', None, b"\xff"):
        for topic in (NAMES.results, NAMES.dead_letters, NAMES.repairs, NAMES.budget):
            world.append(topic, 0, value, b"key")
    assert {kind for kind, _ in judge_world(world).named} == {"dead_letter_without_result"}
