"""How the log is read: in turns of the loop that stay short, and in large steps while nobody waits."""

from __future__ import annotations

import asyncio
import itertools

import memory_log
import pytest
from memory_log import MemoryLog, MemoryTopic
from virtual_time import run_virtual

from processor.budget.log import Entry
from processor.budget.log_reader import LogReader
from processor.budget.log_records import Alive, Asked, Ended, LogRecord, decode_entry, encode, encode_group
from processor.budget.state import Rules

RULES = Rules({"a": (600, 60.0)}, 30.0, 60.0, 30.0, 0.1, 10.0, 3600.0, 86_400.0, 3, 15.0, 30.0)
ALIVE = Alive("c", "pod", {})


class Listener:
    def __init__(self) -> None:
        self.awaits_records = False
        self.read_at: list[float] = []
        self.batches = 0

    def joining(self, **_: object) -> Alive:
        return ALIVE

    def apply_record(self, *_: object, **__: object) -> None:
        self.read_at.append(asyncio.get_running_loop().time())

    def apply_usual(self, *_: object) -> bool:
        return False

    def apply_answered(self, *_: object, **__: object) -> bool:
        return False

    def missing(self, *_: object, **__: object) -> None:
        raise NotImplementedError

    def joined(self, *_: object, **__: object) -> None: ...

    def caught_up(self) -> None:
        self.batches += 1

    def left(self) -> None: ...


def steps(*, waits: bool) -> tuple[int, float]:
    """How often the log is read when 100 records come within a second, and how late the latest was read."""

    async def play() -> tuple[int, float]:
        topic, listener, loop = MemoryTopic(), Listener(), asyncio.get_running_loop()
        listener.awaits_records = waits
        reader = LogReader(MemoryLog(topic), RULES, listener, loop.time)
        task = asyncio.create_task(reader.run())
        await asyncio.sleep(5)
        listener.batches, listener.read_at = 0, []
        put_at = []
        for _ in range(100):
            topic.put(encode(ALIVE))
            put_at.append(loop.time())
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        task.cancel()
        return listener.batches, max(read - put for read, put in zip(listener.read_at, put_at, strict=True))

    return run_virtual(play())


def test_a_log_that_nobody_waits_for_is_read_in_large_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_log, "_BATCH", 1000)
    reads, late_s = steps(waits=False)
    assert reads <= 20
    assert late_s < 0.11


def test_a_log_that_somebody_waits_for_is_read_at_once() -> None:
    reads, late_s = steps(waits=True)
    assert reads >= 100
    assert late_s < 0.001


def test_whoever_begins_to_wait_ends_a_long_step() -> None:
    async def play() -> float:
        topic, listener, loop = MemoryTopic(), Listener(), asyncio.get_running_loop()
        reader = LogReader(MemoryLog(topic), RULES, listener, loop.time)
        task = asyncio.create_task(reader.run())
        await asyncio.sleep(5)
        topic.put(encode(ALIVE))
        await asyncio.sleep(0.01)  # the step has begun
        topic.put(encode(ALIVE))
        began = loop.time()
        reader.hurry()
        await asyncio.sleep(0.2)
        task.cancel()
        return listener.read_at[-1] - began

    assert run_virtual(play()) < 0.001


def test_many_records_are_applied_in_short_turns_of_the_loop() -> None:
    class Much(MemoryLog):
        async def read(self) -> list[Entry]:
            found = self.topic.entries[self.position :]
            self.position += len(found)
            return found or await super().read()

    async def play() -> int:
        topic, listener, ticks = MemoryTopic(), Listener(), 0
        for _ in range(1000):  # more than a turn has time for
            topic.put(encode(ALIVE))
        clock = itertools.count()
        reader = LogReader(Much(topic), RULES, listener, lambda: next(clock) / 200)  # each look at the clock finds 5 ms gone
        task = asyncio.create_task(reader.run())
        while len(listener.read_at) <= 1000:
            ticks += 1
            await asyncio.sleep(0)
        task.cancel()
        return ticks

    assert run_virtual(play()) > 1000 * len(encode(ALIVE)) / 6000 / 3


def test_an_entry_of_ours_is_taken_as_it_was_sent_once_and_any_other_as_it_is_read() -> None:
    ours: list[LogRecord] = [Asked("c-1", ("a",), 90.0, "op"), Ended("c-0", used=True)]
    said: list[LogRecord] = [ALIVE, Ended("c-2", used=False)]
    mine, theirs, sign = (encode_group([encode(r) for r in group]) for group in (ours, [*ours, Ended("d-1", used=True)], said))

    async def play() -> list[LogRecord]:
        topic, listener, loop = MemoryTopic(), Listener(), asyncio.get_running_loop()
        applied: list[LogRecord] = []
        listener.apply_record = lambda record, *_: applied.append(record)  # type: ignore[method-assign]
        reader = LogReader(MemoryLog(topic), RULES, listener, loop.time)
        task = asyncio.create_task(reader.run())
        await asyncio.sleep(5)
        applied.clear()
        for n in range(1000):  # appends that failed: what is expected is bounded
            reader.expect(b"%d" % n, ours)
        assert len(reader._expected) == 100  # noqa: SLF001 - there is no other sign of it
        reader.expect(mine, ours)
        reader.expect(sign, said)
        for value in (theirs, mine, mine, sign):
            topic.put(value)
        await asyncio.sleep(5)
        task.cancel()
        return applied

    applied = run_virtual(play())
    assert applied == [record for value in (theirs, mine, mine, sign) for record in decode_entry(value)]
    assert [any(record is one for one in [*ours, *said]) for record in applied] == [False] * 3 + [True] * 2 + [False] * 4
