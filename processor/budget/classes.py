"""Which class is served next. Pure: stride scheduling, so each class gets its weight's share and none starves.

Between two grants of a class that has a waiter, the others get at most ``sum(own stride / other stride + 1)`` grants:
17 for bulk, 10 for retries, 7 for normal calls, 6 for urgent ones.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from processor.budget.permits import CallClass

T = TypeVar("T")

# urgent 8 : normal 4 : retries 2 : bulk 1 while all wait; so retries never crowd fresh work out
_STRIDES = {CallClass.URGENT: 1, CallClass.NORMAL: 2, CallClass.RETRY: 4, CallClass.BULK: 8}


class ClassQueue(Generic[T]):
    """Waiters by class, oldest first inside a class."""

    def __init__(self) -> None:
        self._queues: dict[CallClass, OrderedDict[int, T]] = {c: OrderedDict() for c in CallClass}
        self._pass: dict[CallClass, int] = dict.fromkeys(CallClass, 0)
        self._now = 0  # virtual time: the pass of the class served last
        self._sequence = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, call_class: CallClass, waiter: T) -> int:
        """Queue a waiter; the returned ticket removes it."""
        if not self._queues[call_class]:
            # a class that was empty has saved nothing up
            self._pass[call_class] = max(self._pass[call_class], self._now)
        self._sequence += 1
        self._count += 1
        self._queues[call_class][self._sequence] = waiter
        return self._sequence

    def remove(self, call_class: CallClass, ticket: int) -> None:
        """Forget a waiter that no longer waits; nothing happens if it was served already."""
        if ticket in self._queues[call_class]:
            del self._queues[call_class][ticket]
            self._count -= 1

    def pop(self) -> T | None:
        """The waiter to serve now; None if nobody waits."""
        waiting = [c for c, queue in self._queues.items() if queue]
        if not waiting:
            return None
        chosen = min(waiting, key=lambda c: (self._pass[c], c))
        self._now = self._pass[chosen]
        self._pass[chosen] += _STRIDES[chosen]
        self._count -= 1
        return self._queues[chosen].popitem(last=False)[1]

    def clear(self) -> list[T]:
        """Remove and return everybody."""
        waiters = [waiter for queue in self._queues.values() for waiter in queue.values()]
        for queue in self._queues.values():
            queue.clear()
        self._count = 0
        return waiters
