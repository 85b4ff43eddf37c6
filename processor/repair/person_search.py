"""Reads every topic for what concerns one person, and tells when each record of it is gone.

Each look reads from the beginning of every topic to where its committed records ended when the look began; looks are repeated until one
has learned nothing new. Nothing is kept of others' records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from processor.repair.committed import read_finished
from processor.repair.person import LEARNED_MAX, PersonMatcher, PersonRecord
from processor.settings import Settings
from processor.stream.offsets import Finished
from processor.stream.partitions import TopicPartition, partition_of
from processor.stream.topic_reader import TopicReader, in_turns
from processor.stream.topics import topic_names
from processor.stream.topics_admin import check_topics

RECORDS_MAX = 100_000  # of one person
_LOOKS_MAX = 6
_TELL_EVERY = 500

OnLook = Callable[[str, int, int], None]  # what, done, of


@dataclass(frozen=True, slots=True)
class PersonFindings:
    """What lies about a person.

    Attributes:
        records: all of them, by topic and place.
        waiting: request ids of those that wait, or stand in line for their turn.
        requests, sessions, answered, tombstoned: see ``PersonMatcher``.
        kept_s: by topic, for how long a record is there at most; None for ever.
        compacted: topics whose records replace each other by key.
        complete: False if there is more than could be held, or looks did not come to an end.
        unread: delay topics that the settings do not name, and that were not looked through.
    """

    records: Sequence[PersonRecord]
    waiting: frozenset[str]
    requests: frozenset[str]
    sessions: frozenset[str]
    answered: Mapping[str, str]
    tombstoned: frozenset[tuple[int, str]]
    kept_s: Mapping[str, float | None]
    compacted: frozenset[str] = frozenset()
    complete: bool = True
    counts: Mapping[str, int] = field(default_factory=dict)  # records by topic
    unread: tuple[str, ...] = ()

    def gone_ms(self, record: PersonRecord) -> int | None:
        """When a record is gone at the latest, epoch ms; None if that is never."""
        kept_s = self.kept_s.get(record.topic)
        return None if kept_s is None else record.at_ms + round(1000 * kept_s)

    @property
    def last_gone_ms(self) -> int | None:
        """When the last record is gone at the latest, epoch ms; None if that is never. 0 if nothing is there."""
        times = [self.gone_ms(record) for record in self.records]
        return None if None in times else max((time for time in times if time is not None), default=0)


async def find_person(settings: Settings, vendor_data: str, on_look: OnLook = lambda _what, _done, _of: None) -> PersonFindings:
    """Everything about a person in the topics of the installation.

    Raises:
        KafkaFailedError: if something cannot be read.
    """
    report = await check_topics(settings, ask_broker=True)
    search = _Search(settings, PersonMatcher(vendor_data, topic_names(settings)), on_look)
    complete = False
    async with TopicReader(settings) as reader:
        for look in range(1, _LOOKS_MAX + 1):
            before = search.matcher.learned
            await search.read(reader, look)
            if search.matcher.learned == before:
                complete = not search.cut and before < LEARNED_MAX
                break
    matcher = search.matcher
    return PersonFindings(
        sorted(search.records, key=lambda record: (record.topic, record.partition, record.offset)),
        frozenset(search.waiting),
        frozenset(matcher.requests),
        frozenset(matcher.sessions),
        dict(matcher.answered),
        frozenset(matcher.tombstoned),
        {time.topic: time.kept_s for time in report.lifetimes},
        frozenset(report.compacted),
        complete,
        Counter(record.topic for record in search.records),
        tuple(told.partition(":")[0] for told in report.unread),
    )


class _Search:
    def __init__(self, settings: Settings, matcher: PersonMatcher, on_look: OnLook) -> None:
        self.matcher, self.cut = matcher, False
        self.records: list[PersonRecord] = []
        self.waiting: set[str] = set()
        self._settings, self._names, self._on_look = settings, topic_names(settings), on_look
        self._done: Mapping[TopicPartition, Finished] = {}

    async def read(self, reader: TopicReader, look: int) -> None:
        """One look at everything."""
        names, self.records, self.waiting, self.cut = self._names, [], set(), False
        inputs = await reader.partitions(*names.inputs)
        self._done = await read_finished(self._settings, inputs)
        others = [await reader.partitions(topic) for topic in (names.dead_letters, names.results, names.events)]
        stages = [inputs, *others]  # in the order in which one leads to the next
        bounds = [await reader.bounds(partitions) for partitions in stages]
        total = sum(end - begin for stage in bounds for begin, end in stage.values())
        seen = 0
        for stage in bounds:
            async with reader.read(stage) as batches:
                async for record in in_turns(batches):
                    seen += 1
                    if record.source.offset < stage[partition_of(record.source)][1]:
                        self._take(self.matcher.take(record))
                    if seen % _TELL_EVERY == 0:
                        self._on_look(f"look {look}", min(seen, total), total)
        self._on_look(f"look {look}", total, total)

    def _take(self, found: PersonRecord | None) -> None:
        if found is None:
            return
        if len(self.records) >= RECORDS_MAX:
            self.cut = True
            return
        self.records.append(found)
        done = self._done.get(TopicPartition(found.topic, found.partition))
        if done is not None and not done.holds(found.offset) and found.request_id is not None:
            self.waiting.add(found.request_id)
