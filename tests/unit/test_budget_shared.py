"""The driver of the shared budget on a log in memory, in virtual time: what is asked, withdrawn, repeated, and who waits for whom."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from memory_log import MemoryLog, MemoryTopic
from structlog.testing import capture_logs
from virtual_time import run_virtual

from processor.budget.endpoint_queue import EndpointQueue, Turn
from processor.budget.history import EVERYTHING
from processor.budget.log import LogBrokenError, LogUnavailableError
from processor.budget.log_records import Alive, Asked, Begun, Ended, Failed, LaneDone, LogRecord, Paused, decode_entry, encode
from processor.budget.parked_requests import Room
from processor.budget.permits import (
    NOT_SENT,
    Acquired,
    Ask,
    BudgetClosedError,
    CallClass,
    CallIdentity,
    Conflict,
    Duplicate,
    Ending,
    Fate,
    HealthSignal,
    InDoubt,
    LaneCalls,
    LogPosition,
    Parked,
    Permit,
    Place,
)
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.shared import SharedBudget
from processor.budget.state import Rules
from processor.clock import boot_clock
from processor.stream.offsets import decode_metadata, encode_metadata

RULES = Rules(
    {"a": (600, 60.0), "b": (600, 60.0), "few": (2, 60.0), "wide": (60_000, 60.0)},
    30.0,
    60.0,
    30.0,
    0.1,
    10.0,
    3600.0,
    86_400.0,
    3,
    15.0,
    30.0,
)
ANSWERED = Ending(Fate.ANSWERED, HealthSignal.GOOD, acted=True)
MARK = CallIdentity("r", "c", "f", "t[0]", 5)


def ask(
    endpoint: str = "op", scopes: tuple[str, ...] = ("a",), call_class: CallClass = CallClass.NORMAL, since_ms: int = 0, **more: Any
) -> Ask:
    return Ask(endpoint, scopes, call_class, since_ms, **more)


class Scene:
    def __init__(self, topic: MemoryTopic, rules: Rules, draw: float = 0.0, **place: Any) -> None:
        self.topic, self.log = topic, MemoryLog(topic)
        fields: dict[str, Any] = {"instance": "pod", "calls_max": 50, "queue_max": 100, "park_s": 60.0} | place
        self.budget = SharedBudget(self.log, rules, ReplicaLimits(**fields), draw=lambda: draw, clock=asyncio.get_running_loop().time)
        self.task = asyncio.create_task(self.budget.run())

    def records(self, kind: type[LogRecord] | None = None) -> list[Any]:
        found = [r for e in self.topic.entries for r in decode_entry(e.value)]
        return [r for r in found if r is not None and (kind is None or isinstance(r, kind))]

    async def permit(self, a: Ask) -> Permit:
        """A permit; any other answer fails the test."""
        answer = await self.budget.acquire(a)
        assert isinstance(answer, Permit), answer
        return answer

    async def waiting(self, a: Ask) -> asyncio.Task[Acquired]:
        task = asyncio.create_task(self.budget.acquire(a))
        await asyncio.sleep(0.05)
        return task

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        await self.budget.close()


@asynccontextmanager
async def scene(topic: MemoryTopic | None = None, rules: Rules = RULES, **place: Any) -> AsyncIterator[Scene]:
    made = Scene(topic or MemoryTopic(), rules, **place)
    try:
        yield made
    finally:
        await made.stop()


def virtual(test: Any) -> Any:
    """Run an async test in virtual time."""

    @functools.wraps(test)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        run_virtual(_bounded(test(*args, **kwargs)))

    return wrapped


async def _bounded(main: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(100_000):
        await main


@virtual
async def test_a_call_is_asked_for_and_its_end_is_said() -> None:
    async with scene() as s:
        permit = await s.permit(ask(identity=MARK, scopes=("a", "b")))
        s.budget.release(permit, ANSWERED)
        with pytest.raises(ValueError, match="twice"):
            s.budget.release(permit, ANSWERED)
        await asyncio.sleep(0.1)
        asked, ended = s.records(Asked)[0], s.records(Ended)[0]
        assert (asked.scopes, asked.promise_s, asked.identity, asked.endpoint) == (("a", "b"), 90.0, MARK, "op")
        assert ended == Ended(asked.id, used=True, acted=True, health=HealthSignal.GOOD)


@virtual
async def test_an_announced_call_starts_when_its_beginning_is_read_back() -> None:
    async with scene(MemoryTopic(delay_s=lambda: 0.5), calls_max=1) as s:
        await asyncio.sleep(10)
        task = await s.waiting(ask(identity=MARK, announced=True))
        await asyncio.sleep(0.6)
        assert (len(s.records(Asked)), s.records(Begun), task.done()) == (1, [], False)
        await asyncio.sleep(1.0)  # it is sent when the append of the ask is acknowledged
        assert s.records(Begun) == [Begun(s.records(Asked)[0].id)]
        permit = await task
        assert isinstance(permit, Permit)
        other = await s.waiting(ask())
        await asyncio.sleep(5)
        assert not other.done(), "it holds the only slot"
        s.budget.release(permit, ANSWERED)
        await other


@virtual
async def test_an_announced_call_whose_wait_ends_in_between_gives_its_slot_back() -> None:
    async with scene(MemoryTopic(delay_s=lambda: 0.5), calls_max=1) as s:
        await asyncio.sleep(10)
        for _ in range(3):
            task = await s.waiting(ask(identity=MARK, announced=True))
            await asyncio.sleep(0.9)
            assert not task.done()
            task.cancel()
            await asyncio.wait({task})
        await asyncio.sleep(5)
        assert [r.used for r in s.records(Ended)] == [False] * 3
        s.budget.release(await s.permit(ask(identity=MARK, announced=True, settled_ms=0)), ANSWERED)


@virtual
async def test_an_announced_call_that_was_overtaken_is_asked_for_again_and_finds_the_doubt() -> None:
    topic = MemoryTopic()
    async with scene(topic) as zombie, scene(topic) as heir:
        await asyncio.sleep(10)
        zombie.log.lag_s = 2.0
        await asyncio.sleep(1.5)  # the read that waits already has no lag
        late = await zombie.waiting(ask(identity=MARK, announced=True, settled_ms=0))
        await heir.permit(ask(identity=MARK, announced=True, settled_ms=0))
        assert isinstance(await late, InDoubt)


def create(number: int = 0, **more: Any) -> Ask:
    """An ask of a call whose doubt would cost a long wait."""
    return ask(identity=dataclasses.replace(MARK, request=f"r-{number}", first=f"f-{number}"), settled_ms=0, waits_announced=True, **more)


def slow() -> MemoryTopic:
    """A log whose round trip takes 4 ms."""
    return MemoryTopic(delay_s=lambda: 0.004)


async def use_burst(s: Scene) -> None:
    """Make as many calls of scope "a" as may leave ahead of the pace."""
    for _ in range(300):
        s.budget.release(await s.permit(ask()), ANSWERED)


async def permit_times(count: int, a: Ask, *, burst_used: bool = False) -> tuple[list[float], list[LogRecord]]:
    """When calls that are wanted at once may start, by an idle replica, and what the log has of them."""
    async with scene(slow()) as s:
        await asyncio.sleep(10)
        if burst_used:
            await use_burst(s)
        before = len(s.records())
        began = asyncio.get_running_loop().time()

        async def one(number: int) -> float:
            same = a.identity and dataclasses.replace(a.identity, request=f"r-{number}", first=f"f-{number}")
            await s.permit(dataclasses.replace(a, since_ms=number, identity=same))
            return asyncio.get_running_loop().time() - began

        times = await asyncio.gather(*(one(number) for number in range(count)))
        return times, [r for r in s.records()[before:] if isinstance(r, Asked | Begun | Ended)]


@virtual
async def test_a_create_that_may_start_at_once_makes_one_round_trip() -> None:
    (plain, _), (times, records) = await permit_times(1, ask(identity=MARK)), await permit_times(1, create())
    assert times == pytest.approx(plain, abs=1e-4)
    assert [(type(r), r.announced) for r in records if isinstance(r, Asked)] == [(type(records[0]), False)]
    assert len(records) == 1


@virtual
async def test_creates_that_leave_in_a_burst_are_not_announced() -> None:
    times, records = await permit_times(8, create())
    assert max(times) < 0.05
    assert [type(r) for r in records] == [Asked] * 8


@virtual
async def test_a_create_that_waits_for_its_place_is_announced_while_it_waits() -> None:
    plain, _ = await permit_times(8, ask(identity=MARK), burst_used=True)
    times, records = await permit_times(8, create(), burst_used=True)
    assert times == pytest.approx(plain, abs=1e-3), "the beginning is read back by the time at which the call may start"
    assert plain[-1] > 0.5
    assert sum(1 for r in records if isinstance(r, Begun)) == sum(1 for r in records if isinstance(r, Asked) and r.announced) >= 6


@virtual
async def test_a_create_whose_replica_was_killed_while_it_waited_for_its_place_is_not_in_doubt() -> None:
    topic = MemoryTopic()
    async with scene(topic) as dead, scene(topic) as heir:
        await asyncio.sleep(10)
        for number in (0, 1):
            await dead.permit(create(number, scopes=("few",)))
        await dead.waiting(create(7, scopes=("few",)))
        dead.log.cut = True
        answer = await heir.waiting(create(7, scopes=("b",)))
        assert isinstance(answer.result(), Permit)
        made = await heir.waiting(create(0, scopes=("b",)))
        assert isinstance(made.result(), InDoubt), "what may have left is looked up"


@virtual
async def test_a_create_whose_replica_was_killed_while_it_waited_for_a_slow_call_to_end_is_not_in_doubt() -> None:
    topic = MemoryTopic()
    async with scene(topic, calls_max=1) as dead, scene(topic) as heir:
        await asyncio.sleep(10)
        slow_one = await dead.permit(create(0))
        await asyncio.sleep(15)
        dead.budget.release(slow_one, ANSWERED)
        await dead.permit(create(1))
        await dead.waiting(create(7))
        assert len(dead.records(Asked)) == 3, "it stands in the log already"
        dead.log.cut = True
        answer = await heir.waiting(create(7, scopes=("b",)))
        assert isinstance(answer.result(), Permit)


@virtual
async def test_those_who_find_no_slot_wait_in_the_queue_and_not_in_the_log() -> None:
    async with scene(calls_max=20) as s:
        await asyncio.sleep(10)
        tasks = [asyncio.create_task(s.budget.acquire(ask(scopes=("wide",)))) for _ in range(100)]
        await asyncio.sleep(1)
        assert (sum(t.done() for t in tasks), len(s.records(Asked))) == (20, 22)
        for task in tasks[:5]:
            s.budget.release(_permit(task), ANSWERED)
        await asyncio.sleep(1)
        assert (sum(t.done() for t in tasks), len(s.records(Asked))) == (25, 27)


def _permit(task: asyncio.Task[Acquired]) -> Permit:
    permit = task.result()
    assert isinstance(permit, Permit)
    return permit


@virtual
async def test_a_create_that_finds_its_place_taken_is_asked_for_again_and_announced() -> None:
    topic = slow()
    async with scene(topic) as one, scene(topic) as other:
        await asyncio.sleep(10)
        tasks = [asyncio.create_task(s.budget.acquire(create(n, scopes=("few",)))) for n, s in enumerate((one, other))]
        await asyncio.sleep(1)
        assert sorted(t.done() for t in tasks) == [False, True], "there was room for one of them, and neither knew of the other"
        assert [r.announced for r in one.records(Asked)] == [False, False, True], "once more, not again and again"


@virtual
async def test_an_announced_call_that_a_pause_keeps_from_starting_leaves_no_doubt() -> None:
    topic = slow()
    async with scene(topic) as dead, scene(topic) as heir:
        await asyncio.sleep(10)
        await use_burst(dead)
        task = await dead.waiting(ask())
        late = asyncio.create_task(dead.budget.acquire(create(7, announced=True)))
        while not dead.records(Begun):
            await asyncio.sleep(0.001)
        dead.budget.pause("a", 20.0)
        await asyncio.sleep(1)
        assert task.done()
        assert not late.done()
        dead.log.cut = True
        answer = await heir.waiting(create(7, scopes=("b",)))
        assert isinstance(answer.result(), Permit)


@pytest.mark.parametrize(
    ("ending", "record"),
    [
        (NOT_SENT, Ended("", used=False)),
        (Ending(Fate.NOT_SENT, HealthSignal.BAD), Ended("", used=False, health=HealthSignal.BAD)),
        (Ending(Fate.UNKNOWN, HealthSignal.BAD), Failed("")),
        (Ending(Fate.UNKNOWN), None),
    ],
)
@virtual
async def test_an_unknown_fate_is_never_said_to_be_an_end(ending: Ending, record: LogRecord | None) -> None:
    async with scene() as s:
        s.budget.release(await s.permit(ask()), ending)
        await asyncio.sleep(0.1)
        found = [dataclasses.replace(r, id="") for r in [*s.records(Ended), *s.records(Failed)]]
        assert found == ([record] if record else [])


@virtual
async def test_a_cancelled_wait_gives_its_place_back() -> None:
    async with scene() as s:
        for _ in range(2):
            s.budget.release(await s.permit(ask(scopes=("few",))), ANSWERED)
        third = await s.waiting(ask(scopes=("few",)))
        assert len(s.records(Asked)) == 3
        third.cancel()
        await asyncio.sleep(0.1)
        assert s.records(Ended)[-1] == Ended(s.records(Asked)[-1].id, used=False)


@virtual
async def test_a_wait_that_was_cancelled_in_this_very_turn_of_the_loop_is_not_granted() -> None:
    async with scene(calls_max=1) as s:
        first = await s.permit(ask())
        second = await s.waiting(ask())
        second.cancel()  # the future is cancelled, the task has not run
        s.budget.release(first, ANSWERED)
        s.budget.caught_up()
        await asyncio.sleep(0.2)
        assert {r.id for r in s.records(Asked)} == {r.id for r in s.records(Ended)}
        async with asyncio.timeout(5):
            await s.permit(ask())  # and the slot is there


@virtual
async def test_an_ask_that_shows_up_after_it_was_given_up_is_ended() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        await asyncio.sleep(0.1)
        topic.delay_s = lambda: 20.0
        task = await s.waiting(ask())
        task.cancel()
        await asyncio.sleep(0.1)
        assert s.records(Asked) == []
        topic.delay_s = lambda: 0.0
        await asyncio.sleep(25)
        assert set(s.records(Ended)) == {Ended(s.records(Asked)[0].id, used=False)}
        assert isinstance(s.records()[-1], Ended) or isinstance(s.records()[-2], Ended)


@virtual
async def test_an_ask_that_shows_up_behind_its_own_end_holds_nothing() -> None:
    topic = MemoryTopic()
    async with scene(topic, dataclasses.replace(RULES, groups=False)) as s:  # one append overtakes another
        await asyncio.sleep(0.1)
        topic.delay_s = lambda: 20.0
        task = await s.waiting(ask())
        topic.delay_s = lambda: 0.0
        task.cancel()
        await asyncio.sleep(25)
        kinds = [type(r) for r in s.records() if isinstance(r, Asked | Ended)]
        assert kinds == [Ended, Asked, Ended]
        assert s.budget.state.windows["a"].weight == 0


@virtual
async def test_the_wait_of_an_ask_counts_from_its_sending() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        for _ in range(2):
            s.budget.release(await s.permit(ask(scopes=("few",))), ANSWERED)
        topic.delay_s = lambda: 20.0
        await s.waiting(ask(scopes=("few",)))
        topic.delay_s = lambda: 0.0
        await asyncio.sleep(21)
        late = s.records(Asked)[-1]
        assert Ended(late.id, used=False) not in s.records(Ended)
        await asyncio.sleep(11)
        assert Ended(late.id, used=False) in s.records(Ended)


@virtual
async def test_an_ask_that_cannot_start_in_time_is_given_up_and_made_again() -> None:
    async with scene() as s:
        for _ in range(2):
            s.budget.release(await s.permit(ask(scopes=("few",))), ANSWERED)
        began = asyncio.get_running_loop().time()
        await s.permit(ask(scopes=("few",)))
        assert 30 < asyncio.get_running_loop().time() - began < 61
        assert len(s.records(Asked)) == 4, "each 30 s again"
        assert len({r.id for r in s.records(Asked)}) == 4


@virtual
async def test_an_ask_whose_append_fails_is_made_again_at_once() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        await asyncio.sleep(0.1)
        topic.refuses = 3
        began = asyncio.get_running_loop().time()
        await s.permit(ask())
        assert asyncio.get_running_loop().time() - began < 1


@virtual
async def test_an_end_is_said_until_it_is_heard() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        permit = await s.permit(ask())
        topic.refuses = 20
        s.budget.release(permit, ANSWERED)
        await asyncio.sleep(15)
        assert s.records(Ended) == [Ended(permit.id, used=True, acted=True, health=HealthSignal.GOOD)]


@virtual
async def test_a_gap_makes_it_join_anew_under_another_name_and_wait_for_what_nobody_remembers() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        before = await s.permit(ask())
        topic.recreate()
        began = asyncio.get_running_loop().time()
        s.budget.release(before, NOT_SENT)
        after = await s.permit(ask())
        assert asyncio.get_running_loop().time() - began >= RULES.horizon_s
        assert before.id.split("-")[0] != after.id.split("-")[0]
        assert s.records(Alive)[0].lost


@virtual
async def test_a_purged_log_makes_a_newcomer_wait() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        await s.permit(ask())
    topic.purge()
    async with scene(topic) as s:
        began = asyncio.get_running_loop().time()
        await s.permit(ask())
        assert asyncio.get_running_loop().time() - began >= RULES.horizon_s


@virtual
async def test_a_hole_in_the_log_holds_calls_for_a_horizon_and_not_at_each_joining() -> None:
    topic, loop = MemoryTopic(), asyncio.get_running_loop()
    async with scene(topic) as s:
        await s.permit(ask(identity=MARK))
        await asyncio.sleep(30)
        position = s.budget.history.position()
        topic.skip(3)
        began = loop.time()
        await asyncio.sleep(12)  # until a sign of life shows it
        await s.permit(ask())
        assert RULES.horizon_s <= loop.time() - began < RULES.horizon_s + 60
        await asyncio.sleep(1000)
    async with scene(topic) as newcomer:  # it reads the hole back
        began = loop.time()
        await newcomer.permit(ask())
        assert loop.time() - began < 5
        found = await newcomer.budget.history.replay_lane("t[0]", position, lambda _: True)
        assert found.since_ms > 0, "calls may be noted in what is missing"


@virtual
async def test_a_newcomer_waits_for_calls_that_may_be_noted_in_a_hole() -> None:
    topic, loop = MemoryTopic(), asyncio.get_running_loop()
    async with scene(topic) as s:
        await s.permit(ask())
    topic.skip(3)
    topic.put(b"filler")
    began = loop.time()
    async with scene(topic) as newcomer:
        await newcomer.permit(ask())
        assert RULES.horizon_s <= loop.time() - began < RULES.horizon_s + 60


@virtual
async def test_calls_wait_when_the_log_is_another_than_that_of_the_commits() -> None:
    topic, loop = MemoryTopic(), asyncio.get_running_loop()
    async with scene(topic) as s:
        other = LogPosition("0badcafe", 70)
        await s.budget.history.replay_lane("t[0]", other, lambda _: True)
        began = loop.time()
        async with scene(topic) as second:
            await second.permit(ask())
            assert RULES.horizon_s - 5 <= loop.time() - began <= RULES.horizon_s + 60, "on all replicas"
        await s.permit(ask())
        began = loop.time()
        await s.budget.history.replay_lane("t[1]", other, lambda _: True)
        await s.permit(ask())
        assert loop.time() - began < 5, "the log is older than a horizon by now"


@virtual
async def test_a_newcomer_knows_what_was_called_before_and_cannot_burst() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        for _ in range(2):
            s.budget.release(await s.permit(ask(scopes=("few",))), ANSWERED)
        await asyncio.sleep(5)
    async with scene(topic) as s:
        began = asyncio.get_running_loop().time()
        await s.permit(ask(scopes=("few",)))
        assert 30 < asyncio.get_running_loop().time() - began < 66


@virtual
async def test_malformed_records_are_skipped_and_counted() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        await asyncio.sleep(0.1)
        for value in (b"", None, b"{}", b'{"t":"ask"}', b"\xff"):
            topic.put(value)
        await s.permit(ask())
        assert s.budget.malformed_count == 5


@virtual
async def test_a_fault_of_our_own_closes_the_budget() -> None:
    async with scene() as s:
        await asyncio.sleep(0.1)
        blocked = [await s.waiting(ask(scopes=("few",))) for _ in range(4)]
        await asyncio.sleep(31)
        s.budget.apply_record = lambda *_: 1 / 0  # type: ignore[method-assign,assignment]
        s.topic.put(encode(Paused("a", 1.0)))
        await asyncio.sleep(1)
        assert s.task.done()
        assert isinstance(s.task.exception(), ZeroDivisionError)
        with pytest.raises(BudgetClosedError):
            await s.budget.acquire(ask())
        for task in blocked[2:]:
            with pytest.raises(BudgetClosedError):
                await task


@pytest.mark.parametrize("part", ["writer", "reader", "dispatcher"])
@virtual
async def test_a_fault_in_any_of_its_tasks_ends_the_budget(part: str) -> None:
    """One whose error nobody reads would leave the rest waiting for it."""

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    async with scene() as s:
        await asyncio.sleep(0.1)
        queued = [await s.waiting(ask(scopes=("few",))) for _ in range(12)][2:]
        match part:
            case "writer":
                s.log.append = broken  # type: ignore[method-assign]
            case "reader":
                s.budget._alerts.changes = broken  # type: ignore[method-assign]  # noqa: SLF001 - a fault of ours that nothing brings about
            case _:
                s.budget._askable = broken  # type: ignore[method-assign]  # noqa: SLF001 - as above
        await asyncio.sleep(15)  # a heartbeat is due, and the log is not yet given up for its silence
        assert s.task.done()
        assert isinstance(s.task.exception(), ZeroDivisionError)
        for task in queued:
            assert isinstance(task.exception(), BudgetClosedError)


@virtual
@pytest.mark.parametrize("why", ["appends fail", "broken"])
async def test_a_commit_made_while_the_log_is_joined_again_can_be_read_by_the_next_owner(why: str) -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        permit = await s.permit(ask(identity=MARK))
        await asyncio.sleep(20)
        before = s.budget.history.position()
        s.log.cut = True
        if why == "broken":
            topic.recreate()
        s.log.read, real = (_away if why == "appends fail" else s.log.read), s.log.read  # type: ignore[method-assign]
        for _ in range(50):
            await asyncio.sleep(1.7)
            position = s.budget.history.position()
            assert position.log == before.log
            assert before.offset <= position.offset, "a later owner need not read back more than before"
            decode_metadata(5, encode_metadata(5, [], position))
        assert not s.budget.is_joined
        s.log.read, s.log.cut = real, False  # type: ignore[method-assign]
        s.budget.release(permit, ANSWERED)
        await s.permit(ask())
        after = s.budget.history.position()
        assert (after.log == before.log) == (why == "appends fail")
        assert after.offset > before.offset or why == "broken"


@virtual
async def test_signs_of_life_that_were_held_back_do_not_carry_the_name_of_a_log_into_another_one() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        await s.permit(ask())
        await asyncio.sleep(60)
        before = s.budget.history.position()
        late = s.records(Alive)[-1]
        assert late.log_name == before.log
        topic.recreate()
        topic.put(encode(late))  # of the producer of a replica that waited for the topic
        await asyncio.sleep(RULES.horizon_s + 1)
        after = s.budget.history.position()
        assert after.log not in {before.log, ""}
        topic.put(encode(late))
        async with scene(topic) as newcomer:
            await asyncio.sleep(60)
            assert newcomer.budget.history.position().log == s.budget.history.position().log == after.log


@virtual
async def test_the_name_of_a_log_outlives_the_records_of_those_who_gave_it() -> None:
    topic = MemoryTopic()
    rules = dataclasses.replace(RULES, memory_s=60.0)
    async with scene(topic, rules) as s:
        await asyncio.sleep(30_000)  # so many signs of life that a newcomer does not read back to the first ones
        async with scene(topic, rules) as newcomer:
            await asyncio.sleep(5)
            assert newcomer.budget.history.position().log == s.budget.history.position().log
        topic.begin, topic.entries = topic.end - 50, topic.entries[-50:]  # retention
        async with scene(topic, rules) as newcomer:
            await asyncio.sleep(rules.horizon_s)
            assert newcomer.budget.history.position().log == s.budget.history.position().log


async def _nothing() -> list[Any]:
    await asyncio.sleep(1.0)
    return []


async def _away() -> list[Any]:
    raise LogUnavailableError("away")


@virtual
async def test_a_log_that_was_made_again_while_it_was_away_holds_calls_and_keeps_what_was_recalled() -> None:
    """Nobody sees it break: the reader hears nothing, gives up, and finds another log that begins at its first offset."""
    topic, loop = MemoryTopic(), asyncio.get_running_loop()
    for _ in range(300):
        topic.put(b"filler")
    async with scene(topic) as s:
        await s.permit(ask(identity=MARK))
        position = s.budget.history.position()
    async with scene(topic) as s:
        await s.budget.history.replay_lane("t[0]", LogPosition(position.log, 0), lambda _: True)
        s.log.read, real = _nothing, s.log.read  # type: ignore[method-assign]
        await asyncio.sleep(20)
        topic.recreate()
        began = loop.time()
        await asyncio.sleep(15)
        s.log.read = real  # type: ignore[method-assign]
        async with scene(topic) as second:
            await s.permit(ask())
            assert loop.time() - began >= RULES.horizon_s
            assert s.budget.history.position().log != position.log
            await second.permit(ask())
            assert loop.time() - began >= RULES.horizon_s, "on all replicas"
        assert isinstance(await s.budget.acquire(ask(identity=MARK, settled_ms=0)), InDoubt)


@virtual
@pytest.mark.parametrize("restored", [False, True])
async def test_a_log_that_breaks_keeps_what_was_recalled(restored: bool) -> None:
    topic = MemoryTopic()
    for _ in range(300):
        topic.put(b"filler")
    async with scene(topic) as s:
        await s.permit(ask(identity=MARK))
        position = s.budget.history.position()
        named = [encode(r) for r in s.records(Alive)]
    async with scene(topic) as s:
        await s.budget.history.replay_lane("t[0]", LogPosition(position.log, 0), lambda _: True)
        topic.recreate()
        for value in named if restored else ():  # under its name, and at other offsets
            topic.put(value)
        await s.permit(ask())
        assert (s.budget.history.position().log == position.log) == restored
        assert isinstance(await s.budget.acquire(ask(identity=MARK, settled_ms=0)), InDoubt)


@pytest.mark.parametrize("at_s", [0.5, 3.0, 6.5, 9.5])
@virtual
async def test_what_is_finished_is_told_within_five_seconds_though_nothing_follows(at_s: float) -> None:
    """``docs/guarantees.md``, G2: a second commit soon after one that was told, then none, then a kill."""
    async with scene() as s:
        await asyncio.sleep(at_s)
        s.budget.history.done("t[0]", 5, b"")
        await asyncio.sleep(0.1)
        s.budget.history.done("t[0]", 6, b"")
        await asyncio.sleep(5.0)
        assert LaneDone("t[0]", 6, b"") in s.records(LaneDone)


@virtual
async def test_what_is_older_than_what_is_read_back_is_replayed_for_its_lane_and_kept_over_a_joining() -> None:
    topic, rules = MemoryTopic(), dataclasses.replace(RULES, memory_s=60.0)
    async with scene(topic, rules) as s:
        await s.permit(ask(identity=MARK))
        done = dataclasses.replace(MARK, request="done", first="done", offset=6)
        s.budget.release(await s.permit(ask(identity=done)), ANSWERED)
        s.budget.history.done("t[0]", 5, b"\x02")
        position = LogPosition(s.budget.history.position().log, 0)
        await asyncio.sleep(1000)
    for _ in range(2100):  # more than a newcomer reads back
        topic.put(b"filler")
    await asyncio.sleep(10_000)
    async with scene(topic, rules) as s:
        found = await s.budget.history.replay_lane("t[0]", position, lambda _: True)
        assert (sorted(found.first_calls), found.finished, found.doubtful) == ([5, 6], frozenset({6}), frozenset({5}))
        for _ in range(2):
            assert isinstance(await s.budget.acquire(ask(identity=MARK, settled_ms=0)), InDoubt)
            assert isinstance(await s.budget.acquire(ask(identity=done, settled_ms=0)), Duplicate)
            s.log.read, real = _away, s.log.read  # type: ignore[method-assign]
            await asyncio.sleep(3)
            s.log.read = real  # type: ignore[method-assign]
            await asyncio.sleep(3)
        assert s.log.opened >= 3


@virtual
async def test_a_position_that_the_log_has_not_reached_is_not_believed() -> None:
    async with scene() as s:
        await s.permit(ask())
        name = s.budget.history.position().log
        found = await s.budget.history.replay_lane("t[0]", LogPosition(name, 10**6), lambda _: True)
        assert found.since_ms > 0, "calls may be noted beyond"


@virtual
async def test_a_lane_is_restored_from_all_that_its_former_owner_knew_although_its_new_one_is_slow_to_join() -> None:
    """Else 34 requests of a rollback were in doubt: it had read the log to its own first record, and the commit named a later one."""
    topic = MemoryTopic()
    for _ in range(300):
        topic.put(b"filler")
    async with scene(topic) as former, scene(topic) as newcomer:
        newcomer.log.lag_s = 0.5
        while not newcomer.budget.is_joined:
            former.budget.release(await former.permit(ask(scopes=("wide",))), ANSWERED)
        position = former.budget.history.position()
        await former.permit(ask(identity=MARK))
        assert newcomer.budget.history.position() < position, "it has joined, and is behind"
        found = await newcomer.budget.history.replay_lane("t[0]", position, lambda _: True)
        assert (found.since_ms, found.doubtful) == (0, frozenset({5})), "and what was called after it is known"


@pytest.mark.parametrize(
    ("fails", "error"),
    [*((name, LogUnavailableError("no leader")) for name in ("end", "begin", "section")), ("section", LogBrokenError("purged"))],
    ids=str,
)
@virtual
async def test_a_lane_waits_for_a_log_that_cannot_be_read_while_it_is_restored(fails: str, error: Exception) -> None:
    """Simulated seed 10024454: a broker was killed, and the life of all lanes ended, as one was restored and asked for the log's end."""
    topic, broken = MemoryTopic(), True
    async with scene(topic) as former, scene(topic) as s:
        await former.permit(ask(identity=MARK))
        since, real = LogPosition(s.budget.history.position().log, 0), getattr(s.log, fails)
        s.budget.state.journal.floor = topic.end  # what is older is read back for the lane

        def failing(*given: Any) -> Any:
            if broken:
                raise error
            return real(*given)

        setattr(s.log, fails, failing)
        with capture_logs() as logs:
            restoring = asyncio.create_task(s.budget.history.replay_lane("t[0]", since, lambda _: True))
            await asyncio.sleep(60)
            assert not restoring.done()
            broken = False
            await asyncio.sleep(1.1)
            assert restoring.done()
            assert restoring.result().doubtful == frozenset({5})
        told = [entry["event"] for entry in logs if entry["event"].startswith("takeover_")]
        assert told == ["takeover_waits", "takeover_goes_on"]


