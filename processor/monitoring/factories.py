"""Group monitors: one for a command, which reads the budget log itself, and one for a replica, which has it at hand."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from processor.budget.log import Entry, LogBrokenError, LogUnavailableError
from processor.budget.log_snapshot import SnapshotReader
from processor.budget.rules import budget_rules
from processor.budget.shared import SharedBudget
from processor.budget.view import BudgetView, budget_view
from processor.clock import boot_clock, clock_ms
from processor.contract.pauses import Pauses
from processor.didit.catalog import SCOPES_OF
from processor.monitoring.monitor import GroupMonitor
from processor.repair.pause import PauseIndex
from processor.settings import Settings
from processor.stream.budget_log import KafkaBudgetLog
from processor.stream.errors import KafkaFailedError

_JOIN_S, _LOOK_S = 5.0, 0.05
_ENTRIES_MAX = 100_000


class BudgetUnreadableError(KafkaFailedError):
    """The budget log cannot be read. The text says why, and what to do."""

    def __init__(self, error: LogUnavailableError | LogBrokenError) -> None:
        told = isinstance(error.__cause__, KafkaFailedError)  # then the text says what to do
        super().__init__(f"the budget log cannot be read: {error}" + ("" if told else ". Does `processor topics check` pass?"))


@asynccontextmanager
async def budget_reader(settings: Settings) -> AsyncIterator[Callable[[], Awaitable[BudgetView]]]:
    """Looks at the budget log from outside.

    What it gives raises BudgetUnreadableError if the log cannot be read.
    """
    observer = SnapshotReader(KafkaBudgetLog(settings, read_only=True), budget_rules(settings), now_ms=clock_ms)

    async def read_view() -> BudgetView:
        try:
            state, now = await observer.read()
        except (LogUnavailableError, LogBrokenError) as exc:
            raise BudgetUnreadableError(exc) from exc
        return budget_view(state, SCOPES_OF, now, settings.kafka.group)

    try:
        yield read_view
    finally:
        await observer.close()


@asynccontextmanager
async def monitor_for_command(settings: Settings) -> AsyncIterator[GroupMonitor]:
    """A monitor for a command."""
    async with budget_reader(settings) as read_view, PauseIndex(settings) as pauses:
        monitor = GroupMonitor(settings, read_view, pauses.refresh, now_ms=clock_ms, patient=True)
        try:
            yield monitor
        finally:
            await monitor.close()


def monitor_in_process(settings: Settings, budget: SharedBudget) -> GroupMonitor:
    """A monitor for a replica."""

    async def read_view() -> BudgetView:
        await _joined(budget)
        return view_of(budget)

    async def read_pauses() -> Pauses:
        pauses = budget.state.pauses
        return pauses if pauses.known else Pauses()

    return GroupMonitor(settings, read_view, read_pauses, now_ms=clock_ms, patient=False)


async def _joined(budget: SharedBudget) -> None:
    """Wait a moment for the log to be read: before, it seems that no replica lives and nothing is used.

    Raises:
        BudgetUnreadableError: if it takes longer.
    """
    until = time.monotonic() + _JOIN_S
    while not budget.is_joined:
        if time.monotonic() >= until:
            raise BudgetUnreadableError(LogUnavailableError("this replica has not read it yet, or lost it"))
        await asyncio.sleep(_LOOK_S)


async def read_budget(settings: Settings) -> BudgetView:
    """The shared budget as its log shows it now.

    Raises:
        BudgetUnreadableError: if the log cannot be read.
    """
    async with budget_reader(settings) as read_view:
        return await read_view()


async def read_log(settings: Settings, since_s: float) -> list[Entry]:
    """The entries of the budget log that were appended in the last so many seconds; the newest 100 000 of them.

    Raises:
        BudgetUnreadableError: if the log cannot be read.
    """
    budget_log, began_ms = KafkaBudgetLog(settings, read_only=True), clock_ms()
    found: deque[Entry] = deque(maxlen=_ENTRIES_MAX)
    try:
        await budget_log.open()
        if (start := await budget_log.offset_at(began_ms - int(1000 * since_s))) is None:
            return []
        budget_log.seek(start)
        while entries := await budget_log.read():
            found += entries
            if entries[-1].stamp_ms >= began_ms:
                break  # the log never falls silent while replicas work
    except (LogUnavailableError, LogBrokenError) as exc:
        raise BudgetUnreadableError(exc) from exc
    finally:
        await budget_log.close()
    return list(found)


async def is_account_held(settings: Settings) -> bool:
    """Whether all calls are held because of a fault of the account. Reads minutes of the budget log: a held account is probed in each.

    Raises:
        BudgetUnreadableError: if the log cannot be read.
    """
    rules = replace(budget_rules(settings), memory_s=0.0)
    observer = SnapshotReader(KafkaBudgetLog(settings, read_only=True), rules, now_ms=clock_ms)
    try:
        state, _ = await observer.read()
    except (LogUnavailableError, LogBrokenError) as exc:
        raise BudgetUnreadableError(exc) from exc
    finally:
        await observer.close()
    return state.is_account_held


def view_of(budget: SharedBudget) -> BudgetView:
    """The budget as people see it, now."""
    return budget_view(budget.state, SCOPES_OF, boot_clock(), budget.group)
