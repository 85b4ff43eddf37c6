"""No window of a strict sliding-window server over its limit, whatever happens to replicas on one log; judged by the server's log."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_log import MemoryLog, MemoryTopic
from virtual_time import run_virtual

from processor.budget import log_reader
from processor.budget.log import offset_of, place_of
from processor.budget.log_records import Alive, LogRecord, UsualAsk
from processor.budget.permits import Ask, BudgetClosedError, CallClass, CallIdentity, Ending, Fate, HealthSignal, Permit
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.shared import SharedBudget
from processor.budget.state import Rules

WINDOW_S = 20.0
TIMEOUT_S = 6.0
LATE_S = 6.0
SKEW_S = 2.0
SCOPES = ("session-create", "session-decision", "generic-write", "generic-get")
LINES = {
    "create": ("session-create", "generic-write"),
    "decision": ("session-decision", "generic-get"),
    "list": ("generic-get",),
    "write": ("generic-write",),
}


@dataclass
class Server:
    """Counts each call at a moment of its choice and answers later."""

    draw: random.Random
    stalls: list[tuple[float, float]] = field(default_factory=list)  # what is sent in one is counted at its end
    losses: bool = True
    latency_s: float | None = None  # None: a heavy tail
    counted_at: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def receive(self, scopes: tuple[str, ...], at: float) -> tuple[float, Ending]:
        """How long the client waits for its answer, and what it knows then."""
        kind = self.draw.random() if self.losses else 1.0
        if kind < 0.03:
            return 0.01, Ending(Fate.NOT_SENT, HealthSignal.NEUTRAL)
        latency_s = min(TIMEOUT_S, self.draw.lognormvariate(-1.5, 1.2)) if self.latency_s is None else self.latency_s
        arrives = max([at + latency_s * self.draw.random(), *(end for begin, end in self.stalls if begin <= at < end)])
        lost = kind < 0.06
        if lost:
            arrives = max(arrives, at + self.draw.uniform(0, TIMEOUT_S + LATE_S - 0.1))
        for scope in scopes:
            self.counted_at[scope].append(arrives)
        answered_s = max(latency_s, arrives - at)
        if lost or answered_s > TIMEOUT_S:
            return TIMEOUT_S, Ending(Fate.UNKNOWN, HealthSignal.NEUTRAL)
        return answered_s, Ending(Fate.ANSWERED, HealthSignal.GOOD, acted=True)

    def most_in_a_window(self, scope: str) -> int:
        moments, first, most = sorted(self.counted_at[scope]), 0, 0
        for last, moment in enumerate(moments):
            while moments[first] <= moment - WINDOW_S:
                first += 1
            most = max(most, last - first + 1)
        return most


class EarlierBudget(SharedBudget):
    """Of the version before: it reads no entries of several records, and does not say that it does."""

    def _alive(self, *, lost: bool, log_name: str = "") -> Alive:
        self._writer.may_group = lambda: False
        return replace(super()._alive(lost=lost, log_name=log_name), reads_groups=False)

    def apply_usual(self, ask: UsualAsk, place: int, at: float, stamp_ms: int) -> bool:  # noqa: ARG002 - whatever it is
        return False

    def apply_answered(self, ask_id: str, at: float, stamp_ms: int, *, acted: bool) -> bool:  # noqa: ARG002 - as above
        return False

    def apply_record(self, record: LogRecord, place: int, at: float, stamp_ms: int) -> None:
        assert place_of(offset_of(place), 0) == place, "it would be skipped"
        super().apply_record(record, place, at, stamp_ms)


@dataclass
class World:
    """Replicas on one log. Each has lives, one after the other; a life ends as SIGKILL would end it."""

    limits: dict[str, int]
    seed: int
    lives_s: list[list[float]]  # by replica
    stalls: list[tuple[float, float]] = field(default_factory=list)
    unkind: bool = True
    callers: int = 4
    latency_s: float | None = None
    rules: Callable[[Rules], Rules] = lambda rules: rules
    bursts: Sequence[tuple[float, int, str, float]] = ()  # when, on which replica, of what, calls as a part of the limit
    earlier: int = 0  # so many replicas begin with a life of the version before, that reads no groups

    def play(self) -> Server:
        return run_virtual(self._play())

    def over(self) -> dict[str, int]:
        """Scopes over their limit."""
        server = self.play()
        return {s: server.most_in_a_window(s) for s in SCOPES if server.most_in_a_window(s) > self.limits[s]}

    async def _play(self) -> Server:
        draw = random.Random(self.seed)
        start = asyncio.get_running_loop().time()
        server = Server(draw, [(start + a, start + b) for a, b in self.stalls], self.unkind, self.latency_s)
        topic = MemoryTopic(delay_s=lambda: draw.expovariate(100) if draw.random() > 0.02 or not self.unkind else draw.uniform(0, 15))
        topic.doubles = lambda: self.unkind and draw.random() < 0.02
        clock = asyncio.create_task(self._step_clock(topic, draw))
        try:
            await self._replicas(topic, server, draw)
        finally:
            clock.cancel()
        return server

    async def _step_clock(self, topic: MemoryTopic, draw: random.Random) -> None:
        while self.unkind:
            await asyncio.sleep(draw.expovariate(0.1))
            topic.skew_s = draw.uniform(-SKEW_S / 2, SKEW_S / 2)

    async def _replicas(self, topic: MemoryTopic, server: Server, draw: random.Random) -> None:
        async with asyncio.TaskGroup() as group:
            for number, lives_s in enumerate(self.lives_s):
                replica = group.create_task(self._replica(number, lives_s, topic, server, draw))
                while number < self.earlier and not (topic.entries or replica.done()):
                    await asyncio.sleep(0.1)  # the others come when they can read that an earlier version is there

    async def _replica(self, number: int, lives_s: list[float], topic: MemoryTopic, server: Server, draw: random.Random) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for life, life_s in enumerate(lives_s):
            waits = ((begun + at - loop.time(), endpoint, part) for at, r, endpoint, part in self.bursts if r % len(self.lives_s) == number)
            bursts = [(wait_s, endpoint, part) for wait_s, endpoint, part in waits if wait_s >= 0]
            version = EarlierBudget if number < self.earlier and life == 0 else SharedBudget
            await self.live(f"r{number}", life_s, self.limits, self.log(topic, draw), server, draw, bursts, version)

    async def live(
        self,
        name: str,
        life_s: float,
        limits: dict[str, int],
        log: MemoryLog,
        server: Server,
        draw: random.Random,
        bursts: Sequence[tuple[float, str, float]] = (),
        version: type[SharedBudget] = SharedBudget,
    ) -> None:
        """One life of a process."""
        log.lag_s = draw.choice((0.0, 0.01, 0.3)) if self.unkind else 0.0
        place = ReplicaLimits(name, calls_max=50, queue_max=100, park_s=2.0)
        budget = version(log, self.rules_now(limits), place, draw=draw.random, clock=self.clock(draw))
        tasks = [asyncio.create_task(budget.run()), asyncio.create_task(self.work(name, budget, server, draw))]
        tasks += [asyncio.create_task(self._disturb(budget, log, draw))] if self.unkind else []
        tasks += [asyncio.create_task(self._burst(*burst, budget, server, draw)) for burst in bursts]
        await asyncio.sleep(life_s)
        if not self.unkind:  # a broker's clock that is stepped may raise a false alarm
            assert not budget.state.overrun.counts, "the second opinion, from the log alone"
        log.cut = True  # a kill: nothing more is told to anybody, what was sent is on its way
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
        await budget.close()

    def log(self, topic: MemoryTopic, draw: random.Random) -> MemoryLog:  # noqa: ARG002 - other worlds draw its faults
        """What one life of a process reads and writes."""
        return MemoryLog(topic)

    def clock(self, draw: random.Random) -> Callable[[], float]:  # noqa: ARG002 - other worlds draw its error
        """Of one life of a process."""
        return asyncio.get_running_loop().time

    async def work(self, name: str, budget: SharedBudget, server: Server, draw: random.Random) -> None:  # noqa: ARG002 - of other worlds
        """Call for as long as the process lives."""
        async with asyncio.TaskGroup() as group:
            for endpoint in LINES:
                for _ in range(self.callers):
                    group.create_task(self.call(budget, server, draw, endpoint))

    def rules_now(self, told: dict[str, int]) -> Rules:
        limits = {s: (limit, WINDOW_S) for s, limit in told.items()}
        return self.rules(Rules(limits, 8.0, TIMEOUT_S + LATE_S, LATE_S, 0.1, SKEW_S, 60.0, 3600.0, 10, 5.0, 1.0))

    async def call(self, budget: SharedBudget, server: Server, draw: random.Random, endpoint: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            number = int(draw.random() * 1e9)
            mark = CallIdentity(f"{number}", "content", f"{number}", "t[0]", number)
            announced = self.unkind and draw.random() < 0.3
            ask = Ask(endpoint, LINES[endpoint], draw.choice(tuple(CallClass)), int(loop.time()), mark, announced=announced)
            try:
                async with asyncio.timeout(draw.choice((0.001, 0.5, 5.0, 60.0)) if self.unkind else None):
                    permit = await budget.acquire(ask)
            except (TimeoutError, BudgetClosedError):
                permit = None
            if not isinstance(permit, Permit):
                await asyncio.sleep(0.05)
                continue
            await self._use(budget, permit, server, draw)
            if self.unkind and draw.random() < 0.02:
                await asyncio.sleep(draw.uniform(0, 30))  # idle, then busy again

    async def _burst(self, wait_s: float, endpoint: str, part: float, budget: SharedBudget, server: Server, draw: random.Random) -> None:
        await asyncio.sleep(wait_s)

        async def once() -> None:
            permit = await budget.acquire(Ask(endpoint, LINES[endpoint], CallClass.NORMAL, 0))
            if isinstance(permit, Permit):
                await self._use(budget, permit, server, draw)

        count = int(part * min(self.limits[s] for s in LINES[endpoint]))
        await asyncio.gather(*(once() for _ in range(count)))
        await asyncio.Event().wait()  # a life ends it, as it ends the others

    async def _use(self, budget: SharedBudget, permit: Permit, server: Server, draw: random.Random) -> None:
        ending = Ending(Fate.UNKNOWN)
        try:
            wait_s, known = server.receive(permit.ask.scopes, asyncio.get_running_loop().time())
            if self.unkind and draw.random() < 0.05 and known.fate is not Fate.NOT_SENT:
                wait_s, known = wait_s * draw.random(), Ending(Fate.UNKNOWN)  # cancelled
            await asyncio.sleep(wait_s)
            ending = known
        finally:
            budget.release(permit, ending)

    async def _disturb(self, budget: SharedBudget, log: MemoryLog, draw: random.Random) -> None:
        while True:
            await asyncio.sleep(draw.expovariate(0.1))
            with contextlib.suppress(KeyError):
                budget.pause(draw.choice(SCOPES), draw.uniform(0, 4))
            if draw.random() < 0.2:  # it reads nothing for a while, and then much at once
                lag_s, log.lag_s = log.lag_s, draw.uniform(1, 10)
                await asyncio.sleep(12)
                log.lag_s = lag_s


limits = st.fixed_dictionaries({s: st.one_of(st.integers(1, 8), st.integers(9, 60), st.integers(61, 200)) for s in SCOPES})
stalls = st.lists(st.tuples(st.floats(0, 80), st.floats(1, 5)).map(lambda s: (s[0], s[0] + s[1])), max_size=3)
lives = st.lists(st.one_of(st.just([100.0]), st.floats(5, 95).map(lambda s: [s, 100 - s])), min_size=1, max_size=3)


@settings(max_examples=full(25), deadline=None, derandomize=True)
@given(limits=limits, seed=st.integers(0, 2**32), stalls=stalls, lives_s=lives)
def test_stalls_losses_cancellations_joins_and_kills(
    limits: dict[str, int], seed: int, stalls: list[tuple[float, float]], lives_s: list[list[float]]
) -> None:
    assert World(limits, seed, lives_s, stalls).over() == {}


@settings(max_examples=full(5), deadline=None, derandomize=True)
@given(limits=limits, seed=st.integers(0, 2**32), lives_s=lives.filter(lambda found: len(found) > 1))
def test_a_fleet_of_two_versions(limits: dict[str, int], seed: int, lives_s: list[list[float]]) -> None:
    assert World(limits, seed, lives_s, earlier=1).over() == {}


@settings(max_examples=full(8), deadline=None, derandomize=True)
@given(limits=limits, seed=st.integers(0, 2**32), lives_s=st.lists(st.floats(0.1, 6), min_size=5, max_size=15))
def test_a_crash_loop(limits: dict[str, int], seed: int, lives_s: list[float]) -> None:
    assert World(limits, seed, [lives_s, [60.0]]).over() == {}


bursts = st.lists(
    st.tuples(st.floats(0, 90), st.integers(0, 2), st.sampled_from(tuple(LINES)), st.floats(0.2, 1.5)), min_size=1, max_size=6
)


@settings(max_examples=full(12), deadline=None, derandomize=True)
@given(limits=limits, seed=st.integers(0, 2**32), bursts=bursts, lives_s=lives, unkind=st.booleans())
def test_bursts_out_of_idle_windows(
    limits: dict[str, int], seed: int, bursts: list[tuple[float, int, str, float]], lives_s: list[list[float]], unkind: bool
) -> None:
    assert World(limits, seed, lives_s, unkind=unkind, callers=1, bursts=bursts).over() == {}


@pytest.mark.parametrize(
    ("limit", "latency_s", "replicas"),
    [
        (40, 0.1, 1),
        pytest.param(100, 0.1, 3, marks=pytest.mark.slow),
        pytest.param(100, None, 2, marks=pytest.mark.slow),
    ],
)
def test_the_limit_is_reached_and_not_passed_while_work_waits(limit: int, latency_s: float | None, replicas: int) -> None:
    world = World(dict.fromkeys(SCOPES, limit), 7, [[300.0]] * replicas, unkind=False, callers=20, latency_s=latency_s)
    server = world.play()
    mean_s = latency_s or 0.5
    for scope in ("generic-write", "generic-get"):  # two lines each compete for them
        counted = [at for at in server.counted_at[scope] if 1060 <= at < 1260]
        assert len(counted) >= 0.97 * limit * 200 / (WINDOW_S + mean_s)
        assert server.most_in_a_window(scope) <= limit


def test_all_of_the_budget_goes_to_the_one_who_has_work() -> None:
    async def play() -> Server:
        world = World(dict.fromkeys(SCOPES, 60), 3, [], unkind=False, latency_s=0.05)
        draw, topic = random.Random(3), MemoryTopic()
        server = Server(draw, losses=False, latency_s=0.05)
        place = ReplicaLimits("replica", calls_max=50, queue_max=100, park_s=2.0)
        clock = asyncio.get_running_loop().time
        budgets = [SharedBudget(MemoryLog(topic), world.rules_now(world.limits), place, draw=draw.random, clock=clock) for _ in range(6)]
        tasks = [asyncio.create_task(b.run()) for b in budgets]
        tasks += [asyncio.create_task(world.call(budgets[0], server, draw, "create")) for _ in range(30)]
        await asyncio.sleep(200)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for budget in budgets:
            await budget.close()
        return server

    server = run_virtual(play())
    counted = [at for at in server.counted_at["session-create"] if 1040 <= at < 1180]
    assert len(counted) >= 0.97 * 60 * 140 / (WINDOW_S + 0.05)
    assert server.most_in_a_window("session-create") <= 60


def restless(seed: int) -> World:
    """Restarts at full load, and answers that take a while."""
    return World(dict.fromkeys(SCOPES, 20), seed, [[25.0, 25.0, 25.0, 25.0], [17.0, 30.0, 40.0]], callers=20)


def seen(worlds: int = 5) -> bool:
    return any(restless(seed).over() for seed in range(worlds))


@pytest.mark.slow
def test_the_judge_sees_a_newcomer_that_does_not_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not seen(full(5))
    monkeypatch.setattr(Rules, "replay_s", 0.0)
    monkeypatch.setattr(log_reader, "_LEAST_REPLAYED", 0)
    monkeypatch.setattr(log_reader, "_PAUSES_S", 0.0)
    assert seen()


def test_the_judge_sees_an_end_that_is_said_before_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def early(self: World, budget: SharedBudget, permit: Permit, server: Server, draw: random.Random) -> None:
        wait_s, known = server.receive(permit.ask.scopes, asyncio.get_running_loop().time())
        budget.release(permit, Ending(known.fate) if self and draw else known)
        await asyncio.sleep(wait_s)

    stalled = World(dict.fromkeys(SCOPES, 20), 1, [[100.0]], [(41.0, 46.0)], unkind=False, callers=20, latency_s=0.05)
    assert stalled.over() == {}
    monkeypatch.setattr(World, "_use", early)
    assert stalled.over() != {}


@pytest.mark.slow
def test_the_judge_sees_a_promise_that_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rules, "promise_s", 0.5)
    assert seen(25)  # one world in five shows it
