"""The second opinion on the limits, and who of two namesakes came first."""

from __future__ import annotations

from test_budget_state import RULES

from processor.budget.log_records import Alive
from processor.budget.overrun import Overrun
from processor.budget.state import BudgetState

LIMITS = {"s": (3, 10.0)}


def test_the_limit_in_a_window_is_no_alarm_and_one_more_is_one() -> None:
    overrun = Overrun(LIMITS)
    for stamp_ms in (0, 1000, 9000, 10_000, 11_000):  # the first one is out of the window when the fourth one comes
        overrun.answered("s", 1, stamp_ms)
    assert not overrun.counts
    overrun.answered("s", 1, 11_500)
    assert overrun.counts == {"s": 1}
    overrun.answered("s", 1, 30_000)
    assert overrun.counts == {"s": 1}


def test_weights_count() -> None:
    overrun = Overrun(LIMITS)
    overrun.answered("s", 2, 0)
    overrun.answered("s", 2, 1)
    assert overrun.counts == {"s": 2}


def test_a_limit_that_some_replica_has_named_is_allowed() -> None:
    overrun = Overrun(LIMITS)
    overrun.allow({"s": 4, "unknown": 9})
    for _ in range(4):
        overrun.answered("s", 1, 0)
    assert not overrun.counts
    overrun.allow({"s": 2})
    overrun.answered("s", 1, 1)
    assert overrun.counts == {"s": 1}


def hello(state: BudgetState, client: str, at: float, instance: str = "pod-0") -> bool:
    return state.apply(Alive(client, instance, {}, {}, {}, lost=False), 0, at, 0)


def test_of_two_namesakes_the_one_that_came_first_goes_on() -> None:
    state = BudgetState(RULES, 0.0)
    assert hello(state, "old", 0.0)
    assert not hello(state, "old", 1.0), "not new"
    hello(state, "new", 5.0)
    hello(state, "other", 5.0, "pod-1")
    assert not state.has_senior("new", 5.0), "it may be gone: it was not heard since"
    hello(state, "old", 6.0)
    assert state.has_senior("new", 6.0)
    assert not state.has_senior("old", 6.0)
    assert not state.has_senior("other", 6.0)
    assert not state.has_senior("new", 40.0), "it is silent"
    assert not state.has_senior("nobody", 6.0)
