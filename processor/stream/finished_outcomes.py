"""Outcomes of one lane that are not published yet. Pure; the lane reads no further while there are too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from processor.contract.records import Output, Record

_TRANSACTION_BYTES_MAX = 4 * 1024 * 1024

Finished = tuple[Record, Sequence[Output]]


class FinishedOutcomes:
    """A queue of outcomes, in the order in which they were finished."""

    def __init__(self) -> None:
        self._items: list[Finished] = []
        self._taken: list[Finished] = []  # in the transaction that is made now

    def __len__(self) -> int:
        return len(self._items)

    def add(self, record: Record, outputs: Sequence[Output]) -> None:
        """What completes a record."""
        self._items.append((record, outputs))

    def take(self, count_max: int, fits: Callable[[int], bool]) -> list[Finished]:
        """Remove outcomes for one transaction, bounded by count, by bytes, and by which offsets the commit can hold."""
        taken: list[Finished] = []
        left: list[Finished] = []
        size_bytes = 0
        for item in self._items:
            if len(taken) < count_max and size_bytes < _TRANSACTION_BYTES_MAX and fits(item[0].source.offset):
                taken.append(item)
                size_bytes += sum(o.size_bytes for o in item[1])
            else:
                left.append(item)
        self._items, self._taken = left, taken
        return taken

    def published(self) -> None:
        """What was taken is in a committed transaction."""
        self._taken = []

    def unpublished(self) -> list[Finished]:
        """All that is in no transaction that is known to be committed."""
        return [*self._taken, *self._items]
