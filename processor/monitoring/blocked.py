"""Which input partitions stand still although records are there, and why. Pure: what was seen and the time go in.

One look cannot tell a transaction that is open for ever from one of ours that lasts some milliseconds. So what looks blocked counts
only once it has looked the same for ``BLOCKED_S``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from processor.contract.records import Unread
from processor.monitoring.model import BlockCause, BlockedPartition
from processor.stream.partitions import PartitionEnds, TopicPartition

BLOCKED_S = 5.0  # a transaction of ours takes milliseconds, the election of a leader up to seconds

_Thing = TypeVar("_Thing", bound=Hashable)
_State = TypeVar("_State")


@dataclass(frozen=True, slots=True)
class Block:
    """What a partition looks like when nothing more can be read of it."""

    cause: BlockCause
    offset: int
    hidden: int = 0

    @property
    def place(self) -> tuple[BlockCause, int]:
        """What stays the same while it lasts."""
        return self.cause, self.offset


def block_of(ends: PartitionEnds | None, committed: int | None, *, short: bool = False) -> Block | None:
    """What blocks a partition, if anything.

    Args:
        ends: as its leader tells them; None if it has none.
        committed: the offset that the group has committed; None if there is none.
        short: fewer of its replicas are in sync than ``min.insync.replicas``. Nothing can be written there then, not the end of a
            transaction either, and a new leader hands out nothing.

    What the brokers say, from https://kafka.apache.org/documentation/#consumerconfigs_isolation.level: a reader of committed records gets
    those below the last stable offset, which is that of the first open transaction; without one it is the high watermark.
    """
    if short:
        return Block(BlockCause.UNDER_MIN_ISR, committed or 0)
    if ends is None:
        return Block(BlockCause.NO_LEADER, committed or 0)
    if committed is not None and committed > ends.high:
        return Block(BlockCause.OFFSET_BEYOND_END, committed)
    if ends.stable < ends.high:
        return Block(BlockCause.OPEN_TRANSACTION, ends.stable, ends.high - ends.stable)
    return None


class Standstill(Generic[_Thing, _State]):
    """For how long each of some things has been seen in the same state."""

    def __init__(self) -> None:
        self._since: dict[_Thing, tuple[_State, float]] = {}

    def note(self, states: Mapping[_Thing, _State], now_s: float) -> dict[_Thing, float]:
        """Take what is seen now; what is not seen any more is forgotten. Returns seconds."""
        before, self._since = self._since, {}
        for thing, state in states.items():
            known = before.get(thing)
            self._since[thing] = known if known is not None and known[0] == state else (state, now_s)
        return {thing: now_s - since for thing, (_, since) in self._since.items()}


def blocked_partitions(
    blocks: Mapping[TopicPartition, Block], missing: Mapping[str, float], seen_s: Mapping[TopicPartition, float]
) -> tuple[BlockedPartition, ...]:
    """Those that are blocked for certain, topics that are missing first.

    Args:
        blocks: what looks blocked now.
        missing: topics that do not exist, and for how long that was seen.
        seen_s: for how long each of ``blocks`` has looked so.
    """
    gone = [BlockedPartition(topic, None, BlockCause.TOPIC_MISSING, 0, 0, for_s) for topic, for_s in missing.items()]
    stood = [
        BlockedPartition(tp.topic, tp.partition, block.cause, block.offset, block.hidden, seen_s[tp])
        for tp, block in blocks.items()
        if seen_s[tp] >= BLOCKED_S
    ]
    return (*gone, *sorted(stood, key=lambda b: (list(BlockCause).index(b.cause), b.topic, b.partition)))


def unreadable(
    found: Mapping[TopicPartition, Unread], stood: Standstill[TopicPartition, int], now_s: float
) -> tuple[BlockedPartition, ...]:
    """Partitions with a batch that nobody can read on behind: one look is enough."""
    seen_s = stood.note({tp: unread.first for tp, unread in found.items()}, now_s)
    return tuple(
        BlockedPartition(tp.topic, tp.partition, BlockCause.UNREADABLE_BATCH, unread.first, 0, seen_s[tp])
        for tp, unread in sorted(found.items(), key=lambda item: item[0])
    )
