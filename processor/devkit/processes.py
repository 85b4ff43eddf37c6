"""Processors and a simulator as child processes on this machine, by handle. For the demo, tests and benchmarks."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from processor.devkit.child_process import ChildProcess
from processor.settings import Settings, load_settings

API_KEY = "sim-key"
_START_S = 120.0  # seconds at most where nothing else runs
_POLL_S = 0.02
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback goes through no proxy


class FleetError(Exception):
    """Something on this machine did not do what it was told in time."""


class SimulatorProcess:
    """The Didit simulator in a process of its own, and its control routes."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._port_file = folder / "simulator.port"
        argv = [sys.executable, "-m", "processor.simulator", "--port", "0", "--port-file", str(self._port_file), *options]
        self.child = ChildProcess("simulator", argv, {}, folder / "simulator.log")
        self.url = ""

    def __enter__(self) -> Self:
        self.child.start()
        wait_until(
            lambda: self._port_file.is_file() and self._port_file.read_text().strip() != "", "the simulator to listen", child=self.child
        )
        self.url = f"http://127.0.0.1:{int(self._port_file.read_text())}"
        return self

    def __exit__(self, *_: object) -> None:
        self.child.stop(5.0)

    def get(self, path: str) -> Any:
        """A control route, e.g. ``/_sim/ledger``."""
        with _direct.open(self.url + path, timeout=30) as response:
            return json.load(response)

    def post(self, path: str, body: object) -> Any:
        """Change the simulator, e.g. ``/_sim/faults``."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310 - loopback, our own url
        with _direct.open(request, timeout=30) as response:
            return json.load(response)

    def ledger(self) -> dict[str, Any]:
        """Every counted call, created session, and the most calls of any window per scope."""
        found: dict[str, Any] = self.get("/_sim/ledger")
        return found


class _LogFile:
    """JSON lines of a file that grows; each is parsed once, though tests ask many times a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: list[dict[str, Any]] = []
        self._read_bytes = 0
        self._lock = threading.Lock()

    def records(self) -> list[dict[str, Any]]:
        with self._lock:
            if self._path.exists():
                self._read_on()
            return list(self._records)

    def _read_on(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            whole, end, _ = file.read().rpartition(b"\n")  # the last line may still be being written
        self._read_bytes += len(whole) + len(end)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):  # output of the interpreter
                found = json.loads(line)
                if isinstance(found, dict):
                    self._records.append(found)


class ProcessorProcess:
    """One replica, or another command that runs until it is stopped. Its log is JSON lines; tests wait for the events in it."""

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path, command: str = "run") -> None:
        self.name, self.log_path = name, folder / f"{name}.log"
        env = {"VP_KAFKA__INSTANCE_ID": name, **environment}
        self._log = _LogFile(self.log_path)
        self.child = ChildProcess(name, [sys.executable, "-m", "processor", command], env, self.log_path)

    def start(self) -> None:
        """Start it, or start it again after its end; the log goes on in the same file."""
        self.child.start()

    def events(self, event: str | None = None) -> Iterator[dict[str, Any]]:
        """Log records so far, all or those of one kind."""
        return iter([record for record in self._log.records() if event is None or record.get("event") == event])

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask the monitoring port; its status and body.

        Raises:
            FleetError: if it does not listen yet.
        """
        listening = [event["port"] for event in self.events("observe_listening")]
        if not listening:
            raise FleetError(f"{self.name} does not listen yet")
        connection = http.client.HTTPConnection("127.0.0.1", listening[-1], timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def wait_event(self, event: str, *, count: int = 1, within_s: float = _START_S) -> None:
        """Wait until ``count`` log records of this kind are there.

        Raises:
            FleetError: after ``within_s``, or if the process ended without them.
        """
        wait_until(
            lambda: sum(1 for _ in self.events(event)) >= count, f"{self.name} to log {event!r}", child=self.child, within_s=within_s
        )


def wait_until(condition: Callable[[], bool], what: str, *, child: ChildProcess | None = None, within_s: float = _START_S) -> None:
    """Wait for a named condition.

    Raises:
        FleetError: if it did not come within ``within_s`` seconds, or the child ended; with the tail of its log.
    """
    end = time.monotonic() + within_s
    while not condition():
        ended = child is not None and not child.alive
        if time.monotonic() > end or (ended and not condition()):
            tail = child.log_tail() if child is not None else ""
            raise FleetError(f"waited in vain for {what}{' (the process ended)' if ended else ''}\n{tail}")
        time.sleep(_POLL_S)


def processor_environment(bootstrap: str, simulator_url: str, prefix: str, **settings: str) -> dict[str, str]:
    """Environment of a replica; ``settings`` are named as variables without ``VP_``, e.g. ``LANES__DRAIN_S="2"``."""
    return {
        "VP_KAFKA__BOOTSTRAP": bootstrap,
        "VP_KAFKA__TOPIC_PREFIX": prefix,
        "VP_KAFKA__GROUP": f"{prefix}-group",
        "VP_DIDIT__BASE_URL": simulator_url,
        "VP_DIDIT__API_KEY": API_KEY,
        "VP_OBSERVE__PORT": "0",  # replicas on one machine
        **{f"VP_{name}": value for name, value in settings.items()},
    }


def settings_of(environment: dict[str, str]) -> Settings:
    """The same settings as the children get, without touching this process's environment."""
    groups: dict[str, dict[str, Any]] = {"applications": json.loads(environment.get("VP_APPLICATIONS", "{}"))}
    for name, value in environment.items():
        if "__" not in name:
            continue
        group, field = name.removeprefix("VP_").lower().split("__")
        groups.setdefault(group, {})[field] = json.loads(value) if value[:1] in "[{" else value
    return load_settings(**groups)
