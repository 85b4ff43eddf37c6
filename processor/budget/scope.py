"""One scope of one replica: its pacer, its calls in flight, its pause."""

from __future__ import annotations

import asyncio

from aiolimiter import AsyncLimiter

from processor.budget.permits import Fate
from processor.budget.rates import PacerParameters
from processor.budget.units import Units


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

    def __init__(self, name: str, parameters: PacerParameters, unknown_hold_s: float) -> None:
        self.name, self.parameters = name, parameters
        self.in_flight = 0  # admitted and not known to be over, or resting
        self._unknown_hold_s = unknown_hold_s
        self._queued = 0  # dispatchers that wait here; nobody overtakes them
        self._units = Units(parameters.in_flight_max)
        self._pacer = StartedFullLimiter(parameters.burst, parameters.rate_per_s)
        self._pacer_turn = asyncio.Lock()  # AsyncLimiter lets a newcomer pass a waiter that it has just woken
        self._paused_until = 0.0
        self._holds: set[asyncio.TimerHandle] = set()  # at most in_flight_max
        if parameters.rest_s:
            # what the former process has called, and when, is not known
            for _ in range(parameters.in_flight_max):
                self._take_unit()
                self.leave(Fate.UNKNOWN)

    def paused_for_s(self, now: float) -> float:
        """Seconds until the pause ends; 0 if there is none. ``now`` is the loop's time."""
        return max(0.0, self._paused_until - now)

    def pause(self, until: float) -> None:
        """No admission before this moment of the loop's time."""
        self._paused_until = max(self._paused_until, until)

    async def wait_pause(self) -> None:
        """Wait until no pause is left."""
        loop = asyncio.get_running_loop()
        while (left_s := self.paused_for_s(loop.time())) > 0:  # noqa: ASYNC110 - the end may move while it sleeps
            await asyncio.sleep(left_s)

    def can_enter(self, now: float) -> bool:
        """Whether one call may be admitted this very moment, ahead of nobody."""
        return not self._queued and self._units.free and now >= self._paused_until and self._pacer.has_capacity()

    def enter_now(self) -> None:
        """Admit one call after ``can_enter`` in the same turn of the loop."""
        self._pacer.take_now()
        self._take_unit()

    async def enter(self) -> None:
        """Wait until one call is admitted by the cap and the pacer; pauses are the caller's to look at."""
        self._queued += 1
        try:
            await self._units.take()
            self.in_flight += 1
            try:
                async with self._pacer_turn:
                    await self._pacer.acquire()
            except asyncio.CancelledError:
                self._over()
                raise
        finally:
            self._queued -= 1

    def leave(self, fate: Fate) -> None:
        """A call came to an end. Its unit is free at once, or when the server can count the call no more."""
        hold_s = 0.0
        if fate is not Fate.NOT_SENT:
            hold_s = self.parameters.rest_s + (self._unknown_hold_s if fate is Fate.UNKNOWN else 0.0)
        if not hold_s:
            self._over()
            return
        handle: asyncio.TimerHandle

        def over() -> None:
            self._holds.discard(handle)
            self._over()

        handle = asyncio.get_running_loop().call_later(hold_s, over)
        self._holds.add(handle)

    def close(self) -> None:
        """Forget all holds."""
        for hold in self._holds:
            hold.cancel()
        self._holds.clear()

    def _take_unit(self) -> None:
        self._units.take_now()
        self.in_flight += 1

    def _over(self) -> None:
        self.in_flight -= 1
        self._units.give()
