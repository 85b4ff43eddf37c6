"""Episodes about people and those who ask: operators, users, callers; and processors that end in the middle of it."""

from __future__ import annotations

import random

from simulation.disturbances import FIRST_S, Disturbance
from simulation.operators import ERASE, HOSTS
from simulation.stage import Stage


def busy(draw: random.Random) -> float:
    """A time at which calls are under way."""
    return FIRST_S + draw.uniform(0.5, 5.0)


def restarts(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """One or two are killed."""
    return [Disturbance(busy(draw) + 3.0 * n, "kill", draw.choice(stage.replicas), draw.uniform(0.2, 3.0)) for n in range(2)]


def operators(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """Operators redrive, release and end while processors are killed; two at once, and some are killed in the middle of it."""
    found = restarts(draw, stage) if draw.random() < 0.6 else []
    at_s = FIRST_S + draw.uniform(3.0, 10.0)
    if draw.random() < 0.4:
        found.append(Disturbance(draw.uniform(0.0, at_s), "pause", HOSTS[0]))
        found.append(Disturbance(found[-1].at_s + draw.uniform(5.0, 30.0), "resume", HOSTS[0]))
    if len(stage.brokers) > 1:
        kind = draw.choice(("broker kill", "broker freeze"))
        found.append(Disturbance(at_s + draw.uniform(-2.0, 8.0), kind, draw.choice(stage.brokers), draw.uniform(3.0, 12.0)))
    elif draw.random() < 0.4:
        kind = draw.choice(("cut", "cut answers", "reset"))
        lasts_s = draw.uniform(1.0, 12.0) if kind != "reset" else 0.0
        found.append(Disturbance(at_s + draw.uniform(-2.0, 8.0), kind, draw.choice(HOSTS), lasts_s, "brokers"))
    if draw.random() < 0.3:
        found.append(Disturbance(draw.uniform(1.0, at_s), "batch spoiled", "requests"))
    for _ in range(draw.choice((2, 4, 6))):
        kind = draw.choice(("redrive", "redrive", "redrive doubts", "release", "release", "end", "discard"))
        killed_after_s = draw.choice((0.0, 0.0, draw.uniform(0.01, 0.4)))
        found.append(Disturbance(at_s, kind, draw.choice(HOSTS), killed_after_s))
        at_s += draw.choice((0.05, 1.0, 12.0)) * draw.uniform(0.5, 2.0)
    return found


def receivers(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """Receivers of webhooks are killed, frozen, stopped and cut off, and processors now and then."""
    found, at_s = [], FIRST_S
    for _ in range(draw.choice((3, 5))):
        at_s += draw.uniform(1.0, 6.0)
        name = draw.choice((*stage.receivers, *stage.receivers, draw.choice(stage.replicas)))
        kind = draw.choice(("kill", "kill", "freeze", "stop", "cut", "reset", "slow link"))
        peer, amount = ("brokers", draw.uniform(0.1, 1.5)) if kind == "slow link" else ("brokers" if kind in ("cut", "reset") else "", 0.0)
        lasts_s = 0.0 if kind in ("stop", "reset") else draw.uniform(0.5, 9.0)
        found.append(Disturbance(at_s, kind, name, lasts_s, peer, amount))
    return found


def callers(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """Processors are killed, stopped or frozen while callers ask again and take back; or nothing goes wrong."""
    found, at_s = [], FIRST_S
    for _ in range(draw.choice((0, 1, 2, 3))):
        at_s += draw.uniform(0.5, 8.0)
        kind = draw.choice(("kill", "kill", "stop", "freeze", "kill all"))
        lasts_s = {"stop": 0.0, "freeze": draw.uniform(3.0, 20.0)}.get(kind, draw.uniform(0.2, 3.0))
        found.append(Disturbance(at_s, kind, draw.choice(stage.replicas) if kind != "kill all" else "replicas", lasts_s))
    if draw.random() < 0.4:
        killed_after_s = draw.choice((0.0, draw.uniform(0.05, 3.0)))
        found.append(Disturbance(FIRST_S + draw.uniform(3.0, 12.0), ERASE, HOSTS[0], killed_after_s))
        if killed_after_s:
            found.append(Disturbance(found[-1].at_s + 10.0, ERASE, HOSTS[1]))
    return found


def waiting(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """A caller waits for its results while its process ends, its brokers are silent or gone, and processors end."""
    found, at_s = [], FIRST_S
    for _ in range(draw.choice((2, 3, 4))):
        at_s += draw.uniform(1.0, 6.0)
        kind = draw.choice(("caller killed", "cut", "cut answers", "reset", "freeze", "kill", "broker kill", "broker freeze"))
        lasts_s = draw.uniform(1.0, 12.0)
        if kind.startswith("broker"):
            if len(stage.brokers) > 1:
                found.append(Disturbance(at_s, kind, draw.choice(stage.brokers), lasts_s))
                at_s += lasts_s + 8.0  # two at once would be an outage of everything
        elif kind == "kill":
            found.append(Disturbance(at_s, kind, draw.choice(stage.replicas), lasts_s))
        else:
            other = "brokers" if kind in ("cut", "cut answers", "reset") else ""
            found.append(Disturbance(at_s, kind, "caller", lasts_s if kind not in ("caller killed", "reset") else 0.0, other))
    return found
