"""One simulator: the state of Didit, its clock, and what happens by itself (users, timers, webhooks). No HTTP server; see ``app``."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from processor.simulator.config import DOCUMENTED_LIMITS, Config, Limit
from processor.simulator.faults import Faults
from processor.simulator.ledger import Ledger
from processor.simulator.state import State
from processor.simulator.timer import Alarm
from processor.simulator.webhook_sender import Sender


class Simulator:
    """The state of Didit, its clock, and what happens without a call."""

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.config, self._clock = config, clock
        self.limits = {name: Limit(value) for name, value in DOCUMENTED_LIMITS.items()} | dict(config.limits)
        self.ledger = Ledger(self.limits, config.ledger_path)
        self.faults = Faults(config.faults, random.Random(config.seed + 1))  # noqa: S311 - reproducible, no secret
        self.state = State(config, self.ledger)
        self.sessions = self.state.sessions
        draws = random.Random(config.seed + 3)  # noqa: S311 - as above
        self.sender = Sender(config.hooks, config.switches, self.ledger, draws, self.time, self.now)
        self.sessions.listener = self.sender.changed
        self.living: asyncio.Task[None] | None = None  # ``run``, as the server has started it
        self.ahead_s = 0.0  # timers of sessions run so much ahead of the clock
        self._alarm = Alarm(self.time)
        self._last = 0.0

    def now(self) -> float:
        """Epoch seconds, never going back."""
        self._last = max(self._last, self._clock())
        return self._last

    def time(self) -> float:
        """Epoch seconds as sessions see them."""
        return self.now() + self.ahead_s

    async def run(self) -> None:
        """Do what users and time do, and send the webhooks, until cancelled."""
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self.sender.run())
            while not sending.done():
                self.sessions.advance(self.time())
                await self._alarm.until(self.sessions.next_due())

    def touched(self) -> None:
        """Sessions were changed: their next change may come earlier than it was waited for."""
        due = self.sessions.next_due()
        if due is not None:
            self._alarm.ring(due)

    def put_forward(self, by_s: float) -> None:
        """Advance the clock of sessions."""
        self.ahead_s += max(0.0, by_s)
        self._alarm.ring()
        self.sender.clock_moved()
