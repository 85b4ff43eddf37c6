"""The time to drain that people are told, against the windows that pace the calls: they are stepped until the last one has left."""

from __future__ import annotations

from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.budget.state import BudgetState, Rules
from processor.budget.view import BreakerView, BudgetView, ScopeView, budget_view
from processor.budget.windows import Window
from processor.monitoring.diagnosis import FindingKind, Tone, diagnose
from processor.monitoring.drain import Owed, drains
from processor.monitoring.model import DelayedView, Overview, PartitionView, ReplicaView
from processor.repair.model import DeadLetterCounts

WINDOW_S = 60.0
AHEAD = 20  # asks that stand in the log at a time


def spent(window: Window, calls: int, at: float) -> float:
    """Time at which the last of so many calls has started, each answered at once, if nothing but the window delays them."""
    waiting: list[str] = []
    now, asked, started = at, 0, 0
    offset = 10_000
    while started < calls:
        while asked < calls and len(waiting) < AHEAD:
            window.ask(f"w{asked}", offset + asked, 1, 30.0, now, mine=True)
            waiting.append(f"w{asked}")
            asked += 1
        starts = window.start_at(waiting[0], now)
        if starts > now:
            now = starts
            continue
        ask_id = waiting.pop(0)
        window.forget(ask_id)
        window.end(ask_id, used=True, at=now)
        started += 1
    return now


def view(window: Window, now: float) -> ScopeView:
    rules = Rules({"s": (window.configured, WINDOW_S)}, 30.0, 60.0, 30.0, 0.1, 10.0, 3600.0, 600.0, 3, 15.0, 30.0)
    state = BudgetState(rules, 0.0)
    state.windows["s"] = window
    (seen,) = budget_view(state, {}, now).scopes
    return seen


@settings(max_examples=full(150), deadline=None)
@given(limit=st.sampled_from([30, 60, 100, 300, 600]), owed=st.integers(1, 1500), pause_s=st.sampled_from([0.0, 5.0, 40.0]))
def test_an_idle_window_takes_as_long_as_it_is_told(limit: int, owed: int, pause_s: float) -> None:
    window = Window(limit, WINDOW_S, 0.0, 0.0)
    if pause_s:
        window.pause(pause_s, 1000.0, counts=False)
    (told,) = drains(Owed({"s": owed}, {}), BudgetView((view(window, 1000.0),), (), (), 0.0))
    took_s = spent(window, owed, 1000.0) - 1000.0
    near_s = 0.1 * took_s + 0.1 * WINDOW_S + window.gap_s
    assert -near_s <= told.drain_s - took_s <= near_s + 0.5 * pause_s, "after a pause they may leave sooner"


HELD = st.sampled_from(["none", "aml", "account"])


@settings(max_examples=full(150), deadline=None)
@given(
    limit=st.sampled_from([60, 300]),
    before=st.sampled_from([0.0, 0.1, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.5]),
    owing=st.sampled_from([0.0, 0.01, 0.1, 0.6, 1.0, 6.0, 20.0]),
    holding=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    breaker=HELD,
    heard=st.booleans(),
    moved_s=st.sampled_from([0.0, 3.0, 20.0, 50.0]),
)
def test_the_word_is_that_of_a_plain_model(
    *, limit: int, before: float, owing: float, holding: float, breaker: str, heard: bool, moved_s: float
) -> None:
    """Whatever a real window was used for before: who reads the verdict is told what in fact delays the next call."""
    window = Window(limit, WINDOW_S, 0.0, 0.0)
    at = spent(window, int(before * limit), 1000.0) + moved_s
    owed = int(owing * limit)
    held = {"none": 0, "aml": int(holding * owed), "account": owed}[breaker]
    breakers = () if breaker == "none" else (BreakerView(breaker, 5.0, probing=False),)
    budget = BudgetView((view(window, at),), breakers, ("one",) if heard else (), 0.0)
    overview = Overview(
        1000,
        "g",
        budget,
        (PartitionView("v.requests", 0, 0, owed, owed, "one"),),
        (ReplicaView("one", 1, heard=heard),),
        drains(Owed({"s": owed}, {"s": held}), budget),
        DelayedView(0, 0, None, None),
        DeadLetterCounts(0),
    )
    found = diagnose(overview)
    kinds = {f.kind for f in found.findings}
    free = owed - held  # calls that only the budget, or slow replicas, can delay
    waits_s = spent(window, free, at) - at if free else 0.0
    assert (FindingKind.NO_REPLICA in kinds) == (not heard)
    assert (FindingKind.BACKLOG_EMPTY in kinds) == (owed == 0)
    assert (FindingKind.BACKLOG_STUCK in kinds) == (owed > 0 and free == 0)
    assert (FindingKind.BACKLOG_HELD in kinds) == (held > 0 and free > 0)
    if found.tone is Tone.GOOD:
        assert waits_s <= 360.0, "all is well, and somebody waits for minutes"
        assert heard
        assert breaker == "none"
    if FindingKind.BUDGET_UNUSED in kinds or FindingKind.CALLS_IDLE in kinds:
        assert view(window, at).pace.next_call_s >= 0
        assert budget.scopes[0].pace.next_call_s == 0, "the replicas are blamed for what the pace delays"
    if FindingKind.BUDGET_FULL in kinds:
        assert free > 0
        assert waits_s > 0, "the budget is blamed for a call that could start"
