"""Reads assigned partitions without joining a group. Every wait has a deadline, every error is one of ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Literal, Self

from aiokafka.errors import LeaderNotAvailableError

from processor.contract.records import Record, Unread
from processor.settings import Settings
from processor.stream.aiokafka_stop import stop_client
from processor.stream.clients import (
    END,
    build_onlooker,
    build_reader,
    committed_offsets,
    high_watermarks,
    is_leaderless,
    lacking_replicas,
    offsets_of,
    partitions_of,
    read_position,
    record_of,
    refresh_metadata,
)
from processor.stream.errors import UnreadableBatchError, kafka_deadline, missing_topic
from processor.stream.partitions import PartitionEnds, PartitionsFound, ReplicaCount, TopicPartition
from processor.stream.start_offset import Committed

START_S = 30.0
ANSWER_S = 20.0
_CLOSE_S = 3.0


class PartitionReader:
    """A read_committed consumer. Use as an async context manager, or ``start`` and ``close``. Not for two tasks at a time.

    Every method that is awaited raises KafkaFailedError.

    Args:
        settings: how to reach Kafka.
        wait_ms: a broker without news answers after so long; a reader that is moved to other partitions waits for that answer.
        if_gone: where it goes on when a position was deleted.
        of_group: it can see what the group has committed.
    """

    def __init__(
        self, settings: Settings, *, wait_ms: int = 500, if_gone: Literal["latest", "earliest"] = "earliest", of_group: bool = False
    ) -> None:
        self._settings = settings
        self._consumer = build_onlooker(settings) if of_group else build_reader(settings, if_gone=if_gone, wait_ms=wait_ms)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def start(self, within_s: float = START_S) -> None:
        """Connect.

        Raises:
            KafkaFailedError: if the brokers cannot be reached, or do not let us in.
        """
        async with kafka_deadline(self._settings, within_s):
            await self._consumer.start()

    async def close(self, within_s: float = _CLOSE_S) -> None:
        """End the client, within seconds."""
        await stop_client(self._consumer, within_s)

    async def partitions(self, *topics: str) -> list[TopicPartition]:
        """All partitions of some topics, in order.

        Raises:
            TopicMissingError: if one of them does not exist.
        """
        found: list[TopicPartition] = []
        for topic in topics:
            async with kafka_deadline(self._settings, ANSWER_S):
                partitions = await partitions_of(self._consumer, topic)
            if not partitions:
                raise missing_topic(topic, self._settings)
            found += partitions
        return found

    async def find(self, *topics: str) -> PartitionsFound:
        """All partitions of some topics, by whether anybody leads them now; the brokers are asked afresh.

        Raises:
            KafkaFailedError: if they do not answer, or do not let us see.
        """
        leaderless: dict[TopicPartition, bool] = {}
        lacking: dict[TopicPartition, ReplicaCount] = {}
        missing: list[str] = []
        async with kafka_deadline(self._settings, ANSWER_S):
            await refresh_metadata(self._consumer)
            for topic in topics:
                partitions = await partitions_of(self._consumer, topic)
                missing += [] if partitions else [topic]
                leaderless |= {tp: is_leaderless(self._consumer, tp) for tp in partitions}  # at once: a next answer may leave others out
                lacking |= {tp: r for tp in partitions if not leaderless[tp] and (r := lacking_replicas(self._consumer, tp)) is not None}
            for tp in await self._unready([tp for tp in lacking if not leaderless[tp]]):
                leaderless[tp] = True
        led = tuple(tp for tp, alone in leaderless.items() if not alone)
        return PartitionsFound(led, tuple(tp for tp, alone in leaderless.items() if alone), tuple(missing), lacking)

    async def _unready(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Those whose leader does not know yet where they end: none does that has all replicas in sync, or will in a moment."""
        found: list[TopicPartition] = []
        while left := [tp for tp in partitions if tp not in found]:
            try:
                await offsets_of(self._consumer, left, END)
            except LeaderNotAvailableError as exc:
                found.append(exc.args[0])
            else:
                break
        return found

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, PartitionEnds]:
        """How far partitions go, with what is not committed yet. Each needs a leader: it is waited for."""
        async with kafka_deadline(self._settings, ANSWER_S):
            high = await high_watermarks(self._consumer, partitions)
            bounds = await self._bounds(partitions)  # asked later, so that no end lies behind a high watermark of before
        return {tp: PartitionEnds(begin, stable, max(high[tp], stable)) for tp, (begin, stable) in bounds.items()}

    async def bounds(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """First offset, and offset after the last readable record, of each partition; an open transaction is not waited for."""
        async with kafka_deadline(self._settings, ANSWER_S):
            return await self._bounds(partitions)

    async def _bounds(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        begins = await self._consumer.beginning_offsets(list(partitions))
        ends = await self._consumer.end_offsets(list(partitions))
        return {tp: (begins[tp], ends[tp]) for tp in partitions}

    async def offsets_at(self, partitions: Collection[TopicPartition], at_ms: int) -> dict[TopicPartition, int | None]:
        """The first offset with a timestamp at or after ``at_ms``; None where there is none."""
        async with kafka_deadline(self._settings, ANSWER_S):
            found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, at_ms))
        return {tp: None if (at := found.get(tp)) is None else int(at.offset) for tp in partitions}

    async def committed(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Committed]:
        """What the group has committed; partitions without an offset are absent. Only for a reader ``of_group``."""
        async with kafka_deadline(self._settings, ANSWER_S):
            return await committed_offsets(self._consumer, partitions)

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions and no others, each from its offset on; none is paused."""
        self._consumer.assign(list(positions))
        for tp, offset in positions.items():
            self._consumer.seek(tp, offset)

    def assign_added(self) -> None:
        """Read the partitions that were added to the topics that are read, too: each from its first record on, as all in it came since.

        Brokers are asked every 30 s which there are. None is paused afterwards.
        """
        assigned = self.assigned
        known = {topic: self._consumer.partitions_for_topic(topic) or () for topic in {tp.topic for tp in assigned}}
        if added := {TopicPartition(topic, number) for topic, numbers in known.items() for number in numbers} - assigned:
            positions = {tp: at for tp in assigned if (at := self.position(tp)) is not None}
            if len(positions) == len(assigned):  # else the next time
                self.assign(positions | dict.fromkeys(sorted(added), 0))

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Set the position in an assigned partition."""
        self._consumer.seek(tp, offset)

    @property
    def assigned(self) -> set[TopicPartition]:
        """The partitions that are read."""
        return set(self._consumer.assignment())

    def position(self, tp: TopicPartition) -> int | None:
        """The next offset to read, beyond transaction markers; None while it is not known."""
        return read_position(self._consumer, tp)

    def high_water(self, tp: TopicPartition) -> int | None:
        """The end of a partition with what is not committed yet, as the last answer told it; None before the first one."""
        return None if (high := self._consumer.highwater(tp)) is None else int(high)

    def pause(self, *partitions: TopicPartition) -> None:
        """Fetch nothing of these partitions."""
        self._consumer.pause(*partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        """Fetch them again."""
        self._consumer.resume(*partitions)

    async def poll(
        self,
        *partitions: TopicPartition,
        wait_ms: int,
        records_max: int = 1000,
        blocks: dict[TopicPartition, Unread] | None = None,
    ) -> dict[TopicPartition, list[Record]]:
        """The next records of some partitions, or of all that are assigned; empty if there are none for ``wait_ms``.

        Args:
            partitions: none means all.
            wait_ms: at most.
            records_max: of all of them.
            blocks: takes up the partitions that cannot be read on; to be asked for no more.

        Raises:
            UnreadableBatchError: if one cannot be read on, and there is no ``blocks``.
            KafkaFailedError: if the brokers refuse; a reader goes on where it was.
        """
        async with kafka_deadline(self._settings, wait_ms / 1000 + ANSWER_S):
            batches = await self._consumer.getmany(*partitions, timeout_ms=wait_ms, max_records=records_max)
        found = {tp: [record_of(r) for r in batch] for tp, batch in batches.items()}
        for tp, batch in list(found.items()):
            if (unread := batch[0].unread) is None or not unread.blocks:
                continue
            if blocks is None:
                raise UnreadableBatchError(tp.topic, tp.partition, unread)
            blocks[tp] = unread
            del found[tp]
        return found
