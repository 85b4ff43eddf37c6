"""Looks at the budget log from outside: reads what matters, says nothing."""

from __future__ import annotations

from collections.abc import Callable

from processor.budget.log import BudgetLog
from processor.budget.log_records import decode_placed
from processor.budget.state import BudgetState, Rules


class SnapshotReader:
    """Reads a log once, or again and again.

    Args:
        budget_log: opened by whoever made it.
        rules: of the replicas whose log it is.
        now_ms: our wall clock, epoch ms. The times of records are the brokers': good enough to look at, not to start a call by.
    """

    def __init__(self, budget_log: BudgetLog, rules: Rules, *, now_ms: Callable[[], int]) -> None:
        self._log, self._rules, self._now_ms = budget_log, rules, now_ms
        self._state: BudgetState | None = None

    async def read(self) -> tuple[BudgetState, float]:
        """The state at the present end of the log, and the moment to look at it.

        Raises:
            LogUnavailableError, LogBrokenError: if the log cannot be read; the next look begins again.
        """
        state, self._state = self._state or await self._begin(), None
        if state is None:  # nothing has been said for as long as anything could matter
            return BudgetState(self._rules, 0.0), self._now_ms() / 1000
        while entries := await self._log.read():
            for entry in entries:
                for place, record in decode_placed(entry.offset, entry.value):
                    if record is not None:
                        state.apply(record, place, entry.stamp_ms / 1000, entry.stamp_ms)
            if entries[-1].stamp_ms >= self._now_ms() - 1000:
                break  # the log never falls silent while replicas work
        self._state = state
        return state, self._now_ms() / 1000

    async def close(self) -> None:
        """Let go of the log."""
        self._state = None
        await self._log.close()

    async def _begin(self) -> BudgetState | None:
        await self._log.open()
        start = await self._log.offset_at(self._now_ms() - int(1000 * self._rules.replay_s))
        if start is None:
            return None
        self._log.seek(start)
        return BudgetState(self._rules, 0.0)
