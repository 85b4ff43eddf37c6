"""Follows the log: joins it by reading back, then passes on what comes, and joins again after whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from processor.bounds.loop_turns import LoopTurns
from processor.budget.log import Appended, BudgetLog, Entry, LogBrokenError, LogUnavailableError, place_of
from processor.budget.log_records import (
    Alive,
    Asked,
    Begun,
    Ended,
    LogRecord,
    UsualAsk,
    encode,
    parse_entry,
    read_record,
    read_usual_ask,
    read_usual_end,
)
from processor.budget.state import ALIVE_EVERY_S, PAUSE_TOLD_EVERY_S, Rules

log = structlog.get_logger(__name__)

_LEAST_REPLAYED = 2000  # records
_PAUSES_S = 2.5 * PAUSE_TOLD_EVERY_S
_SILENT_READS = 30  # of about a second each, in which at least three signs of life of our own must come back
_AGAIN_S = 1.0
_GATHER_S, _MANY = 0.1, 500  # records: of more there is no need to wait for some
_EXPECTED_MAX = 100  # entries; more are not on their way at once, unless appends fail
_AS_SENT = frozenset({Asked, Begun, Ended})  # what is read of these is what was written; they are nearly all there is
TURN_S, _SLICE_BYTES = 0.01, 6000  # of records: the time is looked at between slices


class LogListener(Protocol):
    """Who wants to know what the log says."""

    @property
    def awaits_records(self) -> bool:
        """Whether somebody waits for what is read next; if not, it is read in larger steps."""
        ...

    def joining(self, *, lost: bool) -> Alive:
        """The log is read from some place on: forget all that it has said. ``lost``: records are missing. Returns what to say first."""
        ...

    def apply_record(self, record: LogRecord, place: int, at: float, stamp_ms: int) -> None:
        """A record, in order. ``place``: ``log.place_of`` it; ``at``: when it was received, own clock."""
        ...

    def apply_usual(self, ask: UsualAsk, place: int, at: float, stamp_ms: int) -> bool:
        """The same for an ask as ``log_records.read_usual_ask`` gives it; False if ``apply_record`` is to be told of it instead."""
        ...

    def apply_answered(self, ask_id: str, at: float, stamp_ms: int, *, acted: bool) -> bool:
        """The same for an end as ``log_records.read_usual_end`` gives it."""
        ...

    def missing(self, offset: int, at: float) -> None:
        """Records before an offset are missing, in the past that is read back; the next one was received at ``at``, own clock."""
        ...

    def joined(self, start: int, open_at: float) -> None:
        """All of the past is read, from offset ``start`` on. Calls may start at ``open_at``, own clock."""
        ...

    def caught_up(self) -> None:
        """All that was there has been applied, or there was nothing for a second.

        Raises:
            LogUnavailableError: to have the log read again from its past.
        """
        ...

    def left(self) -> None:
        """The log is not followed for the time being: nothing may start."""
        ...


class LogReader:
    """One reader of the log.

    Args:
        budget_log: it is opened by ``run``, and closed by whoever made it.
        rules: how far back is read at a joining.
        listener: told of everything, in the order of the log.
        clock: seconds; it goes on while the machine is suspended.
    """

    def __init__(self, budget_log: BudgetLog, rules: Rules, listener: LogListener, clock: Callable[[], float]) -> None:
        self._log, self._rules, self._listener, self._clock = budget_log, rules, listener, clock
        self.next = 0  # everything before this offset has been applied
        self.malformed_count = 0
        self.heard_at = clock()  # when the log last gave something
        self.begun_at = float("-inf")  # when the log was begun, own clock, if that was within what was read back
        self._silent = 0  # reads in a row that brought nothing
        self._expected: dict[bytes, Sequence[LogRecord]] = {}
        self._hurried = asyncio.Event()
        self._turns = LoopTurns(clock, TURN_S)

    def hurry(self) -> None:
        """Somebody is going to wait for a record."""
        self._hurried.set()

    def expect(self, entry: bytes, records: Sequence[LogRecord]) -> None:
        """We append these records as this entry: once it is read back, byte by byte the same, they are not decoded again."""
        if all(type(record) in _AS_SENT for record in records):
            if len(self._expected) >= _EXPECTED_MAX:
                del self._expected[next(iter(self._expected))]
            self._expected[entry] = records

    async def run(self) -> None:
        """Follow for ever. Whatever the log does is survived; an error of the listener is raised."""
        trusted, lost = True, False
        while True:
            try:
                await self._log.open()
                await self._join(trusted=trusted, lost=lost)
                lost = False
                await self._follow()
            except LogBrokenError as exc:
                log.critical("budget_log_broken", detail=str(exc), hint="no call starts until those that nobody remembers are over")
                trusted, lost = False, True
            except LogUnavailableError as exc:
                log.error("budget_log_unavailable", detail=str(exc), hint="calls go on when it is back")
            finally:
                self._listener.left()
            await asyncio.sleep(_AGAIN_S)

    async def _follow(self) -> None:
        while True:
            entries = await self._read()
            now = self._clock()
            async for some in in_turns(entries, self._turns):
                for entry in some:
                    self._apply_entry(entry, now)
            self._listener.caught_up()
            if 0 < len(entries) < _MANY and not self._listener.awaits_records:
                await self._let_records_gather()

    async def _let_records_gather(self) -> None:
        """What is read late is late for nobody here, and many records cost less at once than one by one."""
        self._hurried.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_S):
                await self._hurried.wait()

    async def _read(self) -> list[Entry]:
        entries = await self._log.read()
        self._silent = 0 if entries else self._silent + 1
        self.heard_at = self._clock() if entries else self.heard_at
        if self._silent >= _SILENT_READS:
            raise LogUnavailableError(f"nothing was read for {self._silent} s, not even our own records of each {ALIVE_EVERY_S:.0f} s")
        return entries

    async def _join(self, *, trusted: bool, lost: bool) -> None:
        """Read back, dating the past by the broker's clock relative to our own first record."""
        self._silent = 0
        said = encode(self._listener.joining(lost=lost))
        hello = await self._log.append(said)
        acked = self._clock()
        begin = await self._log.begin()
        since = await self._log.offset_at(max(0, hello.stamp_ms - int(1000 * self._rules.replay_s)))
        by_time = hello.offset if since is None else min(since, hello.offset)
        start = max(begin, min(await self._pauses_from(begin, by_time), hello.offset - _LEAST_REPLAYED))
        self._log.seek(start)
        first_at = await self._replay(start, hello, said, acked)
        # a log that does not reach back: calls that nobody remembers may still count, so listen for one horizon first
        covered = by_time > begin or (trusted and begin == 0)
        self.begun_at = first_at if by_time <= begin else float("-inf")
        self._listener.joined(start, acked if covered else first_at + self._rules.horizon_s)
        log.info("budget_joined", replayed=hello.offset + 1 - start, waits=not covered)

    async def _pauses_from(self, begin: int, by_time: int) -> int:
        """From where on every pause is found that may still hold: whoever was there last before ``by_time`` has told it again and again."""
        if by_time <= begin:
            return begin
        self._log.seek(by_time - 1)
        while not (entries := await self._read()):
            pass  # bounded by ``_SILENT_READS``
        found = await self._log.offset_at(entries[0].stamp_ms - int(1000 * _PAUSES_S))
        return by_time if found is None else min(found, by_time)

    async def _replay(self, start: int, hello: Appended, said: bytes, acked: float) -> float:
        first_at = acked
        self.next = start
        while self.next <= hello.offset:
            entries = await self._read()
            now = self._clock()
            async for some in in_turns(entries, self._turns):
                for entry in some:
                    at = now
                    if entry.offset == hello.offset and entry.value != said:
                        raise LogBrokenError("our own record is not where it was written: the topic was made again meanwhile")
                    if entry.offset <= hello.offset:
                        at = min(acked, acked - (hello.stamp_ms - entry.stamp_ms) / 1000 + self._rules.skew_s)
                    first_at = at if self.next == start else first_at
                    if entry.offset > self.next:
                        self._pass_over(entry.offset, at)
                    self._apply_entry(entry, at)
        return first_at

    def _pass_over(self, offset: int, at: float) -> None:
        """Records are missing in the past. Whoever followed the log then has held all calls; to do so at each joining would never end."""
        log.warning(
            "budget_log_incomplete", first=self.next, missing=offset - self.next, hint="something else writes to it, or it was restored"
        )
        self._listener.missing(offset, at)
        self.next = offset

    def _apply_entry(self, entry: Entry, at: float) -> None:
        if entry.offset != self.next:
            raise LogBrokenError(f"expected offset {self.next}, got {entry.offset}")
        self.next += 1
        if self._expected and entry.value is not None and (ours := self._expected.pop(entry.value, None)) is not None:
            for place, record in enumerate(ours, place_of(entry.offset, 0)):
                self._listener.apply_record(record, place, at, entry.stamp_ms)
            return
        self._apply_foreign(entry, at)

    def _apply_foreign(self, entry: Entry, at: float) -> None:
        """An entry of another replica, or of a former time."""
        listener, stamp_ms = self._listener, entry.stamp_ms
        for place, raw in enumerate(parse_entry(entry.value), place_of(entry.offset, 0)):
            kind = raw.get("t") if type(raw) is dict else None
            if kind == "end":
                if (end := read_usual_end(raw)) is not None and listener.apply_answered(end[0], at, stamp_ms, acted=end[1]):
                    continue
            elif kind == "ask" and (ask := read_usual_ask(raw)) is not None and listener.apply_usual(ask, place, at, stamp_ms):
                continue
            record = read_record(raw)
            if record is None:
                self.malformed_count += 1
                log.error("budget_record_malformed", offset=entry.offset, hint="something else writes to the budget topic; restrict it")
            else:
                listener.apply_record(record, place, at, stamp_ms)


async def in_turns(entries: list[Entry], turns: LoopTurns) -> AsyncIterator[list[Entry]]:
    """Some entries after the other; the rest of the process goes on in between (heartbeats, answers, probes)."""
    some, size_bytes = [], 0
    for entry in entries:
        some.append(entry)
        size_bytes += len(entry.value or b"")
        if size_bytes >= _SLICE_BYTES:
            await turns.turn()
            yield some
            some, size_bytes = [], 0
    if some:
        await turns.turn()
        yield some
