"""Which records of the input topics are done: what the group has committed, with its gap maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from processor.settings import Settings
from processor.stream.offsets import Finished, finished_of
from processor.stream.partitions import TopicPartition
from processor.stream.reader import PartitionReader


async def read_finished(settings: Settings, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Finished]:
    """Where the group stands; of a partition without a committed offset nothing is done.

    Raises:
        KafkaFailedError: if the brokers cannot be asked.
    """
    async with PartitionReader(settings, of_group=True) as reader:
        committed = await reader.committed(partitions)
    return {tp: Finished() if (at := committed.get(tp)) is None else finished_of(at.offset, at.metadata) for tp in partitions}
