"""The gate that an account fault (key, credits, contract) shuts for every scope."""

from __future__ import annotations

import asyncio


class AccountGate:
    """Open; or shut, letting one probe through at a time, at the earliest each ``probe_after_s``."""

    def __init__(self) -> None:
        self._probe_at: float | None = None  # None: open
        self._probe_after_s = 0.0
        self._probing = False
        self._changed = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether calls pass freely."""
        return self._probe_at is None

    def suspend(self, now: float, probe_after_s: float) -> None:
        """Shut it. ``now`` is the loop's time."""
        self._probe_after_s = probe_after_s
        self._probe_at = max(self._probe_at or 0.0, now + probe_after_s)
        self._changed.set()

    def resume(self) -> None:
        """Open it."""
        self._probe_at, self._probing = None, False
        self._changed.set()

    def passable(self, now: float) -> bool:
        """Whether a call may pass at this moment, freely or as the probe."""
        return self._probe_at is None or (not self._probing and now >= self._probe_at)

    def enter(self, now: float) -> bool:
        """Pass, after ``passable`` has said yes in the same turn of the loop; whether as the probe."""
        if self._probe_at is None:
            return False
        self._probing = True
        self._probe_at = now + self._probe_after_s
        return True

    def probe_over(self) -> None:
        """The probe came back. Without ``resume`` or ``suspend`` it showed nothing, and the next one leaves in its time."""
        self._probing = False
        self._changed.set()

    def probe_unused(self, now: float) -> None:
        """The probe never left; the next one may leave at once."""
        if self._probe_at is not None:
            self._probe_at = now
        self.probe_over()

    async def wait(self) -> None:
        """Wait until a call may pass."""
        loop = asyncio.get_running_loop()
        while not self.passable(now := loop.time()):
            self._changed.clear()
            until = None if self._probing or self._probe_at is None else max(0.0, self._probe_at - now)
            try:
                async with asyncio.timeout(until):
                    await self._changed.wait()
            except TimeoutError:
                continue
