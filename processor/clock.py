"""The wall clock, for whoever has to stamp or compare times of records. Decisions get it as an argument."""

from __future__ import annotations

import time


def clock_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000
