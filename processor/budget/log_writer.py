"""Sends records to the log. Nobody waits for an acknowledgement: what counts is what is read back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from processor.budget.log import BudgetLog, LogUnavailableError
from processor.budget.log_records import LogRecord, encode

log = structlog.get_logger(__name__)

_AGAIN_S = 0.5
_CLOSE_S = 2.0


class LogWriter:
    """Records on their way; as many as there are calls and asks.

    Args:
        budget_log: where to.
        clock: seconds.
        on_lost: called with each record that was given up.
        on_failed: called with an error that is no fault of the log's.
    """

    def __init__(
        self,
        budget_log: BudgetLog,
        clock: Callable[[], float],
        on_lost: Callable[[LogRecord], None],
        on_failed: Callable[[BaseException], None],
    ) -> None:
        self._log, self._clock = budget_log, clock
        self._on_lost, self._on_failed = on_lost, on_failed
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_post: Callable[[], None] = lambda: None  # called for each record that is sent: it is going to be read back

    def __len__(self) -> int:
        return len(self._tasks)

    def post(self, record: LogRecord, *, for_s: float = 0.0) -> None:
        """Append a record, and try again for ``for_s`` seconds; a record that comes later is of no use."""
        self.on_post()
        task = asyncio.get_running_loop().create_task(self._send(record, self._clock() + for_s))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Wait a moment for what is on its way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)
        for task in list(self._tasks):
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failed(error)

    async def _send(self, record: LogRecord, until: float) -> None:
        value = encode(record)
        while True:
            try:
                await self._log.append(value)
            except LogUnavailableError as exc:
                if self._clock() >= until:
                    log.warning("budget_record_lost", kind=type(record).__name__, detail=str(exc))
                    self._on_lost(record)
                    return
            else:
                return
            await asyncio.sleep(_AGAIN_S)
