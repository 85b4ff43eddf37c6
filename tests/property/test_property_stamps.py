"""Stamps of other people's clocks, of topics with ``CreateTime``: whatever they say, nobody waits for ever, starves or is skipped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from effort import full
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from processor.contract.decode import Accepted, decode
from processor.contract.headers import hop_headers
from processor.contract.records import STAMP_MS_MIN, Hop, Record, Source
from processor.engine.outputs import Job, OutputBuilder
from processor.engine.places import place_of
from processor.engine.session_polling import SessionPolling
from processor.settings import load_settings
from processor.stream.topics import topic_names
from processor.stream.wakeup_feed import WakeupFeed
from processor.stream.wakeups import KEPT_MS, Wakeups

NOW = 1_764_000_000_000
HOUR_MS = 3_600_000
SESSION = "11111111-2222-4333-8444-555555555555"
SETTINGS = load_settings()
LONGEST_MS = int(1000 * SETTINGS.follow.longest_s)
OUTPUTS = OutputBuilder(SETTINGS.lanes, SETTINGS.retry)
# none, in seconds, hours ahead and behind, and anything
stamps = (
    st.sampled_from([-1, 0, NOW // 1000, NOW, NOW + 1, NOW - 1])
    | st.integers(NOW - 9 * HOUR_MS, NOW + 9 * HOUR_MS)
    | st.integers(-1, 2**53)
)


def asked(stamp_ms: int) -> Record:
    body = {"request_id": "r", "operation": "verification", "input": {"workflow_id": "9f9b1234-0000-4000-8000-1234567890ab"}}
    return Record(Source("v.requests", 0, 7), b"k", orjson.dumps(body), (), stamp_ms)


def job_of(record: Record) -> Job:
    decoded = decode(record)
    assert isinstance(decoded, Accepted)
    return Job(record, decoded.request, decoded.hop)


def plausible(stamp_ms: int) -> bool:
    return STAMP_MS_MIN <= stamp_ms <= NOW


@given(stamps, st.none() | st.integers(NOW - HOUR_MS, NOW), st.integers(0, 9 * HOUR_MS))
@settings(max_examples=full(300))
def test_a_request_stands_in_its_line_as_of_a_moment_that_has_been_and_never_moves_back(
    stamp_ms: int, failed_ms: int | None, later_ms: int
) -> None:
    hop = replace(job_of(asked(stamp_ms)).hop, hop=1, due_ms=NOW, first_failure_ms=failed_ms)
    record = Record(Source("v.retry.1m", 0, 1), b"k", asked(0).value, hop_headers(hop), NOW)
    place, again = place_of(record, NOW), place_of(record, NOW + later_ms)
    assert place is not None
    assert again is not None
    assert STAMP_MS_MIN <= place.since_ms <= NOW
    assert place.since_ms <= again.since_ms <= NOW + later_ms
    if plausible(stamp_ms):
        assert place.since_ms == again.since_ms == stamp_ms
    if failed_ms is not None:
        assert again.since_ms <= max(failed_ms, stamp_ms), "what has waited keeps its place"


@given(stamps, st.integers(0, 9 * HOUR_MS))
@settings(max_examples=full(300))
def test_a_verification_is_given_its_whole_time_and_no_more(stamp_ms: int, created_after_ms: int) -> None:
    """Of a request without a stamp it ended at the first look: a session that was paid for, and its link with a person."""
    created_ms = NOW + created_after_ms
    nobody: Any = None  # is called
    polling = SessionPolling(SETTINGS.follow, nobody, OUTPUTS, lambda: NOW, lambda: 0.5)
    _, followed = OUTPUTS.begun(job_of(asked(stamp_ms)), {"session_id": SESSION}, 60.0, created_ms)
    waiting = job_of(Record(Source("v.retry.1m", 0, 1), followed.key, followed.value, followed.headers, created_ms))
    began_ms = stamp_ms if STAMP_MS_MIN <= stamp_ms <= created_ms else created_ms
    for moment_ms, over in ((began_ms + LONGEST_MS - 1, False), (began_ms + LONGEST_MS, True)):
        assert (polling._out_of_time(waiting, None, moment_ms) is not None) == over  # noqa: SLF001 - that alone, without a look


@given(stamps, stamps, st.booleans())
@settings(max_examples=full(300))
def test_an_event_wakes_who_waits_for_it_once_whatever_its_stamp_says(stamp_ms: int, came_ms: int, polled: bool) -> None:
    """One of hours ahead woke its session at each of its steps, as fast as the budget let it; one of hours behind woke nobody."""
    assume(not NOW - KEPT_MS <= stamp_ms < NOW - 60_000)  # it is as old as it says, and perhaps no news
    wakeups = Wakeups(lambda _: True)
    feed = WakeupFeed(SETTINGS, wakeups, lambda: NOW)
    value = orjson.dumps({"session_id": SESSION, "status": "Approved"})
    feed.apply_record(Record(Source(topic_names(SETTINGS).events, 0, 0), b"k", value, (), stamp_ms))
    hop = Hop(
        Source("v.requests", 0, 7), min(max(came_ms, 0), NOW - 60_000), hop=1, due_ms=NOW + HOUR_MS, session_id=SESSION, polls=int(polled)
    )
    waiting = Record(Source("v.retry.1h", 0, 1), b"k", b"{}", hop_headers(hop), NOW - 1)
    assert wakeups.take(waiting) is not None
    following = replace(
        waiting, source=Source("v.retry.1h", 0, 2), headers=hop_headers(replace(hop, polls=hop.polls + 1)), timestamp_ms=NOW + 1
    )
    assert wakeups.of(following) is None
