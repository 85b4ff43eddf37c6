"""What a new owner of a partition knows at its start: what is done, and what a former owner may have called."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from processor.budget.permits import LogPosition
from processor.stream.clients import committed_offsets
from processor.stream.handler import CallHistory
from processor.stream.offsets import GapMapError, OffsetTracker, Restored, decode_metadata
from processor.stream.start_offset import Start, starting_point

log = structlog.get_logger(__name__)

_EVERYTHING = LogPosition("", 0)
_END_TRIES = 5
_END_PAUSE_S = 1.0
_RECALL_S = 600.0  # reading back a week of calls takes minutes


def lane_name(partition: TopicPartition) -> str:
    """``topic[partition]``."""
    return f"{partition.topic}[{partition.partition}]"


@dataclass(frozen=True, slots=True)
class RestoredLane:
    """What is known at the start of a lane."""

    offsets: OffsetTracker
    remembered: bool  # every call that a former owner may have made is known
    positioned: bool  # the last commit says from where the journal is to be read


async def restore_lane(journal: CallHistory, lane: str, start: Start) -> RestoredLane:
    """Restore a lane from its last commit and the journal.

    Raises:
        TimeoutError: if the journal does not answer.
        LogUnavailableError: if it cannot be read.
    """
    restored, whole = _restored(lane, start)
    offsets = OffsetTracker(start.offset, restored.done)
    async with asyncio.timeout(_RECALL_S):
        reaches, first_calls = await journal.replay_lane(lane, restored.log_position if whole else _EVERYTHING, offsets.is_unfinished)
    for offset, position in first_calls.items():
        offsets.started(offset, position)
    if not reaches:
        log.critical(
            "calls_forgotten",
            partition=lane,
            hint="the budget topic no longer holds all calls of this partition; those that cannot be looked up will end in doubt",
        )
    return RestoredLane(offsets, reaches, restored.log_position is not None)


def _restored(lane: str, start: Start) -> tuple[Restored, bool]:
    """What the commit says, and whether that is all; else anything that stands in the journal may have been called."""
    if start.warning:
        log.critical("offsets_decided", partition=lane, detail=start.warning)
        return Restored(None, ()), False
    try:
        return decode_metadata(start.offset, start.metadata), True
    except GapMapError as exc:  # somebody else has committed to our group
        log.critical("gap_map_unreadable", partition=lane, detail=str(exc))
        return Restored(None, ()), False


async def find_start(
    consumer: AIOKafkaConsumer, partition: TopicPartition, policy: Literal["stop", "earliest", "latest"]
) -> tuple[Start, int | None, int]:
    """Where to begin a partition; also the committed offset, if it is the same, and the partition's end.

    Raises:
        MissingOffsetsError: if a person has to decide.
        KafkaError: of aiokafka, to be translated by the caller.
    """
    saved = (await committed_offsets(consumer, [partition])).get(partition)
    begin = (await consumer.beginning_offsets([partition]))[partition]
    end = await _find_end(consumer, partition, 0 if saved is None else saved.offset)
    siblings = False
    if saved is None and begin < end:
        numbers = consumer.partitions_for_topic(partition.topic) or set()
        siblings = bool(await committed_offsets(consumer, [TopicPartition(partition.topic, n) for n in numbers]))
    start = starting_point(lane_name(partition), saved, begin, end, siblings_committed=siblings, policy=policy)
    return start, None if saved is None or saved.offset != start.offset else saved.offset, end


async def _find_end(consumer: AIOKafkaConsumer, partition: TopicPartition, at_least: int) -> int:
    """The end of a partition. A leader that is new may not know yet how far it goes: an end that lies too low is asked for again."""
    end = 0
    for _ in range(_END_TRIES):
        end = (await consumer.end_offsets([partition]))[partition]
        if end >= at_least:
            break
        await asyncio.sleep(_END_PAUSE_S)
    return end
