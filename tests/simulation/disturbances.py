"""What goes wrong in a world: a list drawn from the seed before it begins, so that it can be read, cut down and replayed.

To add one: a name with its draw in ``_DRAWN``, and what it does in ``BEGINS`` (and ``ENDS``, if it is over at some time).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulation import account, clients, operators, topic_faults

if TYPE_CHECKING:
    from simulation.world import World

FIRST_S = 4.0  # the group has its members by then
API_CUT_S = 18.0  # what is held back for longer reaches the API later than the product has to assume (guarantees.md, G3)
_LINKS = ("cut", "cut one way", "cut answers", "slow link", "reset", "late requests")
LONG_S = 80.0  # longer than a short memory of calls: what they know then comes from the log's older part, by the positions in the commits
_SECOND_BLOW = 0.8  # so often something follows while what was under way at a long outage is still unsettled
_ALONE = FORGET = ("log lost", "offsets reset", "offsets gone")  # what was done before may not be known any more
_BEFORE_S, _AFTER_S = 12.0, 60.0
_UNCLEAN_BATCHES = 3
_RESET_S = 0.5  # of requests that come late, the sender believes after so long that they are lost
_BROKERS_APART_S = 8.0  # two brokers away at once would be an outage of everything


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One of them. Times in seconds since the processors were started; ``lasts_s`` is 0 for what is over at once.

    With ``after`` it begins ``at_s`` seconds after the first line of the timeline that holds this text and follows the beginning of the
    disturbance before it in the list.
    """

    at_s: float
    kind: str
    target: str
    lasts_s: float = 0.0
    other: str = ""
    amount: float = 0.0
    after: str = ""

    def __str__(self) -> str:
        details = [f"with {self.other}" if self.other else "", f"for {self.lasts_s:.1f} s" if self.lasts_s else ""]
        details.append(f"by {self.amount:+.1f} s" if self.amount else "")
        when = f"{self.at_s:6.1f} s" if not self.after else f"{self.at_s:6.3f} s after {self.after!r}"
        return " ".join(part for part in (when, self.kind, self.target, *details) if part)


def draw_disturbances(draw: random.Random, *, replicas: list[str], brokers: list[str], span_s: float) -> list[Disturbance]:
    """What happens in a world of this seed, in order of time."""
    found: list[Disturbance] = []
    broker_free_s, at_s = 0.0, FIRST_S
    mean_s = draw.choice((2.0, 4.0, 8.0, 15.0))
    while (at_s := at_s + draw.expovariate(1.0 / mean_s)) < span_s:
        kind = draw.choices([name for name, _ in _DRAWN], [weight for _, weight in _DRAWN])[0]
        if kind.startswith("broker") and (at_s < broker_free_s or len(brokers) < 2):  # one must be left
            continue
        one = draw_one(draw, kind, at_s, replicas, brokers)
        if kind.startswith("broker"):
            broker_free_s = one.at_s + one.lasts_s + _BROKERS_APART_S
        found.append(one)
        if one.lasts_s == LONG_S and draw.random() < _SECOND_BLOW:
            kind = draw.choice(("kill all", "log outage", "log lost", "kill"))
            after_s = one.at_s + one.lasts_s + draw.uniform(6.0, 35.0)
            found.append(draw_one(draw, kind, after_s, replicas, brokers))
            at_s = after_s
    return _within_what_is_assumed(found)


def _within_what_is_assumed(found: list[Disturbance]) -> list[Disturbance]:
    """Nothing else goes wrong around what the guarantees allow alone (guarantees.md, G2 and G3).

    The log may be lost under a processor that lives; offsets may be committed by hand if nobody was killed just before.
    """
    alone = [one for one in found if one.kind in _ALONE]

    def near(one: Disturbance) -> bool:
        spans = ((other.at_s - _BEFORE_S, other.at_s + max(other.lasts_s, _AFTER_S)) for other in alone if other is not one)
        return any(one.at_s < last and one.at_s + one.lasts_s > first for first, last in spans)

    return [one for one in found if not near(one)]


_DRAWN = (
    ("kill", 5),
    ("stop", 2),
    ("freeze", 3),
    ("broker kill", 1),
    ("broker freeze", 1),
    ("cut", 2),
    ("cut one way", 1),
    ("slow link", 1),
    ("reset", 3),
    ("clock step", 1),
    ("clock drift", 1),
    ("cut answers", 1),
    ("late requests", 1),
    ("credits gone", 1),
    ("key revoked", 1),
    ("unclean election", 0),  # only by ``--also``: records that were acknowledged are lost
    ("log outage", 2),
    ("kill all", 2),
    ("log lost", 1),
    ("throttled", 1),
    ("partitions added", 1),
)


