"""How long a consumer waits before its next fetch. Pure: ``now`` goes in.

A broker answers a fetch as soon as there is a byte, so records that come one by one cost a fetch each, which names every partition of the
assignment: of brokers and processor together it is the largest part of a result at some hundreds a second. What comes within some
milliseconds costs one instead, and is worked on and answered together.
"""

from __future__ import annotations

from processor.bounds.gathering import GatheringPause

FETCH_PAUSE_S = 0.025
"""The longest time from the beginning of one fetch to that of the next: a record is had so much later at most."""

_FEW_PER_S, _MANY_PER_S = 100.0, 250.0  # records: no pause up to the one, all of it from the other on


class FetchPace:
    """Of one consumer, over all its brokers. Where little comes, and for the first records after a rest, there is no wait."""

    def __init__(self) -> None:
        self._gathering = GatheringPause(FETCH_PAUSE_S, _FEW_PER_S, _MANY_PER_S)
        self._began, self._pause_s = float("-inf"), 0.0

    def began(self, now: float) -> None:
        """A fetch was sent. ``now``: seconds, never set back."""
        self._began = now

    def taken(self, count: int, now: float) -> None:
        """So many records were taken from what was fetched."""
        self._pause_s = self._gathering.after(count, now)

    def wait_s(self, now: float) -> float:
        """Seconds until the next fetch may be sent; 0 if it may be now."""
        return max(0.0, self._began + self._pause_s - now)
