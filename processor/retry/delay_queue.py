"""Records that are not due yet, by due time. Pure: no clock of its own, no timer. The lane bounds how many there are."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")

_LEFT_BEHIND_MAX = 1000


class DelayQueue(Generic[T]):
    """A heap of ``(due, item)``; items of equal due time leave in the order in which they came."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []  # due, ticket
        self._items: dict[int, T] = {}  # by ticket; an entry of the heap without one was removed

    def __len__(self) -> int:
        return len(self._items)

    @property
    def next_due_ms(self) -> int | None:
        """The earliest due time, epoch ms; None if nothing waits."""
        while self._heap and self._heap[0][1] not in self._items:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def push(self, due_ms: int, ticket: int, item: T) -> None:
        """Let an item wait until ``due_ms``; its ticket removes it before. Tickets ascend, and none comes twice."""
        heapq.heappush(self._heap, (due_ms, ticket))
        self._items[ticket] = item

    def holds(self, ticket: int) -> bool:
        """Whether an item has not left."""
        return ticket in self._items

    def remove(self, ticket: int) -> T | None:
        """An item before its time; None if it has left."""
        if len(self._heap) > 2 * len(self._items) + _LEFT_BEHIND_MAX:  # entries of items that left early: their time may be a year away
            self._heap = [entry for entry in self._heap if entry[1] in self._items]
            heapq.heapify(self._heap)
        return self._items.pop(ticket, None)

    def pop_due(self, now_ms: int, count_max: int) -> list[T]:
        """At most ``count_max`` items that are due at ``now_ms``, earliest first."""
        due: list[T] = []
        while self._heap and self._heap[0][0] <= now_ms and len(due) < count_max:
            item = self.remove(heapq.heappop(self._heap)[1])
            if item is not None:
                due.append(item)
        return due

    def clear(self) -> None:
        """Forget everything; the records are still in Kafka."""
        self._heap.clear()
        self._items.clear()
