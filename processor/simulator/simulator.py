"""One simulator without its HTTP server: the state of Didit, the clock, and everything that happens without a call."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from processor.simulator.config import DOCUMENTED_LIMITS, Config, RateLimit
from processor.simulator.faults import FaultInjector
from processor.simulator.ledger import Ledger
from processor.simulator.limits import RateLimiter
from processor.simulator.session import Session
from processor.simulator.state import DiditState
from processor.simulator.timer import ResettableTimer
from processor.simulator.webhook_sender import WebhookSender


class Simulator:
    """The simulated Didit. ``clock`` returns epoch seconds."""

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.first_config = config
        self._clock = clock
        self._last_now = 0.0
        self._timer = ResettableTimer(self.session_now)
        self._begin(config, Ledger(_limits_of(config), config.ledger_path))

    def _begin(self, config: Config, ledger: Ledger) -> None:
        self.config = config
        self.limits = _limits_of(config)
        self.ledger = ledger
        self.limiter = RateLimiter(self.limits, rejected_count=config.switches.rejected_calls_count)
        self.faults = FaultInjector(config.faults, random.Random(config.seed + 1))  # noqa: S311 - reproducible, no secret
        self.state = DiditState(config, ledger)
        self.sessions = self.state.sessions
        webhook_rng = random.Random(config.seed + 3)  # noqa: S311 - as above
        self.webhook_sender = WebhookSender(
            config.webhooks,
            config.switches,
            ledger,
            webhook_rng,
            self.state.destinations,
            session_now=self.session_now,
            wall_now=self.wall_now,
        )
        self.state.webhook_endpoints.resend = self.webhook_sender.resend
        self.sessions.listener = self._changed
        self.clock_offset_s = 0.0

    def reset(self, **changes: Any) -> None:
        """Forget everything and begin again as at the start; ``changes`` of members of ``Config`` hold until the next reset.

        A call that is under way is cut off without effect, a webhook that is not yet sent never is. The ledger's file goes on.
        """
        config = replace(self.first_config, **changes)
        self._begin(config, self.ledger.successor(_limits_of(config)))
        self._timer.wake()

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
        while True:
            sender = self.webhook_sender
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(sender.run())
                while not sending.done() and sender is self.webhook_sender:
                    self.sessions.advance(self.session_now())
                    await self._timer.wait_until(self.sessions.next_due())
                sending.cancel()

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


def _limits_of(config: Config) -> dict[str, RateLimit]:
    return {name: RateLimit(value) for name, value in DOCUMENTED_LIMITS.items()} | dict(config.limits)
