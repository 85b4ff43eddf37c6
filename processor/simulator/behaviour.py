"""What the user of a session will do, and when. Pure: the random generator goes in."""

from __future__ import annotations

import random

from processor.simulator.config import Behaviour
from processor.simulator.statuses import TRANSITIONS, user_path

Steps = list[tuple[float, str]]  # epoch seconds, and the status set then


def plan_steps(behaviour: Behaviour, outcome: str | None, status: str, now: float, rng: random.Random) -> Steps:
    """The future steps of a session in ``status``; no steps without odds.

    ``outcome``, if a sandbox scenario fixes it, replaces the drawn one.
    """
    if not behaviour.odds:
        return []
    drawn = rng.choices(list(behaviour.odds), list(behaviour.odds.values()))[0]
    return _with_times(user_path(outcome or drawn), behaviour.after_s, status, now, rng)


def completion_steps(outcome: str | None, status: str, now: float) -> Steps:
    """The steps of a user who completes the flow now; ``outcome`` None: approved."""
    return [(now, step) for step in _remaining(user_path(outcome or "Approved"), status)]


def _with_times(path: tuple[str, ...], after_s: float, status: str, now: float, rng: random.Random) -> Steps:
    steps: Steps = []
    at = now
    for step in _remaining(path, status):
        span_s = rng.uniform(0.5, 1.5) * after_s
        # the link is opened early, and the flow takes the rest of the time
        at += span_s * (rng.uniform(0.1, 0.4) if step == "In Progress" else 1.0)
        steps.append((at, step))
    return steps


def _remaining(path: tuple[str, ...], status: str) -> list[str]:
    """The part of a path that follows ``status``."""
    left = list(path)
    while left and left[0] not in TRANSITIONS[status]:
        left.pop(0)
    return left