@virtual
async def test_a_silent_log_is_joined_anew() -> None:
    async with scene() as s:
        await asyncio.sleep(0.1)
        s.log.read, real = _nothing, s.log.read  # type: ignore[method-assign]
        await asyncio.sleep(35)
        s.log.read = real  # type: ignore[method-assign]
        await asyncio.sleep(35)
        assert s.log.opened >= 2
        await s.permit(ask())


@virtual
async def test_calls_are_bounded_and_a_released_slot_lets_the_next_one_start() -> None:
    async with scene(calls_max=2) as s:
        permits = [await s.permit(ask()) for _ in range(2)]
        third = await s.waiting(ask())
        assert not third.done()
        s.budget.release(permits[0], ANSWERED)
        await asyncio.sleep(0.2)
        assert third.done()


def test_two_permits_given_back_in_one_turn_of_the_loop_start_the_next_calls_on_uvloop_too() -> None:
    """A timer of uvloop that is due at once is another object than one that is due later; ``run`` uses uvloop."""

    async def play() -> None:
        async with scene(calls_max=2) as s, asyncio.timeout(10):
            held = [await s.permit(ask()) for _ in range(2)]
            waiting = [await s.waiting(ask()) for _ in range(2)]
            for permit in held:
                s.budget.release(permit, ANSWERED)
            assert {type(answer) for answer in await asyncio.gather(*waiting)} == {Permit}

    uvloop.run(play())


