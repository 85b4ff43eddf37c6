"""The budget as people see it: one line for each scope, from what the log says. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from processor.budget.circuit_breaker import ACCOUNT
from processor.budget.log_records import Alive
from processor.budget.replica_facts import ReplicaFacts
from processor.budget.replicas import CHECK_INSTANCE
from processor.budget.state import BudgetState
from processor.budget.tenant_queue import Weigh
from processor.budget.tenant_shares import TenantsWaiting

_TENANTS_SHOWN = 10
_FOREIGN_429S = 2  # in ten minutes; one more lowers the limit


@dataclass(frozen=True, slots=True)
class PaceView:
    """How calls of one scope leave from now on, if there are more than may leave at once (docs/pacing.md)."""

    next_call_s: float = 0.0  # until one more call could start: 0 if pace and window have room for it, inf if the window is full
    at_once: int = 0  # calls that may leave now, ahead of the pace
    gap_s: float = 0.0  # between two calls after those; 0 is that of the limit
    gap_for_s: float = 0.0  # for so long; then it is that of the limit


@dataclass(frozen=True, slots=True)
class ScopeView:
    """One scope; seconds are from now on."""

    scope: str
    configured: int  # calls a window
    limit: int  # at present: less while somebody else uses the key, or while a replica obeys less
    window_s: float
    live: int  # weight that counts now: calls of the last window, calls in flight, asks that wait
    used: int  # calls of this key answered in the last window
    open: int  # asks without an answer: waiting or in flight
    waiting: int  # requests that wait in all replicas, as they said last
    paused_for_s: float
    throttled_lately: int  # 429s of the last ten minutes that have not lowered the limit yet
    holders: Mapping[str, int]  # open weight by replica
    pace: PaceView = PaceView()

    @property
    def foreign(self) -> bool:
        """Whether somebody else seems to use the key. A single 429 may be Didit's own counting, or a limit set too high."""
        return self.limit < self.configured or self.throttled_lately >= _FOREIGN_429S


@dataclass(frozen=True, slots=True)
class BreakerView:
    """One breaker that is not closed."""

    name: str  # an endpoint, or ``account``
    probe_in_s: float
    probing: bool
    refused: bool = False  # Didit refuses the operation, it does not fail


@dataclass(frozen=True, slots=True)
class TenantView:
    """A tenant with requests that wait."""

    tenant: str  # empty for requests that name none, ``~`` for all further ones
    waiting: int  # requests in all replicas, those included that wait for room in a line, as they said last
    share: float  # of what their class gets while all of these wait, 0 to 1


@dataclass(frozen=True, slots=True)
class HeardView:
    """A replica that was heard in the last ten minutes."""

    silent_s: float
    facts: ReplicaFacts | None  # as it said then; None for one of an earlier version


@dataclass(frozen=True, slots=True)
class BudgetView:
    """Everything `processor budget` prints. A `processor check` holds weight, and is not among the replicas."""

    scopes: tuple[ScopeView, ...]
    breakers: tuple[BreakerView, ...]
    replicas: tuple[str, ...]
    blocked_for_s: float  # the log was lost: nobody starts a call
    clocks_off_s: Mapping[str, float] = field(default_factory=dict)  # by replica: by how much its clock differs from the brokers'
    heard: Mapping[str, HeardView] = field(default_factory=dict)  # by replica, also those that are gone
    tenants: tuple[TenantView, ...] = ()  # those with the most waiting, where any are named

    @property
    def is_account_held(self) -> bool:
        """Whether every call is held, because of a fault of the account."""
        return any(breaker.name == "account" for breaker in self.breakers)


def budget_view(state: BudgetState, scopes_of: Mapping[str, tuple[str, ...]], now: float, group: str = "") -> BudgetView:
    """What the state says now.

    Args:
        state: after the last record.
        scopes_of: the scopes of each endpoint, to share out who waits.
        now: the clock with which the records were applied.
        group: whose replicas are named as they are; those of other groups, which share the key, are ``group/instance``.
    """
    name = partial(_name, group)
    asking = state.replicas.alive(now)
    instances = {client: name(alive) for client, alive in asking.items()}
    present = {client: alive for client, alive in asking.items() if alive.instance != CHECK_INSTANCE}
    waiting: Counter[str] = Counter()
    for alive in present.values():
        for endpoint, count in alive.waiting.items():
            waiting.update(dict.fromkeys(scopes_of.get(endpoint, ()), count))
    return BudgetView(
        tuple(_scope(state, name, instances, waiting[name], now) for name in sorted(state.windows)),
        tuple(
            BreakerView(name if name != ACCOUNT else "account", max(0.0, c.until - now), c.probing(now), refused=c.is_refusing)
            for name, c in sorted(state.breakers.items())
            if c.open
        ),
        tuple(sorted(map(name, present.values()))),
        max(0.0, state.blocked_until - now),
        {name(alive): alive.clock_off_s for alive in present.values() if alive.clock_off_s},
        {
            name(alive): HeardView(max(0.0, now - at), alive.facts)
            for at, alive in state.replicas.heard_lately(now)
            if alive.instance != CHECK_INSTANCE
        },
        _tenants([told for alive in present.values() for told in alive.tenants.values()], state.tenants.weight_of),
    )


def _name(group: str, alive: Alive) -> str:
    return alive.instance if alive.group in ("", group) else f"{alive.group}/{alive.instance}"


def _tenants(told: Sequence[TenantsWaiting], weight_of: Weigh) -> tuple[TenantView, ...]:
    waiting: Counter[str] = Counter()
    for replica in told:
        waiting.update(replica.requests)
    others = max((replica.others for replica in told), default=0)  # two replicas may count the same one, and do not say which
    all_weights = sum(map(weight_of, waiting)) + others
    shown = waiting.most_common(_TENANTS_SHOWN)
    found = [TenantView(name, count, weight_of(name) / all_weights) for name, count in shown]
    rest = waiting.total() - sum(count for _, count in shown) + sum(replica.other_requests for replica in told)
    if rest:
        found.append(TenantView("~", rest, max(0.0, 1.0 - sum(tenant.share for tenant in found))))
    return tuple(found)


def _scope(state: BudgetState, name: str, instances: Mapping[str, str], waiting: int, now: float) -> ScopeView:
    window = state.windows[name]
    window.expire(now)
    holders: Counter[str] = Counter()
    for ask_id, hold in window.live.items():
        if hold.open:
            holders[instances.get(ask_id.rpartition("-")[0], "gone")] += hold.weight
    return ScopeView(
        name,
        state.rules.limits[name][0],
        window.limit,
        window.window_s,
        window.weight,
        window.weight - window.open_weight,
        window.open_weight,
        waiting,
        max(0.0, window.paused_until - now),
        window.throttled_lately(now),
        dict(holders),
        PaceView(max(0.0, window.foreseen_start_at(0, now) - now), window.burst_room(now), *window.gap_after_burst_s(now)),
    )
