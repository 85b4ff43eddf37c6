"""The log of a child as tests read it: while it grows, in parts of lines, and with what is no record in between."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from processor.devkit.child_process import ChildProcess
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


_BUSY = "import threading, time\nfor _ in range(4): threading.Thread(target=lambda: [sum(range(1000)) for _ in iter(int, 1)]).start()"


def test_nothing_moves_once_a_process_is_frozen(tmp_path: Path) -> None:
    """The signal is taken by one of its threads, when that is scheduled: until then the others go on."""
    child = ChildProcess("busy", [sys.executable, "-c", _BUSY], {}, tmp_path / "log")
    child.start()
    stat = Path(f"/proc/{child.pid}/stat")

    def spent() -> int:
        return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))  # proc_pid_stat(5): utime, stime

    try:
        for _ in range(20):
            child.freeze()
            before = spent()
            time.sleep(0.02)
            assert spent() == before
            child.thaw()
            time.sleep(0.02)
        assert spent() > 0
    finally:
        child.kill()
