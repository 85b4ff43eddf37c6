"""What a lane of a delay topic does not start yet: until its due time, a hint of its session, or room in its line."""

from __future__ import annotations

from collections.abc import Callable

from processor.budget.permits import ParkedWait
from processor.contract.headers import parked_until_ms, peek_due_ms, was_sent_away
from processor.contract.records import Record
from processor.contract.times import is_past
from processor.stream.handler import Handler
from processor.stream.waiting_records import WaitingRecords
from processor.stream.wakeups import Wakeups

_LOOK_AGAIN_MS = 60_000  # at what is due and has no room in its line


class HeldRecords:
    """Decides for each record whether it waits; the lane bounds how many, and starts them.

    Args:
        handler: gives a record that was sent away a place in its line.
        hints: what wakes a record before its due time.
        start: called with the offset of a record whose line has room.

    Attributes:
        waiting: by due time and by what may wake them before.
    """

    def __init__(self, handler: Handler, hints: Wakeups, start: Callable[[int], None]) -> None:
        self._handler, self._hints, self._start = handler, hints, start
        self.waiting = WaitingRecords()
        self._parked: dict[int, ParkedWait] = {}  # of those that wait and of those that are ready, by offset: who waits for room in a line

    def hold(self, record: Record, now_ms: int) -> bool:
        """Whether a record waits, which it does here then; else it starts now."""
        due_ms = self._waits_until(record, now_ms)
        if due_ms is not None:
            self.waiting.push(due_ms, record)
        return due_ms is not None

    def pop_due(self, now_ms: int, count_max: int) -> list[Record]:
        """Of at most ``count_max`` records that are due those that may start; the others wait on."""
        return [record for record in self.waiting.pop_due(now_ms, count_max) if not self._must_wait(record, now_ms)]

    def take_parked(self, offset: int) -> ParkedWait | None:
        """The place in its line of a record that starts."""
        return self._parked.pop(offset, None)

    def leave_lines(self) -> None:
        """Give up every place in a line."""
        for parked in self._parked.values():
            parked.leave()
        self._parked.clear()

    def _waits_until(self, record: Record, now_ms: int) -> int | None:
        """When to look at a record again, epoch ms; None if it starts now."""
        offset, sent_away = record.source.offset, was_sent_away(record)
        due_ms = (peek_due_ms(record) or now_ms) if sent_away else parked_until_ms(record, now_ms)
        if due_ms is None or self._hints.wake(record, now_ms):
            return None
        if sent_away:
            parked = self._handler.park(record, lambda: self._start(offset))
            if parked is None:
                return parked_until_ms(record, now_ms)
            self._parked[offset] = parked
            due_ms = due_ms if parked.place.deadline_ms is None else min(due_ms, parked.place.deadline_ms)
        return due_ms

    def _must_wait(self, record: Record, now_ms: int) -> bool:
        """Whether a record that is due waits on, because its line has no room for it: it would only be written once more."""
        parked = self._parked.get(record.source.offset)
        if parked is None:
            return False
        deadline_ms = parked.place.deadline_ms
        if is_past(deadline_ms, now_ms) or parked.may_start():
            return False
        again_ms = now_ms + _LOOK_AGAIN_MS
        self.waiting.push(again_ms if deadline_ms is None else min(again_ms, deadline_ms), record)
        return True
