"""What a dead letter says, and under which hop it is redriven."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from dead_letters import CREATE, DOUBT, NOW, create, dead_letter, letter, mail

from processor.contract.records import Record, Source
from processor.repair.dead_letter import call_over_ms, dead_letter_of, redriven_hop

SESSION = "11111111-2222-4333-8444-555555555555"


def test_a_dead_letter_says_what_its_headers_and_its_value_say() -> None:
    found = letter(7, replay=2, attempt=3)
    assert (found.position, found.request_id, found.operation) == ("2:7", "dead-00007", "aml")
    assert (found.reason_type, found.reason_code, found.http_status) == ("exhausted", "http_503", 503)
    assert (found.hop.first, found.hop.replay, found.attempts) == (Source("v.requests", 0, 1_000_007), 2, 4), "the last attempt too"
    assert (found.came_from, found.failed_ms, found.cut) == (Source("v.requests", 0, 1_000_007), NOW - 1000 + 7, False)


def test_a_dead_letter_without_readable_headers_is_read_as_far_as_possible() -> None:
    bad = (("vp-reason-code", b"\xff" * 9), ("vp-failed-ms", b"-1"), ("vp-first-topic", b"t"), ("vp-replay", b"x"), ("vp-hop", None))
    found = dead_letter_of(Record(Source("v.dead-letters", 0, 5), None, b"\xff", bad, 99))
    assert (found.reason_type, found.reason_code, found.failed_ms, found.request_id) == ("unknown", "unknown", 99, None)
    assert found.hop.first == found.came_from == Source("v.dead-letters", 0, 5)
    assert redriven_hop(found, 5).replay == 1
    assert dead_letter_of(Record(Source("v.dead-letters", 0, 5), None, b"", (("vp-failed-ms", b"9" * 18),), 99)).failed_ms == 99


@pytest.mark.parametrize(
    ("reason", "attempts"),
    [
        ({"type": "exhausted", "code": "http_503"}, 6),
        ({"type": "request_refused", "code": "not_permitted", "status": "403"}, 6),
        ({"type": "in_doubt", "code": "http_500", "status": "500"}, 6),
        ({"type": "exhausted", "code": "ended_by_hand"}, 5),
        ({"type": "in_doubt", "code": "call_unanswered"}, 5),
        ({"type": "invalid_request", "code": "wrong_form"}, 5),
    ],
)
def test_of_a_dead_letter_of_before_the_reason_tells_whether_an_attempt_ended_it(reason: dict[str, str], attempts: int) -> None:
    made = dead_letter("v", 1, attempt=5)
    told = {"vp-reason-type": reason["type"], "vp-reason-code": reason["code"], "vp-http-status": reason.get("status")}
    kept = tuple((name, raw) for name, raw in made.headers if name != "vp-attempts" and name not in told)
    headers = (*kept, *((name, text.encode()) for name, text in told.items() if text is not None))
    assert dead_letter_of(Record(Source("v.dead-letters", 0, 5), made.key, made.value, headers, 99)).attempts == attempts


def test_a_redriven_hop_keeps_its_history_and_counts_attempts_from_zero() -> None:
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


def test_a_redriven_hop_keeps_a_doubt_only_where_a_lookup_can_settle_it() -> None:
    assert redriven_hop(mail(doubt_ms=5), NOW).doubt_ms is None
    assert redriven_hop(create(doubt_ms=5), NOW).doubt_ms == 5
    unnoted = create(error=DOUBT, failed_ms=int(time.time() * 1000))
    assert redriven_hop(unnoted, NOW).doubt_ms == unnoted.hop.first_ms, "a dead letter of an older version does not say when"
    assert redriven_hop(create(), NOW).doubt_ms is None
    ahead = create(error=DOUBT)
    ahead = replace(ahead, hop=replace(ahead.hop, first_ms=ahead.failed_ms + 3_600_000))
    assert redriven_hop(ahead, NOW).doubt_ms == ahead.failed_ms - 86_400_000, "its caller's clock was wrong: that says nothing"


def test_a_redriven_creation_is_not_looked_up_while_its_call_may_still_run() -> None:
    assert call_over_ms(create(error=DOUBT, failed_ms=NOW - 10), NOW, 180_000) == NOW - 10 + 180_000
    assert call_over_ms(create(error=DOUBT, failed_ms=2**52), NOW, 180_000) == NOW + 180_000
    assert call_over_ms(create(), NOW, 180_000) == call_over_ms(mail(error=DOUBT), NOW, 180_000) == 0
