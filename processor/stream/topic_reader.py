"""Reads ranges of topics and single records. Every wait has a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from processor.contract.records import Record, Source, Unread
from processor.settings import Settings
from processor.stream.errors import KafkaUnavailableError, NotAuthorizedError, UnreadableBatchError, kafka_deadline
from processor.stream.partitions import PartitionEnds, TopicPartition, partition_of
from processor.stream.reader import PartitionReader

_READ_MS = 500
_WAIT_MS = 50
_BATCH = 500
_STALLED_S = 20.0  # no record and no progress for so long
_JUMP = 2_000  # a wanted record that is further away is sought, not read up to
OnUnread = Callable[[TopicPartition, Unread], None]
_TURN_BYTES = 250_000  # looked through in one turn of the loop: a hundred small records, or a large one; about 10 ms


class TopicReader:
    """A reader that is told where to read. Use as an async context manager, or ``start`` and ``close``.

    Args:
        settings: how to reach Kafka.
        on_unread: told of every batch that cannot be read. Then one without a certain end is passed, and what it may hide is absent.
            Default: it raises ``UnreadableBatchError``, unless the group has gone on behind it.
    """

    def __init__(self, settings: Settings, on_unread: OnUnread | None = None) -> None:
        self._settings, self._bootstrap, self._on_unread = settings, settings.kafka.bootstrap, on_unread
        self._reader = PartitionReader(settings, wait_ms=_WAIT_MS)

    async def __aenter__(self) -> Self:
        await self._reader.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaFailedError: if the brokers cannot be reached, or do not let us in.
        """
        await self._reader.start()

    async def close(self) -> None:
        """End the client, within seconds."""
        await self._reader.close()

    async def partitions(self, *topics: str) -> list[TopicPartition]:
        """All partitions of some topics.

        Raises:
            TopicMissingError: if one of them does not exist.
        """
        return await self._reader.partitions(*topics)

    async def bounds(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """First offset, and offset after the last readable record, of each partition.

        Raises:
            KafkaFailedError: if the brokers do not say.
        """
        return await self._reader.bounds(partitions)

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, PartitionEnds]:
        """How far partitions go, with what is not committed yet.

        Raises:
            KafkaFailedError: if the brokers do not say.
        """
        return await self._reader.ends(partitions)

    async def offsets_at(self, partitions: Collection[TopicPartition], at_ms: int) -> dict[TopicPartition, int | None]:
        """The first offset with a timestamp at or after ``at_ms``; None where there is none.

        Raises:
            KafkaFailedError: if the brokers do not say.
        """
        return await self._reader.offsets_at(partitions, at_ms)

    @asynccontextmanager
    async def read(
        self, ranges: Mapping[TopicPartition, tuple[int, int]], *, to_the_last: bool = False
    ) -> AsyncIterator[AsyncIterator[list[Record]]]:
        """The records of some ranges of offsets (the end is not included), in batches; whoever leaves early ends the fetching, too.

        A batch that the group has skipped (``processor partitions skip``) is one record that is unread, as a lane gets it.

        Args:
            ranges: from, to.
            to_the_last: also what was written since, and nothing may be hidden behind an open transaction.

        Raises:
            KafkaUnavailableError: if nothing came for long.
            KafkaFailedError: from the brokers.
        """
        positions = {tp: begin for tp, (begin, end) in ranges.items() if begin < end or to_the_last}
        if positions:
            self._reader.assign(positions)
        try:
            async with aclosing(self._batches(positions, {tp: ranges[tp][1] for tp in positions}, to_the_last=to_the_last)) as batches:
                yield batches
        finally:
            self._reader.pause(*positions)  # else it goes on to fetch, twenty times a second

    async def _batches(
        self, positions: dict[TopicPartition, int], ends: Mapping[TopicPartition, int], *, to_the_last: bool
    ) -> AsyncGenerator[list[Record]]:
        clock = asyncio.get_running_loop().time
        heard_at = clock()
        while left := [tp for tp in positions if not self._is_through(tp, positions[tp], ends[tp], to_the_last=to_the_last)]:
            batches = await self._poll({tp: ends[tp] for tp in left})
            found = [r for tp, batch in batches.items() for r in batch if to_the_last or r.source.offset < ends[tp]]
            moved = False
            for tp in left:
                position = self._reader.position(tp) or 0  # not known for as long as it is looked for
                moved, positions[tp] = moved or position > positions[tp], max(position, positions[tp])
            if moved:
                heard_at = clock()
            elif clock() - heard_at > _STALLED_S:
                raise KafkaUnavailableError(
                    f"nothing more can be read of {left[0].topic} from {self._bootstrap}: are its brokers up, or does somebody hold a "
                    "transaction open? Run the command again."
                )
            if found:
                yield found

    async def fetch(self, wanted: Iterable[tuple[TopicPartition, int]]) -> dict[tuple[TopicPartition, int], Record]:
        """Single records by their positions; those that the topic keeps no more are absent.

        Raises:
            KafkaFailedError: as ``read``.
        """
        by_partition: dict[TopicPartition, list[int]] = {}
        for tp, offset in sorted(set(wanted)):
            by_partition.setdefault(tp, []).append(offset)
        bounds = await self.bounds(list(by_partition)) if by_partition else {}
        found: dict[tuple[TopicPartition, int], Record] = {}
        runs = {tp: _runs([o for o in offsets if bounds[tp][0] <= o < bounds[tp][1]]) for tp, offsets in by_partition.items()}
        while any(runs.values()):  # the first run of every partition, then the second
            now = {tp: left.pop(0) for tp, left in runs.items() if left}
            async with self.read({tp: (run[0], run[-1] + 1) for tp, run in now.items()}) as batches:
                async for batch in batches:
                    for record in batch:
                        tp = partition_of(record.source)
                        if record.source.offset in now[tp]:
                            found[tp, record.source.offset] = record
        return found

    def _is_through(self, tp: TopicPartition, position: int, end: int, *, to_the_last: bool) -> bool:
        if position < end:
            return False
        high = self._reader.high_water(tp) if to_the_last else None
        return not to_the_last or (high is not None and position >= high)

    async def _poll(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, list[Record]]:
        blocks: dict[TopicPartition, Unread] = {}
        found = await self._reader.poll(*ends, wait_ms=_READ_MS, records_max=_BATCH, blocks=blocks)
        if self._on_unread is not None:
            for record in (record for batch in found.values() for record in batch):
                if record.unread is not None:
                    self._on_unread(partition_of(record.source), record.unread)
        for tp, unread in blocks.items():
            found[tp] = [await self._pass(tp, unread, ends[tp])]
        await asyncio.sleep(0)  # a full buffer never makes getmany() wait
        return found

    async def _pass(self, tp: TopicPartition, unread: Unread, end: int) -> Record:
        """Go on behind a batch of which not even the end is certain, as the group did, or whoever reads does."""
        if self._on_unread is not None:
            self._on_unread(tp, unread)
            last = unread.last if unread.last >= unread.first else max(unread.first, end - 1)
            return self._go_on(tp, replace(unread, last=last))
        done = 0
        if unread.last >= unread.first:
            with suppress(NotAuthorizedError):  # who may not ask cannot know it
                async with PartitionReader(self._settings, of_group=True) as of_group:
                    committed = (await of_group.committed([tp])).get(tp)
                    done = committed.offset if committed is not None else 0
        if done <= unread.last:
            raise UnreadableBatchError(tp.topic, tp.partition, unread)
        return self._go_on(tp, unread)

    def _go_on(self, tp: TopicPartition, unread: Unread) -> Record:
        self._reader.seek(tp, unread.last + 1)
        return Record(Source(tp.topic, tp.partition, unread.last), None, None, unread=replace(unread, blocks=False))


