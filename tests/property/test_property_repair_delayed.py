"""The book of what waits against the ledger of the lanes: entries are what was delivered less what is done, for any commit."""

from __future__ import annotations

from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.budget.permits import LogPosition
from processor.contract.records import Record, Source
from processor.repair.delayed import DelayedRecords
from processor.stream.offsets import OffsetTracker, finished_of

HERE = LogPosition("01234567", 0)
PLACE = ("v.retry.1m", 0)


@settings(max_examples=full(200), deadline=None)
@given(st.data())
def test_entries_are_what_was_delivered_less_what_is_done(data: st.DataObject) -> None:
    draw = data.draw(st.randoms(use_true_random=False))
    start = data.draw(st.integers(0, 10**12))
    log = [o for o in range(start, start + data.draw(st.integers(1, 80))) if draw.random() < 0.9]  # the rest are markers
    ledger, at_work, done = OffsetTracker(start), list[int](), set[int]()
    index, position = DelayedRecords(1000), start
    seen = finished_of(*ledger.view(log_position=HERE))
    to_deliver = list(log)
    for _ in range(data.draw(st.integers(1, 60))):
        step = draw.random()
        if step < 0.5 and to_deliver:
            offset = to_deliver.pop(0)
            ledger.deliver(offset)
            at_work.append(offset)
        elif step < 0.8 and at_work:
            batch = [at_work.pop(draw.randrange(len(at_work))) for _ in range(draw.randrange(1, len(at_work) + 1))]
            ledger.finish(batch)
            done |= set(batch)
        else:  # a refresh that reads some of the log, then the commit
            position = max(position, seen.floor)
            until = draw.randrange(position, start + 90)
            index.deliver((Record(Source(*PLACE, o), None, b"{}") for o in log if position <= o < until), seen)
            position = until
            seen = finished_of(*ledger.view(log_position=HERE))
            index.settle({PLACE: seen})
            assert [r.offset for r in index] == [o for o in log if o < position and o not in done]
