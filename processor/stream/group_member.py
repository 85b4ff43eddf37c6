"""One life of a group member: a consumer, and a lane for each partition it owns.

Invariant. For every input partition there is one transactional id. A new owner first starts the producer of that id,
which fences the former owner and finishes its transaction, and only then reads the committed offset and gap map. Every
transaction holds the outputs of some records and the offset and gap map that say these records are done. So outputs and
"done" become visible together, in one line of owners, whatever the group, the clocks or a frozen process do.

Any unexpected error ends this life; ``worker.supervisor`` builds the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition

from processor.bounds.loop_turns import LoopTurns
from processor.observe import metrics
from processor.settings import Settings
from processor.stream.aiokafka_stop import run_until
from processor.stream.errors import (
    ProducerFencedError,
    StallError,
    describe,
    kafka_deadline,
    kafka_errors,
)
from processor.stream.handler import CallHistory, Handler
from processor.stream.kept_outcomes import KeptOutcomes
from processor.stream.lane import Lane
from processor.stream.partitions import lane_name
from processor.stream.ports import KAFKA_PORTS, MemberPorts
from processor.stream.publish_pace import PublishPace
from processor.stream.publisher import publish
from processor.stream.recovery import RestoredLane, explain_missing, restore_lane
from processor.stream.start_offset import MissingOffsetsError
from processor.stream.takeover import LanePublisher, Owned, Takeover, TakeoverWait
from processor.stream.topics import topic_names
from processor.stream.wakeups import Wakeups

log = structlog.get_logger(__name__)

_WATCH_S = 1.0
_POLL_MS = 100  # a partition that has room again, or has been taken over, waits so long until it is read
_BUSY_AFTER_S, _BUSY_POLL_MS = 1.0, 10  # after a poll that gave all it may: a lane that only reads past a flood has room in a moment
_IDLE_AFTER_S, _LONG_POLL_MS = 5.0, 500  # while all are read, or nothing comes; a record that comes is had at once all the same
_POLL_RECORDS_MAX = 500
_SKIP_MARKERS_S = 5.0
_OWNERS_S = 45.0  # between two looks; what is added is seen after ``clients.METADATA_AGE_MS`` by a leader that knows that it is
_NAMED_MAX = 5
_TOLD_S = 1.0  # milliseconds, if the log takes records at all


class GroupMember(ConsumerRebalanceListener):  # type: ignore[misc]
    """One life; ``run`` returns when ``stop`` is set, and raises when something failed."""

    def __init__(
        self,
        settings: Settings,
        handler: Handler,
        journal: CallHistory,
        hints: Wakeups,
        clock_ms: Callable[[], int],
        kept: KeptOutcomes,
        ports: MemberPorts = KAFKA_PORTS,
    ) -> None:
        self.stop = asyncio.Event()
        self.published = 0  # records completed in this life
        self.assigned = False  # the group has told what is ours; what is told is taken over lane by lane
        self.last_poll = ports.monotonic()
        self._settings, self._lanes, self._handler, self._clock_ms = settings, settings.lanes, handler, clock_ms
        self._journal, self._hints, self._kept, self._ports = journal, hints, kept, ports
        self._names = topic_names(settings)
        self._owned: dict[TopicPartition, Owned] = {}
        self._membership: tuple[int, str] = (-1, "")
        self._error: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._turns = LoopTurns(ports.monotonic)
        self._consumer = ports.consumer(settings)
        self._takeover = Takeover(settings, self._consumer, ports)

    async def run(self) -> None:
        """Work until ``stop`` is set, then drain, publish and leave the group.

        Raises:
            KafkaFailedError, TimeoutError, StallError, MissingOffsetsError: what ended this life.
        """
        self._consumer.subscribe(self._names.inputs, self)
        try:
            async with kafka_deadline(self._settings, self._lanes.start_s):
                await run_until(self.stop, self._consumer.start(), self._lanes.close_s)  # it waits for the group without a bound
            self.last_poll = self._ports.monotonic()
            self._spawn(self._poll(), "poll")
            self._spawn(self._watch_owners(), "owners")
            await self._watch()
            await self._close(drain=True, flush=self._error is None or self._is_member())
            if self._error is None and self._settings.kafka.leave_on_stop:
                self._consumer.leave_on_stop()
        finally:
            self.stop.set()  # after a start that failed, too: partitions that are assigned from now on are another life's
            await self._close(drain=False, flush=False)
            await self._cancel(set(self._tasks))
            await self._consumer.stop(self._lanes.close_s)
        if self._error is not None:
            raise self._error

    def snapshot(self) -> dict[TopicPartition, dict[str, int] | None]:
        """Lanes by partition, with ``unread`` offsets up to their ends; None for one that is being restored."""
        return {tp: o.lane.snapshot() | {"unread": self._unread_count(tp, o.lane)} if o.lane else None for tp, o in self._owned.items()}

    def _unread_count(self, partition: TopicPartition, lane: Lane) -> int:
        read_to = max(lane.offsets.next, self._consumer.read_position(partition) or 0)  # beyond markers, which no lane is handed
        return max(0, self._consumer.known_end(partition) - read_to)

    @property
    def open_count(self) -> int:
        """Partitions that are worked on."""
        return sum(owned.lane is not None and owned.waits is None for owned in self._owned.values())

    def waiting_count(self, wait: TakeoverWait) -> int:
        """Partitions that wait for their takeover."""
        return sum(owned.waits is wait for owned in self._owned.values())

    async def _watch(self) -> None:
        while not self.stop.is_set():
            try:
                async with asyncio.timeout(_WATCH_S):
                    await self.stop.wait()
            except TimeoutError:
                silence_s = self._ports.monotonic() - self.last_poll  # a poll has no deadline of its own during a rebalance
                if silence_s > self._lanes.stall_s:
                    self._fail(StallError(f"no poll came back for {silence_s:.0f} s"))

    async def _watch_owners(self) -> None:
        """Have the group divide its partitions again where some have no owner for long: whoever leads it has not noticed."""
        before: frozenset[TopicPartition] = frozenset()
        while True:
            await asyncio.sleep(_OWNERS_S)
            found = await self._consumer.ownerless() if self.assigned else frozenset()
            if missed := sorted(map(lane_name, found & before)):
                log.warning("partitions_ownerless", count=len(missed), partitions=missed[:_NAMED_MAX])
                self._consumer.rejoin()
                found = frozenset()
            before = found

    # ---- assignment: both callbacks run inside aiokafka's coordination task

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Take partitions over. Returns at once: there are no heartbeats during this callback."""
        partitions = list(assigned)
        if partitions:
            self._consumer.pause(partitions)  # first of all: nothing may be delivered before the lane is restored
        if self.stop.is_set():
            return
        self.assigned = True
        metrics.REBALANCES.inc()
        self._membership = self._consumer.membership()
        log.info("partitions_assigned", count=len(partitions), generation=self._membership[0])
        self._kept.assigned(partitions)
        self._owned = {tp: self._takeover.own(tp) for tp in partitions}
        rights = self._spawn(self._check_rights(), "rights")
        for owned in self._owned.values():
            owned.task = self._spawn(self._own(owned, rights), f"lane {lane_name(owned.partition)}")

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Give every partition back, with all that can be finished in time. Who was expelled keeps what its calls come to."""
        del revoked  # the eager protocol revokes everything
        self.assigned = False
        await self._close(drain=True, flush=self._is_member())

    def _is_member(self) -> bool:
        return self._consumer.membership() == self._membership

    async def _check_rights(self) -> None:
        """Once for each assignment: a right that was taken away must stop the work before money is spent on what cannot be published."""
        async with kafka_deadline(self._settings, self._lanes.restore_s):
            await self._consumer.check_rights()

    async def _own(self, owned: Owned, rights: asyncio.Task[None]) -> None:
        began = self._ports.monotonic()
        await asyncio.wait({rights})
        if owned.closing.is_set() or rights.cancelled() or rights.exception() is not None:
            return  # this life ends
        await self._takeover.fence(owned)
        found = await self._takeover.find_start(owned)
        if found is None or owned.closing.is_set():
            return
        if isinstance(found, MissingOffsetsError):
            raise await explain_missing(self._journal, lane_name(owned.partition), found, self._takeover.finder(owned))
        start = found.start
        restored = await restore_lane(self._journal, lane_name(owned.partition), start, found.end, self._takeover.finder(owned))
        if owned.closing.is_set():
            return
        saved = start.offset, start.metadata
        if found.saved_floor is None or not restored.positioned:  # from now on "no offset" and "no position" can only mean a loss
            saved = restored.offsets.view(log_position=self._journal.position())
            await owned.writer.commit((), *saved)
        if owned.closing.is_set():
            return
        lane = self._lane(owned.partition, restored)  # not before: nobody would end it if that commit fails
        lane.published((), *lane.view(()))  # whoever loses the group's offsets finds in the log what is done
        lane.kept = self._kept.hand_over(owned.partition, lane.offsets.is_unfinished)
        self._consumer.resume_at(owned.partition, start.offset)
        owned.lane = lane
        metrics.RECOVERIES.inc()
        metrics.RECOVERY_TIME.observe(self._ports.monotonic() - began)
        self._room.set()
        pace = PublishPace(self._lanes.publish_pause_s)
        publisher = LanePublisher(self._takeover, owned, lane, saved, self._is_member)
        await publish(lane, publisher.commit, self._lanes.publish_max, pace, start.offset, self._note_published)

    def _lane(self, partition: TopicPartition, restored: RestoredLane) -> Lane:
        return Lane(
            partition,
            restored.offsets,
            self._handler,
            self._lanes,
            clock_ms=self._clock_ms,
            on_room=self._room.set,
            on_failed=self._fail,
            on_skip=lambda offset: self._consumer.resume_at(partition, offset),
            holds_undue=partition.topic != self._names.requests,
            journal=self._journal,
            hints=self._hints,
            turns=self._turns,
            unremembered_below=restored.unremembered_below,
            finished_before=restored.finished,
        )

    def _note_published(self, count: int) -> None:
        self.published += count

    # ---- records

    async def _poll(self) -> None:
        skip_at = heard_at = self._ports.monotonic()
        full_at = float("-inf")  # when a poll last gave as many records as it may
        while True:
            self.last_poll = self._ports.monotonic()
            wanting = [tp for tp, o in self._owned.items() if o.lane is not None and o.lane.wants_records]
            if not wanting:  # a poll without a partition would mean all of them
                with kafka_errors(self._settings):
                    self._consumer.check_membership()  # else a failed rejoin of who owns nothing would be heard of by nobody
                self._room.clear()
                await self._wait_room()
                continue
            patient = len(wanting) == len(self._owned) or self.last_poll - heard_at > _IDLE_AFTER_S
            wait_ms = _LONG_POLL_MS if patient else _POLL_MS
            wait_ms = _BUSY_POLL_MS if self.last_poll - full_at < _BUSY_AFTER_S else wait_ms
            with kafka_errors(self._settings):
                batches = await self._consumer.poll(wanting, wait_ms, _POLL_RECORDS_MAX)
            for tp, batch in batches.items():
                owned = self._owned.get(tp)
                if owned is not None and owned.lane is not None and owned.lane.open:  # else revoked meanwhile
                    owned.lane.deliver(batch)
            if self._ports.monotonic() - skip_at > _SKIP_MARKERS_S:
                skip_at = self._ports.monotonic()
                self._skip_markers()
            if batches:
                heard_at = self._ports.monotonic()
                full_at = heard_at if sum(map(len, batches.values())) >= _POLL_RECORDS_MAX else full_at
                await asyncio.sleep(0)  # a full buffer never makes a poll wait: let the work run

    async def _wait_room(self) -> None:
        try:
            async with asyncio.timeout(_WATCH_S):
                await self._room.wait()
        except TimeoutError:
            return

    def _skip_markers(self) -> None:
        # transaction markers at the tail are never delivered; without this an idle partition would seem to lag,
        # and to have lost records once retention removes the markers
        for tp, owned in self._owned.items():
            if owned.lane is not None and owned.lane.open and owned.lane.idle:
                position = self._consumer.read_position(tp)
                if position is not None and position > owned.lane.offsets.next:
                    owned.lane.offsets.skip_to(position)
                    owned.lane.wake.set()

    # ---- end

    async def _close(self, *, drain: bool, flush: bool) -> None:
        """End all lanes.

        Args:
            drain: let calls in flight end.
            flush: publish what is finished.
        """
        everything = list(self._owned.values())
        lanes = [o.lane for o in everything if o.lane is not None]
        for owned in everything:
            owned.closing.set()
        calling = {task for lane in lanes for task in lane.stop_dispatch()}
        owners = {o.task for o in everything if o.task is not None}
        if not flush:  # before the calls end: a writer that was fenced would end this life
            await self._cancel(owners)
        if drain and calling:
            await asyncio.wait(calling, timeout=self._lanes.drain_s)
        for lane in lanes:
            lane.close()
        ending = {o.task for o in everything if o.task is not None and o.may_end_soon}
        if flush and ending:
            await asyncio.wait(ending, timeout=self._lanes.flush_s)
        await self._cancel(owners | {task for lane in lanes for task in lane.abandon()})
        await asyncio.gather(*(o.writer.stop(self._lanes.close_s) for o in everything))
        for owned in everything:
            self._journal.forget(lane_name(owned.partition))
            if owned.lane is not None:
                self._kept.keep(owned.partition, owned.lane.unpublished())
        self._owned = {}
        if flush and everything:  # else the next owner takes calls that were withdrawn for calls that were perhaps made
            await self._journal.flush(_TOLD_S)

    async def _cancel(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._lanes.close_s)

    def _spawn(self, coro: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            metrics.FENCES.inc(isinstance(error, ProducerFencedError))
            if self._error is None or describe(self._error) != describe(error):  # each lane may fail of the same
                log.error("life_failed", task=task.get_name(), error=describe(error))
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self.stop.set()
