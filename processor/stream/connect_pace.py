"""How often a client tries to reach somebody who does not answer. Pure.

aiokafka tries again with each fetch, heartbeat and question; a processor has a client for each of its partitions, so that a broker that is
away was tried hundreds of times a second. Kafka's own client waits as this one does, up to a second (KIP-144).
"""

from __future__ import annotations

from collections.abc import Hashable

_FIRST_S, _MAX_S = 0.1, 0.5
_DISTURBED_S = 1.0


class ConnectPace:
    """Who could not be reached, and how long each is left alone. Times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self._rests: dict[Hashable, tuple[float, float]] = {}  # how long, and until when

    def rest_s(self, whom: Hashable, now_s: float) -> float:
        """For so long nobody is to try; 0: at once."""
        return max(0.0, self._rests[whom][1] - now_s) if whom in self._rests else 0.0

    def tried(self, whom: Hashable, now_s: float, *, reached: bool) -> None:
        """Each failure after another doubles the rest."""
        if reached:
            self._rests.pop(whom, None)
            return
        before_s = self._rests.get(whom, (0.0, 0.0))[0]
        rest_s = min(max(2 * before_s, _FIRST_S), _MAX_S)
        self._rests[whom] = rest_s, now_s + rest_s

    def is_disturbed(self, now_s: float) -> bool:
        """Whether somebody could not be reached within the last second or so."""
        return any(now_s < until_s + _DISTURBED_S for _, until_s in self._rests.values())
