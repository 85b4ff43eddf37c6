"""What wakes requests before their time: events, and releases by people; and the few that came before somebody could be woken. Pure.

A hint is never needed: whoever misses one looks by itself later. So memory is short and bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from processor.contract.headers import peek_session
from processor.contract.records import Hint, Record
from processor.stream.releases import Releases

_KEPT_MAX = 10_000
KEPT_MS = 15 * 60_000


class Wakeups:
    """Wake-ups of the last minutes that ``wakes`` finds worth waking somebody for. ``listeners`` are told of each new one."""

    def __init__(self, wakes: Callable[[Hint], bool]) -> None:
        self.listeners: set[Callable[[Hint], None]] = set()
        self.releases = Releases()
        self._wakes = wakes
        self._kept: OrderedDict[str, Hint] = OrderedDict()  # by session, oldest first

    def __len__(self) -> int:
        return len(self._kept)

    def note_event(self, hint: Hint) -> None:
        """An event was read."""
        if not self._wakes(hint):
            return
        self._kept.pop(hint.session_id, None)
        self._kept[hint.session_id] = hint
        while len(self._kept) > _KEPT_MAX or next(iter(self._kept.values())).at_ms < hint.at_ms - KEPT_MS:
            self._kept.popitem(last=False)
        for listener in self.listeners:
            listener(hint)

    def of(self, record: Record) -> Hint | None:
        """What has happened since the last look of a waiting record, which is when it was written."""
        session_id = peek_session(record)
        hint = self._kept.get(session_id) if session_id is not None else None
        return hint if hint is not None and hint.at_ms >= record.timestamp_ms else None

    def wake(self, record: Record, now_ms: int) -> bool:
        """Whether a record that is not due need not wait."""
        return self.of(record) is not None or self.releases.names(record.source, now_ms)