@virtual
async def test_urgent_work_comes_first_and_the_oldest_of_a_class() -> None:
    async with scene(rules=dataclasses.replace(RULES, limits={"a": (12, 60.0)})) as s:
        order: list[str] = []

        async def one(name: str, call_class: CallClass, since_ms: int) -> None:
            s.budget.release(await s.permit(ask(call_class=call_class, since_ms=since_ms)), ANSWERED)
            order.append(name)

        tasks = [asyncio.create_task(one(f"early{n}", CallClass.NORMAL, n)) for n in range(4)]
        await asyncio.sleep(0.01)
        for name, call_class, since_ms in (
            ("bulk", CallClass.BULK, 0),
            ("young", CallClass.NORMAL, 900),
            ("old", CallClass.NORMAL, 100),
            ("urgent", CallClass.URGENT, 999),
        ):
            tasks.append(asyncio.create_task(one(name, call_class, since_ms)))
        await asyncio.gather(*tasks)
        assert order.index("urgent") < order.index("old") < order.index("young")


@virtual
async def test_few_asks_are_outstanding_whatever_waits() -> None:
    async with scene(calls_max=100, rules=dataclasses.replace(RULES, limits={"a": (60, 60.0)})) as s:
        tasks = [asyncio.create_task(s.budget.acquire(ask())) for _ in range(90)]
        await asyncio.sleep(80)
        started = sum(t.done() for t in tasks)
        assert started == 60, "all of them still in flight"
        open_asks = len({r.id for r in s.records(Asked)} - {r.id for r in s.records(Ended)}) - started
        assert open_asks <= 1
        for task in tasks:
            task.cancel()


