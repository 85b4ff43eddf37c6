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

from processor.bounds.byte_budget import ByteBudget
from processor.observe import metrics
from processor.observe.application import current_application, working_for
from processor.stream.errors import origin
from processor.webhooks.body import check_header, read_body
from processor.webhooks.event_writer import EventWriter, Publish, WriteOutcome
from processor.webhooks.events import Event, build_event
from processor.webhooks.judge import Judge, JudgeBusyError
from processor.webhooks.refusals import DeliveryRefusedError, RefusedReason
from processor.webhooks.signatures import SignatureRefused, Verified

_ANSWER_S = 4.0  # Didit waits 5; the rest is for the way there and back
_IN_HAND_MAX = 200  # signed deliveries that are being written
_LARGE_BODIES_BYTES_MAX = 16 * 1024 * 1024  # all bodies of more than 32 KB together
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

    body_bytes_max: int = 256 * 1024
    tolerance_s: float = 300.0
    answer_s: float = _ANSWER_S


class Receiver:
    """Judges deliveries and has them written."""

    def __init__(self, publish: Publish, secrets: Callable[[], Sequence[bytes]], limits: ReceiverLimits, now: Callable[[], float]) -> None:
        self._secrets, self._limits, self._now = secrets, limits, now
        self._writer = EventWriter(publish, now=now)
        self._judge = Judge(body_bytes_max=limits.body_bytes_max, tolerance_s=limits.tolerance_s)
        self._large_bodies = ByteBudget(max(_LARGE_BODIES_BYTES_MAX, 4 * limits.body_bytes_max))
        self._in_hand = 0
        self._application = current_application()
        self._quiet_until: dict[str, float] = {}
        for outcome in WriteOutcome:
            metrics.WEBHOOKS.labels(str(outcome))  # so that the first failure is an increase
        self._refused: Counter[RefusedReason] = Counter()  # since the start, by reason

    async def handle(self, request: web.Request) -> web.Response:
        """One delivery. The server's tasks work for nobody: what is counted and logged is of the application that this was made for."""
        with working_for(self._application):
            return await self._handle(request)

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            response = await self._answer(request)
        except DeliveryRefusedError as refused:
            response = self._refuse(refused)
        except Exception as exc:  # noqa: BLE001 - a fault of ours must not become a verdict on the delivery, nor a traceback that quotes it
            log.error("webhook_failed", error=type(exc).__name__, at=origin(exc))
            self._count_refusal(RefusedReason.INTERNAL)
            response = _json(RefusedReason.INTERNAL.status, {"error": RefusedReason.INTERNAL, "message": RefusedReason.INTERNAL.advice})
        if not request.content.is_eof():
            response.force_close()  # nobody reads the rest
        return response

    async def close(self, _app: web.Application) -> None:
        """End what is still being written."""
        self._judge.close()
        await self._writer.close()

    async def _answer(self, request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limits.answer_s
        check_header(request, size_bytes_max=self._limits.body_bytes_max)
        try:
            async with asyncio.timeout_at(ends):
                verified = await self._verified(request)
        except TimeoutError:
            raise DeliveryRefusedError(RefusedReason.SLOW) from None
        if self._in_hand >= _IN_HAND_MAX:
            raise DeliveryRefusedError(RefusedReason.BUSY)
        self._in_hand += 1
        try:
            event = build_event(verified)
            _count_verified(verified, event)
            outcome = "test" if _is_test(request) else await self._writer.write(event, within_s=ends - loop.time())
        finally:
            self._in_hand -= 1
        return self._send_response(verified, event, outcome)

    async def _verified(self, request: web.Request) -> Verified:
        with self._large_bodies.reservation() as reservation:
            body = await read_body(request, reservation, size_bytes_max=self._limits.body_bytes_max)
            try:
                found = await self._judge.judge(body, request.headers, self._secrets(), self._now())
            except JudgeBusyError:
                raise DeliveryRefusedError(RefusedReason.BUSY) from None
        if isinstance(found, SignatureRefused):
            raise DeliveryRefusedError(found.reason, found.advice, found.code)
        return found

    def _send_response(self, verified: Verified, event: Event, outcome: WriteOutcome | str) -> web.Response:
        metrics.WEBHOOKS.labels(str(outcome)).inc()
        log.info("webhook_received", outcome=str(outcome), session=event.session, variant=verified.variant, rotation=verified.rotation)
        if outcome in {WriteOutcome.PUBLISHED, WriteOutcome.DUPLICATE, "test"}:
            return _json(200, {"outcome": str(outcome)})
        return _json(503, {"error": str(outcome), "message": "not written yet; send it again"})

    def _refuse(self, refused: DeliveryRefusedError) -> web.Response:
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
    app = web.Application()
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
