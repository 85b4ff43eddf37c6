"""What is owed, and how long it takes at the present budget. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from processor.budget.view import BudgetView, ScopeView
from processor.budget.windows import BURST_PART
from processor.contract.codes import ErrorCode
from processor.didit.catalog import OPERATIONS, next_call
from processor.monitoring.model import DrainView
from processor.repair.model import DelayedRecord

BUDGET_REASONS = frozenset(
    {ErrorCode.QUEUE_FULL, ErrorCode.SCOPE_PAUSED, ErrorCode.THROTTLED}
)  # parked for want of budget: backlog, whatever their due time


def owed_calls(asked_for: Mapping[str, float], waiting: Iterable[DelayedRecord], now_ms: int) -> dict[str, int]:
    """Calls that are owed now, by scope: unfinished requests, retries that are due, and what was parked for want of budget.

    One that waits for its time or for a person owes nothing yet.
    """
    calls: dict[tuple[str | None, bool], float] = {(name, False): count for name, count in asked_for.items()}
    for record in waiting:
        if record.due_ms <= now_ms or record.reason in BUDGET_REASONS:
            key = (record.operation, record.follows)
            calls[key] = calls.get(key, 0.0) + 1
    owed = dict.fromkeys((scope for operation in OPERATIONS.values() for scope in operation.scopes), 0.0)
    for (name, follows), count in calls.items():
        operation = next_call(name, polled=follows)
        for scope in operation.scopes if operation is not None else ():  # what cannot be read is rejected without a call
            owed[scope] += count
    return {scope: round(count) for scope, count in owed.items()}


def drains(owed: Mapping[str, int], budget: BudgetView) -> tuple[DrainView, ...]:
    """How long each scope's backlog lasts."""
    return tuple(DrainView(s.scope, owed.get(s.scope, 0), _drain_s(owed.get(s.scope, 0), s, budget)) for s in budget.scopes)


def _drain_s(calls: int, s: ScopeView, budget: BudgetView) -> float:
    if not calls:
        return 0.0
    if budget.is_account_held:
        return inf
    return max(s.paused_for_s, budget.blocked_for_s) + _paced_s(calls, s)


def _paced_s(calls: int, s: ScopeView) -> float:
    """A burst leaves at once, the rest of the first window is spread over it, and then the rate is that of the limit (docs/pacing.md)."""
    at_once = max(0.0, BURST_PART * s.limit - s.live)
    if calls >= s.limit:
        return calls * s.window_s / s.limit
    return max(0.0, calls - at_once) * s.window_s / (s.limit - at_once)
