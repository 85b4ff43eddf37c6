"""What a new owner of a partition knows at its start: what is done, and what a former owner may have called."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import LeaderNotAvailableError

from processor.budget.history import EVERYTHING
from processor.budget.permits import LaneCalls
from processor.contract.amounts import count
from processor.stream.clients import END, FIRST, committed_offsets, offsets_of
from processor.stream.handler import CallHistory
from processor.stream.offsets import GAP_MAP_BITS, GapMapError, OffsetTracker, Restored, decode_metadata
from processor.stream.partitions import lane_name
from processor.stream.start_offset import FoundStart, MissingOffsetsError, Start, starting_point

log = structlog.get_logger(__name__)

OffsetAt = Callable[[int], Awaitable[int | None]]

_NONE_SO_LATE = -1  # in the answer for a time
_END_TRIES = 5
_END_PAUSE_S = 1.0
_NEW_LEADER_TRIES = 5
_NEW_LEADER_PAUSE_S = 0.25
_RECALL_S = 600.0  # reading back a week of calls takes minutes
_STAMPS_MS = 3_600_000  # callers stamp their records by clocks of their own
_REACH = 2 * GAP_MAP_BITS  # a lane works on no record that is farther from its floor, whatever lies between


@dataclass(frozen=True, slots=True)
class RestoredLane:
    """What is known at the start of a lane."""

    offsets: OffsetTracker
    positioned: bool  # the last commit says from where the journal is to be read
    unremembered_below: int = 0  # of records below this offset the journal may not know all calls
    finished: frozenset[int] = frozenset()  # their outcome is published, as the journal tells, although the group's offsets do not


async def restore_lane(journal: CallHistory, lane: str, start: Start, end: int, offset_at: OffsetAt) -> RestoredLane:
    """Restore a lane from its last commit and the journal.

    Args:
        journal: the calls of all replicas.
        lane: ``topic[partition]``.
        start: where to begin, from ``find_start``.
        end: the partition's end.
        offset_at: finds the first record of the partition that was stamped at or after a time (epoch ms); None if there is none.

    Raises:
        TimeoutError: if the journal does not answer for minutes.
    """
    restored, whole = _restored(lane, start)
    offsets = OffsetTracker(start.offset, restored.done)
    async with asyncio.timeout(_RECALL_S):
        calls = await journal.replay_lane(lane, restored.log_position if whole else EVERYTHING, offsets.is_unfinished)
    for offset, position in calls.first_calls.items():
        offsets.started(offset, position)
    reached = start.offset + _REACH if whole else end  # of a commit of ours: no owner has worked on anything beyond
    below = min(await _first_remembered(calls, end, offset_at), reached)
    if below > start.offset:
        log.critical(
            "calls_forgotten",
            partition=lane,
            count=below - start.offset - sum(1 for offset in calls.finished if offset < below),
            hint="the budget topic no longer holds all calls of this partition; those that cannot be looked up will end in doubt",
        )
    return RestoredLane(offsets, restored.log_position is not None, below if below > start.offset else 0, calls.finished)


async def _first_remembered(calls: LaneCalls, end: int, offset_at: OffsetAt) -> int:
    """The least offset from which on no call is forgotten: a record that came after the log's beginning was not called before it."""
    if calls.since_ms == 0:
        return 0
    found = await offset_at(calls.since_ms + _STAMPS_MS)
    return end if found is None else found


async def explain_missing(journal: CallHistory, lane: str, missing: MissingOffsetsError, offset_at: OffsetAt) -> MissingOffsetsError:
    """The same error, which also says what the journal knows of the records that it is about.

    Raises:
        TimeoutError: as ``restore_lane``.
    """
    begin, end = missing.begin, missing.end
    async with asyncio.timeout(_RECALL_S):
        calls = await journal.replay_lane(lane, EVERYTHING, lambda offset: begin <= offset < end)
    forgotten = range(begin, min(await _first_remembered(calls, end, offset_at), end))
    done = calls.finished | missing.done
    finished, doubtful = len(done), len((calls.doubtful | frozenset(forgotten)) - done)
    text = (
        f"{missing} By the budget log, of {count(end - begin, 'offset')}: finished, and would be skipped as duplicates: {finished}; "
        f"perhaps called, and would be in doubt: {doubtful}; not called, and would be done: {end - begin - finished - doubtful}. If the "
        "topic was created again since, all that is there now is new, and would be done."
    )
    return MissingOffsetsError(text, begin, end, missing.done)


def _restored(lane: str, start: Start) -> tuple[Restored, bool]:
    """What the commit says, and whether that is all; else anything that stands in the journal may have been called."""
    if start.warning:
        log.critical("offsets_decided", partition=lane, detail=start.warning)
        if not start.metadata:
            return Restored(None, ()), False
    try:
        return decode_metadata(start.offset, start.metadata), not start.foreign
    except GapMapError as exc:  # somebody else has committed to our group
        log.critical("gap_map_unreadable", partition=lane, detail=str(exc))
        return Restored(None, ()), False


async def find_start(consumer: AIOKafkaConsumer, partition: TopicPartition, policy: Literal["stop", "earliest", "latest"]) -> FoundStart:
    """Where to begin a partition.

    Raises:
        MissingOffsetsError: if a person has to decide.
        KafkaError: of aiokafka, to be translated by the caller.
    """
    saved = (await committed_offsets(consumer, [partition])).get(partition)
    begin = (await offsets_of(consumer, [partition], FIRST))[partition]
    end = await _find_end(consumer, partition, 0 if saved is None else saved.offset)
    siblings = False
    if saved is None and begin < end:
        numbers = consumer.partitions_for_topic(partition.topic) or set()
        siblings = bool(await committed_offsets(consumer, [TopicPartition(partition.topic, n) for n in numbers]))
    start = starting_point(lane_name(partition), saved, begin, end, siblings_committed=siblings, policy=policy)
    return FoundStart(start, None if saved is None or saved.offset != start.offset else saved.offset, end)


async def offset_at(consumer: AIOKafkaConsumer, partition: TopicPartition, stamp_ms: int) -> int | None:
    """The first record of a partition that was stamped at or after a time, epoch ms. Asks as ``clients.offsets_of``.

    Raises:
        KafkaError: of aiokafka, to be translated by the caller.
    """
    found = (await offsets_of(consumer, [partition], stamp_ms))[partition]
    return None if found == _NONE_SO_LATE else found


async def _find_end(consumer: AIOKafkaConsumer, partition: TopicPartition, at_least: int) -> int:
    """The end of a partition. A leader that is new may not know yet how far it goes: an end that lies too low is asked for again."""
    end = 0
    for _ in range(_END_TRIES):
        end = await _known_end(consumer, partition)
        if end >= at_least:
            break
        await asyncio.sleep(_END_PAUSE_S)
    return end


async def _known_end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """The end as its leader tells it. A new one says that it does not know until a follower has fetched: that is soon, if there is one."""
    for _ in range(_NEW_LEADER_TRIES - 1):
        with suppress(LeaderNotAvailableError):
            return (await offsets_of(consumer, [partition], END))[partition]
        await asyncio.sleep(_NEW_LEADER_PAUSE_S)
    return (await offsets_of(consumer, [partition], END))[partition]
