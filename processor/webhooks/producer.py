"""The Kafka side of the receiver: one idempotent producer, built when it is needed and built again after an error."""

from __future__ import annotations

import asyncio

from processor.settings import Settings
from processor.stream.topics import topic_names
from processor.stream.writer import RecordWriter

_START_S = 10.0
_DROP_S = 2.0


class EventProducer:
    """Publishes to the events topic."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._topic = settings, topic_names(settings).events
        self._lock = asyncio.Lock()
        self._writer: RecordWriter | None = None
        self._broken: RecordWriter | None = None

    async def publish(self, key: bytes | None, value: bytes) -> None:
        """Write one record; returns when every in-sync replica has it.

        Raises:
            KafkaFailedError: if it is not written; whatever was begun is dropped before the next record.
        """
        writer = await self._started()
        try:
            await writer.send_and_wait(self._topic, value, key)
        except BaseException:
            # After an error an idempotent producer may have a gap in its numbers, and a record given up here could still be sent.
            self._broken = writer
            raise

    async def connect(self) -> None:
        """Be ready before the first event comes.

        Raises:
            KafkaFailedError: if the brokers or the topic cannot be reached.
        """
        writer = await self._started()
        await writer.check_topic(self._topic, _START_S)

    async def close(self) -> None:
        """End the producer within some seconds; what is not acknowledged by now was not promised to anybody."""
        if self._writer is not None:
            await self._writer.drop(_DROP_S)
            self._writer = None

    async def _started(self) -> RecordWriter:
        async with self._lock:
            if self._writer is not None and self._writer is not self._broken:
                return self._writer
            await self.close()
            writer = RecordWriter.of_events(self._settings)
            try:
                await writer.start(_START_S)
            except BaseException:
                await writer.drop(_DROP_S)
                raise
            self._writer = writer
            return writer
