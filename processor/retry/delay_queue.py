"""Records that are not due yet, by due time. Pure: no clock of its own, no timer."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")


class DelayQueue(Generic[T]):
    """A heap of ``(due, item)``; items of equal due time leave in the order in which they came."""

    def __init__(self, *, count_max: int, bytes_max: int) -> None:
        self._count_max, self._bytes_max = count_max, bytes_max
        self._heap: list[tuple[int, int]] = []  # due, ticket
        self._items: dict[int, tuple[int, T]] = {}  # by ticket: size, item; an entry of the heap without one was taken
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def room(self) -> bool:
        """Whether more may be read. What has been read already is always taken: a fetch overshoots by itself at most."""
        return len(self._items) < self._count_max and self._held_bytes < self._bytes_max

    @property
    def held_bytes(self) -> int:
        """Sum of the sizes of what waits."""
        return self._held_bytes

    @property
    def next_due_ms(self) -> int | None:
        """The earliest due time, epoch ms; None if nothing waits."""
        while self._heap and self._heap[0][1] not in self._items:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def push(self, due_ms: int, ticket: int, item: T, size_bytes: int) -> None:
        """Let an item wait until ``due_ms``; its ticket takes it out before. Tickets ascend, and none comes twice."""
        heapq.heappush(self._heap, (due_ms, ticket))
        self._items[ticket] = (size_bytes, item)
        self._held_bytes += size_bytes

    def holds(self, ticket: int) -> bool:
        """Whether an item has not left."""
        return ticket in self._items

    def take(self, ticket: int) -> T | None:
        """An item before its time; None if it has left."""
        found = self._items.pop(ticket, None)
        if found is None:
            return None
        self._held_bytes -= found[0]
        return found[1]

    def pop_due(self, now_ms: int, count_max: int) -> list[T]:
        """At most ``count_max`` items that are due at ``now_ms``, earliest first."""
        due: list[T] = []
        while self._heap and self._heap[0][0] <= now_ms and len(due) < count_max:
            item = self.take(heapq.heappop(self._heap)[1])
            if item is not None:
                due.append(item)
        return due

    def clear(self) -> None:
        """Forget everything; the records are still in Kafka."""
        self._heap.clear()
        self._items.clear()
        self._held_bytes = 0
