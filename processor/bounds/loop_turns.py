"""What may be computed in one turn of the event loop, so that heartbeats, answers and probes are never kept waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_TURN_S = 0.02  # of records that are judged


class LoopTurns:
    """Shares turns of the event loop among tasks that begin with something to compute: judging a record takes up to some tens of ms.

    Promises: what begins after ``turn()`` has ``turn_s`` of each turn of the loop at most, and then the one that is under way; all else
    that the loop has to do comes in between. Tasks go on in the order in which they came.

    Args:
        monotonic: seconds.
        turn_s: how much of a turn may be used.
    """

    def __init__(self, monotonic: Callable[[], float], turn_s: float = _TURN_S) -> None:
        self._monotonic, self._turn_s = monotonic, turn_s
        self._began: float | None = None  # of this turn of the loop; None until somebody computes in it

    async def turn(self) -> None:
        """Wait until this turn of the loop has time left. Ends after as many turns as there are tasks before this one, at most."""
        while self._began is not None and self._monotonic() - self._began >= self._turn_s:  # noqa: ASYNC110 - the next turn is what it waits for
            await asyncio.sleep(0)
        if self._began is None:
            self._began = self._monotonic()
            asyncio.get_running_loop().call_soon(self._end)  # runs in the next turn, before those that wait for it

    def _end(self) -> None:
        self._began = None
