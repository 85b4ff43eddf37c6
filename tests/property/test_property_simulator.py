"""The simulator's windows against a naive model: the judge must be right."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.simulator.config import Limit, SimulatorOptionError, faults_from_json, limits_from_json
from processor.simulator.ledger import Call, Ledger
from processor.simulator.limits import Windows, max_in_window

gaps = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0]), max_size=60)


def times_of(steps: list[float]) -> list[float]:
    now, times = 1000.0, []
    for step in steps:
        now += step
        times.append(now)
    return times


@given(gaps, st.sampled_from([0.5, 1.0, 3.0]))
def test_the_most_of_any_window_is_the_naive_most(steps: list[float], window_s: float) -> None:
    times = times_of(steps)
    naive = max((sum(1 for other in times if time - window_s < other <= time) for time in times), default=0)
    assert max_in_window(times, window_s) == naive


@given(gaps, st.integers(1, 5), st.booleans())
def test_no_window_ever_holds_more_admitted_calls_than_the_limit(steps: list[float], limit: int, rejected_count: bool) -> None:
    windows = Windows({"a": Limit(limit, 3.0), "b": Limit(limit + 1, 1.0)}, rejected_count=rejected_count)
    admitted: list[float] = []
    counted: list[float] = []
    for now in times_of(steps):
        refusal = windows.admit("k", ("a", "b"), now)
        if refusal is None:
            admitted.append(now)
        else:
            assert refusal.retry_after_s >= 1
            assert refusal.reset_at > now
        if refusal is None or rejected_count:
            counted.append(now)
    assert max_in_window(admitted, 3.0) <= limit
    assert max_in_window(admitted, 1.0) <= limit + 1
    if not rejected_count:
        assert counted == admitted


def test_a_wait_of_retry_after_is_enough() -> None:
    windows = Windows({"session-create": Limit(2, 10.0)}, rejected_count=False)
    assert windows.admit("k", ("session-create",), 100.0) is None
    assert windows.admit("k", ("session-create",), 103.2) is None
    refusal = windows.admit("k", ("session-create",), 104.0)
    assert refusal is not None
    assert refusal.retry_after_s == 6
    assert windows.admit("k", ("session-create",), 104.0 + refusal.retry_after_s) is None


def test_options_that_make_no_sense_are_named() -> None:
    for text in ("[]", "{", '{"x":{"limit":1}}', '{"session-create":{}}', '{"session-create":7}'):
        with pytest.raises(SimulatorOptionError):
            limits_from_json(text)
    for text in ('{"rates":{"x":1}}', '{"latency_s":7}', '{"rates":{"reset":"often"}}'):
        with pytest.raises(SimulatorOptionError):
            faults_from_json(text)
    assert limits_from_json(None)["generic-write"] == Limit(300)


def test_the_ledger_file_is_readable_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger({"a": Limit(1)}, str(path))
    call = Call(1.0, "k", "GET", "/", "r", ["a"], counted=True, reference=None)
    ledger.arrived(call)
    ledger.answered(call)
    ledger.created({"session_id": "s"})
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["kind"] for line in lines] == ["call", "session"]
    ledger.close()
