"""The dead letters, and what has been done about each: read once for a command, or kept up to date for a page."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from processor.contract.records import Record
from processor.contract.repairs import Repair, RepairKind, read_repair
from processor.repair.dead_letter import dead_letter_of
from processor.repair.model import DeadLetter, DeadLetterCounts, DeadLetterStatus
from processor.settings import Settings
from processor.stream.errors import kafka_deadline
from processor.stream.partitions import TopicPartition, partition_of
from processor.stream.topic_reader import KeptTopicReader, TopicReader, in_turns
from processor.stream.topics import topic_names

KEPT_MAX = 100_000
_REFRESH_S = 300.0
_STANDINGS = {RepairKind.REDRIVEN: DeadLetterStatus.REDRIVEN, RepairKind.DISCARDED: DeadLetterStatus.DISCARDED}
_Position = tuple[int, int]


class RepairsLog:
    """What the repairs topic says, by the dead letter that it was done to."""

    def __init__(self, topic: str, dead_letters: str) -> None:
        self.busy_ms: dict[str, int] = {}  # the latest start that a redriven record has been given, by operation
        self.floors: dict[int, int] = {}  # by partition: what was done to dead letters below is not kept
        self._topic, self._dead_letters = topic, dead_letters
        self._by_position: dict[_Position, Repair] = {}
        self._next: dict[TopicPartition, int] = {}

    async def refresh(
        self, reader: TopicReader, *, to_the_last: bool = False, on_repair: Callable[[Repair], None] = lambda _repair: None
    ) -> None:
        """Read what is new.

        Args:
            reader: of topics.
            to_the_last: everything that is there, or it raises.
            on_repair: told of each that stands from now on, also if it raises later.

        Raises:
            KafkaFailedError: it is read again from there by the next call.
        """
        bounds = await reader.bounds(await reader.partitions(self._topic))
        self._next = {
            tp: at for tp, at in self._next.items() if at <= bounds.get(tp, (0, at))[1]
        }  # one made again is read from its beginning
        ranges = {tp: (max(begin, self._next.get(tp, 0)), end) for tp, (begin, end) in bounds.items()}
        async with reader.read(ranges, to_the_last=to_the_last) as batches:
            async for batch in batches:
                for record in batch:
                    if (repair := self._take(record)) is not None:
                        on_repair(repair)
        for tp, (_, end) in bounds.items():
            self._next[tp] = max(end, self._next.get(tp, 0))

    def done_to(self, dead_letter: DeadLetter) -> Repair | None:
        """What was done to a dead letter; one of another time at the same position (a topic created again) is not meant."""
        repair = self._by_position.get((dead_letter.partition, dead_letter.offset))
        return repair if repair is not None and repair.target.failed_ms == dead_letter.failed_ms else None

    def _take(self, record: Record) -> Repair | None:
        self._next[partition_of(record.source)] = record.source.offset + 1
        repair = read_repair(record.value)
        if repair is None:
            return None
        if repair.operation is not None and repair.due_ms is not None:
            self.busy_ms[repair.operation] = max(repair.due_ms, self.busy_ms.get(repair.operation, 0))
        if repair.kind not in _STANDINGS or repair.target.topic != self._dead_letters:
            return None
        if repair.target.offset < self.floors.get(repair.target.partition, 0):
            return None
        self._by_position[repair.target.partition, repair.target.offset] = repair
        return repair

    def forget(self, position: _Position) -> None:
        """Forget a dead letter, and with it all before it in its partition."""
        self._by_position.pop(position, None)
        self.floors[position[0]] = position[1] + 1


class DeadLetterIndex:
    """Dead letters without their bytes, the newest ``kept_max``. Use as ``refresh`` as often as you like, then ``close``."""

    def __init__(self, settings: Settings, *, kept_max: int = KEPT_MAX) -> None:
        names = topic_names(settings)
        self.complete = True  # false: there are older ones that are not remembered
        self.repairs = RepairsLog(names.repairs, names.dead_letters)
        self._topic, self._kept_max = names.dead_letters, kept_max
        self._reader = KeptTopicReader(settings)
        self._next: dict[TopicPartition, int] = {}
        self._begins: dict[TopicPartition, int] = {}
        self._dead_letters: OrderedDict[_Position, DeadLetter] = OrderedDict()  # in the order of reading

    async def close(self) -> None:
        """End the client, within seconds."""
        await self._reader.close()

    async def refresh(self) -> None:
        """Read what is new up to now. What was read stays when it fails.

        Raises:
            KafkaFailedError: the next call goes on.
        """
        async with self._reader.use(_REFRESH_S) as reader:
            await self._read_dead_letters(reader)
            await self.repairs.refresh(reader, on_repair=lambda repair: self._note((repair.target.partition, repair.target.offset)))

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """All that are remembered, the oldest first."""
        return sorted(
            self._dead_letters.values(), key=lambda dead_letter: (dead_letter.failed_ms, dead_letter.partition, dead_letter.offset)
        )

    def dead_letter(self, partition: int, offset: int) -> DeadLetter | None:
        """The one at a position."""
        return self._dead_letters.get((partition, offset))

    @property
    def counts(self) -> DeadLetterCounts:
        """How many stand how."""
        statuses = Counter(dead_letter.status for dead_letter in self._dead_letters.values())
        open_ones = [dead_letter for dead_letter in self._dead_letters.values() if dead_letter.status is DeadLetterStatus.OPEN]
        return DeadLetterCounts(
            statuses[DeadLetterStatus.OPEN],
            dict(Counter(dead_letter.reason_type for dead_letter in open_ones)),
            statuses[DeadLetterStatus.REDRIVEN],
            statuses[DeadLetterStatus.DISCARDED],
            self.complete,
            min((dead_letter.failed_ms for dead_letter in open_ones), default=None),
        )

    async def _read_dead_letters(self, reader: TopicReader) -> None:
        bounds = await reader.bounds(await reader.partitions(self._topic))
        if not self._next:
            room = newest({tp: end - begin for tp, (begin, end) in bounds.items()}, self._kept_max)
            self.complete = all(end - begin <= room for begin, end in bounds.values())
            self._next = {tp: max(begin, end - room) for tp, (begin, end) in bounds.items()}
            self.repairs.floors = {tp.partition: offset for tp, offset in self._next.items()}
        self._drop_gone(bounds)
        ranges = {tp: (max(begin, self._next.get(tp, begin)), end) for tp, (begin, end) in bounds.items()}
        async with reader.read(ranges) as batches:
            async for record in in_turns(batches):
                self._take(record)
        for tp, (_, end) in bounds.items():
            self._next[tp] = max(end, self._next.get(tp, 0))

    def _take(self, record: Record) -> None:
        self._next[partition_of(record.source)] = record.source.offset + 1
        dead_letter = dead_letter_of(record)
        self._dead_letters[dead_letter.partition, dead_letter.offset] = dead_letter
        self._note((dead_letter.partition, dead_letter.offset))
        while len(self._dead_letters) > self._kept_max:
            self.repairs.forget(self._dead_letters.popitem(last=False)[0])
            self.complete = False

    def _drop_gone(self, bounds: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """What the topic keeps no more is not open; of a topic that was made again everything is read."""
        for tp, (begin, end) in bounds.items():
            again = end < self._next.get(tp, 0)
            if again or begin > self._begins.get(tp, begin):
                for position in [p for p in self._dead_letters if p[0] == tp.partition and (again or p[1] < begin)]:
                    del self._dead_letters[position]
                    self.repairs.forget(position)
            if again:
                self._next[tp] = self.repairs.floors[tp.partition] = begin
            self._begins[tp] = begin

    def _note(self, position: _Position) -> None:
        dead_letter = self._dead_letters.get(position)
        if dead_letter is not None:
            self._dead_letters[position] = status_of(dead_letter, self.repairs)


async def read_dead_letter(settings: Settings, partition: int, offset: int) -> tuple[DeadLetter, Record] | None:
    """The dead letter at a position, with its bytes; None if there is none (any more).

    Raises:
        KafkaFailedError: if it cannot be read.
    """
    names = topic_names(settings)
    tp, repairs = TopicPartition(names.dead_letters, partition), RepairsLog(names.repairs, names.dead_letters)
    async with TopicReader(settings) as reader, kafka_deadline(settings, _REFRESH_S):
        if tp not in await reader.partitions(names.dead_letters):
            return None
        record = (await reader.fetch([(tp, offset)])).get((tp, offset))
        if record is None:
            return None
        await repairs.refresh(reader)
    return status_of(dead_letter_of(record), repairs), record


def status_of(dead_letter: DeadLetter, repairs: RepairsLog) -> DeadLetter:
    """The same with what was done about it."""
    repair = repairs.done_to(dead_letter)
    if repair is None:
        return dead_letter
    return replace(dead_letter, status=_STANDINGS[repair.kind], handled_ms=repair.at_ms, handled_by=repair.by)


async def fetch_dead_letters(reader: TopicReader, topic: str, dead_letters: Sequence[DeadLetter]) -> dict[_Position, Record]:
    """The records of dead letters, with their bytes; one of another time at the same position is not meant, and absent."""
    found = await reader.fetch((TopicPartition(topic, dead_letter.partition), dead_letter.offset) for dead_letter in dead_letters)
    records = {(tp.partition, offset): record for (tp, offset), record in found.items()}
    return {
        (dead_letter.partition, dead_letter.offset): record
        for dead_letter in dead_letters
        if (record := records.get((dead_letter.partition, dead_letter.offset))) is not None
        and dead_letter_of(record).failed_ms == dead_letter.failed_ms
    }


def newest(sizes: Mapping[TopicPartition, int], total_max: int) -> int:
    """How many of the last offsets of each partition to read so that all together are about ``total_max`` (one each more at most)."""
    left, room = total_max, 0
    for index, size in enumerate(ordered := sorted(sizes.values())):
        room = -(-left // (len(ordered) - index))
        if size >= room:
            return room
        left -= size
    return max(sizes.values(), default=0)
