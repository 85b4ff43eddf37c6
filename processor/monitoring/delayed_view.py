"""What waits, in numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

from processor.monitoring.model import DelayedView, PartitionView
from processor.repair.delayed import FOLLOWING, DelayedRecords
from processor.repair.model import DelayedRecord

DUE, LATER = "due", "later"
_WITHIN_MS = ((DUE, 0), ("1 min", 60_000), ("10 min", 600_000), ("1 h", 3_600_000), ("6 h", 21_600_000))


def without_markers(
    partitions: Iterable[PartitionView], waiting: DelayedRecords, delay_topics: Collection[str]
) -> tuple[PartitionView, ...]:
    """The partitions; those of delay topics with no more unfinished records than wait there, as markers of transactions take offsets.

    Args:
        partitions: as the brokers' offsets tell of them.
        waiting: all that waits in the delay topics, read later than ``partitions``.
        delay_topics: their names.
    """
    return tuple(
        replace(p, unfinished=min(p.unfinished, waiting.count_of((p.topic, p.partition)))) if p.topic in delay_topics else p
        for p in partitions
    )


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
