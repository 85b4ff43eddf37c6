"""Starts `python -m processor ...` by forking a process that has imported it already: a second of CPU less for each start.

A child is a process of its own, with its own pid, session and environment; it can be killed and frozen, and dies with the tests. Only the
start of the interpreter and the imports are shared. What must start as a user starts it (the demo, the image) does not come here.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import processor
from processor.devkit.child_process import Started, start_process

_PR_SET_PDEATHSIG = 1


@dataclass(eq=False)
class Forked:
    """A child; waits and ends like ``subprocess.Popen``."""

    args: list[str]
    pid: int = 0
    returncode: int | None = None
    started: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: if it has not ended by then.
        """
        if not self.ended.wait(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The client's side. Made at the first start; may be used by several threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._children: dict[int, Forked] = {}
        self._lock = threading.Lock()

    def start(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], out: Path, err: Path | None = None) -> Forked:
        """Run a module with this environment and no other; output is appended to files, stdin is empty."""
        child = Forked([module, *arguments])
        files = [str(out), str(err or out)]
        request = json.dumps({"module": module, "arguments": list(arguments), "environment": dict(environment), "files": files})
        with self._lock:
            pipe = self._pipe()
            number = len(self._children)
            self._children[number] = child
            pipe.write(f"{number} {request}\n".encode())
            pipe.flush()
        if not child.started.wait(60.0):
            raise RuntimeError("the fork server does not answer")
        return child

    def _pipe(self) -> IO[bytes]:
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, start_new_session=True)
            threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        assert self._process.stdin is not None
        return self._process.stdin

    def _listen(self, answers: IO[bytes]) -> None:
        for line in answers:
            number, pid, status = (None if word == b"-" else int(word) for word in line.split())
            assert number is not None
            child = self._children[number]
            if pid is not None:
                child.pid = pid
                child.started.set()
            if status is not None:
                child.returncode = status
                child.ended.set()


SERVER = ForkServer()


def start_forked(argv: Sequence[str], environment: Mapping[str, str], log_path: Path) -> Started:
    """What ``ChildProcess`` starts: a module of ours by a fork, anything else as it is."""
    match argv:
        case [sys.executable, "-m", ("processor" | "processor.simulator") as module, *arguments]:
            return SERVER.start(module, arguments, environment, log_path)
        case _:
            return start_process(argv, environment, log_path)


def _serve() -> dict[str, Any]:
    """Fork a child for each line of stdin and tell of its pid and its end; returns in each child, with what it is to do."""
    requests, answers = os.dup(0), os.dup(1)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    numbers: dict[int, int] = {}
    rest = b""
    while True:
        ready, _, _ = select.select([requests, reading], [], [])
        if reading in ready:
            os.read(reading, 4096)
            for pid, status in iter(_reap, None):
                os.write(answers, f"{numbers.pop(pid)} - {os.waitstatus_to_exitcode(status)}\n".encode())
        if requests not in ready:
            continue
        chunk = os.read(requests, 1 << 20)
        if not chunk:
            sys.exit(0)  # the tests have ended; the children die with this process
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number, _, request = line.partition(b" ")
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell has put the tests into the background
                for descriptor in (requests, answers, reading, writing):
                    os.close(descriptor)
                found: dict[str, Any] = json.loads(request)
                return found
            numbers[pid] = int(number)
            os.write(answers, f"{int(number)} {pid} -\n".encode())


def _reap() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _become(request: dict[str, Any]) -> None:
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # with the server, which ends with the tests: its stdin is closed then
    os.environ.clear()
    os.environ.update(request["environment"])
    for target, name in ((0, os.devnull), (1, request["files"][0]), (2, request["files"][1])):
        descriptor = os.open(name, os.O_RDONLY if target == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, target)
        os.close(descriptor)
    sys.argv = [request["module"], *request["arguments"]]


def _import_everything() -> None:
    for found in pkgutil.walk_packages(processor.__path__, "processor."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    gc.collect()
    gc.freeze()  # the collector leaves alone, and unshared, what all children have in common


if __name__ == "__main__":
    _import_everything()
    job = _serve()
    _become(job)
    runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
