"""A flood of equal lines becomes the first ones, a count, and the last one."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import orjson
import pytest
import structlog
from effort import full
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import run_virtual

from processor.observe import logs
from processor.observe.log_thinning import LogThinner, Thinning
from processor.observe.logs import configure_logs
from processor.runtime.process_status import ProcessStatus
from processor.settings import LogSettings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def written(lines: list[dict[str, Any]], clock: Clock, **options: Any) -> LogThinner:
    return LogThinner(lines.append, thinning=Thinning(**options), clock=clock)


def passes(thinner: LogThinner, **event: Any) -> bool:
    try:
        thinner(None, "warning", event)
    except structlog.DropEvent:
        return False
    return True


def test_a_flood_is_the_first_lines_a_count_and_the_last_line() -> None:
    lines: list[dict[str, Any]] = []
    clock = Clock()
    thinner = written(lines, clock, pass_max=3, window_s=60)
    assert [passes(thinner, event="rejected", code="not_json", source=n) for n in range(100)] == [True] * 3 + [False] * 97
    assert passes(thinner, event="rejected", code="empty", source=1), "another code is another kind"
    assert lines == []
    clock.now = 60.0
    thinner.flush()
    assert lines == [{"event": "rejected", "code": "not_json", "source": 99, "repeated": 97}]
    assert passes(thinner, event="rejected", code="not_json", source=100), "a new window"


@pytest.mark.parametrize("event", ["right_missing", "topic_unusable"])
def test_a_list_of_what_is_wrong_is_written_whole(event: str) -> None:
    thinner = written([], Clock(), pass_max=3)
    assert all(passes(thinner, event=event, detail=f"Read on topic v.{n}") for n in range(100))
    assert [passes(thinner, event=event, detail="Read on topic v.1") for _ in range(4)] == [True, True, False, False]


def test_lines_of_libraries_are_thinned_by_their_template() -> None:
    lines: list[dict[str, Any]] = []
    thinner = written(lines, Clock(), pass_max=2)

    def record(node: int) -> logging.LogRecord:
        return logging.LogRecord("aiokafka", logging.ERROR, "", 0, "Unable to connect to node %s", (node,), None)

    assert [thinner.filter(record(n)) for n in range(5)] == [True, False, False, False, False]
    thinner.flush(everything=True)
    assert lines == [{"event": "Unable to connect to node 4", "logger": "aiokafka", "level": "error", "repeated": 4}]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 50)), max_size=200), st.integers(1, 5))
def test_no_line_is_lost_uncounted_and_memory_is_bounded(steps: list[tuple[str, float]], pass_max: int) -> None:
    thinning = Thinning(pass_max=pass_max, window_s=60, kinds_max=3)
    now, shown, counted = 0.0, 0, 0
    for kind, later_s in steps:
        now += later_s
        counted += sum(line["repeated"] for line in thinning.due(now))
        shown += thinning.admits((kind,), {}, now)
        assert thinning.kinds_held <= 4
    counted += sum(line["repeated"] for line in thinning.due(float("inf")))
    assert shown + counted == len(steps)


def test_a_hundred_thousand_poison_records_cost_little(capsys: pytest.CaptureFixture[str]) -> None:
    thinner = configure_logs(LogSettings(level="info", format="json"))
    try:
        log = structlog.get_logger("lane")
        for n in range(full(100_000)):
            log.warning("rejected", source=f"verification.requests[{n % 8}]@{n}", code="not_json")
        thinner.flush(everything=True)
        size_bytes = len(capsys.readouterr().err)
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers = []
    assert 0 < size_bytes < full(1_000_000)


def test_a_flood_of_poison_and_of_reconnects_that_lasts_costs_under_a_megabyte() -> None:
    """100 000 records of twenty faults over ten minutes (virtual), with a broker away: 7 600 lines of aiokafka's beside them."""
    lines: list[dict[str, Any]] = []
    clock = Clock()
    thinner, count, passed_bytes = LogThinner(lines.append, clock=clock), full(100_000), 0
    for n in range(count):
        clock.now = 600.0 * n / count
        event = {"event": "rejected", "source": f"verification.requests[{n % 8}]@{n}", "code": f"code_{n % 20}", "level": "warning"}
        if passes(thinner, **event):
            passed_bytes += len(orjson.dumps(event)) + 60  # time stamp and logger
        if n % 13 == 0:
            text = "Unable connect to node with id %s: %s"
            record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, (n, f"[Errno 111] {n}"), None)
            passed_bytes += 200 if thinner.filter(record) else 0
    thinner.flush(everything=True)
    reconnects = [line for line in lines if line.get("logger") == "aiokafka"]
    assert len(reconnects) >= 1
    assert sum(line["repeated"] for line in lines) > 0
    assert 0 < passed_bytes + sum(len(orjson.dumps(line)) + 60 for line in lines) < 1_000_000


def test_the_beat_of_a_process_writes_what_was_counted_when_the_lines_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    clock = Clock()
    thinner = written(lines, clock, pass_max=1)
    assert [passes(thinner, event="rejected", source=n) for n in range(3)] == [True, False, False]
    clock.now = 60.0

    async def beat_for_a_second() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1.2):
                await ProcessStatus(30.0, 120.0).beat()

    monkeypatch.setattr(logs, "_in_force", [thinner])
    run_virtual(beat_for_a_second())
    assert lines == [{"event": "rejected", "source": 2, "repeated": 2}]
