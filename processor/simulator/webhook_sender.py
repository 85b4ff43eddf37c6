"""Sends webhooks: a bounded store of what is due, a fixed number of workers, and a ledger line for every attempt."""

from __future__ import annotations

import asyncio
import heapq
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from processor.simulator.config import Hooks, Switches
from processor.simulator.ledger import Ledger
from processor.simulator.session import Session
from processor.simulator.timer import Alarm
from processor.simulator.webhooks import Outcome, addressed, envelope, headers, next_attempt_at, wire

_WORKERS = 16
_WAITING_MAX = 100_000


@dataclass(slots=True)
class _Delivery:
    """An event on its way; ``at`` is when it happened, by the clock of sessions."""

    body: dict[str, Any]
    event_id: str
    timestamp: int
    attempt: int = 1
    test: bool = False
    sent_at: float = 0.0  # epoch seconds


class Sender:
    """All webhooks of a simulator. ``now`` is the clock of sessions, ``wall`` that of the machine: signatures carry the latter."""

    def __init__(
        self, hooks: Hooks, switches: Switches, ledger: Ledger, rng: random.Random, now: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self.hooks = hooks
        self._empty = switches.absent_features == "empty"
        self._ledger, self._rng, self._now, self._wall = ledger, rng, now, wall
        self._waiting: list[tuple[float, int, _Delivery]] = []
        self._number = 0
        self._alarm = Alarm(now)
        self._due: asyncio.Queue[_Delivery] = asyncio.Queue(maxsize=_WORKERS)

    def changed(self, session: Session, webhook_type: str, at: float, *, test: bool = False) -> None:
        """Something happened to a session: send it, unless it is one of those that get lost."""
        if self.hooks.url is None:
            return
        body = envelope(session, webhook_type, at, self.hooks.version, empty=self._empty)
        first = _Delivery(body, self._uuid(), int(self._wall()), test=test)
        if self._drawn(self.hooks.lost):
            self._note(first, "lost", attempt=0)
            return
        for _ in range(2 if self._drawn(self.hooks.doubled) else 1):
            copy = _Delivery(body, first.event_id, first.timestamp, test=test)
            self._wait(at + self._rng.uniform(0, self.hooks.jitter_s), copy)

    def clock_moved(self) -> None:
        """The clock of sessions was put forward."""
        self._alarm.ring()

    async def run(self) -> None:
        """Send until cancelled."""
        # a connection for each attempt: one that the receiver closed while idle would look like a failure of the receiver
        connector = aiohttp.TCPConnector(limit=_WORKERS, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work(http)) for _ in range(_WORKERS)]
            while not any(worker.done() for worker in workers):
                await self._hand_out()

    async def _hand_out(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._now():
            await self._due.put(heapq.heappop(self._waiting)[2])
        await self._alarm.until(self._waiting[0][0] if self._waiting else None)

    async def _work(self, http: aiohttp.ClientSession) -> None:
        while True:
            delivery = await self._due.get()
            hooks = self.hooks
            if hooks.url is None:
                continue
            outcome = await self._send(http, hooks, hooks.url, delivery)
            self._note(delivery, outcome, attempt=delivery.attempt)
            due = next_attempt_at(delivery.attempt, outcome, self._now(), hooks.retry_s)
            if due is not None:
                delivery.attempt += 1
                self._wait(due, delivery)

    async def _send(self, http: aiohttp.ClientSession, hooks: Hooks, url: str, delivery: _Delivery) -> Outcome:
        if hooks.event_id == "per_attempt":
            delivery.event_id = self._uuid()
        if hooks.timestamp == "per_attempt":
            delivery.timestamp = int(self._wall())
        delivery.sent_at = self._wall()
        document = addressed(delivery.body, delivery.event_id, delivery.timestamp)
        lost = {name.lower() for name in hooks.drop_headers} if self._drawn(hooks.drop_rate) else set()
        kept = {name: value for name, value in headers(document, hooks.secret, test=delivery.test).items() if name.lower() not in lost}
        try:
            timeout = aiohttp.ClientTimeout(total=hooks.timeout_s)
            async with http.post(url, data=wire(document), headers=kept, timeout=timeout, allow_redirects=False) as response:
                return response.status
        except TimeoutError:
            return "timeout"
        except (aiohttp.ClientError, OSError, ValueError):
            return "connection_error"

    def _wait(self, due: float, delivery: _Delivery) -> None:
        if len(self._waiting) >= _WAITING_MAX:
            self._note(delivery, "no_room", attempt=0)
            return
        self._number += 1
        heapq.heappush(self._waiting, (due, self._number, delivery))
        self._alarm.ring(due)

    def _note(self, delivery: _Delivery, answer: Outcome | str, *, attempt: int) -> None:
        self._ledger.hooked(
            {
                "at": delivery.sent_at or self._wall(),
                "attempt": attempt,
                "event_id": delivery.event_id,
                "answer": answer,
                **{name: delivery.body[name] for name in ("session_id", "status", "webhook_type", "created_at")},
            }
        )

    def _drawn(self, rate: float) -> bool:
        return rate > 0 and self._rng.random() < rate

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
