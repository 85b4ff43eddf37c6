"""The wait before a consumer's next fetch, for any traffic: bounded, over in time, and none where little comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processor.stream.fetch_pace import FETCH_PAUSE_S, FetchPace

TRAFFIC = st.lists(st.tuples(st.integers(0, 500), st.floats(0.0, 2.0), st.floats(0.0, 2.0)), max_size=60)  # records, s until them, s after


def after(traffic: list[tuple[int, float, float]]) -> tuple[FetchPace, float]:
    """A pace that has seen this, and the time."""
    pace, now = FetchPace(), 1000.0
    for count, until_s, after_s in traffic:
        pace.began(now)
        pace.taken(count, now := now + until_s)
        now += after_s
    return pace, now


@given(TRAFFIC, st.floats(0.0, 1.0))
def test_a_fetch_waits_for_the_longest_pause_at_most_and_the_wait_passes(traffic: list[tuple[int, float, float]], later_s: float) -> None:
    pace, now = after(traffic)
    pace.began(now)
    wait_s = pace.wait_s(now)
    assert 0.0 <= wait_s <= FETCH_PAUSE_S + 1e-9
    assert pace.wait_s(now + later_s) <= max(0.0, wait_s - later_s) + 1e-9
    assert pace.wait_s(now + FETCH_PAUSE_S + 1e-6) == 0.0


@given(TRAFFIC, st.integers(1, 100))
def test_more_records_at_the_same_times_never_shorten_the_wait(traffic: list[tuple[int, float, float]], more: int) -> None:
    few, now = after(traffic)
    many, _ = after([(count + more, until_s, after_s) for count, until_s, after_s in traffic])
    assert many.wait_s(now) >= few.wait_s(now)


@given(TRAFFIC)
def test_where_little_comes_after_any_flood_nothing_waits(traffic: list[tuple[int, float, float]]) -> None:
    pace, now = after([*traffic, (0, 0.0, 20.0), *[(1, 0.0, 0.015)] * 200])  # 67 a second
    pace.began(now)
    assert pace.wait_s(now) == 0.0
