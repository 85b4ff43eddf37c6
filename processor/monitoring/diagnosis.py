"""What holds the work up: an overview as findings, each with its tone and figures. Pure.

There is one diagnosis. The page's headline, tiles, cards and colours, `processor status`, `top` and `--json` are renderings of it, so
they cannot contradict each other. ``diagnosis_text`` has the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf, isfinite
from typing import Self

from processor.budget.view import ScopeView
from processor.monitoring.model import BlockCause, DrainView, Overview

FULL_SHARE = 0.85  # from this share of its limit on, a budget with somebody waiting sets the pace
LONG_BACKLOG_S = 300.0  # a backlog that lasts longer is worth a look
_PACED_PART = 0.5  # of the window: what the pace delays for less is done before anybody has looked at it
IDLE_S = 60.0  # a partition with work moves at least so often, and what is due starts, unless something else is found
_NAMED_MAX = 3  # partitions that one finding names

_REBALANCING = frozenset({"PreparingRebalance", "CompletingRebalance"})  # as Kafka names the states of a group
_NO_MEMBERS = frozenset({"Empty", "Dead"})


class Tone(StrEnum):
    """How much it needs a person, least first."""

    GOOD = "good"
    WATCH = "watch"
    BAD = "bad"

    @property
    def weight(self) -> int:
        """0 for the least."""
        return list(Tone).index(self)


class Area(StrEnum):
    """What a finding is about; the page has a tile for each."""

    BUDGET = "budget"
    BACKLOG = "backlog"
    REPLICAS = "replicas"
    DIDIT = "didit"
    DEAD_LETTERS = "dead_letters"


class FindingKind(StrEnum):
    """What may be found. Of several with one tone the first one in this order leads.

    Attributes:
        area: what it is about.
        tone: how much it needs a person, always the same for one kind.
    """

    area: Area
    tone: Tone

    def __new__(cls, name: str, area: Area, tone: Tone) -> Self:
        """One row."""
        member = str.__new__(cls, name)
        member._value_, member.area, member.tone = name, area, tone
        return member

    ACCOUNT_REFUSED = "account_refused", Area.DIDIT, Tone.BAD
    OPERATION_FAILING = "operation_failing", Area.DIDIT, Tone.BAD
    OPERATION_REFUSED = "operation_refused", Area.DIDIT, Tone.BAD
    NO_REPLICA = "no_replica", Area.REPLICAS, Tone.BAD
    PARTITIONS_UNOWNED = "partitions_unowned", Area.REPLICAS, Tone.BAD
    TOPIC_MISSING = "topic_missing", Area.BACKLOG, Tone.BAD
    NO_LEADER = "no_leader", Area.BACKLOG, Tone.BAD
    UNDER_MIN_ISR = "under_min_isr", Area.BACKLOG, Tone.BAD
    OFFSET_BEYOND_END = "offset_beyond_end", Area.BACKLOG, Tone.BAD
    UNREADABLE_BATCH = "unreadable_batch", Area.BACKLOG, Tone.BAD
    OPEN_TRANSACTION = "open_transaction", Area.BACKLOG, Tone.BAD
    BUDGET_LOG_LOST = "budget_log_lost", Area.BUDGET, Tone.BAD
    BACKLOG_STUCK = "backlog_stuck", Area.BACKLOG, Tone.BAD
    CLOCK_WRONG = "clock_wrong", Area.REPLICAS, Tone.BAD
    PAUSED = "paused", Area.BACKLOG, Tone.WATCH
    REBALANCING = "rebalancing", Area.REPLICAS, Tone.WATCH
    LIMIT_LOWERED = "limit_lowered", Area.BUDGET, Tone.WATCH
    ASKED_TO_WAIT = "asked_to_wait", Area.DIDIT, Tone.WATCH
    REPLICA_SILENT = "replica_silent", Area.REPLICAS, Tone.WATCH
    PARTITION_IDLE = "partition_idle", Area.BACKLOG, Tone.WATCH
    RETRIES_OVERDUE = "retries_overdue", Area.BACKLOG, Tone.WATCH
    CALLS_IDLE = "calls_idle", Area.BACKLOG, Tone.WATCH
    BUDGET_UNUSED = "budget_unused", Area.BACKLOG, Tone.WATCH
    BUDGET_FULL = "budget_full", Area.BUDGET, Tone.WATCH
    BACKLOG_HELD = "backlog_held", Area.BACKLOG, Tone.WATCH
    BACKLOG_LONG = "backlog_long", Area.BACKLOG, Tone.WATCH
    RATE_LIMITED = "rate_limited", Area.DIDIT, Tone.WATCH
    REPLICAS_LACKING = "replicas_lacking", Area.BACKLOG, Tone.WATCH
    DEAD_LETTERS_OPEN = "dead_letters_open", Area.DEAD_LETTERS, Tone.WATCH
    BACKLOG_DRAINS = "backlog_drains", Area.BACKLOG, Tone.GOOD
    BACKLOG_EMPTY = "backlog_empty", Area.BACKLOG, Tone.GOOD

    @property
    def urgency(self) -> tuple[int, int]:
        """Sorts the most urgent kind first."""
        return -self.tone.weight, list(FindingKind).index(self)


_K = FindingKind
_BLOCKED = {
    BlockCause.TOPIC_MISSING: _K.TOPIC_MISSING,
    BlockCause.NO_LEADER: _K.NO_LEADER,
    BlockCause.UNDER_MIN_ISR: _K.UNDER_MIN_ISR,
    BlockCause.OFFSET_BEYOND_END: _K.OFFSET_BEYOND_END,
    BlockCause.UNREADABLE_BATCH: _K.UNREADABLE_BATCH,
    BlockCause.OPEN_TRANSACTION: _K.OPEN_TRANSACTION,
}
_CLOCK_OFF_S = 5.0  # as the alert VerificationClockWrong
# what explains by itself that calls wait although the budget is not used
_HELD = frozenset(
    {
        _K.ACCOUNT_REFUSED,
        _K.OPERATION_FAILING,
        _K.OPERATION_REFUSED,
        _K.NO_REPLICA,
        _K.PARTITIONS_UNOWNED,
        _K.BUDGET_LOG_LOST,
        _K.PAUSED,
        _K.REBALANCING,
    }
)
_SLOW = frozenset({*_HELD, _K.BUDGET_FULL, _K.ASKED_TO_WAIT})  # and that a single partition stands still


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    kind: FindingKind
    subject: str = ""  # the scope, operation or replica that is meant
    figures: Mapping[str, float] = field(default_factory=dict)  # by name, units last: calls, drain_s, used, limit, ...

    @property
    def tone(self) -> Tone:
        """How much it needs a person."""
        return self.kind.tone

    @property
    def area(self) -> Area:
        """What it is about."""
        return self.kind.area


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was found, the most urgent first; there is always something about the backlog."""

    findings: tuple[Finding, ...]

    @property
    def leading(self) -> Finding:
        """What the headline says."""
        return self.findings[0]

    @property
    def tone(self) -> Tone:
        """That of the whole."""
        return self.leading.tone

    @property
    def complaints(self) -> tuple[Finding, ...]:
        """What is not well."""
        return tuple(f for f in self.findings if f.tone is not Tone.GOOD)

    @property
    def others(self) -> tuple[Finding, ...]:
        """What is not well beside what leads, each thing once.

        Pauses are listed by themselves, with who and why; and a backlog that is long because its budget is used up is said with that.
        """
        full = {f.subject for f in self.findings if f.kind is _K.BUDGET_FULL}
        return tuple(f for f in self.complaints[1:] if f.kind is not _K.PAUSED and not (f.kind is _K.BACKLOG_LONG and f.subject in full))

    def of_area(self, area: Area) -> Finding | None:
        """The most urgent finding of an area."""
        return next((f for f in self.findings if f.area is area), None)

    def of_scope(self, scope: str) -> Finding | None:
        """The most urgent finding that concerns a scope; one about the whole budget log concerns each."""
        return next((f for f in self.findings if f.subject == scope or f.kind is _K.BUDGET_LOG_LOST), None)


