r"""A batch that aiokafka cannot read must not stop a partition, nor one that unpacks to gigabytes the process.

aiokafka unpacks a whole batch, whatever its size, and raises out of getmany() for one that it cannot read: again at each fetch, and what
was fetched of other partitions is lost with it. Here a batch is unpacked up to a bound. What cannot be read is one *unread* record
in place of its records, at the last of their offsets: it says why, and the reader goes on behind it.

Header names that are not UTF-8 make aiokafka's parser raise, too. The rest of such a batch is parsed once more with the bad bytes
written as ``\\xNN``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, SupportsIndex

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord

from processor.contract.codes import ErrorCode
from processor.contract.records import Unread
from processor.stream.unpacking import UNPACKED_BYTES_MAX, UnpackError, UnpackTooLargeError, unpack

_LENGTH_AT, _LENGTH_END = 8, 12  # of any batch: base offset, then the length of the rest
_MAGIC_AT, _LEGACY_ATTRIBUTES_AT = 16, 17
_ATTRIBUTES_AT = 22  # the lower byte
_MAGIC = 2  # of the format since Kafka 0.11
_HEADER = DefaultRecordBase.HEADER_STRUCT
OPEN_BYTES_MAX = 128 * 1024 * 1024
"""Of all that one consumer has unpacked at once: eight batches that grow as far as they may."""

_IDLE_S = 5.0
_HANDED_BYTES_MAX = 4 * 1024 * 1024  # of one partition, handed over at once


class UnreadValue:
    """The value of an unread record: a class of its own, so that no producer can make one."""

    def __init__(self, unread: Unread) -> None:
        self.unread = unread

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class _UnreadRecord:
    offset: int
    timestamp: int
    value: UnreadValue
    timestamp_type: int = 0
    key: None = None
    checksum: None = None
    headers: tuple[()] = ()


class _LenientBytes(bytearray):
    """A buffer whose slices decode without an error; aiokafka decodes nothing but header names."""

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        part = super().__getitem__(index)
        return _LenientBytes(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        del errors
        return super().decode(encoding, "backslashreplace")


class _Batch:
    """A batch of aiokafka's quick parser, which reads what can be read and says what cannot."""

    def __init__(self, batch: Any, raw: memoryview, note_open: Callable[[int], None]) -> None:
        self._batch, self._raw, self._note_open = batch, raw, note_open
        self._intact = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def validate_crc(self) -> bool:
        """False if nothing can be told of the batch, not even where it ends; one whose header makes sense is answered as unread."""
        self._intact = bool(self._batch.validate_crc())
        return self._intact or self._is_bounded()

    def __iter__(self) -> Iterator[Any]:
        if self._raw[_MAGIC_AT] < _MAGIC:
            return self._legacy()
        return self._records()

    def _legacy(self) -> Iterator[Any]:
        """The formats before Kafka 0.11. A packed one would be unpacked by aiokafka, without a bound."""
        if not self._intact or self._raw[_LEGACY_ATTRIBUTES_AT] & DefaultRecordBase.CODEC_MASK:
            offset = int.from_bytes(self._raw[:_LENGTH_AT], "big")
            yield self._unread(offset, offset, ErrorCode.BATCH_UNREADABLE, "is of a format before Kafka 0.11 and packed, or is broken", 0)
            return
        yield from self._batch

    def _records(self) -> Iterator[Any]:
        base, delta, stamp_ms = self._batch.base_offset, self._batch.last_offset_delta, self._batch.max_timestamp
        try:
            plain = self._plain()
        except UnpackTooLargeError:
            detail = f"unpacks to more than {UNPACKED_BYTES_MAX} bytes"
            yield self._unread(base, base + delta, ErrorCode.BATCH_TOO_LARGE, detail, stamp_ms)
            return
        except UnpackError as exc:
            yield self._unread(base, base + delta, ErrorCode.BATCH_UNREADABLE, str(exc), stamp_ms)
            return
        following = base
        self._note_open(len(plain) if self._batch.compression_type else 0)
        try:
            for record in _read(plain, base, base + delta):
                following = record.offset + 1
                yield record
        except CorruptRecordException:
            if following <= base + delta:  # else every offset has its record, and bytes are left over
                yield self._unread(following, base + delta, ErrorCode.BATCH_UNREADABLE, "holds a record that is broken", stamp_ms)
        finally:
            self._note_open(0)

    def _plain(self) -> bytes | memoryview:
        """The batch as it would be without a codec.

        Raises:
            UnpackError: if its checksum is wrong, or it cannot be unpacked within the bound.
        """
        if not self._intact:
            raise UnpackError("has a wrong checksum")
        codec = self._batch.compression_type
        if not codec:
            return self._raw
        header = list(_HEADER.unpack_from(self._raw))
        header[5] &= ~DefaultRecordBase.CODEC_MASK  # the attributes
        packed = bytes(self._raw[_HEADER.size :])
        return b"".join((_HEADER.pack(*header), unpack(codec, packed)))

    def _is_bounded(self) -> bool:
        if self._raw[_MAGIC_AT] < _MAGIC:
            return True
        batch = self._batch
        count = _HEADER.unpack_from(self._raw)[-1]
        return not batch.is_control_batch and batch.base_offset >= 0 and count > 0 and batch.last_offset_delta == count - 1

    def _unread(self, first: int, last: int, code: ErrorCode, detail: str, stamp_ms: int) -> _UnreadRecord:
        return _UnreadRecord(last, stamp_ms, UnreadValue(Unread(code, first, last, len(self._raw), detail)))


