"""What the budget log says to a lane that is taken over: ``stream.handler.CallHistory`` on the log that ``shared`` follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from processor.budget.log import BudgetLog, LogBrokenError, LogUnavailableError
from processor.budget.log_reader import LogReader
from processor.budget.log_records import LaneDone
from processor.budget.log_writer import LogWriter
from processor.budget.permits import LaneCalls, LogPosition
from processor.budget.replay import replay_lane
from processor.budget.state import BudgetState

EVERYTHING = LogPosition("", 0)  # nobody knows from where on a lane's calls stand in the log
DONE_EVERY_S = 5.0  # what is done is told so often at most, for each lane
_NEVER_MS = 2**62
_BEHIND_S = 0.05  # between two looks whether the log is read so far
_END_TRIES, _END_PAUSE_S = 5, 1.0
_AGAIN_S = 1.0

log = structlog.get_logger(__name__)


class LaneHistory:
    """Remembers the calls of all replicas, and what they have finished.

    Args:
        budget_log: the log.
        reader: follows it; everything before its ``next`` is in the state.
        writer: sends records to it.
        joined: set while the log is read to its end and has a name.
        state: what the log says now.
        on_other_log: called when this is another log than that of a lane's commit, or than the one that was followed before.
        clock: seconds.
    """

    def __init__(
        self,
        budget_log: BudgetLog,
        reader: LogReader,
        writer: LogWriter,
        joined: asyncio.Event,
        state: Callable[[], BudgetState],
        on_other_log: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._log, self._reader, self._writer, self._joined = budget_log, reader, writer, joined
        self._state, self._on_other_log, self._clock = state, on_other_log, clock
        self._untold: dict[str, LaneDone] = {}  # by lane
        self._told_at: dict[str, float] = {}
        self._position = EVERYTHING  # while the log is not followed: as it was last

    def position(self) -> LogPosition:
        """See ``stream.handler.CallHistory.position``.

        While the log is joined again it is that of before: who reads back from too early a place finds what it needs, and some more.
        """
        if self._joined.is_set():
            name, read_to = self._state().log_name, self._reader.next
            if (name, read_to) != self._position:  # it is asked for at each start of a record, and moves on ten times a second and more
                self._position = LogPosition(name, read_to)
        return self._position

    def left(self) -> None:
        """The log is not followed for the time being; to be called before ``joined`` is cleared, and before it is read again."""
        self.position()

    def joined(self) -> None:
        """The past is read. If the log has another name than before it was made again, and nobody saw it break."""
        if self._position.log not in ("", self._state().log_name):
            self._state().journal.outlive_log()
            self._on_other_log()

    async def replay_lane(self, lane: str, since: LogPosition | None, unfinished: Callable[[int], bool]) -> LaneCalls:
        """See ``stream.handler.CallHistory.replay_lane``."""
        began, waits = self._clock(), False
        while True:
            try:
                found = await self._replay_once(lane, since, unfinished)
            except (LogUnavailableError, LogBrokenError) as exc:
                # its leader has gone, say, or retention has deleted what was being read: to end this life would cut off other lanes' calls
                if not waits:
                    log.warning("takeover_waits", partition=lane, hint=f"the budget log cannot be read ({exc}); other partitions go on")
                waits = True
                await asyncio.sleep(_AGAIN_S)
            else:
                if waits:
                    log.info("takeover_goes_on", partition=lane, after_s=round(self._clock() - began, 1))
                return found

    async def _replay_once(self, lane: str, since: LogPosition | None, unfinished: Callable[[int], bool]) -> LaneCalls:
        await self._catch_up(since)
        name, read_to = self.position()
        known = since is None or since == EVERYTHING or since.log == name
        offset = read_to if since is None else since.offset if known else 0
        journal = self._state().journal
        whole_from, replayed = await replay_lane(self._log, journal, lane, offset, read_to, unfinished)
        finished, doubtful = replayed.sort_out(journal.is_finished)
        first_calls = {record: LogPosition(name, at) for record, at in replayed.first_calls().items()}
        if not known:
            self._on_other_log()
        reaches = known and whole_from <= offset <= read_to
        return LaneCalls(0 if reaches else await self._stamp_ms(whole_from), first_calls, finished, doubtful)

    async def _catch_up(self, since: LogPosition | None) -> None:
        """Read the log as far as it goes now, and so beyond what a lane's former owner, who is fenced, had read and asked for.

        Whoever has just joined it has read it to the beginning of that; the former owner went on, for seconds where there is much to read.
        """
        while True:
            await self._joined.wait()
            end = await self._end(since)
            while self._joined.is_set() and self._reader.next < end:
                self._reader.hurry()
                await asyncio.sleep(_BEHIND_S)
            if self._joined.is_set():
                return

    async def _end(self, since: LogPosition | None) -> int:
        """The end of the log: one before a position in it is asked for again."""
        least = since.offset if since is not None and since.log == self._state().log_name else 0
        end = await self._log.end()
        for _ in range(_END_TRIES):
            if end >= least:
                break
            await asyncio.sleep(_END_PAUSE_S)
            end = await self._log.end()
        return end

    async def _stamp_ms(self, offset: int) -> int:
        """When the record at an offset was appended, epoch ms."""
        # read to its end, which ends its client too
        stamps_ms = [entry.stamp_ms async for entries in self._log.section(offset, offset + 1) for entry in entries]
        return stamps_ms[0] if stamps_ms else _NEVER_MS

    def done(self, lane: str, floor: int, gap_map: bytes) -> None:
        """See ``stream.handler.CallHistory.done``."""
        self._untold[lane] = LaneDone(lane, floor, gap_map)
        if self._clock() - self._told_at.get(lane, float("-inf")) >= DONE_EVERY_S:
            self._tell(lane)

    def tell_done(self) -> None:
        """Tell what was held back; to be called now and then."""
        for lane in list(self._untold):
            self._tell(lane)

    def forget(self, lane: str) -> None:
        """See ``stream.handler.CallHistory.forget``."""
        if lane in self._untold:
            self._tell(lane)
        self._told_at.pop(lane, None)
        self._state().journal.replayed_calls.pop(lane, None)

    async def flush(self, within_s: float) -> None:
        """See ``stream.handler.CallHistory.flush``. While the log is not followed nothing gets there soon."""
        if self._joined.is_set():
            await self._writer.flush(within_s)

    def _tell(self, lane: str) -> None:
        self._told_at[lane] = self._clock()
        self._writer.post(self._untold.pop(lane))
