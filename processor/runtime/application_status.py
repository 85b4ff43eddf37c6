"""What one application of a running process tells of itself: its phase, the vitals behind its health, its gauges."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from processor.budget.shared import SharedBudget
from processor.budget.view import BudgetView
from processor.didit.catalog import SCOPES_OF
from processor.monitoring.factories import view_of
from processor.observe import metrics
from processor.observe.application import working_for
from processor.observe.health import Phase, Vitals
from processor.stream.broker_clock import BrokerClock
from processor.stream.group_member import GroupMember
from processor.stream.login import Login
from processor.stream.takeover import TakeoverWait
from processor.stream.throttling import THROTTLING


@dataclass(slots=True)
class ApplicationStatus:
    """State that the parts of an application write, and observers read. ``member`` and ``budget`` are None while there is none."""

    name: str
    poll_stall_s: float
    worker: bool = True  # owns partitions and calls; a webhook receiver does not
    member: GroupMember | None = None
    budget: SharedBudget | None = None
    clock: BrokerClock | None = None
    login: Login | None = None
    on_refresh: list[Callable[[], None]] = field(default_factory=list)  # sets further gauges
    restarting: set[str] = field(default_factory=set)  # tasks that failed and wait to be started again
    _phase: Phase = Phase.STARTING
    _since: float = field(default_factory=time.monotonic)
    _detail: str = ""
    _over_limit: dict[str, int] = field(default_factory=dict)
    _malformed_count: int = 0

    def enter(self, phase: Phase, detail: str = "") -> None:
        """The application is in this phase from now on; nothing leads out of stopping."""
        if self._phase is not Phase.STOPPING:
            self._since = time.monotonic() if phase is not self._phase else self._since
            self._phase, self._detail = phase, detail

    def begin_again(self, detail: str) -> None:
        """What works for the application has ended, and is started again later."""
        self.member = self.budget = self.clock = None
        self.on_refresh.clear()
        self._over_limit.clear()  # the next budget counts from its own beginning
        self._malformed_count = 0
        self._phase, self._since, self._detail = Phase.STARTING, time.monotonic(), detail

    def vitals(self, tick_s: float, stall_s: float) -> Vitals:
        """As of now.

        Args:
            tick_s: since the event loop of the process last ran its watch.
            stall_s: longer means that it stands still.
        """
        now, member, budget = time.monotonic(), self.member, self.budget
        lanes = _lane_counts(member)
        return Vitals(
            self._phase,
            now - self._since,
            self._detail,
            tick_s,
            stall_s,
            member=member is not None and member.assigned,
            lanes_open=lanes["open"],
            lanes_restoring=lanes["restoring"],
            lanes_leaderless=lanes[TakeoverWait.LEADERLESS],
            lanes_unfenced=lanes[TakeoverWait.UNFENCED],
            lanes_refused=lanes[TakeoverWait.REFUSED],
            poll_s=None if member is None else now - member.last_poll,
            poll_stall_s=self.poll_stall_s,
            worker=self.worker,
            budget_joined=budget is not None and budget.is_joined,
            budget_silence_s=0.0 if budget is None else budget.silence_s,
            kafka_fault="" if self.login is None or (fault := self.login.fault) is None else f"{fault.code}: {fault.text}",
            throttled_s=THROTTLING.recent_s,
            clock_fault="" if self.clock is None else self.clock.fault,
            restarting=tuple(sorted(self.restarting)),
            paused={} if budget is None else {s.scope: s.paused_for_s for s in view_of(budget).scopes if s.paused_for_s > 0},
        )

    def refresh(self) -> None:
        """Set every gauge of this application to what is true now."""
        with working_for(self.name):
            metrics.open_series()
            if self.worker:
                _set_lanes(self.member)
            if self.budget is not None:
                self._set_budget(self.budget)
            else:
                metrics.BUDGET_JOINED.set(0)
            if self.clock is not None:
                metrics.CLOCK_SKEW.set(self.clock.skew_s)
            for also in self.on_refresh:
                also()

    def _set_budget(self, budget: SharedBudget) -> None:
        _set_budget(budget, view_of(budget))
        for scope, count in budget.state.overrun.counts.items():
            metrics.OVER_LIMIT.labels(scope).inc(max(0, count - self._over_limit.get(scope, 0)))
            self._over_limit[scope] = count
        metrics.BUDGET_MALFORMED.inc(budget.malformed_count - self._malformed_count)
        self._malformed_count = budget.malformed_count


def _lane_counts(member: GroupMember | None) -> dict[str, int]:
    """Partitions of ours by state; each is in one."""
    counts: dict[str, int] = {wait: member.waiting_count(wait) if member is not None else 0 for wait in TakeoverWait}
    counts["open"] = member.open_count if member is not None else 0
    owned_count = len(member.snapshot()) if member is not None else 0
    return counts | {"restoring": owned_count - sum(counts.values())}


def _set_lanes(member: GroupMember | None) -> None:
    """Between two lives, and while another process has our instance id, there is no group member: nothing is ours then."""
    lanes = member.snapshot() if member is not None else {}
    for gauge in (metrics.LAG, metrics.DELAYED, metrics.OVERDUE):
        gauge.clear()
    states = dict.fromkeys(("delayed", "ready", "work", "finished"), 0)
    held_bytes, overdue_s, delayed = 0, dict[str, float](), dict[str, int]()
    for tp, lane in lanes.items():
        if lane is None:
            continue
        metrics.LAG.labels(tp.topic, str(tp.partition)).set(lane["unfinished"] + lane["unread"])
        overdue_s[tp.topic] = max(overdue_s.get(tp.topic, 0.0), lane["overdue_ms"] / 1000)
        delayed[tp.topic] = delayed.get(tp.topic, 0) + lane["delayed"]
        held_bytes += lane["held_bytes"]
        for state in states:
            states[state] += lane[state]
    for topic, late_s in overdue_s.items():
        metrics.OVERDUE.labels(topic).set(late_s)
        metrics.DELAYED.labels(topic).set(delayed[topic])
    for state, count in states.items():
        metrics.LANE_RECORDS.labels(state).set(count)
    metrics.LANE_BYTES.set(held_bytes)
    for state, count in _lane_counts(member).items():
        metrics.LANES.labels(state).set(count)
    metrics.POLL_AGE.set(time.monotonic() - member.last_poll if member is not None else 0.0)


def _set_budget(budget: SharedBudget, view: BudgetView) -> None:
    waiting = budget.waiting
    for s in view.scopes:
        metrics.BUDGET_LIMIT.labels(s.scope).set(s.limit)
        metrics.BUDGET_CONFIGURED.labels(s.scope).set(s.configured)
        metrics.BUDGET_WINDOW.labels(s.scope).set(s.window_s)
        metrics.BUDGET_USED.labels(s.scope).set(s.used)
        metrics.BUDGET_LIVE.labels(s.scope).set(s.live)
        metrics.BUDGET_PAUSED.labels(s.scope).set(s.paused_for_s)
        metrics.BUDGET_FOREIGN.labels(s.scope).set(s.foreign)
        metrics.PERMITS_WAITING.labels(s.scope).set(sum(n for name, n in waiting.items() if s.scope in SCOPES_OF[name]))
    metrics.TENANT_WAITING.clear()
    for tenant in view.tenants:
        metrics.TENANT_WAITING.labels(tenant.tenant).set(tenant.waiting)
    open_breakers = {breaker.name for breaker in view.breakers}
    for name in waiting:
        metrics.BREAKER_OPEN.labels(name).set(name in open_breakers)
    metrics.CALLS_PAUSED.clear()
    for act in budget.state.pauses.in_force:
        if act.operation is None or act.operation in SCOPES_OF:  # labels are ours, whatever stands in the topic
            metrics.CALLS_PAUSED.labels(act.name).set(1)
    metrics.ACCOUNT_HELD.set("account" in open_breakers)
    metrics.BUDGET_BLOCKED.set(view.blocked_for_s)
    metrics.BUDGET_JOINED.set(budget.is_joined)
    metrics.BUDGET_SILENCE.set(budget.silence_s)
    metrics.CALLS_REMEMBERED.set(len(budget.state.journal))
    metrics.REPLICAS.set(len(view.replicas))
