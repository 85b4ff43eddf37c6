"""Asks the brokers how far the group is, who owns what, and what is asked for in the backlog. Joins no group, changes nothing."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from processor.contract.records import Unread
from processor.monitoring.blocked import BLOCKED_S, Block, Standstill, block_of, blocked_partitions, unreadable
from processor.monitoring.model import BlockCause, PartitionView, Survey
from processor.settings import Settings
from processor.stream.admin import GroupAdmin
from processor.stream.offsets import Finished, finished_of
from processor.stream.partitions import PartitionEnds, PartitionsFound, TopicPartition, lane_name
from processor.stream.reader import PartitionReader
from processor.stream.start_offset import Committed
from processor.stream.topics import topic_names

_ANSWER_S = 15.0
_SAMPLE_MAX = 200  # records of a partition, from the oldest unfinished one on
_SAMPLE_S = 3.0
_SILENT_S = 8.0  # a patient look waits so long where a broker gives nothing although there is more: that is told after 5 s
_AGAIN_S = 0.5  # between two looks at what may be blocked
_OPERATION = re.compile(rb'"operation"\s*:\s*"([a-z_.]{1,64})"')
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class _Look:
    """What the brokers say at one moment."""

    found: PartitionsFound
    ends: Mapping[TopicPartition, PartitionEnds]  # of those that are led
    commits: Mapping[TopicPartition, Committed]
    unwritable: frozenset[TopicPartition]  # of the topics that are not worked on: those without a leader
    short: frozenset[TopicPartition]  # of all topics: those with fewer replicas in sync than min.insync.replicas
    unjudged: frozenset[TopicPartition]  # those of which we may not know it

    def done(self, tp: TopicPartition) -> Finished:
        """What is finished of a partition."""
        if tp in self.commits:
            return finished_of(self.commits[tp].offset, self.commits[tp].metadata)
        return Finished(self.ends[tp].begin if tp in self.ends else 0)

    def blocks(self) -> dict[TopicPartition, Block]:
        """What looks blocked."""
        partitions = {*self.found.led, *self.found.leaderless, *self.unwritable, *self.short}
        found = {
            tp: block_of(self.ends.get(tp), self.commits[tp].offset if tp in self.commits else None, short=tp in self.short)
            for tp in partitions
        }
        return {tp: block for tp, block in found.items() if block is not None}

    def places(self) -> dict[TopicPartition, tuple[BlockCause, int]]:
        """Where it is blocked, without what grows behind it."""
        return {tp: block.place for tp, block in self.blocks().items()}


class GroupInspector:
    """Connected between two surveys.

    Args:
        settings: how to reach Kafka.
        operations: the names that a request may ask for.
        now_ms: the wall clock.
        patient: a survey looks again for ``BLOCKED_S``, while something looks blocked; else only the next survey can tell.
    """

    def __init__(self, settings: Settings, operations: Iterable[str], *, now_ms: Callable[[], int], patient: bool) -> None:
        self._settings, self._operations, self._now_ms, self._patient = settings, frozenset(operations), now_ms, patient
        self._blocked: Standstill[TopicPartition, tuple[BlockCause, int]] = Standstill()
        self._broken: Standstill[TopicPartition, int] = Standstill()
        self._missing: Standstill[str, None] = Standstill()
        self._idle: Standstill[TopicPartition, int] = Standstill()
        self._names = topic_names(settings)
        self._reader: PartitionReader | None = None
        self._admin: GroupAdmin | None = None
        self._alone = asyncio.Lock()

    async def survey(self) -> Survey:
        """How things stand now.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        return await self._answered(self._survey)

    async def members(self) -> tuple[str, ...]:
        """The instance ids of the group's members, sorted.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        return await self._answered(self._members)

    async def close(self) -> None:
        """Let go of the brokers; ``survey`` connects again."""
        reader, admin, self._reader, self._admin = self._reader, self._admin, None, None
        if reader is not None:
            await reader.close()
        if admin is not None:
            await admin.close()

    async def _answered(self, question: Callable[[], Awaitable[_Answer]]) -> _Answer:
        async with self._alone:
            try:
                return await question()
            except BaseException:
                await self.close()  # a client whose question failed or was cut off is not used again
                raise

    async def _members(self) -> tuple[str, ...]:
        _, admin = await self._connected()
        return (await admin.describe()).members

    async def _survey(self) -> Survey:
        reader, admin = await self._connected()
        look, seen_s = await self._steady_look(reader, admin)
        group = await admin.describe()
        partitions = sorted((*look.found.led, *look.found.leaderless), key=lambda tp: (self._names.inputs.index(tp.topic), tp.partition))
        done = {tp: look.done(tp) for tp in partitions}
        ends = {tp: look.ends[tp].stable if tp in look.ends else done[tp].floor for tp in partitions}
        left = {tp: done[tp].left_before(ends[tp]) for tp in partitions}
        requests = {tp: n for tp, n in left.items() if n and tp.topic == self._names.requests}
        idle_s = self._idle.note({tp: ends[tp] - n for tp, n in requests.items()}, time.monotonic())
        blocks: dict[TopicPartition, Unread] = {}
        asked_for = await self._sample(reader, requests, done, ends, blocks)
        views = tuple(
            PartitionView(tp.topic, tp.partition, done[tp].floor, ends[tp], left[tp], group.owners.get(tp), idle_s.get(tp, 0.0))
            for tp in partitions
        )
        missing_s = self._missing.note(dict.fromkeys(look.found.missing), time.monotonic())
        blocked = (*blocked_partitions(look.blocks(), missing_s, seen_s), *unreadable(blocks, self._broken, time.monotonic()))
        unjudged = tuple(lane_name(tp) for tp in sorted(look.unjudged))
        return Survey(self._now_ms(), views, group.state, group.members, asked_for, blocked, unjudged)

    async def _steady_look(self, reader: PartitionReader, admin: GroupAdmin) -> tuple[_Look, dict[TopicPartition, float]]:
        """A look, and for how long what looks blocked has looked so. A patient one repeats it while the same partitions may prove to be."""
        began = time.monotonic()
        look = await self._look(reader, admin)
        seen_s = self._blocked.note(look.places(), began)
        doubtful = {tp for tp, for_s in seen_s.items() if for_s < BLOCKED_S}
        while self._patient and doubtful and time.monotonic() - began < 2 * BLOCKED_S:
            await asyncio.sleep(_AGAIN_S)
            look, now = await self._look(reader, admin), time.monotonic()
            seen_s = self._blocked.note(look.places(), now)
            doubtful = {tp for tp in doubtful if now - began <= seen_s.get(tp, -1.0) < BLOCKED_S}
        return look, seen_s

    async def _look(self, reader: PartitionReader, admin: GroupAdmin) -> _Look:
        asked = await reader.find(*self._names.inputs, *self._names.outputs, *self._names.records_kept)
        inputs, needed = frozenset(self._names.inputs), frozenset((*self._names.inputs, *self._names.outputs))
        led, leaderless, missing = asked.led, asked.leaderless, tuple(topic for topic in asked.missing if topic in needed)
        found = PartitionsFound(
            tuple(tp for tp in led if tp.topic in inputs), tuple(tp for tp in leaderless if tp.topic in inputs), missing, asked.lacking
        )
        unwritable = frozenset(tp for tp in leaderless if tp.topic not in inputs)
        least = await admin.min_in_sync({tp.topic for tp in asked.lacking})
        # a leader that does not know where its partition ends has too few, whatever we may see
        short = {tp for tp, r in asked.lacking.items() if tp in leaderless or r.in_sync < min(least.get(tp.topic, 0), r.all)}
        unjudged = {tp for tp in asked.lacking if tp not in short and tp.topic not in least}
        ends, commits = await reader.ends(found.led), await reader.committed([*found.led, *found.leaderless])
        return _Look(found, ends, commits, unwritable, frozenset(short), frozenset(unjudged))

    async def _connected(self) -> tuple[PartitionReader, GroupAdmin]:
        if self._reader is None or self._admin is None:
            self._reader = PartitionReader(self._settings, of_group=True)
            self._admin = GroupAdmin(self._settings, _ANSWER_S)
            await self._reader.start(_ANSWER_S)
            await self._admin.start()
        return self._reader, self._admin

    async def _sample(
        self,
        reader: PartitionReader,
        left: Mapping[TopicPartition, int],
        done: Mapping[TopicPartition, Finished],
        ends: Mapping[TopicPartition, int],
        blocks: dict[TopicPartition, Unread],
    ) -> Mapping[str, float]:
        """What the unfinished requests ask for: the oldest of each partition are read, and stand for the rest of it.

        ``blocks`` takes up those that cannot be read on.
        """
        if not left:
            return {}
        reader.assign({tp: done[tp].floor for tp in left})
        seen: dict[TopicPartition, Counter[str]] = {tp: Counter() for tp in left}
        began = time.monotonic()
        until = began + _SAMPLE_S
        while time.monotonic() < until and (
            more := [tp for tp in left if tp not in blocks and seen[tp].total() < min(_SAMPLE_MAX, left[tp])]
        ):
            known = len(blocks)
            batches = await reader.poll(*more, wait_ms=300, records_max=_SAMPLE_MAX, blocks=blocks)
            if not batches and len(blocks) == known:
                if not self._patient or all((reader.position(tp) or 0) >= ends[tp] for tp in more):
                    break  # the rest is markers
                until = began + _SILENT_S
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
