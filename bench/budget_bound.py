"""How much of a budget a case leaves to be used, by what the budget promises: so the benchmark tells what was lost without need. Pure.

A slot of the window holds a call from its ask until a window and the slack after its answer. So the full rate is
``limit / (window + slack + latency)``, and what a case takes away whatever a processor does comes off that:

- time in which nobody can call, beyond what is caught up with: the log has no leader, nobody has read it yet, or what was read back of it
  is held for ``SKEW_S`` more;
- asks that a killed or frozen replica leaves behind: each weighs until its promise and a window are over (docs/pacing.md), in the worst
  case without a call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from processor.budget.windows import CATCH_UP_PART

AHEAD_S = 0.5  # of the budget is asked for ahead, as docs/pacing.md says


@dataclass(frozen=True)
class Taken:
    """What a case takes away."""

    away_s: float = 0.0  # nobody can call
    left_behind: int = 0  # replicas whose asks stay behind


NOTHING = Taken()


@dataclass(frozen=True)
class Rate:
    """Of one scope, and what a call costs it beyond its window; seconds."""

    limit: int
    window_s: float
    slack_s: float
    promise_s: float
    latency_s: float  # of Didit, mean

    @property
    def held_s(self) -> float:
        """For how long a call holds its slot."""
        return self.window_s + self.slack_s + self.latency_s


def possible_percent(rate: Rate, replicas: int, seconds: float, taken: Taken) -> float:
    """What can be used of ``limit / window``, in percent."""
    per_s = rate.limit / rate.window_s
    ahead = math.ceil(per_s * AHEAD_S / replicas)
    asks = max(ahead, min(2, math.ceil(per_s * AHEAD_S))) + per_s * rate.latency_s / replicas
    lost_s = taken.left_behind * asks * (rate.promise_s + rate.window_s + rate.slack_s)
    away_s = max(0.0, taken.away_s - CATCH_UP_PART * rate.window_s)
    calls = (rate.limit * (seconds - away_s) - lost_s) / rate.held_s
    return round(100 * calls / (per_s * seconds), 1)
