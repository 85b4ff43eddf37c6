"""Which dead letters are redriven, and when."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from dead_letters import CREATE, DOUBT, MAIL, NOW, create, letter, mail

from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.records import ErrorInfo, Record, Source
from processor.repair.dead_letter import dead_letter_of, redriven_hop
from processor.repair.model import DeadLetterStatus, LeftOut, Selection
from processor.repair.plan import Pacer, make_plan, select

SESSION = "11111111-2222-4333-8444-555555555555"
LIMITS = {"generic-write": (60, 60.0), "session-create": (600, 60.0), "session-decision": (100, 60.0), "generic-get": (600, 60.0)}


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        (Selection(), [0, 1, 2]),
        (Selection(reasons=frozenset({"in_doubt"})), [1]),
        (Selection(reasons=frozenset({"http_503"})), [0, 2]),
        (Selection(operations=frozenset({"aml"})), [0]),
        (Selection(request_ids=frozenset({"dead-00002"})), [2]),
        (Selection(positions=frozenset({(2, 1), (9, 9)})), [1]),
        (Selection(since_ms=NOW - 999), [1, 2]),
        (Selection(until_ms=NOW - 999), [0]),
        (Selection(key=b"key-2"), [2]),
        (Selection(count_max=2), [0, 1]),
    ],
)
def test_a_selection_narrows_by_everything_that_it_names(selection: Selection, numbers: list[int]) -> None:
    dead_letters = [mail(2), letter(0), mail(1, error=DOUBT)]
    assert [x.offset for x in select(dead_letters, selection)] == numbers


def test_a_plan_leaves_out_and_counts_what_must_not_be_redriven() -> None:
    late = replace(mail(5), deadline_ms=NOW)
    dead_letters = [
        mail(0),
        mail(1, error=DOUBT),
        mail(2, replay=3),
        replace(mail(3), cut=True),
        mail(4, error=ErrorInfo(ErrorType.CONFLICT, ErrorCode.REQUEST_ID_REUSED, "no")),
        late,
        replace(mail(6), status=DeadLetterStatus.REDRIVEN),
        mail(7, doubt_ms=5),
        mail(8, error=ErrorInfo(ErrorType.OUTPUT_TOO_LARGE, ErrorCode.OUTPUT_TOO_LARGE, "it was answered")),
    ]
    plan = make_plan(dead_letters, Selection(), LIMITS, now_ms=NOW)
    assert [x.offset for x in plan.chosen] == [0]
    assert plan.left_out == {"in_doubt": 3, "replayed": 1, "cut": 1, "conflict": 1, "late": 1}
    assert all(isinstance(why, LeftOut) for why in plan.left_out)
    insisted = make_plan(dead_letters, Selection(in_doubt=True, replays_max=9), LIMITS, now_ms=NOW)
    assert [x.offset for x in insisted.chosen] == [0, 1, 2, 7, 8]
    assert [x.offset for x in make_plan(dead_letters, Selection(in_doubt=True, count_max=2), LIMITS, now_ms=NOW).chosen] == [0, 1]


def test_a_dead_letter_whose_reason_cannot_be_read_counts_as_in_doubt() -> None:
    found = mail(0)
    stripped = dead_letter_of(Record(Source("v.dead-letters", 2, 0), b"k", orjson.dumps(body_of("email.send", MAIL)), (), NOW))
    assert (stripped.reason_type, stripped.operation) == ("unknown", found.operation)
    assert make_plan([stripped], Selection(), LIMITS, now_ms=NOW).left_out == {"in_doubt": 1}
    created = dead_letter_of(Record(Source("v.dead-letters", 2, 0), b"k", orjson.dumps(body_of("session.create", CREATE)), (), NOW))
    assert len(make_plan([created], Selection(), LIMITS, now_ms=NOW).chosen) == 1
    assert redriven_hop(created, NOW).doubt_ms is not None, "it is looked up first"


def body_of(operation: str, given: dict[str, str]) -> dict[str, object]:
    return {"request_id": "r", "operation": operation, "input": given}


def test_a_plan_takes_doubts_that_the_redrive_settles_by_a_lookup() -> None:
    dead_letters = [create(0, error=DOUBT), letter(1, error=DOUBT), letter(2, operation="session.list", given={}, error=DOUBT)]
    assert len(make_plan(dead_letters, Selection(), LIMITS, now_ms=NOW).chosen) == 3


def test_a_plan_takes_a_late_verification_that_has_its_session() -> None:
    followed = replace(letter(0, operation="verification", given=CREATE, session_id=SESSION), deadline_ms=NOW - 5)
    assert make_plan([followed], Selection(), LIMITS, now_ms=NOW).left_out == {}


def test_pacer_follows_the_tightest_scope_at_the_share_behind_earlier_starts() -> None:
    pacer = Pacer(LIMITS, 0.5)
    assert [pacer.slot(mail(n), NOW) for n in range(3)] == [NOW, NOW + 2000, NOW + 4000]
    assert pacer.slot(create(), NOW) == NOW + 6000, "it counts in generic-write too"
    unreadable = replace(mail(), operation=None)
    assert pacer.slot(unreadable, NOW) == NOW, "it makes no call"
    followed = letter(0, operation="verification", given=CREATE, session_id=SESSION)
    assert [pacer.slot(followed, NOW) for _ in range(2)] == [NOW, NOW + 1200]
    assert Pacer(LIMITS, 1.0, {"email.send": NOW + 60_000}).slot(mail(), NOW) == NOW + 61_000
    assert Pacer({"generic-write": (1, 60.0)}, 0.1).slot(mail(), NOW) == NOW, "at least one each window"
    plan = make_plan([mail(n) for n in range(31)], Selection(), LIMITS, now_ms=NOW)
    assert plan.last_start_s == 60
    near = make_plan([mail(n) for n in range(31)], Selection(), LIMITS, now_ms=NOW, horizon_s=10)
    assert (len(near.chosen), near.left_out) == (6, {"later": 25}), "the delay topics do not keep records for ever"
    for share in (0.0, 1.1, -1.0):
        with pytest.raises(ValueError, match="share"):
            Pacer(LIMITS, share)
