"""The log of a child as tests read it: while it grows, in parts of lines, and with what is no record in between."""

from __future__ import annotations

from pathlib import Path

from processor.devkit.processes import ProcessorProcess


def test_events_are_found_while_the_log_grows(tmp_path: Path) -> None:
    replica = ProcessorProcess("a", {}, tmp_path)
    assert list(replica.events()) == []
    with replica.log_path.open("ab", buffering=0) as log:
        log.write(b'{"event": "started", "n": 1}\nTraceback: no record\n[1]\n{"event": "st')
        assert [event["n"] for event in replica.events("started")] == [1]
        log.write(b'arted", "n": 2}\n{"event": "stopped"}\n')
        assert [event["n"] for event in replica.events("started")] == [1, 2]
        assert [event["event"] for event in replica.events()] == ["started", "started", "stopped"]