def diagnose(o: Overview) -> Diagnosis:
    """What an overview comes to."""
    found = [*_of_pauses(o), *_of_didit(o), *_of_replicas(o), *_of_budget(o), *_of_blocked(o)]
    found += [*_of_held(o), *_of_backlog(o, found)]
    if not any(f.kind in _SLOW for f in found):
        found += _of_standstill(o)
    if o.dead_letters.open:
        found.append(Finding(_K.DEAD_LETTERS_OPEN, figures={"open": o.dead_letters.open}))
    found.sort(key=lambda f: (f.kind.urgency, -f.figures.get("drain_s", 0.0), f.subject))
    return Diagnosis(tuple(found))


def _of_pauses(o: Overview) -> Iterator[Finding]:
    """What operators hold is the bottleneck, whatever the budget would allow; nothing can be said of when it is done."""
    for act in o.pauses:
        since_s = max(0.0, (o.at_ms - act.at_ms) / 1000)
        yield Finding(_K.PAUSED, act.name, {"calls": o.paused_calls.get(act.name, 0), "since_s": since_s})


def _of_didit(o: Overview) -> Iterator[Finding]:
    for breaker in o.budget.breakers:
        figures = {"probe_in_s": 0.0 if breaker.probing else breaker.probe_in_s}
        if breaker.name == "account":
            yield Finding(_K.ACCOUNT_REFUSED, figures=figures)
        else:
            yield Finding(_K.OPERATION_REFUSED if breaker.refused else _K.OPERATION_FAILING, breaker.name, figures)
    for scope in o.budget.scopes:
        if scope.paused_for_s > 0:
            yield Finding(_K.ASKED_TO_WAIT, scope.scope, {"paused_s": scope.paused_for_s, "calls": _drain(o, scope).calls})
        if scope.throttled_lately and scope.limit >= scope.configured:
            yield Finding(_K.RATE_LIMITED, scope.scope, {"answers": scope.throttled_lately})


