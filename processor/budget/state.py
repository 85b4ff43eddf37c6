"""All that the budget log says, as one replica sees it: windows, breakers, journal, who is there. Pure: no clock, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from processor.budget.call_journal import CallJournal
from processor.budget.circuit_breaker import ACCOUNT, CircuitBreaker, account_rules, endpoint_rules
from processor.budget.limit_audit import LimitAudit
from processor.budget.log_name import LogName
from processor.budget.log_records import Alive, Asked, Begun, Claimed, Ended, Failed, LaneDone, LogRecord, Paused, UsualAsk
from processor.budget.permits import HealthSignal, Parked
from processor.budget.replicas import Replicas
from processor.budget.tenant_shares import Tenants
from processor.budget.windows import Window
from processor.contract.codes import ErrorCode
from processor.contract.pauses import Pauses

ALIVE_EVERY_S = 10.0
PAUSE_TOLD_EVERY_S = 120.0  # at the latest, by whoever is there
_MIXED_S = 3600.0
_GROUPS_AFTER_S = 600.0  # since a replica of an earlier version was heard; one that was frozen or killed may come back
_PROMISES = 2  # of ours: replicas of another configuration may promise so much
_PAUSED_WAIT_S = 3600.0  # of a paused request; then it is written once more
_GOOD = HealthSignal.GOOD


@dataclass(frozen=True, slots=True)
class Rules:
    """What all replicas of a key agree on; times in seconds. ``budget_rules`` makes them; ``settings.budget`` has defaults and reasons."""

    limits: Mapping[str, tuple[int, float]]  # scope -> calls, window
    wait_s: float  # an ask starts within this time of its sending, or is given up
    call_s: float  # the longest call is counted by the server within this time of its start
    margin_s: float  # of that, what comes after our own timeout
    slack_s: float  # drift between the clocks of two machines while an ask is live
    skew_s: float  # between the clocks of two brokers: by so much what is read back may be younger than it seems
    memory_s: float  # so long a call is remembered after it was asked for
    pause_max_s: float  # a longer pause in the log is cut to this
    breaker_failures: int  # in a row, until the breaker of an endpoint opens
    breaker_hold_s: float  # until its first probe
    account_probe_s: float  # from one probe to the next, of the account and of an operation that is refused
    refused_requests: int = 5  # different ones with a 403, until their operation is held
    memory_calls: int = 1_000_000  # remembered at the most, the newest
    groups: bool = True  # several records may go into one entry of the log
    tenant_weights: Mapping[str, float] = field(default_factory=dict)  # of those that are left out: 1

    @property
    def counts(self) -> dict[str, int]:
        """Calls a window, by scope."""
        return {scope: limit for scope, (limit, _) in self.limits.items()}

    @property
    def windows_s(self) -> dict[str, float]:
        """Length of the window, by scope."""
        return {scope: window_s for scope, (_, window_s) in self.limits.items()}

    @property
    def promise_s(self) -> float:
        """From the sending of an ask to the last moment at which its call may be counted, for the longest call."""
        return self.wait_s + self.call_s

    def promise_of(self, timeout_s: float) -> float:
        """The same for a call that ends after so long, its files read before it; never longer than ``promise_s``, by the deadlines."""
        return min(self.promise_s, self.wait_s + timeout_s + self.margin_s)

    @property
    def horizon_s(self) -> float:
        """Older asks of this configuration cannot matter to any window."""
        return self.promise_s + self.slack_s + max(window_s for _, window_s in self.limits.values())

    @property
    def replay_s(self) -> float:
        """How far back a newcomer reads: others may promise twice as much; and what the journal remembers."""
        return max(_PROMISES * self.horizon_s + self.skew_s, self.memory_s)


# Of an ask: offset, scopes, endpoint, digest of the request if it is a request's own call, and number in the journal or 0
_Open = tuple[int, tuple[str, ...], str, str | None, int]


class BudgetState:
    """Apply every record of the log in order; ask what an own ask may do.

    Args:
        rules: limits and times.
        spread: 0 <= spread < 1, this replica's place in the crowd after a pause.
    """

    def __init__(self, rules: Rules, spread: float) -> None:
        self.rules = rules
        self.windows = {scope: Window(limit, window_s, rules.slack_s, spread) for scope, (limit, window_s) in rules.limits.items()}
        self.breakers: dict[str, CircuitBreaker] = {ACCOUNT: CircuitBreaker(account_rules(rules.refused_requests, rules.account_probe_s))}
        self.journal = CallJournal(rules.memory_s, rules.memory_calls)
        self.replicas = Replicas()
        self.pauses = Pauses()  # of operators; not in the log: whoever reads them sets it
        self.counts_from = float("-inf")  # asks from before are over in every window, whatever became of them
        self._groups_from = float("-inf")
        self.blocked_until = float("-inf")  # the log was lost somewhere: calls that nobody remembers may still count
        self.naming = LogName()
        self.overrun = LimitAudit(rules.limits)
        self.asked_at: dict[str, float] = {}  # by endpoint, when a request last wanted it
        self.tenants = Tenants(rules.tenant_weights)
        self._promise_max_s = _PROMISES * rules.promise_s
        self._open: dict[str, _Open] = {}  # asks without an end
        self._open_until: deque[float] = deque()  # in the order of the log, side by side with their names; see ``windows.ExpiryQueue``
        self._open_names: deque[str] = deque()

    def follow_on(self, earlier: BudgetState, client: str, now: float = float("-inf")) -> None:
        """Take over what the log does not say, as it is read again from its past.

        Args:
            earlier: the state until now, which is dropped.
            client: our name in the log until now; we get another one.
            now: own clock, s; asks that must be over by then in every window are read for the journal alone.
        """
        self.counts_from = now - self.rules.horizon_s - (_PROMISES - 1) * self.rules.promise_s
        self.journal.replayed_calls = earlier.journal.replayed_calls
        self.journal.finished.follow_on(earlier.journal.finished)
        self.overrun.follow_on(earlier.overrun)
        for scope, window in self.windows.items():
            window.follow_on(earlier.windows[scope])
        self.replicas.follow_on(earlier.replicas, client)
        self.pauses, self.naming = earlier.pauses, earlier.naming.next_reading()
        self.tenants.named_at = earlier.tenants.named_at

    def apply(self, record: LogRecord, offset: int, at: float, stamp_ms: int, *, mine: bool = False) -> bool:
        """Take a record in; whether it is an ask not seen before, a beginning whose call may be made, or somebody new.

        Args:
            record: what was read.
            offset: where it stands, as ``log.place_of`` says it.
            at: when it was received, own clock; for records of a former time an estimate that is never too early.
            stamp_ms: the broker's time of appending, epoch ms.
            mine: it is an ask of this replica, and somebody still waits for it.
        """
        if type(record) is Ended:  # these two are nearly all there is
            self._ended(record, offset, at, stamp_ms)
            return False
        if type(record) is Asked:
            return self._asked(record, offset, at, stamp_ms, mine=mine)
        match record:
            case Begun():
                return self.journal.begun(record.id, offset)
            case Claimed():
                self.journal.claimed(record.identity, offset, at, stamp_ms)
            case Failed() if (found := self._open.pop(record.id, None)) is not None:
                self._judge(record.id, found, offset, record.health, at, acted=False)
            case Paused():
                if record.scope in self.windows:  # no record may stop us for ever
                    wait_s = min(record.wait_s, self.rules.pause_max_s)
                    self.windows[record.scope].pause(wait_s, at, counts=record.counts, limit=record.limit)
            case LaneDone():
                self.journal.finished.note(record, offset)
            case Alive():
                return self._alive(record, offset, at)
        return False

    def apply_usual(self, ask: UsualAsk, offset: int, at: float, stamp_ms: int) -> bool:
        """Take in an ask of another replica as ``log_records.read_usual_ask`` gives it, or leave it to ``apply``: then nothing has changed.

        It is left if anything is known of it, or of its request. The state is the same either way.
        """
        if self._open_until and self._open_until[0] <= at:
            self._expire_asks(at)
        ask_id, scopes, promise_s, endpoint = ask[:4]
        windows = [self.windows[scope] for scope in scopes if scope in self.windows] if at >= self.counts_from else []
        if promise_s > self._promise_max_s or ask_id in self._open or _is_live(ask_id, windows):
            return False
        number = self.journal.asked_usual(ask, offset, at, stamp_ms)
        if not number:
            return False
        for window in windows:
            window.ask(ask_id, offset, 1, promise_s, at, mine=False)
        self.asked_at[endpoint] = at
        self.tenants.asked(endpoint, ask_id, at)
        self._open[ask_id] = offset, scopes, endpoint, ask[4], number
        self._open_until.append(at + promise_s)
        self._open_names.append(ask_id)
        return True

    def apply_answered(self, ask_id: str, at: float, stamp_ms: int, *, acted: bool) -> bool:
        """Take in an end as ``log_records.read_usual_end`` gives it, or leave it to ``apply``: then nothing has changed.

        It is left if its ask has no row in the memory, or a breaker takes note of it. The state is the same either way.
        """
        found = self._open.get(ask_id)
        if found is None or not found[4]:
            return False
        _, scopes, endpoint, _, number = found
        breaker = self.breakers.get(endpoint)
        if breaker is None or not (breaker.is_undisturbed_by(_GOOD) and self.breakers[ACCOUNT].is_undisturbed_by(_GOOD)):
            return False
        del self._open[ask_id]
        if at >= self.counts_from:
            for scope in scopes:
                window = self.windows.get(scope)
                if window is not None and (weight := window.end(ask_id, used=True, at=at)):
                    self.overrun.answered(scope, weight, stamp_ms)
        self.journal.answered(ask_id, number, acted=acted)
        self.tenants.ended(endpoint, ask_id)
        return True

    def miss(self, offset: int, at: float) -> None:
        """Records before an offset are missing; the next one was received at ``at``."""
        self.blocked_until = max(self.blocked_until, at + self.rules.horizon_s)
        self.journal.whole_from = offset

    @property
    def log_name(self) -> str:
        """Of the log that is followed; empty while nobody has named it."""
        return self.naming.name

    def read_back_from(self, start: int) -> None:
        """All of the past is read, from an offset on. If not from the first one, those who named the log may have joined before."""
        self.journal.floor = max(start, self.journal.floor)
        self.naming.read_back_from(start)

    def may_group(self, now: float) -> bool:
        """Whether several records may go into one entry of the log: all who are there, or were lately, read it."""
        return self.rules.groups and now >= self._groups_from

    def start_at(self, asked: Asked, now: float) -> float:
        """``now`` or less: this own, placed ask may start. Otherwise when to look again, or ``inf`` for not without a new record."""
        found = self.blocked_until
        for scope in asked.scopes:  # plain loops: each of these is asked several times for each call
            found = max(found, self.windows[scope].start_at(asked.id, now))
        return found

    def has_room(self, asked: Asked) -> bool:
        """Whether nothing but time keeps an own, placed ask from starting, as far as the log says now."""
        return not any(self.windows[s].is_full_for(asked.id) for s in asked.scopes)

    def foreseen_start_at(self, scopes: tuple[str, ...], unread: Mapping[str, int], now: float) -> float:
        """When an ask that is sent now could start; ``unread`` own ones, by scope, come before it. A guess: others may ask before it."""
        found = self.blocked_until
        for scope in scopes:  # as above
            found = max(found, self.windows[scope].foreseen_start_at(unread.get(scope, 0), now))
        return found

    def any_obsolete(self) -> bool:
        """Whether ``is_obsolete`` can be true of any ask: something is paused, or a breaker is open."""
        return self.pauses.stop_any or any(breaker.open for breaker in self.breakers.values())

    def is_obsolete(self, asked: Asked) -> bool:
        """Whether an own, placed ask is to be given up: it is paused, a breaker has opened, or another ask is the probe."""
        if self.pauses.stops(asked.endpoint):
            return True
        return not (self.breakers[ACCOUNT].may_start(asked.id) and self.breaker(asked.endpoint).may_start(asked.id))

    def passable(self, endpoint: str, now: float) -> bool:
        """Whether an ask is worth making: freely, or as a probe."""
        return not self.pauses.stops(endpoint) and self.breakers[ACCOUNT].passable(now) and self.breaker(endpoint).passable(now)

    def shut(self, endpoint: str) -> bool:
        """Whether only a probe may pass."""
        return self.breakers[ACCOUNT].open or self.breaker(endpoint).open

    def forget(self, asked: Asked) -> None:
        """An own ask waits no more."""
        for scope in asked.scopes:
            self.windows[scope].forget(asked.id)

    @property
    def is_account_held(self) -> bool:
        """Whether every call is held, because of a fault of the account."""
        return self.breakers[ACCOUNT].open

    def breaker(self, name: str) -> CircuitBreaker:
        """The breaker of an endpoint, or of the account."""
        found = self.breakers.get(name)
        if found is None:
            r = self.rules
            rules = endpoint_rules(r.breaker_failures, r.breaker_hold_s, r.refused_requests, r.account_probe_s)
            found = self.breakers[name] = CircuitBreaker(rules)
        return found

    def parked(self, endpoint: str, scopes: tuple[str, ...], park_s: float, now: float) -> Parked | None:
        """That requests for an endpoint come back later: it is paused, held, or a scope is paused for longer than ``park_s``."""
        if self.pauses.names(endpoint):
            return Parked(ErrorCode.OPERATION_PAUSED, _PAUSED_WAIT_S)
        if (held_s := self.breaker(endpoint).held_for_s(now)) > 0:
            return Parked(ErrorCode.OPERATION_HELD, held_s + self.rules.account_probe_s)  # behind the next probe
        if (paused_s := self.paused_for_s(scopes, now)) > park_s:
            return Parked(ErrorCode.SCOPE_PAUSED, paused_s)
        return None

    def paused_for_s(self, scopes: tuple[str, ...], now: float) -> float:
        """Seconds until none of the scopes is paused; 0 if none is."""
        until = now
        for scope in scopes:
            until = max(until, self.windows[scope].paused_until)
        return until - now

    def others_wanted(self, endpoint: str, now: float) -> bool:
        """Whether anybody has asked for another endpoint lately, so that its requests may stand behind this one's."""
        for name, at in self.asked_at.items():  # noqa: SIM110 - asked twice for each request, and a generator costs more than the rest
            if name != endpoint and now - at <= _MIXED_S:
                return True
        return False

    def _asked(self, asked: Asked, offset: int, at: float, stamp_ms: int, *, mine: bool) -> bool:
        if self._open_until and self._open_until[0] <= at:
            self._expire_asks(at)
        if asked.promise_s > self._promise_max_s:  # no record holds weight for ever; who promises so much is not of our kind
            asked = replace(asked, promise_s=self._promise_max_s)
        ask_id = asked.id
        windows = [self.windows[scope] for scope in asked.scopes if scope in self.windows] if at >= self.counts_from else []
        if ask_id in self._open or _is_live(ask_id, windows):
            return False  # appended twice by a producer's retry: the first one counts
        for window in windows:
            window.ask(ask_id, offset, asked.weight, asked.promise_s, at, mine=mine)
        request, number = None, 0
        if asked.identity is not None:
            self.asked_at[asked.endpoint], request = at, asked.identity.request
            number = self.journal.asked(asked, asked.identity, offset, at, stamp_ms)
        self.tenants.asked(asked.endpoint, ask_id, at)
        self._open[ask_id] = offset, asked.scopes, asked.endpoint, request, number
        self._open_until.append(at + asked.promise_s)
        self._open_names.append(ask_id)
        if asked.probe:
            for name in (ACCOUNT, asked.endpoint):
                self.breaker(name).asked_as_probe(asked.id, asked.promise_s, at)
        return True

    def _ended(self, ended: Ended, offset: int, at: float, stamp_ms: int) -> None:
        found = self._open.pop(ended.id, None)
        if at >= self.counts_from:
            for scope in self.windows if found is None else found[1]:
                window = self.windows.get(scope)
                if window is not None and (weight := window.end(ended.id, used=ended.used, at=at)):
                    self.overrun.answered(scope, weight, stamp_ms)
        if found is None or found[4]:
            self.journal.ended(ended, 0 if found is None else found[4])
        if found is not None:
            self.tenants.ended(found[2], ended.id)
            self._judge(ended.id, found, offset, ended.health, at, acted=ended.acted)

    def _judge(self, ask_id: str, found: _Open, offset: int, health: HealthSignal, at: float, *, acted: bool) -> None:
        asked_offset, _, endpoint, request, _ = found
        breaker = self.breakers.get(endpoint) or self.breaker(endpoint)
        if breaker.is_undisturbed_by(health) and self.breakers[ACCOUNT].is_undisturbed_by(health):
            return
        of_endpoint = of_account = health
        if health is HealthSignal.ACCOUNT:
            of_endpoint, of_account = HealthSignal.NEUTRAL, HealthSignal.BAD
        elif health is HealthSignal.BAD:
            of_account = HealthSignal.NEUTRAL
        for name, says in ((endpoint, of_endpoint), (ACCOUNT, of_account)):
            breaker = self.breakers.get(name) or self.breaker(name)
            if not breaker.is_undisturbed_by(says):
                breaker.ended(ask_id, asked_offset, offset, says, at, request=request, acted=acted)

    def _alive(self, alive: Alive, offset: int, at: float) -> bool:
        self.naming.hear(alive, at)
        new, present = self.replicas.hear(alive, offset, at), self.replicas.alive(at)
        self.overrun.allow(alive.limits)
        if not alive.reads_groups:
            self._groups_from = at + _GROUPS_AFTER_S
        if alive.lost:
            self.blocked_until = max(self.blocked_until, at + self.rules.horizon_s)
        self.naming.keep(present)
        for scope, window in self.windows.items():  # the lowest limit that anybody obeys governs, so a change is safe while old ones run
            configured = self.rules.limits[scope][0]
            window.configured = min([configured, *(a.limits[scope] for a in present.values() if scope in a.limits)])
        self.tenants.tell({client: (a.waiting, a.tenants) for client, a in present.items()}, at)
        return new

    def _expire_asks(self, now: float) -> None:
        while self._open_until and self._open_until[0] <= now:
            self._open_until.popleft()
            self._open.pop(self._open_names.popleft(), None)


def _is_live(ask_id: str, windows: Iterable[Window]) -> bool:
    for window in windows:  # noqa: SIM110 - each ask of anybody comes by here, and a generator costs more than the rest
        if ask_id in window.live:
            return True
    return False
