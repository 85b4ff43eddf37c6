"""Charts as SVG, drawn by the server: no script, no inline style. Pure. Labels stand beside them in HTML, so that they never shrink."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from processor.contract.amounts import count, number
from processor.contract.records import Status
from processor.monitoring.history import SPAN_MS, Sample
from processor.repair.recent_result import FAILED, REFUSED, MinuteOfResults

WIDTH, HEIGHT = 900, 100
_GAP_MS = 10_000  # a longer silence is drawn as one
_ROOM = 1.08  # above the highest value
OUTCOMES = (  # from below
    ("outcome-failed", FAILED),
    ("outcome-refused", REFUSED),
    ("outcome-succeeded", (Status.SUCCEEDED,)),
)

_SVG = Markup(
    '<svg class="chart" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{label}">{grid}{drawn}</svg>'
)
_AMOUNT = Markup(
    '<path class="chart-area" d="{area}"/><path class="chart-line" d="{line}" fill="none" vector-effect="non-scaling-stroke"/>'
)
_LIMIT = Markup('<path class="chart-limit" d="{limit}" fill="none" vector-effect="non-scaling-stroke"/>')
_PART = Markup('<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>')
_GRID = Markup('<path class="chart-grid" d="{d}" fill="none" vector-effect="non-scaling-stroke"/>')
_THIRDS = _GRID.format(d=" ".join(f"M{WIDTH * i // 3},0V{HEIGHT}" for i in (1, 2)))
_BAR = Markup(
    '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
    '<rect class="bar-room" x="0" y="0" width="100" height="10"/><rect class="bar-fill" x="0" y="0" width="{width}" height="10"/></svg>'
)


def usage_chart(samples: Sequence[Sample], now_ms: int, limit: int) -> Markup:
    """Used calls against the limit over the last 15 minutes.

    Args:
        samples: of one scope, oldest first.
        now_ms: the right edge.
        limit: at present; the scale reaches at least to it.
    """
    begin_ms = now_ms - SPAN_MS
    shown = [s for s in samples if begin_ms <= s.at_ms <= now_ms]
    top = top_of(shown, limit)
    used = [[(_x(s.at_ms, begin_ms), _y(s.used, top)) for s in run] for run in _runs(shown)]
    limits = [[(_x(s.at_ms, begin_ms), _y(s.limit, top)) for s in run] for run in _runs(shown)]
    amount = _AMOUNT.format(area=" ".join(map(_area, used)), line=" ".join(map(_path, used)))
    return _chart(_label(shown, limit), amount + _LIMIT.format(limit=" ".join(map(_stairs, limits))))


def amount_chart(points: Sequence[tuple[int, float]], now_ms: int, span_ms: int, label: str) -> Markup:
    """An amount over time.

    Args:
        points: epoch ms and value, the oldest first.
        now_ms: the right edge.
        span_ms: how far back the left edge is.
        label: what it shows, with its figures, for those who cannot see it.
    """
    begin_ms = now_ms - span_ms
    shown = [point for point in points if begin_ms <= point[0] <= now_ms]
    top = max([1.0, *(value for _, value in shown)]) * _ROOM
    drawn = [(WIDTH * (at_ms - begin_ms) / span_ms, _y(value, top)) for at_ms, value in shown]
    area, line = (_area(drawn), _path(drawn)) if drawn else ("", "")
    return _chart(label, _AMOUNT.format(area=area, line=line))


def outcome_chart(minutes: Sequence[MinuteOfResults]) -> Markup:
    """Results of each minute as bars, by how they ended: what failed stands below, where it is seen first."""
    top = max([1, *(minute.total for minute in minutes)]) * _ROOM
    step = WIDTH / max(1, len(minutes))
    parts = []
    for place, minute in enumerate(minutes):
        base = 0
        for kind, statuses in OUTCOMES:
            results = sum(minute.counts.get(status, 0) for status in statuses)
            if results:
                y, height = _y(base + results, top), HEIGHT * results / top
                parts.append(_PART.format(kind=kind, x=place * step + step * 0.12, y=y, width=step * 0.76, height=height))
            base += results
    total = sum(minute.total for minute in minutes)
    failed = sum(minute.counts.get(status, 0) for minute in minutes for status in FAILED)
    ended = f"{number(total)}, of which {number(failed)} failed, expired or are in doubt"
    label = f"Final results of the last {count(len(minutes), 'minute')}: {ended}."
    return _chart(label, Markup("").join(parts))


def _chart(label: str, drawn: Markup) -> Markup:
    return _SVG.format(width=WIDTH, height=HEIGHT, label=label, grid=_THIRDS, drawn=drawn)


def top_of(samples: Sequence[Sample], limit: int) -> float:
    """The highest value of the scale."""
    return max([1, limit, *(max(s.used, s.limit) for s in samples)]) * _ROOM


def bar(value: float, whole: float) -> Markup:
    """A bar of a list; something is never drawn as nothing."""
    share = 0.0 if whole <= 0 or value <= 0 else min(100.0, max(1.5, 100.0 * value / whole))
    return _BAR.format(width=f"{share:.4g}")


def _label(samples: Sequence[Sample], limit: int) -> str:
    if not samples:
        return "No samples of the last 15 minutes yet."
    most = max(s.used for s in samples)
    return f"Calls used in the last 15 minutes: now {number(samples[-1].used)} of {number(limit)}, at most {number(most)}."


def _runs(samples: Sequence[Sample]) -> list[list[Sample]]:
    runs: list[list[Sample]] = []
    for sample in samples:
        if not runs or sample.at_ms - runs[-1][-1].at_ms > _GAP_MS:
            runs.append([])
        runs[-1].append(sample)
    return runs


def _x(at_ms: int, begin_ms: int) -> float:
    return WIDTH * (at_ms - begin_ms) / SPAN_MS


def _y(value: float, top: float) -> float:
    return HEIGHT * (1 - max(0.0, value) / top)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _area(points: Sequence[tuple[float, float]]) -> str:
    return f"{_path(points)}V{HEIGHT}H{points[0][0]:.1f}Z"


def _stairs(points: Sequence[tuple[float, float]]) -> str:
    """Only the steps: a limit stands still for hours."""
    x, y = points[0]
    parts = [f"M{x:.1f},{y:.1f}"]
    for next_x, next_y in points[1:]:
        if next_y != y:
            parts.append(f"H{next_x:.1f}V{next_y:.1f}")
            y = next_y
    return "".join([*parts, f"H{points[-1][0]:.1f}"])
