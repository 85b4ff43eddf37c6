"""What lanes of a process have finished and could not publish, until the group has divided the partitions again. Pure.

Whoever is taken for dead while brokers are away, or whose clients have failed, gets its partitions back as a rule. What is finished would
be taken for calls of which nothing is known then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from aiokafka import TopicPartition

from processor.contract.records import Output, OutputKind, Record
from processor.stream.finished_outcomes import Finished


class KeptOutcomes:
    """By partition and offset.

    Promises: an outcome is handed to the next lane of its partition in this process, if no other process has been given the partition
    before; the committed gap map says whether anybody has published one for its record meanwhile. So there are never more of them than the
    lanes of one assignment may hold.
    """

    def __init__(self) -> None:
        self._kept: dict[TopicPartition, dict[int, Finished]] = {}

    def keep(self, partition: TopicPartition, finished: Iterable[Finished]) -> None:
        """What a lane leaves behind; not what is handed on to another application: it has cost no call, and may be refused for ever."""
        if found := {item[0].source.offset: item for item in finished if not _is_handed_on(item)}:
            self._kept[partition] = found

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """All others belong to other processes now, which find out by themselves what was done."""
        self._kept = {tp: found for tp, found in self._kept.items() if tp in partitions}

    def hand_over(self, partition: TopicPartition, is_unfinished: Callable[[int], bool]) -> dict[int, Finished]:
        """To the lane that begins: of the offsets that are not done, as the last commit says."""
        return {offset: item for offset, item in self._kept.pop(partition, {}).items() if is_unfinished(offset)}


def _is_handed_on(item: Finished) -> bool:
    return any(output.kind is OutputKind.FORWARD for output in item[1])


def outcome_of(record: Record, kept: dict[int, Finished]) -> Sequence[Output] | None:
    """What completes a delivered record, and is kept no more; None if nothing is known of it.

    Offsets of a topic that was deleted and made again stand for other records.
    """
    item = kept.pop(record.source.offset, None)
    return item[1] if item is not None and item[0] == record else None
