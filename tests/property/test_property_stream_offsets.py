"""The ledger against a naive model, over many owners of one partition with holes in its log."""

from __future__ import annotations

import pytest
from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.budget.permits import LogPosition
from processor.stream.offsets import GAP_MAP_BITS, GapMapError, OffsetTracker, decode_metadata, encode_metadata

offsets = st.integers(0, 2**62)


def at(offset: int, log: str = "01234567") -> LogPosition:
    return LogPosition(log, offset)


HERE = at(0)


@settings(max_examples=full(300), deadline=None)
@given(st.data())
def test_no_owner_repeats_or_passes_over_a_record(data: st.DataObject) -> None:
    draw = data.draw(st.randoms(use_true_random=False))
    start = data.draw(st.integers(0, 10**12))
    log = [o for o in range(start, start + data.draw(st.integers(1, 120))) if draw.random() < 0.9]  # the rest are markers
    done: set[int] = set()
    committed: tuple[int, str] = (start, "")
    for _ in range(data.draw(st.integers(1, 12))):  # owners, one after the other; each may die at any moment
        ledger = OffsetTracker(committed[0], decode_metadata(*committed).done)
        assert all(o in done for o in log if o < ledger.floor), "the committed offset is beyond an unfinished record"
        to_read = [o for o in log if o >= ledger.floor]
        at_work: list[int] = []
        for _ in range(draw.randrange(40)):
            if to_read and draw.random() < 0.6:
                offset = to_read.pop(0)
                fresh = ledger.deliver(offset)
                assert fresh == (offset not in done), "a finished record is worked on again, or an unfinished one is skipped"
                if fresh:
                    at_work.append(offset)
            elif at_work:
                batch = {at_work.pop(draw.randrange(len(at_work))) for _ in range(draw.randrange(1, len(at_work) + 1))}
                committed = ledger.view(batch, log_position=HERE)  # what the transaction carries
                if draw.random() < 0.1:
                    done |= batch
                    break  # killed after the commit, before it was noted
                ledger.finish(batch)
                done |= batch
                assert ledger.view(log_position=HERE) == committed
                assert ledger.unfinished_count == len(at_work)
    ledger = OffsetTracker(committed[0], decode_metadata(*committed).done)
    for offset in (o for o in log if o >= ledger.floor):
        if ledger.deliver(offset):
            ledger.finish([offset])
    if log:
        assert ledger.view(log_position=HERE)[0] == max(log[-1] + 1, ledger.floor)


@given(offsets, st.sets(st.integers(0, GAP_MAP_BITS - 1), max_size=300))
def test_gap_map_round_trip_within_the_limit_of_a_commit(floor: int, indexes: set[int]) -> None:
    done = {floor + i for i in indexes}
    metadata = encode_metadata(floor, done, at(2**63 - 1))
    restored = decode_metadata(floor, metadata)
    assert (set(restored.done), restored.log_position) == (done, at(2**63 - 1))
    assert len(metadata) <= 4096
    assert metadata.isascii()


def test_fullest_gap_map_fits_a_commit() -> None:
    assert len(encode_metadata(0, range(GAP_MAP_BITS), at(2**63 - 1))) <= 4096
    with pytest.raises(ValueError, match="does not fit"):
        encode_metadata(0, [GAP_MAP_BITS], HERE)


@given(st.text(max_size=9), st.integers(-5, 10**20))
def test_what_is_committed_can_be_read_by_the_next_owner(log: str, offset: int) -> None:
    position = LogPosition(log, offset)
    try:
        metadata = encode_metadata(0, [3], position)
    except ValueError:
        return
    assert decode_metadata(0, metadata).log_position == position


@pytest.mark.parametrize(("log", "offset"), [("", 5), ("0a1b2c3", 5), ("0a1b2c3d", -1), ("0A1B2C3D", 1)])
def test_a_position_that_nobody_could_read_is_never_committed(log: str, offset: int) -> None:
    with pytest.raises(ValueError, match="next owner"):
        encode_metadata(0, [], LogPosition(log, offset))


@given(st.text(max_size=60))
def test_foreign_metadata_is_refused_or_empty_never_misread(metadata: str) -> None:
    try:
        found = decode_metadata(7, metadata)
    except GapMapError:
        return
    assert metadata == "" or metadata.startswith(("1:", "2:"))
    assert all(o >= 7 for o in found.done)


def test_the_metadata_of_the_release_before_is_understood() -> None:
    assert decode_metadata(5, "1:BQ==").done == (5, 7)
    assert decode_metadata(5, "1:BQ==").log_position is None


@pytest.mark.parametrize(
    "metadata",
    [
        "2:",
        "2::AQ==",
        "2:00000000@x:AQ==",
        "2:00000000@-1:AQ==",
        "2:00000000@" + "9" * 20 + ":AQ==",
        "2:zz@1:AQ==",
        "3:00000000@1:AQ==",
        "2:1",
    ],
)
def test_metadata_without_a_position_is_refused(metadata: str) -> None:
    with pytest.raises(GapMapError):
        assert decode_metadata(0, metadata + "!")


def test_the_journal_is_read_back_to_the_first_call_of_what_is_not_finished() -> None:
    ledger = OffsetTracker(0)
    for offset in range(4):
        ledger.deliver(offset)
    assert decode_metadata(0, ledger.view(log_position=at(50))[1]).log_position == at(50), "nothing was called"
    ledger.started(1, at(20))
    ledger.started(1, at(40))
    ledger.started(2, at(30))
    for finished, expected in (((), 20), ({1}, 30), ({1, 2}, 50)):
        floor, metadata = ledger.view(finished, log_position=at(50))
        assert decode_metadata(floor, metadata).log_position == at(expected)
    ledger.finish([1])
    assert decode_metadata(0, ledger.view(log_position=at(50))[1]).log_position == at(30)
    assert [ledger.is_unfinished(o) for o in range(5)] == [True, False, True, True, True]


def test_markers_at_the_tail_move_the_floor_only_when_idle_records_allow_it() -> None:
    ledger = OffsetTracker(10)
    assert ledger.deliver(10)
    ledger.skip_to(15)
    assert ledger.view(log_position=HERE)[0] == 10
    ledger.finish([10])
    assert ledger.view(log_position=HERE)[0] == 15
    ledger.skip_to(20)
    assert (ledger.floor, ledger.span) == (20, 0), "an idle lane has nothing to describe"


def test_what_a_former_owner_has_finished_leaves_the_gap_map_as_it_is_delivered() -> None:
    ledger = OffsetTracker(10, done=[10, 11, 12])
    assert ledger.span == 0, "nothing was read yet"
    assert [ledger.deliver(offset) for offset in (10, 11, 12)] == [False, False, False]
    assert (ledger.floor, ledger.span) == (13, 0), "else a lane that reads many of them reads no further"


def test_a_rewind_inside_one_assignment_is_an_error() -> None:
    ledger = OffsetTracker(0)
    assert ledger.deliver(5)
    with pytest.raises(ValueError, match="delivered after"):
        ledger.deliver(5)


def test_what_was_called_in_a_log_that_is_gone_is_not_said_to_be_in_the_new_one() -> None:
    ledger = OffsetTracker(0)
    for offset in range(2):
        ledger.deliver(offset)
    ledger.started(0, at(900))
    ledger.started(1, at(3, "89abcdef"))
    assert decode_metadata(0, ledger.view(log_position=at(5, "89abcdef"))[1]).log_position == at(900)
    ledger.finish([0])
    assert decode_metadata(1, ledger.view(log_position=at(5, "89abcdef"))[1]).log_position == at(3, "89abcdef")