@virtual
async def test_an_exhausted_scope_holds_up_nobody_who_does_not_need_it() -> None:
    async with scene() as s:
        blocked = [await s.waiting(ask("few", ("few",))) for _ in range(10)]
        await asyncio.sleep(31)
        began = asyncio.get_running_loop().time()
        for _ in range(20):
            s.budget.release(await s.permit(ask("op", ("a",))), ANSWERED)
        assert asyncio.get_running_loop().time() - began < 5
        assert sum(t.done() for t in blocked) == 2
        for task in blocked:
            task.cancel()


@virtual
async def test_a_full_line_sends_newcomers_away_if_others_may_stand_behind_them() -> None:
    async with scene(queue_max=3) as s:
        alone = [await s.waiting(ask("few", ("few",), identity=MARK, since_ms=n)) for n in range(12)]
        await asyncio.sleep(31)
        assert sum(t.done() for t in alone) == 2, "a backlog of one kind is not rewritten"
        s.budget.release(await s.permit(ask("op", identity=dataclasses.replace(MARK, request="o"))), ANSWERED)
        waits = []
        for n in range(3):
            parked = await s.budget.acquire(ask("few", ("few",), since_ms=100 + n))
            assert isinstance(parked, Parked)
            assert parked.code == "queue_full"
            waits.append(parked.wait_s)
        assert waits == sorted(waits)
        assert waits[0] == pytest.approx(10 * 30), "behind the nine who wait, one call each half minute"
        assert waits[2] - waits[0] == pytest.approx(2 * 30)
        parked = await s.budget.acquire(ask("few", ("few",), since_ms=100, returning=True))
        assert isinstance(parked, Parked)
        assert parked.wait_s == pytest.approx(waits[2]), "it counts once, however often it comes"
        urgent = await s.waiting(ask("few", ("few",), CallClass.URGENT, since_ms=999))
        assert not urgent.done()
        assert isinstance(alone[-1].result(), Parked), "the last one makes room for it"
        for task in (*alone, urgent):
            task.cancel()


