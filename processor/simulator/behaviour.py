"""What the user of a session will do, and when. Pure: draws go in."""

from __future__ import annotations

import random

from processor.simulator.config import Behaviour
from processor.simulator.statuses import TRANSITIONS, user_path

Steps = list[tuple[float, str]]  # epoch seconds, and the status taken then


def plan(behaviour: Behaviour, outcome: str | None, status: str, now: float, rng: random.Random) -> Steps:
    """The steps of a session in ``status``; ``outcome`` (of a sandbox scenario) replaces the drawn one. None without odds."""
    if not behaviour.odds:
        return []
    drawn = rng.choices(list(behaviour.odds), list(behaviour.odds.values()))[0]
    return _timed(user_path(outcome or drawn), behaviour.after_s, status, now, rng)


def completion(outcome: str | None, status: str, now: float) -> Steps:
    """The steps of a user who finishes now."""
    return [(now, step) for step in _from(user_path(outcome or "Approved"), status)]


def _timed(path: tuple[str, ...], after_s: float, status: str, now: float, rng: random.Random) -> Steps:
    steps: Steps = []
    at = now
    for step in _from(path, status):
        span_s = rng.uniform(0.5, 1.5) * after_s
        # the user opens the link early, and then takes the rest of the time
        at += span_s * (rng.uniform(0.1, 0.4) if step == "In Progress" else 1.0)
        steps.append((at, step))
    return steps


def _from(path: tuple[str, ...], status: str) -> list[str]:
    """What is left of a path for a session that has a status already."""
    left = list(path)
    while left and left[0] not in TRANSITIONS[status]:
        left.pop(0)
    return left
