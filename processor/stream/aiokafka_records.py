r"""A batch that aiokafka cannot read must not stop a partition, nor one that unpacks to gigabytes the process.

aiokafka unpacks a whole batch, whatever its size, and raises out of getmany() for one that it cannot read: again at each fetch, and what
was fetched of other partitions is lost with it. Here a batch is unpacked up to a bound. What cannot be read is one *unread* record
in place of its records, at the last of their offsets: it says why, and the reader goes on behind it.

Header names that are not UTF-8 make aiokafka's parser raise, too. The rest of such a batch is parsed once more with the bad bytes
written as ``\\xNN``.

Neither unpacking nor skipping what was read before holds the event loop: a batch may be *suspended*. Its iterator then ends, aiokafka
stays at the offset where it is, and the next ``getall()`` goes on in the same batch: once a thread has unpacked it, or in the next turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, SupportsIndex

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from processor.contract.codes import ErrorCode
from processor.contract.records import Unread
from processor.stream.unpacking import UNPACKED_BYTES_MAX, UnpackError, UnpackTooLargeError, unpack
from processor.stream.unpacking_thread import UnpackingThread

_LENGTH_AT, _LENGTH_END = 8, 12  # of any batch: base offset, then the length of the rest
_MAGIC_AT, _LEGACY_ATTRIBUTES_AT = 16, 17
_ATTRIBUTES_AT = 22  # the lower byte
_MAGIC = 2  # of the format since Kafka 0.11
_HEADER = DefaultRecordBase.HEADER_STRUCT
_QUICK_PACKED_BYTES, _QUICK_BYTES = 65_536, 262_144  # unpacked at once: a millisecond or two, and no way to a thread and back
_SLICE_S = 0.01
_LOOK_EVERY = 64  # records, between two looks at the clock


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
    """A batch of aiokafka's quick parser, which reads what can be read and says what cannot.

    ``suspended``: reading it goes on with the next iterator.
    """

    def __init__(self, batch: Any, raw: memoryview, records: BoundedMemoryRecords) -> None:
        self._batch, self._raw, self._of = batch, raw, records
        self._intact, self._valid = True, False
        self._job: asyncio.Future[bytes | UnpackError] | None = None  # it is being unpacked
        self._reading: Iterator[Any] | None = None
        self._following = -1  # behind the last record that was read
        self.suspended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def validate_crc(self) -> bool:
        """False if nothing can be told of the batch, not even where it ends; one whose header makes sense is answered as unread."""
        if not self._valid:  # once, however often it is suspended
            self._intact = bool(self._batch.validate_crc())
            self._valid = self._intact or self._is_bounded()
        return self._valid

    @property
    def next_offset(self) -> int:
        """Where aiokafka goes on when an iterator has ended."""
        if self.suspended:
            return max(self._of.fetch_offset, int(self._batch.base_offset), self._following)
        return int(self._batch.next_offset)

    def __iter__(self) -> Iterator[Any]:
        if self._raw[_MAGIC_AT] < _MAGIC:
            return self._legacy()
        self._reading = self._reading or self._records()
        return self._until_suspended(self._reading)

    @property
    def is_unpacking(self) -> bool:
        """Whether a thread is about it."""
        return self._job is not None and not self._job.done()

    def close(self) -> None:
        """Let go of what it holds."""
        if isinstance(self._reading, Generator):
            self._reading.close()
        self._reading, self._job = None, None

    def _until_suspended(self, reading: Iterator[Any]) -> Iterator[Any]:
        self.suspended = False
        for record in reading:
            if record is None:
                self.suspended = True
                return
            self._following = record.offset + 1
            yield record

    def _legacy(self) -> Iterator[Any]:
        """The formats before Kafka 0.11. A packed one would be unpacked by aiokafka, without a bound."""
        if not self._intact or self._raw[_LEGACY_ATTRIBUTES_AT] & DefaultRecordBase.CODEC_MASK:
            offset = int.from_bytes(self._raw[:_LENGTH_AT], "big")
            yield self._unread(offset, offset, ErrorCode.BATCH_UNREADABLE, "is of a format before Kafka 0.11 and packed, or is broken", 0)
            return
        yield from self._batch

    def _records(self) -> Generator[Any]:
        """Its records; None where it is suspended."""
        base, delta, stamp_ms = self._batch.base_offset, self._batch.last_offset_delta, self._batch.max_timestamp
        try:
            while (plain := self._plain()) is None:
                yield None
        except UnpackTooLargeError:
            detail = f"unpacks to more than {UNPACKED_BYTES_MAX} bytes"
            yield self._unread(base, base + delta, ErrorCode.BATCH_TOO_LARGE, detail, stamp_ms)
            return
        except UnpackError as exc:
            yield self._unread(base, base + delta, ErrorCode.BATCH_UNREADABLE, str(exc), stamp_ms)
            return
        self._of.open_bytes = len(plain) if self._batch.compression_type else 0
        following = base
        try:
            for number, record in enumerate(_read(plain, base, base + delta)):
                following = following if record is None else record.offset + 1
                if record is not None and record.offset >= self._of.fetch_offset:
                    yield record
                elif self._of.is_late(number):
                    yield None
        except CorruptRecordException:
            if following <= base + delta:  # else every offset has its record, and bytes are left over
                yield self._unread(following, base + delta, ErrorCode.BATCH_UNREADABLE, "holds a record that is broken", stamp_ms)
        finally:
            self._of.open_bytes = 0

    def _plain(self) -> bytes | memoryview | None:
        """The batch as it would be without a codec; None until a thread has unpacked it.

        Raises:
            UnpackError: if its checksum is wrong, or it cannot be unpacked within the bound.
        """
        if not self._intact:
            raise UnpackError("has a wrong checksum")
        if not self._batch.compression_type:
            return self._raw
        if self._job is None:
            packed, thread = bytes(self._raw), self._of.thread
            if thread is None:
                return _plain_of(packed)
            if len(packed) <= _QUICK_PACKED_BYTES:
                with suppress(UnpackTooLargeError):
                    return _plain_of(packed, _QUICK_BYTES)
            self._job, self._of.open_bytes = thread.start(_plain_or_error, packed), UNPACKED_BYTES_MAX
        if not self._job.done() or self._job.cancelled():
            return None
        found, self._job, self._of.open_bytes = self._job.result(), None, 0
        if isinstance(found, UnpackError):
            raise found
        return found

    def _is_bounded(self) -> bool:
        if self._raw[_MAGIC_AT] < _MAGIC:
            return True
        batch = self._batch
        count = _HEADER.unpack_from(self._raw)[-1]
        return not batch.is_control_batch and batch.base_offset >= 0 and count > 0 and batch.last_offset_delta == count - 1

    def _unread(self, first: int, last: int, code: ErrorCode, detail: str, stamp_ms: int) -> _UnreadRecord:
        return _UnreadRecord(last, stamp_ms, UnreadValue(Unread(code, first, last, len(self._raw), detail)))


def _plain_of(packed: bytes, bytes_max: int = UNPACKED_BYTES_MAX) -> bytes:
    """A packed batch as it would be without a codec.

    Raises:
        UnpackError: if it cannot be unpacked within the bound.
    """
    header = list(_HEADER.unpack_from(packed))
    codec, header[5] = header[5] & DefaultRecordBase.CODEC_MASK, header[5] & ~DefaultRecordBase.CODEC_MASK  # the attributes
    return b"".join((_HEADER.pack(*header), unpack(codec, packed[_HEADER.size :], bytes_max)))


def _plain_or_error(packed: bytes) -> bytes | UnpackError:
    """The same; an error that is raised would keep what was unpacked until then, as long as it is kept itself."""
    try:
        return _plain_of(packed)
    except UnpackError as exc:
        return type(exc)(*exc.args)


def _read(plain: bytes | memoryview, first: int, last: int) -> Iterator[Any]:
    """The records of a batch without a codec; None for one that is skipped again.

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
        yield from (None if number < count else record for number, record in enumerate(slow))


