"""What the budget needs of its log. ``stream.budget_log`` keeps it in Kafka, tests keep it in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


class LogUnavailableError(Exception):
    """The log does not answer; trying again may help. The text says what was wrong."""


class LogBrokenError(Exception):
    """Records are missing: the log was purged or created again. What is known of it is void."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a record was appended, and when by the broker's clock (epoch ms)."""

    offset: int
    stamp_ms: int


@dataclass(slots=True, unsafe_hash=True)  # not frozen: that takes three times as long to make
class Entry:
    """One record of the log."""

    offset: int
    stamp_ms: int
    value: bytes | None


_PLACES = 4096  # of records in one entry


def place_of(offset: int, index: int) -> int:
    """Where a record stands in the log: an entry may hold several, and each stands behind those before it, as entries do."""
    return offset * _PLACES + index


def offset_of(place: int) -> int:
    """The offset of the entry that holds a record."""
    return place // _PLACES


class BudgetLog(Protocol):
    """One ordered log that all replicas append to and read. Every method ends within a bounded time."""

    @property
    def clock_off_s(self) -> float:
        """By how much this machine's wall clock differs from the brokers', as far as it is certain."""
        ...

    async def open(self) -> None:
        """Connect, or connect again after an error.

        Raises:
            LogUnavailableError: if that is not possible now.
        """
        ...

    async def append(self, value: bytes) -> Appended:
        """Append a record; returns when all replicas of the log have it.

        Raises:
            LogUnavailableError: if that is not known to have happened.
        """
        ...

    async def begin(self) -> int:
        """The first offset that is still there."""
        ...

    async def end(self) -> int:
        """The offset behind the last record; of a leader that is new it may lie too low for a moment."""
        ...

    async def offset_at(self, stamp_ms: int) -> int | None:
        """The first record appended at or after a time of the broker's clock; None if there is none."""
        ...

    def seek(self, offset: int) -> None:
        """Read from here on."""
        ...

    async def read(self) -> list[Entry]:
        """The next records, without a gap; none after about a second without any.

        Raises:
            LogBrokenError: if records are missing.
            LogUnavailableError: for any other reason.
        """
        ...

    def section(self, start: int, stop: int) -> AsyncIterator[list[Entry]]:
        """The records of ``start`` to ``stop - 1`` that are still there, read beside ``read``."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...
