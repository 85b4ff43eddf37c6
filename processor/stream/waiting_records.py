"""Records of one lane that are not to start yet: by their due time, and by what may wake them before. Pure; the lane bounds how many."""

from __future__ import annotations

from collections.abc import Iterable

from processor.contract.headers import peek_session
from processor.contract.records import Record
from processor.retry.delay_queue import DelayQueue
from processor.stream.cancels import peek_request_id


class WaitingRecords:
    """A delay queue whose records are also known by the session that they follow, and by their request."""

    def __init__(self) -> None:
        self._queue: DelayQueue[Record] = DelayQueue()
        self._by_name: dict[str, list[int]] = {}  # offsets, by session and by request
        self._names: dict[int, tuple[str, ...]] = {}  # the reverse

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def names_count(self) -> int:
        """How many sessions and requests are known."""
        return len(self._by_name)

    @property
    def next_due_ms(self) -> int | None:
        """The earliest due time, epoch ms; None if nothing waits."""
        return self._queue.next_due_ms

    def push(self, due_ms: int, record: Record) -> None:
        """Let a record wait until ``due_ms``."""
        offset = record.source.offset
        self._queue.push(due_ms, offset, record)
        named = (("session", peek_session(record)), ("request", peek_request_id(record)))
        self._names[offset] = names = tuple(f"{what} {name}" for what, name in named if name is not None)
        for name in names:
            self._by_name.setdefault(name, []).append(offset)

    def remove(self, offsets: Iterable[int]) -> list[Record]:
        """Those of these records that wait, before their time, in the given order."""
        found = [record for offset in offsets if (record := self._queue.remove(offset)) is not None]
        self._forget(found)
        return found

    def remove_of_session(self, session_id: str) -> list[Record]:
        """The records that follow a session."""
        return self.remove(list(self._by_name.get(f"session {session_id}", ())))

    def remove_of_request(self, request_id: str) -> list[Record]:
        """The records of a request."""
        return self.remove(list(self._by_name.get(f"request {request_id}", ())))

    def pop_due(self, now_ms: int, count_max: int) -> list[Record]:
        """At most ``count_max`` records that are due at ``now_ms``, earliest first."""
        found = self._queue.pop_due(now_ms, count_max)
        self._forget(found)
        return found

    def clear(self) -> None:
        """Forget everything; the records are still in Kafka."""
        self._queue.clear()
        self._by_name.clear()
        self._names.clear()

    def _forget(self, records: Iterable[Record]) -> None:
        for record in records:
            offset = record.source.offset
            for name in self._names.pop(offset, ()):
                left = [other for other in self._by_name.pop(name, ()) if other != offset]
                if left:
                    self._by_name[name] = left
