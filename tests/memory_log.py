"""The budget log in memory: one topic, many clients. Slow, failing, purged or created again on demand."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from processor.budget.log import Appended, Entry, LogBrokenError, LogUnavailableError

_BATCH = 7  # small, so that readers see parts


@dataclass
class MemoryTopic:
    """What a broker holds. Times are the loop's, so virtual time will do; ``skew_s`` is an error of the broker's clock."""

    entries: list[Entry] = field(default_factory=list)
    begin: int = 0
    skew_s: float = 0.0
    delay_s: Callable[[], float] = lambda: 0.0
    _hole: int = 0
    refuses: int = 0  # appends that fail from now on
    doubles: Callable[[], bool] = lambda: False  # whether a producer's retry writes a record twice
    appended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def end(self) -> int:
        return self.entries[-1].offset + 1 if self.entries else self.begin

    def put(self, value: bytes | None) -> Appended:
        stamp_ms = int((asyncio.get_running_loop().time() + self.skew_s) * 1000)
        self.entries.append(Entry(self.end + self._hole, stamp_ms, value))
        self._hole = 0
        self.appended.set()
        self.appended = asyncio.Event()
        return Appended(self.entries[-1].offset, stamp_ms)

    def purge(self) -> None:
        self.begin, self.entries = self.end, []

    def skip(self, count: int) -> None:
        """The next record lies so many offsets further, as behind records of a transaction."""
        self._hole += count

    def recreate(self) -> None:
        self.begin, self.entries = 0, []
        self.appended.set()
        self.appended = asyncio.Event()


class MemoryLog:
    """A client, see ``budget.log.BudgetLog``."""

    def __init__(self, topic: MemoryTopic) -> None:
        self.topic, self.position = topic, 0
        self.lag_s = 0.0
        self.opened = self.sections = 0
        self.open_sections = 0  # read by a client each, which stays until they are left
        self.cut = False  # nothing that is appended from now on gets out; what is on its way does

    @property
    def clock_off_s(self) -> float:
        return 0.0

    async def open(self) -> None:
        self.opened += 1

    async def append(self, value: bytes) -> Appended:
        if self.cut:
            raise LogUnavailableError("cut off")
        await asyncio.sleep(self.topic.delay_s())
        if self.topic.refuses > 0:
            self.topic.refuses -= 1
            raise LogUnavailableError("refused")
        done = self.topic.put(value)
        await asyncio.sleep(self.topic.delay_s())
        if self.topic.doubles():
            done = self.topic.put(value)
        return done

    async def begin(self) -> int:
        return self.topic.begin

    async def end(self) -> int:
        return self.topic.end

    async def offset_at(self, stamp_ms: int) -> int | None:
        return next((e.offset for e in self.topic.entries if e.stamp_ms >= stamp_ms), None)

    def seek(self, offset: int) -> None:
        self.position = offset

    async def read(self) -> list[Entry]:
        if self.lag_s:
            await asyncio.sleep(self.lag_s)
        topic = self.topic
        if self.position == topic.end:
            try:
                async with asyncio.timeout(1.0):
                    await topic.appended.wait()
            except TimeoutError:
                return []
        if not topic.begin <= self.position <= topic.end:
            raise LogBrokenError("out of range")
        first = bisect_left(topic.entries, self.position, key=lambda entry: entry.offset)
        found = topic.entries[first : first + _BATCH]
        self.position = found[-1].offset + 1 if found else self.position
        return found

    async def section(self, start: int, stop: int) -> AsyncIterator[list[Entry]]:
        self.sections += 1
        self.open_sections += 1
        try:
            for entry in [e for e in self.topic.entries if start <= e.offset < stop]:
                await asyncio.sleep(0)
                yield [entry]
        finally:
            await asyncio.sleep(0)
            self.open_sections -= 1

    async def close(self) -> None:
        return
