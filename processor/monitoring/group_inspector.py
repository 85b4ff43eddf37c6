"""Asks the brokers how far the group is, who owns what, and what is asked for in the backlog. Joins no group, changes nothing."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from processor.monitoring.model import PartitionView, Survey
from processor.settings import Settings
from processor.stream.admin import GroupAdmin
from processor.stream.offsets import Finished, finished_of
from processor.stream.partitions import TopicPartition
from processor.stream.reader import PartitionReader
from processor.stream.topics import topic_names

_ANSWER_S = 15.0
_SAMPLE_MAX = 200  # records of a partition, from the oldest unfinished one on
_SAMPLE_S = 3.0
_OPERATION = re.compile(rb'"operation"\s*:\s*"([a-z_.]{1,64})"')


class GroupInspector:
    """Connected between two surveys. ``operations``: the names that a request may ask for."""

    def __init__(self, settings: Settings, operations: Iterable[str], *, now_ms: Callable[[], int]) -> None:
        self._settings, self._operations, self._now_ms = settings, frozenset(operations), now_ms
        self._names = topic_names(settings)
        self._reader: PartitionReader | None = None
        self._admin: GroupAdmin | None = None
        self._alone = asyncio.Lock()

    async def survey(self) -> Survey:
        """How things stand now.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        async with self._alone:
            try:
                return await self._survey()
            except BaseException:
                await self.close()  # a client whose question failed or was cut off is not used again
                raise

    async def close(self) -> None:
        """Let go of the brokers; ``survey`` connects again."""
        reader, admin, self._reader, self._admin = self._reader, self._admin, None, None
        if reader is not None:
            await reader.close()
        if admin is not None:
            await admin.close()

    async def _survey(self) -> Survey:
        reader, admin = await self._connected()
        partitions = await reader.partitions(*self._names.inputs)
        bounds = await reader.bounds(partitions)
        ends = {tp: end for tp, (_, end) in bounds.items()}
        begins = {tp: begin for tp, (begin, _) in bounds.items()}
        commits = await reader.committed(partitions)
        group = await admin.describe()
        done = {tp: finished_of(commits[tp].offset, commits[tp].metadata) if tp in commits else Finished(begins[tp]) for tp in partitions}
        left = {tp: done[tp].left_before(ends[tp]) for tp in partitions}
        asked_for = await self._sample(reader, {tp: n for tp, n in left.items() if n and tp.topic == self._names.requests}, done)
        views = tuple(PartitionView(tp.topic, tp.partition, done[tp].floor, ends[tp], left[tp], group.owners.get(tp)) for tp in partitions)
        return Survey(self._now_ms(), views, group.state, group.members, asked_for)

    async def _connected(self) -> tuple[PartitionReader, GroupAdmin]:
        if self._reader is None or self._admin is None:
            self._reader = PartitionReader(self._settings, of_group=True)
            self._admin = GroupAdmin(self._settings, _ANSWER_S)
            await self._reader.start(_ANSWER_S)
            await self._admin.start()
        return self._reader, self._admin

    async def _sample(
        self, reader: PartitionReader, left: Mapping[TopicPartition, int], done: Mapping[TopicPartition, Finished]
    ) -> Mapping[str, float]:
        """What the unfinished requests ask for: the oldest of each partition are read, and stand for the rest of it."""
        if not left:
            return {}
        reader.assign({tp: done[tp].floor for tp in left})
        seen: dict[TopicPartition, Counter[str]] = {tp: Counter() for tp in left}
        until = time.monotonic() + _SAMPLE_S
        while time.monotonic() < until and (more := [tp for tp in left if seen[tp].total() < min(_SAMPLE_MAX, left[tp])]):
            batches = await reader.poll(*more, wait_ms=300, records_max=_SAMPLE_MAX)
            if not batches:
                break  # the rest is markers
            for tp, batch in batches.items():
                seen[tp].update(self._operation(r.value) for r in batch if not done[tp].holds(r.source.offset))
        reader.pause(*left)  # between two surveys nothing is fetched; unsubscribe() would end aiokafka's coordinator
        found: dict[str, float] = {}
        for tp, counts in seen.items():
            for operation, count in counts.items():
                found[operation] = found.get(operation, 0.0) + count * left[tp] / counts.total()
        return found

    def _operation(self, value: bytes | None) -> str:
        match = _OPERATION.search(value or b"")
        name = match[1].decode() if match else ""
        return name if name in self._operations else "unread"
