"""Reads back, for a lane that is being restored, what the memory no longer holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from processor.bounds.loop_turns import LoopTurns
from processor.budget.call_index import JournaledCall
from processor.budget.call_journal import CallJournal, ReplayedCalls
from processor.budget.log import BudgetLog
from processor.budget.log_reader import TURN_S, in_turns
from processor.budget.log_records import Asked, Begun, Ended, LaneDone, LogRecord, decode_placed


async def replay_lane(
    budget_log: BudgetLog, journal: CallJournal, lane: str, since_offset: int, read_to: int, unfinished: Callable[[int], bool]
) -> tuple[int, ReplayedCalls]:
    """Make the journal know every call of a lane from an offset on.

    Returns the offset of the log from which on no record of it is missing, and the lane's calls.

    Args:
        budget_log: the log.
        journal: which remembers from its ``floor`` on, and goes on being fed.
        lane: ``topic[partition]``.
        since_offset: of the log: what the lane's last commit says, see ``permits.LogPosition``.
        unfinished: whether the record of the lane at an offset is not finished.
        read_to: the log is read up to here by whoever feeds the journal.

    Raises:
        LogUnavailableError: if the log cannot be read.
    """
    begin = await budget_log.begin()
    whole_from = max(begin, journal.whole_from)
    replayed = journal.replay(lane, since_offset if since_offset <= read_to else 0, unfinished)
    start = max(begin, replayed.since_offset)
    if start >= journal.floor:
        journal.replay_done(lane)
        return whole_from, replayed
    journal.replaying.add(lane)
    following, turns = start, LoopTurns(asyncio.get_running_loop().time, TURN_S)
    try:
        async for entries in budget_log.section(start, read_to):
            async for some in in_turns(entries, turns):
                for entry in some:
                    if entry.offset > following:
                        whole_from = max(whole_from, entry.offset)
                    following = entry.offset + 1
                    for place, record in decode_placed(entry.offset, entry.value):
                        _take(record, place, entry.stamp_ms, journal, replayed)
    finally:
        journal.replay_done(lane)
    return whole_from, replayed


def _take(record: LogRecord | None, place: int, stamp_ms: int, journal: CallJournal, replayed: ReplayedCalls) -> None:
    match record:
        case Asked() if record.identity is not None:
            replayed.add(record.id, JournaledCall.asked(record, record.identity, place, float("-inf"), stamp_ms))
        case Begun():
            replayed.begun(record.id, place, replaying=False)
        case Ended():
            replayed.ended(record, replaying=False)
        case LaneDone():
            journal.finished.note(record, place)
