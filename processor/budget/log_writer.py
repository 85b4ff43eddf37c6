"""Sends records to the log. Nobody waits for an acknowledgement: what counts is what is read back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from processor.bounds.gathering import GatheringPause
from processor.budget.log import BudgetLog, LogUnavailableError
from processor.budget.log_records import LogRecord, encode, encode_group

log = structlog.get_logger(__name__)

_AGAIN_S = 0.5
_CLOSE_S = 2.0
_PAUSE_S, _FEW_PER_S, _MANY_PER_S = 0.02, 100.0, 1100.0  # from one append to the next, by the records a second that are posted here
_GROUP_RECORDS, _GROUP_BYTES = 200, 100_000  # a reader takes an entry in one turn of its loop


@dataclass(slots=True, eq=False)
class _Message:
    record: LogRecord
    value: bytes
    until: float  # a record that comes later is of no use


class LogWriter:
    """Records on their way; as many as there are calls and asks.

    What is posted while an append is under way goes into one entry, in order (``may_group``). To be told that an append has failed
    is no proof that the entry is not there, or never will be: who sends records again sends the same records, and a reader takes the first.

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
        self._queue: deque[_Message] = deque()
        self._unsent: deque[list[_Message]] = deque()  # whose append has failed; they go again soon
        self._open: set[_Message] = set()  # posted, and neither appended nor given up
        self._settled = asyncio.Event()  # some are so no more; for ``flush``
        self._is_sending = False
        self._gathering = GatheringPause(_PAUSE_S, _FEW_PER_S, _MANY_PER_S)
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_post: Callable[[], None] = lambda: None  # called for each record that is sent: it is going to be read back
        self.may_group: Callable[[], bool] = lambda: False  # whether everybody reads entries of several records
        # called for each entry that is sent, with its records
        self.on_send: Callable[[bytes, Sequence[LogRecord]], None] = lambda _entry, _records: None

    def post(self, record: LogRecord, *, for_s: float = 0.0) -> None:
        """Append a record, and try again for ``for_s`` seconds; a record that comes later is of no use."""
        message = _Message(record, encode(record), self._clock() + for_s)
        self._queue.append(message)
        self._open.add(message)
        self.on_post()
        self._send_queue()

    def send_again_now(self) -> None:
        """Send what could not be appended before anything that is posted from now on: the log is there again."""
        while self._unsent:
            self._queue.extendleft(reversed(self._unsent.pop()))
        self._send_queue()

    async def flush(self, within_s: float) -> None:
        """Wait until what was posted so far is in the log, or given up; so long at most."""
        left = set(self._open)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while left := left & self._open:
                    self._settled.clear()
                    await self._settled.wait()

    async def close(self) -> None:
        """Wait a moment for what is on its way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)
        for task in list(self._tasks):
            task.cancel()

    def _send_queue(self) -> None:
        if not self._is_sending:
            self._is_sending = True
            self._spawn(self._send_queued())

    async def _send_queued(self) -> None:
        """Until nothing is queued: what came together, or while an append was under way, goes together. Of much, some is gathered."""
        try:
            while self._queue:
                if self.may_group():
                    began, group = self._clock(), self._next_group()
                    await self._send(group)
                    left_s = began + self._gathering.after(len(group), began) - self._clock()
                    if left_s > 0 and len(self._queue) < _GROUP_RECORDS:  # else there is nothing to wait for
                        await asyncio.sleep(left_s)
                else:
                    self._spawn(self._send([self._queue.popleft()]))
        finally:
            self._is_sending = False

    def _next_group(self) -> list[_Message]:
        group, size = [self._queue.popleft()], 0
        while self._queue and len(group) < _GROUP_RECORDS and (size := size + len(group[-1].value)) < _GROUP_BYTES:
            group.append(self._queue.popleft())
        return group

    async def _send(self, group: list[_Message]) -> None:
        entry = encode_group([message.value for message in group])
        self.on_send(entry, [message.record for message in group])
        try:
            await self._log.append(entry)
        except LogUnavailableError as exc:
            now = self._clock()
            for message in group:
                if now >= message.until:
                    log.warning("budget_record_lost", kind=type(message.record).__name__, detail=str(exc))
                    self._on_lost(message.record)
            again = [message for message in group if now < message.until]
            self._settle(message for message in group if now >= message.until)
            if again:
                self._spawn(self._send_again(again))
        else:
            self._settle(group)

    def _settle(self, messages: Iterable[_Message]) -> None:
        self._open.difference_update(messages)
        self._settled.set()

    async def _send_again(self, messages: list[_Message]) -> None:
        self._unsent.append(messages)
        await asyncio.sleep(_AGAIN_S)
        if messages in self._unsent:
            self._unsent.remove(messages)
            self._queue.extendleft(reversed(messages))
            self._send_queue()

    def _spawn(self, sending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failed(error)
