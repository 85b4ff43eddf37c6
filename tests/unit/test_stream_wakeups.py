"""Wake-ups: who is told of an event, and for how long it is remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processor.contract.headers import hop_headers
from processor.contract.records import Hint, Hop, Record, Source
from processor.settings import load_settings
from processor.stream import wakeups as module
from processor.stream.cancels import encode_cancel
from processor.stream.releases import Release, encode_release
from processor.stream.topics import topic_names
from processor.stream.wakeup_feed import WakeupFeed
from processor.stream.wakeups import KEPT_MS, Wakeups

NOW = 1_764_000_000_000
SESSION = "11111111-2222-4333-8444-555555555555"
OTHER = "22222222-2222-4333-8444-555555555555"


def delayed(session_id: str | None, written_ms: int, polls: int = 0) -> Record:
    source = Source("t", 0, 0)
    return Record(source, b"k", b"v", hop_headers(Hop(source, NOW, due_ms=NOW + 10**9, session_id=session_id, polls=polls)), written_ms)


def approved(session_id: str = SESSION, at_ms: int = NOW) -> Hint:
    return Hint(session_id, at_ms, {"status": "Approved"})


def test_wakeups_tell_listeners_only_of_events_worth_waking_for() -> None:
    told: list[Hint] = []
    wakeups = Wakeups(lambda hint: hint.event["status"] == "Approved")
    wakeups.listeners.add(told.append)
    wakeups.note_event(Hint(SESSION, NOW, {"status": "In Progress"}))
    wakeups.note_event(approved())
    assert told == [approved()]
    assert len(wakeups) == 1


def test_wakeups_wake_a_record_that_was_written_before_the_event() -> None:
    wakeups = Wakeups(lambda _: True)
    wakeups.note_event(approved())
    assert wakeups.wake(delayed(SESSION, NOW), NOW)
    assert wakeups.of(delayed(SESSION, NOW - 5)) == approved()
    assert not wakeups.wake(delayed(OTHER, NOW), NOW)
    assert not wakeups.wake(delayed(None, NOW), NOW)


def test_a_verdict_that_comes_before_the_answer_of_the_create_wakes_its_first_record() -> None:
    wakeups = Wakeups(lambda _: True)
    wakeups.note_event(approved(at_ms=NOW + 1))
    assert wakeups.wake(delayed(SESSION, NOW + 300_000), NOW), "the create was looked up for minutes"
    assert wakeups.of(delayed(SESSION, NOW + 300_000)) == approved(at_ms=NOW + 1), "it knows of no other answer"
    wakeups.note_event(approved(OTHER, at_ms=NOW - 1))
    assert not wakeups.wake(delayed(OTHER, NOW + 300_000), NOW), "it is older than the request"


def test_a_verdict_between_a_poll_and_its_record_wakes_once_and_is_only_a_reason_to_poll() -> None:
    wakeups = Wakeups(lambda _: True)
    wakeups.note_event(approved())
    assert not wakeups.wake(delayed(SESSION, NOW + 60_001, polls=1), NOW)
    later = delayed(SESSION, NOW + 5, polls=1)
    assert wakeups.wake(later, NOW)
    assert wakeups.take(later) == Hint(SESSION, NOW, {})
    assert not wakeups.wake(delayed(SESSION, NOW + 9, polls=2), NOW), "its poll was answered, or failed: no second one for it"
    assert not wakeups.wake(delayed(SESSION, NOW + 9), NOW)
    wakeups.note_event(approved(at_ms=NOW + 6))
    assert wakeups.wake(delayed(SESSION, NOW + 9, polls=2), NOW)
    assert wakeups.wake(delayed(SESSION, NOW + 6, polls=2), NOW)


def test_a_record_whose_headers_are_refused_is_woken_by_no_event() -> None:
    wakeups = Wakeups(lambda _: True)
    wakeups.note_event(approved(at_ms=NOW + 1))
    found = delayed(SESSION, NOW + 2)
    assert wakeups.of(replace(found, headers=(*found.headers, ("vp-more", b"1")))) is None


def test_wakeups_keep_the_last_event_of_a_session() -> None:
    wakeups = Wakeups(lambda _: True)
    for at_ms in (NOW, NOW + 7):
        wakeups.note_event(approved(at_ms=at_ms))
    assert wakeups.of(delayed(SESSION, NOW + 5)) == approved(at_ms=NOW + 7)
    assert len(wakeups) == 1


def test_wakeups_are_forgotten_after_a_time_and_beyond_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    wakeups = Wakeups(lambda _: True)
    wakeups.note_event(approved())
    wakeups.note_event(approved(OTHER, NOW + KEPT_MS))
    assert len(wakeups) == 2
    wakeups.note_event(approved(OTHER, NOW + KEPT_MS + 1))
    assert wakeups.of(delayed(SESSION, NOW)) is None
    monkeypatch.setattr(module, "_KEPT_MAX", 3)
    for n in range(5):
        wakeups.note_event(approved(str(n), NOW + KEPT_MS + 2))
    assert len(wakeups) == 3


def test_what_people_ask_for_is_as_old_as_the_lanes_clock_says() -> None:
    """They ask by the brokers' time: this machine's clock may be wrong by hours, and the same act was too old, or never."""
    settings, wakeups, hour_ms = load_settings(), Wakeups(lambda _: True), 3_600_000
    names, run_id = topic_names(settings), "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    feed = WakeupFeed(settings, wakeups, lambda: NOW)
    release = Release(names.requests, 0, (7,), run_id)
    for offset, value in enumerate(
        (encode_cancel(["r-1"], run_id=run_id, at_ms=NOW, by="me"), encode_release(release, at_ms=NOW + hour_ms, by="me"))
    ):
        feed.apply_record(Record(Source(names.repairs, 0, offset), None, value, (), NOW - hour_ms))
    waiting = Record(Source(names.requests, 0, 7), b"k", b"v", (), NOW)

    def known(now_ms: int) -> tuple[bool, bool]:
        return wakeups.cancels.holds("r-1", waiting, now_ms), wakeups.releases.names(waiting.source, now_ms)

    assert known(NOW) == (True, True)
    assert known(NOW + KEPT_MS + 1) == (False, False)
