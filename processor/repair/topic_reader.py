"""Reads whole topics, parts of them and single records, without a group. Every wait has a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from processor.contract.records import Record
from processor.settings import Settings
from processor.stream.clients import build_reader, partitions_of, record_of, stop_client

_START_S = 30.0
_CLOSE_S = 3.0
_READ_MS = 500
_WAIT_MS = 50
_BATCH = 500
_STALLED_S = 20.0  # no record and no progress for so long
_JUMP = 2_000  # a wanted record that is further away is sought, not read up to


class RepairError(Exception):
    """Something cannot be done; the text says why and what to do next."""


class TopicReader:
    """A read_committed consumer that is told where to read. Use as an async context manager, or ``start`` and ``close``."""

    def __init__(self, settings: Settings) -> None:
        self._bootstrap = settings.kafka.bootstrap
        self._consumer: AIOKafkaConsumer = build_reader(settings, if_gone="earliest", wait_ms=_WAIT_MS)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError, TimeoutError: if the brokers cannot be reached.
        """
        async with asyncio.timeout(_START_S):
            await self._consumer.start()

    async def close(self) -> None:
        """End the client, within seconds."""
        await stop_client(self._consumer, _CLOSE_S)

    async def partitions(self, *topics: str) -> list[TopicPartition]:
        """All partitions of some topics.

        Raises:
            RepairError: if one of them does not exist.
        """
        found: list[TopicPartition] = []
        for topic in topics:
            async with asyncio.timeout(_START_S):
                partitions = await partitions_of(self._consumer, topic)
            if not partitions:
                raise RepairError(
                    f"{topic} does not exist. If VP_KAFKA__TOPIC_PREFIX and VP_RETRY__DELAYS_S are as the processors have them, create "
                    "the topics with `processor topics apply`"
                )
            found += partitions
        return found

    async def bounds(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """First offset, and offset after the last readable record, of each partition."""
        async with asyncio.timeout(_START_S):
            begins = await self._consumer.beginning_offsets(list(partitions))
            ends = await self._consumer.end_offsets(list(partitions))
        return {tp: (begins[tp], ends[tp]) for tp in partitions}

    async def read(self, ranges: Mapping[TopicPartition, tuple[int, int]], *, to_the_last: bool = False) -> AsyncGenerator[list[Record]]:
        """The records of some ranges of offsets (the end is not included), in batches.

        Args:
            ranges: from, to.
            to_the_last: also what was written since, and nothing may be hidden behind an open transaction.

        Raises:
            KafkaError: from the client.
            RepairError: if nothing came for long.
        """
        consumer, positions = self._consumer, {tp: begin for tp, (begin, end) in ranges.items() if begin < end or to_the_last}
        if not positions:
            return
        consumer.assign(list(positions))
        for tp, begin in positions.items():
            consumer.seek(tp, begin)
        clock = asyncio.get_running_loop().time
        heard_at = clock()
        while left := [tp for tp in positions if not self._is_through(tp, positions[tp], ranges[tp][1], to_the_last=to_the_last)]:
            batches = await self._poll(left)
            found = [record_of(r) for tp, batch in batches.items() for r in batch if to_the_last or r.offset < ranges[tp][1]]
            moved = False
            for tp in left:
                async with asyncio.timeout(_START_S):
                    position = await consumer.position(tp)
                moved, positions[tp] = moved or position > positions[tp], max(position, positions[tp])
            if moved:
                heard_at = clock()
            elif clock() - heard_at > _STALLED_S:
                raise RepairError(
                    f"nothing more can be read of {left[0].topic} from {self._bootstrap}: are its brokers up, or does somebody hold a "
                    "transaction open? Run the command again"
                )
            if found:
                yield found
        consumer.pause(*positions)  # else it goes on to fetch, twenty times a second

    async def fetch(self, wanted: Iterable[tuple[TopicPartition, int]]) -> dict[tuple[TopicPartition, int], Record]:
        """Single records by their positions; those that the topic keeps no more are absent.

        Raises:
            KafkaError, RepairError: as ``read``.
        """
        by_partition: dict[TopicPartition, list[int]] = {}
        for tp, offset in sorted(set(wanted)):
            by_partition.setdefault(tp, []).append(offset)
        bounds = await self.bounds(list(by_partition)) if by_partition else {}
        found: dict[tuple[TopicPartition, int], Record] = {}
        runs = {tp: _runs([o for o in offsets if bounds[tp][0] <= o < bounds[tp][1]]) for tp, offsets in by_partition.items()}
        while any(runs.values()):  # the first run of every partition, then the second
            now = {tp: left.pop(0) for tp, left in runs.items() if left}
            async for batch in self.read({tp: (run[0], run[-1] + 1) for tp, run in now.items()}):
                for record in batch:
                    tp = TopicPartition(record.source.topic, record.source.partition)
                    if record.source.offset in now[tp]:
                        found[tp, record.source.offset] = record
        return found

    def _is_through(self, tp: TopicPartition, position: int, end: int, *, to_the_last: bool) -> bool:
        if position < end:
            return False
        high = self._consumer.highwater(tp) if to_the_last else None
        return not to_the_last or (high is not None and position >= high)

    async def _poll(self, partitions: list[TopicPartition]) -> dict[TopicPartition, list[ConsumerRecord]]:
        async with asyncio.timeout(_STALLED_S):
            found: dict[TopicPartition, list[ConsumerRecord]] = await self._consumer.getmany(
                *partitions, timeout_ms=_READ_MS, max_records=_BATCH
            )
        await asyncio.sleep(0)  # a full buffer never makes getmany() wait
        return found


def _runs(offsets: list[int]) -> list[list[int]]:
    """Ascending offsets, cut where it is quicker to seek than to read on."""
    runs: list[list[int]] = []
    for offset in offsets:
        if runs and offset - runs[-1][-1] <= _JUMP:
            runs[-1].append(offset)
        else:
            runs.append([offset])
    return runs
