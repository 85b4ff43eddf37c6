"""The two clocks of a process. Decisions get times as arguments; only edges and drivers read a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the latter where there is no such clock


def clock_ms() -> int:
    """The wall clock, to stamp records and compare with their times. Epoch milliseconds."""
    return time.time_ns() // 1_000_000


boot_clock: Callable[[], float] = partial(time.clock_gettime, _BOOT)
"""The budget's clock. Seconds, monotonic and counting suspend: a permit's time must not stand still while the machine sleeps.

It is read some twenty times for each call: there is no function of ours around it.
"""
