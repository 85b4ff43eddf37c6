"""The second opinion on the limits, and who of two namesakes came first."""

from __future__ import annotations

from itertools import count

from test_budget_state import RULES, Scene

from processor.budget.limit_audit import LimitAudit
from processor.budget.log_records import Alive, Ended
from processor.budget.state import BudgetState

LIMITS = {"s": (3, 10.0)}


def test_the_limit_in_a_window_is_no_alarm_and_one_more_is_one() -> None:
    overrun = LimitAudit(LIMITS)
    for stamp_ms in (0, 1000, 9000, 10_000, 11_000):  # the first one is out of the window when the fourth one comes
        overrun.answered("s", 1, stamp_ms)
    assert not overrun.counts
    overrun.answered("s", 1, 11_500)
    assert overrun.counts == {"s": 1}
    overrun.answered("s", 1, 30_000)
    assert overrun.counts == {"s": 1}


def test_weights_count() -> None:
    overrun = LimitAudit(LIMITS)
    overrun.answered("s", 2, 0)
    overrun.answered("s", 2, 1)
    assert overrun.counts == {"s": 2}


def test_a_limit_that_some_replica_has_named_is_allowed() -> None:
    overrun = LimitAudit(LIMITS)
    overrun.allow({"s": 4, "unknown": 9})
    for _ in range(4):
        overrun.answered("s", 1, 0)
    assert not overrun.counts
    overrun.allow({"s": 2})
    overrun.answered("s", 1, 1)
    assert overrun.counts == {"s": 1}


def test_ends_that_are_told_after_their_promise_are_no_alarm_as_their_holds_are_over_with_it() -> None:
    """The log took nothing for a while: what was answered before is told behind it, and the next calls start as early as they may."""
    scene = Scene()
    asked = [scene.ask(f"before-{n}", 0.0) for n in range(4)]
    mine = scene.ask("mine", 80.0, mine=True)
    told_s = asked[0].promise_s + 10
    for ask in asked:
        scene.apply(Ended(ask.id, used=True, acted=True), told_s)
    start_s = scene.state.start_at(mine, told_s)
    assert start_s < told_s + 60, "a window after the promises, not after what was told"
    scene.apply(Ended(mine.id, used=True, acted=True), start_s)
    assert not scene.state.overrun.counts
    for n in range(4):
        scene.apply(Ended(scene.ask(f"after-{n}", start_s).id, used=True, acted=True), start_s)
    assert scene.state.overrun.counts == {"a": 1}, "what is told in time counts"


OFFSETS = count()


def hello(state: BudgetState, client: str, at: float, instance: str = "pod-0") -> bool:
    return state.apply(Alive(client, instance, {}, {}, {}, lost=False), next(OFFSETS), at, 0)


def test_of_two_namesakes_the_one_that_came_first_goes_on() -> None:
    state = BudgetState(RULES, 0.0)
    assert hello(state, "old", 0.0)
    assert not hello(state, "old", 1.0), "not new"
    hello(state, "new", 5.0)
    hello(state, "other", 5.0, "pod-1")
    assert not state.replicas.has_senior("new", 5.0), "it may be gone: it was not heard since"
    hello(state, "old", 6.0)
    assert state.replicas.has_senior("new", 6.0)
    assert not state.replicas.has_senior("old", 6.0)
    assert not state.replicas.has_senior("other", 6.0)
    assert not state.replicas.has_senior("new", 40.0), "it is silent"
    assert not state.replicas.has_senior("nobody", 6.0)


def test_the_order_in_the_log_decides_where_all_times_are_one() -> None:
    """A newcomer dates everything of the last ``skew_s`` as the present."""
    views = [BudgetState(RULES, 0.0) for _ in range(2)]
    for client in ("first", "second", "first", "second"):
        offset = next(OFFSETS)
        for state, at in zip(views, (0.0, 5.0), strict=True):
            state.apply(Alive(client, "pod-0", {}, {}, {}, lost=False), offset, at, 0)
    assert [state.replicas.has_senior("second", 6.0) for state in views] == [True, True]
    assert [state.replicas.has_senior("first", 6.0) for state in views] == [False, False]


def test_a_name_that_one_had_before_is_nobody_else() -> None:
    earlier = BudgetState(RULES, 0.0)
    state = BudgetState(RULES, 0.0)
    state.follow_on(earlier, "mine")
    hello(state, "mine", 0.0)
    hello(state, "mine again", 5.0)
    hello(state, "mine", 6.0)  # it was on its way when the log was joined again, and was appended late
    assert not state.replicas.has_senior("mine again", 6.0)
    later = BudgetState(RULES, 0.0)
    later.follow_on(state, "mine again")
    hello(later, "other", 0.0)
    hello(later, "mine", 1.0)
    hello(later, "mine, third time", 5.0)
    hello(later, "mine", 6.0)
    assert not later.replicas.has_senior("mine, third time", 6.0)
    hello(later, "other", 7.0)
    assert later.replicas.has_senior("mine, third time", 7.0)


def test_what_is_read_once_more_is_not_counted_again_and_what_is_new_is() -> None:
    earlier = LimitAudit(LIMITS)
    stamps = [0, 1, 2, 3, 4, 5]
    for stamp_ms in stamps:
        earlier.answered("s", 1, stamp_ms)
    assert earlier.counts == {"s": 3}
    again = LimitAudit(LIMITS)
    again.follow_on(earlier)
    for stamp_ms in stamps[:4]:
        again.answered("s", 1, stamp_ms)
    third = LimitAudit(LIMITS)  # the second reading was cut off
    third.follow_on(again)
    for stamp_ms in stamps:
        third.answered("s", 1, stamp_ms)
    assert third.counts == {"s": 3}
    third.answered("s", 1, 6)
    assert third.counts == {"s": 4}
    beyond = LimitAudit(LIMITS)  # the log does not reach back to what was counted
    beyond.follow_on(third)
    for stamp_ms in (50_000, 50_001, 50_002, 50_003):
        beyond.answered("s", 1, stamp_ms)
    assert beyond.counts == {"s": 5}, "a counter never goes back, so the next overrun is seen"
