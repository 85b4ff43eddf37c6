"""The requests of a file, kept on disk: what stays in memory of each is some 30 bytes, so that a file may be as long as it likes."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

_LENGTHS = struct.Struct("<5I")
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Item:
    """One request of the file."""

    request_id: str
    content: str  # its digest
    operation: str
    key: bytes
    value: bytes


class BatchRows(Sequence[Item]):
    """Rows in the order of the file, found by their request ids once it is ``sealed``. Which of them have a result is noted here."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - for its owner alone; it has no name, and ends with this
        self._places, self._lines, self._hashes, self._order = array("Q"), array("Q"), array("Q"), array("Q")
        self._sorted = array("Q")  # the hashes in the order of ``_order``
        self._operations: list[str] = []
        self._numbers: dict[str, int] = {}
        self._operation_of = array("H")
        self._done = bytearray()
        self.left: Counter[str] = Counter()  # requests without a result, by operation

    def append(self, item: Item, line: int) -> None:
        """One more, from a line of the file."""
        parts = (item.request_id.encode(), item.content.encode(), item.operation.encode(), item.key, item.value)
        self._places.append(self._file.tell())
        self._file.write(_LENGTHS.pack(*map(len, parts)) + b"".join(parts))
        self._lines.append(line)
        self._hashes.append(_hash(item.request_id))
        self._operation_of.append(self._numbers.setdefault(item.operation, len(self._numbers)))
        self._done.append(0)
        self.left[item.operation] += 1

    def seal(self) -> Iterator[tuple[int, int]]:
        """No more rows come. Lines whose request id stands in an earlier line, with that line; in the order of ids."""
        self._operations = list(self._numbers)
        self._order = array("Q", sorted(range(len(self)), key=self._hashes.__getitem__))  # equal ones stay in their order
        self._sorted = array("Q", (self._hashes[row] for row in self._order))
        for at in range(1, len(self)):
            if self._sorted[at] == self._sorted[at - 1]:
                row, request_id = self._order[at], self[self._order[at]].request_id
                first = self.row_of(request_id)
                if first is not None and first != row:
                    yield self._lines[row], self._lines[first]

    def row_of(self, request_id: str) -> int | None:
        """The first row with a request id."""
        hashed = _hash(request_id)
        at = bisect_left(self._sorted, hashed)
        while at < len(self._sorted) and self._sorted[at] == hashed:
            if self[row := self._order[at]].request_id == request_id:
                return row
            at += 1
        return None

    def is_left(self, row: int) -> bool:
        """Whether a row has no result."""
        return not self._done[row]

    def finish(self, row: int) -> bool:
        """It has one; whether it had none before."""
        if self._done[row]:
            return False
        self._done[row] = 1
        operation = self._operations[self._operation_of[row]]
        self.left[operation] -= 1
        if not self.left[operation]:
            del self.left[operation]
        return True

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, row: int) -> Item: ...
    @overload
    def __getitem__(self, row: slice) -> list[Item]: ...
    def __getitem__(self, row: int | slice) -> Item | list[Item]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        self._file.seek(self._places[row])
        lengths = _LENGTHS.unpack(self._file.read(_LENGTHS.size))
        request_id, content, operation, key, value = (self._file.read(length) for length in lengths)
        return Item(request_id.decode(), content.decode(), operation.decode(), key, value)


class LeftRows(Mapping[str, str]):
    """Of the rows without a result: request id -> digest of the content."""

    def __init__(self, rows: BatchRows) -> None:
        self._rows = rows

    def __getitem__(self, request_id: str) -> str:
        row = self._rows.row_of(request_id)
        if row is None or not self._rows.is_left(row):
            raise KeyError(request_id)
        return self._rows[row].content

    def __iter__(self) -> Iterator[str]:
        return (item.request_id for row, item in enumerate(self._rows) if self._rows.is_left(row))

    def __len__(self) -> int:
        return self._rows.left.total()


def _hash(request_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=_HASH_BYTES).digest(), "little")
