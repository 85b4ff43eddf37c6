"""One simulator without its HTTP server: the state of Didit, the clock, and everything that happens without a call."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from processor.simulator.config import DOCUMENTED_LIMITS, Config, RateLimit
from processor.simulator.faults import FaultInjector
from processor.simulator.ledger import Ledger
from processor.simulator.session import Session
from processor.simulator.state import DiditState
from processor.simulator.timer import ResettableTimer
from processor.simulator.webhook_sender import WebhookSender


class Simulator:
    """The simulated Didit. ``clock`` returns epoch seconds."""

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config
        self.limits = {name: RateLimit(value) for name, value in DOCUMENTED_LIMITS.items()} | dict(config.limits)
        self.ledger = Ledger(self.limits, config.ledger_path)
        self.faults = FaultInjector(config.faults, random.Random(config.seed + 1))  # noqa: S311 - reproducible, no secret
        self.state = DiditState(config, self.ledger)
        self.sessions = self.state.sessions
        webhook_rng = random.Random(config.seed + 3)  # noqa: S311 - as above
        self.webhook_sender = WebhookSender(
            config.webhooks, config.switches, self.ledger, webhook_rng, session_now=self.session_now, wall_now=self.wall_now
        )
        self.sessions.listener = self._changed
        self.clock_offset_s = 0.0
        self._clock = clock
        self._last_now = 0.0
        self._timer = ResettableTimer(self.session_now)

    def _changed(self, session: Session, kind: str, at: float) -> None:
        if session.status == "Expired":
            self.ledger.expire_session(session.session_id, at)
        self.webhook_sender.enqueue(session, kind, at)

    def wall_now(self) -> float:
        """Epoch seconds, never going back."""
        self._last_now = max(self._last_now, self._clock())
        return self._last_now

    def session_now(self) -> float:
        """Epoch seconds for sessions, codes and webhook retries; ``advance_clock`` sets them ahead of ``wall_now``."""
        return self.wall_now() + self.clock_offset_s

    async def run(self) -> None:
        """Let users act, timers run out and webhooks be sent, until cancelled."""
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self.webhook_sender.run())
            while not sending.done():
                self.sessions.advance(self.session_now())
                await self._timer.wait_until(self.sessions.next_due())

    def reschedule(self) -> None:
        """To be called after sessions were changed: one of them may be due earlier than ``run`` waits for."""
        due = self.sessions.next_due()
        if due is not None:
            self._timer.wake(due)

    def advance_clock(self, by_s: float) -> None:
        """Set ``session_now`` further ahead."""
        self.clock_offset_s += max(0.0, by_s)
        self._timer.wake()
        self.webhook_sender.wake()
