"""Wait until a time that may change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

_LOOK_AGAIN_S = 3600.0


class Alarm:
    """One waiter; whoever moves the time forward rings."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._rung = asyncio.Event()
        self._due: float | None = None

    async def until(self, due: float | None) -> None:
        """Wait for ``due`` (of the given clock, seconds; None: for ever) or for a ring."""
        self._due = due
        wait_s = _LOOK_AGAIN_S if due is None else min(_LOOK_AGAIN_S, due - self._now())
        if wait_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._rung.wait()
        else:
            await asyncio.sleep(0)
        self._rung.clear()

    def ring(self, due: float | None = None) -> None:
        """End the wait, unless ``due`` is later than what is waited for anyway."""
        if due is None or self._due is None or due < self._due:
            self._rung.set()
