from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.budget.rates import LimitTooSmallError, pacer_parameters


@given(limit=st.integers(1, 10**9), window_s=st.floats(0.5, 3600), share=st.floats(0.001, 1))
def test_a_window_cannot_hold_more_than_the_share(limit: int, window_s: float, share: float) -> None:
    part = math.floor(limit * share + 1e-9)
    if part < 1:
        with pytest.raises(LimitTooSmallError):
            pacer_parameters("s", limit, window_s, share)
        return
    p = pacer_parameters("s", limit, window_s, share)
    assert p.limit == part
    assert p.rate_per_s > 0
    if p.rest_s:
        assert part <= 2
        assert p.in_flight_max == part
        assert p.rest_s > window_s
    else:
        assert p.burst + p.rate_per_s * window_s + p.in_flight_max <= part + 1e-6
        # with the calls that a former process left on their way
        assert math.floor(p.burst + p.rate_per_s * window_s) + 2 * p.in_flight_max <= part


@pytest.mark.parametrize(
    ("part", "burst", "in_flight", "per_window"), [(3, 1, 1, 1), (4, 1, 1, 2), (5, 1, 1, 3), (24, 1, 1, 22), (25, 1, 2, 21)]
)
def test_small_limits(part: int, burst: int, in_flight: int, per_window: int) -> None:
    p = pacer_parameters("s", part, 60.0, 1.0)
    assert (p.burst, p.in_flight_max, p.rest_s) == (burst, in_flight, 0.0)
    assert p.rate_per_s * 60 == pytest.approx(per_window, rel=0.001)


@pytest.mark.parametrize("part", [1, 2])
def test_the_smallest_limits_rest_a_window_after_each_answer(part: int) -> None:
    p = pacer_parameters("s", part, 60.0, 1.0)
    assert (p.in_flight_max, p.burst) == (part, 1)
    assert 60 < p.rest_s < 60.2


@pytest.mark.parametrize("part", [33, 50, 100, 200, 300, 600, 6000])
def test_usual_limits_are_used_to_more_than_85_percent(part: int) -> None:
    assert pacer_parameters("s", part, 60.0, 1.0).rate_per_s * 60 / part > 0.85


@pytest.mark.parametrize(("limit", "share", "part"), [(600, 1 / 3, 200), (100, 1 / 3, 33), (10, 0.3, 3), (100, 0.29, 29), (3, 0.9, 2)])
def test_a_share_is_rounded_down(limit: int, share: float, part: int) -> None:
    assert pacer_parameters("s", limit, 60.0, share).limit == part


def test_a_refusal_says_what_to_do() -> None:
    with pytest.raises(LimitTooSmallError, match=r"session-create: .*VP_BUDGET__SHARE"):
        pacer_parameters("session-create", 5, 60.0, 0.1)
