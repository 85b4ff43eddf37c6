"""Which partitions count as blocked: what one look shows, and for how long."""

from __future__ import annotations

import pytest

from processor.monitoring.blocked import BLOCKED_S, Block, Standstill, block_of, blocked_partitions
from processor.monitoring.model import BlockCause, BlockedPartition
from processor.stream.partitions import PartitionEnds, TopicPartition

ONE, TWO = TopicPartition("v.requests", 0), TopicPartition("v.requests", 1)
OPEN = Block(BlockCause.OPEN_TRANSACTION, 7, 2)


@pytest.mark.parametrize(
    ("ends", "committed", "found"),
    [
        (PartitionEnds(0, 9, 9), 9, None),  # empty
        (PartitionEnds(0, 9, 9), 3, None),  # work is there, and can be read
        (PartitionEnds(0, 0, 0), None, None),  # new
        (PartitionEnds(4, 9, 9), 2, None),  # retention has removed what the group has not done: told at the start of a lane
        (PartitionEnds(0, 7, 9), 3, OPEN),  # work lies before the transaction
        (PartitionEnds(0, 7, 9), 7, OPEN),  # all that can be read is done
        (PartitionEnds(0, 7, 9), None, OPEN),
        (PartitionEnds(0, 9, 9), 10, Block(BlockCause.OFFSET_BEYOND_END, 10)),
        (PartitionEnds(0, 7, 9), 10, Block(BlockCause.OFFSET_BEYOND_END, 10)),  # what is worse
        (PartitionEnds(0, 7, 9), 8, OPEN),  # committed before the leader changed
        (None, 3, Block(BlockCause.NO_LEADER, 3)),
        (None, None, Block(BlockCause.NO_LEADER, 0)),
    ],
)
def test_one_look(ends: PartitionEnds | None, committed: int | None, found: Block | None) -> None:
    assert block_of(ends, committed) == found


def test_a_transaction_that_moves_blocks_nothing_and_one_that_stands_does() -> None:
    """Ours are open at every look under load; each at another offset."""
    seen: Standstill[TopicPartition, Block] = Standstill()
    for second in range(10):
        blocks = {ONE: OPEN, TWO: Block(BlockCause.OPEN_TRANSACTION, 100 + second, 3)}
        stood = seen.note(blocks, 50.0 + second)
        told = blocked_partitions(blocks, {}, stood)
        assert told == ((BlockedPartition("v.requests", 0, BlockCause.OPEN_TRANSACTION, 7, 2, second),) if second >= BLOCKED_S else ())


def test_one_that_grows_behind_its_first_record_goes_on_standing() -> None:
    seen: Standstill[TopicPartition, tuple[BlockCause, int]] = Standstill()
    for second in range(7):
        stood = seen.note({ONE: Block(BlockCause.OPEN_TRANSACTION, 7, 2 + second).place}, float(second))
    assert stood == {ONE: 6.0}


def test_what_was_well_between_two_looks_begins_again() -> None:
    seen: Standstill[TopicPartition, Block] = Standstill()
    assert seen.note({ONE: OPEN}, 1.0) == {ONE: 0.0}
    assert seen.note({ONE: OPEN}, 9.0) == {ONE: 8.0}
    assert seen.note({}, 10.0) == {}
    assert seen.note({ONE: OPEN}, 11.0) == {ONE: 0.0}


def test_a_missing_topic_counts_at_once_and_comes_first() -> None:
    told = blocked_partitions({ONE: OPEN, TWO: Block(BlockCause.NO_LEADER, 0)}, {"v.retry.10s": 0.0}, {ONE: 9.0, TWO: 6.0})
    assert [(b.name, b.cause) for b in told] == [
        ("v.retry.10s", BlockCause.TOPIC_MISSING),
        ("v.requests[1]", BlockCause.NO_LEADER),
        ("v.requests[0]", BlockCause.OPEN_TRANSACTION),
    ]
