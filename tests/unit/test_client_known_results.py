"""Which result of the topic answers somebody who asks again."""

from __future__ import annotations

from typing import Any

from processor.client.known_results import Candidate, note_final
from processor.contract.encode import result_output
from processor.contract.records import Record, Result, ResultKind, Source, Status
from processor.stream.partitions import TopicPartition

ASKED = Source("v.requests", 3, 42)


def record(offset: int, *, key: bytes = b"r-1", **changes: Any) -> Record:
    members: dict[str, Any] = {"request_id": "r-1", "operation": "aml", "status": Status.SUCCEEDED, "source": ASKED, "attempts": 1}
    output = result_output(Result(**{**members, "received_ms": 1_700_000_000_000, "finished_ms": 1_700_000_001_500, **changes}))
    return Record(Source("v.results", 1, offset), key, output.value)


def noted(*records: Record) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {}
    for each in records:
        note_final(found, {"r-1": "content"}, each)
    return found


def test_the_final_result_of_the_newest_round_answers() -> None:
    first, again, late_copy = record(5), record(7, replay=1), record(9)
    place = (TopicPartition("v.results", 1), 7)
    assert noted(first, again, late_copy) == {"r-1": Candidate(place, (TopicPartition("v.requests", 3), 42), 1)}
    assert noted(first)["r-1"].place[1] == 5


def test_what_ends_nothing_answers_nobody() -> None:
    waiting = record(5, status=Status.WAITING, kind=ResultKind.PROGRESS)
    conflict = record(6, status=Status.CONFLICT)
    somebody_else = record(7, key=b"r-2", request_id="r-2")
    wrong_key = record(8, request_id="r-3")
    broken = Record(Source("v.results", 1, 9), b"r-1", b"{}")
    assert noted(waiting, conflict, somebody_else, wrong_key, broken, Record(Source("v.results", 1, 10), None, None)) == {}
