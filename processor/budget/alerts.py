"""What operators must hear of the budget, from one look to the next. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from processor.budget.circuit_breaker import ACCOUNT
from processor.budget.state import BudgetState
from processor.contract.codes import ErrorCode

_MEMORY_WHOLE_S = 600.0  # without a call forgotten before its time
_LOOK_EVERY_S = 0.1  # there may be hundreds of records a second


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One log record: its level, event and fields."""

    level: str
    event: str
    fields: dict[str, Any] = field(default_factory=dict)


class AlertTracker:
    """Remembers what was said, and finds what is new. It looks ten times a second at most; the next look finds what came meanwhile."""

    def __init__(self) -> None:
        self._limits: dict[str, int] = {}
        self._open: set[str] = set()
        self._windows: set[tuple[str, str]] = set()
        self._is_memory_full = False
        self._look_at = float("-inf")

    def changes(self, state: BudgetState, now: float) -> list[AlertEvent]:
        """What has changed since the last look; nothing if that was a moment ago."""
        if now < self._look_at:
            return []
        self._look_at = now + _LOOK_EVERY_S
        found = [*self._of_limits(state), *self._of_breakers(state), *self._of_memory(state, now)]
        return [*found, *self._of_others(state, now)]

    def _of_others(self, state: BudgetState, now: float) -> list[AlertEvent]:
        """Each once, for as long as it is there: a name may come back, and there is no end of new ones."""
        found: list[AlertEvent] = []
        differing: set[tuple[str, str]] = set()
        for alive in state.replicas.alive(now).values():
            for scope, window_s in alive.windows_s.items():
                ours = state.rules.limits.get(scope)
                if ours is None or ours[1] == window_s:
                    continue
                if (alive.instance, scope) not in self._windows | differing:
                    fields = {"scope": scope, "ours_s": ours[1], "theirs_s": window_s, "instance": alive.instance}
                    found.append(AlertEvent("critical", "window_differs", fields | {"hint": "give all replicas the same window_s"}))
                differing.add((alive.instance, scope))
        self._windows = differing
        return found

    def _of_limits(self, state: BudgetState) -> list[AlertEvent]:
        found = []
        for scope, window in state.windows.items():
            configured = state.rules.limits[scope][0]
            before = self._limits.get(scope, configured)
            if window.limit == before:
                continue
            self._limits[scope] = window.limit
            fields = {"scope": scope, "limit": window.limit, "configured": configured}
            if window.limit >= configured:
                found.append(AlertEvent("warning", "limit_restored", fields))
            elif window.limit < before:
                hint = "Didit names a lower limit, another replica obeys one, or somebody else uses the API key (see `processor budget`)"
                found.append(AlertEvent("error", "limit_lowered", fields | {"hint": hint}))
        return found

    def _of_memory(self, state: BudgetState, now: float) -> list[AlertEvent]:
        """Said once, until calls are remembered for as long as they should be."""
        memory = state.journal.memory
        is_full = now - memory.cut_at <= _MEMORY_WHOLE_S
        if is_full == self._is_memory_full:
            return []
        self._is_memory_full = is_full
        fields = {"calls": len(memory), "reach_s": round(memory.reach_s(now)), "memory_s": state.rules.memory_s}
        if not is_full:
            return [AlertEvent("info", "call_memory_whole", fields)]
        hint = "copies of older requests are not recognised: raise VP_BUDGET__MEMORY_CALLS, or lower VP_BUDGET__MEMORY_S"
        return [AlertEvent("warning", "call_memory_full", fields | {"hint": hint})]

    def _of_breakers(self, state: BudgetState) -> list[AlertEvent]:
        found = []
        for name, breaker in state.breakers.items():
            if breaker.open == (name in self._open):
                continue
            if name == ACCOUNT:
                found += self._of_account(refused=breaker.open and breaker.is_refusing)
            elif breaker.open:
                self._open.add(name)
                found.append(_opened(name, refused=breaker.is_refusing))
            else:
                self._open.discard(name)
                found.append(AlertEvent("warning", "breaker_closed", {"endpoint": name}))
        return found

    def _of_account(self, *, refused: bool) -> list[AlertEvent]:
        """A fault of the account is said with its code by whoever met it; 403s of many requests nobody meets alone."""
        if not refused:
            self._open.discard(ACCOUNT)
            return []
        self._open.add(ACCOUNT)
        hint = "every request gets a 403: check the API key, its rights and its application; all calls are held but a probe"
        return [AlertEvent("critical", "account_fault", {"code": ErrorCode.NOT_PERMITTED, "hint": hint})]


def _opened(endpoint: str, *, refused: bool) -> AlertEvent:
    if refused:
        hint = "give the API key the right, or top up; requests wait in the delay topics, see `processor retry list`"
        return AlertEvent("error", "operation_refused", {"endpoint": endpoint, "hint": hint})
    return AlertEvent("error", "breaker_opened", {"endpoint": endpoint, "hint": "Didit does not work; one probe now and then"})