def draw_one(draw: random.Random, kind: str, at_s: float, replicas: list[str], brokers: list[str]) -> Disturbance:
    """One of a kind, at a time."""
    replica, lasts_s = draw.choice(replicas), draw.choice((1.0, 4.0, 15.0)) * draw.uniform(0.3, 2.0)
    peer = draw.choice([*brokers, "brokers", "didit"])
    if kind == "late requests" and peer == "didit":  # the API's own part of that are its lost and late answers
        peer = "brokers"
    if peer == "didit":
        lasts_s = min(lasts_s, API_CUT_S)
    amount = draw.uniform(0.1, 1.5) if kind in ("slow link", "throttled") else draw.uniform(-4.0, 4.0) if kind.startswith("clock") else 0.0
    target = {
        "broker kill": draw.choice(brokers),
        "broker freeze": draw.choice(brokers),
        "unclean election": draw.choice(brokers),
        "clock step": draw.choice([*replicas, *brokers]),
        "clock drift": draw.choice([*replicas, *brokers]),
        "log outage": "of the budget log",
        "credits gone": "at Didit",
        "key revoked": "at Didit",
        "log lost": "and made again",
        "kill all": "replicas",
        "partitions added": draw.choice(("requests", "delays", "inputs", "results")),
        "offsets reset": draw.choice(("with a text", "without a text")),  # by an operator, replicas stopped
    }.get(kind, replica)
    if kind in ("kill", "kill all"):
        lasts_s = draw.choice((0.2, 2.0, 12.0)) * draw.uniform(0.5, 1.5)  # until it is started again
    if kind == "offsets reset" or (kind == "kill all" and draw.random() < 0.5):
        lasts_s = LONG_S  # the group is empty by then
    if kind.startswith("broker") or kind == "unclean election":
        lasts_s = max(2.0, lasts_s)
    if kind == "log lost":
        lasts_s = min(3.0, lasts_s)  # clients ask where the topic is as fast as they get answers, which takes its time here
    if kind in ("stop", "reset", "clock step", "partitions added"):
        lasts_s = 0.0
    return Disturbance(at_s, kind, target, lasts_s, peer if kind in _LINKS else "", amount)


def _peers(world: World, one: Disturbance) -> list[str]:
    return world.cluster.names if one.other == "brokers" else [one.other]


def _kill(world: World, one: Disturbance) -> None:
    for name in [one.target] if one.kind == "kill" else world.replicas:
        world.kill(name)
        world.restart_later(name, one.lasts_s)


def _stop(world: World, one: Disturbance) -> None:
    world.stop(one.target)


def _freeze(world: World, one: Disturbance) -> None:
    world.freeze(one.target)


def _thaw(world: World, one: Disturbance) -> None:
    world.thaw(one.target)


def _broker_kill(world: World, one: Disturbance) -> None:
    world.kill(one.target)
    world.cluster.changed(world.cluster.names.index(one.target))


def _broker_start(world: World, one: Disturbance) -> None:
    number = world.cluster.names.index(one.target)
    world.network.revive(one.target)
    world.start_broker(number)
    world.cluster.changed(number)


def _broker_freeze(world: World, one: Disturbance) -> None:
    world.freeze(one.target)
    world.cluster.changed(world.cluster.names.index(one.target))


def _broker_thaw(world: World, one: Disturbance) -> None:
    world.thaw(one.target)
    world.cluster.changed(world.cluster.names.index(one.target))


def _cut(world: World, one: Disturbance) -> None:
    for peer in _peers(world, one):
        world.network.cut(one.target, peer)
        if one.kind == "cut":
            world.network.cut(peer, one.target)


def _cut_answers(world: World, one: Disturbance) -> None:
    for peer in _peers(world, one):
        world.network.cut(peer, one.target)


def _delay(world: World, one: Disturbance) -> None:
    for peer in _peers(world, one):
        world.network.delay(one.target, peer, reset_s=min(_RESET_S, one.lasts_s / 2), arrives_s=one.lasts_s)


def _late_calls(world: World, one: Disturbance) -> None:
    world.network.hold_back(one.target, one.other)


def _drift(world: World, one: Disturbance) -> None:
    if one.target in world.cluster.names:
        world.broker_step_s = max(world.broker_step_s, abs(one.amount))
    world.network.hosts[one.target].wall_offset_s = 0.0
    world.network.hosts[one.target].drift(one.amount / one.lasts_s)


