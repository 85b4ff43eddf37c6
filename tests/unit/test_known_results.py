"""A request that is asked for again: which result answers it, what a lookup may cost, and what is published."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from test_engine import NOW, FakeApi, OpenBudget, Shelf, json_reply, record
from virtual_time import run_virtual

from processor.budget.permits import Duplicate, EarlierRecord
from processor.contract.digests import source_digest
from processor.contract.encode import result_output
from processor.contract.records import Output, Record, Result, ResultKind, Source, Status
from processor.contract.result_copies import COPY_HEADER, copy_for, is_final_of
from processor.engine.engine import Engine
from processor.engine.known_answers import FindsKnownResults
from processor.observe.metrics import REGISTRY
from processor.settings import load_settings
from processor.stream.counters import count_published
from processor.stream.errors import KafkaUnavailableError
from processor.stream.handler import NothingToPublish, Outputs, Work
from processor.stream.known_results import RECORDS_MAX, WAITING_MAX, KnownResultReader, Unanswered
from processor.stream.reader import PartitionReader

FIRST = Source("v.requests", 1, 7)
EARLIER = EarlierRecord(source_digest(FIRST), NOW)
TOPIC = TopicPartition("verification.results", 0)


def result_of(request_id: str = "r", *, source: Source = FIRST, status: Status = Status.SUCCEEDED, **changes: Any) -> bytes:
    found = Result(request_id, "aml", status, source, 1, NOW, NOW, output={"n": 1.50}, **changes)
    return cast("bytes", result_output(found).value)


class Known:
    """Tells what it was given, and notes what it was asked."""

    def __init__(self, answer: bytes | Unanswered) -> None:
        self.answer, self.asked = answer, list[tuple[str, EarlierRecord, bool]]()

    async def find(self, request_id: str, earlier: EarlierRecord, *, newest: bool) -> bytes | Unanswered:
        self.asked.append((request_id, earlier, newest))
        return self.answer


def handled(known: FindsKnownResults | None, rec: Record, budget: OpenBudget, **settings: Any) -> Outputs | NothingToPublish:
    api = FakeApi(json_reply(500, {}))
    engine = Engine(load_settings(**settings), api, Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5, known_results=known)
    outcome = asyncio.run(engine.handle(rec, Work(rec)))
    assert api.calls == []
    return outcome


def counted(kind: str) -> float:
    return REGISTRY.get_sample_value("vp_duplicates_total", {"kind": kind}) or 0.0


# --- what is published


def test_whoever_asks_again_gets_the_known_result_byte_for_byte_and_marked() -> None:
    known, before = Known(result_of()), counted("answered")
    outcome = handled(known, record(), OpenBudget(Duplicate(EARLIER)))
    assert isinstance(outcome, Outputs)
    (copy,) = outcome.records
    assert (copy.key, copy.value) == (b"r", known.answer)
    assert dict(copy.headers) == {COPY_HEADER: b"v.requests[3]@41"}
    assert known.asked == [("r", EARLIER, False)]
    assert counted("answered") == before + 1


def test_so_does_whoever_asks_again_what_was_rejected() -> None:
    budget = OpenBudget()
    budget.prior = Duplicate(EARLIER)
    outcome = handled(Known(result_of(status=Status.REJECTED)), record(more=1), budget)
    assert isinstance(outcome, Outputs)
    assert [copy_for(output.headers) for output in outcome.records] == ["v.requests[3]@41"]


def test_of_a_verification_the_newest_final_is_looked_for() -> None:
    known = Known(result_of())
    handled(
        known,
        record(operation="verification", input={"workflow_id": "9f9b1234-0000-4000-8000-1234567890ab"}),
        OpenBudget(Duplicate(EARLIER)),
    )
    assert [newest for _, _, newest in known.asked] == [True]


@pytest.mark.parametrize("answer", [*Unanswered, b"x" * 200_000])
def test_where_there_is_none_nothing_is_published(answer: bytes | Unanswered) -> None:
    before = counted("duplicate")
    outcome = handled(Known(answer), record(), OpenBudget(Duplicate(EARLIER)), lanes={"output_bytes_max": 100_000})
    assert outcome == NothingToPublish("duplicate")
    assert counted("duplicate") == before + 1


@pytest.mark.parametrize("prior", [Duplicate(), Duplicate(EARLIER)])
def test_a_record_that_was_finished_itself_is_not_answered_twice(prior: Duplicate) -> None:
    known, rec, budget = Known(result_of()), record(), OpenBudget()
    budget.prior = prior
    engine = Engine(load_settings(), FakeApi(), Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5, known_results=known)
    assert asyncio.run(engine.handle(rec, Work(rec, finished_before=True))) == NothingToPublish("duplicate")
    assert known.asked == []


def test_nobody_is_answered_where_it_is_off() -> None:
    assert handled(None, record(), OpenBudget(Duplicate(EARLIER))) == NothingToPublish("duplicate")


def test_a_copy_is_no_result_in_the_metrics() -> None:
    outcome = handled(Known(result_of()), record(), OpenBudget(Duplicate(EARLIER)))
    assert isinstance(outcome, Outputs)
    published: list[Output] = list(outcome.records)
    seen = [sample for metric in REGISTRY.collect() for sample in metric.samples if sample.name == "vp_results_total"]
    count_published("v.requests", [(record(), published)], 0.1)
    assert [s for metric in REGISTRY.collect() for s in metric.samples if s.name == "vp_results_total"] == seen


# --- which result it is


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (result_of(), True),
        (result_of(status=Status.FAILED), True),
        (result_of("another"), False),
        (result_of(source=Source("v.requests", 1, 8)), False),
        (result_of(status=Status.CONFLICT), False),
        (result_of(status=Status.WAITING, kind=ResultKind.PROGRESS), False),
        (b'{"request_id":"r","kind":"final","status":"failed","source":7}', False),
        (b"{", False),
        (b"[]", False),
        (None, False),
    ],
)
def test_a_result_is_known_by_its_request_and_the_record_that_it_answers(value: bytes | None, found: bool) -> None:
    assert is_final_of(value, "r", EARLIER.first) is found


# --- what a lookup may cost


class FakeReader:
    """One partition of results; each poll takes a second of virtual time."""

    def __init__(self, values: list[tuple[bytes, bytes]], *, fails: bool = False) -> None:
        self.values, self.fails, self.at, self.polled = values, fails, 0, 0
        self.asked_ms: list[int] = []
        self.closed = self.paused = False

    async def start(self, within_s: float) -> None:
        assert within_s
        if self.fails:
            raise KafkaUnavailableError("no brokers")

    async def close(self) -> None:
        self.closed = True

    async def partitions(self, *topics: str) -> list[TopicPartition]:
        assert topics == (TOPIC.topic,)
        return [TOPIC]

    async def offsets_at(self, partitions: Collection[TopicPartition], at_ms: int) -> dict[TopicPartition, int | None]:
        self.asked_ms.append(at_ms)
        return dict.fromkeys(partitions, 0 if self.values else None)

    async def bounds(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(partitions, (0, len(self.values)))

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self.at, self.paused = positions[TOPIC], False

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused = partitions == (TOPIC,)

    def position(self, tp: TopicPartition) -> int:
        assert tp == TOPIC
        return self.at

    async def poll(self, *partitions: TopicPartition, wait_ms: int, records_max: int) -> dict[TopicPartition, list[Record]]:
        assert partitions == (TOPIC,)
        assert wait_ms
        await asyncio.sleep(1)
        batch = self.values[self.at : self.at + records_max]
        found = [Record(Source(TOPIC.topic, 0, self.at + n), key, value) for n, (key, value) in enumerate(batch)]
        self.at, self.polled = self.at + len(batch), self.polled + len(batch)
        return {TOPIC: found}


def reading(*values: tuple[bytes, bytes], fails: bool = False) -> tuple[KnownResultReader, FakeReader]:
    reader = FakeReader(list(values), fails=fails)
    return KnownResultReader(load_settings(), make_reader=lambda: cast("PartitionReader", reader)), reader


OTHER = (b"other", b"{}")
OURS = (b"r", result_of())


def test_it_reads_from_the_last_call_on_until_the_result_comes() -> None:
    known, reader = reading(*[OTHER] * 700, OURS, *[OTHER] * 5000)
    assert run_virtual(known.find("r", EARLIER, newest=False)) == OURS[1]
    assert reader.asked_ms == [NOW - 60_000], "clocks of two brokers may differ by the bound of VP_BUDGET__CLOCK_SKEW_MAX_S"
    assert reader.polled <= 1000
    assert reader.paused, "nothing is fetched between two lookups"


@pytest.mark.parametrize("behind", [False, True])
def test_it_reads_no_more_than_a_bound(behind: bool) -> None:
    known, reader = reading(*[OTHER] * RECORDS_MAX, *([OURS] if behind else []), *[OTHER] * 5000)
    assert run_virtual(known.find("r", EARLIER, newest=False)) is Unanswered.NOT_FOUND
    assert reader.polled == RECORDS_MAX


def test_the_newest_final_is_the_last_one_within_the_bound() -> None:
    later = (b"r", result_of(version=1))
    known, _ = reading(OURS, OTHER, later, OTHER)
    assert run_virtual(known.find("r", EARLIER, newest=True)) == later[1]
    known, _ = reading(OURS, OTHER, later, OTHER)
    assert run_virtual(known.find("r", EARLIER, newest=False)) == later[1], "both stand in one batch"


def test_what_retention_has_deleted_is_not_found() -> None:
    assert run_virtual(reading()[0].find("r", EARLIER, newest=False)) is Unanswered.NOT_FOUND


def test_a_flood_waits_in_a_bounded_line_and_the_rest_is_turned_away_at_once() -> None:
    known, reader = reading(OURS)

    async def flood() -> list[bytes | Unanswered]:
        found = await asyncio.gather(*(known.find("r", EARLIER, newest=False) for _ in range(WAITING_MAX + 50)))
        assert await known.find("r", EARLIER, newest=False) == OURS[1], "nothing of the flood is left"
        return found

    answers = run_virtual(flood())
    assert answers[WAITING_MAX:] == [Unanswered.TOO_MANY] * 50
    assert 10 <= answers.count(OURS[1]) <= 15, "one after the other, for 15 s"
    assert set(answers) == {OURS[1], Unanswered.TOO_MANY}
    assert reader.paused


def test_a_topic_that_cannot_be_read_is_left_alone_for_a_while() -> None:
    known, reader = reading(OURS, fails=True)

    async def ask() -> list[bytes | Unanswered]:
        first = await known.find("r", EARLIER, newest=False)
        reader.fails = False
        second = await known.find("r", EARLIER, newest=False)
        await asyncio.sleep(31)
        return [first, second, await known.find("r", EARLIER, newest=False)]

    assert run_virtual(ask()) == [Unanswered.UNREAD, Unanswered.UNREAD, OURS[1]]
