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


def brokers_away(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """All brokers are killed in the same moment, and come again one after the other; no processor is ended."""
    found, at_s = [], FIRST_S + draw.uniform(0.5, 5.0)
    for _ in range(draw.choice((1, 2))):
        lasts_s = draw.choice((3.0, 12.0, 35.0))  # longer than a session, and than a transaction with the look for what it lacks
        found += [Disturbance(at_s, "broker kill", broker, lasts_s + draw.uniform(0.0, 4.0)) for broker in stage.brokers]
        at_s += lasts_s + draw.uniform(12.0, 20.0)
    return found


def silent(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """Brokers are silent for a replica that is stopped, or one of them for a replica whose life ends as others have its partitions now."""
    found, at_s = [], FIRST_S + draw.uniform(0.5, 4.0)
    for _ in range(2):
        name, lasts_s = draw.choice(stage.replicas), draw.uniform(12.0, 30.0)
        if draw.random() < 0.4:
            found.append(Disturbance(at_s, draw.choice(("cut", "cut answers")), name, lasts_s, "brokers"))
            found.append(Disturbance(at_s + draw.uniform(0.0, 15.0), "stop", name))
        else:
            frozen_s = draw.uniform(12.0, 20.0)  # longer than a member may be silent
            found.append(Disturbance(at_s, "freeze", name, frozen_s))
            at_s += frozen_s - draw.uniform(0.0, 1.0)
            broker = draw.choice(stage.brokers)
            if draw.random() < 0.5:
                found.append(Disturbance(at_s, "broker freeze", broker, lasts_s))
            else:
                found.append(Disturbance(at_s, "cut", name, lasts_s, broker))
        at_s += lasts_s + draw.uniform(8.0, 15.0)
    return sorted(found, key=lambda one: one.at_s)


_OUTPUTS = (
    ("too few replicas", "results"),
    ("too few replicas", "results"),
    ("too few replicas", "delays"),
    ("compacted", "delays"),  # records there have no key
    ("topic deleted", "results"),
    ("topic deleted", "results"),
    ("ids forgotten", "of producers"),
    ("ids forgotten", "of producers"),
    ("partitions added", "requests"),
    ("partitions added", "delays"),
    ("partitions added", "results"),
)
_STOP_S = 8.0  # VP_LANES__FLUSH_S and what it takes to hear that a topic is there
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
        at_s += lasts_s
        if kind != "partitions added" and draw.random() < 0.6:  # what was refused waits still to be tried again
            # a producer that began before waits for a partition that is there no more, for as long as a transaction may last
            heard_s = stage.transaction_s if other == "fewer partitions" else 0.0
            stop = Disturbance(at_s + heard_s + draw.uniform(0.05, 4.0), "stop", draw.choice(stage.replicas))
            found.append(stop)
            at_s = max(at_s, stop.at_s + _STOP_S - 0.5)  # who is stopped can publish: what waits when it ends is in doubt
        at_s += draw.uniform(0.5, 8.0)
    if any(one.kind == "partitions added" and one.target in _READ for one in found):
        # the group divides all partitions again, some time later: what cannot be published then is a doubt of the next owner
        return [one for one in found if one.kind in (*_AT_ONCE, "stop")]
    return found
