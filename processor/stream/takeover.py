"""How a lane comes to a writer of its own: at a takeover, and once more when what it publishes has no leader, or is refused by a topic."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from typing import TypeVar

import structlog
from aiokafka import TopicPartition

from processor.contract.records import Output, OutputKind
from processor.settings import Settings
from processor.stream.counters import count_unpublished
from processor.stream.errors import (
    KafkaFailedError,
    KafkaUnavailableError,
    LeaderNotReadyError,
    NotAuthorizedError,
    ProducerExpiredError,
    ProducerFencedError,
    RecordsRefusedError,
    TopicMissingError,
    kafka_deadline,
)
from processor.stream.lane import Lane
from processor.stream.partitions import lane_name
from processor.stream.ports import GroupConsumer, MemberPorts, OutcomeWriter
from processor.stream.recovery import OffsetAt
from processor.stream.start_offset import FoundStart, MissingOffsetsError
from processor.stream.topics import topic_names

log = structlog.get_logger(__name__)

_Told = TypeVar("_Told")

_LEADER_S = 1.0  # between two looks for a leader
_LOOK_S = 5.0  # brokers that do not say within what a failed commit lacks are the fault themselves
_HELD_UP_S = 5.0  # brokers that have all leaders end a transaction within milliseconds
_NAMED_MAX = 5
_UNEXPLAINED_MAX = 2  # so often in a row a transaction fails of which the brokers say that nothing is amiss
_NO_LEADER = "no broker leads it, or a new leader waits until enough replicas are in sync; other partitions go on"
_HEARTBEATS = 2  # after so many a member knows whether it is one
_REFUSED_S, _REFUSED_S_MAX = 1.0, 60.0  # until a topic that has refused is tried again; each try leaves an aborted transaction behind


class TakeoverWait(StrEnum):
    """What a partition of ours waits for while the others go on."""

    LEADERLESS = "leaderless"  # a broker that leads the partition, and knows where it ends
    UNFENCED = "unfenced"  # the end of the last transaction, its former owner's or our own: it takes a leader of every partition in it
    REFUSED = "refused"  # other settings of a topic that it publishes to, or the right to write there


class Owned:
    """What belongs to one assigned partition, from the moment of assignment on."""

    def __init__(self, partition: TopicPartition, writer: OutcomeWriter) -> None:
        self.partition, self.writer = partition, writer
        self.lane: Lane | None = None  # None until the former owner is fenced and the offset is read
        self.task: asyncio.Task[None] | None = None
        self.closing = asyncio.Event()
        self.waits: TakeoverWait | None = None  # what it waits for; its task may be cancelled then

    @property
    def may_end_soon(self) -> bool:
        """Whether its task may end by itself once the partition is given back. What waits for brokers may wait for hours.

        A lane that waits to publish is given the time of the last transactions all the same: what it keeps is finished, and the next owner
        would take it for calls of which nothing is known.
        """
        return self.waits is None or self.lane is not None

    async def wait_until_closing(self, within_s: float) -> None:
        """Until the partition is given back, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.closing.wait()

    @contextmanager
    def waiting(self, reason: TakeoverWait) -> Iterator[None]:
        """Show what is waited for inside; behind it, what whoever called waits for."""
        outer, self.waits = self.waits, reason
        try:
            yield
        finally:
            self.waits = outer


