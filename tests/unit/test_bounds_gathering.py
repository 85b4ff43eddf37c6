"""How long is gathered: not at all when little comes, longer the more there is."""

from __future__ import annotations

import pytest

from processor.bounds.gathering import GatheringPause


def pause_s(rate_per_s: float, count: int, seconds: float = 10.0) -> float:
    """The pause after ``count`` at a time, at a rate."""
    gathering, now, found = GatheringPause(0.01, 200.0, 1000.0), 0.0, 0.0
    while now < seconds:
        now += count / rate_per_s
        found = gathering.after(count, now)
    return found


@pytest.mark.parametrize(
    ("rate_per_s", "count", "low_s", "high_s"),
    [(20, 2, 0, 0), (190, 1, 0, 0), (600, 5, 0.0045, 0.0055), (1100, 10, 0.01, 0.01), (9000, 200, 0.01, 0.01)],
)
def test_the_pause_grows_with_what_comes(rate_per_s: float, count: int, low_s: float, high_s: float) -> None:
    assert low_s <= pause_s(rate_per_s, count) <= high_s


def test_the_pause_is_over_when_the_flood_is() -> None:
    gathering = GatheringPause(0.01, 200.0, 1000.0)
    assert gathering.after(2000, 100.0) == 0.01
    assert gathering.after(1, 110.0) == 0.0
