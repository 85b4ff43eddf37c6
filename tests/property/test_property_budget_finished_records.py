"""Nothing that an owner of a lane has told as finished is forgotten, whatever is told later, and in whatever order it is read."""

from __future__ import annotations

from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.budget.finished_records import FinishedRecords
from processor.budget.log_records import LaneDone
from processor.budget.permits import CallIdentity

OFFSETS = 14
words = st.builds(LaneDone, st.just("t[0]"), st.integers(0, 6), st.integers(0, 255).map(lambda bits: bytes((bits,)).rstrip(b"\0")))


@settings(max_examples=full(200), deadline=None, derandomize=True)
@given(told=st.lists(words, min_size=1, max_size=8), data=st.data())
def test_what_was_told_as_finished_stays_so_for_the_calls_of_before(told: list[LaneDone], data: st.DataObject) -> None:
    read = data.draw(st.permutations([*enumerate(told), *data.draw(st.lists(st.sampled_from(list(enumerate(told))), max_size=3))]))
    finished = FinishedRecords()
    for at, word in read:
        finished.note(word, at)
    again = FinishedRecords()
    again.follow_on(finished)
    for offset in range(OFFSETS):
        record = CallIdentity("request", "content", "first", "t[0]", offset)
        for called_at in range(-1, len(told)):
            expected = any(word.holds(offset) for word in told[called_at + 1 :])
            assert finished.hold(record, called_at) == again.hold(record, called_at) == expected
