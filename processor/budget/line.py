"""Those who wait for the same endpoint: in order of class and age, a few asks outstanding, at the pace of the slowest scope."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence

from aiolimiter import AsyncLimiter

from processor.budget.classes import ClassQueue
from processor.budget.permits import Ask, CallClass, NotNowError

_OUTSTANDING_S = 0.5  # so much budget is asked for ahead: it hides the log's latency, and a killed replica leaks no more
_STARTS = 64
_MEASURED_S = 60.0

Turn = asyncio.Future[bool]  # whether as a probe


class Line:
    """A queue in front of an endpoint. A *turn* is the right to make one ask; it is given back when the ask has started or ended."""

    def __init__(self, endpoint: str, scopes: tuple[str, ...], pacers: Sequence[AsyncLimiter], rate_per_s: float, asks_max: int) -> None:
        self.endpoint, self.scopes, self.pacers = endpoint, scopes, pacers
        self.queue: ClassQueue[Turn] = ClassQueue()
        self.changed = asyncio.Event()  # something that a dispatcher may wait for has happened
        self.outstanding = 0
        self.probing = 0  # of those, probes
        self._rate_per_s = rate_per_s
        self._asks_max = asks_max
        self.share_with(1)
        self._starts: deque[float] = deque(maxlen=_STARTS)
        self._expected_until = 0.0  # when the turn of the last one who was sent away is expected

    def share_with(self, replicas: int) -> None:
        """So many replicas, this one included, want this endpoint now: together they ask for half a second of budget ahead.

        At least for two calls each where that much is ahead at all, so that one's log latency is hidden by the other.
        """
        ahead = self._rate_per_s * _OUTSTANDING_S
        self._outstanding_max = max(1, min(self._asks_max, max(math.ceil(ahead / replicas), min(2, math.ceil(ahead)))))

    @property
    def full(self) -> bool:
        """Whether as many asks as are useful are outstanding."""
        return self.outstanding >= self._outstanding_max

    def paced(self) -> bool:
        """Whether every pacer would let one ask pass at once."""
        return all(pacer.has_capacity() for pacer in self.pacers)

    async def pace(self) -> None:
        """Wait for the pacers."""
        for pacer in self.pacers:
            await pacer.acquire()

    async def turn(self, ask: Ask) -> bool:
        """Wait in the queue; whether the turn is a probe's.

        Raises:
            NotNowError, BudgetClosedError: if everybody is turned away.
        """
        turn: Turn = asyncio.get_running_loop().create_future()
        ticket = self.queue.push(ask.call_class, ask.since_ms, turn)
        self.changed.set()
        try:
            return await turn
        except asyncio.CancelledError:
            self.queue.remove(ask.call_class, ticket)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back(probe=turn.result())  # it came in the very turn of the loop in which the wait was cancelled
            raise

    def take(self, *, probe: bool) -> None:
        """Count a turn as outstanding."""
        self.outstanding += 1
        self.probing += probe

    def give_back(self, *, probe: bool) -> None:
        """A turn is over."""
        self.outstanding -= 1
        self.probing -= probe
        self.changed.set()

    def hand_over(self, *, probe: bool) -> bool:
        """Give a turn to the waiter who comes first; False if nobody waits."""
        while (turn := self.queue.pop()) is not None:
            if not turn.done():
                self.take(probe=probe)
                turn.set_result(probe)
                return True
        return False

    def turn_away(self, reason: Exception) -> None:
        """End the wait of everybody."""
        for turn in self.queue.clear():
            if not turn.done():
                turn.set_exception(reason)

    def make_room(self, newcomer: Ask, now: float) -> NotNowError | None:
        """Somebody has to come back later, the newcomer or the last in the queue: an error for the newcomer, or None."""
        away = NotNowError("queue_full", self._expected_wait_s(now))
        last = self.queue.pop_last((CallClass(newcomer.call_class), newcomer.since_ms))
        if last is None:
            return away
        if not last.done():
            last.set_exception(away)
        return None

    def started(self, now: float) -> None:
        """An ask has started."""
        self._starts.append(now)

    def _expected_wait_s(self, now: float) -> float:
        """When one who is sent away now would have its turn, behind all who wait and who were sent away before."""
        rate = self._rate_per_s
        recent = [at for at in self._starts if now - at <= _MEASURED_S]
        if len(recent) > _STARTS // 8 and now > recent[0]:
            rate = min(rate, len(recent) / (now - recent[0]))  # what this replica gets of the whole
        self._expected_until = max(now + len(self.queue) / rate, self._expected_until + 1 / rate)
        return self._expected_until - now
