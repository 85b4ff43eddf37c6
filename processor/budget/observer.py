"""Looks at the budget log from outside: reads what matters, says nothing."""

from __future__ import annotations

from collections.abc import Callable

from processor.budget.log import BudgetLog
from processor.budget.log_records import decode
from processor.budget.state import BudgetState, Rules


async def observe(budget_log: BudgetLog, rules: Rules, *, now_ms: Callable[[], int]) -> tuple[BudgetState, float]:
    """The state at the present end of the log, and the moment to look at it.

    Records are dated by the broker's clock against ours: good enough to look at, never to call by.

    Raises:
        LogUnavailableError, LogBrokenError: if the log cannot be read.
    """
    await budget_log.open()
    state = BudgetState(rules, 0.0)
    start = await budget_log.offset_at(now_ms() - int(1000 * rules.replay_s))
    if start is not None:
        budget_log.seek(start)
        while entries := await budget_log.read():
            for entry in entries:
                record = decode(entry.value)
                if record is not None:
                    state.apply(record, entry.offset, entry.stamp_ms / 1000, entry.stamp_ms)
            if entries[-1].stamp_ms >= now_ms() - 1000:
                break  # the log never falls silent while replicas work
    return state, now_ms() / 1000
