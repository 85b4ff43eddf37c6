"""Paces the asks of one scope: an aiolimiter at the rate of its limit, which a burst out of an idle window may pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from aiolimiter import AsyncLimiter

_BURST_MIN = 2  # with 1, all time by which a timer is late is lost
_GRAIN_S = 0.01  # a loop's clock counts milliseconds, and a busy loop looks at it later


class ScopePacer:
    """What stands in front of the asks of one scope, in one process.

    The budget log alone keeps the limit; the pacer keeps asks out of it that could not start yet, so that their order is still open
    (an urgent request that comes meanwhile is asked for first), and spreads what leaves.

    Args:
        limit: calls a window.
        window_s: length of the window.
        may_burst: whether little enough was asked for within a window, by anybody, for an ask to leave at once.
    """

    def __init__(self, limit: int, window_s: float, may_burst: Callable[[], bool]) -> None:
        rate_per_s = limit / window_s
        burst = max(_BURST_MIN, rate_per_s * _GRAIN_S)
        self._limiter, self._may_burst = AsyncLimiter(burst, burst / rate_per_s), may_burst

    def has_capacity(self) -> bool:
        """Whether an ask may pass at once."""
        return self._may_burst() or self._limiter.has_capacity()

    async def acquire(self) -> bool:
        """Wait until an ask may pass; False if it passed at once, out of an idle window."""
        if self._may_burst():
            return False
        await self._limiter.acquire()
        return True


def build_pacers(limits: Mapping[str, tuple[int, float]], may_burst: Callable[[str], bool]) -> dict[str, ScopePacer]:
    """One pacer for each scope.

    Args:
        limits: calls and length of the window in seconds, by scope.
        may_burst: of a scope.
    """
    return {scope: ScopePacer(limit, window_s, partial(may_burst, scope)) for scope, (limit, window_s) in limits.items()}
