"""A request that is asked for again: which result answers it, what a lookup may cost, and what is published."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from metric_values import metric_value
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
from processor.stream.known_results import RECORDS_MAX, WAITING_MAX, KnownResult, KnownResultReader, Unanswered
from processor.stream.reader import PartitionReader

FIRST = Source("verification.requests", 1, 7)
EARLIER = EarlierRecord(source_digest(FIRST), NOW, FIRST.lane)
RESULTS = [TopicPartition("verification.results", number) for number in range(4)]


def result_of(request_id: str = "r", *, source: Source = FIRST, status: Status = Status.SUCCEEDED, **changes: Any) -> bytes:
    found = Result(request_id, "aml", status, source, 1, NOW, NOW, output={"n": 1.50}, **changes)
    return cast("bytes", result_output(found).value)


class Known:
    """Tells what it was given, and notes what it was asked."""

    def __init__(self, answer: bytes | Unanswered) -> None:
        self.answer, self.asked = answer, list[tuple[str, EarlierRecord, int, bool]]()

    async def find(self, request_id: str, earlier: EarlierRecord, *, near: int, newest: bool) -> KnownResult | Unanswered:
        self.asked.append((request_id, earlier, near, newest))
        return KnownResult(self.answer, 9) if isinstance(self.answer, bytes) else self.answer


def handled(known: FindsKnownResults | None, rec: Record, budget: OpenBudget, **settings: Any) -> Outputs | NothingToPublish:
    api = FakeApi(json_reply(500, {}))
    engine = Engine(load_settings(**settings), api, Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5, known_results=known)
    outcome = asyncio.run(engine.handle(rec, Work(rec)))
    assert api.calls == []
    return outcome


def counted(kind: str) -> float:
    return metric_value("vp_duplicates_total", kind=kind) or 0.0


# --- what is published


def test_whoever_asks_again_gets_the_known_result_byte_for_byte_and_marked() -> None:
    known, before = Known(result_of()), counted("answered")
    outcome = handled(known, record(), OpenBudget(Duplicate(EARLIER)))
    assert isinstance(outcome, Outputs)
    (copy,) = outcome.records
    assert (copy.key, copy.value) == (b"r", known.answer)
    assert copy.partition == 9, "where the result stands: the same key, the same partition"
    assert dict(copy.headers) == {COPY_HEADER: b"v.requests[3]@41"}
    assert known.asked == [("r", EARLIER, 3, False)]
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
    assert [newest for _, _, _, newest in known.asked] == [True]


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
        (result_of(source=Source("verification.requests", 1, 8)), False),
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
    """Four partitions of results, by number; each poll takes a second of virtual time."""

    def __init__(self, values: Mapping[int, list[tuple[bytes, bytes]]], *, fails: bool = False) -> None:
        self.values = [values.get(tp.partition, []) for tp in RESULTS]
        self.fails, self.at, self.polled = fails, dict[TopicPartition, int](), Counter[int]()
        self.asked_ms: list[int] = []
        self.closed = self.paused = False

    async def start(self, within_s: float) -> None:
        assert within_s
        if self.fails:
            raise KafkaUnavailableError("no brokers")

    async def close(self) -> None:
        self.closed = True

    async def partitions(self, *topics: str) -> list[TopicPartition]:
        assert topics == (RESULTS[0].topic,)
        return RESULTS

    async def offsets_at(self, partitions: Collection[TopicPartition], at_ms: int) -> dict[TopicPartition, int | None]:
        self.asked_ms.append(at_ms)
        return {tp: 0 if self.values[tp.partition] else None for tp in partitions}

    async def bounds(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return {tp: (0, len(self.values[tp.partition])) for tp in partitions}

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self.at, self.paused = dict(positions), False

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused = set(partitions) == set(self.at)

    def position(self, tp: TopicPartition) -> int:
        return self.at[tp]

    async def poll(
        self, *partitions: TopicPartition, wait_ms: int, records_max: int, **_blocks: object
    ) -> dict[TopicPartition, list[Record]]:
        assert wait_ms
        await asyncio.sleep(1)
        found: dict[TopicPartition, list[Record]] = {}
        for tp in partitions:
            begin = self.at[tp]
            batch = self.values[tp.partition][begin : begin + records_max]
            found[tp] = [Record(Source(tp.topic, tp.partition, begin + n), key, value) for n, (key, value) in enumerate(batch)]
            self.at[tp] += len(batch)
            self.polled[tp.partition] += len(batch)
            records_max -= len(batch)
        return found


def reading(
    *values: tuple[bytes, bytes], fails: bool = False, **elsewhere: list[tuple[bytes, bytes]]
) -> tuple[KnownResultReader, FakeReader]:
    """``values`` in the partition where results of FIRST should be, others by number: ``p3=[...]``."""
    reader = FakeReader({FIRST.partition: list(values)} | {int(name[1:]): held for name, held in elsewhere.items()}, fails=fails)
    return KnownResultReader(load_settings(), make_reader=lambda: cast("PartitionReader", reader)), reader


def found(known: KnownResultReader, *, earlier: EarlierRecord = EARLIER, near: int = 3, newest: bool = False) -> KnownResult | Unanswered:
    return run_virtual(known.find("r", earlier, near=near, newest=newest))


OTHER = (b"other", b"{}")
OURS = (b"r", result_of())


def test_it_reads_from_the_last_call_on_until_the_result_comes() -> None:
    known, reader = reading(*[OTHER] * 700, OURS, *[OTHER] * 5000, p0=[OTHER] * 100)
    assert found(known) == KnownResult(OURS[1], FIRST.partition)
    assert reader.asked_ms == [NOW - 60_000], "clocks of two brokers may differ by the bound of VP_BUDGET__CLOCK_SKEW_MAX_S"
    assert reader.polled == {FIRST.partition: 1000}, "and nothing of other partitions"
    assert reader.paused, "nothing is fetched between two lookups"


@pytest.mark.parametrize("behind", [False, True])
def test_it_reads_no_more_than_a_bound(behind: bool) -> None:
    known, reader = reading(*[OTHER] * RECORDS_MAX, *([OURS] if behind else []), *[OTHER] * 5000)
    assert found(known) is Unanswered.NOT_FOUND
    assert reader.polled == {FIRST.partition: RECORDS_MAX}


def test_a_result_of_before_the_topic_had_so_many_partitions_is_found_in_whichever_it_is() -> None:
    known, reader = reading(*[OTHER] * 3000, p0=[OTHER] * 3000, p2=[OTHER] * 3000, p3=[*[OTHER] * 600, OURS])
    assert found(known) == KnownResult(OURS[1], 3)
    assert reader.paused


def test_of_the_other_partitions_no_more_is_read_than_of_the_likely_one() -> None:
    known, reader = reading(*[OTHER] * 3000, p0=[OTHER] * 3000, p2=[OTHER] * 3000, p3=[*[OTHER] * 1000, OURS])
    assert found(known) is Unanswered.NOT_FOUND
    assert reader.polled == {1: RECORDS_MAX, 0: 1000, 2: 1000, 3: 1000}, "two batches each: 666 count"


def test_where_the_first_record_stood_is_not_known_it_begins_where_the_second_one_stands() -> None:
    """Its line was full: it was first asked for when it stood in a delay topic."""
    known, reader = reading(*[OTHER] * 100, p3=[OURS])
    delayed = EarlierRecord(EARLIER.first, NOW, "verification.retry.1m[1]")
    assert found(known, earlier=delayed, near=7) == KnownResult(OURS[1], 3), "7 of four partitions is 3"
    assert reader.polled == {3: 1}


def test_the_newest_final_is_the_last_one_within_the_bound() -> None:
    later = (b"r", result_of(version=1))
    for newest in True, False:
        known, _ = reading(OURS, OTHER, later, OTHER)
        assert found(known, newest=newest) == KnownResult(later[1], FIRST.partition), "both stand in one batch"


def test_what_retention_has_deleted_is_not_found() -> None:
    assert found(reading()[0]) is Unanswered.NOT_FOUND


def test_a_flood_waits_in_a_bounded_line_and_the_rest_is_turned_away_at_once() -> None:
    known, reader = reading(OURS)
    ours = KnownResult(OURS[1], FIRST.partition)

    async def flood() -> list[KnownResult | Unanswered]:
        answers = await asyncio.gather(*(known.find("r", EARLIER, near=3, newest=False) for _ in range(WAITING_MAX + 50)))
        assert await known.find("r", EARLIER, near=3, newest=False) == ours, "nothing of the flood is left"
        return answers

    answers = run_virtual(flood())
    assert answers[WAITING_MAX:] == [Unanswered.TOO_MANY] * 50
    assert 10 <= answers.count(ours) <= 15, "one after the other, for 15 s"
    assert set(answers) == {ours, Unanswered.TOO_MANY}
    assert reader.paused


def test_a_topic_that_cannot_be_read_is_left_alone_for_a_while() -> None:
    known, reader = reading(OURS, fails=True)

    async def ask() -> list[KnownResult | Unanswered]:
        first = await known.find("r", EARLIER, near=3, newest=False)
        reader.fails = False
        second = await known.find("r", EARLIER, near=3, newest=False)
        await asyncio.sleep(31)
        return [first, second, await known.find("r", EARLIER, near=3, newest=False)]

    assert run_virtual(ask()) == [Unanswered.UNREAD, Unanswered.UNREAD, KnownResult(OURS[1], FIRST.partition)]
