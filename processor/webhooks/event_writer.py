"""Writes each event once, within the time that its delivery has.

A broker that does not answer in time may still write the record later: a client that retries for us cannot be called back. So an
attempt outlives its delivery: the delivery is answered 503, and Didit's next one joins the attempt, or finds it done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import partial

import structlog

from processor.stream.errors import describe, origin
from processor.webhooks.dedup import EventDedup
from processor.webhooks.events import Event

Publish = Callable[[bytes | None, bytes], Awaitable[None]]
"""Writes key and value to the events topic; returns after the brokers' acknowledgement, raises if there will be none."""

_ATTEMPT_S = 600.0  # longer than Didit's three attempts take
_UNDER_WAY_BYTES_MAX = 16 * 1024 * 1024  # the producer may hold them once more
_CLOSE_S = 2.0

log = structlog.get_logger(__name__)


class WriteOutcome(StrEnum):
    """What became of an event. Only the first two may be acknowledged."""

    PUBLISHED = "published"
    DUPLICATE = "duplicate"
    LATE = "late"  # no acknowledgement in time; the attempt goes on
    FAILED = "failed"
    FULL = "full"  # too much is under way already


class EventWriter:
    """Publishes events, each happening once; attempts under way are bounded in time and bytes."""

    def __init__(self, publish: Publish, *, now: Callable[[], float]) -> None:
        self._publish, self._now = publish, now
        self._memory = EventDedup()
        self._attempts: dict[str, asyncio.Task[bool]] = {}
        self._under_way_bytes = 0

    async def write(self, event: Event, *, within_s: float) -> WriteOutcome:
        """Publish the event, or join the attempt that is under way for it; returns within ``within_s`` seconds."""
        if self._memory.knows(event.identities, self._now()):
            return WriteOutcome.DUPLICATE
        found = next((self._attempts[name] for name in event.identities if name in self._attempts), None)
        if found is None and self._under_way_bytes + len(event.value) > _UNDER_WAY_BYTES_MAX:
            return WriteOutcome.FULL
        attempt = found or self._begin(event)
        done, _ = await asyncio.wait({attempt}, timeout=within_s)
        if not done:
            return WriteOutcome.LATE
        if attempt.cancelled() or attempt.exception() is not None or not attempt.result():
            return WriteOutcome.FAILED
        return WriteOutcome.PUBLISHED if found is None else WriteOutcome.DUPLICATE

    async def close(self) -> None:
        """End every attempt; none of them was acknowledged to Didit."""
        attempts = set(self._attempts.values())
        for attempt in attempts:
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts, timeout=_CLOSE_S)

    def _begin(self, event: Event) -> asyncio.Task[bool]:
        attempt = asyncio.get_running_loop().create_task(self._try(event), name="webhook-event")
        self._under_way_bytes += len(event.value)
        self._attempts.update(dict.fromkeys(event.identities, attempt))
        attempt.add_done_callback(partial(self._end, event))
        return attempt

    def _end(self, event: Event, attempt: asyncio.Task[bool]) -> None:
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            log.error("webhook_failed", error=type(error).__name__, at=origin(error))
        self._under_way_bytes -= len(event.value)
        for name in event.identities:
            self._attempts.pop(name, None)

    async def _try(self, event: Event) -> bool:
        try:
            async with asyncio.timeout(_ATTEMPT_S):
                await self._publish(event.key, event.value)
        except Exception as exc:  # noqa: BLE001 - whatever it was, the event is not written and Didit must send it again
            log.error("webhook_not_published", error=describe(exc), session=event.session)
            return False
        self._memory.remember(event.identities, self._now())
        return True
