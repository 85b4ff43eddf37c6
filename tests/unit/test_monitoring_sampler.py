"""What a replica samples beside its work."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from metric_values import metric_value
from structlog.testing import capture_logs
from test_budget_state import RULES

from processor.budget.state import BudgetState
from processor.clock import clock_ms
from processor.monitoring import factories
from processor.monitoring.sampler import OverviewSampler
from processor.repair.model import DeadLetterCounts
from processor.settings import load_settings
from processor.stream.errors import KafkaUnavailableError


class Polls:
    """A monitor whose answers are these errors, one after the other."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def backlog(self) -> Any:
        await asyncio.sleep(0)
        raise self.errors.pop(0)


async def test_a_backlog_that_cannot_be_read_is_tried_again_and_a_fault_is_for_those_who_run_the_survey() -> None:
    polls = Polls(KafkaUnavailableError("no brokers"), KafkaUnavailableError("no brokers"), RuntimeError("Zoë Müller"))
    sampler = OverviewSampler(cast("Any", polls), cast("Any", None), 0.0)
    with capture_logs() as logs, pytest.raises(RuntimeError):
        await sampler.survey()
    assert [(entry["event"], entry["detail"]) for entry in logs] == [("survey_failed", "no brokers")] * 2


class Counted:
    """A monitor that reads dead letters: these answers, one after the other, then it is over."""

    def __init__(self, *answers: DeadLetterCounts | Exception) -> None:
        self.answers = list(answers)

    async def count_dead_letters(self) -> DeadLetterCounts:
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else RuntimeError("over")
        if isinstance(answer, Exception):
            raise answer
        return answer


async def count(*answers: DeadLetterCounts | Exception) -> list[str]:
    sampler = OverviewSampler(cast("Any", Counted(*answers)), cast("Any", None), 0.0)
    with capture_logs() as logs, pytest.raises(RuntimeError):
        await sampler.count_dead_letters()
    return [entry["event"] for entry in logs]


async def test_open_dead_letters_and_the_age_of_the_oldest_are_metrics() -> None:
    day_ago_ms = clock_ms() - 86_400_000
    await count(DeadLetterCounts(4, {"request_refused": 3, "made_up": 1}, oldest_open_ms=day_ago_ms))
    age_s = metric_value("vp_dead_letters_open_age_seconds")
    assert age_s is not None
    assert age_s >= 86_400
    values = {reason: metric_value("vp_dead_letters_open", reason=reason) for reason in ("request_refused", "other", "internal")}
    assert values == {"request_refused": 3.0, "other": 1.0, "internal": 0.0}
    await count(DeadLetterCounts(0))
    assert metric_value("vp_dead_letters_open_age_seconds") == 0.0
    assert metric_value("vp_dead_letters_open", reason="request_refused") == 0.0


async def test_dead_letters_that_cannot_be_read_are_told_once_until_they_can_be() -> None:
    refused = KafkaUnavailableError("no right to read")
    assert await count(refused, refused, DeadLetterCounts(0), refused) == ["dead_letters_unread"] * 2


async def test_while_the_budget_log_is_not_read_nothing_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factories, "_JOIN_S", 0.2)
    budget = cast("Any", SimpleNamespace(group="g", is_joined=False, state=BudgetState(RULES, 0.0)))
    monitor = factories.monitor_in_process(load_settings(), budget)
    read_budget = monitor._budget  # noqa: SLF001 - an overview asks Kafka first
    with pytest.raises(factories.BudgetUnreadableError, match="has not read it yet"):
        await read_budget()
    surveying = OverviewSampler(monitor, budget, 1.0)
    sampling = asyncio.create_task(surveying.sample())
    asking = asyncio.ensure_future(read_budget())
    await asyncio.sleep(0.1)
    assert not surveying.history.samples(), "a gap"
    budget.is_joined = True
    assert [s.scope for s in (await asking).scopes] == sorted(RULES.limits)
    sampling.cancel()
    await asyncio.wait({sampling})
    await monitor.close()
