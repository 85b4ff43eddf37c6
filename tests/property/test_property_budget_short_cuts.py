"""What is left out because nothing would change: with it the budget's state is the same after each record."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st
from test_property_budget_replay import RULES, histories, in_order

from processor.budget.circuit_breaker import ACCOUNT, CircuitBreaker
from processor.budget.log_records import Asked, Ended, LogRecord
from processor.budget.permits import HealthSignal
from processor.budget.state import BudgetState
from processor.budget.windows import BURST_PART, Window

names = st.sampled_from([f"c-{n}" for n in range(40)])
asks_and_ends: st.SearchStrategy[LogRecord] = st.one_of(
    st.builds(Asked, names, st.sampled_from((("a",), ("b",), ("a", "b"))), st.just(90.0), st.just("op"), st.integers(1, 2)),
    st.builds(Ended, names, used=st.booleans()),
)
crowds: st.SearchStrategy[list[tuple[float, LogRecord]]] = st.lists(  # so much at once that windows burst, and make up for it
    st.tuples(st.integers(0, 30).map(lambda n: 3.0 * n), asks_and_ends),
    min_size=10,
    max_size=60,
).map(in_order)


class ThoroughBreaker(CircuitBreaker):
    """Takes in every end."""

    def is_undisturbed_by(self, health: HealthSignal) -> bool:  # noqa: ARG002 - whatever it says
        return False


class ThoroughWindow(Window):
    """Reckons the pace of each ask in full, whatever the window looks like, and looks at each record for what is over."""

    def ask(self, ask_id: str, offset: int, weight: int, promise_s: float, at: float, *, mine: bool) -> None:
        self._expires_at = -inf
        super().ask(ask_id, offset, weight, promise_s, at, mine=mine)

    def end(self, ask_id: str, *, used: bool, at: float) -> int:
        self._expires_at = -inf
        return super().end(ask_id, used=used, at=at)

    def _paced(self, weight: int, at: float) -> tuple[float, float]:
        paced_gap_s, start = self._paced_gap_s(at, self.gap_s), max(at, self._pace_at(at, self.gap_s))
        bursts = start > at and self.may_burst(weight, at)
        start = at if bursts else start
        self._even = max(start, min(self._even, start + self.window_s * BURST_PART)) + weight * self.gap_s
        if bursts:
            self._burst = max(self._burst, (self._even - start) / self.gap_s)
            return start, 0.0
        self._pace = start + weight * paced_gap_s
        return start, weight * paced_gap_s


def played(history: list[tuple[float, LogRecord]], *, thorough: bool) -> Iterator[object]:
    """The state after each record."""
    state = BudgetState(RULES, 0.0)
    for name in (ACCOUNT, "op"):
        if thorough:
            state.breaker(name).__class__ = ThoroughBreaker
    for window in state.windows.values():
        if thorough:
            window.__class__ = ThoroughWindow
    for offset, (at, record) in enumerate(history):
        state.apply(record, offset, at, int(1000 * at))
        windows = {
            scope: (w.weight, w.open_weight, w.limit, {name: repr(hold) for name, hold in w.live.items()}, w.gap_after_burst_s(at))
            for scope, w in state.windows.items()
        }
        yield windows, {name: repr(vars(state.breaker(name))) for name in (ACCOUNT, "op")}


@settings(max_examples=full(100), deadline=None, derandomize=True)
@given(history=st.one_of(histories, crowds))
def test_what_would_change_nothing_may_be_left_out(history: list[tuple[float, LogRecord]]) -> None:
    assert list(played(history, thorough=False)) == list(played(history, thorough=True))
