"""A simulator for tests: a process of its own, its control routes, and assertions over its ledger. The standard library only.

A process, so that clocks and sockets which a test replaces are the client's alone. It ends with the process that has started it.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_START_S = 60.0
_STOP_S = 10.0
_CONTROL_S = 30.0
_LOG_CHARS = 2000


class SimulatorControlError(Exception):
    """The simulator did not start, or refused a control call; the text says why."""


class DiditSimulator:
    """A running simulator, as a test sees it."""

    api_key = "sim-key"
    sandbox_key = "sim-sandbox-key"
    webhook_secret = "whsec_simulator"  # noqa: S105 - the simulator's default, and public

    def __init__(self, url: str) -> None:
        self.url = url

    def control(self, path: str, body: object = None) -> Any:
        """A control route, e.g. ``control("script", {"route": "aml", "answers": [{"fault": "lost_reply"}]})``; without a body a GET.

        Raises:
            SimulatorControlError: if the simulator refuses it.
        """
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/_sim/{path}", data)  # noqa: S310 - loopback, our own url
        try:
            with _direct.open(request, timeout=_CONTROL_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as exc:
            raise SimulatorControlError(f"/_sim/{path}: {exc.code}: {exc.read().decode(errors='replace')}") from None

    def reset(self, **changes: object) -> None:
        """Begin again: no sessions, an empty ledger, the same draws.

        ``changes`` hold until the next reset: ``seed``, ``limits``, ``faults``, ``behaviour``, ``switches``, ``webhooks``, as the options.
        """
        self.control("reset", changes)

    def ledger(self) -> dict[str, Any]:
        """Everything that was called and billed (docs/simulator.md)."""
        found: dict[str, Any] = self.control("ledger")
        return found

    def calls(self, route: str | None = None) -> list[dict[str, Any]]:
        """The calls so far in order of arrival, of one route (``session.create``) or all."""
        return [call for call in self.ledger()["calls"] if route in {None, call["route"]}]

    def assert_each_call_once(self) -> None:
        """No call that changed something was made twice: no retry did again what had been done."""
        self._assert_none("done_twice", "the same call took effect more than once")

    def assert_nothing_billed_twice(self) -> None:
        """No two same calls cost credits."""
        self._assert_none("billed_twice", "the same call was billed more than once")

    def assert_within_limits(self) -> None:
        """No window of any rate limit held more calls than are allowed; calls that were rejected count."""
        self._assert_none("over_limits", "more calls than the rate limit allows")

    def _assert_none(self, kind: str, what: str) -> None:
        if found := self.control("judgement")[kind]:
            raise AssertionError("\n".join([f"{what}:", *found]))


@contextmanager
def started(options: Sequence[str] = ()) -> Iterator[DiditSimulator]:
    """Start a simulator with these command line options on a free port of loopback; it is stopped at the end.

    Raises:
        SimulatorControlError: if it does not start.
    """
    argv = [sys.executable, "-P", "-m", "processor.simulator", *options, "--port", "0", "--until-stdin-closes"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)  # noqa: S603 - this interpreter
        with process:
            try:
                yield DiditSimulator(_url_of(process, log))
            finally:
                process.terminate()
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()


def _url_of(process: subprocess.Popen[bytes], log: Any) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_S)
    line = process.stdout.readline() if ready else b""
    if not line:
        log.seek(0)
        told = log.read().decode(errors="replace")[-_LOG_CHARS:]
        raise SimulatorControlError(f"the simulator did not start{'' if ready else f' within {_START_S:g} s'}: {told.strip()}")
    url: str = json.loads(line)["url"]
    return url


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback goes through no proxy