class Takeover:
    """Fences the former writers of partitions and finds where to begin. Waits visibly where brokers are missing, and as long as they are.

    Args:
        settings: the deadlines.
        consumer: of this life.
        ports: where writers come from.
    """

    def __init__(self, settings: Settings, consumer: GroupConsumer, ports: MemberPorts) -> None:
        self._settings, self._lanes, self._consumer, self._ports = settings, settings.lanes, consumer, ports
        self._names = topic_names(settings)

    def own(self, partition: TopicPartition) -> Owned:
        """A partition that is ours from now on."""
        return Owned(partition, self._writer(partition))

    def _writer(self, partition: TopicPartition) -> OutcomeWriter:
        return self._ports.writer(self._settings, partition, self._names)

    async def fence(self, owned: Owned) -> None:
        """Fence the former owner. Waits while the brokers cannot end its transaction, and the others work.

        Raises:
            KafkaFailedError: if it cannot be done.
        """
        began = self._ports.monotonic()
        with ExitStack() as held_up:

            def note_held_up(leaderless: Sequence[TopicPartition]) -> None:
                if deadline.expired():  # aiokafka may have taken an answer for the cancellation that came with it
                    raise TimeoutError
                deadline.reschedule(asyncio.get_running_loop().time() + self._lanes.restore_s)
                if owned.waits is None and (leaderless or self._ports.monotonic() - began >= _HELD_UP_S):
                    held_up.enter_context(owned.waiting(TakeoverWait.UNFENCED))
                    _tell_held_up(owned.partition, leaderless)

            async with kafka_deadline(self._settings, self._lanes.restore_s) as deadline:
                await owned.writer.start(note_held_up)
            if owned.waits is not None:
                self._tell_goes_on(owned, began)

    def _tell_goes_on(self, owned: Owned, began: float) -> None:
        if owned.lane is None:  # a lane that publishes again says so itself
            log.info("takeover_goes_on", partition=lane_name(owned.partition), after_s=round(self._ports.monotonic() - began, 1))

    async def find_start(self, owned: Owned) -> FoundStart | MissingOffsetsError | None:
        """Where to begin. Waits while no broker leads the partition, and the others work; None if it was given back meanwhile.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        try:
            return await self._when_led(owned, self._consumer.find_start)
        except MissingOffsetsError as exc:
            return exc

    async def _when_led(self, owned: Owned, ask: Callable[[TopicPartition], Awaitable[_Told]]) -> _Told | None:
        """What the leader of a partition tells. Waits while there is none; None if the partition was given back meanwhile."""
        told = await self._ask_if_led(owned.partition, ask)
        if told is not None or owned.closing.is_set():
            return told
        began = self._ports.monotonic()
        if owned.waits is None:
            log.warning("takeover_waits", partition=lane_name(owned.partition), hint=_NO_LEADER)
        with owned.waiting(TakeoverWait.LEADERLESS):
            while told is None and not owned.closing.is_set():
                await owned.wait_until_closing(_LEADER_S)
                told = await self._ask_if_led(owned.partition, ask)
        if told is not None:
            self._tell_goes_on(owned, began)
        return told

    async def _ask_if_led(self, partition: TopicPartition, ask: Callable[[TopicPartition], Awaitable[_Told]]) -> _Told | None:
        try:
            async with kafka_deadline(self._settings, self._lanes.restore_s):
                return await ask(partition) if await self._consumer.is_led(partition) else None
        except LeaderNotReadyError:
            return None
        except KafkaUnavailableError:  # its leader may have gone meanwhile
            async with kafka_deadline(self._settings, self._lanes.restore_s):
                if await self._consumer.is_led(partition):
                    raise
            return None

    def finder(self, owned: Owned) -> OffsetAt:
        """Finds the first record of a partition that was stamped at or after a time. Waits as ``find_start``.

        It raises asyncio.CancelledError if the partition was given back meanwhile.
        """

        async def find(stamp_ms: int) -> int | None:
            async def ask(partition: TopicPartition) -> tuple[int | None]:
                return (await self._consumer.offset_at(partition, stamp_ms),)  # that there is none is an answer, too

            told = await self._when_led(owned, ask)
            if told is None:
                raise asyncio.CancelledError
            return told[0]

        return find

    async def unwritable(self, owned: Owned, within_s: float) -> Sequence[TopicPartition]:
        """Of the partitions that the last transaction wrote to, those that take no records: see ``OutcomeWriter.unwritable``.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        async with kafka_deadline(self._settings, within_s):
            return await owned.writer.unwritable()

    async def begin_again(self, owned: Owned, unwritable: Sequence[TopicPartition] | None, is_member: Callable[[], bool]) -> FoundStart:
        """A writer in place of one whose transaction failed for want of brokers, once they are there; and what was committed by then.

        Nobody is fenced before: a transaction with a partition that nobody leads cannot be ended whole, see ``aiokafka_fence``.

        Args:
            owned: whose transaction it was.
            unwritable: what takes no records; None if no broker answers.
            is_member: whether the partition is still ours. Who has lost it must fence nobody; its work is about to be cancelled.

        Raises:
            KafkaFailedError: if it cannot be done. That no broker answers is waited for.
            MissingOffsetsError: if the offset is gone.
            asyncio.CancelledError: if the partition was given back meanwhile.
        """
        began = self._ports.monotonic()
        _tell_unpublished(owned.partition, unwritable)
        with owned.waiting(TakeoverWait.UNFENCED):
            found = await self._replace_writer(owned, unwritable, is_member)
        log.info("publishing_goes_on", partition=lane_name(owned.partition), after_s=round(self._ports.monotonic() - began, 1))
        return found

    async def begin_after_refusal(
        self, owned: Owned, refusal: KafkaFailedError, wait_s: float, is_member: Callable[[], bool]
    ) -> FoundStart:
        """The same after a transaction that was refused, and some time: it is ended first, as it holds up readers.

        A partition that is given back waits no longer: it is tried at once, while that is still its owner's to do.

        Raises: as ``begin_again``.
        """
        if isinstance(refusal, ProducerExpiredError):  # who was frozen for so long hears first that the partition is another's
            await owned.wait_until_closing(_HEARTBEATS * self._lanes.heartbeat_s)
        found = await self._replace_writer(owned, (), is_member)
        await owned.wait_until_closing(wait_s)
        return found

    async def _replace_writer(self, owned: Owned, unwritable: Sequence[TopicPartition] | None, is_member: Callable[[], bool]) -> FoundStart:
        while unwritable is None or unwritable or not is_member():
            await asyncio.sleep(_LEADER_S)
            unwritable = await self._unwritable_if_told(owned)
        found = await self._start_writer(owned)
        while found is None:
            await asyncio.sleep(_LEADER_S)
            found = await self._start_writer(owned)
        if isinstance(found, MissingOffsetsError):
            raise found
        return found

    async def _unwritable_if_told(self, owned: Owned) -> Sequence[TopicPartition] | None:
        try:
            return await self.unwritable(owned, self._lanes.restore_s)
        except KafkaUnavailableError:
            return None

    async def _start_writer(self, owned: Owned) -> FoundStart | MissingOffsetsError | None:
        """A new writer, and where it begins; None if the brokers have fallen silent again."""
        await owned.writer.stop(self._lanes.close_s)
        owned.writer = self._writer(owned.partition)
        try:
            await self.fence(owned)
            found = await self.find_start(owned)
        except KafkaUnavailableError:
            return None
        if found is None:
            raise asyncio.CancelledError
        return found


