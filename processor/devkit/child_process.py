"""Child processes by handle: start, stop, kill, freeze, thaw. A child dies with its parent, however the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 4000
_FREEZE_S = 5.0
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Started(Protocol):
    """What ``ChildProcess`` needs of a process; ``subprocess.Popen`` has it."""

    pid: int

    def poll(self) -> int | None:
        """Exit status, None while it runs."""

    def wait(self, timeout: float) -> int:
        """Exit status.

        Raises:
            subprocess.TimeoutExpired: if it has not ended by then.
        """

    def send_signal(self, sig: int) -> None:
        """Send a signal if it is running."""


class StartProcess(Protocol):
    """Starts a process."""

    def __call__(self, argv: Sequence[str], environment: Mapping[str, str], log_path: Path) -> Started:
        """A process with this environment and no other; its output is appended to the log."""


def start_process(argv: Sequence[str], environment: Mapping[str, str], log_path: Path) -> Started:
    """A new interpreter or program: the plain way."""
    with log_path.open("ab") as log:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call, safe between fork and exec
        )


def _stands(pid: int) -> bool:
    """Whether all threads of a process have stopped (proc_pid_stat(5): the state follows the name in brackets); not known elsewhere."""
    if sys.platform != "linux":
        return True
    try:
        return all(path.read_text().rpartition(")")[2].split()[0] in "TtZX" for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    except OSError:
        return False  # a thread has ended meanwhile


class ChildProcess:
    """One child; may be started again after its end. ``start_by``: tests put a cheaper way in its place."""

    start_by: ClassVar[StartProcess] = start_process

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str], log_path: Path) -> None:
        self.name, self.log_path = name, log_path
        self._argv, self._environment = list(argv), dict(environment)
        self._process: Started | None = None

    @property
    def alive(self) -> bool:
        """Started and not ended (a frozen one is alive)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the present or last run; 0 before the first start."""
        return self._process.pid if self._process is not None else 0

    @property
    def exit_status(self) -> int | None:
        """Of the last run; negative for a signal; None while it runs."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Start it; output is appended to the log file.

        Raises:
            RuntimeError: if it is running.
        """
        if self.alive:
            raise RuntimeError(f"{self.name} is running already")
        self._process = ChildProcess.start_by(self._argv, {**os.environ, **self._environment}, self.log_path)

    def signal(self, number: int) -> None:
        """Send a signal if it is running."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.signal(signal.SIGKILL)
        self.wait(10.0)

    def freeze(self) -> None:
        """SIGSTOP: sockets stay open. Returns when nothing moves: until one of its threads takes the signal, the others go on.

        Raises:
            TimeoutError: if it still moves after five seconds.
        """
        self.signal(signal.SIGSTOP)
        until = time.monotonic() + _FREEZE_S
        while self.alive and not _stands(self.pid):
            if time.monotonic() > until:
                raise TimeoutError(f"{self.name} does not stop moving")
            time.sleep(0.002)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.signal(signal.SIGTERM)

    def wait(self, within_s: float) -> int:
        """Exit status.

        Raises:
            subprocess.TimeoutExpired: if it has not ended by then.
        """
        return self._process.wait(within_s) if self._process is not None else 0

    def stop(self, within_s: float) -> None:
        """SIGTERM, then SIGKILL after ``within_s``."""
        if not self.alive:
            return
        self.thaw()
        self.terminate()
        try:
            self.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self) -> str:
        """The end of its output."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
