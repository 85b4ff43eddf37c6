"""Reads what waits in the delay topics and is not done: the records from the group's commits on, less what the gap maps say."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from processor.repair.delayed import DelayedRecords, RecordPosition
from processor.settings import Settings
from processor.stream.clients import build_onlooker, committed_offsets, partitions_of, read_position, record_of, stop_client
from processor.stream.offsets import Finished, finished_of
from processor.stream.topics import topic_names

COUNT_MAX = 100_000  # entries; some 45 MB
_ANSWER_S = 20.0  # the brokers answer one question within this time
_READ_S = 20.0  # one refresh reads for so long; the next one goes on
_TURN_MS = 200
_RECORDS_PER_TURN = 100  # decoded in one turn of the loop: about 2 ms
_CLOSE_S = 3.0


class DelayedUnreadableError(Exception):
    """The delay topics, or the group's commits, cannot be read. The text says why and what to do."""


class DelayedIndex:
    """Everything that waits, as of the last ``refresh``. Each refresh reads only what is new.

    ``complete`` is False while there are records that were not read: more than ``COUNT_MAX`` wait, or there was no time.
    """

    def __init__(self, settings: Settings) -> None:
        self.records = DelayedRecords(COUNT_MAX)
        self.complete = False
        self._settings = settings
        self._topics = topic_names(settings).inputs[1:]
        self._next: dict[TopicPartition, int] = {}
        self._done: dict[RecordPosition, Finished] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._alone = asyncio.Lock()

    async def refresh(self) -> None:
        """Read what is new, and drop what has become done.

        Raises:
            WaitingUnreadableError: if the brokers do not answer, or a topic is missing. What was read before is kept.
        """
        async with self._alone:
            try:
                await self._refresh()
            except (KafkaError, TimeoutError, OSError) as exc:
                await self.close()
                where = self._settings.kafka.bootstrap
                raise DelayedUnreadableError(
                    f"the delay topics cannot be read: {where}: {type(exc).__name__}. Does `processor topics check` pass?"
                ) from exc
            except BaseException:
                await self.close()  # a consumer whose read was cut off is not used again
                raise

    async def close(self) -> None:
        """Let go of the brokers; ``refresh`` connects again."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_client(consumer, _CLOSE_S)

    async def _refresh(self) -> None:
        consumer = self._consumer
        if consumer is None:
            consumer = self._consumer = build_onlooker(self._settings)
            async with asyncio.timeout(_ANSWER_S):
                await consumer.start()
        async with asyncio.timeout(_ANSWER_S):
            partitions = await self._partitions(consumer)
            if not self._done:
                await self._look_at_commits(consumer, partitions)
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)  # of committed records: an open transaction is not waited for
        for tp in partitions:
            self._position(tp, begins[tp], ends[tp])
        if consumer.assignment() != set(partitions):
            consumer.assign(partitions)
            consumer.pause(*partitions)  # between two refreshes nothing is fetched
        for tp in partitions:
            if read_position(consumer, tp) != self._next[tp]:
                consumer.seek(tp, self._next[tp])
        behind = {tp for tp, end in ends.items() if self._next[tp] < end}
        consumer.resume(*behind)
        await self._read(consumer, behind, ends)
        consumer.pause(*partitions)
        async with asyncio.timeout(_ANSWER_S):
            await self._look_at_commits(consumer, partitions)
        self.records.settle(self._done)
        self.complete = all(self._next[tp] >= end for tp, end in ends.items())

    async def _partitions(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        found: list[TopicPartition] = []
        for topic in self._topics:
            partitions = await partitions_of(consumer, topic)
            if not partitions:
                raise DelayedUnreadableError(f"{topic} does not exist; create the topics with `processor topics apply`")
            found += partitions
        return found

    async def _look_at_commits(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        found = await committed_offsets(consumer, partitions)
        self._done = {(tp.topic, tp.partition): finished_of(said.offset, said.metadata) for tp, said in found.items()}

    def _position(self, tp: TopicPartition, begin: int, end: int) -> None:
        """Where to read on: nothing that is done or gone is read."""
        position = (tp.topic, tp.partition)
        if self._next.get(tp, 0) > end:  # the topic was made anew
            self.records.forget(position)
            del self._next[tp]
        done = self._done.get(position)
        self._next[tp] = max(self._next.get(tp, 0), begin, 0 if done is None else done.floor)

    async def _read(self, consumer: AIOKafkaConsumer, behind: set[TopicPartition], ends: dict[TopicPartition, int]) -> None:
        until = time.monotonic() + _READ_S
        while behind and self.records.room and time.monotonic() < until:
            async with asyncio.timeout(_ANSWER_S):
                batches = await consumer.getmany(*behind, timeout_ms=_TURN_MS, max_records=min(_RECORDS_PER_TURN, self.records.room))
            for tp, batch in batches.items():
                self.records.deliver((record_of(r) for r in batch), self._done.get((tp.topic, tp.partition)))
            for tp in list(behind):
                position = read_position(consumer, tp)
                self._next[tp] = self._next[tp] if position is None else position
                if self._next[tp] >= ends[tp]:
                    behind.discard(tp)
            await asyncio.sleep(0)  # a full buffer never makes getmany() wait: let others run
