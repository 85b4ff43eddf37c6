"""Writes records outside of transactions: one idempotent producer, with a deadline for every wait and errors of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aiokafka import AIOKafkaProducer

from processor.contract.records import Source
from processor.settings import Settings
from processor.stream.aiokafka_stop import drop_producer, stop_client
from processor.stream.clients import build_event_producer, build_request_producer, partitions_of, refresh_metadata
from processor.stream.errors import kafka_deadline, kafka_errors, missing_topic

_START_S, _CLOSE_S = 15.0, 3.0  # of one act
_APPEARS_S = 2.0  # a created topic is known to every broker some moments later
_ASK_AGAIN_S = 0.2


class RecordWriter:
    """An idempotent producer. After an error it may refuse everything: it is dropped then, and another one built."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._settings, self._producer = settings, producer

    @classmethod
    def of_requests(cls, settings: Settings) -> RecordWriter:
        """For many records: batches, and a few ms to fill them."""
        return cls(settings, build_request_producer(settings))

    @classmethod
    def of_events(cls, settings: Settings) -> RecordWriter:
        """For records one by one, each sent at once."""
        return cls(settings, build_event_producer(settings))

    @classmethod
    def of_one_act(cls, settings: Settings) -> AbstractAsyncContextManager[RecordWriter]:
        """For the few records of one act of a person; see ``opened``."""
        return cls.of_events(settings).opened(_START_S)

    @asynccontextmanager
    async def opened(self, within_s: float, close_s: float = _CLOSE_S) -> AsyncIterator[RecordWriter]:
        """Connected, and closed at the end.

        Raises:
            KafkaFailedError: if the brokers cannot be reached, or do not let us in.
        """
        try:
            await self.start(within_s)
            yield self
        finally:
            await self.close(close_s)

    async def start(self, within_s: float) -> None:
        """Connect.

        Raises:
            KafkaFailedError: if the brokers cannot be reached, or do not let us in.
        """
        async with kafka_deadline(self._settings, within_s):
            await self._producer.start()

    async def check_topic(self, topic: str, within_s: float) -> None:
        """See whether a topic is there: a record for one that is not would only be late, until its deadline.

        Raises:
            TopicMissingError: if it is not; one that was made just now is waited for.
            KafkaFailedError: if the brokers do not say.
        """
        asked_until = asyncio.get_running_loop().time() + _APPEARS_S
        async with kafka_deadline(self._settings, within_s):
            while not await partitions_of(self._producer, topic):
                if asyncio.get_running_loop().time() > asked_until:
                    raise missing_topic(topic, self._settings)
                await asyncio.sleep(_ASK_AGAIN_S)
                await refresh_metadata(self._producer)

    async def send_and_wait(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        headers: Sequence[tuple[str, bytes | None]] = (),
        partition: int | None = None,
    ) -> Source:
        """Write one record; where it stands, once every in-sync replica has it. Without a deadline: a broker may be away for long.

        Raises:
            KafkaFailedError: if it was not acknowledged; it may be there all the same.
        """
        with kafka_errors(self._settings):
            done = await self._producer.send_and_wait(topic, value, key, partition, headers=list(headers))
        return Source(done.topic, done.partition, done.offset)

    async def send_all(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]], within_s: float, *, partitions: Sequence[int] = ()
    ) -> None:
        """Write records, given as key and value, and wait until the brokers have them all.

        Args:
            topic: where.
            records: in their order.
            within_s: for all of them.
            partitions: of each; none: by their keys.

        Raises:
            KafkaFailedError: if one was not acknowledged.
        """
        places: Sequence[int | None] = partitions or [None] * len(records)
        async with kafka_deadline(self._settings, within_s):
            sent = [
                await self._producer.send(topic, value, key, partition) for (key, value), partition in zip(records, places, strict=True)
            ]
            await asyncio.gather(*sent)

    async def close(self, within_s: float) -> None:
        """Send what is on its way, and end."""
        await stop_client(self._producer, within_s)

    async def drop(self, within_s: float) -> None:
        """End, and forget what is on its way."""
        await drop_producer(self._producer, within_s)
