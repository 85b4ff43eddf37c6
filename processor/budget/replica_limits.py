"""Where a budget is kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """Where and how this process works, beside the rules that all share."""

    instance: str
    calls_max: int  # calls in flight in this process
    queue_max: int  # requests that wait in one line before others are sent away
    park_s: float  # a longer pause is not waited out in a line
