"""The HTTP application: admission in Didit's order, then the endpoint, then the fault that meets the call."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace

import orjson
from aiohttp import web

from processor.simulator import answers
from processor.simulator.alarm import Alarm
from processor.simulator.config import DOCUMENTED_LIMITS, Config, Limit
from processor.simulator.exchange import Asked, Told
from processor.simulator.faults import Faults
from processor.simulator.ledger import Call, Ledger, key_digest
from processor.simulator.limits import Windows
from processor.simulator.multipart import MultipartError, boundary_of, read_form
from processor.simulator.routes import Route, find_route, needs_slash, scopes_of, uuid_of
from processor.simulator.sender import Sender
from processor.simulator.stamps import iso
from processor.simulator.state import State
from processor.simulator.validation import is_uuid

_BODY_BYTES_MAX = 40 * 1024 * 1024  # two images of an identity document, and room
_BEFORE_ACT = frozenset({"reset", "hang", "error_500_html", "error_502", "error_503"})
_OF_PHONE = {
    "phone_provider_unavailable": Told(
        502, {"detail": "The phone verification provider is temporarily unavailable.", "code": "phone_provider_unavailable"}
    ),
    "phone_error_500": Told(500, {"detail": "Error creating phone verification"}),
}
_REFUSED = {"detail": "You do not have permission to perform this action."}


class Simulator:
    """The state of Didit, and its HTTP handler."""

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.config, self._clock = config, clock
        limits = {name: Limit(value) for name, value in DOCUMENTED_LIMITS.items()} | dict(config.limits)
        self.ledger = Ledger(limits, config.ledger_path)
        self.faults = Faults(config.faults, random.Random(config.seed + 1))  # noqa: S311 - reproducible, no secret
        self.state = State(config, self.ledger)
        self.sessions = self.state.sessions
        draws = random.Random(config.seed + 3)  # noqa: S311 - as above
        self.sender = Sender(config.hooks, config.switches, self.ledger, draws, self.time, self.now)
        self.sessions.listener = self.sender.changed
        self.living: asyncio.Task[None] | None = None  # ``run``, as the server has started it
        self.ahead_s = 0.0  # timers of sessions run so much ahead of the clock
        self._limits = limits
        self._windows = Windows(limits, rejected_count=config.switches.rejected_calls_count)
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

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One call."""
        path = request.path
        if path == "/system/healthcheck":
            body = orjson.dumps({"status": "ok", "timestamp": iso(self.now(), "milliseconds")})
            return web.Response(body=body, content_type="application/json")
        if needs_slash(path):
            query = f"?{request.query_string}" if request.query_string else ""
            return web.Response(status=301, headers={"Location": f"{path}/{query}"})
        found = find_route(request.method, path)
        if found is None:
            return answers.not_found()
        route, match = found
        if (named := uuid_of(route, match)) is not None and not is_uuid(named):
            return answers.not_found()
        body = await request.read()
        address = request.headers.get("X-Forwarded-For", "").split(",")[0].strip() or request.remote or ""
        scopes = scopes_of(route, match.groupdict().get("version") or "v3", self.config.switches)
        call = Call(
            at=self.now(),
            key=key_digest(request.headers.get("x-api-key") or address),
            method=request.method,
            path=path,
            route=route.name,
            scopes=list(scopes),
            counted=False,
            reference=request.headers.get("X-Request-Id"),
        )
        self.ledger.arrived(call)
        asked = Asked(
            match=match,
            query=request.query,
            body=body,
            now=call.at,
            base_url=f"{request.scheme}://{request.host}",
            key=call.key,
            session=None,
            reference=call.reference,
            idempotency_key=request.headers.get("Idempotency-Key") if route.keyed else None,
            address=address,
            session_token=request.headers.get("Session-Token", ""),
            bearer=request.headers.get("Authorization", "").removeprefix("Bearer "),
        )
        try:
            return await self._serve(request, route, call, asked)
        finally:
            call.answered_at = self.now()
            self.ledger.answered(call)

    async def _serve(self, request: web.Request, route: Route, call: Call, asked: Asked) -> web.StreamResponse:
        ordered = self.faults.scripted(route.name)
        fault = ordered.fault if ordered is not None else self.faults.drawn(route.name)
        call.fault = fault if fault is not None else ("scripted" if ordered is not None else None)
        if ordered is not None and ordered.fault is None:
            return answers.scripted(call, ordered)
        if fault in {"throttle_429", "throttle_429_bare"}:
            return self._throttle(call, bare=fault == "throttle_429_bare")
        refused = self._admit(request, route, call, asked)
        if refused is not None:
            return answers.told(call, refused)
        try:
            await asyncio.sleep(self.faults.latency_s(route.name))
            if fault in _BEFORE_ACT:
                return await self._fail(request, call, fault)
            of_phone = _OF_PHONE.get(fault or "") if route.name == "phone.send" else None
            told = of_phone or self._act(request, route, call, asked)
        finally:
            self.state.checks.end(asked)
        if fault == "lost_reply":
            return answers.reset(request, call)
        if fault == "late_reply":
            await asyncio.sleep(self.faults.plan.hang_s)
        if self.config.switches.headers_on_success:
            told = replace(told, headers={**self._windows.standing(call.key, tuple(call.scopes), call.at), **(told.headers or {})})
        return await answers.send(request, call, told, fault)

    def _admit(self, request: web.Request, route: Route, call: Call, asked: Asked) -> Told | None:
        """None if the call may act: session, then key, then limits, then what was said before under the same idempotency key."""
        if route.by_session:
            asked.session = self.sessions.get(asked.match["id"], call.at + self.ahead_s)
            if asked.session is None:
                return Told(404, {"detail": "Not found."})
        if route.auth == "key":
            return self._admit_key(request, route, call, asked)
        if route.auth == "token" and asked.session_token != asked.known.token:
            return Told(self.config.switches.auth_status, _REFUSED)
        return None

    def _admit_key(self, request: web.Request, route: Route, call: Call, asked: Asked) -> Told | None:
        asked.application = self.state.directory.of_key(request.headers.get("x-api-key", ""))
        if asked.application is None:
            return Told(route.refusal or self.config.switches.auth_status, _REFUSED)
        limited = self._windows.admit(call.key, tuple(call.scopes), call.at)
        call.counted = limited is None or self.config.switches.rejected_calls_count
        if limited is not None:
            return Told(429, limited.body, headers=limited.headers)
        if asked.session is not None and asked.session.application is not asked.application:
            return Told(403, _REFUSED)
        return self.state.checks.begin(asked)

    def _act(self, request: web.Request, route: Route, call: Call, asked: Asked) -> Told:
        asked.now = call.at + self.ahead_s
        refused = _read(request, route, asked)
        told = refused if refused is not None else self.state.handlers[route.name](asked)
        call.acted, call.session_id = told.acted, told.session_id
        self.touched()
        return told

    def _throttle(self, call: Call, *, bare: bool) -> web.StreamResponse:
        if bare:
            return answers.answer(call, 429, None)
        wait_s = self.faults.plan.retry_after_s
        headers = {"Retry-After": str(wait_s)}
        if call.scopes:
            headers["X-RateLimit-Limit"] = str(self._limits[call.scopes[0]].limit)
            headers["X-RateLimit-Remaining"] = "0"
            headers["X-RateLimit-Reset"] = str(int(call.at) + wait_s)
        return answers.answer(call, 429, {"detail": f"Request was throttled. Expected available in {wait_s} seconds."}, headers)

    async def _fail(self, request: web.Request, call: Call, fault: str) -> web.StreamResponse:
        if fault == "error_500_html":
            return answers.broken(call)
        if fault in {"error_502", "error_503"}:
            return answers.answer(call, int(fault[-3:]), {"detail": "The service is temporarily unavailable."})
        if fault == "hang":
            await asyncio.sleep(self.faults.plan.hang_s)
        return answers.reset(request, call)


def _read(request: web.Request, route: Route, asked: Asked) -> Told | None:
    """Put the body as the endpoint wants it; a refusal if it is of another kind."""
    content_type = request.headers.get("Content-Type", "")
    boundary = boundary_of(content_type)
    if boundary is not None and route.form != "no":
        try:
            asked.body = read_form(boundary, asked.body)
        except MultipartError as exc:
            return Told(400, {"detail": f"Multipart form parse error - {exc}"})
        return None
    if route.form == "only":
        return Told(415, {"detail": f'Unsupported media type "{content_type.split(";")[0]}" in request.'})
    try:
        asked.body = orjson.loads(asked.body) if asked.body else None
    except orjson.JSONDecodeError:
        asked.body = None
    return None


def build_app(simulator: Simulator) -> web.Application:
    """The application; its control routes are in ``control``."""
    from processor.simulator.control import control_routes  # noqa: PLC0415 - control knows this module

    app = web.Application(client_max_size=_BODY_BYTES_MAX)
    app.add_routes(control_routes(simulator))
    app.router.add_route("*", "/{path:.*}", simulator.handle)
    return app
