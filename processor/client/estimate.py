"""What requests come to before they are published: checks that are billed, their price, and how long the budget makes them last. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from processor.didit.catalog import WITHOUT_CALL, first_call
from processor.didit.operation import Idempotency

_FREE = frozenset({"session.add_review"})  # cannot be told from another one, and costs nothing


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of requests that have not been asked before.

    Attributes:
        operations: requests, by operation.
        billed: how many of them Didit may bill.
        cost: of those with a price, in the currency of the price list.
        unpriced: billed operations without a price.
        time_s: their calls last so long at the full budget, if nobody else uses it.
    """

    operations: Mapping[str, int]
    billed: int
    cost: Decimal
    unpriced: tuple[str, ...]
    time_s: float


def estimate(operations: Mapping[str, int], prices: Mapping[str, Decimal], limits: Mapping[str, tuple[int, float]]) -> Estimate:
    """What so many requests come to.

    Args:
        operations: requests, by operation.
        prices: of one request, by operation.
        limits: scope -> calls, window in seconds.
    """
    billed = {name: count for name, count in sorted(operations.items()) if is_billed(name)}
    return Estimate(
        operations=dict(sorted(operations.items())),
        billed=sum(billed.values()),
        cost=sum((count * prices.get(name, Decimal(0)) for name, count in billed.items()), Decimal(0)),
        unpriced=tuple(name for name in billed if name not in prices),
        time_s=time_left_s(operations, limits),
    )


def is_billed(operation: str) -> bool:
    """Whether a request for it may cost something; a session costs when its person uses it, by the features of its workflow."""
    return operation not in _FREE and operation not in WITHOUT_CALL and first_call(operation).idempotency is not Idempotency.SAFE


def time_left_s(operations: Mapping[str, int], limits: Mapping[str, tuple[int, float]]) -> float:
    """How long the calls of so many requests take at the full budget, if nobody else uses it.

    Args:
        operations: how many requests are left, by operation.
        limits: scope -> calls, window in seconds.
    """
    calls: Counter[str] = Counter()
    for name, count in operations.items():
        for scope in () if name in WITHOUT_CALL else first_call(name).scopes:
            calls[scope] += count
    return max((count * limits[scope][1] / limits[scope][0] for scope, count in calls.items()), default=0.0)
