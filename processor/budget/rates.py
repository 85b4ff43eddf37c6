"""Parameters of a scope's pacer, so that no window of any phase holds more than the limit. Pure.

A leaky bucket with burst ``b`` and rate ``r`` admits at most ``floor(b + r*W)`` calls in a window of ``W`` seconds. What a
server counts in a window was admitted in it, or was in flight when it began. This process has at most ``C`` calls in flight
in the scope, and the one that it replaced left at most ``C`` on their way. So with ``floor(b + r*W) + 2*C <= R`` no sliding
window holds more than ``R``, whatever the latency. (``AsyncLimiter(R, W)``, as its documentation suggests, admits ``2*R - 1``.)

Limits of one or two calls have no room for that. There each of the ``R`` units rests for a window after its call was
answered, so two calls of one unit are never in the same window; after a start all units rest first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_IN_FLIGHT_PART = 24  # so a mean latency of W/24 costs no rate
_RESTING_LIMIT = 2  # up to here units rest
_SMALL_LIMIT = 20  # below, a burst of 2 is too dear
_SLOW_PER_S = 1.0  # below, late timers cost little, and a burst of 1 is enough
_TIMER_S = 0.01  # event loops count time in steps; the burst covers one
_CLOCKS_AGREE = 0.9995  # the server's second may be a little longer than ours
_REST_MARGIN_S = 0.1


class LimitTooSmallError(ValueError):
    """A share of a limit leaves not one call."""


@dataclass(frozen=True, slots=True)
class PacerParameters:
    """What one replica may do in one scope."""

    limit: int  # this replica's part of the limit, calls a window
    window_s: float
    burst: int
    rate_per_s: float
    in_flight_max: int
    rest_s: float = 0.0  # how long a unit rests after its call was answered


def pacer_parameters(scope: str, limit: int, window_s: float, share: float) -> PacerParameters:
    """Parameters for a part of a limit.

    Args:
        scope: its name, for the error.
        limit: calls a window over all replicas.
        window_s: length of the window, seconds.
        share: this replica's part, 0 < share <= 1; ``floor(limit * share)`` calls a window.

    Raises:
        LimitTooSmallError: if the share leaves less than one call a window.
    """
    part = math.floor(limit * share + 1e-9)  # a third of 600 is 200, in floats too
    if part < 1:
        raise LimitTooSmallError(
            f"scope {scope}: a share of {share:g} of {limit} calls in {window_s:g} s leaves not one call. "
            "Run fewer replicas, raise VP_BUDGET__SHARE or the scope's limit in VP_BUDGET__LIMITS"
        )
    if part <= _RESTING_LIMIT:
        return PacerParameters(part, window_s, 1, part / window_s, part, window_s / _CLOCKS_AGREE + _REST_MARGIN_S)
    in_flight_max = math.ceil(part / _IN_FLIGHT_PART)
    burst = _burst(part, window_s)
    # the next whole number is not reached, so floor(burst + rate * window) is part - 2 * in_flight_max
    rate_per_s = (part + 1 - burst - 2 * in_flight_max) / window_s * _CLOCKS_AGREE
    return PacerParameters(part, window_s, burst, rate_per_s, in_flight_max)


def _burst(part: int, window_s: float) -> int:
    """With a burst of 1 all time by which a timer is late is lost."""
    if part < _SMALL_LIMIT or part / window_s <= _SLOW_PER_S:
        return 1
    return max(2, math.ceil(part / window_s * _TIMER_S))
