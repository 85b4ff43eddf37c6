"""Requests of this process that wait in a delay topic because their line was full, and which of them starts when it has room. Pure.

Nobody guesses when that will be: a line that gets short calls them in, the classes by turns, in a class the tenants, the oldest of each
first. So it is never empty while a request waits for it in this process, and who is called in stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any

from processor.budget.fair_queue import FairQueue
from processor.budget.permits import CallClass, Place
from processor.budget.tenant_queue import Weigh, alike

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
        if self._ticket is None or not self._line.admits(self.place):
            return False
        self._line.forget(self.place.call_class, self._ticket)
        self._ticket, self.called = None, True
        self._line.note_coming(self.place, 1)
        return True

    def leave(self) -> None:
        """It stands in the line, has ended, or is no longer ours. May be called again."""
        if self._ticket is not None:
            self._line.forget(self.place.call_class, self._ticket)
        elif self.called:
            self._line.note_coming(self.place, -1)
        self._ticket, self.called = None, False


class ParkedRequests:
    """Those of one line.

    Args:
        waiters: who stands in the line.
        places: of the line.
        room: whom the line takes now.
        weight_of: of a tenant.
    """

    def __init__(self, waiters: FairQueue[Any], places: int, room: Callable[[], Room], weight_of: Weigh = alike) -> None:
        self._waiters, self._places, self._room = waiters, places, room
        self._refilled = max(1, int(_REFILLED_PART * places))
        self._queue: FairQueue[ParkedRequest] = FairQueue(weight_of)
        self.coming: Counter[tuple[CallClass, str]] = Counter()  # called in, and not in the line yet; by tenant
        self._coming: Counter[CallClass] = Counter()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def waiting_of(self) -> Counter[str]:
        """How many wait, by tenant or bucket of tenants."""
        return self._queue.waiting_of

    def park(self, place: Place, start: Callable[[], None]) -> ParkedRequest:
        """A request waits; ``start`` is called when it is to start, never before this returns."""
        parked = ParkedRequest(self, place, start)
        parked.enter(self._queue.push(place.call_class, place.since_ms, parked, place.tenant))
        return parked

    def forget(self, call_class: CallClass, ticket: int) -> None:
        """One has left."""
        self._queue.remove(call_class, ticket)

    def note_coming(self, place: Place, change: int) -> None:
        """One was called in, or stands in the line now."""
        self._coming[place.call_class] += change
        key = place.call_class, place.tenant
        self.coming[key] += change
        if not self.coming[key]:
            del self.coming[key]

    def call_in(self) -> None:
        """Start those for whom the line has room."""
        while self._queue and (parked := self._next()) is not None:  # mostly there is nobody
            self.note_coming(parked.place, 1)
            parked.call()

    def admits(self, place: Place) -> bool:
        """Whether one whose due time has come is to start."""
        room = self._room()
        return room in {Room.EVERYBODY, Room.NOT_YET} or self._has_room(room) or (room is Room.PLACES and self._spares(*_of(place)))

    def goes_before(self, call_class: CallClass, tenant: str = "") -> bool:
        """Whether a newcomer, who has not waited, is to wait behind these: the line does not need it.

        One whose tenant has less than its share of the line, and nobody here, does not: who waits here waits behind others of their own.
        """
        if len(self._waiters) < self._refilled or not any(self._queue.count(c) for c in CallClass if c <= call_class):
            return False
        own = any(self._queue.count_of(c, tenant) for c in CallClass if c <= call_class)
        return own or not self._spares_tenant(call_class, tenant)

    def _next(self) -> ParkedRequest | None:
        room = self._room()
        if self._has_room(room):
            return self._queue.pop()
        return self._queue.pop(allowed=self._spares) if room is Room.PLACES or room is Room.EVERYBODY else None

    def _has_room(self, room: Room) -> bool:
        """Whether the line takes whoever comes first."""
        count = len(self._waiters) + self._coming.total()
        return not count if room is Room.ONE else room in {Room.PLACES, Room.EVERYBODY} and count < self._refilled

    def _spares(self, call_class: CallClass, tenant: str) -> bool:
        """So that a flood of others keeps no class and no tenant out; within its share nobody is sent away again."""
        return self._waiters.spares(call_class, self._places, self._coming[call_class]) or self._spares_tenant(call_class, tenant)

    def _spares_tenant(self, call_class: CallClass, tenant: str) -> bool:
        others = self._queue.tenants(call_class)
        return self._waiters.spares_tenant(call_class, tenant, self._places, self.coming[call_class, tenant], others)


def _of(place: Place) -> tuple[CallClass, str]:
    return place.call_class, place.tenant