class _Reader(Protocol):
    async def start(self) -> None: ...

    async def close(self) -> None: ...


_R = TypeVar("_R", bound=_Reader)


class KeptReader(Generic[_R]):
    """A reader that is kept from one use to the next, and connects when it is needed. One whose use has failed is not used again."""

    def __init__(self, settings: Settings, build: Callable[[Settings], _R]) -> None:
        self._settings, self._build = settings, build
        self._alone = asyncio.Lock()
        self._reader: _R | None = None

    @asynccontextmanager
    async def use(self, within_s: float) -> AsyncIterator[_R]:
        """The reader, for one task at a time: others wait. The time counts from its turn on.

        Raises:
            KafkaFailedError: if the brokers cannot be reached, or the time is over.
        """
        async with self._alone, kafka_deadline(self._settings, within_s):
            try:
                yield await self._connected()
            except BaseException:
                await self.close()  # a client whose question failed or was cut off may still wait for its answer
                raise

    async def close(self) -> None:
        """End the client, within seconds; the next use connects again."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def _connected(self) -> _R:
        if self._reader is None:
            self._reader = self._build(self._settings)
            await self._reader.start()
        return self._reader


class KeptTopicReader(KeptReader[TopicReader]):
    """The usual one; ``on_unread`` is that of a ``TopicReader``."""

    def __init__(self, settings: Settings, on_unread: OnUnread | None = None) -> None:
        super().__init__(settings, partial(TopicReader, on_unread=on_unread))


async def in_turns(batches: AsyncIterable[list[Record]]) -> AsyncGenerator[Record]:
    """The records of batches one by one, for whoever looks through many of them and shares the loop with the lanes."""
    turn_bytes = 0
    async for batch in batches:
        for record in batch:
            turn_bytes += record.size_bytes
            if turn_bytes > _TURN_BYTES:
                turn_bytes = 0
                await asyncio.sleep(0)
            yield record


def _runs(offsets: list[int]) -> list[list[int]]:
    """Ascending offsets, cut where it is quicker to seek than to read on."""
    runs: list[list[int]] = []
    for offset in offsets:
        if runs and offset - runs[-1][-1] <= _JUMP:
            runs[-1].append(offset)
        else:
            runs.append([offset])
    return runs
