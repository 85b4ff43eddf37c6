"""Where a new owner of a partition begins."""

from __future__ import annotations

import pytest

from processor.budget.permits import LogPosition
from processor.stream.errors import is_fatal
from processor.stream.offsets import Restored, decode_metadata, encode_metadata
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


def test_what_retention_deletes_of_a_partition_takes_nothing_of_what_is_known_of_the_rest() -> None:
    """Else polls that were done would be done again, and end in a second result: only calls stand in the budget log."""
    position = LogPosition("01234567", 42)
    saved = Committed(2, encode_metadata(2, [3, 4, 6, 9], position))
    with pytest.raises(MissingOffsetsError, match="2 to 4 were deleted before they were processed, but for 2 offsets") as raised:
        starting_point(P, saved, 5, 20, siblings_committed=False, policy="stop")
    assert raised.value.done == {6, 9}
    start = starting_point(P, saved, 5, 20, siblings_committed=False, policy="earliest")
    assert (start.offset, decode_metadata(start.offset, start.metadata)) == (5, Restored(position, (6, 9)))
    assert start.warning
    assert starting_point(P, Committed(2, "not ours"), 5, 20, siblings_committed=False, policy="earliest").metadata == ""
