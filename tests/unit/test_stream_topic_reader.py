"""Ranges of topics: read to their end, and nothing is fetched any more when whoever reads has left."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from memory_topics import MemoryTopics

from processor.contract.records import Record, Source
from processor.settings import load_settings
from processor.stream import topic_reader
from processor.stream.errors import KafkaUnavailableError
from processor.stream.partitions import TopicPartition
from processor.stream.topic_reader import KeptTopicReader, TopicReader, in_turns

A, B = TopicPartition("v.results", 0), TopicPartition("v.results", 1)
HELD = 3  # records of each partition


class Partitions:
    """Two partitions in memory, two records a poll; what is assigned and not paused is fetched."""

    def __init__(self, _settings: Any, **_options: Any) -> None:
        self.positions: dict[TopicPartition, int] = {}
        self.fetched: set[TopicPartition] = set()

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self.positions, self.fetched = dict(positions), set(positions)

    def pause(self, *partitions: TopicPartition) -> None:
        assert self.positions.keys() >= set(partitions), "aiokafka raises for what is not assigned"
        self.fetched -= set(partitions)

    def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    async def poll(
        self, *partitions: TopicPartition, wait_ms: int, records_max: int, **_blocks: object
    ) -> dict[TopicPartition, list[Record]]:
        del wait_ms, records_max
        await asyncio.sleep(0)
        found = {}
        for tp in partitions:
            begin, end = self.positions[tp], min(HELD, self.positions[tp] + 2)
            found[tp] = [Record(Source(tp.topic, tp.partition, n), b"k", b"v", (), n) for n in range(begin, end)]
            self.positions[tp] = end
        return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Partitions]:
    readers: list[Partitions] = []

    def make(settings: Any, **options: Any) -> Partitions:
        readers.append(Partitions(settings, **options))
        return readers[-1]

    monkeypatch.setattr(topic_reader, "PartitionReader", make)
    return readers


async def test_a_range_is_read_to_its_end_and_an_empty_one_not_at_all(made: list[Partitions]) -> None:
    reader = TopicReader(load_settings())
    async with reader.read({A: (1, 3), B: (2, 2)}) as batches:
        found = [record.source async for record in in_turns(batches)]
        assert made[0].positions.keys() == {A}
    assert (found, made[0].fetched) == ([Source(A.topic, 0, 1), Source(A.topic, 0, 2)], set())


@pytest.mark.parametrize("how", ["break", "error", "cancel"])
async def test_who_leaves_early_leaves_nothing_behind_that_fetches(made: list[Partitions], how: str) -> None:
    """It went on twenty times a second until the reader was moved or closed; and what ended it later met whatever was read then."""
    reader, begun = TopicReader(load_settings()), asyncio.Event()

    async def look() -> None:
        async with reader.read({A: (0, HELD), B: (0, HELD)}) as batches:
            async for _ in in_turns(batches):
                begun.set()
                if how == "break":
                    break
                if how == "error":
                    raise LookupError
                await asyncio.sleep(60)

    task = asyncio.ensure_future(look())
    await begun.wait()
    assert made[0].fetched == {A, B} or how != "cancel"
    if how == "cancel":
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert made[0].fetched == set()
    async with reader.read({B: (0, HELD)}) as batches:
        assert [record.source.offset async for record in in_turns(batches)] == [0, 1, 2]


async def test_a_client_is_kept_until_a_use_of_it_fails_or_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = MemoryTopics().instead_of_kafka(monkeypatch)
    kept = KeptTopicReader(load_settings())
    for _ in range(2):
        async with kept.use(60.0):
            assert topics.clients == ["started"]
    with pytest.raises(LookupError):
        async with kept.use(60.0):
            raise LookupError
    with pytest.raises(KafkaUnavailableError):
        async with kept.use(0.001):
            await asyncio.sleep(60)
    assert topics.clients == ["started", "closed"] * 2
    topics.fails_to_start = KafkaUnavailableError("no broker")
    with pytest.raises(KafkaUnavailableError):
        async with kept.use(60.0):
            pytest.fail("it is not connected")
    topics.fails_to_start = None
    async with kept.use(60.0):
        assert topics.clients == [*["started", "closed"] * 2, "closed", "started"], "the one that never came to be is let go of"
    await kept.close()
