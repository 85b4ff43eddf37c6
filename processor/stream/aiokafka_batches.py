"""Many records of one transaction as the batches that they are sent in.

``AIOKafkaProducer.send`` takes a coroutine, a future and its callbacks for each record, more than it takes to write the record. A batch
that is built first has one of each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer


class Outgoing(NamedTuple):
    """A record that is to be sent. ``partition``: None for the one that its key gives."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


async def send_in_batches(producer: AIOKafkaProducer, records: Iterable[Outgoing], sent: list[asyncio.Future[object]]) -> None:
    """Send records; those of one partition stand there in their order.

    Args:
        producer: has begun a transaction.
        records: all of them are held in memory.
        sent: takes up what ends when each batch is acknowledged, also if this raises.

    Raises:
        KafkaError, IllegalOperation, AssertionError: as ``AIOKafkaProducer.send_batch``; some batches may be on their way.
    """
    batches: dict[tuple[str, int], list[Any]] = {}
    topics: set[str] = set()
    for record in records:
        if record.topic not in topics:
            await producer.partitions_for(record.topic)  # waits until its metadata is there
            topics.add(record.topic)
        partition = producer._partition(record.topic, record.partition, None, None, record.key, record.value)  # noqa: SLF001 - as ``send`` does
        of = batches.setdefault((record.topic, partition), [])
        if not of or not _append(of[-1], record):
            of.append(producer.create_batch())
            _append(of[-1], record)  # the first one fits in, whatever its size
    for turn in zip_longest(*batches.values()):  # of a partition the next one waits until the one before is on its way
        for (topic, partition), batch in zip(batches, turn, strict=True):
            if batch is not None:
                sent.append(await producer.send_batch(batch, topic, partition=partition))


def _append(batch: Any, record: Outgoing) -> bool:
    return batch.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers)) is not None
