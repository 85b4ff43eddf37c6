"""How long to gather before what costs the same for one as for a hundred: a transaction, an append, a fetch. Pure: ``now`` goes in."""

from __future__ import annotations

import math

_RATE_OVER_S = 1.0


class GatheringPause:
    """Grows with what there is to gather: when little comes, each goes at once.

    Args:
        pause_s: the longest pause.
        few_per_s: up to so many there is none.
        many_per_s: from so many on it is the longest.
    """

    def __init__(self, pause_s: float, few_per_s: float, many_per_s: float) -> None:
        self._pause_s, self._few_per_s, self._many_per_s = pause_s, few_per_s, many_per_s
        self._rate_per_s, self._at = 0.0, float("-inf")

    def after(self, count: int, now: float) -> float:
        """Seconds until the next one, after one for ``count``. ``now``: seconds, never set back."""
        self._rate_per_s = self._rate_per_s * math.exp((self._at - now) / _RATE_OVER_S) + count / _RATE_OVER_S
        self._at = now
        much = (self._rate_per_s - self._few_per_s) / (self._many_per_s - self._few_per_s)
        return self._pause_s * min(1.0, max(0.0, much))
