"""What it costs a replica to follow the budget log: CPU for each call, its own or another's, memory for each, and a restart with many.

In one process, without Kafka: the real budget reads what real budgets have written, at the times at which it would have come. For that the
loop's time jumps to the next timer, so a busy machine changes no batch. The client of Kafka costs extra for each record that it fetches.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import mmap
import random
import selectors
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from bench.harness import OPEN_LIMITS, emit
from processor.budget.log import Appended, Entry
from processor.budget.log_records import Asked, Ended, encode
from processor.budget.permits import Ask, CallClass, CallIdentity, Ending, Fate, HealthSignal, Permit
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.rules import budget_rules
from processor.budget.shared import SharedBudget
from processor.clock import boot_clock, clock_ms
from processor.observe.logs import configure_logs
from processor.settings import Settings, load_settings

SETTINGS = load_settings(budget={"limits": OPEN_LIMITS}, log={"level": "warning"})
PLAYED = load_settings(  # a window so short that calls leave it while others are read, as they do in a replica that lives longer than this
    budget={"limits": {scope: limit | {"window_s": 2} for scope, limit in OPEN_LIMITS.items()}}, log={"level": "warning"}
)
SCOPES = ("session-create", "generic-write")
CALL_S = 0.1  # of Didit
ACK_S = 0.003  # of Kafka; after half of it the record is there
READ_MAX = 1000  # as ``stream.budget_log``
LANES = 12  # that the reader owns
MEMORY_S = SETTINGS.budget.memory_s
T = TypeVar("T")
Written = tuple[float, bytes]  # when, s, and a record


class Jumping(selectors.SelectSelector):
    now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now_s += max(1e-6, timeout or 0.0)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its time jumps to the next timer. No sockets, no threads."""

    def __init__(self) -> None:
        self._jumping = Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def jumping(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


class Topic:
    """What was written. ``news`` ends the wait of whoever reads."""

    def __init__(self) -> None:
        self.written: list[Written] = []
        self.news = asyncio.Event()

    def put(self, value: bytes) -> int:
        self.written.append((asyncio.get_running_loop().time(), value))
        self.news.set()
        self.news = asyncio.Event()
        return len(self.written) - 1


class IdealLog:
    """A client of a topic."""

    clock_off_s = 0.0

    def __init__(self, topic: Topic) -> None:
        self.topic, self.at, self.reads = topic, 0, 0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def append(self, value: bytes) -> Appended:
        await asyncio.sleep(ACK_S / 2)
        offset = self.topic.put(value)
        await asyncio.sleep(ACK_S / 2)
        return Appended(offset, int(1000 * self.topic.written[offset][0]))

    async def begin(self) -> int:
        return 0

    async def end(self) -> int:
        return len(self.topic.written)

    async def offset_at(self, stamp_ms: int) -> int | None:
        return None

    def seek(self, offset: int) -> None:
        self.at = offset

    async def read(self) -> list[Entry]:
        if self.at >= len(self.topic.written):
            try:
                async with asyncio.timeout(1):
                    await self.topic.news.wait()
            except TimeoutError:
                return []
        written = self.topic.written[self.at : self.at + READ_MAX]
        found = [Entry(self.at + n, int(1000 * at), value) for n, (at, value) in enumerate(written)]
        self.at += len(found)
        self.reads += 1
        return found

    async def section(self, start: int, stop: int) -> AsyncIterator[list[Entry]]:
        for at in range(start, stop):
            yield [Entry(at, 0, self.topic.written[at][1])]


class Replica:
    """A budget on a log; ``calls`` makes some."""

    def __init__(self, log: Any, name: str, settings: Settings = PLAYED, *, real: bool = False) -> None:
        place = ReplicaLimits(name, calls_max=1000, queue_max=1000, park_s=60.0)
        clock = boot_clock if real else asyncio.get_running_loop().time
        self.budget = SharedBudget(log, budget_rules(settings), place, draw=random.random, clock=clock)
        self._task = asyncio.create_task(self.budget.run())

    async def joined(self) -> None:
        while not self.budget.is_joined:
            await asyncio.sleep(0.01)

    async def calls(self, count: int, every_s: float) -> None:
        """Start a call each so many seconds."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._call())
                await asyncio.sleep(random.expovariate(1 / every_s))

    async def _call(self) -> None:
        identity = CallIdentity(digest(), digest(), digest(), "b.requests[3]", random.randrange(2**31))
        permit = await self.budget.acquire(Ask("session.create", SCOPES, CallClass.NORMAL, clock_ms(), identity))
        if not isinstance(permit, Permit):
            raise TypeError(permit)
        await asyncio.sleep(random.expovariate(1 / CALL_S))
        self.budget.release(permit, Ending(Fate.ANSWERED, HealthSignal.GOOD, acted=True))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        await self.budget.close()


def digest() -> str:
    return base64.urlsafe_b64encode(random.randbytes(15)).decode()


async def written_by(writers: int, calls: int, rate_per_s: float) -> list[Written]:
    """What so many replicas write into the log, and when."""
    topic = Topic()
    replicas = [Replica(IdealLog(topic), f"writer-{n}") for n in range(writers)]
    try:
        await asyncio.gather(*(r.joined() for r in replicas))
        await asyncio.gather(*(r.calls(calls // writers, writers / rate_per_s) for r in replicas))
        await asyncio.sleep(1)
    finally:
        await asyncio.gather(*(r.stop() for r in replicas))
    return topic.written


class PlayedLog(IdealLog):
    """Gives what others have written when its time has come. Whoever waits for it takes one timer, as whoever waits for a socket does."""

    def __init__(self, played: list[Written]) -> None:
        super().__init__(Topic())
        self._played, self._given, self._since = played, 0, inf

    def play(self) -> None:
        """From now on."""
        self._since = asyncio.get_running_loop().time() - self._played[0][0]

    async def read(self) -> list[Entry]:
        if self._given < len(self._played) and self._since < inf:
            await asyncio.sleep(min(1.0, self._played[self._given][0] + self._since - asyncio.get_running_loop().time()))
            until = asyncio.get_running_loop().time() - self._since
            while self._given < len(self._played) and self._played[self._given][0] <= until:
                self.topic.written.append((until, self._played[self._given][1]))
                self._given += 1
        return await super().read()


async def read_by_one(played: list[Written]) -> tuple[float, int]:
    """CPU seconds of a replica without work that reads all of it, and in how many reads."""
    log = PlayedLog(played)
    reader = Replica(log, "reader")
    try:
        await reader.joined()
        for lane in range(LANES):
            await reader.budget.history.replay_lane(f"b.requests[{lane}]", None, lambda _: True)
        await asyncio.sleep(1.5)  # what it reads now it waits for
        gc.collect()
        log.play()
        log.reads, cpu = 0, time.process_time()
        await asyncio.sleep(played[-1][0] - played[0][0] + 2)
        return time.process_time() - cpu, log.reads
    finally:
        await reader.stop()


def python_ns() -> float:
    """CPU of one turn of an empty loop: by it figures of other machines, and of busier ones, compare."""
    cpu = time.process_time()
    for _ in range(2_000_000):
        pass
    return round((time.process_time() - cpu) / 2_000_000 * 1e9, 1)


def reading(writers: int, calls: int, rate_per_s: float) -> dict[str, float]:
    """CPU of a replica without work for each call of the others, and of them all for each of their calls."""
    cpu = time.process_time()
    played = jumping(written_by(writers, calls, rate_per_s))
    wrote_s = time.process_time() - cpu
    used_s, reads = jumping(read_by_one(played))
    return {
        "us": round(used_s / calls * 1e6, 1),
        "writers_us": round(wrote_s / calls * 1e6, 1),
        "entries": round(len(played) / calls, 2),
        "reads": round(reads / calls, 2),
    }


class StoredLog(IdealLog):
    """Many calls of the last hour, from a file, as Kafka would give them: so many records at a time."""

    def __init__(self, path: Path, entries: int) -> None:
        super().__init__(Topic())
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._place, self._end = 0, entries
        self._since_ms, self._step_ms = clock_ms() - int(900 * MEMORY_S), 900 * MEMORY_S / entries

    async def append(self, value: bytes) -> Appended:
        return Appended(self._end + self.topic.put(value), clock_ms())

    async def end(self) -> int:
        return self._end + len(self.topic.written)

    async def offset_at(self, stamp_ms: int) -> int | None:
        return 0

    async def read(self) -> list[Entry]:
        await asyncio.sleep(0)
        found: list[Entry] = []
        place = self._place
        while len(found) < READ_MAX and self.at < self._end:
            size = int.from_bytes(self._map[place : place + 4], "big")
            found.append(Entry(self.at, self._since_ms + int(self._step_ms * self.at), self._map[place + 4 : place + 4 + size]))
            place, self.at = place + 4 + size, self.at + 1
        self._place = place
        if not found:
            found = [Entry(self.at + n, clock_ms(), v) for n, (_, v) in enumerate(self.topic.written[self.at - self._end :])]
            self.at += len(found)
            await asyncio.sleep(0 if found else 0.1)
        return found


def store(path: Path, count: int) -> int:
    """Write the records of so many calls, each with its length in front; the end of each comes a hundred calls later."""
    entries = 0
    with path.open("wb") as out:
        for n in range(count + 100):
            records: list[Asked | Ended] = []
            if n < count:
                identity = CallIdentity(digest(), digest(), digest(), f"b.requests[{n % 12}]", n)
                records.append(Asked(f"{n % 4:010x}-{n // 4}", SCOPES, 90.0, "session.create", identity=identity))
            if n >= 100:
                records.append(Ended(f"{n % 4:010x}-{n // 4 - 25}", used=True, acted=True, health=HealthSignal.GOOD))
            for value in map(encode, records):
                out.write(len(value).to_bytes(4, "big") + value)
                entries += 1
    return entries


async def note_holds(longest: dict[str, float]) -> None:
    """The longest turns of the loop, ms: CPU of this thread, and by the wall's clock, which other programs lengthen."""
    while True:
        cpu, wall = time.thread_time(), time.monotonic()
        await asyncio.sleep(0)
        longest["cpu"] = max(longest["cpu"], 1000 * (time.thread_time() - cpu))
        longest["wall"] = max(longest["wall"], 1000 * (time.monotonic() - wall))


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


async def replaying(count: int) -> dict[str, float]:
    """A restart with so many remembered calls."""
    with tempfile.TemporaryDirectory(prefix="processor-bench-") as folder:
        path = Path(folder) / "log"
        log = StoredLog(path, await asyncio.to_thread(store, path, count))
        gc.collect()
        before, longest = anonymous_bytes(), {"cpu": 0.0, "wall": 0.0}
        holding = asyncio.create_task(note_holds(longest))
        wall, cpu = time.monotonic(), time.process_time()
        reader = Replica(log, "reader", SETTINGS, real=True)
        try:
            await reader.joined()
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
            gc.collect()
            used, remembered = anonymous_bytes() - before, len(reader.budget.state.journal)
        finally:
            holding.cancel()
            await reader.stop()
    return {
        "replay_s": round(cpu, 1),
        "replay_wall_s": round(wall, 1),
        "loop_hold_ms": round(longest["cpu"], 1),
        "loop_hold_wall_ms": round(longest["wall"], 1),
        "bytes_per_call": round(used / remembered),
        "remembered": remembered,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=6000, help="0: only the restart")
    parser.add_argument("--rate", type=float, default=600, help="calls a second, of all writers together")
    parser.add_argument("--remembered", type=int, default=1_000_000, help="0: no restart")
    args = parser.parse_args()
    configure_logs(SETTINGS.log)
    gc.freeze()  # as ``worker.service``
    gc.set_threshold(50_000, 20, 50)
    told: dict[str, Any] = {"python_ns": python_ns()}
    if args.remembered:
        told |= uvloop.run(replaying(args.remembered))
        print(f"{args.remembered} remembered: {told}", file=sys.stderr)
    if args.calls:
        told |= reading_of_all(args.calls, args.rate)
    emit(told)


def reading_of_all(calls: int, rate_per_s: float) -> dict[str, Any]:
    """With one, four and eight others."""
    found = {}
    for writers in (1, 4, 8):
        found[writers] = {**reading(writers, calls, rate_per_s), "python_ns": python_ns()}
        print(f"{writers} others: {found[writers]}", file=sys.stderr)
    mean = round(statistics.fmean(f["us"] for f in found.values()), 1)
    return {"us_per_foreign_call": mean, "us_per_own_call": found[1]["writers_us"], "calls_per_s": rate_per_s, "by_writers": found}


main()
