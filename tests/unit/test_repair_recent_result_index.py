"""The newest results are kept, each is read once, and a client that failed is not used again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from processor.contract.records import Record, Source
from processor.repair import recent_result_index
from processor.repair.recent_result_index import RecentResultIndex
from processor.settings import load_settings
from processor.stream.errors import KafkaUnavailableError
from processor.stream.partitions import TopicPartition

RESULTS = TopicPartition("verification.results", 0)


class Topic:
    """One partition of results in memory, read through as many clients as are asked for."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.asked: list[tuple[int, int]] = []
        self.clients: list[str] = []
        self.failure: Exception | None = None

    def write(self, *request_ids: str) -> None:
        for name in request_ids:
            offset = len(self.records)
            value = {"kind": "final", "status": "succeeded", "request_id": name, "operation": "aml"}
            self.records.append(Record(Source(RESULTS.topic, RESULTS.partition, offset), b"k", orjson.dumps(value), timestamp_ms=offset))

    def client(self, _settings: Any) -> Topic:
        return self

    async def start(self) -> None:
        self.clients.append("started")

    async def close(self) -> None:
        self.clients.append("closed")

    async def partitions(self, *_topics: str) -> list[TopicPartition]:
        return [RESULTS]

    async def bounds(self, _partitions: Any) -> dict[TopicPartition, tuple[int, int]]:
        return {RESULTS: (0, len(self.records))}

    @asynccontextmanager
    async def read(self, ranges: Mapping[TopicPartition, tuple[int, int]]) -> AsyncIterator[AsyncIterator[list[Record]]]:
        yield self._batches(ranges)

    async def _batches(self, ranges: Mapping[TopicPartition, tuple[int, int]]) -> AsyncIterator[list[Record]]:
        self.asked.append(ranges[RESULTS])
        if self.failure is not None:
            raise self.failure
        begin, end = ranges[RESULTS]
        yield self.records[begin:end]


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    made = Topic()
    monkeypatch.setattr(recent_result_index, "TopicReader", made.client)
    return made


def ids(index: RecentResultIndex) -> list[str | None]:
    return [result.request_id for result in index.results]


async def test_the_newest_are_kept_and_each_is_read_once(topic: Topic) -> None:
    index = RecentResultIndex(load_settings(), kept_max=3)
    topic.write("a", "b")
    await index.refresh()
    assert (ids(index), index.complete) == (["b", "a"], True)
    topic.write("c", "d")
    await index.refresh()
    assert (ids(index), index.complete) == (["d", "c", "b"], False)
    topic.write(*"efghij")
    await index.refresh()
    assert ids(index) == ["j", "i", "h"]
    assert topic.asked == [(0, 2), (2, 4), (7, 10)], "what is too old to be kept is not read"
    assert topic.clients == ["started"]


async def test_a_topic_that_was_made_again_is_read_from_its_beginning(topic: Topic) -> None:
    index = RecentResultIndex(load_settings())
    topic.write("a", "b", "c")
    await index.refresh()
    topic.records.clear()
    topic.write("x")
    await index.refresh()
    assert ids(index) == ["x"]


async def test_a_client_that_failed_is_closed_and_the_next_call_goes_on_with_another(topic: Topic) -> None:
    index = RecentResultIndex(load_settings())
    topic.write("a")
    topic.failure = KafkaUnavailableError("no leader")
    with pytest.raises(KafkaUnavailableError):
        await index.refresh()
    assert topic.clients == ["started", "closed"]
    topic.failure = None
    await index.refresh()
    assert ids(index) == ["a"]
    await index.close()
    assert topic.clients == ["started", "closed", "started", "closed"]
