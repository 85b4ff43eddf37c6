"""What waits in the delay topics, from what was delivered and what the group's commits say is done. Pure.

``DelayedIndex`` in ``repair/delayed_index.py`` feeds it from Kafka.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from processor.contract.codes import Code, ErrorCode
from processor.contract.decode import Rejected, decode
from processor.contract.headers import peek_due_ms
from processor.contract.records import Record
from processor.repair.model import DelayedRecord
from processor.stream.offsets import Finished

FOLLOWING = str(ErrorCode.FOLLOWING)  # stands for the reason of one that follows a session: nothing went wrong
_SECOND_MS = 1000

RecordPosition = tuple[str, int]  # topic, partition


@dataclass(frozen=True, slots=True)
class DelayedSelection:
    """Which waiting records; what is empty or None does not narrow."""

    reasons: frozenset[str] = frozenset()  # error codes, or ``following``
    operations: frozenset[str] = frozenset()
    request_ids: frozenset[str] = frozenset()
    due_within_s: float | None = None  # due by now, or within that time
    count_max: int | None = None  # those that are due first
    positions: frozenset[tuple[str, int, int]] = frozenset()  # topic, partition, offset

    @property
    def narrows(self) -> bool:
        """Whether anything is asked for but a number."""
        return bool(self.reasons or self.operations or self.request_ids or self.positions or self.due_within_s is not None)


@dataclass(frozen=True, slots=True)
class DelayedProgress:
    """What has become of released records so far."""

    named: int
    done: int  # taken up and done with: a result is out, or another record waits in its place
    delayed_again: Mapping[str, int] = field(default_factory=dict)  # of the done ones, those that wait again, by reason

    @property
    def left(self) -> int:
        """Those that still wait or are at work."""
        return self.named - self.done


class DelayedRecords:
    """The entries, bounded; whoever feeds it stops reading when there is no room.

    Args:
        count_max: of all partitions.
        each_max: of one partition; those that come behind are not taken.
        reason: of all of them, instead of the one that each names itself.
    """

    def __init__(self, count_max: int, each_max: int | None = None, reason: Code | None = None) -> None:
        self._count_max, self._each_max, self._reason = count_max, each_max or count_max, reason
        self._entries: dict[RecordPosition, dict[int, DelayedRecord]] = {}

    def __len__(self) -> int:
        return sum(len(found) for found in self._entries.values())

    def __iter__(self) -> Iterator[DelayedRecord]:
        return (entry for found in self._entries.values() for entry in found.values())

    def holds(self, position: RecordPosition, offset: int) -> bool:
        """Whether a record waits, as far as is known."""
        return offset in self._entries.get(position, ())

    def count_of(self, position: RecordPosition) -> int:
        """How many wait of one partition."""
        return len(self._entries.get(position, ()))

    @property
    def room(self) -> int:
        """How many more are taken."""
        return max(0, self._count_max - len(self))

    def is_full(self, position: RecordPosition) -> bool:
        """Whether no more of a partition is taken."""
        return len(self._entries.get(position, ())) >= self._each_max

    def deliver(self, records: Iterable[Record], done: Finished | None) -> None:
        """Take records of one partition that are not done."""
        for record in records:
            if done is None or not done.holds(record.source.offset):
                position = (record.source.topic, record.source.partition)
                if self.is_full(position):
                    return
                found = delayed_record(record)
                self._entries.setdefault(position, {})[record.source.offset] = (
                    found if self._reason is None else replace(found, reason=_shared(self._reason))
                )

    def settle(self, done: Mapping[RecordPosition, Finished]) -> None:
        """Drop what has become done."""
        for position, said in done.items():
            found = self._entries.get(position, {})
            for offset in [offset for offset in found if said.holds(offset)]:
                del found[offset]

    def forget(self, position: RecordPosition) -> None:
        """A partition begins again."""
        self._entries.pop(position, None)


def delayed_record(record: Record) -> DelayedRecord:
    """What is kept of a record. One that breaks the contract is named by what can be read; a lane ends it at once."""
    found, at = decode(record), record.source
    hop = found.hop
    request_id, operation, reason = (
        (found.request_id, found.operation, found.error.code)
        if isinstance(found, Rejected)
        else (found.request.request_id, found.request.operation, hop.last_error)
    )
    due_ms = peek_due_ms(record)
    return DelayedRecord(
        at.topic,
        at.partition,
        at.offset,
        max(0, record.timestamp_ms) if due_ms is None else due_ms,
        request_id,
        _shared(operation),
        _shared(reason),
        hop.attempt,
        hop.replay,
        hop.first,
        hop.session_id is not None,
    )


def _shared(text: str | None) -> str | None:
    return None if text is None else sys.intern(str(text))  # a hundred thousand entries have a few operations and codes


def select(records: Iterable[DelayedRecord], wanted: DelayedSelection, now_ms: int) -> list[DelayedRecord]:
    """Those that are asked for, the first due first."""
    until_ms = None if wanted.due_within_s is None else now_ms + int(wanted.due_within_s * _SECOND_MS)
    found = [
        r
        for r in records
        if (not wanted.reasons or (r.reason or FOLLOWING) in wanted.reasons)
        and (not wanted.operations or r.operation in wanted.operations)
        and (not wanted.request_ids or r.request_id in wanted.request_ids)
        and (not wanted.positions or (r.topic, r.partition, r.offset) in wanted.positions)
        and (until_ms is None or r.due_ms <= until_ms)
    ]
    found.sort(key=lambda r: (r.due_ms, r.topic, r.partition, r.offset))
    return found[: wanted.count_max]


def progress_of(named: Sequence[DelayedRecord], *waiting: DelayedRecords) -> DelayedProgress:
    """What has become of released records, by what waits now."""
    left = [r for r in named if any(records.holds((r.topic, r.partition), r.offset) for records in waiting)]
    places = {(r.topic, r.partition, r.offset) for r in named}
    gone = {r.first for r in named} - {r.first for r in left}
    others = (r for records in waiting for r in records if (r.topic, r.partition, r.offset) not in places)
    again = Counter(r.reason or FOLLOWING for r in others if r.first in gone)
    return DelayedProgress(len(named), len(named) - len(left), dict(again.most_common()))
