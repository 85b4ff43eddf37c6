"""The gauges of a scrape tell what is true now, also after a life of the group member has ended and after the budget log was read again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from metric_values import metric_value
from test_budget_state import RULES

from processor.budget.state import BudgetState
from processor.runtime import process_status
from processor.runtime.application_status import ApplicationStatus
from processor.runtime.process_status import ProcessStatus
from processor.stream.takeover import TakeoverWait

LANE = {"unfinished": 3, "unread": 4, "overdue_ms": 4000, "delayed": 2, "held_bytes": 70, "ready": 1, "work": 2, "finished": 0}


def member(lanes: Mapping[TopicPartition, dict[str, int] | None], polled_s_ago: float = 0.0, **waits: int) -> Any:
    polled = time.monotonic() - polled_s_ago
    waiting = {wait: waits.get(wait, 0) for wait in TakeoverWait}
    known = {"snapshot": lambda: dict(lanes), "waiting_count": waiting.__getitem__, "open_count": sum(map(bool, lanes.values()))}
    return cast("Any", SimpleNamespace(**known, last_poll=polled, assigned=True))


def test_a_life_that_is_over_leaves_no_figures_behind() -> None:
    pulse = ApplicationStatus("default", 120.0)
    pulse.member = member({TopicPartition("v.retry.1m", 0): LANE, TopicPartition("v.requests", 1): None}, polled_s_ago=50.0)
    pulse.refresh()
    assert metric_value("vp_lag_records", topic="v.retry.1m", partition="0") == 7
    assert metric_value("vp_overdue_seconds", topic="v.retry.1m") == 4
    assert metric_value("vp_lanes", state="restoring") == 1
    assert (metric_value("vp_poll_age_seconds") or 0.0) >= 50
    pulse.member = None  # between two lives, or standing by
    pulse.refresh()
    assert metric_value("vp_lag_records", topic="v.retry.1m", partition="0") is None
    assert metric_value("vp_overdue_seconds", topic="v.retry.1m") is None
    assert metric_value("vp_delayed_records", topic="v.retry.1m") is None
    assert [metric_value("vp_lanes", state=state) for state in ("open", "restoring")] == [0, 0]
    assert [metric_value("vp_lane_records", state=state) for state in ("delayed", "ready", "work", "finished")] == [0] * 4
    assert [metric_value("vp_lane_bytes"), metric_value("vp_poll_age_seconds")] == [0, 0]


def test_partitions_that_wait_for_a_leader_are_told_apart_from_those_that_are_being_taken_over() -> None:
    pulse = ApplicationStatus("default", 120.0)
    lanes = {TopicPartition("v.requests", n): lane for n, lane in enumerate((LANE, *[None] * 7))}
    pulse.member = member(lanes, leaderless=2, unfenced=3, refused=1)
    pulse.refresh()
    assert [metric_value("vp_lanes", state=state) for state in ("open", "restoring", *TakeoverWait)] == [1, 1, 2, 3, 1]
    vitals = pulse.vitals(0.0, 30.0)
    assert (vitals.lanes_open, vitals.lanes_restoring, vitals.lanes_leaderless, vitals.lanes_unfenced) == (1, 1, 2, 3)
    assert vitals.lanes_refused == 1


async def test_a_loop_that_is_held_up_is_seen_in_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_status, "_TICK_S", 0.001)
    before = metric_value("vp_loop_lag_seconds_sum") or 0.0
    beat = asyncio.create_task(ProcessStatus(30.0, 120.0).beat())
    await asyncio.sleep(0)
    time.sleep(0.03)  # noqa: ASYNC251 - what holds it up
    await asyncio.sleep(0.005)
    beat.cancel()
    assert (metric_value("vp_loop_lag_seconds_sum") or 0.0) - before >= 0.02


def test_a_webhook_receiver_has_no_lanes_to_tell_of() -> None:
    ApplicationStatus("receiver", 120.0, worker=False).refresh()
    assert metric_value("vp_lanes", application="receiver", state="open") is None
    assert metric_value("vp_foreign_events_total", application="receiver") == 0


def test_an_overrun_after_the_log_was_read_anew_is_counted() -> None:
    """As ``SharedBudget.joining`` makes a state for each reading."""
    pulse, state = ApplicationStatus("default", 120.0), BudgetState(RULES, 0.0)
    before = metric_value("vp_budget_over_limit_total", scope="a") or 0.0

    def overrun(at_ms: int) -> float:
        for _ in range(1 + RULES.limits["a"][0]):
            state.overrun.answered("a", 1, at_ms)
        budget = SimpleNamespace(group="g", state=state, waiting={}, is_joined=True, silence_s=0.0, malformed_count=0)
        pulse.budget = cast("Any", budget)
        pulse.refresh()
        return (metric_value("vp_budget_over_limit_total", scope="a") or 0.0) - before

    assert overrun(1_000) == 1
    assert overrun(1_000_000) == 2
    again = BudgetState(RULES, 0.0)
    again.follow_on(state, "mine")
    state = again
    assert overrun(9_000_000) == 3


def test_records_of_the_budget_topic_that_are_none_of_ours_are_counted_once() -> None:
    pulse, before = ApplicationStatus("default", 120.0), metric_value("vp_budget_malformed_records_total") or 0.0
    for count in (0, 2, 2, 5):
        budget = SimpleNamespace(group="g", state=BudgetState(RULES, 0.0), waiting={}, is_joined=True, silence_s=0.0, malformed_count=count)
        pulse.budget = cast("Any", budget)
        pulse.refresh()
        assert (metric_value("vp_budget_malformed_records_total") or 0.0) - before == count


def test_an_application_that_is_started_again_has_joined_nothing_and_counts_from_the_beginning_of_its_new_budget() -> None:
    pulse = ApplicationStatus("again", 120.0)

    def refreshed(malformed: int) -> float:
        budget = SimpleNamespace(
            group="g", state=BudgetState(RULES, 0.0), waiting={}, is_joined=True, silence_s=0.0, malformed_count=malformed
        )
        pulse.budget = cast("Any", budget)
        pulse.refresh()
        return metric_value("vp_budget_malformed_records_total", application="again") or 0.0

    assert (refreshed(3), metric_value("vp_budget_joined", application="again")) == (3, 1)
    pulse.begin_again("it gave up")
    pulse.refresh()
    assert metric_value("vp_budget_joined", application="again") == 0, "an alert waits for it"
    assert refreshed(1) == 4