@virtual
async def test_a_line_calls_in_whom_it_sent_away_before_it_is_empty_but_not_into_a_long_pause() -> None:
    async with scene(queue_max=4) as s:
        s.budget.release(await s.permit(ask("op", identity=MARK)), ANSWERED)
        started: list[int] = []
        for number in range(6):  # nobody has asked for it here
            s.budget.park(Place("few", ("few",), CallClass.NORMAL, -number), functools.partial(started.append, number))
        assert started == [], "not before it is known to be parked"
        await asyncio.sleep(0.05)
        assert started == [5, 4]
        other = s.budget.park(Place("b", ("b",), CallClass.NORMAL, 0), lambda: started.append(99))
        other.leave()
        s.budget.pause("b", 500.0)
        await asyncio.sleep(0.05)
        late = s.budget.park(Place("b", ("b",), CallClass.NORMAL, 0), lambda: started.append(100))
        await asyncio.sleep(400)
        assert started == [5, 4]
        assert not late.may_start()
        await asyncio.sleep(102)
        assert started == [5, 4, 100], "the pause is over"


@virtual
async def test_a_newcomer_stands_behind_those_who_were_sent_away_before_it() -> None:
    async with scene(queue_max=6) as s:
        s.budget.release(await s.permit(ask("op", identity=MARK)), ANSWERED)
        in_line = [await s.waiting(ask("few", ("few",))) for _ in range(6)]  # two of them are called, one has asked
        s.budget.park(Place("few", ("few",), CallClass.NORMAL, 0), lambda: None)
        newcomer = await s.budget.acquire(ask("few", ("few",), since_ms=9))
        assert isinstance(newcomer, Parked)
        urgent = await s.waiting(ask("few", ("few",), CallClass.URGENT, since_ms=9))
        back = await s.waiting(ask("few", ("few",), since_ms=1, returning=True))
        assert not urgent.done()
        assert not back.done()
        for task in (*in_line, urgent, back):
            task.cancel()


