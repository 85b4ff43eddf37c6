"""One partition: record batches in order, what of them is committed, and what idempotent producers have written. Pure.

Batches are kept as they came, in Kafka's format 2 (https://kafka.apache.org/documentation/#recordbatch); the broker changes the base
offset and, with LogAppendTime, the stamp.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from simulation.kafka.codes import Code

_HEAD = struct.Struct(">qiibIhiqqqhii")  # base offset to the count of records: 61 bytes
_CRC_AT, _ATTRIBUTES_AT, _MAX_STAMP_AT = 17, 21, 35
_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x08, 0x10, 0x20
_REMEMBERED = 5  # batches of a producer that are known again when they come twice


class Head(NamedTuple):
    """The header of a batch."""

    base: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_delta: int
    first_stamp: int
    max_stamp: int
    producer_id: int
    epoch: int
    sequence: int
    records: int


class Appended(NamedTuple):
    """What became of a batch."""

    code: Code
    base: int = -1
    stamp_ms: int = -1  # -1: the producer's own stamps stand


class Batch(NamedTuple):
    """A batch in the log."""

    base: int
    last: int
    stamp_ms: int
    data: bytes


@dataclass(slots=True)
class _Producer:
    epoch: int
    next_sequence: int | None
    recent: deque[tuple[int, int, Appended]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class PartitionLog:
    """The log.

    Args:
        append_time: records get the broker's time.
    """

    def __init__(self, *, append_time: bool) -> None:
        self.start = self.end = 0
        self.on_change: list[Callable[[], None]] = []  # called once each, at the next change
        self.append_time = append_time
        self._batches: list[Batch] = []
        self._lasts: list[int] = []
        self._open: dict[int, int] = {}  # producer id -> first offset of its open transaction
        self._aborted: list[tuple[int, int, int]] = []  # producer id, first offset, offset of the marker
        self._producers: dict[int, _Producer] = {}
        self._asked: dict[int, tuple[int, int]] = {}  # producer id -> epoch and lowest sequence that the coordinator was asked for

    @property
    def stable_end(self) -> int:
        """The last stable offset: nothing below it is undecided."""
        return max(self.start, min(self._open.values())) if self._open else self.end

    def append(self, raw: bytes, now_ms: int) -> Appended:
        """Append a batch as a producer sends it."""
        head = Head(*_HEAD.unpack_from(raw))
        producer = self._producers.get(head.producer_id)
        if head.producer_id >= 0 and (found := _known(producer, head, self._asked.get(head.producer_id))) is not None:
            return found
        stamp_ms = now_ms if self.append_time else head.max_stamp
        data = bytearray(raw)
        if self.append_time:
            struct.pack_into(">h", data, _ATTRIBUTES_AT, head.attributes | _APPEND_TIME)
            struct.pack_into(">q", data, _MAX_STAMP_AT, stamp_ms)
            struct.pack_into(">I", data, _CRC_AT, calc_crc32c(memoryview(data)[_ATTRIBUTES_AT:]))
        base = self._store(data, head.last_delta + 1, stamp_ms)
        done = Appended(Code.NONE, base, stamp_ms if self.append_time else -1)
        if head.producer_id >= 0:
            self._note(producer, head, done._replace(stamp_ms=stamp_ms))  # told when it comes again, whoever's stamp it is
        return done

    def append_spoiled(self, raw: bytes, at: int) -> None:
        """Append a batch of which a byte has changed on the broker's disk, and its checksum has not. ``at``: place in the batch."""
        data = bytearray(raw)
        data[at] ^= 1
        head = Head(*_HEAD.unpack_from(raw))
        self._store(data, head.last_delta + 1, head.max_stamp)

    def must_ask(self, raw: bytes) -> bool:
        """Whether the transaction of a batch has to be looked up at its coordinator: it has written nothing here yet (KIP-890)."""
        head = Head(*_HEAD.unpack_from(raw))
        producer = self._producers.get(head.producer_id)
        if head.producer_id in self._open and producer is not None and producer.epoch == head.epoch:
            return False
        epoch, lowest = self._asked.get(head.producer_id, (head.epoch, head.sequence))
        if head.epoch == epoch:
            lowest = min(lowest, head.sequence)
        self._asked[head.producer_id] = (head.epoch, head.sequence) if head.epoch > epoch else (epoch, lowest)
        return True

    def _note(self, producer: _Producer | None, head: Head, done: Appended) -> None:
        if producer is None or producer.epoch != head.epoch:
            producer = self._producers[head.producer_id] = _Producer(head.epoch, None)
        self._asked.pop(head.producer_id, None)
        producer.next_sequence = head.sequence + head.records
        producer.recent.append((head.sequence, head.records, done))
        if head.attributes & _TRANSACTIONAL:
            self._open.setdefault(head.producer_id, done.base)

    def mark(self, producer_id: int, epoch: int, *, commit: bool, now_ms: int) -> None:
        """Append the marker that ends a transaction."""
        self._end_transaction(producer_id, epoch, self.end, commit=commit)
        self._store(_marker(producer_id, epoch, commit=commit, now_ms=now_ms), 1, now_ms)

    def _end_transaction(self, producer_id: int, epoch: int, marker: int, *, commit: bool) -> None:
        first = self._open.pop(producer_id, None)
        self._asked.pop(producer_id, None)
        if not commit and first is not None:
            self._aborted.append((producer_id, first, marker))
        producer = self._producers.get(producer_id)
        if producer is None or epoch > producer.epoch:
            self._producers[producer_id] = _Producer(epoch, None)

    def _store(self, data: bytearray, count: int, stamp_ms: int) -> int:
        base = self.end
        struct.pack_into(">q", data, 0, base)
        self.end = base + count
        self._batches.append(Batch(base, self.end - 1, stamp_ms, bytes(data)))
        self._lasts.append(self.end - 1)
        self._tell()
        return base

    def _tell(self) -> None:
        waiting, self.on_change = self.on_change, []
        for tell in waiting:
            tell()

    def read(self, offset: int, limit_bytes: int, *, committed: bool) -> tuple[bytes, list[tuple[int, int]]]:
        """Batches from an offset on, at least one, and what of them was aborted: producer id and first offset."""
        upto = self.stable_end if committed else self.end
        if offset >= upto:
            return b"", []
        found: list[bytes] = []
        size, last = 0, -1
        for batch in self._batches[bisect_left(self._lasts, offset) :]:
            if batch.base >= upto or (found and size + len(batch.data) > limit_bytes):
                break
            found.append(batch.data)
            size, last = size + len(batch.data), batch.last
        aborted = [(p, first) for p, first, marker in self._aborted if marker >= offset and first <= last] if committed else []
        return b"".join(found), sorted(aborted, key=lambda pair: pair[1])

    def offset_at(self, stamp_ms: int) -> tuple[int, int]:
        """Offset and stamp of the first record that is not older; -1 and -1 if there is none."""
        for batch in self._batches:
            if batch.stamp_ms >= stamp_ms:
                for record in MemoryRecords(batch.data).next_batch():
                    if record.timestamp >= stamp_ms and record.offset >= self.start:
                        return record.offset, record.timestamp
        return -1, -1

    def delete_before(self, offset: int) -> bool:
        """DeleteRecords, retention: what is older than this offset is gone, whole batches only. Whether there is such an offset."""
        if not 0 <= offset <= self.end:
            return False
        keep = bisect_left(self._lasts, offset)
        self._batches, self._lasts = self._batches[keep:], self._lasts[keep:]
        self.start = max(self.start, offset)
        return True

    def delete_older(self, stamp_ms: int) -> None:
        """Retention: batches from the first one on that are older; the last one stays, as it is in a segment that is written to."""
        old = next((n for n, batch in enumerate(self._batches[:-1]) if batch.stamp_ms >= stamp_ms), max(0, len(self._batches) - 1))
        if old:
            self.delete_before(self._batches[old].base)

    def drop_last(self, batches: int) -> None:
        """What an unclean election loses: so many batches from the end, acknowledged or not. What was known of them is known no more."""
        kept = self._batches[: max(0, len(self._batches) - batches)]
        if len(kept) == len(self._batches):
            return
        self._batches, self._lasts, self.end = [], [], self.start
        self._open, self._aborted, self._producers = {}, [], {}
        for batch in kept:
            self._learn(batch)
        self._tell()

    def _learn(self, batch: Batch) -> None:
        head = Head(*_HEAD.unpack_from(batch.data))
        self._batches.append(batch)
        self._lasts.append(batch.last)
        self.end = batch.last + 1
        if head.attributes & _CONTROL:
            commit = MemoryRecords(batch.data).next_batch()
            self._end_transaction(head.producer_id, head.epoch, batch.base, commit=_commits(commit))
        elif head.producer_id >= 0:
            self._note(self._producers.get(head.producer_id), head, Appended(Code.NONE, batch.base, batch.stamp_ms))


