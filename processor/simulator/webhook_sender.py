"""Sends webhooks: a bounded heap of deliveries by due time, a fixed number of workers, and one ledger entry for each attempt."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from processor.simulator.config import Switches, WebhookOptions
from processor.simulator.destinations import Destination, Destinations, SentWebhook
from processor.simulator.ledger import Ledger
from processor.simulator.random_ids import random_uuid
from processor.simulator.session import Session
from processor.simulator.timer import ResettableTimer
from processor.simulator.webhooks import DeliveryOutcome, envelope, headers, next_attempt_at, wire, with_attempt

_WORKERS = 16
_WAITING_MAX = 100_000


@dataclass(slots=True)
class _Delivery:
    """An event to be sent; ``timestamp`` (epoch seconds) is signed."""

    body: dict[str, Any]
    event_id: str
    timestamp: int
    attempt: int = 1
    test: bool = False
    sent_at: float = 0.0  # epoch seconds, of the latest attempt
    destination: Destination | None = None  # None: that of the options
    url: str | None = None  # of the first attempt, where a later one goes too


class WebhookSender:
    """All webhooks of a simulator. Deliveries are due by ``session_now``; signatures carry ``wall_now``. Both are epoch seconds."""

    def __init__(
        self,
        options: WebhookOptions,
        switches: Switches,
        ledger: Ledger,
        rng: random.Random,
        destinations: Destinations,
        *,
        session_now: Callable[[], float],
        wall_now: Callable[[], float],
    ) -> None:
        self.options = options
        self._empty = switches.absent_features == "empty"
        self._ledger = ledger
        self._rng = rng
        self._destinations = destinations
        self._session_now = session_now
        self._wall_now = wall_now
        self._waiting: list[tuple[float, int, _Delivery]] = []  # due time, sequence number
        self._sequence = 0
        self._timer = ResettableTimer(session_now)
        self._due: asyncio.Queue[_Delivery] = asyncio.Queue(maxsize=_WORKERS)
        self._sending = 0

    @property
    def busy(self) -> bool:
        """Whether a delivery is due or being sent. Once this is false nothing is sent before a later due time, or another event."""
        next_is_due = bool(self._waiting) and self._waiting[0][0] <= self._session_now()
        return next_is_due or not self._due.empty() or self._sending > 0

    def enqueue(self, session: Session, webhook_type: str, at: float, *, test: bool = False) -> None:
        """Send an event of a session, unless it is drawn as lost; ``at`` is when it happened, by ``session_now``."""
        for destination in self._destinations.subscribed(session.application.uuid, webhook_type):
            body = envelope(session, webhook_type, at, destination.webhook_version, empty=self._empty)
            self._begin(
                at, _Delivery(body, random_uuid(self._rng), int(self._wall_now()), test=test, destination=destination, url=destination.url)
            )
        if self.options.url is not None:
            body = envelope(session, webhook_type, at, self.options.version, empty=self._empty)
            self._begin(at, _Delivery(body, random_uuid(self._rng), int(self._wall_now()), test=test))

    def resend(self, destination: Destination, sent: SentWebhook) -> None:
        """Send once more what was sent to a destination before, freshly signed, to where it went."""
        again = _Delivery(sent.body, random_uuid(self._rng), int(self._wall_now()), destination=destination, url=sent.url)
        self._schedule(self._session_now(), again)

    def _begin(self, at: float, first: _Delivery) -> None:
        if self._draw(self.options.lost):
            self._record(first, "lost", attempt=0)
            return
        for _ in range(2 if self._draw(self.options.doubled) else 1):
            self._schedule(at + self._rng.uniform(0, self.options.jitter_s), replace(first))

    def wake(self) -> None:
        """To be called after ``session_now`` was set ahead."""
        self._timer.wake()

    async def run(self) -> None:
        """Send until cancelled."""
        # a new connection for each attempt: one that the receiver has closed meanwhile would look like a failure of the receiver
        connector = aiohttp.TCPConnector(limit=_WORKERS, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work(http)) for _ in range(_WORKERS)]
            while not any(worker.done() for worker in workers):
                await self._dispatch_due()

    async def _dispatch_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._session_now():
            await self._due.put(heapq.heappop(self._waiting)[2])
        await self._timer.wait_until(self._waiting[0][0] if self._waiting else None)

    async def _work(self, http: aiohttp.ClientSession) -> None:
        while True:
            delivery = await self._due.get()
            self._sending += 1
            await self._attempt(http, delivery)
            self._sending -= 1

    async def _attempt(self, http: aiohttp.ClientSession, delivery: _Delivery) -> None:
        options = self.options
        url = delivery.url or options.url
        if url is None:
            return
        outcome = await self._send(http, options, url, delivery)
        self._record(delivery, outcome, attempt=delivery.attempt)
        due = next_attempt_at(delivery.attempt, outcome, self._session_now(), options.retry_s)
        if due is not None:
            delivery.attempt += 1
            self._schedule(due, delivery)

    async def _send(self, http: aiohttp.ClientSession, options: WebhookOptions, url: str, delivery: _Delivery) -> DeliveryOutcome:
        if options.event_id == "per_attempt":
            delivery.event_id = random_uuid(self._rng)
        if options.timestamp == "per_attempt":
            delivery.timestamp = int(self._wall_now())
        delivery.sent_at = self._wall_now()
        document = with_attempt(delivery.body, delivery.event_id, delivery.timestamp)
        dropped = {name.lower() for name in options.drop_headers} if self._draw(options.drop_rate) else set()
        secret = delivery.destination.secret if delivery.destination is not None else options.secret
        signed = headers(document, secret, test=delivery.test)
        sent = {name: value for name, value in signed.items() if name.lower() not in dropped}
        try:
            timeout = aiohttp.ClientTimeout(total=options.timeout_s)
            async with http.post(url, data=wire(document), headers=sent, timeout=timeout, allow_redirects=False) as response:
                return response.status
        except TimeoutError:
            return "timeout"
        except (aiohttp.ClientError, OSError, ValueError):
            return "connection_error"

    def _schedule(self, due: float, delivery: _Delivery) -> None:
        if len(self._waiting) >= _WAITING_MAX:
            self._record(delivery, "no_room", attempt=0)
            return
        self._sequence += 1
        heapq.heappush(self._waiting, (due, self._sequence, delivery))
        self._timer.wake(due)

    def _record(self, delivery: _Delivery, outcome: DeliveryOutcome | str, *, attempt: int) -> None:
        if delivery.destination is not None and attempt > 0:
            status = outcome if isinstance(outcome, int) else None
            sent = SentWebhook(random_uuid(self._rng), str(delivery.url), delivery.body, delivery.sent_at, status)
            delivery.destination.sent.append(sent)
        self._ledger.add_webhook_attempt(
            {
                "at": delivery.sent_at or self._wall_now(),
                "attempt": attempt,
                "event_id": delivery.event_id,
                "answer": outcome,
                **{name: delivery.body[name] for name in ("session_id", "status", "webhook_type", "created_at")},
            }
        )

    def _draw(self, rate: float) -> bool:
        return rate > 0 and self._rng.random() < rate
