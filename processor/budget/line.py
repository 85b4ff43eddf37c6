"""Those who wait for the same set of scopes."""

from __future__ import annotations

import asyncio

from processor.budget.classes import ClassQueue
from processor.budget.permits import Permit
from processor.budget.scope import Scope

Waiter = asyncio.Future[Permit]


class Line:
    """A queue by class in front of a set of scopes. Whoever gets hold of a permit hands it to the best waiter of that moment."""

    def __init__(self, names: tuple[str, ...], scopes: dict[str, Scope]) -> None:
        self.names = names
        # the slowest first, so that a permit of the quick ones is not held while the slow one is waited for;
        # one order for all lines, so that no two can wait for each other
        self.scopes = tuple(sorted((scopes[name] for name in set(names)), key=lambda s: (s.parameters.rate_per_s, s.name)))
        self.queue: ClassQueue[Waiter] = ClassQueue()
        self.task: asyncio.Task[None] | None = None
        self.arrived = asyncio.Event()

    async def wait_for_waiters(self) -> None:
        """Until somebody waits."""
        while not self.queue:
            self.arrived.clear()
            await self.arrived.wait()

    def paused_for_s(self, now: float) -> float:
        """Seconds until none of the scopes is paused."""
        return max((scope.paused_for_s(now) for scope in self.scopes), default=0.0)

    def can_enter(self, now: float) -> bool:
        """Whether one call may be admitted in every scope this very moment, ahead of nobody."""
        return not self.queue and self.admits(now)

    def admits(self, now: float) -> bool:
        """Whether every scope admits one call this very moment."""
        return all(scope.can_enter(now) for scope in self.scopes)

    def hand_over(self, permit: Permit) -> bool:
        """Give a permit to the waiter whose turn it is; False if nobody waits."""
        while (waiter := self.queue.pop()) is not None:
            if not waiter.done():
                waiter.set_result(permit)
                return True
        return False

    def turn_away(self, reason: Exception) -> None:
        """End the wait of everybody."""
        for waiter in self.queue.clear():
            if not waiter.done():
                waiter.set_exception(reason)
