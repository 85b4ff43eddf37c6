"""Pauses operations and lets them go on: one record in the controls topic. Every processor reads it (``stream/wakeup_feed.py``)."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from processor.contract.pauses import PauseAct, PauseFormatError, Pauses, encode_pause, read_pause
from processor.didit.catalog import COMPOSITES, OPERATIONS, first_call
from processor.settings import Settings
from processor.stream.errors import kafka_deadline
from processor.stream.partitions import TopicPartition
from processor.stream.topic_reader import KeptTopicReader
from processor.stream.topics import PAUSES_PARTITION, topic_names
from processor.stream.writer import RecordWriter

_WRITE_S, _READ_S = 30.0, 60.0


def pausable() -> tuple[str, ...]:
    """Every name under which calls can be paused, sorted: operations that requests ask for, and calls that follow from them."""
    return tuple(sorted({*OPERATIONS, *COMPOSITES}))


def call_of(name: str) -> str | None:
    """The operation whose calls are paused under a name: for one of several calls the first of them. None if there is none."""
    return first_call(name).name if name in COMPOSITES else name if name in OPERATIONS else None


async def publish_pause(settings: Settings, act: PauseAct) -> int:
    """Write an act and wait until the brokers have it; the offset of its record. Written twice it does no harm.

    Raises:
        KafkaFailedError: if it was not acknowledged.
        ValueError: if it is not as its schema says.
    """
    value = encode_pause(act)
    async with RecordWriter.of_one_act(settings) as writer, kafka_deadline(settings, _WRITE_S):
        return (await writer.send_and_wait(topic_names(settings).controls, value, partition=PAUSES_PARTITION)).offset


class PauseIndex:
    """What the controls topic says; what was read once is not read again. Use as an async context manager, or ``close`` it."""

    def __init__(self, settings: Settings) -> None:
        self._topic, self._reader = topic_names(settings).controls, KeptTopicReader(settings)
        self._partition = TopicPartition(self._topic, PAUSES_PARTITION)
        self._next = 0
        self.pauses = Pauses()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def refresh(self) -> Pauses:
        """Read what is new.

        Raises:
            KafkaFailedError: if it cannot be read; the next call goes on.
        """
        async with self._reader.use(_READ_S) as reader:
            await reader.partitions(self._topic)
            begin, end = (await reader.bounds([self._partition]))[self._partition]
            if end < self._next:  # the topic was deleted and created again
                self._next, self.pauses = 0, Pauses()
            async with reader.read({self._partition: (max(begin, self._next), end)}) as batches:
                async for batch in batches:
                    for record in batch:
                        self.pauses = self.pauses.after(_act(record.value), record.source.offset)
            self._next = end
        return self.pauses

    async def close(self) -> None:
        """Let go of the brokers."""
        await self._reader.close()


def _act(value: bytes | None) -> PauseAct | None:
    try:
        return read_pause(value)
    except PauseFormatError:
        return None  # the processors say so in their logs