def _known(producer: _Producer | None, head: Head, asked: tuple[int, int] | None) -> Appended | None:
    """The answer to a batch that must not be appended (again)."""
    lowest = asked[1] if asked is not None else head.sequence
    if producer is None:  # its state is gone or it is new: brokers since 2.5 take any sequence, but none above one that they have seen
        return None if head.sequence <= lowest else Appended(Code.OUT_OF_ORDER_SEQUENCE_NUMBER)
    if head.epoch < producer.epoch:
        return Appended(Code.INVALID_PRODUCER_EPOCH)
    expected = 0
    if head.epoch == producer.epoch:
        again = next((done for sequence, count, done in producer.recent if (sequence, count) == (head.sequence, head.records)), None)
        if again is not None:
            return again
        expected = producer.next_sequence if producer.next_sequence is not None else 0
    return None if head.sequence == expected <= lowest else Appended(Code.OUT_OF_ORDER_SEQUENCE_NUMBER)


def lacks_keys(raw: bytes) -> bool:
    """Whether some record of a batch has no key: a topic that is compacted takes none such."""
    return any(record.key is None for record in MemoryRecords(raw).next_batch())


def _commits(marker: Any) -> bool:
    return bool(struct.unpack(">hh", next(iter(marker)).key)[1])


def _marker(producer_id: int, epoch: int, *, commit: bool, now_ms: int) -> bytearray:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=1, producer_id=producer_id, producer_epoch=epoch, base_sequence=-1, batch_size=1000
    )
    builder.append(0, now_ms, struct.pack(">hh", 0, 1 if commit else 0), struct.pack(">hi", 0, 0), [])
    data = bytearray(builder.build())
    attributes = Head(*_HEAD.unpack_from(data)).attributes
    struct.pack_into(">h", data, _ATTRIBUTES_AT, attributes | _CONTROL | _TRANSACTIONAL)
    struct.pack_into(">I", data, _CRC_AT, calc_crc32c(memoryview(data)[_ATTRIBUTES_AT:]))
    return data
