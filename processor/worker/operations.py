"""What the operators' page reads and does, on the real topics. See ``console.ports``."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from processor.clock import clock_ms
from processor.console.ports import (
    LETTERS_A_PAGE,
    WAITING_A_PAGE,
    FoundResults,
    ListedDeadLetters,
    ListedWaiting,
    RefusedError,
    UnavailableError,
    page_of,
)
from processor.contract.pauses import PauseAct, PauseKind
from processor.monitoring.history import BacklogHistory, BacklogSample, History, Sample
from processor.monitoring.latency import CallLatency, LatencyHistory
from processor.monitoring.model import Overview
from processor.monitoring.monitor import GroupMonitor
from processor.repair import pause, redrive
from processor.repair.delayed import DelayedSelection
from processor.repair.delayed import select as select_waiting
from processor.repair.model import DeadLetterStatus, DelayedRecord, Plan, RepairSummary, RequestHistory, Selection
from processor.repair.plan import make_plan, select
from processor.repair.release import publish_releases, releases_of
from processor.repair.request_history import request_history
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError


class KafkaOperations:
    """See ``console.ports.Operations``. The port is open before the brokers are found: until ``begin`` nothing can be asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: GroupMonitor | None = None
        self._history, self._backlog_history = History(), BacklogHistory()
        self._latencies = LatencyHistory(())

    def begin(self, monitor: GroupMonitor, history: History, backlog_history: BacklogHistory, latencies: LatencyHistory) -> None:
        """The brokers are there."""
        self._found, self._history, self._backlog_history, self._latencies = monitor, history, backlog_history, latencies

    @property
    def _monitor(self) -> GroupMonitor:
        if self._found is None:
            raise UnavailableError("this replica is starting: it waits for the brokers, or reads the budget log")
        return self._found

    async def overview(self) -> Overview:
        """See ``Operations.overview``."""
        with _translated():
            return await self._monitor.overview()

    def history(self) -> Mapping[str, Sequence[Sample]]:
        """See ``Operations.history``."""
        return self._history.samples()

    def backlog_history(self) -> Sequence[BacklogSample]:
        """See ``Operations.backlog_history``."""
        return self._backlog_history.samples()

    def call_latencies(self) -> Mapping[str, CallLatency]:
        """See ``Operations.call_latencies``."""
        return self._latencies.latencies()

    async def recent_results(self) -> FoundResults:
        """See ``Operations.recent_results``."""
        recent = self._monitor.recent_results
        with _translated():
            await recent.refresh()
        return FoundResults(tuple(recent.results), recent.complete)

    async def dead_letters(self, selection: Selection, *, page: int) -> ListedDeadLetters:
        """See ``Operations.dead_letters``."""
        await self._refresh()
        index = self._monitor.dead_letters
        open_ones = [dead_letter for dead_letter in index.dead_letters if dead_letter.status is DeadLetterStatus.OPEN]
        found = select(open_ones, selection)[::-1]
        return ListedDeadLetters(
            *page_of(found, page, LETTERS_A_PAGE),
            len(found),
            tuple(sorted({name for dead_letter in open_ones for name in (dead_letter.reason_type, dead_letter.reason_code)})),
            tuple(sorted({dead_letter.operation for dead_letter in open_ones if dead_letter.operation})),
            index.complete,
        )

    async def plan(self, selection: Selection) -> Plan:
        """See ``Operations.plan``."""
        await self._refresh()
        index = self._monitor.dead_letters
        limits, horizon_s = redrive.limits_of(self._settings), redrive.horizon_s(self._settings)
        return make_plan(index.dead_letters, selection, limits, now_ms=clock_ms(), busy=index.repairs.busy_ms, horizon_s=horizon_s)

    async def redrive(self, selection: Selection, by: str) -> RepairSummary:
        """See ``Operations.redrive``."""
        plan = await self.plan(selection)
        with _translated():
            done = await redrive.redrive(self._settings, plan.chosen, by=by)
        return replace(done, left_out={**plan.left_out, **done.left_out})

    async def discard(self, selection: Selection, by: str, note: str) -> RepairSummary:
        """See ``Operations.discard``."""
        await self._refresh()
        chosen = select(self._monitor.dead_letters.dead_letters, selection, statuses={DeadLetterStatus.OPEN})
        with _translated():
            return await redrive.discard(self._settings, chosen, by=by, note=note)

    def pausable(self) -> Sequence[str]:
        """See ``Operations.pausable``."""
        return pause.pausable()

    async def change_pause(self, kind: PauseKind, operation: str | None, by: str, reason: str) -> RepairSummary:
        """See ``Operations.change_pause``."""
        call = None if operation is None else pause.call_of(operation)
        if operation is not None and call is None:
            raise RefusedError("There is no such operation.")
        act = PauseAct(kind, call, by, reason, clock_ms(), str(uuid.uuid4()))
        with _translated():
            await pause.publish_pause(self._settings, act)
        return RepairSummary(act.run_id, 1)

    async def waiting(self, *, reason: str | None = None, page: int = 1) -> ListedWaiting:
        """See ``Operations.waiting``."""
        index = self._monitor.waiting
        with _translated():
            await index.refresh()
            records = [*index.records, *await self._monitor.held()]
        found = sorted((r for r in records if reason is None or (r.reason or "") == reason), key=lambda r: r.due_ms)
        return ListedWaiting(
            *page_of(found, page, WAITING_A_PAGE), len(found), tuple(sorted({r.reason or "" for r in records})), index.complete
        )

    async def waiting_named(self, wanted: DelayedSelection, *, end: bool) -> Sequence[DelayedRecord]:
        """See ``Operations.waiting_named``."""
        index = self._monitor.waiting
        with _translated():
            await index.refresh()
            held = await self._monitor.held() if end else ()
        return select_waiting([*index.records, *held], wanted, clock_ms())

    async def release(self, wanted: DelayedSelection, by: str, *, end: bool) -> RepairSummary:
        """See ``Operations.release``."""
        chosen, run_id = await self.waiting_named(wanted, end=end), str(uuid.uuid4())
        with _translated():
            await publish_releases(self._settings, releases_of(chosen, run_id, end=end), by=by, at_ms=clock_ms())
        return RepairSummary(run_id, len(chosen))

    async def request_history(self, request_id: str) -> RequestHistory:
        """See ``Operations.request_history``."""
        with _translated():
            return await request_history(self._settings, request_id)

    async def _refresh(self) -> None:
        with _translated():
            await self._monitor.refresh_dead_letters()


@contextmanager
def _translated() -> Iterator[None]:
    """Errors as the page shows them: with the text that Kafka's border has given them."""
    try:
        yield
    except redrive.RepairFencedError as exc:
        raise RefusedError(str(exc)) from exc
    except KafkaFailedError as exc:
        raise UnavailableError(str(exc)) from exc
