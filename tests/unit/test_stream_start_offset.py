"""Where a new owner of a partition begins."""

from __future__ import annotations

import pytest

from processor.stream.errors import is_fatal
from processor.stream.start_offset import Committed, MissingOffsetsError, Start, starting_point

P = "t[0]"


def test_start_offset_is_the_committed_one_with_its_gap_map() -> None:
    assert starting_point(P, Committed(5, "1:AQ=="), 5, 9, siblings_committed=False, policy="stop") == Start(5, "1:AQ==")
    by_hand = starting_point(P, Committed(9, ""), 5, 9, siblings_committed=False, policy="stop")
    assert by_hand == Start(9, "", foreign=True), "kafka-consumer-groups --reset-offsets writes an empty text"


@pytest.mark.parametrize(("begin", "end", "siblings"), [(0, 0, False), (7, 7, False), (0, 50, True)])
def test_start_offset_of_an_empty_or_a_new_partition_is_its_beginning(begin: int, end: int, siblings: bool) -> None:
    assert starting_point(P, None, begin, end, siblings_committed=siblings, policy="stop") == Start(begin, "")


@pytest.mark.parametrize("saved", [None, Committed(2, ""), Committed(99, "1:AQ==")])
def test_start_offset_that_is_in_doubt_needs_a_decision(saved: Committed | None) -> None:
    with pytest.raises(MissingOffsetsError, match="VP_KAFKA__ON_MISSING_OFFSETS") as raised:
        starting_point(P, saved, 5, 20, siblings_committed=False, policy="stop")
    assert is_fatal(raised.value)
    earliest = starting_point(P, saved, 5, 20, siblings_committed=False, policy="earliest")
    latest = starting_point(P, saved, 5, 20, siblings_committed=False, policy="latest")
    assert (earliest.offset, latest.offset) == (5, 20)
    assert earliest.metadata == latest.metadata == ""
    assert earliest.warning
    assert latest.warning
