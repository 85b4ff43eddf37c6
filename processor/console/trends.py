"""The last hour of what is left to do, as charts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from processor.console.chart import amount_chart
from processor.contract.amounts import number
from processor.monitoring.history import BACKLOG_SPAN_MS, BacklogSample


@dataclass(frozen=True, slots=True)
class Trend:
    """One chart."""

    title: str
    link: str
    chart: Markup
    now: int | None  # None: there is no sample yet
    most: int


def trends(samples: Sequence[BacklogSample], now_ms: int) -> tuple[Trend, ...]:
    """Unfinished records, what waits in the delay topics, and open dead letters."""
    letters = [(s.at_ms, s.dead_letters) for s in samples if s.dead_letters is not None]
    return (
        _trend("Unfinished", "#h-partitions", [(s.at_ms, s.unfinished) for s in samples], now_ms),
        _trend("Of them in the delay topics", "/waiting", [(s.at_ms, s.waiting) for s in samples], now_ms),
        _trend("Open dead letters", "/dead-letters", letters, now_ms),
    )


def _trend(title: str, link: str, points: Sequence[tuple[int, int]], now_ms: int) -> Trend:
    most = max((value for _, value in points), default=0)
    now = points[-1][1] if points else None
    label = f"{title} in the last hour: " + ("no samples yet." if now is None else f"now {number(now)}, at most {number(most)}.")
    return Trend(title, link, amount_chart(points, now_ms, BACKLOG_SPAN_MS, label), now, most)
