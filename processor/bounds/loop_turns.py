"""What may be computed in one turn of the event loop, so that heartbeats, answers and probes are never kept waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_TURN_S = 0.02  # of records that are judged


class LoopTurns:
    """Shares turns of the event loop among tasks that begin with something to compute: judging a record takes up to some tens of ms.

    Promises: what begins after ``turn()`` has ``turn_s`` of each turn of the loop at most, and then the one that is under way; all else
    that the loop has to do comes in between. Tasks go on in the order in which they came. Those that wait sleep: in each turn twice as
    many are woken as the last one had time for, since to wake them all each time would cost more than the work.

    Args:
        monotonic: seconds.
        turn_s: how much of a turn may be used.
    """

    def __init__(self, monotonic: Callable[[], float], turn_s: float = _TURN_S) -> None:
        self._monotonic, self._turn_s = monotonic, turn_s
        self._began: float | None = None  # of this turn of the loop; None until somebody computes in it
        self._begun = 0  # tasks in this turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._too_late: deque[asyncio.Future[None]] = deque()  # were woken in this turn, and it had no time left for them
        self._woken = 0  # have not gone on yet

    async def turn(self) -> None:
        """Wait until this turn of the loop has time left. Ends after as many turns as there are tasks before this one, at most."""
        if self._woken or self._waiting or self._spent():
            await self._wait()
        self._begun += 1
        if self._began is None:
            self._began = self._monotonic()
            asyncio.get_running_loop().call_soon(self._end)  # runs in the next turn

    def _spent(self) -> bool:
        return self._began is not None and self._monotonic() - self._began >= self._turn_s

    async def _wait(self) -> None:
        queue = self._waiting
        while True:
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.append(woken)
            try:
                await woken
            except asyncio.CancelledError:
                if not woken.cancelled():  # it was woken in the very turn in which it was cancelled
                    self._woken -= 1
                    if not self._woken and self._began is None:
                        self._end()  # nobody else would wake the next one
                raise
            self._woken -= 1
            if not self._spent():
                return
            queue = self._too_late

    def _end(self) -> None:
        self._began, more = None, max(1, 2 * self._begun)
        self._begun = 0
        self._waiting.extendleft(reversed(self._too_late))
        self._too_late.clear()
        while more and self._waiting:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)
                self._woken += 1
                more -= 1