class LanePublisher:
    """The transactions of one lane. One that fails for want of brokers, or because a topic refuses records, is made again.

    Promises: as ``OutcomeWriter.commit``. Meanwhile the lane starts nothing, keeps what is finished, and the other lanes go on. Brokers
    that are all away are waited for, however long: what is finished would be lost with this life.

    Args:
        takeover: gives it another writer.
        owned: whose lane it is.
        lane: where outcomes come from.
        saved: the offset and its metadata, as they are committed.
        is_member: see ``Takeover.begin_again``.
    """

    def __init__(self, takeover: Takeover, owned: Owned, lane: Lane, saved: tuple[int, str], is_member: Callable[[], bool]) -> None:
        self._takeover, self._owned, self._lane, self._saved, self._is_member = takeover, owned, lane, saved, is_member

    async def commit(self, outputs: Iterable[Output], floor: int, metadata: str) -> None:
        """See ``OutcomeWriter.commit``.

        Raises:
            KafkaFailedError: if it failed for another reason, or somebody else has committed meanwhile.
            asyncio.CancelledError: if the partition is given back and it is refused once more.
        """
        held, asked, committed, wait_s, last, unexplained = list(outputs), (floor, metadata), False, 0.0, False, 0
        with ExitStack() as refused:
            while not committed:
                try:
                    await self._owned.writer.commit(held, floor, metadata)
                    committed = True
                except (RecordsRefusedError, NotAuthorizedError, ProducerExpiredError, TopicMissingError) as exc:
                    if isinstance(exc, TopicMissingError) and await self._unwritable() is None:  # aiokafka cannot tell it from silence
                        committed = await self._begin_again(None, asked)
                        continue
                    if any(output.kind is OutputKind.FORWARD for output in held):
                        raise  # it may be another application's topic: the next life leaves what is for it in a delay topic
                    if last:
                        raise asyncio.CancelledError from exc
                    if not wait_s:
                        refused.enter_context(self._refused(exc))
                    wait_s = min(max(_REFUSED_S, 2 * wait_s), _REFUSED_S_MAX)
                    self._lane.pause()
                    begun = await self._takeover.begin_after_refusal(self._owned, exc, wait_s, self._is_member)
                    committed, last = self._check(begun, asked), self._owned.closing.is_set()
                except KafkaUnavailableError:
                    unwritable = await self._unwritable()
                    unexplained = unexplained + 1 if unwritable == () else 0
                    if unexplained > _UNEXPLAINED_MAX:
                        raise
                    committed = await self._begin_again(unwritable, asked)
        self._saved = asked

    @contextmanager
    def _refused(self, refusal: KafkaFailedError) -> Iterator[None]:
        """From the first refusal until what was refused is taken."""
        _tell_refused(self._owned.partition, refusal)
        with self._owned.waiting(TakeoverWait.REFUSED):
            yield
        log.info("publishing_goes_on", partition=lane_name(self._owned.partition))
        self._lane.go_on()

    async def _unwritable(self) -> Sequence[TopicPartition] | None:
        try:
            return tuple(await self._takeover.unwritable(self._owned, _LOOK_S))
        except KafkaFailedError:
            return None  # the brokers are gone altogether

    async def _begin_again(self, unwritable: Sequence[TopicPartition] | None, asked: tuple[int, str]) -> bool:
        """Whether the transaction that failed was committed all the same."""
        self._lane.pause()
        committed = self._check(await self._takeover.begin_again(self._owned, unwritable, self._is_member), asked)
        if self._owned.waits is None:  # else a topic may refuse it still
            self._lane.go_on()
        return committed

    def _check(self, begun: FoundStart, asked: tuple[int, str]) -> bool:
        """Whether what was asked for is what is committed; else it must be what was before."""
        found = begun.start.offset, begun.start.metadata
        if found not in (self._saved, asked):
            raise ProducerFencedError(
                f"{lane_name(self._owned.partition)}: somebody else has committed offset {begun.start.offset} meanwhile."
            )
        if found != asked:
            count_unpublished()
        return found == asked


