"""The survey of a replica goes on, whatever a look comes to."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from test_budget_state import RULES

from processor.budget.state import BudgetState
from processor.monitoring import factories
from processor.monitoring.sampler import OverviewSampler
from processor.settings import load_settings
from processor.stream.errors import KafkaUnavailableError


class Looks:
    """A lookout whose looks fail in every way."""

    def __init__(self) -> None:
        self.count = 0

    async def backlog(self) -> Any:
        self.count += 1
        await asyncio.sleep(0)
        raise [KafkaUnavailableError("no brokers"), RuntimeError("Zoë Müller"), ValueError("x")][self.count % 3]


async def test_no_error_ends_the_survey_and_none_is_quoted() -> None:
    polls = Looks()
    surveying = OverviewSampler(cast("Any", polls), cast("Any", None), 0.0)
    with capture_logs() as logs:
        running = asyncio.create_task(surveying.survey())
        async with asyncio.timeout(5):
            while polls.count < 7:
                await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})
    assert {entry["event"] for entry in logs} == {"survey_failed"}
    assert any("RuntimeError at test_monitoring_sampler.py" in entry["detail"] for entry in logs)
    assert "Zoë" not in str(logs)


async def test_while_the_budget_log_is_not_read_nothing_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factories, "_JOIN_S", 0.2)
    budget = cast("Any", SimpleNamespace(is_joined=False, state=BudgetState(RULES, 0.0)))
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
