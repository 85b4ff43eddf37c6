"""How long calls took lately: the window, and the estimate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.monitoring.latency import SPAN_MS, LatencyHistory, quantile_s

BOUNDS = (0.1, 1.0, 10.0)


def test_only_the_calls_of_the_last_quarter_of_an_hour_count() -> None:
    history = LatencyHistory(BOUNDS)
    assert history.latencies() == {}
    history.add(0, {"aml": [100, 0, 0, 0]})
    history.add(60_000, {"aml": [100, 10, 0, 0], "poa": [0, 0, 1, 1]})
    found = history.latencies()
    assert (found["aml"].operation, found["aml"].count) == ("aml", 10)
    assert (found["aml"].median_s, found["aml"].p95_s) == pytest.approx((0.55, 0.955))
    assert (found["poa"].count, found["poa"].p95_s) == (2, 10.0), "no more than the highest bound"
    history.add(SPAN_MS + 1, {"aml": [100, 10, 0, 0], "poa": [0, 0, 1, 1]})
    assert history.latencies() == {}, "what was before the window is not counted"


def test_a_clock_that_was_set_back_starts_again() -> None:
    history = LatencyHistory(BOUNDS)
    history.add(5_000, {"aml": [1, 0, 0, 0]})
    history.add(1_000, {"aml": [3, 0, 0, 0]})
    assert history.latencies() == {}


def test_it_is_bounded() -> None:
    history = LatencyHistory(BOUNDS)
    for at_ms in range(1_000):
        history.add(at_ms, {"aml": [at_ms, 0, 0, 0]})
    assert history.latencies()["aml"].count == 239


@given(st.lists(st.sampled_from([0.05, 0.5, 5.0]), min_size=1, max_size=60), st.sampled_from([0.5, 0.95]))
def test_the_estimate_is_within_the_bucket_of_the_true_one(times: list[float], share: float) -> None:
    counts = [times.count(0.05), times.count(0.5), times.count(5.0), 0]
    ordered = sorted(times)
    true = ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
    low, high = {0.05: (0.0, 0.1), 0.5: (0.1, 1.0), 5.0: (1.0, 10.0)}[true]
    rounding_s = 1e-9
    assert low - rounding_s <= quantile_s(BOUNDS, counts, share) <= high + rounding_s
