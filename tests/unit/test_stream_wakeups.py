"""Wake-ups: who is told of an event, and for how long it is remembered."""

from __future__ import annotations

import pytest

from processor.contract.headers import hop_headers
from processor.contract.records import Hint, Hop, Record, Source
from processor.stream import wakeups as module
from processor.stream.wakeups import KEPT_MS, Wakeups

NOW = 1_764_000_000_000
SESSION = "11111111-2222-4333-8444-555555555555"
OTHER = "22222222-2222-4333-8444-555555555555"


def delayed(session_id: str | None, written_ms: int) -> Record:
    source = Source("t", 0, 0)
    return Record(source, b"k", b"v", hop_headers(Hop(source, NOW, due_ms=NOW + 10**9, session_id=session_id)), written_ms)


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
    assert not wakeups.wake(delayed(SESSION, NOW + 1), NOW), "it was polled after the event"
    assert not wakeups.wake(delayed(OTHER, NOW), NOW)
    assert not wakeups.wake(delayed(None, NOW), NOW)


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
