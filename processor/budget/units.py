"""Counted capacity that is handed out in the order of asking: calls in flight of a scope, call slots of the process."""

from __future__ import annotations

import asyncio
from collections import deque


class Units:
    """Like a semaphore, with a way to take one unit without waiting. A returned unit goes to the first who waits."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._turns: deque[asyncio.Future[None]] = deque()  # bounded by the number of dispatchers

    @property
    def free(self) -> bool:
        """Whether a unit can be taken at this moment, ahead of nobody."""
        return self._free > 0

    def take_now(self) -> None:
        """Take a unit after ``free`` has said yes in the same turn of the loop."""
        self._free -= 1

    async def take(self) -> None:
        """Wait for a unit."""
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give()  # it came in the very turn in which the wait was cancelled
            raise

    def give(self) -> None:
        """Return a unit."""
        while self._turns:  # those that were cancelled are passed over
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
