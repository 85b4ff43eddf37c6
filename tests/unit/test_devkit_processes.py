"""The log of a child as tests read it: while it grows, in parts of lines, and with what is no record in between."""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from processor.devkit.child_process import ChildProcess
from processor.devkit.processes import ProcessorProcess, SimulatorProcess


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


class _Control(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"calls": []}')

    do_POST = do_GET  # noqa: N815 - as above

    def log_message(self, *_: object) -> None:
        pass


def test_the_simulator_is_asked_past_a_proxy_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo ended at its first look into the ledger where ``http_proxy`` was set."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), _Control) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        simulator = SimulatorProcess(tmp_path)
        simulator.url = f"http://127.0.0.1:{server.server_port}"
        assert simulator.ledger() == simulator.post("/_sim/faults", {}) == {"calls": []}
        server.shutdown()
