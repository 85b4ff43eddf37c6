"""One record, many owners one after the other and some of them zombies: its call is made at most once, and a doubt is never forgotten."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field, replace

from effort import full
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_log import MemoryLog, MemoryTopic
from virtual_time import run_virtual

from processor.budget.call_index import Calls
from processor.budget.log import Entry
from processor.budget.log_records import Alive, Asked, Begun, Ended, decode_entry
from processor.budget.permits import (
    NOT_SENT,
    Ask,
    BudgetClosedError,
    CallClass,
    CallIdentity,
    Ending,
    Fate,
    HealthSignal,
    InDoubt,
    LogPosition,
    Permit,
)
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.shared import SharedBudget
from processor.budget.state import Rules

RULES = Rules({"a": (50, 10.0)}, 8.0, 10.0, 5.0, 0.1, 1.0, 60.0, 3600.0, 10, 5.0, 1.0)
BUSY = replace(RULES, limits={"a": (4, 10.0)})  # each call waits for seconds, behind those of a crowd
LOG_S = 1.0  # a round trip through the log of these stories takes no longer
MARK = CallIdentity("request", "content", "first", "t[0]", 5)


@dataclass(frozen=True)
class Owner:
    """Takes the record up at some time, lags behind the log, freezes between permit and call, and may die at any moment."""

    starts_s: float
    lives_s: float
    lag_s: float
    frozen_s: float
    fate: str  # of its call: killed, lost, answered, void, not_sent
    seed: int


@dataclass
class Story:
    announced: bool
    waits_announced: bool = False
    rules: Rules = RULES
    calls: list[tuple[int, str]] = field(default_factory=list)  # of whom, and how it ended
    doubts: int = 0
    killed_at: dict[str, float] = field(default_factory=dict)  # by instance
    entries: list[Entry] = field(default_factory=list)

    async def play(self, owners: list[Owner]) -> None:
        topic = MemoryTopic(delay_s=lambda: random.Random(len(topic.entries)).expovariate(20))
        async with asyncio.TaskGroup() as group:
            for number, owner in enumerate(owners):
                group.create_task(self._own(number, owner, topic))
            if self.rules is BUSY:
                group.create_task(self._crowd(topic))
        self.entries = topic.entries

    async def _crowd(self, topic: MemoryTopic) -> None:
        """Others, who use up the budget."""
        place, clock = ReplicaLimits("crowd", calls_max=5, queue_max=100, park_s=60.0), asyncio.get_running_loop().time
        budget = SharedBudget(MemoryLog(topic), self.rules, place, draw=lambda: 0.0, clock=clock)
        run = asyncio.create_task(budget.run())
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                while isinstance(permit := await budget.acquire(Ask("other", ("a",), CallClass.NORMAL, 0)), Permit):
                    budget.release(permit, Ending(Fate.ANSWERED))
        run.cancel()
        await budget.close()

    async def _own(self, number: int, owner: Owner, topic: MemoryTopic) -> None:
        await asyncio.sleep(owner.starts_s)
        memory_log = MemoryLog(topic)
        memory_log.lag_s = owner.lag_s
        place = ReplicaLimits(f"owner-{number}", calls_max=5, queue_max=100, park_s=60.0)
        clock = asyncio.get_running_loop().time
        budget = SharedBudget(memory_log, self.rules, place, draw=random.Random(owner.seed).random, clock=clock)
        tasks = [asyncio.create_task(budget.run()), asyncio.create_task(self.serve(number, owner, budget))]
        await asyncio.sleep(owner.lives_s)
        memory_log.cut = True  # a kill: nothing more is told to anybody
        self.killed_at[place.instance] = clock()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await budget.close()

    async def serve(self, number: int, owner: Owner, budget: SharedBudget) -> None:
        announced, waits_announced = self.announced, self.waits_announced
        ask = Ask("op", ("a",), CallClass.NORMAL, 0, MARK, announced=announced, waits_announced=waits_announced, settled_ms=0)
        try:
            await budget.history.replay_lane("t[0]", LogPosition("", 0), lambda _: True)
            permit = await budget.acquire(ask)
        except BudgetClosedError:
            return
        if isinstance(permit, InDoubt):
            self.doubts += 1
            return
        assert isinstance(permit, Permit), permit
        await asyncio.sleep(owner.frozen_s)
        if owner.fate == "not_sent":
            budget.release(permit, NOT_SENT)
            return
        self.calls.append((number, owner.fate))
        if owner.fate in {"answered", "void"}:
            budget.release(permit, Ending(Fate.ANSWERED, HealthSignal.GOOD, acted=owner.fate == "answered"))
        elif owner.fate == "lost":
            budget.release(permit, Ending(Fate.UNKNOWN, HealthSignal.BAD))

    def needless_s(self, owners: list[Owner]) -> float:
        """The longest time for which a killed owner that had not called had left a doubt, beyond what it took to read its record back."""
        said: dict[str, float] = {}  # by ask: since when its call may have been made
        instances: dict[str, str] = {}
        for at_ms, record in [(entry.stamp_ms, record) for entry in self.entries for record in decode_entry(entry.value)]:
            match record:
                case Alive(client=client, instance=instance):
                    instances[client] = instance
                case Asked(id=ask_id, identity=identity, announced=False) if identity == MARK:
                    said[ask_id] = at_ms / 1000
                case Begun(id=ask_id):
                    said[ask_id] = at_ms / 1000
                case Ended(id=ask_id):
                    said.pop(ask_id, None)
        longest_s = 0.0
        for ask_id, at in said.items():
            instance = instances[ask_id.rpartition("-")[0]]
            number = int(instance.removeprefix("owner-"))
            if not any(number == caller for caller, _ in self.calls):
                waited_s = self.killed_at[instance] - at
                longest_s = max(longest_s, waited_s - 2 * owners[number].lag_s - owners[number].frozen_s)
        return longest_s


owners = st.lists(
    st.builds(
        Owner,
        starts_s=st.floats(0, 12),
        lives_s=st.one_of(st.floats(0.01, 3), st.floats(3, 40)),
        lag_s=st.sampled_from((0.0, 0.0, 0.05, 0.7, 3.0)),
        frozen_s=st.sampled_from((0.0, 0.0, 0.01, 1.0, 5.0)),
        fate=st.sampled_from(("killed", "lost", "answered", "void", "not_sent")),
        seed=st.integers(0, 1000),
    ),
    min_size=2,
    max_size=6,
)


def acting(story: Story) -> int:
    return sum(1 for _, fate in story.calls if fate != "void")


@settings(max_examples=full(50), deadline=None, derandomize=True)
@given(owners=owners, announced=st.booleans(), waits_announced=st.booleans(), rules=st.sampled_from((RULES, BUSY)))
@example(
    owners=[Owner(0, 30, 0.7, 0, "answered", 1), Owner(0.1, 30, 0, 0, "answered", 2)], announced=True, waits_announced=False, rules=RULES
)
def test_a_call_that_may_have_acted_is_never_followed_by_another(
    owners: list[Owner], announced: bool, waits_announced: bool, rules: Rules
) -> None:
    story = Story(announced, waits_announced, rules)
    run_virtual(story.play(owners))
    assert acting(story) <= 1, story


@settings(max_examples=full(20), deadline=None, derandomize=True)
@given(owners=owners, lag_s=st.sampled_from((0.0, 0.05)))
def test_whoever_lives_on_makes_the_call_or_knows_of_a_doubt(owners: list[Owner], lag_s: float) -> None:
    last = Owner(60, 60, lag_s, 0, "answered", 1)
    story = Story(announced=True)
    run_virtual(story.play([*owners, last]))
    made = any(number == len(owners) for number, _ in story.calls)
    assert made or story.doubts, "an ask without a beginning leaves no doubt, and a call without an end leaves one"


SHORT = [Owner(1.0, 3.0, 0.0, 0.0, "answered", 1), Owner(5.0, 2.0, 0.0, 0.0, "answered", 2)]


@settings(max_examples=full(40), deadline=None, derandomize=True)
@given(owners=owners)
@example(owners=SHORT)
def test_a_create_that_was_killed_while_it_waited_leaves_no_doubt(owners: list[Owner]) -> None:
    """Only what was called, or would have been within a round trip, is in doubt for whoever comes next."""
    story = Story(announced=False, waits_announced=True, rules=BUSY)
    run_virtual(story.play(owners))
    assert acting(story) <= 1, story
    assert story.needless_s(owners) <= LOG_S


def test_the_judge_sees_a_create_that_waits_unannounced() -> None:
    story = Story(announced=False, rules=BUSY)
    run_virtual(story.play(SHORT))
    assert story.needless_s(SHORT) > LOG_S


def test_the_judge_sees_a_zombie_that_is_not_stopped() -> None:
    """With the check of a beginning left out, a zombie calls beside the new owner."""
    zombie, heir = Owner(0, 60, 0.0, 0, "answered", 1), Owner(2, 60, 0.0, 0, "answered", 2)

    async def play() -> int:
        topic, story = MemoryTopic(), Story(announced=True)
        slow = MemoryLog(topic)
        original = slow.append

        async def append(value: bytes) -> object:
            if b'"begin"' in value:
                await asyncio.sleep(5)  # frozen with the beginning in its hands
            return await original(value)

        slow.append = append  # type: ignore[method-assign,assignment]
        clock = asyncio.get_running_loop().time
        budgets = [
            SharedBudget(log, RULES, ReplicaLimits("o", 5, 100, 60.0), draw=lambda: 0.0, clock=clock) for log in (slow, MemoryLog(topic))
        ]
        tasks = [asyncio.create_task(b.run()) for b in budgets]
        tasks.append(asyncio.create_task(story.serve(0, zombie, budgets[0])))
        await asyncio.sleep(2)
        tasks.append(asyncio.create_task(story.serve(1, heir, budgets[1])))
        await asyncio.sleep(20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for budget in budgets:
            await budget.close()
        return acting(story)

    assert run_virtual(play()) == 1
    begin = Calls.begin
    try:
        Calls.begin = lambda self, ask_id, offset: begin(self, ask_id, offset) or bool(self.get(ask_id))  # type: ignore[method-assign]
        assert run_virtual(play()) == 2
    finally:
        Calls.begin = begin  # type: ignore[method-assign]