def _tell_held_up(partition: TopicPartition, leaderless: Sequence[TopicPartition]) -> None:
    reason = (
        f"no broker leads {_names(leaderless)}"
        if leaderless
        else "the brokers have not ended it: can they reach each other, and are enough replicas in sync?"
    )
    hint = f"the transaction of its former owner cannot be ended: {reason}; other partitions go on"
    log.warning("takeover_waits", partition=lane_name(partition), hint=hint)


def _tell_unpublished(partition: TopicPartition, unwritable: Sequence[TopicPartition] | None) -> None:
    if unwritable is None:
        lack = "no broker answers"
    elif unwritable:
        lack = f"no leader, deleted, or fewer replicas in sync than min.insync.replicas: {_names(unwritable)}"
    else:
        lack = "the brokers have not ended the transaction in time, though all its partitions have leaders"
    hint = f"{lack}. What is finished is kept, nothing is started; other partitions go on"
    log.warning("publishing_waits", partition=lane_name(partition), hint=hint)


def _tell_refused(partition: TopicPartition, refusal: KafkaFailedError) -> None:
    hint = f"{refusal} What is finished is kept, nothing is started, and it is tried again; other partitions go on"
    log.error("publishing_waits", partition=lane_name(partition), hint=hint)


def _names(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(map(lane_name, partitions[:_NAMED_MAX]))
