"""No window of a strict sliding-window server over its limit, whatever happens; judged by the server's own log."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run_virtual

from processor.budget import local, rates, scope
from processor.budget.local import LocalBudget
from processor.budget.permits import BudgetClosedError, CallClass, Fate, ScopePausedError
from processor.settings import BudgetSettings, ScopeLimit

WINDOW_S = 20.0
TIMEOUT_S = 12.0
HOLD_S = 15.0
NAMES = ("session-create", "session-decision", "generic-write", "generic-get")
LINES = (("session-create", "generic-write"), ("session-decision", "generic-get"), ("generic-get",), ("generic-write",))


@dataclass
class Server:
    """Counts each call at a moment of its choice and answers later."""

    draw: random.Random
    stalls: list[tuple[float, float]] = field(default_factory=list)  # what is sent in one is counted at its end
    prompt: bool = False  # counts on sending
    losses: bool = True
    latency_s: float | None = None  # None: a heavy tail
    counted_at: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def receive(self, scopes: tuple[str, ...], at: float) -> tuple[float, Fate]:
        """How long the client waits for its answer, and what it knows then."""
        kind = self.draw.random() if self.losses else 1.0
        if kind < 0.05:
            return 0.01, Fate.NOT_SENT
        latency_s = min(TIMEOUT_S, self.draw.lognormvariate(-1.5, 1.2)) if self.latency_s is None else self.latency_s
        arrives = at if self.prompt else at + latency_s * self.draw.random()
        arrives = max([arrives, *(end for begin, end in self.stalls if begin <= at < end)])
        lost = kind < 0.08
        if lost and not self.prompt:
            arrives = max(arrives, at + self.draw.uniform(0, TIMEOUT_S + HOLD_S - 0.1))
        for name in scopes:
            self.counted_at[name].append(arrives)
        answered_s = max(latency_s, arrives - at)
        if lost or answered_s > TIMEOUT_S:
            return TIMEOUT_S, Fate.UNKNOWN
        return answered_s, Fate.ANSWERED

    def most_in_a_window(self, name: str) -> int:
        moments, first, most = sorted(self.counted_at[name]), 0, 0
        for last, moment in enumerate(moments):
            while moments[first] < moment - WINDOW_S:
                first += 1
            most = max(most, last - first + 1)
        return most


@dataclass
class World:
    limits: dict[str, int]
    seed: int
    lives_s: list[float]
    stalls: list[tuple[float, float]] = field(default_factory=list)
    prompt: bool = False
    unkind: bool = True
    callers: int = 6
    latency_s: float | None = None

    def play(self) -> Server:
        return run_virtual(self._play())

    async def _play(self) -> Server:
        loop, draw = asyncio.get_running_loop(), random.Random(self.seed)
        start = loop.time()
        server = Server(draw, [(start + a, start + b) for a, b in self.stalls], self.prompt, self.unkind, self.latency_s)
        for life_s in self.lives_s:
            budget = self._budget()
            tasks = [asyncio.create_task(self._call(budget, server, draw, line)) for line in LINES for _ in range(self.callers)]
            if self.unkind:
                tasks += [asyncio.create_task(self._disturb(budget, draw))]
            await asyncio.sleep(life_s)
            # a kill: nothing is told to anybody, what was sent is on its way
            budget.release = lambda *_: None  # type: ignore[method-assign]
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
            await budget.close()
        return server

    def _budget(self) -> LocalBudget:
        limits = {name: ScopeLimit(limit=limit, window_s=WINDOW_S) for name, limit in self.limits.items()}
        return LocalBudget(BudgetSettings(limits=limits, pause_park_s=2.0), calls_max=50, unknown_hold_s=HOLD_S)

    async def _call(self, budget: LocalBudget, server: Server, draw: random.Random, line: tuple[str, ...]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(draw.choice((0.001, 0.5, 5.0, 60.0)) if self.unkind else None):
                    permit = await budget.acquire(line, draw.choice(tuple(CallClass)))
            except (TimeoutError, ScopePausedError, BudgetClosedError):
                await asyncio.sleep(0.05)
                continue
            fate = Fate.UNKNOWN
            try:
                wait_s, known = server.receive(line, loop.time())
                if self.unkind and draw.random() < 0.05:
                    wait_s, known = wait_s * draw.random(), Fate.UNKNOWN if known is not Fate.NOT_SENT else known  # cancelled
                await asyncio.sleep(wait_s)
                fate = known
            finally:
                budget.release(permit, fate)
            if self.unkind and draw.random() < 0.02:
                await asyncio.sleep(draw.uniform(0, 30))  # idle, then busy again

    async def _disturb(self, budget: LocalBudget, draw: random.Random) -> None:
        while True:
            await asyncio.sleep(draw.expovariate(0.2))
            match draw.randrange(4):
                case 0:
                    budget.pause(draw.choice(NAMES), draw.uniform(0, 4))
                case 1:
                    budget.suspend(draw.uniform(0.1, 2))
                case _:
                    budget.resume()


limits = st.fixed_dictionaries({name: st.one_of(st.integers(1, 8), st.integers(9, 60), st.integers(61, 200)) for name in NAMES})
stalls = st.lists(st.tuples(st.floats(0, 80), st.floats(1, 20)).map(lambda s: (s[0], s[0] + s[1])), max_size=3)


@settings(max_examples=40, deadline=None)
@given(limits=limits, seed=st.integers(0, 2**32), stalls=stalls, killed_at=st.floats(5, 95))
def test_stalls_losses_cancellations_and_a_kill(
    limits: dict[str, int], seed: int, stalls: list[tuple[float, float]], killed_at: float
) -> None:
    server = World(limits, seed, [killed_at, 100 - killed_at], stalls).play()
    assert server.counted_at, "nothing was called"
    assert {name: server.most_in_a_window(name) for name in NAMES if server.most_in_a_window(name) > limits[name]} == {}


@settings(max_examples=15, deadline=None)
@given(limits=limits, seed=st.integers(0, 2**32), lives_s=st.lists(st.floats(0.1, 6), min_size=5, max_size=25))
def test_a_crash_loop(limits: dict[str, int], seed: int, lives_s: list[float]) -> None:
    server = World(limits, seed, lives_s, prompt=True).play()
    assert {name: server.most_in_a_window(name) for name in NAMES if server.most_in_a_window(name) > limits[name]} == {}


@pytest.mark.parametrize(("limit", "latency_s"), [(40, 0.3), (100, 0.3), (100, None), (600, None)])
def test_more_than_85_percent_is_used_while_work_waits(limit: int, latency_s: float | None) -> None:
    server = World(dict.fromkeys(NAMES, limit), 7, [400.0], unkind=False, callers=30, latency_s=latency_s).play()
    for name in ("generic-write", "generic-get"):  # two lines each compete for them
        counted = [at for at in server.counted_at[name] if 1100 <= at < 1400]
        assert len(counted) >= 0.85 * limit * 300 / WINDOW_S
        assert server.most_in_a_window(name) <= limit


def worst_case() -> World:
    """A stall, a kill in its midst, a new life that fills its own part of the flight, then a busy window."""
    limits = dict.fromkeys(NAMES, 60)
    return World(limits, 1, [30.0, 60.0], [(20.0, 40.0)], unkind=False, callers=40, latency_s=0.01, prompt=True)


def test_the_bound_is_reached() -> None:
    server = worst_case().play()
    assert max(server.most_in_a_window(name) for name in NAMES) == 60


def over(world: World) -> bool:
    server = world.play()
    return any(server.most_in_a_window(name) > world.limits[name] for name in NAMES)


def test_the_judge_sees_a_budget_without_a_cap_on_calls_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    def uncapped(name: str, limit: int, window_s: float, share: float) -> rates.PacerParameters:
        p = rates.pacer_parameters(name, limit, window_s, share)
        return rates.PacerParameters(p.limit, window_s, p.burst, p.rate_per_s, 10**6)

    monkeypatch.setattr(local, "pacer_parameters", uncapped)
    assert over(worst_case())


def test_the_judge_sees_a_budget_that_begins_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty(scope.StartedFullLimiter):
        def __init__(self, burst: int, rate_per_s: float) -> None:
            super().__init__(burst, rate_per_s)
            self._level = 0.0

    monkeypatch.setattr(scope, "StartedFullLimiter", Empty)
    assert over(World(dict.fromkeys(NAMES, 30), 1, [0.3] * 60, prompt=True, unkind=False))


def test_the_judge_sees_a_budget_that_forgets_the_former_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(name: str, limit: int, window_s: float, share: float) -> rates.PacerParameters:
        p = rates.pacer_parameters(name, limit, window_s, share)
        rate_per_s = p.rate_per_s + p.in_flight_max / window_s
        return rates.PacerParameters(p.limit, window_s, p.burst, rate_per_s, p.in_flight_max)

    monkeypatch.setattr(local, "pacer_parameters", forgetful)
    assert over(worst_case())