def _read(plain: bytes | memoryview, first: int, last: int) -> Iterator[Any]:
    """The records of a batch without a codec.

    Raises:
        CorruptRecordException: at the first one that is broken, or has an offset that is none of the batch's.
    """
    count, following = 0, first
    try:
        for record in DefaultRecordBatch(plain):
            if not following <= record.offset <= last:
                raise CorruptRecordException
            count, following = count + 1, record.offset + 1
            yield record
    except UnicodeDecodeError:
        slow = _DefaultRecordBatchPy(bytes(plain))
        slow._buffer = _LenientBytes(slow._buffer)  # noqa: SLF001 - no public way
        yield from islice(slow, count, None)


class BoundedMemoryRecords:
    """Stands in for aiokafka's MemoryRecords."""

    def __init__(self, data: bytes) -> None:
        self._records = MemoryRecords(data)
        self._data, self._at = memoryview(data), 0
        self.open_bytes = 0  # of the batch that is being read, unpacked

    def has_next(self) -> bool:
        """Whether another batch is there."""
        return bool(self._records.has_next())

    def size_in_bytes(self) -> int:
        """Size of everything."""
        return int(self._records.size_in_bytes())

    def next_batch(self) -> _Batch | None:
        """The next batch."""
        batch = self._records.next_batch()
        length = int.from_bytes(self._data[self._at + _LENGTH_AT : self._at + _LENGTH_END], "big")
        raw = self._data[self._at : self._at + _LENGTH_END + length]
        self._at += _LENGTH_END + length
        return _Batch(batch, raw, self._note_open) if batch is not None else None

    def _note_open(self, size_bytes: int) -> None:
        self.open_bytes = size_bytes

    @property
    def may_unpack(self) -> bool:
        """Whether a batch that is packed is still to come, or being read."""
        at = self._at
        while at + _ATTRIBUTES_AT < len(self._data):
            if self._data[at + _MAGIC_AT] >= _MAGIC and self._data[at + _ATTRIBUTES_AT] & DefaultRecordBase.CODEC_MASK:
                return True
            at += _LENGTH_END + max(0, int.from_bytes(self._data[at + _LENGTH_AT : at + _LENGTH_END], "big", signed=True))
        return self.open_bytes > 0

    @property
    def following(self) -> int | None:
        """The first offset of the batch that stands behind the last one; None if there is none at hand."""
        header = self._data[self._at : self._at + _LENGTH_AT]
        return int.from_bytes(header, "big", signed=True) if len(header) == _LENGTH_AT else None


class OpenBatches:
    """What is unpacked at once in one consumer, over all its partitions: ``OPEN_BYTES_MAX`` at most.

    A partition whose next batch has no room waits. What nobody has read on in for ``_IDLE_S`` (its lane is full) makes room: it is
    dropped, and fetched again when it is wanted.
    """

    def __init__(self, bytes_max: int = OPEN_BYTES_MAX, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes_max, self._clock = bytes_max, clock
        self._used: dict[BoundedFetchResult, float] = {}  # when each was read last, the longest ago first

    @property
    def size_bytes(self) -> int:
        """What is unpacked now."""
        return sum(result.open_bytes for result in self._used)

    def admit(self, result: BoundedFetchResult) -> bool:
        """Whether another batch of this one may be unpacked, however it may grow."""
        now, room = self._clock(), self._bytes_max - UNPACKED_BYTES_MAX
        self._used = {other: at for other, at in self._used.items() if other.open_bytes}
        for other, at in list(self._used.items()):
            if self.size_bytes - result.open_bytes <= room:
                break
            if other is not result and (now - at >= _IDLE_S or not other.is_wanted):
                other.drop()
                del self._used[other]
        return self.size_bytes - result.open_bytes <= room

    def note_read(self, result: BoundedFetchResult) -> None:
        """It was read on in."""
        self._used.pop(result, None)
        if result.open_bytes:
            self._used[result] = self._clock()

    def drop(self) -> None:
        """Everything."""
        for result in self._used:
            result.drop()
        self._used = {}


class BoundedFetchResult(FetchResult):  # type: ignore[misc]
    """Stands in for aiokafka's FetchResult: hands over records of so many bytes at once, not only so many records.

    A batch of which not even the end is certain is one unread record that *blocks*: it is given again and again, and nothing behind it.
    aiokafka would raise, and drop what was fetched of other partitions.
    """

    _partition_records: Any

    def __init__(self, *args: Any, open_batches: OpenBatches | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._open = open_batches or OpenBatches()

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
        try:
            for record in self._partition_records:
                taken.append(record)
                unread = isinstance(record.value, UnreadValue)
                size_bytes += _HANDED_BYTES_MAX if unread else len(record.value or b"") + len(record.key or b"")
                if size_bytes >= _HANDED_BYTES_MAX or len(taken) == max_records:
                    self._update_position()
                    return taken
        except CorruptRecordException:
            taken = taken or [self._blocking()]  # else it comes first in the next fetch
        self._update_position()
        self._partition_records = None
        return taken

    def _blocking(self) -> ConsumerRecord:
        """What stands for a batch of which nothing can be told but where the next one begins, if one is there."""
        tp, records = self._topic_partition, self._partition_records
        first, following = records.next_fetch_offset, records._records.following  # noqa: SLF001 - ours
        last = following - 1 if following is not None and following > first else -1
        unread = Unread(ErrorCode.BATCH_UNREADABLE, first, last, 0, "has a wrong checksum and a header that makes no sense", blocks=True)
        return ConsumerRecord(tp.topic, tp.partition, first, 0, 0, None, UnreadValue(unread), None, -1, -1, ())


def _close(records: Any) -> None:
    """Free what aiokafka's PartitionRecords holds: it and its generator hold each other, and wait for the garbage collector."""
    if records is not None and records._records_iterator is not None:  # noqa: SLF001 - no public way
        records._records_iterator.close()  # noqa: SLF001 - the same
        records._records_iterator = None  # noqa: SLF001 - the same
