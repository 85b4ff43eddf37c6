"""How long a try to sign in waits. Pure: ``now`` goes in, seconds of any monotonic clock.

Nobody is refused for what a stranger has tried, as both may come from one ingress: a right token gets in, it only waits. Each browser has
a few wrong tries at once, and all together some more; beyond them every try waits, and each wrong one makes the wait longer. As only a few
may wait at a time, guesses are a handful a second, however many connections they come on.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass

FIRST_WAIT_S, WAIT_S_MAX = 0.5, 4.0
_BURST_EACH, _BURST_ALL = 5.0, 20.0
_REFILL_A_SECOND = 1.0
_WAITING_EACH_MAX, _WAITING_ALL_MAX = 4, 20
_KEYS_MAX = 256


@dataclass(frozen=True, slots=True)
class _Left:
    tries: float
    at: float


class SignInTries:
    """Wrong tries of each session that signs in, and of all together. Remembers the last ones only."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, _Left] = OrderedDict()
        self._all_left = _Left(_BURST_ALL, 0.0)
        self._waiting: Counter[str] = Counter()

    def begin(self, key: str, now: float) -> float | None:
        """How long a try waits before it is judged; if that is not 0, call ``end_wait`` then. None: too many wait, it is not judged."""
        wait_s = max(_wait_s(self._now_left(key, now)), _wait_s(_refilled(self._all_left, _BURST_ALL, now)))
        if not wait_s:
            return wait_s
        if self._waiting[key] >= _WAITING_EACH_MAX or self._waiting.total() >= _WAITING_ALL_MAX:
            return None
        self._waiting[key] += 1
        return wait_s

    def end_wait(self, key: str) -> None:
        """It has waited, or was given up."""
        self._waiting -= Counter([key])  # keeps no zeros

    def failed(self, key: str, now: float) -> None:
        """Count one that was wrong."""
        self._left[key] = _Left(self._now_left(key, now) - 1.0, now)
        self._left.move_to_end(key)
        while len(self._left) > _KEYS_MAX:
            self._left.popitem(last=False)
        self._all_left = _Left(_refilled(self._all_left, _BURST_ALL, now) - 1.0, now)

    def _now_left(self, key: str, now: float) -> float:
        return _refilled(self._left.get(key, _Left(_BURST_EACH, now)), _BURST_EACH, now)


def _refilled(left: _Left, burst: float, now: float) -> float:
    return min(burst, left.tries + (now - left.at) * _REFILL_A_SECOND)


def _wait_s(tries_left: float) -> float:
    if tries_left >= 1.0:
        return 0.0
    return min(WAIT_S_MAX, math.ldexp(FIRST_WAIT_S, min(10, -math.floor(tries_left))))
