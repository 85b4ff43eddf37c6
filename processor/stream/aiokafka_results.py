"""What was fetched of a partition, handed over within bounds of bytes, memory and time, in place of aiokafka's own.

A consumer holds so many unpacked bytes, whatever it reads. A batch that is suspended (``aiokafka_records``) goes on in the next turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import ConsumerRecord

from processor.contract.codes import ErrorCode
from processor.contract.records import Unread
from processor.stream.aiokafka_answers import UNREADABLE
from processor.stream.aiokafka_records import UnreadValue
from processor.stream.unpacking import UNPACKED_BYTES_MAX
from processor.stream.unpacking_thread import UnpackingThread

OPEN_BYTES_MAX = 128 * 1024 * 1024
"""Of all that one consumer has unpacked at once: eight batches that grow as far as they may."""

_IDLE_S = 5.0
_HANDED_BYTES_MAX = 4 * 1024 * 1024  # of one partition, handed over at once


class OpenBatches:
    """What is unpacked at once in one consumer, over all its partitions: ``OPEN_BYTES_MAX`` at most.

    A partition whose next batch has no room waits. What nobody has read on in for ``_IDLE_S`` (its lane is full) makes room: it is
    dropped, and fetched again when it is wanted.
    """

    def __init__(
        self, bytes_max: int = OPEN_BYTES_MAX, clock: Callable[[], float] = time.monotonic, thread: UnpackingThread | None = None
    ) -> None:
        self._bytes_max, self.clock, self.thread = bytes_max, clock, thread
        self._used: dict[BoundedFetchResult, float] = {}  # when each was read last, the longest ago first

    @property
    def size_bytes(self) -> int:
        """What is unpacked now."""
        return sum(result.open_bytes for result in self._used)

    def admit(self, result: BoundedFetchResult) -> bool:
        """Whether another batch of this one may be unpacked, however it may grow."""
        now, room = self.clock(), self._bytes_max - UNPACKED_BYTES_MAX
        self._used = {other: at for other, at in self._used.items() if other.open_bytes}
        for other, at in list(self._used.items()):
            if self.size_bytes - result.open_bytes <= room:
                break
            if other is not result and (now - at >= _IDLE_S or not other.is_wanted):
                other.drop()
                del self._used[other]
        return self.size_bytes - result.open_bytes <= room

    def note_read(self, result: BoundedFetchResult) -> None:
        """Note that this result was just read, so that it is the last to be dropped."""
        self._used.pop(result, None)
        if result.open_bytes:
            self._used[result] = self.clock()

    def drop(self) -> None:
        """Drop what is unpacked of every result."""
        for result in self._used:
            result.drop()
        self._used = {}
        if self.thread is not None:
            self.thread.close()


class BoundedFetchResult(FetchResult):  # type: ignore[misc]
    """Stands in for aiokafka's FetchResult: hands over records of so many bytes at once, not only so many records.

    A batch of which not even the end is certain is one unread record that *blocks*: it is given again and again, and nothing behind it.
    aiokafka would raise, and drop what was fetched of other partitions.
    """

    _partition_records: Any

    def __init__(self, *args: Any, open_batches: OpenBatches | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._open = open_batches or OpenBatches()
        records = self._partition_records._records  # noqa: SLF001 - ours
        records.thread, records.clock = self._open.thread, self._open.clock
        records.fetch_offset = self._partition_records.next_fetch_offset

    @property
    def open_bytes(self) -> int:
        """What is unpacked of it now."""
        return 0 if self._partition_records is None else int(self._partition_records._records.open_bytes)  # noqa: SLF001 - ours

    @property
    def is_wanted(self) -> bool:
        """Whether somebody can still read it."""
        return bool(self._assignment.active)

    def drop(self) -> None:
        """Let go of what was fetched; the position stays, and it is fetched again."""
        records, self._partition_records = self._partition_records, None
        _close(records)

    def getall(self, max_records: int | None = None) -> list[Any]:
        """The next records; what is left stays for the next call. An unread batch ends the turn: it has cost enough."""
        if not self.has_more():
            return []  # it was dropped
        records = self._partition_records
        if not self.check_assignment(self._topic_partition):
            _close(records)
            return []
        if records._records.may_unpack and not self._open.admit(self):  # noqa: SLF001 - ours
            return []
        try:
            return self._take(max_records)
        finally:
            self._open.note_read(self)

    def _take(self, max_records: int | None) -> list[Any]:
        taken: list[Any] = []
        size_bytes = 0
        records = self._partition_records
        if records._records.begin_turn():  # noqa: SLF001 - ours
            records._records_iterator = records._unpack_records()  # noqa: SLF001 - no public way
        try:
            for record in records:
                taken.append(record)
                unread = isinstance(record.value, UnreadValue)
                size_bytes += _HANDED_BYTES_MAX if unread else len(record.value or b"") + len(record.key or b"")
                if size_bytes >= _HANDED_BYTES_MAX or len(taken) == max_records:
                    self._update_position()
                    return taken
        except CorruptRecordException:
            taken = taken or [self._blocking()]  # else it comes first in the next fetch
        self._update_position()
        if not records._records.is_suspended:  # noqa: SLF001 - ours
            self._partition_records = None
        elif not records._records.is_unpacking and self._open.thread is not None:  # noqa: SLF001 - the same
            self._open.thread.call_soon()
        return taken

    def _blocking(self) -> ConsumerRecord:
        """What stands for a batch of which nothing can be told but where the next one begins, if one is there."""
        tp, records = self._topic_partition, self._partition_records
        first, following = records.next_fetch_offset, records._records.following  # noqa: SLF001 - ours
        end = self._assignment.state_value(tp).highwater
        last = following - 1 if following is not None and first < following <= end else -1  # what stands there may be no header
        lost = records._records.holds(UNREADABLE)  # noqa: SLF001 - the same
        detail = "is not found by the broker: its length is broken" if lost else "has a wrong checksum and a header that makes no sense"
        unread = Unread(ErrorCode.BATCH_UNREADABLE, first, last, 0, detail, blocks=True)
        return ConsumerRecord(tp.topic, tp.partition, first, 0, 0, None, UnreadValue(unread), None, -1, -1, ())


def _close(records: Any) -> None:
    """Free what aiokafka's PartitionRecords holds: it and its generator hold each other, and wait for the garbage collector."""
    if records is None:
        return
    if records._records_iterator is not None:  # noqa: SLF001 - no public way
        records._records_iterator.close()  # noqa: SLF001 - the same
        records._records_iterator = None  # noqa: SLF001 - the same
    records._records.close()  # noqa: SLF001 - ours
