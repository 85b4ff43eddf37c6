"""What a dead letter says, and under which hop it is redriven."""

from __future__ import annotations

from dead_letters import CREATE, DOUBT, NOW, create, letter, mail

from processor.contract.records import Record, Source
from processor.repair.dead_letter import call_over_ms, dead_letter_of, redriven_hop

SESSION = "11111111-2222-4333-8444-555555555555"


def test_a_dead_letter_says_what_its_headers_and_its_value_say() -> None:
    found = letter(7, replay=2, attempt=3)
    assert (found.position, found.request_id, found.operation) == ("2:7", "dead-00007", "aml")
    assert (found.reason_type, found.reason_code, found.http_status) == ("exhausted", "http_503", 503)
    assert (found.hop.first, found.hop.replay, found.hop.attempt) == (Source("v.requests", 0, 1_000_007), 2, 3)
    assert (found.came_from, found.failed_ms, found.cut) == (Source("v.requests", 0, 1_000_007), NOW - 1000 + 7, False)


def test_a_dead_letter_without_readable_headers_is_read_as_far_as_possible() -> None:
    bad = (("vp-reason-code", b"\xff" * 9), ("vp-failed-ms", b"-1"), ("vp-first-topic", b"t"), ("vp-replay", b"x"), ("vp-hop", None))
    found = dead_letter_of(Record(Source("v.dead-letters", 0, 5), None, b"\xff", bad, 99))
    assert (found.reason_type, found.reason_code, found.failed_ms, found.request_id) == ("unknown", "unknown", 99, None)
    assert found.hop.first == found.came_from == Source("v.dead-letters", 0, 5)
    assert redriven_hop(found, 5).replay == 1
    assert dead_letter_of(Record(Source("v.dead-letters", 0, 5), None, b"", (("vp-failed-ms", b"9" * 18),), 99)).failed_ms == 99


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
    unnoted = create(error=DOUBT)
    assert redriven_hop(unnoted, NOW).doubt_ms == unnoted.hop.first_ms, "a dead letter of an older version does not say when"
    assert redriven_hop(create(), NOW).doubt_ms is None


def test_a_redriven_creation_is_not_looked_up_while_its_call_may_still_run() -> None:
    assert call_over_ms(create(error=DOUBT, failed_ms=NOW - 10), NOW, 180_000) == NOW - 10 + 180_000
    assert call_over_ms(create(error=DOUBT, failed_ms=2**52), NOW, 180_000) == NOW + 180_000
    assert call_over_ms(create(), NOW, 180_000) == call_over_ms(mail(error=DOUBT), NOW, 180_000) == 0
