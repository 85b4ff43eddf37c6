"""Episodes in which nothing is a reason for a doubt: topics, brokers and the budget log are not as usual, and all calls are answered."""

from __future__ import annotations

import random

from simulation.disturbances import FIRST_S, Disturbance
from simulation.stage import Stage


def joining(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """A replica is stopped, comes again and reads late; the other one goes on with its partitions until the group has noticed."""
    found, at_s = [], FIRST_S
    for _ in range(2):
        name = draw.choice(stage.replicas)
        found.append(Disturbance(at_s + draw.uniform(1.0, 4.0), "stop", name))
        amount = draw.uniform(0.5, 3.0)
        found.append(Disturbance(draw.uniform(0.0, 0.5), "slow reads", name, draw.uniform(8.0, 15.0), amount=amount, after="started"))
        at_s += 30.0
    return found


def new_leaders(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """A broker is killed and comes again, and partitions are taken over while their leaders are new."""
    found, at_s = [], FIRST_S + draw.uniform(0.5, 5.0)
    for _ in range(2):
        lasts_s = draw.uniform(3.0, 12.0)
        found.append(Disturbance(at_s, "broker kill", draw.choice(stage.brokers), lasts_s))
        stops_s = [at_s + draw.uniform(0.5, lasts_s + 6.0) for _ in range(2)]
        found += [Disturbance(stop_s, "stop", draw.choice(stage.replicas)) for stop_s in stops_s]
        at_s += lasts_s + draw.uniform(10.0, 16.0)
    return sorted(found, key=lambda one: one.at_s)


_OUTPUTS = (
    ("too few replicas", "results"),
    ("too few replicas", "results"),
    ("too few replicas", "delays"),
    ("compacted", "delays"),  # records there have no key
    ("topic deleted", "results"),
    ("ids forgotten", "of producers"),
    ("partitions added", "requests"),
    ("partitions added", "delays"),
    ("partitions added", "results"),
)
_AT_ONCE = ("ids forgotten", "partitions added")
_READ = ("requests", "delays")


def topics(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """Topics take no records for longer than a transaction may last, are deleted, get partitions; ids of producers are forgotten."""
    found, at_s = [], FIRST_S + draw.uniform(0.5, 5.0)
    for _ in range(draw.choice((1, 2, 2))):
        kind, target = draw.choice(_OUTPUTS)
        lasts_s = 0.0 if kind in _AT_ONCE else draw.choice((0.5, 2.0, 3.0)) * stage.transaction_s
        other = draw.choice(("fewer partitions", "as many partitions")) if kind == "topic deleted" else ""
        found.append(Disturbance(at_s, kind, target, lasts_s, other))
        at_s += lasts_s + draw.uniform(0.5, 8.0)
    if any(one.kind == "partitions added" and one.target in _READ for one in found):
        # the group divides all partitions again, some time later: what cannot be published then is a doubt of the next owner
        return [one for one in found if one.kind in _AT_ONCE]
    return found