@virtual
@pytest.mark.parametrize("call_class", [CallClass.RETRY, CallClass.BULK, CallClass.POLL])
async def test_under_any_overload_each_class_gets_its_least_share(call_class: CallClass) -> None:
    """A seventeenth of the turns: here one in 17 s, and one in 20 s comes, beside more fresh requests than the budget lets through."""
    waited_s: list[float] = []
    async with scene(rules=dataclasses.replace(RULES, limits={"a": (60, 60.0), "b": (600, 60.0)}), queue_max=30) as s:
        loop = asyncio.get_running_loop()

        async def request(number: int, of: CallClass) -> None:
            began, returning = loop.time(), False
            while isinstance(answer := await s.budget.acquire(ask(call_class=of, since_ms=number, returning=returning)), Parked):
                await asyncio.sleep(answer.wait_s)
                returning = True
            assert isinstance(answer, Permit)
            s.budget.release(answer, ANSWERED)
            if of is call_class:
                waited_s.append(loop.time() - began)

        async with asyncio.TaskGroup() as group:
            tasks = []
            for number in range(1400):
                if number % 500 == 0:
                    s.budget.release(await s.permit(ask("other", ("b",), identity=MARK)), ANSWERED)
                tasks.append(group.create_task(request(number, CallClass.NORMAL)))
                if number % 28 == 0:
                    tasks.append(group.create_task(request(number, call_class)))
                await asyncio.sleep(1 / 1.4)
            assert len(waited_s) >= 48, "of 50"
            assert max(waited_s) < 120
            for task in tasks:
                task.cancel()


@virtual
async def test_a_pause_holds_every_replica_and_a_long_one_sends_away() -> None:
    topic = MemoryTopic()
    async with scene(topic) as one, scene(topic) as two:
        await asyncio.sleep(0.1)
        one.budget.pause("a", 5.0)
        waiting = [await s.waiting(ask()) for s in (one, two)]
        began = asyncio.get_running_loop().time() - 0.1
        await asyncio.gather(*waiting)
        assert asyncio.get_running_loop().time() - began >= 5.0
        two.budget.release(await two.permit(ask(scopes=("few",))), ANSWERED)
        two.budget.pause("few", 500.0)
        await asyncio.sleep(0.1)
        parked = await one.budget.acquire(ask(scopes=("few", "a")))
        assert isinstance(parked, Parked)
        assert (parked.code, round(parked.wait_s)) == ("scope_paused", 500)
        await one.permit(ask())


@virtual
async def test_those_who_wait_are_sent_away_when_a_long_pause_begins() -> None:
    async with scene() as s:
        waiting = [await s.waiting(ask("few", ("few",))) for _ in range(5)]
        await asyncio.sleep(31)
        s.budget.pause("few", 500.0)
        await asyncio.sleep(0.1)
        assert sum(isinstance(t.result(), Parked) for t in waiting[2:]) == 3


@virtual
async def test_a_long_pause_is_said_again_for_those_who_join_later() -> None:
    topic = MemoryTopic()
    rules = dataclasses.replace(RULES, memory_s=400.0)
    async with scene(topic, rules) as s:
        await asyncio.sleep(0.1)
        s.budget.pause("a", 5000.0)
        await asyncio.sleep(2000)
        assert not any(r.counts for r in s.records(Paused)[1:])
    topic.entries, topic.begin = topic.entries[-150:], topic.entries[-150].offset
    async with scene(topic, rules) as s:
        await asyncio.sleep(200)
        assert 2700 < s.budget.state.paused_for_s(("a",), asyncio.get_running_loop().time()) <= 3000


@virtual
async def test_a_pause_does_not_grow_by_being_said_again() -> None:
    """Each replica goes on a little later than the log says, so that not all do at once; that is not passed on."""
    topic, loop = MemoryTopic(), asyncio.get_running_loop()
    async with scene(topic, draw=0.9) as one, scene(topic, draw=0.9) as two:
        await asyncio.sleep(0.1)
        one.budget.pause("a", 2000.0)
        until = loop.time() + 2000.0
        await asyncio.sleep(1500)
        assert len(one.records(Paused)) > 10
        for s in (one, two):
            window = s.budget.state.windows["a"]
            assert until <= window.pause_told_until < until + 0.5 < window.paused_until < until + 2.5


@virtual
async def test_a_pause_outlives_the_log() -> None:
    topic, loop = MemoryTopic(), asyncio.get_running_loop()
    async with scene(topic) as s:
        await asyncio.sleep(0.1)
        s.budget.pause("a", 5000.0)
        until = loop.time() + 5000.0
        await asyncio.sleep(1)
        topic.recreate()
        await asyncio.sleep(RULES.horizon_s)
        async with scene(topic) as newcomer:
            await asyncio.sleep(5)
            for replica in (s, newcomer):
                assert until <= loop.time() + replica.budget.state.paused_for_s(("a",), loop.time()) <= until + RULES.skew_s + 1


@virtual
@pytest.mark.parametrize("away_s", [20.0, 1500.0, 3500.0, 3700.0, 20_000.0])
async def test_a_pause_outlives_an_outage_of_everybody(away_s: float) -> None:
    topic, loop = MemoryTopic(), asyncio.get_running_loop()
    async with scene(topic) as s, scene(topic) as other:
        await asyncio.sleep(0.1)
        s.budget.pause("a", 30_000.0)
        until = loop.time() + 30_000.0
        for _ in range(3000):  # so many records that the last 2000 do not reach back to what was said of the pause
            topic.put(b"filler")
        await asyncio.sleep(2500)
        assert other.budget.state.paused_for_s(("a",), loop.time()) > 0
        assert len(s.records(Paused)) < 90, "each says it once a minute here, as both draw the same; else one does"
    await asyncio.sleep(away_s)
    for _ in range(2100):
        topic.put(b"filler")
    async with scene(topic) as s:
        await asyncio.sleep(5)
        assert until <= loop.time() + s.budget.state.paused_for_s(("a",), loop.time()) <= until + 60


