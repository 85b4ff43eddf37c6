"""What this replica tells people of itself with each sign of life in the budget log."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import PurePosixPath

from processor import __version__
from processor.budget.replica_facts import ReplicaFacts
from processor.observe.last_error import LAST_ERROR
from processor.runtime.memory_limit import Read, read_file

_STATM = PurePosixPath("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(read: Read = read_file) -> int:
    """Memory of this process that is in use, as Linux says; 0 where it does not."""
    numbers = (read(_STATM) or "").split()
    return int(numbers[1]) * _PAGE_BYTES if len(numbers) > 1 and numbers[1].isdecimal() else 0


class OwnFacts:
    """Gathers them; some microseconds each time, and a sign of life is due every ten seconds.

    Args:
        pauses_to: below which offset of the controls topic everything is obeyed.
        clock: seconds, steady.
    """

    def __init__(self, pauses_to: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._pauses_to, self._clock, self._began = pauses_to, clock, clock()

    def __call__(self) -> ReplicaFacts:
        """As of now."""
        uptime_s = int(self._clock() - self._began)
        return ReplicaFacts(__version__, uptime_s, resident_bytes(), self._pauses_to(), LAST_ERROR.event, LAST_ERROR.at_ms)
