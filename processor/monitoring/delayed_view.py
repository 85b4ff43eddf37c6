"""What waits, in numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from processor.monitoring.model import DelayedView
from processor.repair.delayed import FOLLOWING
from processor.repair.model import DelayedRecord

DUE, LATER = "due", "later"
_WITHIN_MS = ((DUE, 0), ("1 min", 60_000), ("10 min", 600_000), ("1 h", 3_600_000), ("6 h", 21_600_000))


def delayed_view(records: Iterable[DelayedRecord], now_ms: int, *, complete: bool = True) -> DelayedView:
    """How many wait, why and until when.

    Each is counted in the first bucket of ``by_due`` that it fits: those due, those due within a minute, and so on.
    """
    reasons: Counter[str] = Counter()
    buckets = {name: 0 for name, _ in _WITHIN_MS} | {LATER: 0}
    oldest: int | None = None
    following: int | None = None
    for record in records:
        reasons[record.reason or FOLLOWING] += 1
        buckets[next((name for name, within_ms in _WITHIN_MS if record.due_ms - now_ms <= within_ms), LATER)] += 1
        if record.due_ms <= now_ms:
            oldest = record.due_ms if oldest is None else min(oldest, record.due_ms)
        else:
            following = record.due_ms if following is None else min(following, record.due_ms)
    return DelayedView(
        count=reasons.total(),
        due_now=buckets[DUE],
        oldest_due_ms=oldest,
        next_due_ms=following,
        by_reason=dict(reasons.most_common()),
        by_due=tuple(buckets.items()),
        complete=complete,
    )