@virtual
async def test_a_dead_endpoint_gets_one_probe_now_and_then_from_all_replicas_together() -> None:
    topic = MemoryTopic()
    async with scene(topic) as one, scene(topic) as two:
        calls: list[tuple[float, bool]] = []
        dead_until = asyncio.get_running_loop().time() + 200

        async def work(s: Scene, endpoint: str) -> None:
            while True:
                permit = await s.permit(ask(endpoint))
                now = asyncio.get_running_loop().time()
                calls.append((now, permit.probe))
                await asyncio.sleep(0.01)
                health = HealthSignal.BAD if now < dead_until else HealthSignal.GOOD
                s.budget.release(permit, Ending(Fate.ANSWERED, health))
                await asyncio.sleep(0.2)

        tasks = [asyncio.create_task(work(s, "op")) for s in (one, two) for _ in range(5)]
        await asyncio.sleep(190)
        in_the_outage = len(calls)
        assert in_the_outage < 25
        assert sum(probe for _, probe in calls) <= 5
        await one.permit(ask("other"))  # its own endpoint alone
        await asyncio.sleep(60)
        assert len(calls) > in_the_outage + 100, "work resumes by itself"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@virtual
async def test_an_account_fault_shuts_every_line_until_a_probe_succeeds() -> None:
    async with scene() as s:
        s.budget.release(await s.permit(ask("op")), Ending(Fate.ANSWERED, HealthSignal.ACCOUNT))
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        waiting = [await s.waiting(ask(e)) for e in ("op", "other", "third")]
        await asyncio.sleep(35)
        probes = [t for t in waiting if t.done()]
        assert len(probes) == 1
        probe = probes[0].result()
        assert isinstance(probe, Permit)
        assert probe.probe
        s.budget.release(probe, ANSWERED)
        await asyncio.gather(*waiting)
        assert 29 < asyncio.get_running_loop().time() - began < 40


@virtual
async def test_the_journal_decides_at_the_place_in_the_log() -> None:
    topic = MemoryTopic()
    async with scene(topic) as one, scene(topic) as two:
        await asyncio.sleep(0.1)
        other = dataclasses.replace(MARK, first="elsewhere", lane="t[1]")
        tasks = [
            await one.waiting(ask(identity=MARK, settled_ms=0)),
            asyncio.create_task(two.budget.acquire(ask(identity=other, settled_ms=0))),
        ]
        assert {type(answer) for answer in await asyncio.gather(*tasks)} == {Duplicate, Permit}
        assert await two.budget.acquire(ask(identity=dataclasses.replace(other, content="x"), settled_ms=0)) == Conflict()
        assert isinstance(await two.budget.acquire(ask(identity=MARK, settled_ms=0)), InDoubt)
        await two.permit(ask(identity=MARK))
        await asyncio.sleep(0.1)
        assert len([r for r in one.records(Ended) if not r.used]) == 3, "no weight is kept by those who do not call"


@virtual
async def test_a_doubt_is_settled_by_a_lookup_after_the_call_is_over_and_by_no_earlier_one() -> None:
    async with scene() as s:
        s.budget.release(await s.permit(ask(identity=MARK)), Ending(Fate.UNKNOWN))
        doubt = await s.budget.acquire(ask(identity=MARK, settled_ms=0))
        assert isinstance(doubt, InDoubt)
        assert doubt.since_ms < doubt.over_ms
        for settled_ms in (doubt.since_ms, doubt.over_ms - 1):
            assert await s.budget.acquire(ask(identity=MARK, settled_ms=settled_ms)) == doubt
        await s.permit(ask(identity=MARK, settled_ms=doubt.over_ms))


@virtual
async def test_two_at_once_are_never_both_the_first() -> None:
    topic = MemoryTopic(delay_s=lambda: 0.5)
    async with scene(topic) as one, scene(topic) as two:
        await asyncio.sleep(5)
        marks = (MARK, dataclasses.replace(MARK, first="elsewhere", lane="t[1]"))
        tasks = [asyncio.create_task(s.budget.acquire(ask(identity=m, settled_ms=0))) for s, m in zip((one, two), marks, strict=True)]
        assert {type(answer) for answer in await asyncio.gather(*tasks)} == {Duplicate, Permit}


@virtual
async def test_a_lane_that_is_restored_recalls_after_the_log_is_joined() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        permit = await s.permit(ask(identity=MARK, settled_ms=0))
        assert permit.ask.identity == MARK
        position = s.budget.history.position()
    async with scene(topic) as s:
        since = LogPosition(position.log, 0)
        found = await s.budget.history.replay_lane("t[0]", since, lambda _: True)
        assert s.budget.history.position().log == position.log
        assert (found.since_ms, list(found.first_calls), found.finished, found.doubtful) == (0, [5], frozenset(), frozenset({5}))
        assert found.first_calls[5] < position < s.budget.history.position()
        found = await s.budget.history.replay_lane("t[0]", EVERYTHING, lambda _: True)
        assert (found.since_ms, list(found.first_calls)) == (0, [5]), "it begins with its first record"
        found = await s.budget.history.replay_lane("t[0]", LogPosition("another1", 0), lambda _: True)
        assert list(found.first_calls) == [5]
        assert found.since_ms == topic.entries[0].stamp_ms > 0, "what was before is gone"
        assert s.log.open_sections == 0, "no client of the log is left behind"
        assert isinstance(await s.budget.acquire(ask(identity=MARK, settled_ms=0)), InDoubt)
        s.budget.history.forget("t[0]")
        assert await s.budget.history.replay_lane("t[0]", None, lambda _: True) == LaneCalls()


@virtual
async def test_what_was_withdrawn_is_in_the_log_when_a_lane_is_given_back_and_a_dead_log_is_not_waited_for() -> None:
    topic, clock = MemoryTopic(), asyncio.get_running_loop().time
    async with scene(topic) as s:
        await s.permit(ask(identity=MARK, scopes=("b",)))  # of another lane: it goes on
        topic.delay_s = lambda: 0.2
        waiting = await s.waiting(ask(identity=dataclasses.replace(MARK, request="r2", first="f2")))
        waiting.cancel()
        await asyncio.sleep(0)
        await s.budget.history.flush(1.0)
        assert len({ended.id for ended in s.records(Ended)}) == 1
        topic.refuses, began = 1000, clock()
        s.budget.history.done("t[0]", 1, b"")
        waiting = await s.waiting(ask(identity=dataclasses.replace(MARK, request="r3", first="f3")))
        waiting.cancel()
        await asyncio.sleep(0)
        await s.budget.history.flush(1.0)
        assert 0.9 < clock() - began < 1.2, "it is tried again for minutes"
        topic.refuses = 0
        await s.budget.history.flush(10.0)
        assert len({ended.id for ended in s.records(Ended)}) == 2
        topic.recreate()  # while it is joined again
        await asyncio.sleep(0.5)
        assert not s.budget.is_joined
        began = clock()
        s.budget.history.forget("t[0]")
        await s.budget.history.flush(1.0)
        assert clock() == began


