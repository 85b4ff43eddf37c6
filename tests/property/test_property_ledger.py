"""The ledger against a naive model, over many owners of one partition with holes in its log."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.stream.ledger import GAP_MAP_BITS, GapMapError, Ledger, decode_gap_map, encode_gap_map

offsets = st.integers(0, 2**62)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_owner_repeats_or_passes_over_a_record(data: st.DataObject) -> None:
    draw = data.draw(st.randoms(use_true_random=False))
    start = data.draw(st.integers(0, 10**12))
    log = [o for o in range(start, start + data.draw(st.integers(1, 120))) if draw.random() < 0.9]  # the rest are markers
    done: set[int] = set()
    committed: tuple[int, str] = (start, "")
    for _ in range(data.draw(st.integers(1, 12))):  # owners, one after the other; each may die at any moment
        ledger = Ledger(committed[0], decode_gap_map(*committed))
        assert all(o in done for o in log if o < ledger.floor), "the committed offset is beyond an unfinished record"
        to_read = [o for o in log if o >= ledger.floor]
        at_work: list[int] = []
        for _ in range(draw.randrange(40)):
            if to_read and draw.random() < 0.6:
                offset = to_read.pop(0)
                fresh = ledger.deliver(offset)
                assert fresh == (offset not in done), "a finished record is worked on again, or an unfinished one is passed over"
                if fresh:
                    at_work.append(offset)
            elif at_work:
                batch = {at_work.pop(draw.randrange(len(at_work))) for _ in range(draw.randrange(1, len(at_work) + 1))}
                committed = ledger.view(batch)  # what the transaction carries
                if draw.random() < 0.1:
                    done |= batch
                    break  # killed after the commit, before it was noted
                ledger.finish(batch)
                done |= batch
                assert ledger.view() == committed
                assert ledger.unfinished_count == len(at_work)
    ledger = Ledger(committed[0], decode_gap_map(*committed))
    for offset in (o for o in log if o >= ledger.floor):
        if ledger.deliver(offset):
            ledger.finish([offset])
    if log:
        assert ledger.view()[0] == max(log[-1] + 1, ledger.floor)


@given(offsets, st.sets(st.integers(0, GAP_MAP_BITS - 1), max_size=300))
def test_gap_map_round_trip_within_the_limit_of_a_commit(floor: int, indexes: set[int]) -> None:
    done = {floor + i for i in indexes}
    metadata = encode_gap_map(floor, done)
    assert set(decode_gap_map(floor, metadata)) == done
    assert len(metadata) <= 4096
    assert metadata.isascii()


def test_fullest_gap_map_fits_a_commit() -> None:
    assert len(encode_gap_map(0, range(GAP_MAP_BITS))) <= 4096
    with pytest.raises(ValueError, match="does not fit"):
        encode_gap_map(0, [GAP_MAP_BITS])


@given(st.text(max_size=60))
def test_foreign_metadata_is_refused_or_empty_never_misread(metadata: str) -> None:
    try:
        found = list(decode_gap_map(7, metadata))
    except GapMapError:
        return
    assert metadata == "" or metadata.startswith("1:")
    assert all(o >= 7 for o in found)


def test_markers_at_the_tail_move_the_floor_only_when_idle_records_allow_it() -> None:
    ledger = Ledger(10)
    assert ledger.deliver(10)
    ledger.skip_to(15)
    assert ledger.view()[0] == 10
    ledger.finish([10])
    assert ledger.view()[0] == 15


def test_a_rewind_inside_one_assignment_is_an_error() -> None:
    ledger = Ledger(0)
    assert ledger.deliver(5)
    with pytest.raises(ValueError, match="delivered after"):
        ledger.deliver(5)
