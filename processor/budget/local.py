"""The budget of one replica on its own share of every limit. Waiting holds no call slot and ends at once on cancellation."""

from __future__ import annotations

import asyncio

from processor.budget.classes import ClassQueue
from processor.budget.gate import AccountGate
from processor.budget.permits import BudgetClosedError, CallClass, Fate, Permit, ScopePausedError
from processor.budget.rates import pacer_parameters
from processor.budget.scope import Scope
from processor.settings import BudgetSettings

_Waiter = asyncio.Future[Permit]


class _Line:
    """Those who wait for the same set of scopes, and the task that gets permits for them."""

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        self.scopes = scopes
        self.queue: ClassQueue[_Waiter] = ClassQueue()
        self.arrived = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class LocalBudget:
    """See ``permits.Budget``. To be made inside a running loop.

    Args:
        settings: limits, share and pauses.
        calls_max: calls in flight in this process, over all scopes.
        unknown_hold_s: for how long a call of unknown fate may still be counted by the server.

    Raises:
        LimitTooSmallError: if the share leaves too little of a limit.
    """

    def __init__(self, settings: BudgetSettings, *, calls_max: int, unknown_hold_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._scopes = {
            name: Scope(name, pacer_parameters(name, s.limit, s.window_s, settings.share)) for name, s in settings.limits.items()
        }
        self._park_s, self._unknown_hold_s = settings.pause_park_s, unknown_hold_s
        self._slots_free = calls_max
        self._slot_freed = asyncio.Event()
        self._lines: dict[tuple[str, ...], _Line] = {}
        self._gate = AccountGate()
        self._holds: set[asyncio.TimerHandle] = set()
        self._closed = False

    async def acquire(self, scopes: tuple[str, ...], call_class: CallClass) -> Permit:
        """See ``permits.Budget.acquire``."""
        if self._closed:
            raise BudgetClosedError
        paused_s = self.paused_for_s(scopes)
        if paused_s > self._park_s:
            raise ScopePausedError(paused_s)
        line = self._line(scopes)
        if not len(line.queue) and self._may_enter_now(line):
            for scope in line.scopes:
                scope.enter_now()
            self._slots_free -= 1
            return Permit(scopes)
        waiter: _Waiter = self._loop.create_future()
        ticket = line.queue.push(call_class, waiter)
        line.arrived.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            line.queue.remove(call_class, ticket)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result(), Fate.NOT_SENT)  # granted in the very turn in which it was cancelled
            raise

    def release(self, permit: Permit, fate: Fate) -> None:
        """See ``permits.Budget.release``."""
        if permit.released:
            raise ValueError("a permit was released twice")
        permit.released = True
        self._slots_free += 1
        self._slot_freed.set()
        if permit.probe:
            self._gate.probe_over(self._loop.time())
        if fate is Fate.UNKNOWN:
            self._hold(permit)
        else:
            self._leave(permit)

    def pause(self, scope: str, wait_s: float) -> None:
        """See ``permits.Budget.pause``; those who wait are told at once if it is long."""
        self._scopes[scope].pause(self._loop.time() + wait_s)
        if wait_s <= self._park_s:
            return
        for names, line in self._lines.items():
            if scope in names:
                for waiter in line.queue.clear():
                    if not waiter.done():
                        waiter.set_exception(ScopePausedError(wait_s))

    def paused_for_s(self, scopes: tuple[str, ...]) -> float:
        """Seconds until none of the scopes is paused."""
        now = self._loop.time()
        return max(self._scopes[name].paused_for_s(now) for name in scopes)

    def suspend(self, probe_after_s: float) -> None:
        """See ``permits.Budget.suspend``."""
        self._gate.suspend(self._loop.time() + probe_after_s)

    def resume(self) -> None:
        """See ``permits.Budget.resume``."""
        self._gate.resume()

    def snapshot(self) -> dict[str, dict[str, float]]:
        """Per scope: limit, in flight, waiting, seconds of pause left."""
        now = self._loop.time()
        return {
            name: {
                "limit": scope.parameters.limit,
                "in_flight": scope.in_flight,
                "waiting": sum(len(line.queue) for names, line in self._lines.items() if name in names),
                "paused_for_s": scope.paused_for_s(now),
            }
            for name, scope in self._scopes.items()
        }

    async def close(self) -> None:
        """End everything; whoever waits gets ``BudgetClosedError``."""
        self._closed = True
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for task in tasks:
            task.cancel()
        for hold in self._holds:
            hold.cancel()
        self._holds.clear()
        for line in self._lines.values():
            for waiter in line.queue.clear():
                if not waiter.done():
                    waiter.set_exception(BudgetClosedError())
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    def _line(self, names: tuple[str, ...]) -> _Line:
        line = self._lines.get(names)
        if line is None:
            # the slowest first, so that a permit of the quick ones is not held while the slow one is waited for;
            # one order for all, so that no two can wait for each other
            scopes = sorted((self._scopes[name] for name in names), key=lambda s: (s.parameters.rate_per_s, s.name))
            line = self._lines[names] = _Line(tuple(scopes))
            line.task = self._loop.create_task(self._dispatch(line), name=f"budget {'+'.join(names)}")
        return line

    def _may_enter_now(self, line: _Line) -> bool:
        now = self._loop.time()
        return self._slots_free > 0 and self._gate.open and all(scope.can_enter(now) for scope in line.scopes)

    async def _dispatch(self, line: _Line) -> None:
        names = tuple(scope.name for scope in line.scopes)
        while True:
            line.arrived.clear()
            if not len(line.queue):
                await line.arrived.wait()
            for scope in line.scopes:
                await scope.enter()
            permit = Permit(names, probe=await self._ready(line))
            self._slots_free -= 1
            waiter = line.queue.pop()
            while waiter is not None and waiter.done():
                waiter = line.queue.pop()
            if waiter is None:
                self.release(permit, Fate.NOT_SENT)
            else:
                waiter.set_result(permit)

    async def _ready(self, line: _Line) -> bool:
        """Wait until nothing stands in the way any more; whether the permit is the probe of a suspended account."""
        while True:
            while self._slots_free <= 0:
                self._slot_freed.clear()
                await self._slot_freed.wait()
            for scope in line.scopes:
                await scope.wait_pause()
            probe = await self._gate.enter()
            # each wait may have let another obstacle arise
            now = self._loop.time()
            if self._slots_free > 0 and not any(scope.paused_for_s(now) for scope in line.scopes):
                return probe
            if probe:
                self._gate.probe_over(now)

    def _hold(self, permit: Permit) -> None:
        handle: asyncio.TimerHandle

        def over() -> None:
            self._holds.discard(handle)
            self._leave(permit)

        handle = self._loop.call_later(self._unknown_hold_s, over)
        self._holds.add(handle)

    def _leave(self, permit: Permit) -> None:
        for name in permit.scopes:
            self._scopes[name].leave()
