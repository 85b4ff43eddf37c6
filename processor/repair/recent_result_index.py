"""The newest final results of the results topic, read when somebody asks: for the page and `processor top`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from processor.contract.records import Record
from processor.repair.dead_letter_index import newest
from processor.repair.recent_result import RecentResult, read_result
from processor.settings import Settings
from processor.stream.partitions import TopicPartition, partition_of
from processor.stream.topic_reader import KeptTopicReader, TopicReader, in_turns
from processor.stream.topics import topic_names

KEPT_MAX = 5_000
_REFRESH_S = 60.0


class RecentResultIndex:
    """Without what callers sent. Use as ``refresh`` as often as you like, then ``close``."""

    def __init__(self, settings: Settings, *, kept_max: int = KEPT_MAX) -> None:
        self.complete = True  # false: the topic holds older ones
        self._topic, self._kept_max = topic_names(settings).results, kept_max
        self._reader = KeptTopicReader(settings)
        self._next: dict[TopicPartition, int] = {}
        self._kept: OrderedDict[tuple[int, int], RecentResult] = OrderedDict()

    @property
    def results(self) -> Sequence[RecentResult]:
        """The newest first."""
        return sorted(self._kept.values(), key=lambda result: -result.finished_ms)

    async def refresh(self) -> None:
        """Read what is new, the newest ``kept_max`` at most. What was read stays when it fails or is cut off.

        Raises:
            KafkaFailedError: the next call goes on.
        """
        async with self._reader.use(_REFRESH_S) as reader:
            await self._read(reader)

    async def close(self) -> None:
        """End the client, within seconds."""
        await self._reader.close()

    async def _read(self, reader: TopicReader) -> None:
        bounds = await reader.bounds(await reader.partitions(self._topic))
        if any(end < self._next.get(tp, 0) for tp, (_, end) in bounds.items()):  # the topic was made again
            self._next, self._kept = {}, OrderedDict()
        starts = {tp: max(begin, self._next.get(tp, begin)) for tp, (begin, _) in bounds.items()}
        room = newest({tp: end - starts[tp] for tp, (_, end) in bounds.items()}, self._kept_max)
        if any(starts[tp] + room < end for tp, (_, end) in bounds.items()):
            self.complete = False
        async with reader.read({tp: (max(starts[tp], end - room), end) for tp, (_, end) in bounds.items()}) as batches:
            async for record in in_turns(batches):
                self._take(record)
        self._next |= {tp: max(end, self._next.get(tp, 0)) for tp, (_, end) in bounds.items()}

    def _take(self, record: Record) -> None:
        self._next[partition_of(record.source)] = record.source.offset + 1
        if (result := read_result(record)) is not None:
            self._kept[record.source.partition, record.source.offset] = result
        while len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
            self.complete = False
