"""Publishes outcomes: outputs, input offset and gap map of one lane in one Kafka transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer, OffsetAndMetadata, TopicPartition

from processor.contract.records import Output
from processor.settings import Settings
from processor.stream.clients import build_lane_producer, stop_client
from processor.stream.topics import TopicNames


class LaneWriter:
    """The one writer of a partition's outcomes. Starting it fences every former one; after any error it is finished."""

    def __init__(self, settings: Settings, partition: TopicPartition, names: TopicNames) -> None:
        self._partition, self._names = partition, names
        self._group, self._deadline_s = settings.kafka.group, settings.lanes.transaction_s
        self._producer: AIOKafkaProducer = build_lane_producer(settings, partition)

    async def start(self) -> None:
        """Fence the former owner: its open transaction is aborted, a finished one is complete when this returns."""
        await self._producer.start()

    async def commit(self, outputs: Iterable[Output], floor: int, metadata: str) -> None:
        """One transaction.

        Raises:
            TimeoutError: after the deadline; the fate of the transaction is unknown.
            KafkaError: if anything failed; nothing of it is visible to read_committed readers.
        """
        producer = self._producer
        async with asyncio.timeout(self._deadline_s):
            await producer.begin_transaction()
            sent = [
                await producer.send(
                    self._names.of(o), o.value, o.key, headers=list(o.headers)
                )  # awaited one by one: concurrent sends are quadratic
                for o in outputs
            ]
            await producer.send_offsets_to_transaction({self._partition: OffsetAndMetadata(floor, metadata)}, self._group)
            await asyncio.gather(*sent)  # commit_transaction() would hide a failed send
            await producer.commit_transaction()

    async def stop(self, deadline_s: float) -> None:
        """Close the producer; an open transaction is left to the next owner, which aborts it."""
        await stop_client(self._producer, deadline_s)
