"""A timer whose due time may change while it is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

_WAIT_S_MAX = 3600.0


class ResettableTimer:
    """For one waiting task."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._woken = asyncio.Event()
        self._due: float | None = None

    async def wait_until(self, due: float | None) -> None:
        """Wait until ``due`` (seconds of the given clock; None: no due time), until ``wake``, or for an hour."""
        self._due = due
        wait_s = _WAIT_S_MAX if due is None else min(_WAIT_S_MAX, due - self._now())
        if wait_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
        else:
            await asyncio.sleep(0)
        self._woken.clear()

    def wake(self, due: float | None = None) -> None:
        """End the wait; with ``due`` only if the task waits for something later."""
        if due is None or self._due is None or due < self._due:
            self._woken.set()