def _of_replicas(o: Overview) -> Iterator[Finding]:
    silent = [replica.instance for replica in o.replicas if not replica.heard and replica.in_group]
    if not any(replica.heard for replica in o.replicas) or o.group_state in _NO_MEMBERS:
        yield Finding(_K.NO_REPLICA, figures={"unfinished": sum(p.unfinished for p in o.partitions)})
        return
    yield from (Finding(_K.REPLICA_SILENT, instance) for instance in silent)
    yield from (Finding(_K.CLOCK_WRONG, r.instance, {"off_s": r.clock_off_s}) for r in o.replicas if r.clock_off_s > _CLOCK_OFF_S)
    unowned = sum(1 for p in o.partitions if p.owner is None)
    if o.group_state in _REBALANCING:
        yield Finding(_K.REBALANCING)
    elif unowned:
        yield Finding(_K.PARTITIONS_UNOWNED, figures={"partitions": unowned})


def _of_budget(o: Overview) -> Iterator[Finding]:
    if o.budget.blocked_for_s > 0:
        yield Finding(_K.BUDGET_LOG_LOST, figures={"blocked_s": o.budget.blocked_for_s})
    for scope in o.budget.scopes:
        if scope.limit < scope.configured:
            yield Finding(_K.LIMIT_LOWERED, scope.scope, {"limit": scope.limit, "configured": scope.configured})
        drain = _drain(o, scope)
        if _sets_pace(o, scope, drain):
            yield Finding(_K.BUDGET_FULL, scope.scope, _use(scope, drain))


def _of_blocked(o: Overview) -> Iterator[Finding]:
    for cause, kind in _BLOCKED.items():
        blocked = [b for b in o.blocked if b.cause is cause]
        if blocked:
            figures = {"partitions": len(blocked), "hidden": sum(b.hidden for b in blocked), "blocked_s": max(b.blocked_s for b in blocked)}
            yield Finding(kind, _names([b.name for b in blocked]), figures)
    if o.unjudged:
        yield Finding(_K.REPLICAS_LACKING, _names(list(o.unjudged)), {"partitions": len(o.unjudged)})


