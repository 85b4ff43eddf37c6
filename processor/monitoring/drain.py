"""What is owed, and how long it takes at the present budget. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from processor.budget.view import BudgetView, ScopeView
from processor.contract.codes import ErrorCode
from processor.contract.pauses import EVERYTHING, Pauses
from processor.didit.catalog import OPERATIONS, next_call
from processor.monitoring.model import DrainView
from processor.repair.model import DelayedRecord

_NONE = Pauses()
BUDGET_REASONS = frozenset(
    {ErrorCode.QUEUE_FULL, ErrorCode.SCOPE_PAUSED, ErrorCode.THROTTLED, ErrorCode.OPERATION_PAUSED}
)  # parked for want of budget: backlog, whatever their due time


@dataclass(frozen=True, slots=True)
class Owed:
    """Calls that are owed now, by scope: all of them, which count in several, those that a breaker or an operator holds, the latter alone.

    ``paused_calls``: calls that operators hold, by what they have paused: an operation, or ``EVERYTHING``.
    """

    by_scope: Mapping[str, int]
    held: Mapping[str, int]
    paused: Mapping[str, int] = field(default_factory=dict)
    paused_calls: Mapping[str, int] = field(default_factory=dict)


def owed_calls(
    asked_for: Mapping[str, float],
    waiting: Iterable[DelayedRecord],
    now_ms: int,
    *,
    held_operations: Collection[str] = (),
    pauses: Pauses = _NONE,
) -> Owed:
    """Unfinished requests, retries that are due, and what was parked for want of budget.

    One that waits for its time or for a person owes nothing yet.

    Args:
        asked_for: unfinished records by operation.
        waiting: what the delay topics hold.
        now_ms: epoch.
        held_operations: names of the breakers that are not closed.
        pauses: of operators.
    """
    calls: dict[tuple[str | None, bool], float] = {(name, False): count for name, count in asked_for.items()}
    for record in waiting:
        if record.due_ms <= now_ms or record.reason in BUDGET_REASONS:
            key = (record.operation, record.follows)
            calls[key] = calls.get(key, 0.0) + 1
    owed = dict.fromkeys((scope for operation in OPERATIONS.values() for scope in operation.scopes), 0.0)
    held, paused, paused_calls = dict(owed), dict(owed), {act.name: 0.0 for act in pauses.in_force}
    for (name, follows), count in calls.items():
        operation = next_call(name, polled=follows)
        if operation is None:
            continue  # what cannot be read is rejected without a call
        is_paused = pauses.stops(operation.name)
        for scope in operation.scopes:
            owed[scope] += count
            held[scope] += count if is_paused or operation.name in held_operations else 0
            paused[scope] += count if is_paused else 0
        if is_paused:
            paused_calls[operation.name if pauses.names(operation.name) else EVERYTHING] += count
    return Owed(*({name: round(count) for name, count in counts.items()} for counts in (owed, held, paused, paused_calls)))


def drains(owed: Owed, budget: BudgetView) -> tuple[DrainView, ...]:
    """How long each scope's backlog lasts."""
    return tuple(_drain(s, owed, budget) for s in budget.scopes)


def _drain(s: ScopeView, owed: Owed, budget: BudgetView) -> DrainView:
    calls = owed.by_scope.get(s.scope, 0)
    held = calls if budget.is_account_held else owed.held.get(s.scope, 0)
    if not calls:
        return DrainView(s.scope, 0, 0.0)
    paused = min(owed.paused.get(s.scope, 0), calls)
    if held >= calls:
        return DrainView(s.scope, calls, inf, calls, paused)
    return DrainView(s.scope, calls, max(s.paused_for_s, budget.blocked_for_s) + _paced_s(calls - held, s), held, paused)


def _paced_s(calls: int, s: ScopeView) -> float:
    """A burst leaves at once, what follows is spread over the window, and then the rate is that of the limit (docs/pacing.md)."""
    left, gap_s = max(0, calls - s.pace.at_once), s.window_s / s.limit
    slow_gap_s = s.pace.gap_s or gap_s
    if left * slow_gap_s <= s.pace.gap_for_s:
        return left * slow_gap_s
    return s.pace.gap_for_s + (left - s.pace.gap_for_s / slow_gap_s) * gap_s
