"""Which result of the topic answers somebody who asks again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import orjson
from memory_topics import MemoryTopics

from processor.client.batch import final_result
from processor.client.known_results import Candidate, answering, note_final
from processor.contract.decode import Accepted, decode
from processor.contract.digests import content_digest
from processor.contract.encode import result_output
from processor.contract.records import Record, Result, ResultKind, Source, Status
from processor.contract.result_copies import COPY_HEADER
from processor.stream.partitions import TopicPartition
from processor.stream.topic_reader import TopicReader

ASKED = Source("v.requests", 3, 42)


FINISHED_MS = 1_700_000_001_500


def record(offset: int, *, key: bytes = b"r-1", partition: int = 1, **changes: Any) -> Record:
    members: dict[str, Any] = {"request_id": "r-1", "operation": "aml", "status": Status.SUCCEEDED, "source": ASKED, "attempts": 1}
    output = result_output(Result(**{**members, "received_ms": 1_700_000_000_000, "finished_ms": FINISHED_MS, **changes}))
    return Record(Source("v.results", partition, offset), key, output.value)


def noted(*records: Record) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {}
    for each in records:
        note_final(found, {"r-1": "content"}, each)
    return found


def test_the_final_result_of_the_newest_round_answers() -> None:
    first, again, late_copy = record(5), record(7, replay=1), record(9)
    place = (TopicPartition("v.results", 1), 7)
    finished_at = datetime.fromtimestamp(FINISHED_MS / 1000, UTC)
    assert noted(first, again, late_copy) == {"r-1": Candidate(place, (TopicPartition("v.requests", 3), 42), 1, finished_at)}
    assert noted(first)["r-1"].place[1] == 5


def test_of_two_partitions_the_later_result_answers_whichever_is_read_first() -> None:
    """One that was published when the topic had fewer partitions, or chosen by the key, and a later decision."""
    before, after = record(900, partition=0), record(3, version=1, finished_ms=FINISHED_MS + 60_000)
    for read in (before, after), (after, before):
        assert noted(*read)["r-1"].place == (TopicPartition("v.results", 1), 3)
    skewed = record(4, version=2, finished_ms=FINISHED_MS - 60_000)
    assert noted(after, skewed)["r-1"].place[1] == 4, "within a partition the order tells, not the clocks of two replicas"


def test_what_ends_nothing_answers_nobody() -> None:
    waiting = record(5, status=Status.WAITING, kind=ResultKind.PROGRESS)
    conflict = record(6, status=Status.CONFLICT)
    somebody_else = record(7, key=b"r-2", request_id="r-2")
    wrong_key = record(8, request_id="r-3")
    broken = Record(Source("v.results", 1, 9), b"r-1", b"{}")
    assert noted(waiting, conflict, somebody_else, wrong_key, broken, Record(Source("v.results", 1, 10), None, None)) == {}


async def test_a_result_under_our_id_is_ours_if_the_record_that_it_answers_has_our_content() -> None:
    """A batch took whichever came first: another caller's answer for its own, or another's conflict."""
    topics = MemoryTopics()
    ours, theirs, broken = ({"request_id": "r-1", "operation": "aml", "input": {"full_name": name}} for name in ("Ann", "Bob", ""))
    for value in (theirs, ours, broken, ours):
        topics.write("v.requests", orjson.dumps(value))
    decoded = decode(topics.records["v.requests"][1])
    assert isinstance(decoded, Accepted)
    contents = {"r-1": content_digest(decoded.request)}

    async def taken(source: Source, asked_again: Source | None = None, status: Status = Status.SUCCEEDED, **changes: Any) -> bool:
        made = record(5, source=source, status=status, **changes)
        headers = () if asked_again is None else ((COPY_HEADER, str(asked_again).encode()),)
        final = Record(made.source, made.key, made.value, headers)
        read = final_result(final.value)
        assert read is not None
        return bool(await answering(cast("TopicReader", topics), "v.requests", [(final, read)], contents.get))

    at = [Source("v.requests", 0, offset) for offset in range(10)]
    assert await taken(at[1])
    assert not await taken(at[0]), "of another request"
    assert not await taken(at[2], status=Status.REJECTED), "of none"
    assert not await taken(at[0], status=Status.CONFLICT), "who came behind us"
    assert await taken(at[3], status=Status.CONFLICT), "somebody came before us"
    assert await taken(at[1], at[3]), "a copy for us"
    assert not await taken(at[1], at[0]), "a copy is for whoever it names"
    assert await taken(at[9]), "the topic keeps it no more, and nothing else may come"
    assert await taken(Source("v.common.requests", 0, 0)), "handed on: not ours to compare"
    assert not await taken(at[1], request_id="r-2"), "nobody waits for it"
