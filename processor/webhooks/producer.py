"""The Kafka side of the receiver: one idempotent producer, built when it is needed and built anew after an error."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer

from processor.settings import Settings
from processor.stream.clients import build_event_producer, drop_producer
from processor.stream.topics import topic_names

_START_S = 10.0
_DROP_S = 2.0


class EventProducer:
    """Publishes to the events topic."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._topic = settings, topic_names(settings).events
        self._lock = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._broken: AIOKafkaProducer | None = None

    async def publish(self, key: bytes | None, value: bytes) -> None:
        """Write one record; returns when every in-sync replica has it.

        Raises:
            KafkaError, OSError, TimeoutError: if it is not written; whatever was begun is dropped before the next record.
        """
        producer = await self._started()
        try:
            await producer.send_and_wait(self._topic, value, key)
        except BaseException:
            # After an error an idempotent producer may have a gap in its numbers, and a record given up here could still be sent.
            self._broken = producer
            raise

    async def connect(self) -> None:
        """Be ready before the first event comes.

        Raises:
            KafkaError, OSError, TimeoutError: if the brokers or the topic cannot be reached.
        """
        producer = await self._started()
        async with asyncio.timeout(_START_S):
            await producer.partitions_for(self._topic)

    async def close(self) -> None:
        """End the producer within some seconds; what is not acknowledged by now was not promised to anybody."""
        if self._producer is not None:
            await drop_producer(self._producer, _DROP_S)
            self._producer = None

    async def _started(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is not None and self._producer is not self._broken:
                return self._producer
            await self.close()
            producer = build_event_producer(self._settings)
            try:
                async with asyncio.timeout(_START_S):
                    await producer.start()
            except BaseException:
                await drop_producer(producer, _DROP_S)
                raise
            self._producer = producer
            return producer
