"""What may be wrong with topics, and with what brokers keep beside them: records are refused, a topic is deleted, quotas hold back.

Of the topics that outcomes go to nothing of it is a reason for a doubt (guarantees.md, G6): what is finished is kept until it can be
published.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from processor.stream.topics import topic_names

if TYPE_CHECKING:
    from simulation.disturbances import Disturbance
    from simulation.world import World

_MORE = 2  # partitions that are added
_IN_RECORD = 70  # of a batch's bytes one in its first record
_BETWEEN_S = 0.002
_Do = Callable[[Any, Any], None]


def _names(world: World, one: Disturbance) -> Sequence[str]:
    what, _, application = one.target.partition(" of ")
    settings = world.settings("operator")
    names = topic_names(settings.for_application(application) if application in settings.applications else settings)
    return {
        "log": (names.budget,),
        "results": (names.results,),
        "requests": (names.requests,),
        "delays": names.inputs[1:],
        "inputs": names.inputs,
    }[what]


def _refuse(world: World, one: Disturbance) -> None:
    world.cluster.refused.update(_names(world, one))


def _take(world: World, one: Disturbance) -> None:
    world.cluster.refused.difference_update(_names(world, one))


def _set_policy(world: World, one: Disturbance, policy: str) -> None:
    world.topics_usable = False
    for name in _names(world, one):
        world.cluster.topics[name].configs["cleanup.policy"] = policy


def _delete(world: World, one: Disturbance) -> None:
    """Between two transactions: with the topic goes what one has written that is committed just then, as its offsets are committed."""
    world.results_deleted = True
    for name in _names(world, one):
        if any(log.stable_end < log.end for log in world.cluster.topics[name].logs):
            world.cluster.later(_BETWEEN_S, lambda: _delete(world, one))
            return
        world.deleted[name] = world.cluster.topics.pop(name)


def _make_again(world: World, one: Disturbance) -> None:
    fewer = one.other == "fewer partitions"
    for name in _names(world, one):
        was = world.deleted.pop(name)
        world.cluster.create(name, 1 if fewer else len(was.logs), was.replication, was.configs)
        world.whole_since_s = world.loop.time()


def _extend(world: World, one: Disturbance) -> None:
    for name in _names(world, one):
        topic = world.cluster.topics[name]
        world.cluster.extend(topic, len(topic.logs) + _MORE)


def _throttle(world: World, one: Disturbance) -> None:
    world.cluster.throttled_s[world.network.resolve(one.target)] = one.amount


def _let_go(world: World, one: Disturbance) -> None:
    world.cluster.throttled_s.pop(world.network.resolve(one.target), None)  # two of them may overlap


def _shorten(world: World, _: Disturbance) -> None:
    """Retention deletes what is old of the budget log, though later than a lane's commit is made again."""
    log = world.cluster.topics[world.log_topic].logs[0]
    log.delete_older(world.cluster.stamp_ms(0) - int(1000 * world.plan.log_kept_s))


def _lose_offsets(world: World, one: Disturbance) -> None:
    """All are stopped until the offsets of the requests topic are gone; then an operator lets all begin at the first record."""
    world.stop_all(one.lasts_s)

    def lose() -> None:
        settings = world.settings("operator")
        group, requests = world.coordination.groups.group(settings.kafka.group), topic_names(settings).requests
        if not group.members:
            group.offsets = {tp: stored for tp, stored in group.offsets.items() if tp[0] != requests}
            world.decide_missing("earliest")

    world.cluster.later(one.lasts_s - 1.0, lose)


def _spoil(world: World, one: Disturbance) -> None:
    """A batch that nobody was told of has a broken byte in its record: its end is certain, and nothing else of it."""
    for name in _names(world, one):
        builder = DefaultRecordBatchBuilder(
            magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1000
        )
        builder.append(0, world.now_ms("kafka-0"), b"key", b"nobody was told that this is there", [])
        world.cluster.topics[name].logs[0].append_spoiled(bytes(builder.build()), _IN_RECORD)


BEGINS: dict[str, _Do] = {
    "too few replicas": _refuse,
    "compacted": lambda world, one: _set_policy(world, one, "compact"),
    "topic deleted": _delete,
    "partitions added": _extend,
    "batch spoiled": _spoil,
    "offsets gone": _lose_offsets,
    "ids forgotten": lambda world, _: world.coordination.transactions.forget_idle(),
    "throttled": _throttle,
    "log retention": _shorten,
}
ENDS: dict[str, _Do] = {
    "too few replicas": _take,
    "compacted": lambda world, one: _set_policy(world, one, "delete"),
    "topic deleted": _make_again,
    "throttled": _let_go,
}
