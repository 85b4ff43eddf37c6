"""Parameters of a scope's pacer, so that no window of any phase holds more than the limit. Pure.

A leaky bucket with burst ``b`` and rate ``r`` admits at most ``b + r*W`` calls in a window of ``W`` seconds. What a server
counts in a window was admitted in it, or was in flight when it began; with at most ``C`` in flight that is at most
``b + r*W + C``, whatever the latency. So ``b + r*W + C <= R`` holds for every sliding window. (``AsyncLimiter(R, W)`` as its
documentation suggests admits nearly ``2*R``.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_SMALL_LIMIT = 20
_IN_FLIGHT_PART = 12  # a twelfth of the limit may be in flight: latency of W/12 costs no rate
_TIMER_S = 0.01  # event loops count time in steps; the burst covers one
_LEAST_LIMIT = 3


class LimitTooSmallError(ValueError):
    """A share of a limit is too small to call at all."""


@dataclass(frozen=True, slots=True)
class PacerParameters:
    """What one replica may do in one scope."""

    limit: int  # this replica's part of the limit, calls a window
    window_s: float
    burst: int
    rate_per_s: float
    in_flight_max: int


def pacer_parameters(scope: str, limit: int, window_s: float, share: float) -> PacerParameters:
    """Parameters for a part of a limit.

    Raises:
        LimitTooSmallError: if fewer than three calls a window are left.
    """
    part = math.floor(limit * share + 1e-9)
    if part < _LEAST_LIMIT:
        raise LimitTooSmallError(
            f"scope {scope}: a share of {share:g} of {limit} calls in {window_s:g} s leaves {part}; at least {_LEAST_LIMIT} are needed. "
            "Run fewer replicas or raise VP_BUDGET__SHARE"
        )
    in_flight_max = max(1, part // _IN_FLIGHT_PART)
    burst = 1 if part < _SMALL_LIMIT else max(2, math.ceil(part / window_s * _TIMER_S))
    rate_per_s = (part - burst - in_flight_max) / window_s
    return PacerParameters(part, window_s, burst, rate_per_s, in_flight_max)
