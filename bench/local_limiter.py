"""A processor whose budget is an ``AsyncLimiter`` of its own: what people write who have no shared one. ``LOCAL_PART`` of each limit."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable

import uvloop
from aiolimiter import AsyncLimiter

from processor.budget.permits import Ask, CallIdentity, Ending, LaneCalls, LogPosition, ParkedWait, Permit, Place
from processor.clock import clock_ms
from processor.didit.client import DiditClient
from processor.engine.engine import Engine
from processor.files.fetch import FileReader
from processor.observe.logs import configure_logs
from processor.settings import Settings, load_settings
from processor.stream.group_member import GroupMember
from processor.stream.kept_outcomes import KeptOutcomes
from processor.stream.wakeups import Wakeups


class LocalBudget:
    """As its documentation shows it: ``AsyncLimiter(limit, window)`` for each scope; remembers nothing."""

    def __init__(self, settings: Settings, part: float) -> None:
        self._limiters = {s: AsyncLimiter(limit.limit * part, limit.window_s) for s, limit in settings.rate_limits.items()}
        self._paused_until: dict[str, float] = {}
        self._slots = asyncio.Semaphore(settings.didit.calls_max)

    async def acquire(self, ask: Ask) -> Permit:
        loop = asyncio.get_running_loop()
        while (until := max(self._paused_until.get(s, 0.0) for s in ask.scopes)) > loop.time():
            await asyncio.sleep(until - loop.time())
        for scope in ask.scopes:
            await self._limiters[scope].acquire()
        await self._slots.acquire()
        return Permit("", ask)

    async def claim(self, identity: CallIdentity) -> None:
        return None

    def park(self, place: Place, start: Callable[[], None]) -> ParkedWait:
        raise AssertionError("nobody is sent away")

    def turn_away(self, place: Place, *, aside: bool) -> None:
        return None

    def release(self, permit: Permit, ending: Ending) -> None:
        self._slots.release()

    def pause(self, scope: str, wait_s: float, limit: int | None = None) -> None:
        self._paused_until[scope] = asyncio.get_running_loop().time() + wait_s

    def is_paused(self, endpoint: str) -> bool:
        return False

    def is_down(self, endpoint: str) -> bool:
        return False

    def position(self) -> LogPosition:
        return LogPosition("0" * 8, 0)  # of no log, but a commit must name one

    async def replay_lane(self, lane: str, since: LogPosition | None, unfinished: Callable[[int], bool]) -> LaneCalls:
        return LaneCalls()

    def done(self, lane: str, floor: int, gap_map: bytes) -> None:
        pass

    def forget(self, lane: str) -> None:
        pass

    async def flush(self, within_s: float) -> None:
        """Nothing is to be written."""
        del within_s


async def main() -> None:
    settings = load_settings()
    configure_logs(settings.log)
    budget = LocalBudget(settings, float(os.environ["LOCAL_PART"]))
    async with DiditClient(settings.didit) as client:
        engine = Engine(settings, client, FileReader(settings.files), budget, clock_ms=clock_ms, draw=random.random)
        await GroupMember(settings, engine, budget, Wakeups(lambda _: False), clock_ms, KeptOutcomes()).run()


uvloop.run(main())
