"""What wakes requests before their time: events, and releases by people; and the few that came before somebody could be woken. Pure.

A hint is never needed: whoever misses one looks by itself later. So memory is short and bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from processor.contract.headers import HeaderError, peek_session, read_hop
from processor.contract.records import Hint, Record
from processor.stream.cancels import Cancels
from processor.stream.releases import Releases

_KEPT_MAX = 10_000
KEPT_MS = 15 * 60_000
_POLL_MS = 60_000  # a poll and its record take no longer, as a rule


class Wakeups:
    """Wake-ups of the last minutes that ``wakes`` finds worth waking somebody for. ``listeners`` are told of each new one."""

    def __init__(self, wakes: Callable[[Hint], bool]) -> None:
        self.listeners: set[Callable[[Hint], None]] = set()
        self.releases, self.cancels = Releases(), Cancels()
        self._wakes = wakes
        self._kept: OrderedDict[str, Hint] = OrderedDict()  # by session, oldest first
        self._taken: set[str] = set()  # sessions whose event has been worked on here

    def __len__(self) -> int:
        return len(self._kept)

    def note_event(self, hint: Hint) -> None:
        """An event was read."""
        if not self._wakes(hint):
            return
        self._kept.pop(hint.session_id, None)
        self._kept[hint.session_id] = hint
        self._taken.discard(hint.session_id)
        while len(self._kept) > _KEPT_MAX or next(iter(self._kept.values())).at_ms < hint.at_ms - KEPT_MS:
            self._taken.discard(self._kept.popitem(last=False)[0])
        for listener in self.listeners:
            listener(hint)

    def of(self, record: Record) -> Hint | None:
        """What has happened that a waiting record does not know of.

        A record knows of nothing that came after the answer it was written for: the first one of a session was written for the answer
        of its create, so every event since its request arrived is news. A later one was written for a poll, a moment before: an event
        of the last ``_POLL_MS`` may have been too late for that answer, or in it; it says nothing but that the session is to be polled.
        """
        session_id = peek_session(record)
        hint = self._kept.get(session_id) if session_id is not None else None
        if hint is None or hint.at_ms >= record.timestamp_ms:
            return hint
        if hint.session_id in self._taken:
            return None  # also if the poll that it led to has failed: that one is made again in its own time
        try:
            hop = read_hop(record)
        except HeaderError:
            return None
        if hop.polls == 0:
            return hint if hint.at_ms >= hop.first_ms else None
        return Hint(hint.session_id, hint.at_ms, {}) if hint.at_ms >= record.timestamp_ms - _POLL_MS else None

    def take(self, record: Record) -> Hint | None:
        """The same, for a record that is worked on now: whatever is written for it next knows of this event."""
        hint = self.of(record)
        if hint is not None:
            self._taken.add(hint.session_id)
        return hint

    def wake(self, record: Record, now_ms: int) -> bool:
        """Whether a record that is not due need not wait."""
        return self.of(record) is not None or self.releases.names(record.source, now_ms) or self.cancels.of(record, now_ms)
