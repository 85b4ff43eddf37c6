"""Repairs without Kafka: what a dead letter says, which ones are redriven and when, under which hop, and what is shown."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import Any

import orjson
import pytest
from dead_letters import dead_letter
from rich.console import Console

from processor.cli.render_dead_letters import dead_letters_table, plain
from processor.contract import schemas
from processor.contract.codes import ErrorCode, ErrorType, http_code
from processor.contract.records import ErrorInfo, Record, Source
from processor.contract.redaction import masked_request
from processor.contract.repairs import Repair, RepairKind, Target, read_repair, repair_value
from processor.repair.dead_letter import call_over_ms, dead_letter_of, redriven_hop
from processor.repair.model import DeadLetter, DeadLetterStatus, LeftOut, Selection
from processor.repair.parsing import read_moment, read_position
from processor.repair.plan import Pacer, make_plan, select

NOW = 1_764_000_000_000
SESSION = "11111111-2222-4333-8444-555555555555"
LIMITS = {"generic-write": (60, 60.0), "session-create": (600, 60.0), "session-decision": (100, 60.0), "generic-get": (600, 60.0)}
CREATE = {"workflow_id": "9f9b1234-0000-4000-8000-1234567890ab"}
MAIL = {"email": "a@example.org"}
DOUBT = ErrorInfo(ErrorType.IN_DOUBT, http_code(500), "look in the console", 500)


def letter(number: int = 0, *, offset: int | None = None, **more: Any) -> DeadLetter:
    output = dead_letter("v", number, failed_ms=more.pop("failed_ms", NOW - 1000 + number), **more)
    at = number if offset is None else offset
    return dead_letter_of(Record(Source("v.dead-letters", 2, at), output.key, output.value, output.headers, NOW))


def mail(number: int = 0, **more: Any) -> DeadLetter:
    return letter(number, operation="email.send", given=MAIL, **more)


def create(number: int = 0, **more: Any) -> DeadLetter:
    return letter(number, operation="session.create", given=CREATE, **more)


def test_a_dead_letter_says_what_its_headers_and_its_value_say() -> None:
    found = letter(7, replay=2, attempt=3)
    assert (found.position, found.request_id, found.operation) == ("2:7", "dead-00007", "aml")
    assert (found.reason_type, found.reason_code, found.http_status) == ("exhausted", "http_503", 503)
    assert (found.hop.first, found.hop.replay, found.hop.attempt) == (Source("v.requests", 0, 1_000_007), 2, 3)
    assert (found.came_from, found.failed_ms, found.cut) == (Source("v.requests", 0, 1_000_007), NOW - 1000 + 7, False)


def test_one_without_a_readable_header_is_listed_with_what_there_is() -> None:
    bad = (("vp-reason-code", b"\xff" * 9), ("vp-failed-ms", b"-1"), ("vp-first-topic", b"t"), ("vp-replay", b"x"), ("vp-hop", None))
    found = dead_letter_of(Record(Source("v.dead-letters", 0, 5), None, b"\xff", bad, 99))
    assert (found.reason_type, found.reason_code, found.failed_ms, found.request_id) == ("unknown", "unknown", 99, None)
    assert found.hop.first == found.came_from == Source("v.dead-letters", 0, 5)
    assert redriven_hop(found, 5).replay == 1
    assert dead_letter_of(Record(Source("v.dead-letters", 0, 5), None, b"", (("vp-failed-ms", b"9" * 18),), 99)).failed_ms == 99


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


def test_what_must_not_be_redriven_is_left_out_and_counted() -> None:
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


def test_one_whose_reason_cannot_be_read_may_have_been_billed() -> None:
    found = mail(0)
    stripped = dead_letter_of(Record(Source("v.dead-letters", 2, 0), b"k", orjson.dumps(body_of("email.send", MAIL)), (), NOW))
    assert (stripped.reason_type, stripped.operation) == ("unknown", found.operation)
    assert make_plan([stripped], Selection(), LIMITS, now_ms=NOW).left_out == {"in_doubt": 1}
    created = dead_letter_of(Record(Source("v.dead-letters", 2, 0), b"k", orjson.dumps(body_of("session.create", CREATE)), (), NOW))
    assert len(make_plan([created], Selection(), LIMITS, now_ms=NOW).chosen) == 1
    assert redriven_hop(created, NOW).doubt_ms is not None, "it is looked up first"


def body_of(operation: str, given: dict[str, str]) -> dict[str, object]:
    return {"request_id": "r", "operation": operation, "input": given}


def test_a_doubt_that_the_redrive_itself_can_settle_needs_nobody_to_insist() -> None:
    dead_letters = [create(0, error=DOUBT), letter(1, error=DOUBT), letter(2, operation="session.list", given={}, error=DOUBT)]
    assert len(make_plan(dead_letters, Selection(), LIMITS, now_ms=NOW).chosen) == 3


def test_a_late_verification_that_has_its_session_is_still_looked_at() -> None:
    followed = replace(letter(0, operation="verification", given=CREATE, session_id=SESSION), deadline_ms=NOW - 5)
    assert make_plan([followed], Selection(), LIMITS, now_ms=NOW).left_out == {}


def test_a_new_round_keeps_what_led_here_and_counts_attempts_anew() -> None:
    found = letter(0, operation="verification", given=CREATE, session_id=SESSION, polls=4, replay=1, first_failure_ms=9)
    hop = redriven_hop(found, NOW + 5)
    assert (hop.replay, hop.attempt, hop.due_ms, hop.hop, hop.last_error) == (2, 0, NOW + 5, found.hop.hop + 1, "redriven")
    assert (hop.first, hop.first_ms, hop.session_id, hop.polls, hop.first_failure_ms) == (
        found.hop.first,
        found.hop.first_ms,
        SESSION,
        4,
        9,
    )


def test_a_doubt_is_kept_where_it_can_be_looked_up_and_dropped_where_the_operator_decided() -> None:
    assert redriven_hop(mail(doubt_ms=5), NOW).doubt_ms is None
    assert redriven_hop(create(doubt_ms=5), NOW).doubt_ms == 5
    unnoted = create(error=DOUBT)
    assert redriven_hop(unnoted, NOW).doubt_ms == unnoted.hop.first_ms, "a dead letter of an older version does not say when"
    assert redriven_hop(create(), NOW).doubt_ms is None


def test_a_creation_that_may_still_come_about_is_not_looked_up_too_early() -> None:
    assert call_over_ms(create(error=DOUBT, failed_ms=NOW - 10), NOW, 180_000) == NOW - 10 + 180_000
    assert call_over_ms(create(error=DOUBT, failed_ms=2**52), NOW, 180_000) == NOW + 180_000
    assert call_over_ms(create(), NOW, 180_000) == call_over_ms(mail(error=DOUBT), NOW, 180_000) == 0


def test_starts_follow_the_tightest_scope_at_the_share_and_go_behind_earlier_ones() -> None:
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


def test_times_and_positions_as_people_type_them() -> None:
    assert read_moment("2h", NOW) == NOW - 7_200_000
    assert read_moment("3d", NOW) == NOW - 3 * 86_400_000
    assert read_moment("1970-01-01T01:00:00+01:00", NOW) == 0
    assert read_position("3:1042") == (3, 1042)
    for text in ("yesterday", "", "2 h", "2026-01-01"):
        with pytest.raises(ValueError, match="write"):
            read_moment(text, NOW)
    for text in ("3", "a:b", "-1:2", ":"):
        with pytest.raises(ValueError, match="PARTITION:OFFSET"):
            read_position(text)


def test_a_repair_fits_its_schema_and_comes_back() -> None:
    target = Target("v.dead-letters", 1, 2, 3)
    repair = Repair(RepairKind.REDRIVEN, SESSION, NOW, "ann@host", target, "Null", "aml", "http_503", 1, NOW + 5, "Didit is back")
    value = repair_value(repair)
    assert schemas.faults("repair.v1", orjson.loads(value)) == []
    assert read_repair(value) == repair
    released = Repair(RepairKind.RELEASED, SESSION, NOW, "x" * 300, Target("v.retry.10s", 0, 9), note="\udcff" + "n" * 600)
    found = read_repair(repair_value(released))
    assert found is not None
    assert (found.kind, len(found.by), len(found.note or "")) == (RepairKind.RELEASED, 200, 500)
    for foreign in (b"", b"{}", b"[1]", None, b'{"kind": "redriven"}'):
        assert read_repair(foreign) is None


def test_what_is_shown_of_a_document_has_its_shape_and_no_values() -> None:
    document = {
        "request_id": "No",
        "operation": "session.create",
        "priority": "bulk",
        "deadline": "2027-01-31T12:00:00Z",
        "surprise": "secret",
        "input": {
            "workflow_id": "secret",
            "expected_details": {"first_name": "secret", "secret": ["secret", {"secret": 5}]},
            "metadata": {"secret": None, "secret2": "secret"},
        },
    }
    shown = masked_request(orjson.dumps(document))
    assert shown == {
        "request_id": "No",
        "operation": "session.create",
        "priority": "bulk",
        "deadline": "2027-01-31T12:00:00Z",
        "***": "***",
        "input": {
            "workflow_id": "***",
            "expected_details": {"first_name": "***", "***": ["***", {"***": "***"}]},
            "metadata": {"***": "***", "*** 2": "***"},
        },
    }
    odd = masked_request(b'{"request_id": ["secret"], "priority": "secret", "deadline": 5, "operation": {"secret": 1}, "input": "secret"}')
    assert odd == {"request_id": "***", "priority": "***", "deadline": "***", "operation": "***", "input": "***"}
    for unreadable in (None, b"", b"[1]", b"{"):
        assert masked_request(unreadable) is None


def test_a_document_with_ever_so_many_names_is_masked_or_refused_in_no_time() -> None:
    for count, shown in ((500, True), (20_000, False)):  # names with three below each: within a request's TOKENS_MAX, and far beyond
        many = {f"name {n}": {f"name {m}": 1 for m in range(3)} for n in range(count)}
        for document in (many, {"operation": "aml", "input": many}, {"input": {"list": [many]}}):
            began = time.process_time()
            assert (masked_request(orjson.dumps(document)) is not None) is shown
            assert time.process_time() - began < 5.0, "in a quadratic time it takes minutes"


def test_names_that_look_like_nothing_or_like_orders_are_shown_as_they_are() -> None:
    names = ["Null", "No", "~", "null", "[red]x[/red]", ":warning:", "  two  "]
    console = Console(width=240, file=io.StringIO(), markup=False, emoji=False)
    console.print(dead_letters_table([replace(letter(n), request_id=name) for n, name in enumerate(names)], of=99, complete=False))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(name in text for name in names)
    assert "7 of 99 shown" in text
    assert plain("a\x1b[2J\x9bé").plain == "a\\u001b[2J\\u009bé"