class BoundedMemoryRecords:
    """Stands in for aiokafka's MemoryRecords.

    Attributes:
        open_bytes: of the batch that is being read, unpacked; as far as it may grow while it is being unpacked.
        fetch_offset: what lies before it was read before.
        thread: unpacks what is large; without one nothing is ever suspended.
        clock: seconds, monotonic.
    """

    def __init__(self, data: bytes) -> None:
        self._records = MemoryRecords(data)
        self._data, self._at = memoryview(data), 0
        self._batch: _Batch | None = None  # the last one
        self._late_at, self._resuming = 0.0, False
        self.open_bytes, self.fetch_offset = 0, 0
        self.thread: UnpackingThread | None = None
        self.clock: Callable[[], float] = time.monotonic

    def holds(self, data: bytes) -> bool:
        """Whether that is everything."""
        return self._data == data

    @property
    def is_suspended(self) -> bool:
        """Whether the last batch goes on."""
        return self._batch is not None and self._batch.suspended

    @property
    def is_unpacking(self) -> bool:
        """Whether a thread unpacks the last batch; it tells when it is done."""
        return self._batch is not None and self._batch.is_unpacking

    def begin_turn(self) -> bool:
        """So much time from now on; whether a batch goes on, and aiokafka's iterator is to be made again."""
        self._late_at, self._resuming = self.clock() + _SLICE_S, self.is_suspended
        return self._resuming

    def is_late(self, count: int) -> bool:
        """Whether the turn is over; looks at the clock only at each 64th of a count."""
        return self.thread is not None and not count % _LOOK_EVERY and self.clock() >= self._late_at

    def close(self) -> None:
        """Let go of the batch that is being read."""
        if self._batch is not None:
            self._batch.close()

    def has_next(self) -> bool:
        """Whether another batch is there, or the last one goes on now."""
        return self._resuming if self.is_suspended else bool(self._records.has_next())

    def size_in_bytes(self) -> int:
        """Size of everything."""
        return int(self._records.size_in_bytes())

    def next_batch(self) -> _Batch | None:
        """The next batch, or the last one if it goes on."""
        if self._resuming:
            self._resuming = False
            return self._batch
        batch = self._records.next_batch()
        length = int.from_bytes(self._data[self._at + _LENGTH_AT : self._at + _LENGTH_END], "big")
        raw = self._data[self._at : self._at + _LENGTH_END + length]
        self._at += _LENGTH_END + length
        self._batch = _Batch(batch, raw, self) if batch is not None else None
        return self._batch

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
