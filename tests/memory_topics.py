"""Topics of one partition in memory, for what reads them by a ``KeptTopicReader``: it notes each client and what is asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from processor.contract.records import Record, Source
from processor.stream import topic_reader
from processor.stream.partitions import TopicPartition


class MemoryTopics:
    """Read through as many clients as are asked for. ``failures``: by topic, how many batches come before its reading fails."""

    def __init__(self, batch: int = 1000) -> None:
        self.records: dict[str, list[Record]] = {}
        self.asked: list[tuple[int, int]] = []
        self.clients: list[str] = []
        self.failures: dict[str, tuple[int, Exception]] = {}
        self.fails_to_start: Exception | None = None
        self._batch = batch

    def write(self, topic: str, value: bytes, **fields: Any) -> None:
        held = self.records.setdefault(topic, [])
        held.append(Record(Source(topic, 0, len(held)), b"k", value, **{"timestamp_ms": len(held)} | fields))

    def instead_of_kafka(self, monkeypatch: pytest.MonkeyPatch) -> MemoryTopics:
        monkeypatch.setattr(topic_reader, "TopicReader", lambda _settings, **_options: self)
        return self

    async def start(self) -> None:
        if self.fails_to_start is not None:
            raise self.fails_to_start
        self.clients.append("started")

    async def close(self) -> None:
        self.clients.append("closed")

    async def partitions(self, *topics: str) -> list[TopicPartition]:
        return [TopicPartition(topic, 0) for topic in topics]

    async def bounds(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return {tp: (0, len(self.records.get(tp.topic, ()))) for tp in partitions}

    async def fetch(self, places: Iterable[tuple[TopicPartition, int]]) -> dict[tuple[TopicPartition, int], Record]:
        found: dict[tuple[TopicPartition, int], list[Record]] = {}
        for tp, offset in places:
            before, failure = self.failures.get(tp.topic, (-1, None))
            if failure is not None and before == 0:
                raise failure
            found[tp, offset] = self.records.get(tp.topic, [])[offset : offset + 1]
        return {place: held[0] for place, held in found.items() if held}

    @asynccontextmanager
    async def read(
        self, ranges: Mapping[TopicPartition, tuple[int, int]], *, to_the_last: bool = False
    ) -> AsyncIterator[AsyncIterator[list[Record]]]:
        assert not to_the_last
        yield self._batches(ranges)

    async def _batches(self, ranges: Mapping[TopicPartition, tuple[int, int]]) -> AsyncIterator[list[Record]]:
        for tp, (begin, end) in ranges.items():
            self.asked.append((begin, end))
            before, failure = self.failures.get(tp.topic, (-1, None))
            for number, at in enumerate(range(begin, max(end, begin + 1), self._batch)):
                if failure is not None and number == before:
                    raise failure
                if at < end:
                    yield self.records[tp.topic][at : min(at + self._batch, end)]
