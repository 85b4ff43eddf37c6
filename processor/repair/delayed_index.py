"""Reads what waits and is not done: the records from the group's commits on, less what the gap maps say.

What waits for its time stands in the delay topics. While the whole account is held, requests wait in the memory of the processors that
have read them: in each partition the first ones that are not done, as many as a lane has at work.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from processor.contract.codes import ErrorCode
from processor.contract.records import Unread
from processor.repair.delayed import DelayedRecords, RecordPosition
from processor.settings import Settings
from processor.stream.errors import missing_topic
from processor.stream.offsets import Finished, finished_of
from processor.stream.partitions import TopicPartition
from processor.stream.reader import PartitionReader
from processor.stream.topic_reader import KeptReader
from processor.stream.topics import topic_names

COUNT_MAX = 100_000  # entries; some 45 MB
_READ_S = 20.0  # one refresh reads for so long; the next one goes on
_REFRESH_S = 60.0  # with all questions to brokers that are slow
_TURN_MS = 200
_RECORDS_PER_TURN = 100  # decoded in one turn of the loop: about 2 ms


class DelayedIndex:
    """Everything that waits, as of the last ``refresh``. Each refresh reads only what is new.

    ``complete`` is False while there are records that were not read: more than ``COUNT_MAX`` wait, there was no time, or nobody leads
    their partition.
    """

    def __init__(self, settings: Settings) -> None:
        self.records = DelayedRecords(COUNT_MAX)
        self._topics = topic_names(settings).inputs[1:]
        self.complete = False
        self.blocks: dict[TopicPartition, Unread] = {}  # partitions that cannot be read on
        self._settings = settings
        self._next: dict[TopicPartition, int] = {}
        self._done: dict[RecordPosition, Finished] = {}
        self._reader = KeptReader(settings, partial(PartitionReader, of_group=True))

    async def refresh(self) -> None:
        """Read what is new, and drop what has become done.

        Raises:
            KafkaFailedError: if the brokers do not answer, or a topic is missing. What was read before is kept.
        """
        async with self._reader.use(_REFRESH_S) as reader:
            await self._refresh(reader)

    async def close(self) -> None:
        """Let go of the brokers; ``refresh`` connects again."""
        await self._reader.close()

    async def _refresh(self, reader: PartitionReader) -> None:
        found = await reader.find(*self._topics)
        if found.missing:
            raise missing_topic(found.missing[0], self._settings)
        partitions = list(found.led)
        if not self._done:
            await self._read_commits(reader, partitions)
        bounds = await reader.bounds(partitions)  # of committed records: an open transaction is not waited for
        for tp, (begin, end) in bounds.items():
            self._position(tp, begin, end)
        if reader.assigned != set(partitions):
            reader.assign({tp: self._next[tp] for tp in partitions})
            reader.pause(*partitions)  # between two refreshes nothing is fetched
        for tp in partitions:
            if reader.position(tp) != self._next[tp]:
                reader.seek(tp, self._next[tp])
        ends = {tp: end for tp, (_, end) in bounds.items()}
        behind = {tp for tp, end in ends.items() if self._next[tp] < end}
        reader.resume(*behind)
        await self._read(reader, behind, ends)
        reader.pause(*partitions)
        await self._read_commits(reader, partitions)
        self.records.settle(self._done)
        self.complete = not found.leaderless and all(self._next[tp] >= end for tp, end in ends.items())

    async def _read_commits(self, reader: PartitionReader, partitions: list[TopicPartition]) -> None:
        found = await reader.committed(partitions)
        self._done = {(tp.topic, tp.partition): finished_of(at.offset, at.metadata) for tp, at in found.items()}

    def _position(self, tp: TopicPartition, begin: int, end: int) -> None:
        """Where to read on: nothing that is done or gone is read."""
        position = (tp.topic, tp.partition)
        if self._next.get(tp, 0) > end:  # the topic was created again
            self.records.forget(position)
            del self._next[tp]
        done = self._done.get(position)
        self._next[tp] = max(self._next.get(tp, 0), begin, 0 if done is None else done.floor)

    async def _read(self, reader: PartitionReader, behind: set[TopicPartition], ends: dict[TopicPartition, int]) -> None:
        until = time.monotonic() + _READ_S
        self.blocks = {}
        while behind and self.records.room and time.monotonic() < until:
            batches = await reader.poll(
                *behind, wait_ms=_TURN_MS, records_max=min(_RECORDS_PER_TURN, self.records.room), blocks=self.blocks
            )
            behind -= self.blocks.keys()
            for tp, batch in batches.items():
                self.records.deliver(batch, self._done.get((tp.topic, tp.partition)))
            behind -= {tp for tp in behind if self.records.is_full((tp.topic, tp.partition))}  # read from their floor again each time
            for tp in list(behind):
                position = reader.position(tp)
                self._next[tp] = self._next[tp] if position is None else position
                if self._next[tp] >= ends[tp]:
                    behind.discard(tp)
            await asyncio.sleep(0)  # a full buffer never makes getmany() wait: let others run


class HeldIndex(DelayedIndex):
    """The requests that wait because the whole account is held, while it is: the first of each partition of the requests topic."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.records = DelayedRecords(COUNT_MAX, settings.lanes.work_max, ErrorCode.WAITS_FOR_ACCOUNT)
        self._topics = topic_names(settings).inputs[:1]
