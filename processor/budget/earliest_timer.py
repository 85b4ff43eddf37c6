"""One timer for many wishes to look again: the earliest counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class EarliestTimer:
    """Calls a function once, when the earliest of the times that it was set to has come; then it may be set again.

    To be used in a running loop.

    Args:
        call: what to do.
        delay_s_max: it comes no later than this, s: the loop's clock stands still while the machine sleeps.
    """

    def __init__(self, call: Callable[[], None], delay_s_max: float) -> None:
        self._call, self._delay_s_max = call, delay_s_max
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0  # when it is due; uvloop's handle of a timer that is due at once does not say

    def set(self, delay_s: float) -> None:
        """Call when so much time has passed, or before."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, min(delay_s, self._delay_s_max))
        if self._handle is not None:
            if self._at <= at:
                return
            self._handle.cancel()
        self._at = at
        self._handle = loop.call_at(at, self._due)

    def stop(self) -> None:
        """Do not call."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _due(self) -> None:
        self._handle = None
        self._call()