def _set_right(world: World, one: Disturbance) -> None:
    world.network.hosts[one.target].wall_offset_s = 0.0


def _unclean(world: World, one: Disturbance) -> None:
    world.cluster.unclean_batches = _UNCLEAN_BATCHES
    _broker_kill(world, one)


def _clean(world: World, one: Disturbance) -> None:
    _broker_start(world, one)
    world.cluster.unclean_batches = 0


def _heal(world: World, one: Disturbance) -> None:
    for peer in _peers(world, one):
        world.network.heal(one.target, peer)
        world.network.heal(peer, one.target)


def _slow(world: World, one: Disturbance) -> None:
    for peer in _peers(world, one):
        world.network.slow_s[frozenset((one.target, peer))] = one.amount


def _fast(world: World, one: Disturbance) -> None:
    for peer in _peers(world, one):
        world.network.slow_s.pop(frozenset((one.target, peer)), None)


def _slow_reads(world: World, one: Disturbance) -> None:
    world.cluster.slow_reads_s[world.network.resolve(one.target)] = one.amount


def _quick_reads(world: World, one: Disturbance) -> None:
    del world.cluster.slow_reads_s[world.network.resolve(one.target)]


def _reset(world: World, one: Disturbance) -> None:
    for peer in _peers(world, one):
        world.network.reset(one.target, peer)


def _step(world: World, one: Disturbance) -> None:
    if one.target in world.cluster.names:
        world.broker_step_s = max(world.broker_step_s, abs(one.amount))
    world.network.hosts[one.target].wall_offset_s = one.amount  # steps do not add up: clocks stay within what is assumed


def _refuse(world: World, _: Disturbance) -> None:
    world.cluster.refused.add(world.log_topic)


def _lose(world: World, _: Disturbance) -> None:
    world.lost_log = world.cluster.topics.pop(world.log_topic)


def _make_again(world: World, _: Disturbance) -> None:
    assert world.lost_log is not None
    world.cluster.create(world.log_topic, 1, world.lost_log.replication, world.lost_log.configs)


def _reset_offsets(world: World, one: Disturbance) -> None:
    world.stop_all(one.lasts_s)
    text = "" if one.target == "without a text" else "by hand"
    world.cluster.later(one.lasts_s - 1.0, lambda: world.reset_offsets(text))


def _act(world: World, one: Disturbance) -> None:
    operators.act(world, one.kind, one.target)


def _kill_act(world: World, one: Disturbance) -> None:
    if one.lasts_s:
        operators.kill(world, one.target)


def _take(world: World, _: Disturbance) -> None:
    world.cluster.refused.discard(world.log_topic)


BEGINS: dict[str, Callable[[Any, Disturbance], None]] = {
    "kill": _kill,
    "kill all": _kill,
    "stop": _stop,
    "freeze": _freeze,
    "broker kill": _broker_kill,
    "broker freeze": _broker_freeze,
    "cut": _cut,
    "cut one way": _cut,
    "cut answers": _cut_answers,
    "late requests": _delay,
    "late calls": _late_calls,
    "clock drift": _drift,
    "credits gone": lambda world, _: account.spend_all(world),
    "key revoked": lambda world, one: account.revoke_key(world, one.target),
    "unclean election": _unclean,
    "slow link": _slow,
    "slow reads": _slow_reads,
    "reset": _reset,
    "clock step": _step,
    "log outage": _refuse,
    "log lost": _lose,
    "offsets reset": _reset_offsets,
    "caller killed": lambda world, _: clients.restart(world),
    **topic_faults.BEGINS,
    **dict.fromkeys((*operators.ACTS, operators.ERASE), _act),
}
ENDS: dict[str, Callable[[Any, Disturbance], None]] = {
    "freeze": _thaw,
    "broker kill": _broker_start,
    "broker freeze": _broker_thaw,
    "cut": _heal,
    "cut one way": _heal,
    "cut answers": _heal,
    "late calls": _heal,
    "clock drift": _set_right,
    "credits gone": lambda world, _: account.top_up(world),
    "key revoked": lambda world, _: account.restore_key(world),
    "unclean election": _clean,
    "slow link": _fast,
    "slow reads": _quick_reads,
    "log outage": _take,
    "log lost": _make_again,
    **topic_faults.ENDS,
    **dict.fromkeys((*operators.ACTS, operators.ERASE), _kill_act),
}
