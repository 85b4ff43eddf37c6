"""Topics, who leads what, and elections. What was appended is taken to be replicated: elections are clean.

A broker that dies or hangs stays the leader in name until the controller has noticed; then the next one in the partition's order leads.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from zlib import crc32

from simulation.kafka.partition_log import PartitionLog
from simulation.loop import START_S, Host, SimulatedLoop, State
from simulation.machine import EPOCH_S

_RETENTION_CHECK_S = 300.0  # log.retention.check.interval.ms
_FOLLOWED_S, _LATE_S = 0.6, 4.0  # until a new leader's followers have told it what they have; of every fifth one
_NOTICE_S = (0.5, 6.0)  # until the controller has noticed that a broker is gone, or is back


@dataclass(slots=True)
class Topic:
    """A topic. ``leads[n]``: the first choice of leader of partition n; ``epochs[n]``: how often its leader has changed."""

    name: str
    configs: dict[str, str]
    replication: int
    logs: list[PartitionLog]
    leads: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)


class Cluster:
    """What the brokers share.

    Args:
        loop: of the world.
        draw: of the seed.
        brokers: names of their hosts; a broker's id is its place in this list.
        host_of: the host as it is now, by name.
    """

    def __init__(self, loop: SimulatedLoop, draw: random.Random, brokers: list[str], host_of: Callable[[str], Host]) -> None:
        self.loop, self.draw, self.names = loop, draw, brokers
        self.topics: dict[str, Topic] = {}
        self.every: dict[str, list[PartitionLog]] = {}  # by topic: the logs of all that ever had its name
        self.refused: set[str] = set()  # topics that nothing can be appended to now
        self.slow_reads_s: dict[str, float] = {}  # by a client's address: answers with records are held back
        self.throttled_s: dict[str, float] = {}  # by a client's address: a quota holds back what follows on each answer
        self.on_election: list[Callable[[], None]] = []
        self.unclean_batches = 0  # so many of the last batches the next leader of a partition does not have: an unclean election
        self._followed_at: dict[tuple[str, int], float] = {}
        self._host_of = host_of
        self._seen = set(range(len(brokers)))  # whom the controller takes to be there
        self._next_producer_id = 1000
        self.later(_RETENTION_CHECK_S, self._retain)

    @property
    def brokers(self) -> list[int]:
        """Ids of those that the controller takes to be there."""
        return sorted(self._seen)

    def create(self, name: str, partitions: int, replication: int, configs: Mapping[str, str]) -> Topic:
        """A new, empty topic."""
        topic = self.topics[name] = Topic(name, dict(configs), replication, [])
        self.extend(topic, partitions)
        return topic

    def extend(self, topic: Topic, partitions: int) -> None:
        """More partitions, up to so many."""
        append_time = topic.configs.get("message.timestamp.type") == "LogAppendTime"
        for number in range(len(topic.logs), partitions):
            topic.logs.append(PartitionLog(append_time=append_time))
            self.every.setdefault(topic.name, []).append(topic.logs[-1])
            topic.leads.append((crc32(topic.name.encode()) + number) % len(self.names))
            topic.epochs.append(0)

    def keep_stamps(self, topic: str) -> None:
        """From now on records keep their producers' stamps."""
        self.topics[topic].configs["message.timestamp.type"] = "CreateTime"
        for log in self.topics[topic].logs:
            log.append_time = False

    def log(self, topic: str, partition: int) -> PartitionLog | None:
        """A partition's log, if there is one."""
        found = self.topics.get(topic)
        return found.logs[partition] if found is not None and 0 <= partition < len(found.logs) else None

    def leader(self, topic: Topic, partition: int) -> int:
        """The broker that leads a partition, -1 if none can."""
        return self._elected(topic.leads[partition], topic.replication)

    def coordinator(self, key: str) -> int:
        """The broker that coordinates a group or a transactional id."""
        return self._elected(crc32(key.encode()) % len(self.names), len(self.names))

    def _elected(self, first: int, replication: int) -> int:
        if first in self._seen:
            return first
        order = [(first + n) % len(self.names) for n in range(replication)]
        return next((broker for broker in order if broker in self._seen), -1)

    def works(self, broker: int) -> bool:
        """Whether a broker could answer now."""
        return broker >= 0 and self._host_of(self.names[broker]).state is State.UP

    def enough_replicas(self, topic: Topic) -> bool:
        """Whether an append with acks=all can be acknowledged."""
        wanted = int(topic.configs.get("min.insync.replicas", "1"))
        return topic.name not in self.refused and min(topic.replication, len(self._seen)) >= min(wanted, topic.replication)

    def stamp_ms(self, broker: int) -> int:
        """The time by a broker's own clock; read in that broker's context or for it."""
        return int(1000 * (EPOCH_S + self.loop.time() - START_S + self._host_of(self.names[broker]).wall_offset_s))

    def new_producer_id(self) -> int:
        """One that nobody has."""
        self._next_producer_id += 1
        return self._next_producer_id

    def changed(self, broker: int) -> None:
        """A broker was killed, frozen, thawed or started: the controller notices after some time."""
        self.later(self.draw.uniform(*_NOTICE_S), lambda: self._notice(broker))

    def _notice(self, broker: int) -> None:
        before, led = set(self._seen), self._leaders()
        (self._seen.add if self.works(broker) else self._seen.discard)(broker)
        if self._seen != before:
            self._hand_over(led)
            for tell in list(self.on_election):
                tell()

    def _leaders(self) -> dict[tuple[str, int], int]:
        return {(topic.name, n): self.leader(topic, n) for topic in self.topics.values() for n in range(len(topic.logs))}

    def _hand_over(self, led: dict[tuple[str, int], int]) -> None:
        for (name, number), leader in self._leaders().items():
            former = led[name, number]
            if leader in (-1, former):
                continue
            self.topics[name].epochs[number] += 1
            if self.unclean_batches and former not in self._seen:
                self.topics[name].logs[number].drop_last(self.unclean_batches)

            # not drawn: seeds mean what they did before
            late = crc32(f"{name} {number} {self.topics[name].epochs[number]}".encode()) % 5 == 0
            self._followed_at[name, number] = self.loop.time() + (_LATE_S if late else _FOLLOWED_S)

    def knows_end(self, topic: str, partition: int) -> bool:
        """Whether its leader has heard how far what it holds is committed: a new one has not at first (KIP-207)."""
        return self.loop.time() >= self._followed_at.get((topic, partition), 0.0)

    def _retain(self) -> None:
        """What is older than a topic's retention.ms goes, by the brokers' clocks."""
        self.later(_RETENTION_CHECK_S, self._retain)
        for topic in self.topics.values():
            retention_ms = int(topic.configs.get("retention.ms", "604800000"))
            for number, log in enumerate(topic.logs if retention_ms >= 0 else []):
                if (leader := self.leader(topic, number)) >= 0:
                    log.delete_older(self.stamp_ms(leader) - retention_ms)

    def later(self, delay_s: float, run: Callable[[], None]) -> None:
        """Run something that belongs to no single broker."""
        self.loop.call_later(delay_s, run, context=Context())
