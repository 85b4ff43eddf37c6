"""Whatever stands in the dead-letter and repairs topics is read without an error, and the pace holds for any plan."""

from __future__ import annotations

import bisect
from typing import Any

import orjson
from aiokafka import TopicPartition
from dead_letters import dead_letter
from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.contract.headers import hop_headers, read_hop
from processor.contract.records import Hop, Record, Source
from processor.contract.redaction import masked_request
from processor.contract.repairs import read_repair
from processor.contract.times import utc
from processor.didit.catalog import OPERATIONS
from processor.repair.dead_letter import call_over_ms, dead_letter_of, redriven_hop
from processor.repair.dead_letter_index import newest
from processor.repair.history_steps import dead_letter_entry, input_step, result_step
from processor.repair.model import Selection
from processor.repair.plan import Pacer, make_plan
from processor.settings import load_settings

NOW = 1_764_000_000_000
LIMITS = {scope: (limit.limit, limit.window_s) for scope, limit in load_settings().rate_limits.items()}
OURS = [name for name, _ in dead_letter("v", 1, session_id="11111111-2222-4333-8444-555555555555", doubt_ms=3, replay=1, polls=2).headers]
VALUES = st.one_of(
    st.none(), st.binary(max_size=40), st.integers().map(lambda n: str(n).encode()), st.sampled_from([b"", b"0" * 400, b"9" * 19])
)
HEADERS = st.lists(st.tuples(st.sampled_from([*OURS, "vp-value-size-bytes", "vp-due-ms", "vp-?", "x"]), VALUES), max_size=12)


@settings(max_examples=full(300), deadline=None, derandomize=True)
@given(HEADERS, st.one_of(st.none(), st.binary(max_size=60)), st.one_of(st.none(), st.binary(max_size=9)), st.integers(-5, 2**53))
def test_any_record_of_the_topic_is_a_dead_letter_that_can_be_listed_and_redriven(
    headers: list[tuple[str, bytes | None]], value: bytes | None, key: bytes | None, stamp_ms: int
) -> None:
    found = dead_letter_of(Record(Source("v.dead-letters", 0, 7), key, value, tuple(headers), stamp_ms))
    plan = make_plan([found], Selection(in_doubt=True, replays_max=2**31), LIMITS, now_ms=NOW)
    assert len(plan.chosen) + sum(plan.left_out.values()) == 1
    assert call_over_ms(found, NOW, 180_000) <= NOW + 180_000
    utc(found.failed_ms)
    dead_letter_entry(found, "v.dead-letters", found.status)
    hop = redriven_hop(found, NOW)
    if hop.replay < 1_000_000 and hop.hop < 1_000_000 and hop.first_ms <= NOW:
        assert read_hop(Record(Source("v.retry.10s", 0, 1), key, value, hop_headers(hop), NOW)) == hop, "a lane takes it"


@settings(max_examples=full(100), deadline=None, derandomize=True)
@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text()), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_value_of_the_repairs_and_results_topics_is_passed_over_or_read(document: Any) -> None:
    try:
        value = orjson.dumps(document)
    except TypeError:
        return
    assert read_repair(value) is None
    result_step(Record(Source("v.results", 0, 1), b"r", value))
    masked_request(value)


@settings(max_examples=full(100), deadline=None, derandomize=True)
@given(st.text(min_size=1, max_size=30).filter(lambda text: "secret" not in text), st.sampled_from(sorted(OPERATIONS)))
def test_nothing_of_an_input_is_shown(secret: str, operation: str) -> None:
    marked = f"secret{secret}secret"
    document = {
        "request_id": "r",
        "operation": operation,
        marked: marked,
        "input": {"full_name": marked, marked: [marked, {marked: marked}]},
    }
    assert b"secret" not in orjson.dumps(masked_request(orjson.dumps(document)))


@settings(max_examples=full(60), deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from([*sorted(OPERATIONS), "verification"]), st.integers(0, 5000)), max_size=80),
    st.floats(0.01, 1.0),
    st.dictionaries(st.sampled_from(sorted(LIMITS)), st.tuples(st.integers(1, 40), st.sampled_from([0.5, 1.0, 7.3, 60.0]))),
)
def test_in_no_window_does_a_scope_get_more_than_its_share(
    asked: list[tuple[str, int]], share: float, tight: dict[str, tuple[int, float]]
) -> None:
    limits = LIMITS | tight
    pacer, now_ms = Pacer(limits, share), NOW
    starts: dict[str, list[int]] = {}
    for number, (operation, later_ms) in enumerate(asked):
        now_ms += later_ms
        output = dead_letter("v", number, operation=operation, given={}, failed_ms=NOW)
        found = dead_letter_of(Record(Source("v.dead-letters", 0, number), output.key, output.value, output.headers, NOW))
        due_ms = pacer.slot(found, now_ms)
        assert due_ms is not None
        assert due_ms >= now_ms
        for scope in OPERATIONS["session.create" if operation == "verification" else operation].scopes:
            starts.setdefault(scope, []).append(due_ms)
    for scope, times in starts.items():
        limit, window_s = limits[scope]
        most = max(1, int(limit * share))
        for begin in sorted(times):
            assert bisect.bisect_left(sorted(times), begin + int(window_s * 1000)) - bisect.bisect_left(sorted(times), begin) <= most


@settings(max_examples=full(200), deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 500), max_size=12), st.integers(1, 400))
def test_the_newest_of_all_partitions_are_about_as_many_as_are_kept(sizes: list[int], total_max: int) -> None:
    room = newest({TopicPartition("t", n): size for n, size in enumerate(sizes)}, total_max)
    taken = sum(min(size, room) for size in sizes)
    assert taken <= total_max + len(sizes)
    assert taken >= min(sum(sizes), total_max)


@settings(max_examples=full(100), deadline=None, derandomize=True)
@given(st.integers(0, 2**53), st.one_of(st.none(), st.sampled_from(["http_503", "redriven"])))
def test_a_waiting_record_is_described_whatever_its_times(due_ms: int, error: str | None) -> None:
    record = Record(Source("v.retry.10s", 0, 1), None, b"{}", (), 5)
    assert input_step(record, Hop(record.source, 5, due_ms=due_ms, last_error=error), waits=True).what == "waiting"
