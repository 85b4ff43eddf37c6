"""How long a lane gathers outcomes before its next transaction. Pure: ``now`` goes in.

A transaction costs the same for one result as for a hundred, and a marker in each partition that it wrote to. When little is published
each result goes out at once; the more there is, the more of it shares a transaction. What counts is what a lane has by itself: a second
replica halves what each of them publishes, not what shares a transaction.
"""

from __future__ import annotations

from processor.bounds.gathering import GatheringPause

_FEW_PER_S, _MANY_PER_S = 25.0, 250.0  # records of a lane: no pause up to the one, all of it from the other on
_NEWEST_PART = 0.2  # of a moving average
_FAST_S = 0.02  # a transaction takes no longer where brokers and processor have time to spare


class PublishPace:
    """Of one lane.

    Args:
        pause_s: the longest pause.
    """

    def __init__(self, pause_s: float) -> None:
        self._pause_s, self._gathering = pause_s, GatheringPause(pause_s, _FEW_PER_S, _MANY_PER_S)
        self._took_s = 0.0  # how long transactions have taken lately

    def published(self, count: int, began: float, now: float) -> float:
        """Seconds until the next transaction, after one that completed ``count`` records.

        Where brokers or processors have no time to spare, a transaction takes long, and about as long is gathered for the next one.
        """
        self._took_s += _NEWEST_PART * (now - began - self._took_s)
        return min(self._pause_s, max(self._gathering.after(count, now), self._took_s - _FAST_S))
