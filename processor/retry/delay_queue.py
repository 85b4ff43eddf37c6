"""Records that are not due yet, by due time. Pure: no clock of its own, no timer."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")


class DelayQueue(Generic[T]):
    """A heap of ``(due, item)``; items of equal due time leave in the order in which they came."""

    def __init__(self, *, count_max: int, bytes_max: int) -> None:
        self._count_max, self._bytes_max = count_max, bytes_max
        self._heap: list[tuple[int, int, int, T]] = []
        self._sequence = 0
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def room(self) -> bool:
        """Whether more may be read. What has been read already is always taken: a fetch overshoots by itself at most."""
        return len(self._heap) < self._count_max and self._held_bytes < self._bytes_max

    @property
    def held_bytes(self) -> int:
        """Sum of the sizes of what waits."""
        return self._held_bytes

    @property
    def next_due_ms(self) -> int | None:
        """The earliest due time, epoch ms; None if nothing waits."""
        return self._heap[0][0] if self._heap else None

    def push(self, due_ms: int, item: T, size_bytes: int) -> None:
        """Let an item wait until ``due_ms``."""
        heapq.heappush(self._heap, (due_ms, self._sequence, size_bytes, item))
        self._sequence += 1
        self._held_bytes += size_bytes

    def pop_due(self, now_ms: int, count_max: int) -> list[T]:
        """At most ``count_max`` items that are due at ``now_ms``, earliest first."""
        due: list[T] = []
        while self._heap and self._heap[0][0] <= now_ms and len(due) < count_max:
            _, _, size_bytes, item = heapq.heappop(self._heap)
            self._held_bytes -= size_bytes
            due.append(item)
        return due

    def clear(self) -> None:
        """Forget everything; the records are still in Kafka."""
        self._heap.clear()
        self._held_bytes = 0
