"""Partitions as values. ``TopicPartition`` is aiokafka's own, under the one name that other rooms use."""

from __future__ import annotations

from dataclasses import dataclass

from aiokafka import TopicPartition

from processor.contract.records import Source

__all__ = ["PartitionEnds", "PartitionsFound", "TopicPartition", "lane_name", "partition_named", "partition_of"]


@dataclass(frozen=True, slots=True)
class PartitionEnds:
    """How far a partition goes, as its leader tells."""

    begin: int  # the first offset that it still has
    stable: int  # the last stable offset: readers of committed records get what lies below
    high: int  # the high watermark: what lies below is written, committed or not


@dataclass(frozen=True, slots=True)
class PartitionsFound:
    """The partitions of some topics, as the brokers' metadata has them."""

    led: tuple[TopicPartition, ...]
    leaderless: tuple[TopicPartition, ...]
    missing: tuple[str, ...]  # topics that do not exist


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
