"""How long the calls of this process took lately, by operation, from its own histogram. Pure; times are epoch ms."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SPAN_MS = 15 * 60 * 1000
_SAMPLES_MAX = 240  # one a survey
_HALF, _MOST = 0.5, 0.95

Counts = Mapping[str, Sequence[int]]  # operation -> calls of each bucket since the start


@dataclass(frozen=True, slots=True)
class CallLatency:
    """The calls of one operation. Times are estimates: even within a bucket, and no more than the highest bound."""

    operation: str
    count: int
    median_s: float
    p95_s: float


class LatencyHistory:
    """Samples of the counts, the oldest first.

    Args:
        bounds_s: upper bounds of the buckets, without the last one that has none.
    """

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = tuple(bounds_s)
        self._samples: deque[tuple[int, Counts]] = deque(maxlen=_SAMPLES_MAX)

    def add(self, at_ms: int, counts: Counts) -> None:
        """Take a sample. A clock that was set back starts again."""
        if self._samples and at_ms < self._samples[-1][0]:
            self._samples.clear()
        self._samples.append((at_ms, counts))
        while self._samples[0][0] < at_ms - SPAN_MS:
            self._samples.popleft()

    def latencies(self) -> Mapping[str, CallLatency]:
        """Of the calls between the oldest and the newest sample, by operation; none for one without calls."""
        if not self._samples:
            return {}
        (_, before), (_, now) = self._samples[0], self._samples[-1]
        lately = {name: [n - m for n, m in zip(counts, before.get(name, [0] * len(counts)), strict=True)] for name, counts in now.items()}
        return {
            name: CallLatency(name, sum(counts), quantile_s(self._bounds_s, counts, _HALF), quantile_s(self._bounds_s, counts, _MOST))
            for name, counts in lately.items()
            if sum(counts)
        }


def quantile_s(bounds_s: Sequence[float], counts: Sequence[int], share: float) -> float:
    """Within what time this share of the calls was answered; as Prometheus' ``histogram_quantile`` estimates it.

    >>> quantile_s([1.0, 2.0], [10, 10, 0], 0.75)
    1.5
    """
    wanted, below, begin_s = share * sum(counts), 0, 0.0
    for bound_s, count in zip(bounds_s, counts, strict=False):
        if count and below + count >= wanted:
            return begin_s + (bound_s - begin_s) * (wanted - below) / count
        below, begin_s = below + count, bound_s
    return begin_s
