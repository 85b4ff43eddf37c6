"""What the topics of a world hold, as a reader of committed records sees it; read from the model's own logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from aiokafka.record.memory_records import MemoryRecords

from processor.budget.log_records import Asked, decode_entry
from processor.contract.codes import ErrorCode
from processor.contract.decode import Accepted, decode
from processor.contract.records import Record, Source, Status
from processor.contract.repairs import RepairKind, read_repair
from processor.contract.result_copies import copy_for
from processor.devkit.verifier import FinalSeen, RetrySeen
from processor.stream.releases import read_release
from simulation.kafka.partition_log import PartitionLog

_CALLED_IN = (ErrorCode.QUEUE_FULL, ErrorCode.OPERATION_PAUSED)  # by their line, before their due time
OF_SOURCE = " of "  # in what a conflict is told apart by: its id stands for another content


class CommittedRecord(NamedTuple):
    """One record."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    stamp_ms: int


class CommittedReader:
    """Reads a partition on from where it stood."""

    def __init__(self, log: PartitionLog) -> None:
        self._log, self._position = log, 0

    def read(self) -> Iterator[CommittedRecord]:
        """What was committed since the last time."""
        while self._position < self._log.stable_end:
            data, aborted = self._log.read(self._position, 1_000_000, committed=True)
            yield from self._of(data, sorted(aborted, key=lambda pair: -pair[1]))

    def _of(self, data: bytes, coming: list[tuple[int, int]]) -> Iterator[CommittedRecord]:
        records, dropped = MemoryRecords(data), set[int]()
        while records.has_next():
            batch = records.next_batch()
            while coming and coming[-1][1] <= batch.base_offset:
                dropped.add(coming.pop()[0])
            if batch.is_control_batch:
                dropped.discard(batch.producer_id)
            elif batch.base_offset >= self._position and not (batch.is_transactional and batch.producer_id in dropped):
                for r in batch:
                    yield CommittedRecord(r.offset, r.key, r.value, tuple(r.headers), r.timestamp)
            self._position = max(self._position, batch.next_offset)


class Answer(NamedTuple):
    """A final result, or a copy of one, as its topic holds it. ``source``: the record that it answers, ``topic[partition]@offset``."""

    request_id: str
    operation: str | None
    status: str
    code: str | None
    replay: int
    attempts: int
    source: str
    stamp_ms: int
    result_id: str
    copy_for: str | None
    session_id: str | None = None


def _answer(record: CommittedRecord, result: dict[str, Any], begins: str) -> Answer:
    source = "{topic}[{partition}]@{offset}".format(**result["source"])
    code, session_id = (result["error"] or {}).get("code"), (result["output"] or {}).get("session_id")
    return Answer(
        f"{begins}{result['request_id'] or source}", result["operation"], result["status"], code, result.get("replay") or 0,
        result["attempts"], source, record.stamp_ms, result["result_id"], copy_for(record.headers), session_id,
    )  # fmt: skip


class Finals:
    """The final results of results topics, by what their requests' ids begin with here."""

    def __init__(self, topics: Sequence[tuple[str, list[PartitionLog]]]) -> None:
        self._topics = topics  # partitions may be added to them
        self._readers: dict[int, tuple[str, CommittedReader]] = {}  # by a log's id
        self.seen: list[FinalSeen] = []
        self.ids: set[str] = set()
        self.rounds: set[tuple[str, int]] = set()
        self.answers: list[Answer] = []

    def look(self) -> None:
        """Read on."""
        for begins, logs in self._topics:
            for log in logs:
                if id(log) not in self._readers:
                    self._readers[id(log)] = begins, CommittedReader(log)
        for begins, reader in self._readers.values():
            for record in reader.read():
                result = orjson.loads(record.value or b"{}")
                if result.get("kind") == "final":
                    self._take(_answer(record, result, begins))

    def _take(self, answer: Answer) -> None:
        self.answers.append(answer)
        if answer.copy_for is not None:
            return
        # each record with another content than its id stands for has a result of its own
        request_id = answer.request_id if answer.status != Status.CONFLICT else f"{answer.request_id}{OF_SOURCE}{answer.source}"
        self.seen.append(FinalSeen(request_id, answer.status, answer.replay))
        self.ids.add(request_id)
        self.rounds.add((answer.request_id, answer.replay))


def asked_for(log: PartitionLog) -> frozenset[str]:
    """Digests of the requests that somebody has asked to call for, in a budget log."""
    entries = (entry for r in CommittedReader(log).read() for entry in decode_entry(r.value))
    return frozenset(entry.identity.request for entry in entries if isinstance(entry, Asked) and entry.identity is not None)


class Repairs:
    """What operators have done: the rounds that they have begun, and the waiting records that they have released."""

    def __init__(self, logs: list[PartitionLog]) -> None:
        self._readers = [CommittedReader(log) for log in logs]
        self.rounds: set[tuple[str, int]] = set()  # request and number
        self.released: set[tuple[str, int, int]] = set()

    def look(self) -> None:
        """Read on."""
        for record in (record for reader in self._readers for record in reader.read()):
            if (release := read_release(record.value)) is not None:
                self.released.update((release.topic, release.partition, offset) for offset in release.offsets)
            elif (repair := read_repair(record.value)) is not None and repair.kind is RepairKind.REDRIVEN and repair.request_id:
                self.rounds.add((repair.request_id, repair.replay))  # who knows no id asks for nothing


class Retries:
    """The records of the delay topics. ``released``: those that operators have let begin early."""

    def __init__(self, topics: Mapping[str, list[PartitionLog]], released: Collection[tuple[str, int, int]] = ()) -> None:
        self._topics, self._released = topics, released
        self.sent_away = Counter[str]()  # records that were written for want of room, by request; known when all are read

    def read(self, slack_ms: int) -> list[RetrySeen]:
        """All of them, without the copies of one that were due later: whose call the first one was, the simulated API cannot tell.

        Args:
            slack_ms: so much before its due time a retry may start, because the brokers' clocks were set.
        """
        found: dict[tuple[str, int], RetrySeen] = {}
        for topic, logs in self._topics.items():
            for number, log in enumerate(logs):
                for r in CommittedReader(log).read():
                    decoded = decode(Record(Source(topic, number, r.offset), r.key, r.value, r.headers, r.stamp_ms))
                    if isinstance(decoded, Accepted) and (due_ms := decoded.hop.due_ms) is not None:
                        hop = decoded.hop
                        self.sent_away[decoded.request.request_id] += hop.last_error == ErrorCode.QUEUE_FULL
                        released = (topic, number, r.offset) in self._released
                        may_be_early = released or hop.session_id is not None or hop.last_error in _CALLED_IN
                        retry = RetrySeen(decoded.request.request_id, hop.hop, due_ms - slack_ms, may_be_early)
                        which = retry.request_id, retry.hop
                        found[which] = min(found.get(which, retry), retry, key=lambda one: (not one.may_be_early, one.due_ms))
        return list(found.values())
