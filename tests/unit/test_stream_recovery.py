"""What a new owner of a lane knows at its start, from the last commit and the call journal."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import pytest
from structlog.testing import capture_logs

from processor.budget.permits import LaneCalls, LogPosition
from processor.stream.offsets import encode_metadata
from processor.stream.recovery import OffsetAt, explain_missing, restore_lane
from processor.stream.start_offset import MissingOffsetsError, Start

LANE = "verification.requests[0]"
SAVED = LogPosition("01234567", 42)
EVERYTHING = LogPosition("", 0)
NOW = 1_764_000_000_000
HOUR_MS = 3_600_000


class KnownCalls:
    """A call history that was asked once, and answers with the calls of those offsets that are unfinished."""

    def __init__(self, *offsets: int, since_ms: int = 0, finished: Collection[int] = (), doubtful: Collection[int] = ()) -> None:
        self.asked: list[tuple[str, LogPosition | None]] = []
        self._offsets, self._since_ms, self._finished, self._doubtful = offsets, since_ms, finished, doubtful

    def position(self) -> LogPosition:
        raise AssertionError("nothing is noted during a recovery")

    async def replay_lane(self, lane: str, since: LogPosition | None, unfinished: Callable[[int], bool]) -> LaneCalls:
        self.asked.append((lane, since))
        first_calls = {offset: LogPosition("01234567", 100 + offset) for offset in self._offsets if unfinished(offset)}
        return LaneCalls(self._since_ms, first_calls, frozenset(self._finished), frozenset(self._doubtful))

    def done(self, lane: str, floor: int, gap_map: bytes) -> None:
        raise AssertionError((lane, floor, gap_map))

    def forget(self, lane: str) -> None:
        raise AssertionError(lane)

    async def flush(self, within_s: float) -> None:
        raise AssertionError(within_s)


def stamped(*stamps_ms: int) -> OffsetAt:
    """A partition whose records, from offset 0 on, have these timestamps."""

    async def offset_at(stamp_ms: int) -> int | None:
        return next((offset for offset, at in enumerate(stamps_ms) if at >= stamp_ms), None)

    return offset_at


async def test_recovery_takes_offsets_and_log_position_from_the_last_commit() -> None:
    calls = KnownCalls(4, 5, 6)
    restored = await restore_lane(calls, LANE, Start(5, encode_metadata(5, [6], SAVED)), 8, stamped())
    assert calls.asked == [(LANE, SAVED)]
    assert (restored.unremembered_below, restored.positioned) == (0, True)
    assert [offset for offset in range(4, 8) if restored.offsets.is_unfinished(offset)] == [5, 7]
    _, metadata = restored.offsets.view(log_position=LogPosition("01234567", 900))
    assert metadata.startswith("2:01234567@105:"), "the next owner reads back to the call of what is still unfinished"


async def test_recovery_without_a_commit_asks_for_no_calls() -> None:
    calls = KnownCalls()
    restored = await restore_lane(calls, LANE, Start(0, ""), 0, stamped())
    assert calls.asked == [(LANE, None)]
    assert not restored.positioned


@pytest.mark.parametrize(
    ("start", "event"),
    [
        (Start(9, "", "skipping to the end, as configured"), "offsets_decided"),
        (Start(9, "not ours"), "gap_map_unreadable"),
        (Start(9, "", foreign=True), None),
    ],
)
async def test_recovery_from_a_commit_that_is_not_ours_reads_every_call_back(start: Start, event: str | None) -> None:
    calls = KnownCalls(9)
    with capture_logs() as logs:
        restored = await restore_lane(calls, LANE, start, 12, stamped())
    assert calls.asked == [(LANE, EVERYTHING)]
    assert [entry["event"] for entry in logs] == ([event] if event else [])
    assert restored.offsets.floor == 9


async def test_recovery_from_a_decided_offset_believes_the_commit_that_it_follows() -> None:
    calls = KnownCalls(6)
    with capture_logs() as logs:
        restored = await restore_lane(calls, LANE, Start(5, encode_metadata(5, [6], SAVED), "going on, as configured"), 9, stamped())
    assert (calls.asked, [entry["event"] for entry in logs]) == ([(LANE, SAVED)], ["offsets_decided"])
    assert [offset for offset in range(5, 9) if restored.offsets.is_unfinished(offset)] == [5, 7, 8]


async def test_recovery_says_when_the_call_history_is_truncated() -> None:
    with capture_logs() as logs:
        restored = await restore_lane(KnownCalls(since_ms=NOW), LANE, Start(5, encode_metadata(5, [], SAVED)), 9, stamped(*[NOW] * 9))
    assert restored.unremembered_below == 9
    assert [(entry["event"], entry["count"]) for entry in logs] == [("calls_forgotten", 4)]


async def test_what_came_after_the_beginning_of_the_log_was_not_called_before_it() -> None:
    """An hour later: callers stamp their records by clocks of their own."""
    partition = stamped(NOW - 9, NOW, NOW + HOUR_MS - 1, NOW + HOUR_MS, NOW)
    with capture_logs() as logs:
        restored = await restore_lane(KnownCalls(since_ms=NOW, finished=[1]), LANE, Start(0, "", "from the beginning"), 5, partition)
    assert (restored.unremembered_below, restored.finished) == (3, frozenset({1}))
    assert [entry["count"] for entry in logs if entry["event"] == "calls_forgotten"] == [2]
    with capture_logs() as logs:
        restored = await restore_lane(KnownCalls(since_ms=NOW), LANE, Start(3, encode_metadata(3, [], SAVED)), 5, partition)
    assert (restored.unremembered_below, logs) == (0, [])


async def test_nothing_is_forgotten_that_no_lane_has_reached() -> None:
    """A commit of ours bounds it: 80 000 of 100 000 went into doubt."""
    with capture_logs():
        restored = await restore_lane(KnownCalls(since_ms=NOW), LANE, Start(5, encode_metadata(5, [], SAVED)), 100_000, stamped())
        foreign = await restore_lane(KnownCalls(since_ms=NOW), LANE, Start(5, "", foreign=True), 100_000, stamped())
    assert (restored.unremembered_below, foreign.unremembered_below) == (48_005, 100_000)


async def test_the_refusal_says_how_many_of_each() -> None:
    missing = MissingOffsetsError("t[0]: gone.", 10, 30)
    of_commit = MissingOffsetsError("t[0]: gone.", 10, 30, [12, 15, 16])
    told = str(await explain_missing(KnownCalls(finished=[10, 11, 12], doubtful=[15]), LANE, of_commit, stamped()))
    assert [int(n) for n in re.findall(r" (\d+)\b", told)] == [20, 5, 0, 15], "the last commit says more than the log"
    told = str(await explain_missing(KnownCalls(finished=[10, 11, 12], doubtful=[15]), LANE, missing, stamped()))
    assert told.startswith("t[0]: gone. By the budget log, of 20 offsets:")
    assert [int(n) for n in re.findall(r" (\d+)\b", told)] == [20, 3, 1, 16]
    assert told.endswith("If the topic was created again since, all that is there now is new, and would be done.")
    calls = KnownCalls(finished=[10, 11, 12], doubtful=[15], since_ms=NOW)
    told = str(await explain_missing(calls, LANE, missing, stamped(*[0] * 20, *[NOW + HOUR_MS] * 10)))
    assert [int(n) for n in re.findall(r" (\d+)\b", told)] == [20, 3, 7, 10], "what came before the log began may have been called"
