"""Batches that no reader can decode: told once each, and left behind, so that they hold up nobody who reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from processor.contract.records import Record, Unread
from processor.stream.partitions import TopicPartition, partition_of
from processor.stream.reader import PartitionReader

_TOLD_MAX = 1000  # remembered, to tell none twice


class UnreadBatches:
    """Those that one reader has met; ``tell`` gets a sentence about each.

    Attributes:
        count: how many were told.
        waiting: partitions that stand before one whose end is not known.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: dict[tuple[TopicPartition, int, bool], None] = {}
        self.count = 0
        self.waiting: set[TopicPartition] = set()

    def note(self, tp: TopicPartition, unread: Unread) -> None:
        """A batch was met."""
        has_end = unread.last >= unread.first
        if (tp, unread.first, has_end) in self._told:
            return
        self._told[tp, unread.first, has_end] = None
        if len(self._told) > _TOLD_MAX:
            del self._told[next(iter(self._told))]
        self.count += 1
        self._tell(_text(tp, unread))

    async def read(self, reader: PartitionReader, *, wait_s: float) -> list[Record]:
        """The next records that can be read, as ``read_topics`` gives them.

        A partition goes on behind a batch with a certain end; before one without it waits, until another batch is seen behind it.

        Raises:
            KafkaFailedError: if the brokers refuse; the next call goes on.
        """
        reader.assign_added()
        blocks: dict[TopicPartition, Unread] = {}
        batches = await reader.poll(wait_ms=int(wait_s * 1000), blocks=blocks)
        records = [record for batch in batches.values() for record in batch]
        for record in records:
            if record.unread is not None:
                self.note(partition_of(record.source), record.unread)
        self.waiting -= batches.keys()
        for tp, unread in blocks.items():
            self.note(tp, unread)
            if unread.last >= unread.first:
                self.waiting.discard(tp)
                reader.seek(tp, unread.last + 1)
            else:
                self.waiting.add(tp)
        if not records and self.waiting & blocks.keys():
            await asyncio.sleep(wait_s)  # it is given again at once
        return [record for record in records if record.unread is None]


def _text(tp: TopicPartition, unread: Unread) -> str:
    if unread.last >= unread.first:
        said = f"offsets {unread.first} to {unread.last} cannot be read: the batch there {unread.detail}. What it held is skipped"
    else:
        said = (
            f"nothing can be read from offset {unread.first} on: the batch there {unread.detail}, and none is seen behind it. "
            "The partition waits for one; others go on"
        )
    return f"{tp.topic}[{tp.partition}]: {said} (docs/operations.md, Results that cannot be read)"
