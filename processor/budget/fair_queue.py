"""Which waiter is served next. Pure: stride scheduling, so each class gets its weight's share and none starves; so do tenants in a class.

Between two grants of a class that has a waiter, the others get at most ``sum(own stride / other stride + 1)`` grants:
142 for late polls, 22 for bulk, polls and retries, 13 for first polls, 9 for normal calls, 7 for urgent ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Generic, TypeVar

from processor.budget.permits import CallClass
from processor.budget.tenant_queue import TenantQueue, Weigh, alike

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
    """Waiters by class; inside a class the tenants by turns, the oldest of each first (``tenant_queue``).

    Args:
        weight_of: of a tenant, above 0.
    """

    def __init__(self, weight_of: Weigh = alike) -> None:
        self._waiters: dict[int, tuple[str, T]] = {}  # by ticket, with the key of its tenant
        self._queues = {c: TenantQueue(self._waiters, weight_of) for c in CallClass}
        self._weight_of = weight_of
        self.waiting_of: Counter[str] = Counter()  # how many wait, by tenant or bucket of tenants; none of them is 0
        self._pass: dict[CallClass, int] = dict.fromkeys(CallClass, 0)
        self._now = 0  # virtual time: the pass of the class served last
        self._ticket = 0

    def __len__(self) -> int:
        return len(self._waiters)

    def push(self, call_class: CallClass, since_ms: int, waiter: T, tenant: str = "") -> int:
        """Queue a waiter; the returned ticket removes it."""
        if not self._queues[call_class].total:
            # a class that was empty has saved nothing up
            self._pass[call_class] = max(self._pass[call_class], self._now)
        self._ticket += 1
        key = self._queues[call_class].push(tenant, since_ms, self._ticket)
        self._waiters[self._ticket] = key, waiter
        self.waiting_of[key] += 1
        return self._ticket

    def remove(self, call_class: CallClass, ticket: int) -> None:
        """Forget a waiter that no longer waits; nothing happens if it was served already."""
        if ticket in self._waiters:
            self._take(call_class, ticket)

    def count(self, call_class: CallClass) -> int:
        """How many of a class wait."""
        return self._queues[call_class].total

    def count_of(self, call_class: CallClass, tenant: str) -> int:
        """How many of a class wait of a tenant, or of the bucket that it is in."""
        return self._queues[call_class].known(tenant)

    def tenants(self, call_class: CallClass) -> Iterable[str]:
        """Tenants, or buckets of them, that wait in a class; a bounded number."""
        return self._queues[call_class]

    def spares(self, call_class: CallClass, places: int, coming: int) -> bool:
        """Whether one more of a class, besides those who are ``coming``, would have no more than its share of so many places."""
        return self.count(call_class) + coming + 1 <= places * _SHARES[call_class]

    def spares_tenant(self, call_class: CallClass, tenant: str, places: int, coming: int, others: Iterable[str]) -> bool:
        """The same of a tenant, of the places of its class: its part by its weight, while ``others`` want some too."""
        wanting = {tenant, *self._queues[call_class], *others}
        part = self._weight_of(tenant) / sum(map(self._weight_of, wanting))
        return self.count_of(call_class, tenant) + coming + 1 <= part * max(self.count(call_class), places * _SHARES[call_class])

    def pop(self, among: Collection[CallClass] = tuple(CallClass), allowed: Callable[[CallClass, str], bool] | None = None) -> T | None:
        """The waiter of these classes, and of the tenants that are allowed in them, to serve now; None if none of them waits."""
        waiting = [c for c in among if self._queues[c].total and (allowed is None or any(allowed(c, t) for t in self._queues[c]))]
        if not waiting:
            return None
        chosen = waiting[0] if len(waiting) == 1 else min(waiting, key=lambda c: (self._pass[c], c))
        self._now = self._pass[chosen]
        self._pass[chosen] += _STRIDES[chosen]
        ticket = self._queues[chosen].next(None if allowed is None else partial(allowed, chosen))
        return self._take(chosen, ticket)

    def pop_last(self, newcomer: tuple[CallClass, int], tenant: str = "") -> tuple[str, T] | None:
        """Remove and return whoever makes room for a newcomer (class, since_ms) to a full queue, after the name of its tenant or bucket.

        None if it is the newcomer itself.
        Each class has a share of the places by its weight, and each tenant one of those of its class, so that none is kept out of the line
        by a flood of another: of the last class that has more than its share, the youngest of the tenant that has most goes.
        """
        leaves = self._who_leaves(*newcomer, tenant)
        return None if leaves is None else (self._waiters[leaves[1]][0], self._take(*leaves))

    def is_last(self, newcomer: tuple[CallClass, int], tenant: str = "") -> bool:
        """Whether it is the newcomer itself who makes room, see ``pop_last``."""
        return self._who_leaves(*newcomer, tenant) is None

    def _who_leaves(self, call_class: CallClass, since_ms: int, tenant: str) -> tuple[CallClass, int] | None:
        counts = {c: queue.total + (c is call_class) for c, queue in self._queues.items()}
        size = len(self._waiters)
        last = max((c for c, count in counts.items() if count > size * _SHARES[c]), default=call_class)
        if not self._queues[last].total:
            return None
        ticket = self._queues[last].last((tenant, since_ms) if last is call_class else None)
        return None if ticket is None else (last, ticket)

    def clear(self) -> list[T]:
        """Remove and return everybody."""
        waiters = [waiter for _, waiter in self._waiters.values()]
        self._waiters.clear()
        for queue in self._queues.values():
            queue.clear()
        self.waiting_of.clear()
        return waiters

    def _take(self, call_class: CallClass, ticket: int) -> T:
        key, waiter = self._waiters.pop(ticket)
        self._queues[call_class].removed(key)
        self.waiting_of[key] -= 1
        if not self.waiting_of[key]:
            del self.waiting_of[key]
        return waiter