@virtual
async def test_what_a_lane_has_finished_is_found_when_the_offsets_of_the_group_are_lost() -> None:
    topic = MemoryTopic()
    marks = [dataclasses.replace(MARK, request=f"r{n}", first=f"f{n}", offset=n) for n in range(6)]
    async with scene(topic) as s:
        for mark in marks[:5]:
            s.budget.release(await s.permit(ask(identity=mark)), ANSWERED)
        s.budget.history.done("t[0]", 1, b"")
        await asyncio.sleep(1)
        s.budget.history.done("t[0]", 2, b"\x02")  # 0, 1 and 3
        assert len(s.records(LaneDone)) == 1, "not told each time"
        s.budget.history.forget("t[0]")
        await asyncio.sleep(1)
    for rules in (RULES, dataclasses.replace(RULES, memory_s=1.0)):  # also from the part of the log that the memory does not hold
        async with scene(topic, rules) as s:
            await asyncio.sleep(1000)
            found = await s.budget.history.replay_lane("t[0]", EVERYTHING, lambda _: True)
            assert (found.finished, found.doubtful) == (frozenset({0, 1, 3}), frozenset({2, 4}))
            answers = {m.offset: await s.budget.acquire(ask(identity=m, settled_ms=0)) for m in marks}
            assert [type(answers[n]) for n in range(6)] == [Duplicate, Duplicate, InDoubt, Duplicate, InDoubt, Permit]
            s.budget.history.done("t[0]", 0, b"")  # whoever begins from the start again knows less, and takes nothing back
            await asyncio.sleep(20)
            assert isinstance(await s.budget.acquire(ask(identity=marks[3], settled_ms=0)), Duplicate)
            s.budget.release(answers[5], NOT_SENT)  # type: ignore[arg-type]


@virtual
async def test_replicas_with_different_limits_obey_the_lowest_at_once() -> None:
    topic = MemoryTopic()
    async with scene(topic, dataclasses.replace(RULES, limits={"a": (60, 60.0)})) as old:
        await asyncio.sleep(1)
        async with scene(topic, dataclasses.replace(RULES, limits={"a": (30, 60.0)})) as new:
            await asyncio.sleep(1)
            assert [s.budget.state.windows["a"].limit for s in (old, new)] == [30, 30]
            started: list[float] = []

            async def work() -> None:
                while True:
                    permit = await old.permit(ask())
                    started.append(asyncio.get_running_loop().time())
                    old.budget.release(permit, ANSWERED)

            tasks = [asyncio.create_task(work()) for _ in range(5)]
            await asyncio.sleep(300)
            most = max(sum(1 for t in started if at <= t < at + 60) for at in started)
            assert most == 30
            for task in tasks:
                task.cancel()
        await asyncio.sleep(60)
        assert old.budget.state.windows["a"].limit == 60, "raised again once nobody obeys less"


def test_the_clock_counts_suspend() -> None:
    assert boot_clock() > 0


@virtual
async def test_replicas_that_want_the_same_ask_for_half_a_second_of_budget_together() -> None:
    topic = MemoryTopic()
    async with scene(topic, calls_max=1000) as one, scene(topic, calls_max=1000) as other:
        permits = [asyncio.create_task(s.budget.acquire(ask())) for s in (one, other) for _ in range(700)]  # more than a window holds
        await asyncio.sleep(5)
        alone = len(one.records(Asked)) - sum(p.done() for p in permits)
        await asyncio.sleep(25)
        together = len(one.records(Asked)) - sum(p.done() for p in permits)
        assert (alone, together) == (10, 6)
        for permit in permits:
            permit.cancel()
        await asyncio.wait(permits)


@pytest.mark.parametrize(
    ("rate_per_s", "replicas", "useful", "asks"),
    [
        *((10, 1, 44, 5), (10, 2, 44, 3), (10, 5, 44, 2), (10, 50, 44, 2), (1, 1, 44, 1), (0.01, 3, 44, 1), (100, 4, 44, 13)),
        *((1e9, 1, 44, 44), (1e9, 1, 11, 11), (1e9, 1, 4, 4), (10, 1, 4, 4), (1, 1, 4, 1)),  # few free call slots
    ],
)
def test_how_many_asks_a_line_keeps_outstanding(rate_per_s: float, replicas: int, useful: int, asks: int) -> None:
    async def filled() -> int:
        line = EndpointQueue("op", ("a",), [], rate_per_s, places=100, room=lambda _: Room.PLACES)
        line.share_with(replicas)
        while not line.full(useful):
            line.open_turn(Turn())
        return line.outstanding

    assert asyncio.run(filled()) == asks


@virtual
@pytest.mark.parametrize(("call_s", "slots"), [(0.1, 20), (0.005, 6)])
async def test_call_slots_do_not_stay_empty_while_the_log_is_slow(call_s: float, slots: int) -> None:
    """Asks are made ahead by how many calls end in a round trip: with too few, each slot stays empty for one."""
    async with scene(MemoryTopic(delay_s=lambda: 0.03), dataclasses.replace(RULES, limits={"a": (10**9, 60.0)}), calls_max=slots) as s:
        done = 0

        async def caller() -> None:
            nonlocal done
            while True:
                permit = await s.permit(ask())
                await asyncio.sleep(call_s)
                s.budget.release(permit, ANSWERED)
                done += 1

        await asyncio.sleep(5)
        callers = [asyncio.create_task(caller()) for _ in range(300)]
        await asyncio.sleep(5)
        before = done
        await asyncio.sleep(10)
        assert done - before >= 0.95 * 10 * slots / call_s
        for task in callers:
            task.cancel()
        await asyncio.wait(callers)


@virtual
async def test_slow_calls_are_asked_for_a_tenth_of_the_slots_ahead() -> None:
    """Who is asked for ahead goes before who comes later, however urgent: no more than hides the log."""
    async with scene(MemoryTopic(delay_s=lambda: 0.03), dataclasses.replace(RULES, limits={"a": (10**9, 60.0)}), calls_max=20) as s:
        await asyncio.sleep(5)
        for _ in range(60):
            permit = await s.permit(ask())
            await asyncio.sleep(10)
            s.budget.release(permit, ANSWERED)
        before = len(s.records(Asked))
        waiting = [asyncio.create_task(s.budget.acquire(ask())) for _ in range(60)]
        await asyncio.sleep(5)
        assert len(s.records(Asked)) - before == 20 + 2
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


def half_full(topic: MemoryTopic, limit: int) -> None:
    """Others hold half of a window."""
    for n in range(limit // 2):
        topic.put(encode(Asked(f"other-{n}", ("a",), 90.0, "op")))


def requests(count: int) -> list[Ask]:
    return [ask(identity=dataclasses.replace(MARK, request=str(n))) for n in range(count)]


@virtual
async def test_asks_leave_at_the_rate_of_their_scope_and_their_order_stays_open_until_then() -> None:
    async with scene() as s:
        await asyncio.sleep(1)
        half_full(s.topic, 600)
        await asyncio.sleep(8)  # read in steps, as nobody waits
        tasks = [asyncio.create_task(s.budget.acquire(a)) for a in requests(30)]
        asked = []
        for _ in range(4):
            await asyncio.sleep(0.25)
            asked.append(sum(r.identity is not None for r in s.records(Asked)))
        assert asked == [4, 6, 9, 11], "two at once, then ten a second"
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@virtual
async def test_a_burst_out_of_an_idle_window_leaves_at_once_on_whichever_replica() -> None:
    rules, topic = dataclasses.replace(RULES, limits={"a": (300, 60.0)}), MemoryTopic(delay_s=lambda: 0.005)
    async with scene(topic, rules, calls_max=300) as one, scene(topic, rules, calls_max=300) as other:
        await asyncio.sleep(100)
        began = asyncio.get_running_loop().time()

        async def start(budget: SharedBudget, a: Ask) -> float:
            permit = await budget.acquire(a)
            assert isinstance(permit, Permit)
            budget.release(permit, ANSWERED)
            return asyncio.get_running_loop().time() - began

        burst = requests(200)
        moments = await asyncio.gather(*(start((one, other)[n % 2].budget, a) for n, a in enumerate(burst)))
        assert sum(at < 2.0 for at in moments) >= 150
        assert 15 < max(moments) < 25, "the rest at the pace of what is left of the window; all by the pace would take 40 s"
