"""What is kept of a result, and what it comes to."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.encode import result_output
from processor.contract.records import ErrorInfo, Record, Result, ResultKind, Source, Status
from processor.repair.recent_result import (
    MinuteOfResults,
    RecentResult,
    ResultSelection,
    Speed,
    by_minute,
    person_digest,
    read_result,
    select_results,
    speeds,
)

NOW_MS = 1_764_072_185_000  # 12:03:05


def record(value: bytes | None) -> Record:
    return Record(Source("verification.results", 0, 7), b"k", value, timestamp_ms=NOW_MS)


def finished(seconds_ago: float, status: Status = Status.SUCCEEDED, **changes: Any) -> RecentResult:
    known = {"request_id": "a", "operation": "aml", "code": None, "attempts": 1, "took_ms": 1000, "person": ""} | changes
    return RecentResult(NOW_MS - round(1000 * seconds_ago), status=status, **known)


def test_a_result_is_read_without_what_the_caller_sent_or_didit_said() -> None:
    result = Result(
        "r-1",
        "session.create",
        Status.SUCCEEDED,
        Source("verification.requests", 1, 2),
        2,
        NOW_MS - 61_500,
        NOW_MS,
        output={"vendor_data": "user-17", "full_name": "Zoë"},
    )
    found = read_result(record(result_output(result).value))
    assert found == RecentResult(NOW_MS, "r-1", "session.create", Status.SUCCEEDED, None, 2, 61_500, person_digest("user-17"))
    assert "user-17" not in repr(found)
    assert "Zoë" not in repr(found)


def test_a_failed_one_has_its_code() -> None:
    error = ErrorInfo(ErrorType.INVALID_REQUEST, ErrorCode.UNKNOWN_FIELD, "remove it")
    result = Result(None, None, Status.REJECTED, Source("verification.requests", 1, 2), 0, NOW_MS, NOW_MS, error=error)
    assert read_result(record(result_output(result).value)) == RecentResult(NOW_MS, None, None, Status.REJECTED, "unknown_field", 0, 0)


def test_a_progress_result_is_none_of_them() -> None:
    result = Result("r", "verification", Status.WAITING, Source("t", 0, 0), 1, NOW_MS, NOW_MS, kind=ResultKind.PROGRESS)
    assert read_result(record(result_output(result).value)) is None


@pytest.mark.parametrize(
    "value", [None, b"", b"[]", b"\xff", b'{"kind":"final"}', b'{"kind":"final","status":"odd"}', b'{"kind":"final","status":[1]}']
)
def test_what_is_none_of_ours_is_left_out(value: bytes | None) -> None:
    assert read_result(record(value)) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = ("finished_at", "received_at", "error", "output", "attempts", "request_id", "operation")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)))
def test_a_final_result_with_odd_fields_is_still_counted(fields: dict[str, Any]) -> None:
    found = read_result(record(orjson.dumps(fields | {"kind": "final", "status": "succeeded"})))
    assert found is not None
    assert found.took_ms >= 0


def test_a_filter_narrows_by_each_of_its_parts() -> None:
    results = [
        finished(1, person=person_digest("user-1")),
        finished(2, Status.FAILED, operation="session.create"),
        finished(4000, person=person_digest("user-2")),
    ]
    digest = person_digest("user-1")
    for wanted, places in [
        (ResultSelection(), [0, 1, 2]),
        (ResultSelection(operation="aml"), [0, 2]),
        (ResultSelection(status="failed"), [1]),
        (ResultSelection(since_ms=NOW_MS - 3_600_000), [0, 1]),
        (ResultSelection(person=digest[:8].upper()), [0]),
        (ResultSelection(person=digest + "0" * 48), [0]),
        (ResultSelection(operation="aml", status="failed"), []),
    ]:
        assert select_results(results, wanted) == [results[place] for place in places], wanted


def test_minutes_without_a_result_are_there_and_older_results_are_not() -> None:
    found = by_minute([finished(4), finished(4.9), finished(6, Status.FAILED), finished(500)], NOW_MS, 3)
    minute = NOW_MS // 60_000 * 60_000
    assert found == (
        MinuteOfResults(minute - 120_000),
        MinuteOfResults(minute - 60_000, {Status.FAILED: 1}),
        MinuteOfResults(minute, {Status.SUCCEEDED: 2}),
    )
    assert [m.total for m in found] == [0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 7200), st.sampled_from(Status)), max_size=50), st.integers(1, 60))
def test_each_result_counts_in_one_minute_at_most(made: list[tuple[int, Status]], minutes: int) -> None:
    results = [finished(ago_s, status) for ago_s, status in made]
    found = by_minute(results, NOW_MS, minutes)
    assert len(found) == minutes
    assert sum(minute.total for minute in found) == sum(1 for r in results if r.finished_ms >= found[0].begin_ms)


def test_the_time_is_that_of_what_succeeded_by_operation() -> None:
    results = [finished(n, took_ms=1000 * n) for n in range(1, 101)] + [
        finished(1, operation="session.create"),
        finished(1, Status.REJECTED, took_ms=0),
    ]
    assert speeds(results) == (Speed("aml", 100, 51.0, 96.0), Speed("session.create", 1, 1.0, 1.0))
    assert speeds([]) == ()
