"""The budget of one replica on its own share of every limit. Waiting holds no call slot and ends at once on cancellation.

Every set of scopes has a line of waiters and one dispatcher. The dispatcher takes capacity in all scopes, one after the
other in a fixed order, then a call slot of the process, and only then looks who waits: the best waiter of that moment
gets the permit. When nobody waits and all is there, ``acquire`` takes the permit itself, without a change of tasks.
"""

from __future__ import annotations

import asyncio

import structlog

from processor.budget.gate import AccountGate
from processor.budget.line import Line, Waiter
from processor.budget.permits import BudgetClosedError, CallClass, Fate, Permit, ScopePausedError
from processor.budget.rates import pacer_parameters
from processor.budget.scope import Scope
from processor.budget.units import Units
from processor.settings import BudgetSettings

log = structlog.get_logger(__name__)

_CLOSE_S = 1.0


class LocalBudget:
    """See ``permits.Budget``. To be made inside a running loop.

    The queues are as long as there are callers in ``acquire``; who calls has to bound them.

    Args:
        settings: limits, share and pauses.
        calls_max: calls in flight in this process, over all scopes.
        unknown_hold_s: for how long after its release a call of unknown fate may still be counted by the server.

    Raises:
        LimitTooSmallError: if the share leaves not one call of a limit.
    """

    def __init__(self, settings: BudgetSettings, *, calls_max: int, unknown_hold_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._scopes = {
            name: Scope(name, pacer_parameters(name, s.limit, s.window_s, settings.share), unknown_hold_s)
            for name, s in settings.limits.items()
        }
        self._park_s = settings.pause_park_s
        self._slots = Units(calls_max)
        self._lines: dict[tuple[str, ...], Line] = {}
        self._gate = AccountGate()
        self._closed = False

    async def acquire(self, scopes: tuple[str, ...], call_class: CallClass) -> Permit:
        """See ``permits.Budget.acquire``.

        Raises:
            KeyError: for a scope without a limit.
        """
        if self._closed:
            raise BudgetClosedError
        line = self._lines.get(scopes) or self._line(scopes)
        now = self._loop.time()
        if self._gate.open and self._slots.free and line.can_enter(now):
            return self._enter_now(line)
        paused_s = line.paused_for_s(now)
        if paused_s > self._park_s:
            raise ScopePausedError(paused_s)
        return await self._wait_in(line, call_class)

    def release(self, permit: Permit, fate: Fate) -> None:
        """See ``permits.Budget.release``.

        Raises:
            ValueError: if it was released before.
        """
        if permit.released:
            raise ValueError("a permit was released twice")
        permit.released = True
        self._slots.give()
        if permit.probe:
            self._gate.probe_over()
        for scope in self._lines[permit.scopes].scopes:
            scope.leave(Fate.NOT_SENT if self._closed else fate)  # no timer outlives the budget

    def pause(self, scope: str, wait_s: float) -> None:
        """See ``permits.Budget.pause``; those who wait are told at once if it is long."""
        now = self._loop.time()
        self._scopes[scope].pause(now + wait_s)
        for names, line in self._lines.items():
            if scope in names and (paused_s := line.paused_for_s(now)) > self._park_s:
                line.turn_away(ScopePausedError(paused_s))

    def paused_for_s(self, scopes: tuple[str, ...]) -> float:
        """See ``permits.Budget.paused_for_s``."""
        now = self._loop.time()
        return max((self._scopes[name].paused_for_s(now) for name in scopes), default=0.0)

    def suspend(self, probe_after_s: float) -> None:
        """See ``permits.Budget.suspend``."""
        self._gate.suspend(self._loop.time(), probe_after_s)

    def resume(self) -> None:
        """See ``permits.Budget.resume``."""
        self._gate.resume()

    def snapshot(self) -> dict[str, dict[str, float]]:
        """Per scope: ``limit`` (calls a window), ``in_flight`` (with those held), ``waiting``, ``paused_for_s``."""
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
        """See ``permits.Budget.close``. May be called twice."""
        self._closed = True
        for scope in self._scopes.values():
            scope.close()
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for line in self._lines.values():
            line.turn_away(BudgetClosedError())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_S)

    def _line(self, names: tuple[str, ...]) -> Line:
        line = self._lines[names] = Line(names, self._scopes)
        line.task = self._loop.create_task(self._dispatch(line), name=f"budget {'+'.join(names)}")
        return line

    def _enter_now(self, line: Line) -> Permit:
        for scope in line.scopes:
            scope.enter_now()
        self._slots.take_now()
        return Permit(line.names)

    async def _wait_in(self, line: Line, call_class: CallClass) -> Permit:
        waiter: Waiter = self._loop.create_future()
        ticket = line.queue.push(call_class, waiter)
        line.arrived.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            line.queue.remove(call_class, ticket)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._grant(line, waiter.result())  # it came in the very turn in which the wait was cancelled
            raise

    async def _dispatch(self, line: Line) -> None:
        try:
            while True:
                await line.wait_for_waiters()
                await self._serve(line)
        except Exception as exc:
            # a fault of this module; nobody may wait for a dispatcher that is gone
            log.critical("dispatcher_failed", scopes=line.names, error=type(exc).__name__)
            self._closed = True
            for other in self._lines.values():
                other.turn_away(BudgetClosedError())
            raise

    async def _serve(self, line: Line) -> None:
        """One permit for one waiter. Nothing is held while a pause or the gate is waited for."""
        for scope in line.scopes:
            await scope.wait_pause()
        await self._gate.wait()
        if line.paused_for_s(self._loop.time()):
            return
        for scope in line.scopes:
            await scope.enter()
        await self._slots.take()
        now = self._loop.time()
        # each wait may have let another obstacle arise
        passable = self._gate.passable(now) and not line.paused_for_s(now)
        permit = Permit(line.names, probe=passable and self._gate.enter(now))
        if not passable:
            self.release(permit, Fate.NOT_SENT)
            return
        self._grant(line, permit)
        # several answers often come in one turn of the loop: serve all that can be served in this one
        while line.queue and self._gate.open and self._slots.free and line.admits(now):
            self._grant(line, self._enter_now(line))

    def _grant(self, line: Line, permit: Permit) -> None:
        if line.hand_over(permit):
            return
        self.release(permit, Fate.NOT_SENT)
        if permit.probe:
            self._gate.probe_unused(self._loop.time())
