r"""Header names that are not UTF-8 must not stop a partition.

Kafka lets anybody store them; aiokafka's record parser then raises UnicodeDecodeError out of getmany(), for this batch and
for ever. Here such a batch is parsed once more with the bad bytes written as ``\\xNN``. All other batches go the quick way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, SupportsIndex

from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH_AT, _LENGTH_END = 8, 12  # of any batch: base offset, then the length of the rest


class _LenientBytes(bytearray):
    """A buffer whose slices decode without an error; aiokafka decodes nothing but header names."""

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        part = super().__getitem__(index)
        return _LenientBytes(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        del errors
        return super().decode(encoding, "backslashreplace")


class _Batch:
    """A batch of the quick parser, with its bytes at hand in case that it fails."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch, self._raw = batch, raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            slow = _DefaultRecordBatchPy(bytes(self._raw))
            slow._maybe_uncompress()  # noqa: SLF001 - no public way
            slow._buffer = _LenientBytes(slow._buffer)  # noqa: SLF001 - no public way
            return iter(list(slow))


class LenientMemoryRecords:
    """Stands in for aiokafka's MemoryRecords."""

    def __init__(self, data: bytes) -> None:
        self._records = MemoryRecords(data)
        self._data, self._at = memoryview(data), 0

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
        return _Batch(batch, raw) if batch is not None else None
