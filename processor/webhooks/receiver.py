"""The HTTP side: one route that answers Didit within its 5 seconds, and acknowledges only what the brokers have.

What each answer means to Didit (docs.didit.me/integration/webhooks): 2xx ends the delivery; 5xx, 404 and silence are tried again,
about 1 and 5 minutes after the first time; any other 4xx ends it for good, so it is kept for what no repetition can repair.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
import structlog
from aiohttp import web

from processor.contract.codes import ErrorCode
from processor.observe import metrics
from processor.stream.errors import origin
from processor.webhooks.event_writer import EventWriter, Publish, WriteOutcome
from processor.webhooks.events import Event, build_event
from processor.webhooks.refusals import RefusedReason
from processor.webhooks.signatures import SignatureRefused, Verified, verify

_ANSWER_S = 4.0  # Didit waits 5; the rest is for the way there and back
_IN_HAND_MAX = 200  # each may hold a whole body
_INLINE_BYTES = 64 * 1024  # a longer body is judged in a thread, so that nonsense of a megabyte does not hold up the others
_QUIET_S = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReceiverLimits:
    """How much and how long.

    Attributes:
        body_bytes_max: a longer body is answered 413.
        tolerance_s: how far the signed time may be from ours.
        answer_s: every answer is given by then.
    """

    body_bytes_max: int = 1024 * 1024
    tolerance_s: float = 300.0
    answer_s: float = _ANSWER_S


class _RefusedError(Exception):
    """Ends a delivery with an answer. Its texts hold nothing of the body."""

    def __init__(self, reason: RefusedReason, advice: str | None = None, code: ErrorCode | None = None) -> None:
        super().__init__(reason)
        self.reason, self.advice, self.code = reason, advice or reason.advice, code


class Receiver:
    """Judges deliveries and has them written."""

    def __init__(self, publish: Publish, secrets: Callable[[], Sequence[bytes]], limits: ReceiverLimits, now: Callable[[], float]) -> None:
        self._secrets, self._limits, self._now = secrets, limits, now
        self._writer = EventWriter(publish, now=now)
        self._in_hand = 0
        self._quiet_until: dict[str, float] = {}
        self._refused: Counter[RefusedReason] = Counter()  # since the start, by reason

    async def handle(self, request: web.Request) -> web.Response:
        """One delivery."""
        self._in_hand += 1
        try:
            return await self._answer(request)
        except _RefusedError as refused:
            return self._refuse(refused)
        except Exception as exc:  # noqa: BLE001 - a fault of ours must not become a verdict on the delivery, nor a traceback that quotes it
            log.error("webhook_failed", error=type(exc).__name__, at=origin(exc))
            self._count_refusal(RefusedReason.INTERNAL)
            return _json(RefusedReason.INTERNAL.status, {"error": RefusedReason.INTERNAL, "message": RefusedReason.INTERNAL.advice})
        finally:
            self._in_hand -= 1

    async def close(self, _app: web.Application) -> None:
        """End what is still being written."""
        await self._writer.close()

    async def _answer(self, request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limits.answer_s
        if self._in_hand > _IN_HAND_MAX:
            raise _RefusedError(RefusedReason.BUSY)
        try:
            async with asyncio.timeout_at(ends):
                body = await self._body(request)
                verified = await self._verified(body, request)
        except TimeoutError:
            raise _RefusedError(RefusedReason.SLOW) from None
        event = build_event(verified)
        _count_verified(verified, event)
        outcome = "test" if _is_test(request) else await self._writer.write(event, within_s=ends - loop.time())
        return self._send_response(verified, event, outcome)

    async def _body(self, request: web.Request) -> bytes:
        if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            raise _RefusedError(RefusedReason.COMPRESSED)
        if (request.content_length or 0) > self._limits.body_bytes_max:
            raise _RefusedError(RefusedReason.TOO_LARGE)
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise _RefusedError(RefusedReason.TOO_LARGE) from None
        except (web.RequestPayloadError, ConnectionError):
            raise _RefusedError(RefusedReason.INCOMPLETE) from None

    async def _verified(self, body: bytes, request: web.Request) -> Verified:
        secrets = self._secrets()

        def judge() -> Verified | SignatureRefused:
            limits = self._limits
            return verify(body, request.headers, secrets, self._now(), tolerance_s=limits.tolerance_s, size_bytes_max=limits.body_bytes_max)

        found = judge() if len(body) <= _INLINE_BYTES else await asyncio.to_thread(judge)
        if isinstance(found, SignatureRefused):
            raise _RefusedError(found.reason, found.advice, found.code)
        return found

    def _send_response(self, verified: Verified, event: Event, outcome: WriteOutcome | str) -> web.Response:
        metrics.WEBHOOKS.labels(str(outcome)).inc()
        log.info("webhook_received", outcome=str(outcome), session=event.session, variant=verified.variant, rotation=verified.rotation)
        if outcome in {WriteOutcome.PUBLISHED, WriteOutcome.DUPLICATE, "test"}:
            return _json(200, {"outcome": str(outcome)})
        return _json(503, {"error": str(outcome), "message": "not written yet; send it again"})

    def _refuse(self, refused: _RefusedError) -> web.Response:
        count = self._count_refusal(refused.reason)
        now = time.monotonic()
        if now >= self._quiet_until.get(refused.reason, now):  # anybody can send nonsense; it must not fill the disk
            self._quiet_until[refused.reason] = now + _QUIET_S
            log.warning("webhook_refused", reason=refused.reason, code=refused.code, status=refused.reason.status, count=count)
        return _json(refused.reason.status, {"error": refused.reason, "code": refused.code, "message": refused.advice})

    def _count_refusal(self, reason: RefusedReason) -> int:
        metrics.WEBHOOKS_REFUSED.labels(reason).inc()
        self._refused[reason] += 1
        return self._refused[reason]


def build_receiver(
    publish: Publish,
    secrets: Callable[[], Sequence[bytes]],
    *,
    path: str = "/webhooks/didit",
    limits: ReceiverLimits | None = None,
    now: Callable[[], float] = time.time,
) -> web.Application:
    """The application.

    Args:
        publish: writes one record of the events topic, see ``Publish``.
        secrets: gives the secrets in force, the newest first.
        path: where Didit posts to.
        limits: how much and how long.
        now: epoch seconds.
    """
    limits = limits or ReceiverLimits()
    receiver = Receiver(publish, secrets, limits, now)
    app = web.Application(client_max_size=limits.body_bytes_max)
    app.router.add_post(path, receiver.handle)
    app.on_cleanup.append(receiver.close)
    return app


def _count_verified(verified: Verified, event: Event) -> None:
    metrics.WEBHOOK_SECRETS.labels(str(verified.rotation)).inc()
    metrics.WEBHOOK_VARIANTS.labels(verified.variant).inc()
    for name in event.unfamiliar:
        metrics.WEBHOOKS_UNFAMILIAR.labels(name).inc()


def _is_test(request: web.Request) -> bool:
    # not signed, but whoever could add this header to a delivery could as well keep the delivery
    return request.headers.get("X-Didit-Test-Webhook", "").strip().lower() == "true"


def _json(status: int, body: dict[str, str | None]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
