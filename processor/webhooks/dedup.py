"""Which events were written lately. Pure, bounded, and lost with the process: readers of the events topic must bear copies."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

_NAMES_MAX = 100_000  # two for each event; Didit sends at most some hundred a minute
_KEEP_S = 3600.0  # Didit's last attempt comes about five minutes after its first one


class EventDedup:
    """Names of what happened, each with the time when it was written."""

    def __init__(self, *, names_max: int = _NAMES_MAX, keep_s: float = _KEEP_S) -> None:
        self._names_max, self._keep_s = names_max, keep_s
        self._written: OrderedDict[str, float] = OrderedDict()

    def knows(self, names: Iterable[str], now_s: float) -> bool:
        """Whether one of them was written less than ``keep_s`` ago."""
        return any(now_s - self._written[name] < self._keep_s for name in names if name in self._written)

    def remember(self, names: Iterable[str], now_s: float) -> None:
        """They are written; the oldest ones are forgotten if there are too many."""
        for name in names:
            self._written[name] = now_s
            self._written.move_to_end(name)
        while len(self._written) > self._names_max:
            self._written.popitem(last=False)

    def __len__(self) -> int:
        return len(self._written)
