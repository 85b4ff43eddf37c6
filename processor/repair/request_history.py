"""Everything about one request: where it is, what became of it, and what was done about it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from processor.contract.records import Record, Source, Unread
from processor.contract.redaction import masked_request
from processor.repair import history_steps
from processor.repair.committed import read_finished
from processor.repair.dead_letter import dead_letter_of
from processor.repair.dead_letter_index import RepairsLog, newest
from processor.repair.model import DeadLetter, DeadLetterStatus, HistoryEntry, RequestHistory
from processor.settings import Settings
from processor.stream.offsets import Finished
from processor.stream.partitions import TopicPartition, partition_of
from processor.stream.topic_reader import TopicReader
from processor.stream.topics import topic_names

_READ_S = 60.0
_OFFSETS_MAX = 200_000  # of each topic, the newest
_NOTES_MAX = 20


async def request_history(settings: Settings, request_id: str) -> RequestHistory:
    """What is known of a request, from the topics.

    Raises:
        KafkaFailedError: if they cannot be read.
    """
    search = _Search(settings, request_id)
    async with TopicReader(settings, search.note_unread) as reader:
        await search.read(reader)
        await search.read_repairs(reader)
        await search.read_first(reader)
    return search.found()


class _Search:
    """What has been found so far."""

    def __init__(self, settings: Settings, request_id: str) -> None:
        self._settings, self._names, self._id = settings, topic_names(settings), request_id
        self._steps: list[HistoryEntry] = []
        self._notes: list[str] = []
        self._dead_letters: list[DeadLetter] = []
        self._firsts: dict[Source, int] = {}  # where a caller's record stood, and its time if that is known
        self._bytes: bytes | None = None
        self._finished: Mapping[TopicPartition, Finished] = {}

    async def read(self, reader: TopicReader) -> None:
        """The results, what is not done, and the dead letters. Nobody knows yet in which partition its first record stood."""
        names = self._names
        ranges: dict[TopicPartition, tuple[int, int]] = {}
        inputs = {topic: await reader.partitions(topic) for topic in names.inputs}
        self._finished = await read_finished(self._settings, [tp for found in inputs.values() for tp in found])
        for topic, partitions in (inputs | {name: await reader.partitions(name) for name in (names.results, names.dead_letters)}).items():
            ranges |= self._newest(topic, await reader.bounds(partitions))
        until = asyncio.get_running_loop().time() + _READ_S
        async with reader.read(ranges) as batches:
            async for batch in batches:
                for record in batch:
                    self._take(record)
                if asyncio.get_running_loop().time() > until:
                    self._notes.append(f"not everything could be read within {_READ_S:.0f} s")
                    break

    def note_unread(self, tp: TopicPartition, unread: Unread) -> None:
        """What cannot be read may have been of this request."""
        text = f"{tp.topic}[{tp.partition}]: the batch at offset {unread.first} {unread.detail}; what it held is not shown"
        if text not in self._notes and len(self._notes) < _NOTES_MAX:
            self._notes.append(text)

    async def read_repairs(self, reader: TopicReader) -> None:
        """What was done about its dead letters."""
        repairs = RepairsLog(self._names.repairs, self._names.dead_letters)
        if self._dead_letters:
            await repairs.refresh(reader)
        for dead_letter in self._dead_letters:
            repair = repairs.done_to(dead_letter)
            status = DeadLetterStatus(repair.kind.value) if repair is not None else DeadLetterStatus.OPEN
            self._steps.append(history_steps.dead_letter_entry(dead_letter, self._names.dead_letters, status))
            if repair is not None:
                self._steps.append(history_steps.repair_step(repair))

    async def read_first(self, reader: TopicReader) -> None:
        """The caller's own record, if the topic still has it and it is that request."""
        known = set(await reader.partitions(self._names.requests))
        places = [(partition_of(s), s.offset) for s in self._firsts if partition_of(s) in known]
        found = await reader.fetch(places)
        for source, first_ms in self._firsts.items():
            record = found.get((partition_of(source), source.offset))
            if record is not None and history_steps.hop_of(record, self._id) is not None:
                self._bytes = record.value
                self._steps.append(HistoryEntry(record.timestamp_ms, "requested", str(source), "the caller's record"))
            else:
                text = "the caller's record; the topic keeps it no more"
                self._steps.append(HistoryEntry(first_ms, "requested", str(source), text))

    def found(self) -> RequestHistory:
        """All of it, the oldest first."""
        notes = list(self._notes)
        if not self._steps:
            notes.append(
                f"nothing is known of {self._id} below {self._names.prefix}: check that the id is exact and VP_KAFKA__TOPIC_PREFIX right. "
                "A result older than the retention of the results topic is gone, and a record without a readable request_id is found by "
                "`processor deadletters list`"
            )
        order = {"requested": 0, "queued": 1, "waiting": 2}
        ordered = sorted(self._steps, key=lambda step: (step.at_ms, order.get(step.what, 1)))
        return RequestHistory(self._id, tuple(ordered), masked_request(self._bytes), tuple(notes))

    def _newest(self, topic: str, bounds: Mapping[TopicPartition, tuple[int, int]]) -> dict[TopicPartition, tuple[int, int]]:
        """The ranges to read of a topic."""
        floors = {tp: max(begin, self._finished[tp].floor if tp in self._finished else 0) for tp, (begin, _) in bounds.items()}
        room = newest({tp: max(0, end - floors[tp]) for tp, (_, end) in bounds.items()}, _OFFSETS_MAX)
        if any(end - floors[tp] > room for tp, (_, end) in bounds.items()):
            self._notes.append(f"{topic} holds much: only its newest {_OFFSETS_MAX} records were looked at")
        return {tp: (max(floors[tp], end - room), end) for tp, (_, end) in bounds.items()}

    def _take(self, record: Record) -> None:
        topic, partition = record.source.topic, partition_of(record.source)
        if topic == self._names.results:
            self._take_result(record)
        elif not history_steps.may_be_of(record, self._id):
            return
        elif topic == self._names.dead_letters:
            dead_letter = dead_letter_of(record)
            if dead_letter.request_id == self._id:
                self._dead_letters.append(dead_letter)
                self._note_first(dead_letter.hop.first, dead_letter.hop.first_ms, None if dead_letter.cut else record.value)
        elif not self._finished[partition].holds(record.source.offset) and (hop := history_steps.hop_of(record, self._id)) is not None:
            self._steps.append(history_steps.input_step(record, hop, waits=topic != self._names.requests))
            self._note_first(hop.first, hop.first_ms, record.value)

    def _take_result(self, record: Record) -> None:
        if record.key != self._id.encode() or (found := history_steps.result_step(record)) is None:
            return
        step, source = found
        self._steps.append(step)
        if source is not None:
            self._note_first(source, record.timestamp_ms, None)

    def _note_first(self, first: Source, first_ms: int, value: bytes | None) -> None:
        self._firsts[first] = min(first_ms, self._firsts.get(first, first_ms))
        if value is not None:
            self._bytes = value
