"""What is owed, how long it takes at the present budget, and what holds it up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from processor.budget.view import BudgetView, ScopeView
from processor.contract.codes import ErrorCode
from processor.didit.catalog import OPERATIONS, next_call
from processor.monitoring.formatting import duration
from processor.monitoring.model import DrainView, Overview
from processor.repair.model import DelayedRecord

BUDGET_REASONS = frozenset(
    {ErrorCode.QUEUE_FULL, ErrorCode.SCOPE_PAUSED, ErrorCode.THROTTLED}
)  # parked for want of budget: backlog, whatever their due time
_SHORT_S = 60.0
_FULL_PART = 0.85


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
    if any(breaker.name == "account" for breaker in budget.breakers):
        return inf
    at_once = max(0, s.limit - s.used)  # what the present window still gives
    return max(s.paused_for_s, budget.blocked_for_s) + max(0, calls - at_once) * s.window_s / s.limit


def verdict(o: Overview) -> str:
    """One sentence: what holds things up now, and what to do."""
    return next((text for find in (_of_didit, _of_replicas, _of_budget) if (text := find(o))), _well(o))


def _of_didit(o: Overview) -> str:
    names = [breaker.name for breaker in o.budget.breakers]
    if "account" in names:
        return "Didit refuses the account (key, credits or contract): all calls are held. Mend it there; work resumes by itself."
    if names:
        return f"Didit fails on {', '.join(names)}: only a probe passes now and then. Work resumes by itself; other operations go on."
    return ""


def _of_replicas(o: Overview) -> str:
    backlog = sum(p.unfinished for p in o.partitions)
    if not any(replica.heard for replica in o.replicas):
        return f"No replica is heard: {backlog} records wait. Start `processor run`, or look at its logs."
    if o.group_state in {"PreparingRebalance", "CompletingRebalance"}:
        return "A rebalance is under way: partitions are given out anew. If it lasts, look for two replicas with one instance id."
    ownerless = sum(1 for p in o.partitions if p.owner is None)
    if ownerless:
        return (
            f"{ownerless} partition(s) without an owner: a rebalance, or no replica in the group. If it lasts, look at the replicas' logs."
        )
    if o.budget.blocked_for_s:
        return f"The budget log was lost: no call starts for {o.budget.blocked_for_s:.0f} s, then work resumes by itself."
    return ""


def _of_budget(o: Overview) -> str:
    owed = {d.scope: d for d in o.drains}
    for s in o.budget.scopes:
        if s.foreign:
            return f"Somebody else uses the API key in {s.scope}: the limit is {s.limit} of {s.configured} for now. Find who it is."
        if s.paused_for_s and owed[s.scope].calls:
            return f"Didit asked to wait in {s.scope}: {owed[s.scope].calls} calls go on in {s.paused_for_s:.0f} s."
    worst = max(o.drains, key=lambda d: d.drain_s, default=None)
    if worst is None or worst.drain_s < _SHORT_S:
        return ""
    scope = next(s for s in o.budget.scopes if s.scope == worst.scope)
    if scope.used >= _FULL_PART * scope.limit:
        return (
            f"The budget is the bottleneck: {worst.calls} calls of {worst.scope} are done in about {duration(worst.drain_s)}. "
            "More replicas would not help; more budget would."
        )
    return (
        f"{worst.calls} calls of {worst.scope} wait, and only {scope.used} of {scope.limit} are used: the replicas or Didit's answers "
        "are the bottleneck. Look at the latency of calls and at the lanes."
    )


def _well(o: Overview) -> str:
    owed = max((d.calls for d in o.drains), default=0)
    now = "the backlog is done within a minute" if owed else "nothing waits for budget"
    if o.dead_letters.open:
        return f"Work goes on, {now}. {o.dead_letters.open} dead letter(s) want a decision: `processor deadletters list`."
    return f"All is well: {now}."
