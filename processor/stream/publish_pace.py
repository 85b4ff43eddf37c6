"""How long a lane gathers outcomes before its next transaction. Pure: ``now`` goes in.

A transaction costs the same for one result as for a hundred, and a marker in each partition that it wrote to. When little is published
each result goes out at once; the more there is, the more of it shares a transaction.
"""

from __future__ import annotations

import math

_RATE_OVER_S = 1.0
_FEW_PER_S, _MANY_PER_S = 200.0, 1000.0  # records of all lanes: no pause up to the one, all of it from the other on


class PublishPace:
    """Shared by the lanes of a process.

    Args:
        pause_s: the longest pause.
    """

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._rate_per_s, self._at = 0.0, float("-inf")

    def published(self, count: int, now: float) -> float:
        """Seconds until a lane's next transaction, after one that completed ``count`` records."""
        self._rate_per_s = self._rate_per_s * math.exp((self._at - now) / _RATE_OVER_S) + count / _RATE_OVER_S
        self._at = now
        much = (self._rate_per_s - _FEW_PER_S) / (_MANY_PER_S - _FEW_PER_S)
        return self._pause_s * min(1.0, max(0.0, much))
