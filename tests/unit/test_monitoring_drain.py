"""What is owed, and how long it takes."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from processor.budget.view import BreakerView, BudgetView, PaceView, ScopeView
from processor.contract.pauses import PauseAct, PauseKind, Pauses
from processor.contract.records import Source
from processor.monitoring.drain import Owed, drains, owed_calls
from processor.monitoring.model import DrainView
from processor.repair.model import DelayedRecord

CREATE = ScopeView("session-create", 600, 600, 60.0, 0, 0, 0, 0, 0.0, 0, {})
WRITE = ScopeView("generic-write", 300, 300, 60.0, 0, 0, 0, 0, 0.0, 0, {})
BUDGET = BudgetView((CREATE, WRITE), (), ("one",), 0.0)


def waits(reason: str | None, due_ms: int, operation: str | None = "session.create", *, follows: bool = False) -> DelayedRecord:
    return DelayedRecord("v.retry.1m", 0, 1, due_ms, "r", operation, reason, 1, 0, Source("v.requests", 0, 0), follows)


def test_what_is_owed_counts_in_every_scope_of_its_call() -> None:
    owed = owed_calls({"session.create": 10.0, "session.decision": 4.0, "verification": 2.0, "unread": 7.0}, [], 0).by_scope
    assert owed["session-create"] == 12
    assert owed["generic-write"] == 12
    assert owed["session-decision"] == 4


def test_what_waits_for_its_time_or_a_person_owes_nothing_yet() -> None:
    waiting = [waits("http_503", 2000), waits("http_503", 900), waits("queue_full", 2000), waits("throttled", 99_000)]
    waiting += [waits(None, 2000, "verification", follows=True), waits(None, 900, "verification", follows=True), waits("x", 900, None)]
    owed = owed_calls({}, waiting, 1000).by_scope
    assert owed["session-create"] == 3
    assert owed["session-decision"] == 1


@pytest.mark.parametrize("reason", [None, "throttled", "queue_full", "scope_paused", "http_503", "redriven"])
def test_a_verification_with_a_session_owes_a_look_whatever_held_it_up(reason: str | None) -> None:
    owed = owed_calls({}, [waits(reason, 900, "verification", follows=True)], 1000).by_scope
    assert (owed["session-decision"], owed["session-create"], owed["generic-write"]) == (1, 0, 0)
    owed = owed_calls({}, [waits(reason, 900, "verification")], 1000).by_scope
    assert (owed["session-decision"], owed["session-create"], owed["generic-write"]) == (0, 1, 1)


BURST = PaceView(0.0, 300, 0.2, 60.0)  # what an idle window of 600 says


@pytest.mark.parametrize(
    ("calls", "change", "seconds"),
    [
        (0, {"paused_for_s": 9.0}, 0.0),
        (600, {}, 60.0),
        (1200, {}, 120.0),
        (600, {"used": 600, "limit": 300}, 120.0),
        (300, {"pace": BURST}, 0.0),
        (450, {"pace": BURST}, 30.0),
        (600, {"pace": BURST}, 60.0),
        (1200, {"pace": BURST}, 120.0),
        (50, {"live": 300, "pace": PaceView(0.2, 0, 0.2, 50.0)}, 10.0),
        (450, {"live": 300, "pace": PaceView(0.2, 0, 0.2, 50.0)}, 70.0),
        (1, {"paused_for_s": 30.0}, 30.1),
    ],
)
def test_time_to_drain(calls: int, change: dict[str, Any], seconds: float) -> None:
    budget = replace(BUDGET, scopes=(replace(CREATE, **change), WRITE))
    (create, _) = drains(Owed({"session-create": calls}, {}), budget)
    assert create.calls == calls
    assert create.drain_s == pytest.approx(seconds)


def test_nothing_drains_while_the_account_is_held() -> None:
    held = replace(BUDGET, breakers=(BreakerView("account", 5.0, probing=False),))
    assert drains(Owed({"session-create": 1}, {}), held)[0] == DrainView("session-create", 1, inf, 1)


def test_what_a_breaker_holds_is_owed_and_drains_in_no_stated_time() -> None:
    asked, waiting = {"aml": 50.0, "session.create": 300.0}, [waits("operation_held", 900, "aml"), waits("operation_held", 2000, "aml")]
    owed = owed_calls(asked, waiting, 1000, held_operations={"aml"})
    assert (owed.by_scope["generic-write"], owed.held["generic-write"]) == (351, 51)
    create, write = drains(owed, BUDGET)
    assert (create.held, create.drain_s) == (0, 30.0), "another scope"
    assert (write.calls, write.held, write.drain_s) == (351, 51, 60.0), "the 300 others"
    _, write = drains(owed_calls({"aml": 60.0}, [], 1000, held_operations={"aml"}), BUDGET)
    assert write == DrainView("generic-write", 60, inf, 60)


def paused(*operations: str | None) -> Pauses:
    found = Pauses()
    for offset, operation in enumerate(operations):
        found = found.after(PauseAct(PauseKind.PAUSED, operation, "ann", "moved", 0, "r"), offset)
    return found


def test_what_operators_have_paused_is_owed_and_nobody_knows_until_when() -> None:
    asked, waiting = {"aml": 50.0, "session.create": 300.0}, [waits("operation_paused", 9000, "aml")]
    owed = owed_calls(asked, waiting, 1000, pauses=paused("aml"))
    assert owed.paused_calls == {"aml": 51}
    create, write = drains(owed, BUDGET)
    assert (create.held, create.paused, create.drain_s) == (0, 0, 30.0), "another scope"
    assert (write.calls, write.held, write.paused, write.drain_s) == (351, 51, 51, 60.0), "the 300 others"
    assert drains(owed_calls({"aml": 60.0}, [], 0, pauses=paused("aml")), BUDGET)[1] == DrainView("generic-write", 60, inf, 60, 60)


def test_what_a_breaker_holds_beside_a_pause_is_told_apart() -> None:
    owed = owed_calls({"aml": 5.0, "session.create": 3.0}, [], 0, held_operations={"session.create"}, pauses=paused("aml"))
    assert (owed.held["generic-write"], owed.paused["generic-write"]) == (8, 5)


def test_while_everything_is_paused_each_call_counts_once_for_its_own_pause_or_for_that_of_all() -> None:
    owed = owed_calls({"aml": 5.0, "session.create": 3.0}, [], 0, pauses=paused("aml", None))
    assert owed.paused_calls == {"aml": 5, "all": 3}
    assert all(drain.drain_s == inf and drain.paused == drain.calls for drain in drains(owed, BUDGET) if drain.calls)
