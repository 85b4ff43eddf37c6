"""How long a lane gathers outcomes: not at all when there are few, longer the more there are, and where transactions take long."""

from __future__ import annotations

import pytest

from processor.stream.publish_pace import PublishPace

QUICK_S = 0.008


def pause_s(rate_per_s: float, count: int, took_s: float = QUICK_S, seconds: float = 10.0) -> float:
    """The pause after transactions of ``count`` records at a rate of one lane."""
    pace, now, found = PublishPace(0.1), 0.0, 0.0
    while now < seconds:
        now += count / rate_per_s
        found = pace.published(count, now - took_s, now)
    return found


@pytest.mark.parametrize(
    ("rate_per_s", "count", "low_s", "high_s"),
    [
        (1, 1, 0, 0),
        (24, 1, 0, 0),
        (37, 1, 0.002, 0.01),
        (75, 5, 0.02, 0.03),
        (137, 10, 0.045, 0.055),
        (260, 25, 0.1, 0.1),
        (5000, 100, 0.1, 0.1),
    ],
)
def test_the_pause_grows_with_what_the_lane_publishes(rate_per_s: float, count: int, low_s: float, high_s: float) -> None:
    assert low_s <= pause_s(rate_per_s, count) <= high_s


@pytest.mark.parametrize("replicas", [1, 3])
def test_as_much_shares_a_transaction_whether_one_replica_has_all_lanes_or_three_share_them(replicas: int) -> None:
    """Eight lanes of 2200 results a second have 275 each, whoever owns them."""
    owned_per_s, owned_lanes = 2200 / replicas, 8 / replicas
    assert pause_s(owned_per_s / owned_lanes, 25) == 0.1


@pytest.mark.parametrize(("took_s", "low_s", "high_s"), [(0.02, 0, 0), (0.04, 0.015, 0.025), (0.4, 0.1, 0.1)])
def test_where_transactions_take_long_more_is_gathered_for_each(took_s: float, low_s: float, high_s: float) -> None:
    assert low_s <= pause_s(2, 1, took_s, seconds=60) <= high_s


def test_the_pause_is_over_when_the_flood_is() -> None:
    pace = PublishPace(0.1)
    assert pace.published(2000, 100.0 - QUICK_S, 100.0) == 0.1
    assert pace.published(1, 110.0 - QUICK_S, 110.0) == 0.0
