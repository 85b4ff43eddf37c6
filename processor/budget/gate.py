"""The gate that an account fault (key, credits, contract) shuts for every scope."""

from __future__ import annotations

import asyncio


class AccountGate:
    """Open; or shut, letting one probe through at a time once its moment has come."""

    def __init__(self) -> None:
        self._probe_at: float | None = None  # None: open
        self._probing = False
        self._changed = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether calls pass freely."""
        return self._probe_at is None

    def suspend(self, probe_at: float) -> None:
        """Shut it; the next probe may leave at ``probe_at`` (the loop's time)."""
        self._probe_at = probe_at
        self._changed.set()

    def resume(self) -> None:
        """Open it."""
        if self._probe_at is not None:
            self._probe_at = None
            self._probing = False
            self._changed.set()

    def probe_over(self, now: float) -> None:
        """The probe came back, or never left; without ``resume`` or ``suspend`` the next one may leave."""
        if self._probe_at is not None:
            self._probe_at = max(self._probe_at, now)
        self._probing = False
        self._changed.set()

    async def enter(self) -> bool:
        """Wait until a call may pass; whether it is a probe."""
        loop = asyncio.get_running_loop()
        while self._probe_at is not None:
            left_s = self._probe_at - loop.time()
            if left_s <= 0 and not self._probing:
                self._probing = True
                return True
            self._changed.clear()
            try:
                async with asyncio.timeout(max(left_s, 0.0) if not self._probing else None):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return False
