"""Partitions as values. ``TopicPartition`` is aiokafka's own, under the one name that other rooms use."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import TopicPartition
from aiokafka.partitioner import DefaultPartitioner

__all__ = ["TopicPartition", "partition_of_key"]

_PARTITIONER = DefaultPartitioner()


def partition_of_key(key: bytes, partitions: Sequence[TopicPartition]) -> TopicPartition:
    """The partition of a topic that records with a key go to; ``partitions`` are all of the topic, in order."""
    found: TopicPartition = _PARTITIONER(key, list(partitions), None)
    return found
