"""What a replica tells of itself."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from processor import __version__
from processor.budget.replica_facts import read_facts, write_facts
from processor.observe.last_error import LastError
from processor.runtime.own_facts import OwnFacts, resident_bytes


@pytest.mark.parametrize(("statm", "pages"), [("5000 123 40 1 0 60 0\n", 123), ("", 0), ("5000", 0), ("a b", 0), (None, 0)])
def test_resident_memory_is_as_linux_says(statm: str | None, pages: int) -> None:
    def read(path: PurePosixPath) -> str | None:
        assert str(path) == "/proc/self/statm"
        return statm

    assert resident_bytes(read) % 4096 == 0
    assert (resident_bytes(read) > 0) is (pages > 0)


def test_its_facts_can_be_sent_and_read() -> None:
    times = iter([100.0, 161.9])
    facts = OwnFacts(lambda: 7, clock=lambda: next(times))()
    assert (facts.version, facts.uptime_s, facts.pauses_to) == (__version__, 61, 7)
    assert facts.memory_bytes > 1_000_000
    assert read_facts(write_facts(facts)) == facts


@pytest.mark.parametrize(
    ("method", "event", "noted"),
    [("error", "life_ended", "life_ended"), ("critical", "clock_wrong", "clock_wrong"), ("warning", "rejected", ""),
     ("error", "Unable to connect to kafka-1: Zoë Müller", ""), ("error", {"a": 1}, ""), ("error", "x" * 65, "")],
)  # fmt: skip
def test_the_last_error_is_the_name_of_an_event_of_ours_and_never_a_text(method: str, event: object, noted: str) -> None:
    last, line = LastError(), {"event": event, "detail": "kept"}
    assert last(None, method, line) == {"event": event, "detail": "kept"}
    assert last.event == noted
    assert (last.at_ms > 0) is bool(noted)
