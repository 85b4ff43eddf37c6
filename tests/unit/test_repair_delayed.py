"""What waits: entries, selection, numbers, words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from processor.cli.render_retry import as_json, as_table, meaning, outcome, shown, summary
from processor.contract.codes import ErrorCode
from processor.contract.headers import hop_headers
from processor.contract.records import Headers, Hop, Record, Source
from processor.monitoring.delayed_view import delayed_view, without_markers
from processor.monitoring.model import PartitionView
from processor.repair.delayed import DelayedRecords, DelayedSelection, delayed_record, progress_of, select
from processor.repair.model import DelayedRecord
from processor.repair.release import releases_of
from processor.stream.offsets import Finished, finished_of
from processor.stream.releases import OFFSETS_MAX

NOW = 1_764_000_000_000
FIRST = Source("verification.requests", 3, 7)
SESSION = "11111111-2222-4333-8444-555555555555"


def entry(offset: int = 0, due_ms: int = NOW, **more: Any) -> DelayedRecord:
    base = DelayedRecord("v.retry.10m", 0, offset, due_ms, f"r-{offset}", "aml", "http_503", 1, 0, Source("v.requests", 0, offset))
    return replace(base, **more)


def raw(value: object, headers: Headers = (), offset: int = 5) -> Record:
    return Record(Source("v.retry.10m", 2, offset), b"k", value if isinstance(value, bytes) else orjson.dumps(value), headers, NOW)


def hop(**more: Any) -> Headers:
    return hop_headers(Hop(FIRST, NOW - 5000, hop=2, attempt=1, due_ms=NOW + 9, **more))


AML = {"request_id": "Null", "operation": "aml", "input": {"full_name": "No"}}


@pytest.mark.parametrize(
    ("record", "request_id", "operation", "reason", "due_ms", "first"),
    [
        (raw(AML, hop(last_error="http_503")), "Null", "aml", "http_503", NOW + 9, FIRST),
        (raw(AML, hop(session_id=SESSION)), "Null", "aml", None, NOW + 9, FIRST),
        (raw(AML), "Null", "aml", None, NOW, Source("v.retry.10m", 2, 5)),
        (raw({**AML, "x": 1}, hop(last_error="http_503")), "Null", "aml", "unknown_field", NOW + 9, FIRST),
        (raw(AML, (*hop(), ("vp-due-ms", b"x"))), "Null", "aml", "header_invalid", NOW + 9, FIRST),
        (raw(b"\xff\x00"), None, None, "not_utf8", NOW, Source("v.retry.10m", 2, 5)),
        (raw(b"{"), None, None, "not_json", NOW, Source("v.retry.10m", 2, 5)),
    ],
)
def test_an_entry_names_what_can_be_read(
    record: Record, request_id: str | None, operation: str | None, reason: str | None, due_ms: int, first: Source
) -> None:
    found = delayed_record(record)
    assert (found.request_id, found.operation, found.reason, found.due_ms, found.first) == (request_id, operation, reason, due_ms, first)
    assert (found.topic, found.partition, found.offset) == ("v.retry.10m", 2, 5)
    assert found.follows == any(name == "vp-session-id" for name, _ in record.headers)


def test_a_foreign_commit_says_no_more_than_its_offset() -> None:
    assert finished_of(7, "somebody else's") == Finished(7)
    assert finished_of(7, "") == Finished(7)


def test_entries_are_bounded_and_leave_when_they_are_done() -> None:
    records = DelayedRecords(3)
    records.deliver([raw(AML, offset=n) for n in range(4)], Finished(0, frozenset({1})))
    assert (len(records), records.room) == (3, 0)
    records.settle({("v.retry.10m", 2): Finished(1, frozenset({2})), ("v.retry.1m", 0): Finished(99)})
    assert [r.offset for r in records] == [3]
    assert records.holds(("v.retry.10m", 2), 3)
    assert not records.holds(("v.retry.10m", 2), 0)
    records.forget(("v.retry.10m", 2))
    assert records.room == 3


def test_of_what_the_account_holds_the_first_of_each_partition_are_taken() -> None:
    records = DelayedRecords(100, 2, ErrorCode.WAITS_FOR_ACCOUNT)
    here = ("v.retry.10m", 2)
    records.deliver([raw(AML, offset=n) for n in range(5)], Finished(1))
    assert ([r.offset for r in records], records.is_full(here)) == ([1, 2], True)
    assert {(r.reason, r.due_ms) for r in records} == {("waits_for_account", NOW)}
    records.settle({here: Finished(2)})
    assert not records.is_full(here)
    records.deliver([raw(AML, offset=n) for n in range(5)], Finished(2))  # they are read from their floor again
    assert [r.offset for r in records] == [2, 3]


def test_a_delay_topic_has_no_more_unfinished_than_wait_there_and_the_requests_topic_what_its_offsets_say() -> None:
    waiting = DelayedRecords(100)
    waiting.deliver([raw(AML, offset=n) for n in (0, 2, 4)], None)  # a marker behind each
    partitions = [PartitionView(topic, 2, 0, 6, 6, "a") for topic in ("v.requests", "v.retry.10m", "v.retry.1h")]
    partitions.append(PartitionView("v.retry.10m", 2, 0, 2, 2, "a"))  # more came after the brokers were asked
    found = without_markers(partitions, waiting, ("v.retry.10m", "v.retry.1h"))
    assert [p.unfinished for p in found] == [6, 3, 0, 2]


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        (DelayedSelection(), [2, 0, 1, 3]),
        (DelayedSelection(reasons=frozenset({"http_503"})), [0, 3]),
        (DelayedSelection(reasons=frozenset({"following", "throttled"})), [2, 1]),
        (DelayedSelection(operations=frozenset({"verification"})), [1]),
        (DelayedSelection(request_ids=frozenset({"r-0", "r-1"}), reasons=frozenset({"http_503"})), [0]),
        (DelayedSelection(request_ids=frozenset({"R-0", "None", "-"})), []),
        (DelayedSelection(due_within_s=0.0), [2, 0]),
        (DelayedSelection(due_within_s=60.0, count_max=2), [2, 0]),
    ],
)
def test_a_selection_narrows_and_begins_with_what_is_due_first(wanted: DelayedSelection, offsets: list[int]) -> None:
    records = [
        entry(0, NOW),
        entry(1, NOW + 60_000, reason=None, operation="verification"),
        entry(2, NOW - 1, reason="throttled", request_id=None),
        entry(3, NOW + 10**9),
    ]
    assert [r.offset for r in select(records, wanted, NOW)] == offsets


def test_a_view_counts_each_once() -> None:
    ahead = (-5000, 0, 1, 60_000, 60_001, 3_600_000, 21_600_000, 21_600_001)
    view = delayed_view([entry(n, NOW + ms, reason=None if n == 1 else "http_503") for n, ms in enumerate(ahead)], NOW, complete=False)
    assert dict(view.by_due) == {"due": 2, "1 min": 2, "10 min": 1, "1 h": 1, "6 h": 1, "later": 1}
    assert (view.count, view.due_now, view.oldest_due_ms, view.next_due_ms) == (8, 2, NOW - 5000, NOW + 1)
    assert view.by_reason == {"http_503": 7, "following": 1}
    assert not view.complete


def test_releases_are_bounded_and_keep_the_order() -> None:
    records = [entry(n) for n in range(OFFSETS_MAX + 1, -1, -1)] + [entry(1, topic="v.retry.1m")]
    found = releases_of(records, SESSION)
    assert [(r.topic, len(r.offsets)) for r in found] == [("v.retry.10m", OFFSETS_MAX), ("v.retry.10m", 2), ("v.retry.1m", 1)]
    assert found[0].offsets[:2] == (OFFSETS_MAX + 1, OFFSETS_MAX)
    assert found[1].offsets == (1, 0)


def test_progress_tells_done_from_waiting_again() -> None:
    named = [delayed_record(raw(AML, hop_headers(Hop(Source("v.requests", 0, n), NOW, hop=1, due_ms=NOW)), offset=n)) for n in range(4)]
    records = DelayedRecords(10)
    records.deliver([raw(AML, hop_headers(Hop(Source("v.requests", 0, 0), NOW, hop=1, due_ms=NOW)), offset=0)], None)
    again = [hop_headers(Hop(Source("v.requests", 0, n), NOW, hop=2, due_ms=NOW, last_error="http_503")) for n in (1, 9)]
    records.deliver([raw(AML, headers, offset=90 + n) for n, headers in enumerate(again)], None)
    found = progress_of(named, records)
    assert (found.named, found.done, found.left, found.delayed_again) == (4, 3, 1, {"http_503": 1})
    also = DelayedRecords(10)
    also.deliver([raw(AML, hop_headers(Hop(Source("v.requests", 0, 2), NOW, hop=1, due_ms=NOW)), offset=2)], None)
    assert (progress_of(named, records, also).done, progress_of(named, records, also).delayed_again) == (2, {"http_503": 1})
    told = outcome(found, 30.0)
    assert told.startswith("3 of 4 finished after 30 s. Of these, 1 was put off and waits again: http_503 1 (`processor retry list`).")
    assert "What is left (1) is at work" in told


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([], "nothing needs to be done"),
        ([entry(0, NOW + 300_000)], "the next one starts in 5 min. `processor retry release`"),
        ([entry(0, NOW - 1000)], "about to start"),
        ([entry(0, NOW - 300_000)], "due for 5 min: those that are due are at work or wait for the budget (`processor budget`"),
    ],
)
def test_what_it_means_in_one_sentence(records: Sequence[DelayedRecord], told: str) -> None:
    assert told in meaning(delayed_view(records, NOW), NOW)


def test_names_are_shown_as_they_are_and_nothing_acts_on_the_terminal() -> None:
    odd = ["Null", "No", "[red]x[/red]", "a\x9bb\u202ec", "Zoë 李"]
    assert [shown(text) for text in odd] == ["Null", "No", "[red]x[/red]", "a\\u009bb\\u202ec", "Zoë 李"]
    assert shown(None) == "-"
    table = as_table([entry(n, request_id=text) for n, text in enumerate(odd)], NOW)
    assert [str(cell) for cell in table.table.columns[0].cells] == [shown(text) for text in odd]
    found = orjson.loads(as_json(delayed_view([], NOW), [entry(0, request_id="Null"), entry(1, request_id=None)], NOW))
    assert [r["request_id"] for r in found["records"]] == ["Null", None]


def test_the_summary_says_when_and_why() -> None:
    view = delayed_view([entry(0), entry(1, NOW + 5), entry(2, NOW + 10**9, reason=None)], NOW, complete=False)
    assert summary(view) == (
        "3 waiting, 1 of them due. By due time: due 1, 1 min 1, later 1. By reason: http_503 2, following 1. "
        "There are more: not everything was read."
    )
    assert summary(delayed_view([], NOW)) == "0 waiting"


def test_what_waits_for_an_operator_is_said_with_what_to_do() -> None:
    found = [entry(0, NOW + 60_000, reason="not_permitted"), entry(1, NOW + 60_000, reason="no_credits"), entry(2, NOW + 60_000)]
    first, *lines = meaning(delayed_view(found, NOW, complete=True), NOW).split("\n")
    assert first.startswith("None is due")
    assert sorted(line.partition(":")[0] for line in lines) == ["no_credits", "not_permitted"], "http_503 goes on by itself"
    assert all("processor retry end" in line for line in lines)
