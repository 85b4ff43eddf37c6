"""Partitions as values. ``TopicPartition`` is aiokafka's own, under the one name that other rooms use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from processor.contract.records import Source

__all__ = ["PartitionEnds", "PartitionsFound", "ReplicaCount", "TopicPartition", "lane_name", "partition_named", "partition_of"]


@dataclass(frozen=True, slots=True)
class PartitionEnds:
    """How far a partition goes, as its leader tells."""

    begin: int  # the first offset that it still has
    stable: int  # the last stable offset: readers of committed records get what lies below
    high: int  # the high watermark: what lies below is written, committed or not


@dataclass(frozen=True, slots=True)
class ReplicaCount:
    """Of one partition."""

    in_sync: int
    all: int


@dataclass(frozen=True, slots=True)
class PartitionsFound:
    """The partitions of some topics, as the brokers have them now."""

    led: tuple[TopicPartition, ...]
    leaderless: tuple[TopicPartition, ...]  # also those whose leader is new and cannot tell yet where they end
    missing: tuple[str, ...]  # topics that do not exist
    lacking: Mapping[TopicPartition, ReplicaCount] = field(default_factory=dict)  # with a leader, and with replicas that are not in sync


def lane_name(partition: TopicPartition) -> str:
    """``topic[partition]``, as ``contract.records.Source.lane``."""
    return f"{partition.topic}[{partition.partition}]"


def partition_of(source: Source) -> TopicPartition:
    """The partition of a record."""
    return TopicPartition(source.topic, source.partition)


def partition_named(lane: str) -> TopicPartition | None:
    """The partition of a lane's name; None for what is none."""
    topic, _, number = lane.removesuffix("]").rpartition("[")
    return TopicPartition(topic, int(number)) if topic and number.isdecimal() and number.isascii() else None
