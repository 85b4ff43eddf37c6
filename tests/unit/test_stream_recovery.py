"""What a new owner of a lane knows at its start, from the last commit and the call journal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from processor.budget.permits import LogPosition
from processor.stream.offsets import encode_metadata
from processor.stream.recovery import restore_lane
from processor.stream.start_offset import Start

LANE = "verification.requests[0]"
SAVED = LogPosition("01234567", 42)
EVERYTHING = LogPosition("", 0)


class KnownCalls:
    """A call history that was asked once, and answers with the calls of those offsets that are unfinished."""

    def __init__(self, *offsets: int, reaches: bool = True) -> None:
        self.asked: list[tuple[str, LogPosition | None]] = []
        self._offsets, self._reaches = offsets, reaches

    def position(self) -> LogPosition:
        raise AssertionError("nothing is noted during a recovery")

    async def replay_lane(
        self, lane: str, since: LogPosition | None, unfinished: Callable[[int], bool]
    ) -> tuple[bool, dict[int, LogPosition]]:
        self.asked.append((lane, since))
        return self._reaches, {offset: LogPosition("01234567", 100 + offset) for offset in self._offsets if unfinished(offset)}

    def forget(self, lane: str) -> None:
        raise AssertionError(lane)


async def test_recovery_takes_offsets_and_log_position_from_the_last_commit() -> None:
    calls = KnownCalls(4, 5, 6)
    restored = await restore_lane(calls, LANE, Start(5, encode_metadata(5, [6], SAVED)))
    assert calls.asked == [(LANE, SAVED)]
    assert (restored.remembered, restored.positioned) == (True, True)
    assert [offset for offset in range(4, 8) if restored.offsets.is_unfinished(offset)] == [5, 7]
    _, metadata = restored.offsets.view(log_position=LogPosition("01234567", 900))
    assert metadata.startswith("2:01234567@105:"), "the next owner reads back to the call of what is still unfinished"


async def test_recovery_without_a_commit_asks_for_no_calls() -> None:
    calls = KnownCalls()
    restored = await restore_lane(calls, LANE, Start(0, ""))
    assert calls.asked == [(LANE, None)]
    assert not restored.positioned


@pytest.mark.parametrize(
    ("start", "event"),
    [(Start(9, "", "skipping to the end, as configured"), "offsets_decided"), (Start(9, "not ours"), "gap_map_unreadable")],
)
async def test_recovery_from_a_commit_that_is_not_ours_reads_every_call_back(start: Start, event: str) -> None:
    calls = KnownCalls(9)
    with capture_logs() as logs:
        restored = await restore_lane(calls, LANE, start)
    assert calls.asked == [(LANE, EVERYTHING)]
    assert [entry["event"] for entry in logs] == [event]
    assert restored.offsets.floor == 9


async def test_recovery_says_when_the_call_history_is_truncated() -> None:
    with capture_logs() as logs:
        restored = await restore_lane(KnownCalls(reaches=False), LANE, Start(5, encode_metadata(5, [], SAVED)))
    assert not restored.remembered
    assert [entry["event"] for entry in logs] == ["calls_forgotten"]
