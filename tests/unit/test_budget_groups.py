"""Several records in one entry of the log: who writes them, in which order they count, and who must be able to read them first."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
from typing import Any

import pytest
from memory_log import MemoryLog, MemoryTopic
from virtual_time import run_virtual

from processor.budget.call_journal import CallJournal
from processor.budget.history import EVERYTHING
from processor.budget.log import Entry, LogUnavailableError, offset_of, place_of
from processor.budget.log_lines import as_objects, as_text
from processor.budget.log_records import (
    GROUP_MAX,
    Alive,
    Asked,
    Begun,
    Claimed,
    Ended,
    LaneDone,
    LogRecord,
    Paused,
    decode_entry,
    encode,
    encode_group,
)
from processor.budget.log_snapshot import SnapshotReader
from processor.budget.log_writer import LogWriter
from processor.budget.permits import Ask, CallClass, CallIdentity, Conflict, Duplicate, Ending, Fate, HealthSignal, InDoubt, Permit
from processor.budget.replay import replay_lane
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.shared import SharedBudget
from processor.budget.state import BudgetState, Rules

RULES = Rules({"a": (600, 60.0)}, 30.0, 60.0, 30.0, 0.1, 10.0, 3600.0, 86_400.0, 3, 15.0, 30.0)
MARK = CallIdentity("r", "c", "f", "t[0]", 5)
IDENTITY = '{"request":"r","content":"c","first":"f","lane":"t[0]","offset":5}'
ANSWERED = Ending(Fate.ANSWERED, HealthSignal.GOOD, acted=True)


def asked(name: str, identity: CallIdentity | None = MARK) -> Asked:
    return Asked(name, ("a",), 90.0, "op", identity=identity)


def records(topic: MemoryTopic) -> list[list[LogRecord | None]]:
    return [decode_entry(entry.value) for entry in topic.entries]


def test_an_entry_holds_records_in_order_and_one_that_cannot_be_read_spoils_no_other() -> None:
    group: list[LogRecord] = [asked("x"), Begun("x"), Ended("y", used=False), Paused("a", 1.0), LaneDone("t[0]", 3), Claimed("z", MARK)]
    assert decode_entry(encode_group([encode(r) for r in group])) == group
    assert encode_group([encode(group[0])]) == encode(group[0]), "one is written as every version reads it"
    assert decode_entry(b'[{"t":"begin","i":"x"},{"t":"new"},7,[]]') == [Begun("x"), None, None, None]
    assert decode_entry(b"[]") == [None]
    assert decode_entry(b"[" + b",".join([b'{"t":"begin","i":"x"}'] * (GROUP_MAX + 1)) + b"]") == [None]


def test_places_are_in_the_order_of_entries_and_of_records_in_them() -> None:
    places = [place_of(offset, index) for offset, index in itertools.product((0, 1, 2**50), (0, 1, GROUP_MAX - 1))]
    assert places == sorted(set(places))
    assert [offset_of(place) for place in places] == [0, 0, 0, 1, 1, 1, 2**50, 2**50, 2**50]


class Sent:
    """A writer, and what it has sent."""

    def __init__(self, *, grouped: bool, ack_s: float = 1.0) -> None:
        self.topic = MemoryTopic(delay_s=lambda: ack_s / 2)
        self.lost: list[LogRecord] = []
        self.log = MemoryLog(self.topic)
        self.writer = LogWriter(self.log, asyncio.get_running_loop().time, self.lost.append, lambda error: pytest.fail(str(error)))
        self.writer.may_group = lambda: grouped

    def names(self) -> list[list[str]]:
        return [[getattr(r, "id", "") for r in entry] for entry in records(self.topic)]


def test_of_much_some_is_gathered_and_of_little_each_is_appended_at_once() -> None:
    """Each append costs its writer and every reader about the same, whatever is in it."""

    async def play(every_s: float) -> tuple[int, float]:
        sent, loop, posted_at = Sent(grouped=True, ack_s=0.002), asyncio.get_running_loop(), dict[str, float]()
        began = loop.time()
        while loop.time() < began + 5.0:
            posted_at[name := str(len(posted_at))] = loop.time()
            sent.writer.post(Begun(name))
            await asyncio.sleep(every_s)
        await asyncio.sleep(0.1)
        read = [(r, entry.stamp_ms / 1000) for entry in sent.topic.entries for r in decode_entry(entry.value)]
        late_s = [at - posted_at[r.id] for r, at in read if isinstance(r, Begun)]
        assert len(late_s) == len(posted_at)
        return len(sent.topic.entries), max(late_s)

    entries, late_s = run_virtual(play(0.02))
    assert 249 <= entries <= 251
    assert late_s < 0.003
    entries, late_s = run_virtual(play(0.001))
    assert 450 <= entries <= 650
    assert late_s < 0.022
    assert run_virtual(play(0.002))[1] < 0.012


def test_nothing_is_gathered_while_a_whole_entry_waits() -> None:
    """There is nothing to wait for: what stands behind it would come later for no gain."""

    async def play() -> tuple[list[int], float]:
        sent = Sent(grouped=True, ack_s=0.002)
        for number in range(1000):
            sent.writer.post(Begun(str(number)))
        await asyncio.sleep(0.2)
        stamps = [entry.stamp_ms for entry in sent.topic.entries]
        return list(map(len, sent.names())), (stamps[-1] - stamps[0]) / 1000

    sizes, lasted_s = run_virtual(play())
    assert sizes == [200] * 5
    assert lasted_s < 0.015


def test_what_is_said_while_an_append_is_under_way_goes_into_one_entry_in_order() -> None:
    async def play(*, grouped: bool) -> list[list[str]]:
        sent = Sent(grouped=grouped)
        for name in "ab":
            sent.writer.post(Begun(name))
        await asyncio.sleep(0.3)
        for name in "cde":
            sent.writer.post(Begun(name))
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        return sent.names()

    assert run_virtual(play(grouped=True)) == [["a", "b"], ["c", "d", "e"]]
    assert run_virtual(play(grouped=False)) == [["a"], ["b"], ["c"], ["d"], ["e"]]


@pytest.mark.parametrize("grouped", [True, False])
def test_an_append_that_fails_loses_what_is_late_and_repeats_the_rest_before_what_is_newer(grouped: bool) -> None:
    async def play() -> tuple[list[list[str]], list[str]]:
        sent = Sent(grouped=grouped, ack_s=0.2)
        sent.topic.refuses = 3 if not grouped else 1
        for name, for_s in (("a", 9.0), ("b", 0.0), ("c", 9.0)):
            sent.writer.post(Ended(name, used=True), for_s=for_s)
        await asyncio.sleep(0.55)  # it waits to be repeated
        sent.writer.post(Ended("d", used=True))
        await asyncio.sleep(5)
        await sent.writer.close()
        return sent.names(), [getattr(r, "id", "") for r in sent.lost]

    names, lost = run_virtual(play())
    assert lost == ["b"]
    assert sorted(itertools.chain.from_iterable(names)) == ["a", "c", "d"]
    assert names.index(["a", "c"] if grouped else ["a"]) >= 0, "they stay together, in order"


@pytest.mark.parametrize("grouped", [True, False])
def test_what_could_not_be_appended_stands_before_what_is_said_once_the_log_is_there_again(grouped: bool) -> None:
    """That a call was not made counts only if it stands before the next ask for it."""

    async def play() -> list[str]:
        sent = Sent(grouped=grouped, ack_s=0.2)
        sent.topic.refuses = 3 if not grouped else 1
        for name in "abc":
            sent.writer.post(Ended(name, used=False), for_s=9.0)
        await asyncio.sleep(0.25)  # all have failed, and wait
        sent.writer.send_again_now()
        sent.writer.post(Begun("next"))
        await asyncio.sleep(5)
        await sent.writer.close()
        return list(itertools.chain.from_iterable(sent.names()))

    assert run_virtual(play()) == ["a", "b", "c", "next"]


def test_groups_are_bounded() -> None:
    async def play(record: LogRecord, count: int) -> list[int]:
        sent = Sent(grouped=True)
        for _ in range(count):
            sent.writer.post(record)
        await asyncio.sleep(50)
        return [len(entry) for entry in records(sent.topic)]

    sizes = run_virtual(play(Begun("x"), 1000))
    assert sum(sizes) == 1000
    assert max(sizes) == 200 <= GROUP_MAX
    assert max(run_virtual(play(LaneDone("t[0]", 0, bytes(3000)), 100))) < 30, "of 4 KB each: far below what a topic takes"


class Scene:
    def __init__(self, topic: MemoryTopic, rules: Rules = RULES, kind: type[SharedBudget] = SharedBudget) -> None:
        self.log = MemoryLog(topic)
        clock = asyncio.get_running_loop().time
        self.budget = kind(self.log, rules, ReplicaLimits("pod", 50, 100, 60.0), draw=random.Random(1).random, clock=clock)
        self.task = asyncio.create_task(self.budget.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        await self.budget.close()


def call(identity: CallIdentity | None = None, **more: Any) -> Ask:
    return Ask("op", ("a",), CallClass.NORMAL, 0, identity, **more)


def test_the_order_inside_an_entry_decides_as_that_of_entries_does() -> None:
    """Three asks for one request and a claim of its id, of one process, go into one entry."""

    async def play() -> tuple[list[Any], int]:
        topic = MemoryTopic(delay_s=lambda: 0.2)
        scene = Scene(topic)
        await asyncio.sleep(5)
        marks = [MARK, dataclasses.replace(MARK, first="copy"), dataclasses.replace(MARK, first="other", content="other")]
        tasks = [asyncio.create_task(scene.budget.acquire(call(mark, settled_ms=0))) for mark in marks]
        tasks.append(asyncio.create_task(scene.budget.claim(dataclasses.replace(MARK, first="rejected"))))  # type: ignore[arg-type]
        answers: list[Any] = await asyncio.gather(*tasks)
        together = max(len(entry) for entry in records(topic))
        doubt = await scene.budget.acquire(call(MARK, settled_ms=0))
        await scene.stop()
        return [*answers, doubt], together

    answers, together = run_virtual(play())
    assert [type(answer) for answer in answers] == [Permit, Duplicate, Conflict, Duplicate, InDoubt]
    assert together == 4


def test_a_group_that_is_appended_twice_or_late_counts_once() -> None:
    state = BudgetState(RULES, 0.0)
    group: list[LogRecord] = [asked("x"), Ended("w", used=False), asked("y", None), Ended("x", used=True, acted=True)]
    for offset in (1, 2, 9):
        for index, record in enumerate(group):
            state.apply(record, place_of(offset, index), 5.0 + offset, 5000)
    assert state.windows["a"].weight == 2, "one is answered, one is open"
    assert state.journal.prior_calls(MARK, place_of(10, 0)).doubt_ms == 5000
    assert len(state.journal) == 1


def test_a_beginning_that_was_overtaken_inside_its_own_entry_does_not_count() -> None:
    state = BudgetState(RULES, 0.0)
    zombie, heir = (dataclasses.replace(asked(name), announced=True) for name in ("zombie", "heir"))
    places = itertools.count(place_of(3, 0))
    for record in (zombie, heir):
        state.apply(record, next(places), 1.0, 1)
    assert state.apply(Begun("zombie"), next(places), 1.0, 1) is False
    assert state.apply(Begun("heir"), next(places), 1.0, 1) is True


def test_a_lane_that_is_taken_over_reads_groups_back() -> None:
    async def play() -> tuple[dict[int, int], list[bool]]:
        topic = MemoryTopic()
        marks = [dataclasses.replace(MARK, request=f"r{n}", first=f"f{n}", offset=n) for n in range(4)]
        topic.put(b"{}")
        topic.put(encode_group([encode(asked(f"x{n}", mark)) for n, mark in enumerate(marks)]))
        topic.put(encode_group([encode(Ended("x1", used=False)), encode(Ended("x2", used=True, acted=True))]))
        journal = CallJournal(3600.0, 1000)
        journal.floor = 100
        _, replayed = await replay_lane(MemoryLog(topic), journal, "t[0]", 1, topic.end, lambda offset: offset != 3)
        return replayed.first_calls(), [journal.prior_calls(mark, place_of(99, 0)).doubt_ms is not None for mark in marks]

    assert run_virtual(play()) == ({0: 1, 1: 1, 2: 1}, [True, False, True, False])


def test_of_an_entry_that_is_forgotten_in_part_nothing_counts_as_remembered() -> None:
    journal = CallJournal(3600.0, 2)
    state = BudgetState(dataclasses.replace(RULES, memory_calls=2), 0.0)
    for index in range(4):
        state.apply(asked(f"x{index}", dataclasses.replace(MARK, request=f"r{index}")), place_of(7, index), 1.0, 1)
    assert (state.journal.floor, journal.floor) == (8, 0)


def test_a_look_from_outside_reads_groups() -> None:
    async def play() -> int:
        topic = MemoryTopic()
        topic.put(encode_group([encode(asked("x")), encode(asked("y"))]))
        reader = SnapshotReader(MemoryLog(topic), RULES, now_ms=lambda: 1_000_000)
        state, _ = await reader.read()
        return state.windows["a"].weight

    assert run_virtual(play()) == 2


class Earlier(SharedBudget):
    """A replica of the version before, which reads no groups and does not say that it does."""

    def _alive(self, *, lost: bool, log_name: str = "") -> Alive:
        self._writer.may_group = lambda: False
        self._reader._log.read = self._read_single  # type: ignore[method-assign] # noqa: SLF001 - where its reader differs
        return dataclasses.replace(super()._alive(lost=lost, log_name=log_name), reads_groups=False)

    async def _read_single(self) -> list[Entry]:
        found = await MemoryLog.read(self._log)  # type: ignore[arg-type]
        assert not any((entry.value or b"").startswith(b"[") for entry in found), "an earlier version would skip it"
        return found


def test_groups_are_written_only_when_no_earlier_version_has_been_heard_for_long() -> None:
    async def play() -> None:
        topic, loop = MemoryTopic(delay_s=lambda: 0.05), asyncio.get_running_loop()

        def grouped(since: int) -> bool:
            return any(len(entry) > 1 for entry in records(topic)[since:])

        async def work(scene: Scene) -> None:
            """Much at once, so that there is something to group."""
            for _ in range(3):
                permits = await asyncio.gather(*(scene.budget.acquire(call()) for _ in range(20)))
                for permit in permits:
                    assert isinstance(permit, Permit)
                    scene.budget.release(permit, ANSWERED)
                await asyncio.sleep(1)

        old = [Scene(topic, kind=Earlier) for _ in range(2)]
        await asyncio.sleep(60)
        new = Scene(topic)
        await asyncio.sleep(30)
        await asyncio.gather(*(work(scene) for scene in (*old, new)))
        assert not grouped(0), "two versions run"
        await old[0].stop()
        await asyncio.sleep(100)
        await work(new)
        await old[1].stop()
        gone_at, end = loop.time(), topic.end
        await asyncio.sleep(60)
        await work(new)
        second = Scene(topic)  # a newcomer reads in the log that an earlier version was here
        await asyncio.sleep(30)
        await asyncio.gather(work(new), work(second))
        assert not grouped(end), "one that was frozen, or killed, might come back"
        await asyncio.sleep(620 - (loop.time() - gone_at))
        end = topic.end
        await asyncio.gather(work(new), work(second))
        assert grouped(end)
        for scene in (*old, new, second):
            assert scene.budget.malformed_count == 0
        await new.stop()
        await second.stop()

    run_virtual(play())


def test_groups_can_be_forbidden_before_an_earlier_version_comes_back() -> None:
    async def play() -> int:
        topic = MemoryTopic(delay_s=lambda: 0.05)
        scene = Scene(topic, dataclasses.replace(RULES, groups=False))
        await asyncio.sleep(5)
        await asyncio.gather(*(scene.budget.acquire(call()) for _ in range(20)))
        await scene.stop()
        return max(len(entry) for entry in records(topic))

    assert run_virtual(play()) == 1


def test_a_lane_is_taken_over_from_a_place_inside_the_log_of_groups() -> None:
    async def play() -> list[int]:
        topic = MemoryTopic(delay_s=lambda: 0.05)
        scene = Scene(topic)
        await asyncio.sleep(5)
        marks = [dataclasses.replace(MARK, request=f"r{n}", first=f"f{n}", offset=n) for n in range(5)]
        before = scene.budget.history.position()
        await asyncio.gather(*(scene.budget.acquire(call(mark)) for mark in marks))
        found = await scene.budget.history.replay_lane("t[0]", before, lambda _: True)
        assert found.doubtful == frozenset(range(5))
        assert all(before <= position < scene.budget.history.position() for position in found.first_calls.values())
        everything = await scene.budget.history.replay_lane("t[0]", EVERYTHING, lambda _: True)
        await scene.stop()
        return sorted(everything.first_calls)

    assert run_virtual(play()) == [0, 1, 2, 3, 4]


def test_an_append_of_a_group_that_fails_although_it_is_there_leaves_every_ask_ended() -> None:
    async def play() -> tuple[set[str], set[str]]:
        topic = MemoryTopic(delay_s=lambda: 0.05)
        scene = Scene(topic)
        await asyncio.sleep(5)
        append, read, ambiguous = scene.log.append, scene.log.read, True

        async def unanswered(value: bytes) -> Any:
            done = await append(value)
            if ambiguous:
                raise LogUnavailableError("no answer")
            return done

        async def late() -> list[Entry]:
            found = await read()
            await asyncio.sleep(0.5)  # it is told of the failure before it reads them back
            return found

        scene.log.append, scene.log.read = unanswered, late  # type: ignore[method-assign]
        await asyncio.sleep(1.5)  # the read that waits already is as it was
        tasks = [asyncio.create_task(scene.budget.acquire(call())) for _ in range(5)]
        await asyncio.sleep(3)
        ambiguous = False
        permits = await asyncio.gather(*tasks)
        for permit in permits:
            assert isinstance(permit, Permit)
            scene.budget.release(permit, ANSWERED)
        await asyncio.sleep(2)
        await scene.stop()
        flat = [r for entry in records(topic) for r in entry]
        return {r.id for r in flat if isinstance(r, Asked)}, {r.id for r in flat if isinstance(r, Ended)}

    asks, ends = run_virtual(play())
    assert len(asks) > 5
    assert asks == ends


def test_the_log_is_printed_readable() -> None:
    group = [encode(asked("c-7")), encode(Ended("c-7", used=True, acted=True, health=HealthSignal.GOOD))]
    entries = [Entry(41, 7, encode(Paused("a", 5.0))), Entry(42, 1500, encode_group(group)), Entry(43, 2001, b"?")]
    assert list(as_text(entries)) == [
        "        41 1970-01-01T00:00:00.007Z paused   scope=a wait_s=5.0",
        '        42 1970-01-01T00:00:01.500Z asked    id=c-7 scopes=["a"] promise_s=90.0 endpoint=op identity=' + IDENTITY,
        "        +1 1970-01-01T00:00:01.500Z ended    id=c-7 used=true acted=true health=good",
        "        43 1970-01-01T00:00:02.001Z malformed ",
    ]
    assert [(found["offset"], found["index"], found["kind"]) for found in as_objects(entries)] == [
        (41, 0, "paused"),
        (42, 0, "asked"),
        (42, 1, "ended"),
        (43, 0, "malformed"),
    ]
