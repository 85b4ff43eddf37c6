"""Waiters of one class: the tenants by turns, by their weights, and inside a tenant the oldest first. Pure.

Every call costs one, so deficit round robin comes to this: a tenant's next turn is 1 / weight behind its last one (stride scheduling).
The turns of each are spread evenly, and none saves any up while it has nothing waiting. Names are the callers', so there may be any number
of them: at most ``NAMES_MAX`` have turns of their own, further ones share those of a bucket.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Container, Iterator
from math import inf

NAMES_MAX = 1000
BUCKETS = 64
Weigh = Callable[[str], float]


def alike(_: str) -> float:
    """The weight of a tenant where nobody gives any."""
    return 1.0


class TenantQueue:
    """Entries (since_ms, ticket) by tenant.

    Args:
        waiters: who still waits, by ticket; an entry without one was removed.
        weight_of: of a tenant, above 0.
    """

    def __init__(self, waiters: Container[int], weight_of: Weigh) -> None:
        self._waiters, self._weight_of = waiters, weight_of
        self._heaps: dict[str, list[tuple[int, int]]] = {}  # of those with somebody waiting
        self.counts: dict[str, int] = {}  # of the same
        self.next_turns: dict[str, float] = {}  # when its next turn is, in virtual time; kept while that is yet to come
        self._now = 0.0  # the pass of the tenant served last
        self.total = 0

    def __iter__(self) -> Iterator[str]:
        """Tenants, or buckets of them, with somebody waiting."""
        return iter(self._heaps)

    def known(self, tenant: str) -> int:
        """How many of a tenant, or of the bucket that it would be in, wait."""
        return self.counts.get(self._key(tenant), 0)

    def push(self, tenant: str, since_ms: int, ticket: int) -> str:
        """Queue an entry; the returned key removes it."""
        key = self._key(tenant)
        if key not in self._heaps:  # one that had nobody waiting has saved nothing up
            self.next_turns[key] = max(self.next_turns.get(key, 0.0), self._now)
            self._heaps[key], self.counts[key] = [], 0
        heapq.heappush(self._heaps[key], (since_ms, ticket))
        self.counts[key] += 1
        self.total += 1
        return key

    def removed(self, key: str) -> None:
        """A waiter of a key is gone, its entry may still be here."""
        self.total -= 1
        self.counts[key] -= 1
        if not self.counts[key]:
            del self._heaps[key], self.counts[key]
            return
        heap = self._heaps[key]
        if len(heap) > 2 * self.counts[key] + 16:  # removed entries must not pile up
            heap[:] = [entry for entry in heap if entry[1] in self._waiters]
            heapq.heapify(heap)

    def next(self, allowed: Callable[[str], bool] | None = None) -> int:
        """Ticket of the waiter to serve now; its turn is taken.

        Args:
            allowed: the tenants to choose from; at least one of them has somebody waiting.
        """
        among = self._heaps if allowed is None else [key for key in self._heaps if allowed(key)]
        key = next(iter(among)) if len(among) == 1 else min(among, key=lambda k: (self.next_turns[k], self._oldest(k)))
        self._oldest(key)  # nothing that was removed stands before it any more
        self._now = max(self._now, self.next_turns[key])  # a tenant that was not allowed for long has saved nothing up either
        self.next_turns[key] = self._now + 1.0 / self._weight_of(key)
        return heapq.heappop(self._heaps[key])[1]

    def last(self, newcomer: tuple[str, int] | None) -> int | None:
        """Ticket of whoever makes room: the youngest of the tenant that has most for its weight; None if that is the newcomer itself.

        Args:
            newcomer: tenant and since_ms of one that wants a place here, if it does.
        """
        counts, mine = dict(self.counts), None
        if newcomer is not None:
            mine = self._key(newcomer[0])
            counts[mine] = counts.get(mine, 0) + 1
        loads = {key: count / self._weight_of(key) for key, count in counts.items()}
        most = max(loads.values())
        entries = [max(e for e in self._heaps[key] if e[1] in self._waiters) for key in self._heaps if loads[key] == most]
        if newcomer is not None and mine is not None and loads[mine] == most and all((newcomer[1], inf) > entry for entry in entries):
            return None
        return max(entries)[1]

    def clear(self) -> None:
        """Forget everybody who waits."""
        self._heaps.clear()
        self.counts.clear()
        self.total = 0

    def _oldest(self, key: str) -> tuple[int, int]:
        heap = self._heaps[key]
        while heap[0][1] not in self._waiters:
            heapq.heappop(heap)
        return heap[0]

    def _key(self, tenant: str) -> str:
        if tenant in self.next_turns:
            return tenant
        if len(self.next_turns) >= NAMES_MAX:
            self.next_turns = {key: at for key, at in self.next_turns.items() if key in self._heaps or at > self._now}
        return tenant if len(self.next_turns) < NAMES_MAX else bucket_of(tenant)


def bucket_of(tenant: str) -> str:
    """The bucket of a tenant for which there is no place; no tenant has such a name."""
    return f"~{zlib.crc32(tenant.encode()) % BUCKETS}"
