"""Which waiter is served next. Pure: stride scheduling, so each class gets its weight's share and none starves.

Between two grants of a class that has a waiter, the others get at most ``sum(own stride / other stride + 1)`` grants:
142 for late polls, 22 for bulk, polls and retries, 13 for first polls, 9 for normal calls, 7 for urgent ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from typing import Generic, TypeVar

from processor.budget.permits import CallClass

T = TypeVar("T")

# urgent 8 : normal 4 : first polls 2 : retries, bulk, polls 1 each : late polls 1/8, while all wait: retries get a fifth at most while
# normal work waits, and what nobody waits for a ninth of what somebody does
_STRIDES = {
    CallClass.URGENT: 1,
    CallClass.NORMAL: 2,
    CallClass.FIRST_POLL: 4,
    CallClass.RETRY: 8,
    CallClass.BULK: 8,
    CallClass.POLL: 8,
    CallClass.LATE_POLL: 64,
}
_SHARES = {c: (1 / stride) / sum(1 / s for s in _STRIDES.values()) for c, stride in _STRIDES.items()}  # of the turns, and of the places


class FairQueue(Generic[T]):
    """Waiters by class, oldest first inside a class."""

    def __init__(self) -> None:
        self._heaps: dict[CallClass, list[tuple[int, int]]] = {c: [] for c in CallClass}  # (since_ms, ticket)
        self._waiters: dict[int, T] = {}  # by ticket; an entry of a heap without one was removed
        self._counts: dict[CallClass, int] = dict.fromkeys(CallClass, 0)
        self._pass: dict[CallClass, int] = dict.fromkeys(CallClass, 0)
        self._now = 0  # virtual time: the pass of the class served last
        self._ticket = 0

    def __len__(self) -> int:
        return len(self._waiters)

    def push(self, call_class: CallClass, since_ms: int, waiter: T) -> int:
        """Queue a waiter; the returned ticket removes it."""
        if not self._counts[call_class]:
            # a class that was empty has saved nothing up
            self._pass[call_class] = max(self._pass[call_class], self._now)
        self._ticket += 1
        heapq.heappush(self._heaps[call_class], (since_ms, self._ticket))
        self._waiters[self._ticket] = waiter
        self._counts[call_class] += 1
        return self._ticket

    def remove(self, call_class: CallClass, ticket: int) -> None:
        """Forget a waiter that no longer waits; nothing happens if it was served already."""
        if self._waiters.pop(ticket, None) is not None:
            self._counts[call_class] -= 1
            heap = self._heaps[call_class]
            if len(heap) > 2 * self._counts[call_class] + 16:  # removed entries must not pile up
                heap[:] = [entry for entry in heap if entry[1] in self._waiters]
                heapq.heapify(heap)

    def count(self, call_class: CallClass) -> int:
        """How many of a class wait."""
        return self._counts[call_class]

    def spares(self, call_class: CallClass, places: int, coming: int) -> bool:
        """Whether one more of a class, besides those who are ``coming``, would have no more than its share of so many places."""
        return self._counts[call_class] + coming + 1 <= places * _SHARES[call_class]

    def pop(self, among: Collection[CallClass] = tuple(CallClass)) -> T | None:
        """The waiter of these classes to serve now; None if none of them waits."""
        waiting = [c for c in among if self._counts[c]]
        if not waiting:
            return None
        chosen = min(waiting, key=lambda c: (self._pass[c], c))
        self._now = self._pass[chosen]
        self._pass[chosen] += _STRIDES[chosen]
        heap = self._heaps[chosen]
        while True:
            ticket = heapq.heappop(heap)[1]
            if ticket in self._waiters:
                self._counts[chosen] -= 1
                return self._waiters.pop(ticket)

    def pop_last(self, newcomer: tuple[CallClass, int]) -> T | None:
        """Remove and return whoever makes room for a newcomer (class, since_ms) to a full queue; None if it is the newcomer itself.

        Each class has a share of the places by its weight, so that none is kept out of the line by a flood of another: the youngest of
        the last class that has more than its share goes.
        """
        call_class, _ = newcomer
        counts = self._counts | {call_class: self._counts[call_class] + 1}
        size = len(self._waiters)
        last = max((c for c, count in counts.items() if count > size * _SHARES[c]), default=call_class)
        if not self._counts[last]:
            return None
        entry = max(e for e in self._heaps[last] if e[1] in self._waiters)
        if last is call_class and (last, entry[0]) <= newcomer:
            return None
        self._counts[last] -= 1
        return self._waiters.pop(entry[1])

    def clear(self) -> list[T]:
        """Remove and return everybody."""
        waiters = list(self._waiters.values())
        self._waiters.clear()
        for call_class, heap in self._heaps.items():
            heap.clear()
            self._counts[call_class] = 0
        return waiters
