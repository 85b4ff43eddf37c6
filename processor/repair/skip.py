"""Goes on behind a batch of which not even the end is certain: finds it, and has the lane that waits before it read on.

The lane hears of it as of a release (``stream/releases.py``), answers the offsets with one rejected result and one dead letter, and
commits.
"""

from __future__ import annotations

import asyncio
import time
import uuid

from processor.contract.records import Unread
from processor.repair.committed import read_finished
from processor.repair.release import publish_releases
from processor.settings import Settings
from processor.stream.partitions import TopicPartition
from processor.stream.reader import PartitionReader
from processor.stream.releases import Release

_READ_MS = 500
_READS_MAX = 200
_LOOK_S = 0.5


async def find_block(settings: Settings, tp: TopicPartition) -> Unread | None:
    """What the partition waits before; None if it can be read on from where the group stands.

    Raises:
        TopicMissingError: if the topic does not exist.
        KafkaFailedError: if the brokers cannot be asked.
    """
    done = (await read_finished(settings, [tp]))[tp]
    blocks: dict[TopicPartition, Unread] = {}
    async with PartitionReader(settings) as reader:
        if tp not in await reader.partitions(tp.topic):
            return None
        begin, end = (await reader.bounds([tp]))[tp]
        reader.assign({tp: max(begin, done.floor)})
        for _ in range(_READS_MAX):
            await reader.poll(tp, wait_ms=_READ_MS, blocks=blocks)
            if blocks or (reader.position(tp) or 0) >= end:
                break
    return blocks.get(tp)


async def skip_block(settings: Settings, tp: TopicPartition, first: int, last: int, *, by: str, at_ms: int, within_s: float) -> bool:
    """Have offsets ``first`` to ``last`` skipped; whether the group has committed behind them within the time.

    Raises:
        KafkaFailedError: if the brokers cannot be asked, or did not take it.
    """
    release = Release(tp.topic, tp.partition, tuple(sorted({first, last})), str(uuid.uuid4()))
    await publish_releases(settings, [release], by=by, at_ms=at_ms)
    until = time.monotonic() + within_s
    while True:
        if (await read_finished(settings, [tp]))[tp].floor > last:
            return True
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(_LOOK_S)
