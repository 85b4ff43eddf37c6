"""Requests of this process that wait in a delay topic because their line was full, and which of them starts when it has room. Pure.

Nobody guesses when that will be: a line that gets short calls them in, the classes by turns, the oldest of a class first. So it is never
empty while a request waits for it in this process, and who is called in stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from enum import Enum
from typing import Any

from processor.budget.fair_queue import FairQueue
from processor.budget.permits import CallClass, Place

_REFILLED_PART = 0.5  # a line is refilled to this part of its places; the rest is for those who come by themselves, all they need is room


class Room(Enum):
    """Whom a line takes."""

    NOBODY = "nobody"  # who comes would be sent away again: its operation is held, or its scope paused for long
    NOT_YET = "not_yet"  # the same, for an operator's pause; who is due is written once more, so that no retention ends the wait
    ONE = "one"  # it is shut: somebody has to be there as a probe
    PLACES = "places"  # as many as it has places
    EVERYBODY = "everybody"  # its places are not counted: no other operation is wanted


class ParkedRequest:
    """One of them. It takes part until ``leave``."""

    __slots__ = ("_line", "_start", "_ticket", "called", "place")

    def __init__(self, line: ParkedRequests, place: Place, start: Callable[[], None]) -> None:
        self._line, self._start, self.place = line, start, place
        self.called = False  # it was started, and does not stand in the line yet
        self._ticket: int | None = None

    def enter(self, ticket: int) -> None:
        """It waits under this ticket."""
        self._ticket = ticket

    def call(self) -> None:
        """Start it; it has left the queue."""
        self._ticket, self.called = None, True
        self._start()

    def may_start(self) -> bool:
        """Whether it is to start now that its due time has come: it is called in then, and whoever asks starts it."""
        if self._ticket is None or not self._line.admits(self.place.call_class):
            return False
        self._line.forget(self.place.call_class, self._ticket)
        self._ticket, self.called = None, True
        self._line.coming[self.place.call_class] += 1
        return True

    def leave(self) -> None:
        """It stands in the line, has ended, or is no longer ours. May be called again."""
        if self._ticket is not None:
            self._line.forget(self.place.call_class, self._ticket)
        elif self.called:
            self._line.coming[self.place.call_class] -= 1
        self._ticket, self.called = None, False


class ParkedRequests:
    """Those of one line.

    Args:
        waiters: who stands in the line.
        places: of the line.
        room: whom the line takes now.
    """

    def __init__(self, waiters: FairQueue[Any], places: int, room: Callable[[], Room]) -> None:
        self._waiters, self._places, self._room = waiters, places, room
        self._refilled = max(1, int(_REFILLED_PART * places))
        self._queue: FairQueue[ParkedRequest] = FairQueue()
        self.coming: Counter[CallClass] = Counter()  # called in, and not in the line yet

    def __len__(self) -> int:
        return len(self._queue)

    def park(self, place: Place, start: Callable[[], None]) -> ParkedRequest:
        """A request waits; ``start`` is called when it is to start, never before this returns."""
        parked = ParkedRequest(self, place, start)
        parked.enter(self._queue.push(place.call_class, place.since_ms, parked))
        return parked

    def forget(self, call_class: CallClass, ticket: int) -> None:
        """One has left."""
        self._queue.remove(call_class, ticket)

    def call_in(self) -> None:
        """Start those for whom the line has room."""
        while self._queue and (parked := self._queue.pop(self._called())) is not None:  # mostly there is nobody
            self.coming[parked.place.call_class] += 1
            parked.call()

    def admits(self, call_class: CallClass) -> bool:
        """Whether one of a class whose due time has come is to start."""
        return self._room() in {Room.EVERYBODY, Room.NOT_YET} or call_class in self._called()

    def goes_before(self, call_class: CallClass) -> bool:
        """Whether a newcomer of a class, who has not waited, is to wait behind these: the line does not need it."""
        enough = len(self._waiters) >= self._refilled
        return enough and any(self._queue.count(c) for c in CallClass if c <= call_class)

    def _called(self) -> Collection[CallClass]:
        room, count = self._room(), len(self._waiters) + self.coming.total()
        if room in {Room.NOBODY, Room.NOT_YET} or (room is Room.ONE and count):
            return ()
        if room is Room.ONE or count < self._refilled:
            return tuple(CallClass)
        # so that a flood of others keeps no class out; within its share nobody is sent away again
        return [c for c in CallClass if self._queue.count(c) and self._waiters.spares(c, self._places, self.coming[c])]
