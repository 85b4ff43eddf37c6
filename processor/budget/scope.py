"""One scope of one replica: its pacer, its calls in flight, its pause."""

from __future__ import annotations

import asyncio

from aiolimiter import AsyncLimiter

from processor.budget.rates import PacerParameters


class StartedFullLimiter(AsyncLimiter):
    """A leaky bucket that begins full: a restart cannot burst on top of what the former process has just called."""

    def __init__(self, burst: int, rate_per_s: float) -> None:
        super().__init__(burst, burst / rate_per_s)
        self._level = float(burst)  # pinned by a test: aiolimiter begins empty and has no argument for it
        self._last_check = asyncio.get_running_loop().time()

    def take_now(self) -> None:
        """Take one unit after ``has_capacity`` has said yes in the same turn of the loop."""
        self._level += 1


class Scope:
    """Admits calls of one scope."""

    def __init__(self, name: str, parameters: PacerParameters) -> None:
        self.name, self.parameters = name, parameters
        self.in_flight = 0  # admitted and not known to be over
        self.queued = 0  # dispatchers that wait here
        self._limiter = StartedFullLimiter(parameters.burst, parameters.rate_per_s)
        self._paused_until = 0.0
        self._freed = asyncio.Event()

    def paused_for_s(self, now: float) -> float:
        """Seconds until the pause ends; 0 if there is none. ``now`` is the loop's time."""
        return max(0.0, self._paused_until - now)

    def pause(self, until: float) -> None:
        """No admission before this moment of the loop's time."""
        self._paused_until = max(self._paused_until, until)

    def can_enter(self, now: float) -> bool:
        """Whether one call may be admitted this very moment, ahead of nobody."""
        return (
            not self.queued
            and self.in_flight < self.parameters.in_flight_max
            and now >= self._paused_until
            and self._limiter.has_capacity()
        )

    def enter_now(self) -> None:
        """Admit one call after ``can_enter`` in the same turn of the loop."""
        self._limiter.take_now()
        self.in_flight += 1

    async def enter(self) -> None:
        """Wait until one call is admitted."""
        self.queued += 1
        try:
            while self.in_flight >= self.parameters.in_flight_max:
                self._freed.clear()
                await self._freed.wait()
            self.in_flight += 1
            try:
                await self.wait_pause()
                await self._limiter.acquire()
            except BaseException:
                self.leave()
                raise
        finally:
            self.queued -= 1

    async def wait_pause(self) -> None:
        """Wait until no pause is left."""
        loop = asyncio.get_running_loop()
        while (left_s := self.paused_for_s(loop.time())) > 0:  # noqa: ASYNC110 - the end may move while it sleeps
            await asyncio.sleep(left_s)

    def leave(self) -> None:
        """A call is over."""
        self.in_flight -= 1
        self._freed.set()
