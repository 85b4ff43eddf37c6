"""The pause before a lane's next transaction, for any traffic and any machine: bounded, and never in the wrong direction."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processor.stream.publish_pace import PublishPace

PAUSE_S = 0.1
TRANSACTIONS = st.lists(
    st.tuples(st.integers(0, 5000), st.floats(0.0, 30.0), st.floats(0.0, 30.0)), min_size=1, max_size=60
)  # records, how long it took, s, and what was waited before it, s


def pauses_s(transactions: list[tuple[int, float, float]], pause_s: float = PAUSE_S) -> list[float]:
    pace, now, found = PublishPace(pause_s), 1000.0, []
    for count, took_s, waited_s in transactions:
        began = now + waited_s
        now = began + took_s
        found.append(pace.published(count, began, now))
    return found


@given(TRANSACTIONS, st.floats(0.0, 5.0))
def test_a_pause_is_never_longer_than_the_longest_nor_negative(transactions: list[tuple[int, float, float]], pause_s: float) -> None:
    assert all(0.0 <= found <= pause_s for found in pauses_s(transactions, pause_s))


@given(TRANSACTIONS, st.floats(0.0, 10.0))
def test_transactions_that_take_longer_at_the_same_times_never_shorten_the_pause(
    transactions: list[tuple[int, float, float]], longer_s: float
) -> None:
    """The same results end at the same times; the machine is slower, so each transaction has begun earlier."""
    slower = [(count, took_s + min(longer_s, waited_s), waited_s - min(longer_s, waited_s)) for count, took_s, waited_s in transactions]
    assert all(slow >= quick - 1e-9 for slow, quick in zip(pauses_s(slower), pauses_s(transactions), strict=True))


@given(TRANSACTIONS, st.integers(1, 100))
def test_more_results_at_the_same_times_never_shorten_the_pause(transactions: list[tuple[int, float, float]], more: int) -> None:
    fuller = [(count + more, took_s, waited_s) for count, took_s, waited_s in transactions]
    assert all(full >= few for full, few in zip(pauses_s(fuller), pauses_s(transactions), strict=True))


@given(TRANSACTIONS)
def test_a_lane_with_little_to_publish_on_a_quick_machine_does_not_pause(transactions: list[tuple[int, float, float]]) -> None:
    quiet = [(1, 0.005, 1.0)] * 60
    assert pauses_s([*transactions, *quiet])[-1] == 0.0


@given(st.integers(1, 5), st.floats(0.2, 10.0))
def test_where_transactions_take_long_the_pause_is_long_however_few_results_come_of_it(count: int, took_s: float) -> None:
    """A slow machine publishes less a second; that alone must not look like little traffic."""
    assert pauses_s([(count, took_s, 0.0)] * 30)[-1] == PAUSE_S


def size_in_the_end(per_s: float, took_s: float, pace: PublishPace | None) -> float:
    """Results in a transaction of a lane to which so many come a second, where each transaction takes ``took_s``.

    What comes meanwhile waits for the next one; without a pace that begins at once.
    """
    now, ready_at, last, sizes = 0.0, 0.0, 0.0, list[int]()
    while now < 20.0:
        began = max(now, ready_at)
        count = int(began * per_s) - int(last * per_s)
        if not count:
            now = began + 1.0 / per_s
            continue
        last, now = began, began + took_s
        sizes.append(count)
        ready_at = now + (0.0 if pace is None else pace.published(count, began, now))
    return sum(sizes[len(sizes) // 2 :]) / len(sizes[len(sizes) // 2 :])


@given(st.floats(20.0, 500.0), st.floats(0.02, 0.5))
def test_the_longer_transactions_take_the_more_of_them_share_one(per_s: float, took_s: float) -> None:
    paced, bare = size_in_the_end(per_s, took_s, PublishPace(PAUSE_S)), size_in_the_end(per_s, took_s, None)
    assert paced >= bare
    assert size_in_the_end(per_s, 2 * took_s, PublishPace(PAUSE_S)) >= paced
