"""A lane: one assignment of one input partition, from delivered records to finished outcomes.

A record is in exactly one place: ``delayed`` (``held_records``: not due yet, holds nothing but memory), ``ready`` (due, no room at work),
``work`` (a task of the handler), ``finished`` (outcome known, not published), or published and noted in the ledger.
A later assignment of the same partition is another lane; this one then only ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial

import structlog
from aiokafka import TopicPartition

from processor.bounds.loop_turns import LoopTurns
from processor.contract.headers import peek_due_ms, was_sent_away
from processor.contract.records import Hint, Output, Record, Source, Unread
from processor.observe import metrics
from processor.settings import LaneSettings
from processor.stream.cancels import Cancel
from processor.stream.counters import note_unread
from processor.stream.errors import origin
from processor.stream.finished_outcomes import Finished, FinishedOutcomes
from processor.stream.handler import OUTPUT_TOO_LARGE, CallHistory, Handler, Outputs, Work, WorkAbandonedError
from processor.stream.held_records import HeldRecords
from processor.stream.kept_outcomes import outcome_of
from processor.stream.offsets import OffsetTracker, gap_map_of
from processor.stream.partitions import lane_name
from processor.stream.releases import Release
from processor.stream.wakeups import Wakeups

log = structlog.get_logger(__name__)

_TIMER_S_MAX = 5.0  # the loop's clock stands still while the machine sleeps, and the wall clock may be set
_DUE_PER_TURN_MAX = 500  # records woken in one turn of the loop


class Lane:
    """The work on one assigned partition: records in, finished outcomes out.

    Promises: every delivered record that no earlier owner has finished is handled once, in no order, and comes out of
    ``take_finished`` once, whatever the handler does (one that fails is completed by ``Handler.broken``); or the lane stops before,
    and the next owner handles it. At most ``work_max`` tasks, ``ahead_max`` offsets and ``ahead_bytes_max`` bytes are held, the
    latter two but for one fetch: read on only while ``wants_records``.

    Its life: ``deliver`` and ``take_finished`` with ``published`` in turn; then ``stop_dispatch`` (nothing starts, what waits
    ends), ``close`` (the publisher ends when all is published), ``abandon`` (what is left is cancelled). To be used in one event
    loop; no method blocks, and none but ``wake`` is waited for.

    Args:
        partition: of the requests topic or a delay topic.
        offsets: what is done already; the lane notes deliveries, starts and publications in it.
        handler: what is done with a record.
        settings: the bounds.
        clock_ms: the wall clock, epoch ms; due times are compared with it.
        on_room: called when more records may be read.
        on_failed: called with the error after which this life of the group member must end (``WorkAbandonedError``).
        holds_undue: whether records wait for the due time in their headers (delay topics); if not they start at once.
        journal: the calls of all replicas; asked for its position when a record starts, and for each commit.
        hints: what wakes a record before its due time.
        turns: of the event loop, shared with the other lanes: 200 records that begin at once do not hold it up.
        on_skip: called with an offset: read on there.
        unremembered_below: of records below this offset the journal may not know all calls; 0 if it reaches back far enough.
        finished_before: of these it knows that they are finished.
    """

    def __init__(
        self,
        partition: TopicPartition,
        offsets: OffsetTracker,
        handler: Handler,
        settings: LaneSettings,
        *,
        clock_ms: Callable[[], int],
        on_room: Callable[[], None],
        on_failed: Callable[[BaseException], None],
        on_skip: Callable[[int], None],
        holds_undue: bool,
        journal: CallHistory,
        hints: Wakeups,
        turns: LoopTurns,
        unremembered_below: int = 0,
        finished_before: Collection[int] = (),
    ) -> None:
        self.partition, self.offsets, self._name = partition, offsets, lane_name(partition)
        self.wake = asyncio.Event()  # something is finished, or the lane is closing
        self.open = True  # records may be delivered and started
        self.closing = False  # publish what is finished, then stop
        self.paused = False  # nothing starts: what it comes to could not be published now
        self.block: Unread | None = None  # nothing behind it can be read until a person has it skipped
        self.kept: dict[int, Finished] = {}  # what an earlier lane of this process could not publish, see ``KeptOutcomes``
        self._on_skip, self._finished_before = on_skip, finished_before
        self._handler, self._settings, self._clock_ms, self._on_room = handler, settings, clock_ms, on_room
        self._on_failed, self._journal, self._unremembered_below = on_failed, journal, unremembered_below
        # only a delay topic may hold records back: a due time that a caller sends would otherwise stop its partition
        self._holds_undue = holds_undue
        self._held = HeldRecords(handler, hints, self._start_parked)
        self._hints, self._turns = hints, turns
        hints.listeners.add(self.wake_session)
        hints.releases.listeners.add(self.start_released)
        hints.cancels.listeners.add(self.end_cancelled)
        self._ready: deque[Record] = deque()
        self._work: set[Work] = set()
        self._finished = FinishedOutcomes()
        self._held_bytes = 0  # of every record delivered and not published
        self._timer: asyncio.TimerHandle | None = None

    # ---- records in

    @property
    def wants_records(self) -> bool:
        """Whether more may be read: every place in which a record can wait is bounded."""
        return (
            self.open
            and not self.paused
            and self.block is None
            and not self._ready
            and len(self._work) < self._settings.work_max
            and not self.is_full
            and self._held_bytes < self._settings.ahead_bytes_max
            and self.offsets.span < self._settings.ahead_max
        )

    @property
    def is_full(self) -> bool:
        """Whether it reads nothing before some of what is finished is published."""
        return len(self._finished) >= 2 * self._settings.work_max

    @property
    def idle(self) -> bool:
        """Everything that was delivered is published."""
        return self.offsets.unfinished_count == 0

    def deliver(self, records: Iterable[Record]) -> None:
        """Take records in ascending offset; those that an earlier owner has finished are skipped."""
        now_ms = self._clock_ms()
        for record in records:
            if record.unread is not None and record.unread.blocks:
                self._hold(record.unread)
                break
            if not self.offsets.deliver(record.source.offset):
                continue
            if record.unread is not None:
                note_unread(record.source, record.unread)
            self._held_bytes += record.size_bytes
            if self.kept and (outputs := outcome_of(record, self.kept)) is not None:
                self.offsets.started(record.source.offset, self._journal.position())
                self._finished.add(record, outputs)
                continue
            if not (self._holds_undue and self._held.hold(record, now_ms)):
                self._ready.append(record)
        self._set_timer()
        self._start_ready()
        self.wake.set()  # passed-over records may have moved the floor

    def _start_parked(self, offset: int) -> None:
        """Its line has room."""
        if woken := self._held.waiting.remove([offset]):
            self._ready.extend(woken)
            self._start_ready()

    def wake_session(self, hint: Hint) -> None:
        """Something has happened to a session: records that wait for it are ready."""
        self._ready.extend(self._held.waiting.remove_of_session(hint.session_id))
        self._start_ready()

    def end_cancelled(self, cancel: Cancel) -> None:
        """These requests were taken back: those that wait here, for a time or for their call, are ready, and end."""
        wanted = frozenset(cancel.request_ids)
        self._stop_waiting({work.record.source.offset for work in self._work if work.request_id in wanted})
        self._ready.extend(record for request_id in cancel.request_ids for record in self._held.waiting.remove_of_request(request_id))
        self._start_ready()

    def _is_cancelled(self, record: Record, request_id: str) -> bool:
        cancels = self._hints.cancels
        return len(cancels) > 0 and cancels.holds(request_id, record, self._clock_ms())

    def start_released(self, release: Release) -> None:
        """These records are to be worked on now: those that are held back here are ready, as if they were due."""
        if (release.topic, release.partition) != (self.partition.topic, self.partition.partition):
            return
        if self.block is not None and self.block.first in release.offsets:
            self._skip(self.block, max(release.offsets))
            return
        if release.end:
            self._stop_waiting(set(release.offsets))
        woken = self._held.waiting.remove(release.offsets)
        if woken:
            log.info("released", partition=self._name, count=len(woken), run=release.run_id)
        self._ready.extend(woken)
        self._start_ready()

    def pause(self) -> None:
        """Start nothing until ``go_on``. What waits for its call begins again then; calls in flight end, and their outcomes are kept."""
        self.paused = True
        self._stop_waiting({work.record.source.offset for work in self._work})
        self._held.leave_lines()  # a place that is not taken would be missing to the other lanes

    def go_on(self) -> None:
        """Outcomes can be published again."""
        self.paused = False
        self._start_ready()
        self._on_room()

    def _stop_waiting(self, offsets: Collection[int]) -> None:
        """Work that waits for its call, e.g. while the account is held, stops, and begins again."""
        for work in [work for work in self._work if work.record.source.offset in offsets and not (work.calling or work.ended)]:
            work.stop()

    @property
    def _aside_below(self) -> int:
        """Who waits for a turn below this offset steps aside: else the lane would read no further before that turn has come."""
        ahead = max(self._settings.work_max, self._settings.ahead_max // 2)
        return self.offsets.next - ahead if self.offsets.span > ahead and not self._holds_undue else 0

    def _hold(self, block: Unread) -> None:
        self.block = block
        log.critical("partition_waits", partition=self._name, offset=block.first, last=block.last, detail=block.detail)

    def _skip(self, block: Unread, last: int) -> None:
        """Read on behind a block. Its offsets are answered as those of any batch that cannot be read."""
        last = max(last, block.last)
        if not self.open or last < block.first:
            return
        self.block = None
        log.warning("partition_skipped", partition=self._name, first=block.first, last=last)
        self._on_skip(last + 1)
        unread = replace(block, last=last, blocks=False)
        self.deliver([Record(Source(self.partition.topic, self.partition.partition, last), None, None, (), self._clock_ms(), unread)])

    def _start_ready(self) -> None:
        aside_below = self._aside_below
        if aside_below:
            far = (work.record.source.offset for work in self._work if not (work.aside or work.stopping))
            self._stop_waiting({offset for offset in far if offset < aside_below})
        while self.open and not self.paused and self._ready and len(self._work) < self._settings.work_max:
            record = self._ready.popleft()
            self._note_lateness(record)
            self.offsets.started(offset := record.source.offset, self._journal.position())
            truncated, finished = offset < self._unremembered_below, offset in self._finished_before
            hint, ended, parked = self._hints.take(record), self._hints.releases.ends(record.source), self._held.take_parked(offset)
            work = Work(record, history_truncated=truncated, finished_before=finished, hint=hint, ended=ended, parked=parked)
            work.is_cancelled, work.aside = partial(self._is_cancelled, record), offset < aside_below
            self._work.add(work)
            work.task = asyncio.get_running_loop().create_task(self._run(work))
            work.task.add_done_callback(lambda _, work=work: self._ended(work))  # type: ignore[misc]

    def _note_lateness(self, record: Record) -> None:
        due_ms = peek_due_ms(record) if self._holds_undue and not was_sent_away(record) else None
        if due_ms is not None and (late_ms := self._clock_ms() - due_ms) >= 0:  # one that was woken early is not late
            metrics.DUE_ERROR.observe(late_ms / 1000)

    def _set_timer(self) -> None:
        next_ms = self._held.waiting.next_due_ms
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if next_ms is not None and self.open:
            delay_s = max(0.0, (next_ms - self._clock_ms()) / 1000)
            self._timer = asyncio.get_running_loop().call_later(min(delay_s, _TIMER_S_MAX), self._on_timer)

    def _on_timer(self) -> None:
        try:
            self._wake_due()
        except Exception as exc:  # noqa: BLE001 - the loop would only note it, and nothing that is due would start any more
            self._on_failed(exc)

    def _wake_due(self) -> None:
        self._timer, now_ms = None, self._clock_ms()
        self._ready.extend(self._held.pop_due(now_ms, _DUE_PER_TURN_MAX))
        self._start_ready()
        self._set_timer()

    # ---- work

    async def _run(self, work: Work) -> None:
        try:
            await self._turns.turn()
            outcome = await self._handler.handle(work.record, work)
        except WorkAbandonedError as exc:
            self._on_failed(exc)
            return
        except (Exception, asyncio.CancelledError) as exc:  # no record may stop a lane
            if isinstance(exc, asyncio.CancelledError) and (work.stopping or not self.open):
                raise  # else it is no cancellation of ours: a library that gave up what it waited for
            log.error("handler_failed", source=str(work.record.source), error=type(exc).__name__, at=origin(exc))
            outcome = self._handler.broken(work.record, type(exc).__name__)
        outputs = outcome.records if isinstance(outcome, Outputs) else ()
        if outputs and max([o.size_bytes for o in outputs]) > self._settings.output_bytes_max:
            outputs = self._handler.broken(work.record, OUTPUT_TOO_LARGE).records  # a refusal by the broker would poison the producer
        self._finished.add(work.record, outputs)
        self.wake.set()

    def _ended(self, work: Work) -> None:
        self._work.discard(work)
        work.leave_parked()
        if self.open and work.stopping and work.task is not None and work.task.cancelled():
            self._ready.appendleft(work.record)  # it was stopped to begin again
        if work.task is not None and not work.task.cancelled() and (error := work.task.exception()) is not None:
            self._on_failed(error)  # the record is neither finished nor at work: only another life takes it up
        if self.open:
            self._start_ready()
            self._on_room()

    # ---- outcomes out

    def view(self, records: Sequence[Record]) -> tuple[int, str]:
        """The offset to commit and its metadata, as if these records were finished already."""
        return self.offsets.view({r.source.offset for r in records}, log_position=self._journal.position())

    def take_finished(self, count_max: int) -> list[tuple[Record, Sequence[Output]]]:
        """Remove outcomes for one transaction, bounded by count, bytes and what the gap map can hold."""
        return self._finished.take(count_max, self.offsets.fits)

    def published(self, records: Sequence[Record], floor: int, metadata: str) -> None:
        """Note that these outcomes are in a committed transaction, with this offset and text."""
        self._journal.done(self._name, floor, gap_map_of(metadata))
        self._finished.published()
        self.offsets.finish(r.source.offset for r in records)
        self._held_bytes -= sum(r.size_bytes for r in records)
        self._on_room()

    # ---- end

    def stop_dispatch(self) -> set[asyncio.Task[None]]:
        """Start nothing more, drop what waits. Returns the tasks that still call."""
        self.open = False
        self._hints.listeners.discard(self.wake_session)
        self._hints.releases.listeners.discard(self.start_released)
        self._hints.cancels.listeners.discard(self.end_cancelled)
        self._held.waiting.clear()
        self._set_timer()
        self._held.leave_lines()
        self._ready.clear()
        for work in self._work:
            work.stop()
        return {w.task for w in self._work if w.task is not None and w.calling}

    def close(self) -> None:
        """Let the publisher end after the outcomes at hand."""
        self.closing = True
        self.wake.set()

    def unpublished(self) -> list[Finished]:
        """Outcomes that no committed transaction is known to hold; to be asked for when nothing runs any more."""
        return [*self.kept.values(), *self._finished.unpublished()]

    def abandon(self) -> set[asyncio.Task[None]]:
        """Cancel what is left at work; its records are taken up again by the next owner."""
        tasks = {w.task for w in self._work if w.task is not None}
        for task in tasks:
            task.cancel()
        return tasks

    def snapshot(self) -> dict[str, int]:
        """Counts for metrics and logs; ``overdue_ms``: for how long the oldest record has been due and has not begun."""
        dues = [due for r in self._ready if self._holds_undue and not was_sent_away(r) and (due := peek_due_ms(r)) is not None]
        if self._held.waiting.next_due_ms is not None:
            dues.append(self._held.waiting.next_due_ms)
        return {
            "floor": self.offsets.floor,
            "next": self.offsets.next,
            "unfinished": self.offsets.unfinished_count,
            "overdue_ms": max(0, self._clock_ms() - min(dues)) if dues else 0,
            "delayed": len(self._held.waiting),
            "ready": len(self._ready),
            "work": len(self._work),
            "finished": len(self._finished),
            "held_bytes": self._held_bytes,
        }
