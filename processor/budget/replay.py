"""Reads back, for a lane that is being restored, what the memory no longer holds."""

from __future__ import annotations

from collections.abc import Callable

from processor.budget.call_journal import Call, Journal
from processor.budget.log import BudgetLog
from processor.budget.log_records import Asked, Begun, Ended, decode


async def recall(
    budget_log: BudgetLog, journal: Journal, lane: str, since_offset: int, read_to: int, unfinished: Callable[[int], bool]
) -> tuple[bool, dict[int, int]]:
    """Make the journal know every call of a lane from an offset on.

    Returns whether the log still reaches back so far, and where the unfinished records were first asked for.

    Args:
        budget_log: the log.
        journal: which remembers from its ``floor`` on, and goes on being fed.
        lane: ``topic[partition]``.
        since_offset: what the lane's last commit says.
        unfinished: which records of the lane are not finished, by offset.
        read_to: the log is read up to here by whoever feeds the journal.

    Raises:
        LogUnavailableError: if the log cannot be read.
    """
    begin = await budget_log.begin()
    reaches = begin <= since_offset <= read_to
    recollection = journal.recollect(lane, since_offset if since_offset <= read_to else 0, unfinished)
    start = max(begin, recollection.since_offset)
    if start >= journal.floor:
        return reaches, recollection.first_calls()
    journal.recalling.add(lane)
    try:
        async for entries in budget_log.section(start, read_to):
            for entry in entries:
                record = decode(entry.value)
                if isinstance(record, Asked) and record.mark is not None:
                    recollection.take(record.id, Call.asked(record, record.mark, entry.offset, float("-inf"), entry.stamp_ms))
                elif isinstance(record, Begun):
                    recollection.begun(record.id, entry.offset, recalling=False)
                elif isinstance(record, Ended):
                    recollection.ended(record, recalling=False)
    finally:
        journal.recalling.discard(lane)
        recollection.recalled()
    return reaches, recollection.first_calls()
