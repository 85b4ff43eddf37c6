"""Records of a transaction as batches: each goes where ``send`` would have put it, in its order, whatever its size."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from processor.stream.aiokafka_batches import Outgoing, send_in_batches

BATCH_BYTES = 1000
PARTITIONS = 4


class MemoryProducer:
    """aiokafka's own batches and partitioner; what is sent is kept."""

    def __init__(self, fails_at: int = -1) -> None:
        self.sent: dict[tuple[str, int], list[BatchBuilder]] = defaultdict(list)
        self.order: list[tuple[str, int]] = []
        self.known: set[str] = set()
        self.fails_at = fails_at

    async def partitions_for(self, topic: str) -> set[int]:
        await asyncio.sleep(0)
        self.known.add(topic)
        return set(range(PARTITIONS))

    def _partition(self, topic: str, partition: int | None, *given: Any) -> int:
        assert topic in self.known, "its metadata is there"
        numbers = list(range(PARTITIONS))
        return int(DefaultPartitioner()(given[2], numbers, numbers)) if partition is None else partition

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES, 0, is_transactional=1)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[None]:
        await asyncio.sleep(0)
        if len(self.order) == self.fails_at:
            raise ConnectionError
        self.order.append((topic, partition))
        self.sent[topic, partition].append(batch)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def records(self) -> dict[tuple[str, int], list[Outgoing]]:
        found: dict[tuple[str, int], list[Outgoing]] = defaultdict(list)
        for (topic, partition), batches in self.sent.items():
            for batch in batches:
                written = bytes(batch._build())  # noqa: SLF001 - as aiokafka's sender does
                for r in MemoryRecords(written).next_batch():
                    found[topic, partition].append(Outgoing(topic, partition, r.key, r.value, tuple(r.headers)))
        return found


def outgoing(count: int) -> list[Outgoing]:
    found = []
    for n in range(count):
        headers = () if n % 3 else (("vp-hop", b"%d" % n), ("empty", None))
        found.append(Outgoing(f"t{n % 2}", n % PARTITIONS if n % 5 == 0 else None, b"key-%d" % (n % 7), b"x" * (n % 90), headers))
    return found


async def test_each_stands_where_its_key_or_its_number_says_in_order_over_many_batches() -> None:
    producer, records = MemoryProducer(), outgoing(300)
    sent: list[asyncio.Future[object]] = []
    await send_in_batches(producer, records, sent)
    numbers = list(range(PARTITIONS))
    expected: dict[tuple[str, int], list[Outgoing]] = defaultdict(list)
    for record in records:
        partition = DefaultPartitioner()(record.key, numbers, numbers) if record.partition is None else record.partition
        expected[record.topic, partition].append(record._replace(partition=partition))
    assert producer.records() == expected
    assert len(sent) == len(producer.order) > 2 * len(expected), "a full batch is followed by another one"
    assert len(set(producer.order[: len(expected)])) == len(expected), "no partition waits for the second batch of another one"


async def test_one_that_is_larger_than_a_batch_has_one_of_its_own() -> None:
    producer = MemoryProducer()
    large = [Outgoing("t", 0, b"k", bytes([65 + n]) * 5 * BATCH_BYTES) for n in range(3)]
    await send_in_batches(producer, [large[0], Outgoing("t", 0, None, b"small"), large[1], large[2]], [])
    assert [batch.record_count() for batch in producer.sent["t", 0]] == [1, 1, 1, 1]
    assert [record.value for record in producer.records()["t", 0]] == [large[0].value, b"small", large[1].value, large[2].value]


async def test_nothing_is_sent_for_nothing_and_what_was_sent_before_a_fault_is_told() -> None:
    sent: list[asyncio.Future[object]] = []
    await send_in_batches(MemoryProducer(), [], sent)
    assert sent == []
    with pytest.raises(ConnectionError):
        await send_in_batches(MemoryProducer(fails_at=1), outgoing(20), sent)
    assert len(sent) == 1
