"""No window over its limit whatever the log does: it fails, writes late or twice, is emptied or made again; whatever else happens.

Beside lag, losses, cancellations, kills, joins and steps of the broker's clock, as in ``test_property_budget_windows``: see ``Fault``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise

from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_log import MemoryLog, MemoryTopic
from test_property_budget_windows import LATE_S, SCOPES, Server, World

from processor.budget.log import Appended, Entry, LogUnavailableError
from processor.budget.permits import LogPosition, Permit
from processor.budget.shared import SharedBudget

SPAN_S = 160.0
DRIFT = 0.0009  # of each clock: two of them stay within the slack of 0.1 s over a promise and a window
FAULTY = 0.01  # so many appends fail, as many are written although they fail, as many are written much later


class Fault(StrEnum):
    """What is done to a world."""

    REJOIN = "rejoin"  # the log is read and written with errors: lives of the log inside a life of the process
    FREEZE = "freeze"  # a replica stands still between permit and call
    DRIFT = "drift"  # each machine's clock has a pace and an origin of its own
    LIMITS = "limits"  # a replica with lower limits comes and goes
    LOSS = "loss"  # the log is emptied, or made again, under running replicas
    BLACKOUT = "blackout"  # everybody is killed at once, and comes back


class FaultyLog(MemoryLog):
    """A client whose appends fail, also after the record was written, or long before."""

    def __init__(self, topic: MemoryTopic, draw: random.Random) -> None:
        super().__init__(topic)
        self._draw = draw

    async def append(self, value: bytes) -> Appended:
        kind = self._draw.random()
        if kind < FAULTY:
            raise LogUnavailableError("not written")
        if kind < 2 * FAULTY:
            asyncio.get_running_loop().call_later(self._draw.uniform(1, 30), self.topic.put, value)
            raise LogUnavailableError("written much later")
        done = await super().append(value)
        if kind < 3 * FAULTY:
            raise LogUnavailableError("written, and not known to be")
        return done

    async def read(self) -> list[Entry]:
        if self._draw.random() < FAULTY / 10:
            raise LogUnavailableError("a hiccup")
        return await super().read()


@dataclass
class FaultyWorld(World):
    """Each replica owns a lane: its calls begin when the lane is taken over, and its commits name the log."""

    faults: frozenset[Fault] = frozenset()
    _commits: dict[str, LogPosition] = field(default_factory=dict)

    async def _replicas(self, topic: MemoryTopic, server: Server, draw: random.Random) -> None:
        loss = asyncio.create_task(self._lose(topic, draw))
        visit = asyncio.create_task(self._visit(topic, server, draw))
        try:
            await super()._replicas(topic, server, draw)
            await visit
        finally:
            loss.cancel()
            visit.cancel()

    async def _lose(self, topic: MemoryTopic, draw: random.Random) -> None:
        while Fault.LOSS in self.faults:
            await asyncio.sleep(draw.uniform(20, SPAN_S / 2))
            if draw.random() < 0.5:
                topic.purge()
            else:
                topic.recreate()

    async def _visit(self, topic: MemoryTopic, server: Server, draw: random.Random) -> None:
        if Fault.LIMITS in self.faults:
            await asyncio.sleep(draw.uniform(10, SPAN_S / 2))
            lower = {scope: max(1, limit // 2) for scope, limit in self.limits.items()}
            await self.live("visitor", draw.uniform(20, SPAN_S / 2), lower, self.log(topic, draw), server, draw)

    def log(self, topic: MemoryTopic, draw: random.Random) -> MemoryLog:
        return FaultyLog(topic, draw) if Fault.REJOIN in self.faults else MemoryLog(topic)

    def clock(self, draw: random.Random) -> Callable[[], float]:
        time = asyncio.get_running_loop().time
        if Fault.DRIFT not in self.faults:
            return time
        pace, origin = 1 + draw.uniform(-DRIFT, DRIFT), draw.uniform(0, 1e6)
        return lambda: time() * pace + origin

    async def work(self, name: str, budget: SharedBudget, server: Server, draw: random.Random) -> None:
        lane = f"{name}[0]"
        await budget.history.replay_lane(lane, self._commits.get(lane), lambda _: False)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._commit(lane, budget))
            group.create_task(super().work(name, budget, server, draw))

    async def _commit(self, lane: str, budget: SharedBudget) -> None:
        while True:
            self._commits[lane] = budget.history.position()
            await asyncio.sleep(1.0)

    async def _use(self, budget: SharedBudget, permit: Permit, server: Server, draw: random.Random) -> None:
        frozen_s = draw.uniform(0, LATE_S - 0.2) if Fault.FREEZE in self.faults and draw.random() < 0.05 else 0.0
        if frozen_s:
            await asyncio.sleep(frozen_s)
        # the margin is used up once, here or by the server
        await super()._use(budget, permit, replace(server, losses=False) if frozen_s else server, draw)


def lives(draw: random.Random, blackouts_s: list[float]) -> list[float]:
    """Of one replica: ended by kills of its own, and by those of everybody."""
    ends = {*blackouts_s, SPAN_S}
    while draw.random() < 0.5:
        ends.add(draw.uniform(3, SPAN_S))
    moments = [0.0, *sorted(ends)]
    return [after - before for before, after in pairwise(moments)]


def faulty_world(seed: int, always: frozenset[Fault] = frozenset()) -> FaultyWorld:
    """A world with each fault as likely as not, and some for sure."""
    draw = random.Random(seed)
    faults = always | frozenset(fault for fault in Fault if draw.random() < 0.5)
    limits = {scope: draw.choice((draw.randint(1, 8), draw.randint(9, 60), draw.randint(61, 200))) for scope in SCOPES}
    blackouts_s = [draw.uniform(20, SPAN_S - 20) for _ in range(draw.randint(1, 3))] if Fault.BLACKOUT in faults else []
    stalls = [(begin, begin + draw.uniform(1, 5)) for begin in (draw.uniform(0, SPAN_S) for _ in range(draw.randint(0, 2)))]
    return FaultyWorld(limits, seed, [lives(draw, blackouts_s) for _ in range(draw.randint(1, 4))], stalls, faults=faults)


@settings(max_examples=full(6), deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_no_window_is_over_its_limit_whatever_happens_to_the_log(seed: int) -> None:
    world = faulty_world(seed)
    assert world.over() == {}, sorted(world.faults)
