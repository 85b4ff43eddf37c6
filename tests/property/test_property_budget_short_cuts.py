"""What is left out because nothing would change: with it the budget's state is the same after each record."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from effort import full
from hypothesis import given, settings
from test_property_budget_replay import RULES, histories

from processor.budget.circuit_breaker import ACCOUNT, CircuitBreaker
from processor.budget.log_records import LogRecord
from processor.budget.permits import HealthSignal
from processor.budget.state import BudgetState


class ThoroughBreaker(CircuitBreaker):
    """Takes in every end."""

    def is_undisturbed_by(self, health: HealthSignal) -> bool:  # noqa: ARG002 - whatever it says
        return False


def played(history: list[tuple[float, LogRecord]], *, thorough: bool) -> Iterator[object]:
    """The state after each record."""
    state = BudgetState(RULES, 0.0)
    for name in (ACCOUNT, "op"):
        if thorough:
            state.breaker(name).__class__ = ThoroughBreaker
    for offset, (at, record) in enumerate(history):
        for window in state.windows.values():
            if thorough:
                window._expires_at = -inf  # noqa: SLF001 - the short cut, not taken
        state.apply(record, offset, at, int(1000 * at))
        windows = {scope: (w.weight, w.open_weight, w.limit, sorted(w.live)) for scope, w in state.windows.items()}
        yield windows, {name: repr(vars(state.breaker(name))) for name in (ACCOUNT, "op")}


@settings(max_examples=full(100), deadline=None, derandomize=True)
@given(history=histories)
def test_what_would_change_nothing_may_be_left_out(history: list[tuple[float, LogRecord]]) -> None:
    assert list(played(history, thorough=False)) == list(played(history, thorough=True))
