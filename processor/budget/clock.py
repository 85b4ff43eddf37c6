"""The clock of the budget."""

from __future__ import annotations

import time


def boot_clock() -> float:
    """Seconds, monotonic and counting suspend: a promise must not stand still while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