def _of_standstill(o: Overview) -> Iterator[Finding]:
    """What ought to move and does not, although nothing was found that would explain it."""
    stuck = {(b.topic, b.partition) for b in o.blocked}
    idle = [p for p in o.partitions if p.idle_s >= IDLE_S and (p.topic, p.partition) not in stuck]
    if idle:
        figures = {"unfinished": sum(p.unfinished for p in idle), "idle_s": max(p.idle_s for p in idle)}
        yield Finding(_K.PARTITION_IDLE, _names([f"{p.topic}[{p.partition}]" for p in idle]), figures)
    late_s = 0.0 if o.waiting.oldest_due_ms is None else (o.at_ms - o.waiting.oldest_due_ms) / 1000
    if late_s >= IDLE_S:
        yield Finding(_K.RETRIES_OVERDUE, figures={"due": o.waiting.due_now, "late_s": late_s})


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more


def _of_held(o: Overview) -> Iterator[Finding]:
    for d in o.drains:  # what is paused has a finding of its own
        held = d.held - d.paused
        if not isfinite(d.drain_s):
            if held or not d.paused:
                yield Finding(_K.BACKLOG_STUCK, d.scope, {"calls": d.calls})
        elif held:
            yield Finding(_K.BACKLOG_HELD, d.scope, {"held": held, "calls": d.calls - d.held, "drain_s": d.drain_s})


def _of_backlog(o: Overview, others: list[Finding]) -> Iterator[Finding]:
    """What is said of the calls that may pass."""
    longest = max((d for d in o.drains if d.calls and isfinite(d.drain_s)), key=lambda d: (d.drain_s, d.calls), default=None)
    if longest is not None:
        yield _of_longest(o, longest, others)
    elif not any(d.calls for d in o.drains):
        yield Finding(_K.BACKLOG_EMPTY)


def _of_longest(o: Overview, longest: DrainView, others: list[Finding]) -> Finding:
    scope = next((s for s in o.budget.scopes if s.scope == longest.scope), None)
    figures = {"calls": longest.calls - longest.held, "drain_s": longest.drain_s} if scope is None else _use(scope, longest)
    held = any(f.kind in _HELD for f in others) or scope is None or scope.paused_for_s > 0 or _sets_pace(o, scope, longest)
    if longest.drain_s <= LONG_BACKLOG_S:
        if not held and scope is not None and scope.live == 0:
            return Finding(_K.CALLS_IDLE, longest.scope, figures | {"window_s": scope.window_s})
        return Finding(_K.BACKLOG_DRAINS, longest.scope, figures)
    return Finding(_K.BACKLOG_LONG if held else _K.BUDGET_UNUSED, longest.scope, figures)


def _sets_pace(o: Overview, scope: ScopeView, drain: DrainView) -> bool:
    """Whether calls wait for this budget: it is used up, or its pace is, which spreads what is left of it over the window."""
    if (not scope.waiting and drain.calls <= drain.held) or (drain.paused and drain.drain_s == inf):
        return False
    long = _PACED_PART * scope.window_s < drain.drain_s < inf
    if max(scope.used, scope.live) >= FULL_SHARE * scope.limit:
        return scope.waiting > 0 or scope.pace.next_call_s > 0 or long
    return long and scope.pace.next_call_s > 0 and scope.paused_for_s <= 0 and o.budget.blocked_for_s <= 0


def _use(scope: ScopeView, drain: DrainView) -> dict[str, float]:
    return {"calls": drain.calls - drain.held, "drain_s": drain.drain_s, "used": scope.used, "limit": scope.limit}


def _drain(o: Overview, scope: ScopeView) -> DrainView:
    return next((d for d in o.drains if d.scope == scope.scope), DrainView(scope.scope, 0, 0.0))
