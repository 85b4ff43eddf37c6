"""Transactions: outputs, input offset and gap map of one lane; or what a repair does together with the record that says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from aiokafka import AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.errors import IllegalOperation

from processor.contract.records import Output
from processor.settings import Settings
from processor.stream.aiokafka_batches import Outgoing, send_in_batches
from processor.stream.aiokafka_stop import drop_producer
from processor.stream.clients import (
    REPAIR_TRANSACTION_S,
    build_lane_producer,
    build_repair_producer,
    end_of_sender,
    failure_of_transaction,
    on_fence_held_up,
    unwritable_of,
)
from processor.stream.errors import kafka_deadline, kafka_errors
from processor.stream.topics import TopicNames


class LaneWriter:
    """Publishes the outcomes of one input partition, together with its offset.

    Promises: what ``commit`` returned from is visible to read_committed readers as a whole, once, and counts in the group's
    offset. Of a commit that raised, all or nothing is: the next owner's ``start`` decides which. Only one writer of a partition
    can commit: its transactional id is made of group, topic and partition, so a later ``start``, on whatever machine, fences every
    earlier writer, also one that was frozen (KIP-98, KIP-447).

    One transaction at a time. After any error it cannot be used again: stop it, and let a new one start.

    Args:
        settings: brokers, group, and the deadline of one transaction (``VP_LANES__TRANSACTION_S``).
        partition: the input partition.
        names: the topics that outputs go to.

    Example::

        writer = LaneWriter(settings, partition, names)
        await writer.start(lambda _: None)  # only now is the committed offset final
        await writer.commit(outputs, *tracker.view(finished, log_position=position))
        await writer.stop(settings.lanes.close_s)
    """

    def __init__(self, settings: Settings, partition: TopicPartition, names: TopicNames) -> None:
        self._settings, self._partition, self._names = settings, partition, names
        self._group, self._deadline_s = settings.kafka.group, settings.lanes.transaction_s
        self._producer: AIOKafkaProducer = build_lane_producer(settings, partition)

    async def start(self, on_held_up: Callable[[Sequence[TopicPartition]], None]) -> None:
        """Fence the former owner: its open transaction is aborted, a finished one is complete when this returns.

        Args:
            on_held_up: called for as long as the former owner's transaction cannot be ended, about once a second, with the partitions
                that are part of it and have no leader; with none if the brokers only say that it is not ended yet.

        Raises:
            KafkaFailedError: if it cannot be done.
        """
        on_fence_held_up(self._producer, on_held_up)
        with kafka_errors(self._settings):
            await self._producer.start()

    async def commit(self, outputs: Iterable[Output], floor: int, metadata: str) -> None:
        """Publish outputs, and commit the offset with its metadata, in one transaction.

        Args:
            outputs: in the order in which they are to stand in their topics; none to commit the offset alone. Each is to be
                smaller than its topic allows: a refusal by the broker ends this writer.
            floor: everything below this offset of the input partition is done.
            metadata: what is done beyond it, as ``OffsetTracker.view`` gives it; at most 4096 characters.

        Raises:
            KafkaUnavailableError: after the deadline; the fate of the transaction is unknown.
            KafkaFailedError: if anything failed; nothing of it is visible to read_committed readers.
        """
        offsets = {self._partition: OffsetAndMetadata(floor, metadata)}
        async with kafka_deadline(self._settings, self._deadline_s):
            await _commit(self._producer, self._names, outputs, offsets=offsets, group=self._group)

    async def unwritable(self) -> Sequence[TopicPartition]:
        """After a commit that raised: of the partitions that it wrote to, those that take no records now. Asks until a broker tells.

        No broker leads them, fewer of their replicas are in sync than ``min.insync.replicas``, or they were deleted, see ``FencingSender``.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        with kafka_errors(self._settings):
            return await unwritable_of(self._producer)

    async def stop(self, deadline_s: float) -> None:
        """Close the producer; an open transaction is left to the next owner, which aborts it."""
        # nothing is to be flushed, and nobody else looks at what became of it; its sender and its client each have half the time
        await drop_producer(self._producer, deadline_s / 2)


class RepairWriter:
    """The one writer of repairs. Starting it fences every other one."""

    def __init__(self, settings: Settings, names: TopicNames) -> None:
        self._settings, self._names = settings, names
        self._producer: AIOKafkaProducer = build_repair_producer(settings)

    async def start(self, within_s: float) -> None:
        """Fence every earlier repair: its transaction is completed or aborted when this returns.

        Raises:
            KafkaFailedError: if it cannot be done.
        """
        async with kafka_deadline(self._settings, within_s):
            await self._producer.start()

    async def commit(self, outputs: Iterable[Output], repairs: Sequence[bytes]) -> None:
        """Outputs and the records of the repairs topic that say so, in one transaction.

        Raises:
            ProducerFencedError: if another repair began; nothing of it is visible.
            KafkaUnavailableError: after the deadline; the fate of the transaction is unknown.
            KafkaFailedError: if anything failed; nothing of it is visible.
        """
        async with kafka_deadline(self._settings, REPAIR_TRANSACTION_S):
            await _commit(self._producer, self._names, outputs, repairs=repairs)

    async def drop(self, within_s: float) -> None:
        """End it; a fenced one would wait for what can never be sent."""
        await drop_producer(self._producer, within_s)


async def _commit(
    producer: AIOKafkaProducer,
    names: TopicNames,
    outputs: Iterable[Output],
    *,
    repairs: Sequence[bytes] = (),
    offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
    group: str = "",
) -> None:
    sent: list[asyncio.Future[object]] = []
    try:
        await producer.begin_transaction()
        counts: dict[str, int] = {}
        records: list[Outgoing] = []
        for o in outputs:
            topic = names.of(o)
            if o.partition is not None and topic not in counts:
                counts[topic] = len(await producer.partitions_for(topic))
            partition = None if o.partition is None else o.partition % counts[topic]
            records.append(Outgoing(topic, partition, o.key, o.value, o.headers))
        records += (Outgoing(names.repairs, None, None, value) for value in repairs)
        await send_in_batches(producer, records, sent)
        await asyncio.gather(*sent)  # commit_transaction() would hide a failed send
        # Not before: a broker that is just adding the group to the transaction refuses the records of it with NOT_ENOUGH_REPLICAS
        # (KIP-890 verifies each batch, and may not say CONCURRENT_TRANSACTIONS to this version of the request), to be sent again. Nor
        # beside the records once the group is added: the verification of the one gives up that of the other (docs/benchmarks.md).
        if offsets is not None:
            await producer.send_offsets_to_transaction(offsets, group)
        await producer.commit_transaction()
    except BaseException as exc:
        for future in sent:
            future.add_done_callback(_look_at)  # of those that fail with the transaction, one error is enough
        if isinstance(exc, Exception) and (refusal := end_of_sender(producer)) is not None:
            raise refusal from exc
        # whoever was fenced between two sends hears from aiokafka that it may not send, and not why
        if isinstance(exc, IllegalOperation | AssertionError) and (cause := failure_of_transaction(producer)) is not None:
            raise cause from exc
        raise


def _look_at(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()
