"""How long a lane gathers outcomes: not at all when there are few, longer the more there are."""

from __future__ import annotations

import pytest

from processor.stream.publish_pace import PublishPace


def pause_s(rate_per_s: float, count: int, seconds: float = 10.0) -> float:
    """The pause after transactions of ``count`` records at a rate, all lanes together."""
    pace, now, found = PublishPace(0.05), 0.0, 0.0
    while now < seconds:
        now += count / rate_per_s
        found = pace.published(count, now)
    return found


@pytest.mark.parametrize(
    ("rate_per_s", "count", "low_s", "high_s"),
    [(10, 1, 0, 0), (190, 1, 0, 0), (300, 1, 0.002, 0.01), (600, 5, 0.02, 0.03), (1100, 10, 0.05, 0.05), (5000, 100, 0.05, 0.05)],
)
def test_the_pause_grows_with_what_all_lanes_publish(rate_per_s: float, count: int, low_s: float, high_s: float) -> None:
    assert low_s <= pause_s(rate_per_s, count) <= high_s


def test_the_pause_is_over_when_the_flood_is() -> None:
    pace = PublishPace(0.05)
    assert pace.published(2000, 100.0) == 0.05
    assert pace.published(1, 110.0) == 0.0
