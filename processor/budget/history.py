"""What the budget log says to a lane that is taken over: ``stream.handler.CallHistory`` on the log that ``shared`` follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from processor.budget.log import BudgetLog
from processor.budget.log_reader import LogReader
from processor.budget.permits import LogPosition
from processor.budget.replay import replay_lane
from processor.budget.state import BudgetState


class LaneHistory:
    """Remembers the calls of all replicas.

    Args:
        budget_log: the log.
        reader: follows it; everything before its ``next`` is in the state.
        joined: set while the log is read to its end and has a name.
        state: what the log says now.
    """

    def __init__(self, budget_log: BudgetLog, reader: LogReader, joined: asyncio.Event, state: Callable[[], BudgetState]) -> None:
        self._log, self._reader, self._joined, self._state = budget_log, reader, joined, state

    def position(self) -> LogPosition:
        """See ``stream.handler.CallHistory.position``."""
        return LogPosition(self._state().log_name, self._reader.next)

    async def replay_lane(
        self, lane: str, since: LogPosition | None, unfinished: Callable[[int], bool]
    ) -> tuple[bool, dict[int, LogPosition]]:
        """See ``stream.handler.CallHistory.replay_lane``."""
        await self._joined.wait()
        name, read_to = self.position()
        known = since is None or since.log == name
        offset = read_to if since is None else since.offset if known else 0
        reaches, first_calls = await replay_lane(self._log, self._state().journal, lane, offset, read_to, unfinished)
        return known and reaches, {record: LogPosition(name, at) for record, at in first_calls.items()}

    def forget(self, lane: str) -> None:
        """See ``stream.handler.CallHistory.forget``."""
        self._state().journal.replayed_calls.pop(lane, None)
