"""The HTTP application: admission in Didit's order, then the endpoint, then the fault that meets the call."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import orjson
from aiohttp import web

from processor.simulator.checks import Checks
from processor.simulator.config import Config
from processor.simulator.endpoints import Asked, Endpoints, Told
from processor.simulator.faults import Faults, Scripted
from processor.simulator.ledger import Call, Ledger, key_digest
from processor.simulator.limits import Windows
from processor.simulator.routes import Route, find_route, needs_slash, scopes_of
from processor.simulator.sessions import Sessions
from processor.simulator.validation import is_uuid

_JSON = "application/json"
_HTML_404 = b"<!doctype html><html lang='en'><head><title>Not Found</title></head><body><h1>Not Found</h1></body></html>"
_HTML_500 = b"<html>\n<head><title>500 Internal Server Error</title></head>\n<body><h1>Internal Server Error</h1></body>\n</html>\n"
_BODY_BYTES_MAX = 8 * 1024 * 1024
_BEFORE_ACT = frozenset({"reset", "hang", "error_500_html", "error_502", "error_503"})
_TRICKLE_PARTS = 5


class Simulator:
    """State of one application, and its HTTP handler."""

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        rng = random.Random(config.seed)  # noqa: S311 - reproducible, no secret
        self.config, self._clock = config, clock
        self.ledger = Ledger(config.limits, config.ledger_path)
        self.sessions = Sessions(config, rng)
        self.faults = Faults(config.faults, random.Random(config.seed + 1))  # noqa: S311 - as above
        self.api_keys = set(config.api_keys)
        self.ahead_s = 0.0  # timers of sessions run so much ahead of the clock
        self._windows = Windows(config.limits, rejected_count=config.switches.rejected_calls_count)
        checks = Checks(random.Random(config.seed + 2))  # noqa: S311 - as above
        self._endpoints = Endpoints(self.sessions, checks, self.ledger, config.switches, config.sessions_max)
        self._last = 0.0

    def now(self) -> float:
        """Epoch seconds, never going back."""
        self._last = max(self._last, self._clock())
        return self._last

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One call."""
        path = request.path
        if path == "/system/healthcheck":
            return _json(200, {"status": "ok", "timestamp": f"{self.now() * 1000:.0f}"})
        if needs_slash(path):
            query = f"?{request.query_string}" if request.query_string else ""
            return web.Response(status=301, headers={"Location": f"{path}/{query}"})
        found = find_route(request.method, path)
        if found is None:
            return web.Response(status=404, body=_HTML_404, content_type="text/html")
        route, match = found
        if "id" in match.groupdict() and not is_uuid(match["id"]):
            return web.Response(status=404, body=_HTML_404, content_type="text/html")
        body = await request.read()
        api_key = request.headers.get("x-api-key", "")
        scopes = scopes_of(route, match.groupdict().get("version") or "v3", self.config.switches)
        call = Call(
            at=self.now(),
            key=key_digest(api_key or (request.remote or "")),
            method=request.method,
            path=path,
            route=route.name,
            scopes=list(scopes),
            counted=False,
            reference=request.headers.get("X-Request-Id"),
        )
        self.ledger.arrived(call)
        try:
            origin = f"{request.scheme}://{request.host}"
            keyed = request.headers.get("Idempotency-Key") if route.keyed else None
            asked = Asked(match, request.query, body, call.at, origin, call.key, None, call.reference, keyed)
            return await self._serve(request, route, call, asked)
        finally:
            call.answered_at = self.now()
            self.ledger.answered(call)

    async def _serve(self, request: web.Request, route: Route, call: Call, asked: Asked) -> web.StreamResponse:
        scripted = self.faults.scripted(route.name)
        fault = scripted.fault if scripted is not None else self.faults.drawn(route.name)
        call.fault = fault if fault is not None else ("scripted" if scripted is not None else None)
        if scripted is not None and scripted.fault is None:
            return _scripted(call, scripted)
        if fault in {"throttle_429", "throttle_429_bare"}:
            return self._throttle(call, bare=fault == "throttle_429_bare")
        refused = self._admit(request, route, call, asked)
        if refused is not None:
            return refused
        try:
            await asyncio.sleep(self.faults.latency_s(route.name))
            if fault in _BEFORE_ACT:
                return await self._fail(request, call, fault)
            told = self._act(route, call, asked)
        finally:
            self._endpoints.end(asked)
        if fault == "lost_reply":
            return _reset(request, call)
        return await self._send(request, call, told, fault)

    def _admit(self, request: web.Request, route: Route, call: Call, asked: Asked) -> web.StreamResponse | None:
        """None if the call may act: session, then key, then limits, then what was said before under the same idempotency key."""
        if route.by_session:
            asked.session = self.sessions.get(asked.match["id"], call.at + self.ahead_s)
            if asked.session is None:
                return _answer(call, 404, {"detail": "Not found."})
        if request.headers.get("x-api-key", "") not in self.api_keys:
            return _answer(call, self.config.switches.auth_status, {"detail": "You do not have permission to perform this action."})
        refusal = self._windows.admit(call.key, tuple(call.scopes), call.at)
        call.counted = refusal is None or self.config.switches.rejected_calls_count
        if refusal is not None:
            return _answer(call, 429, refusal.body, refusal.headers)
        early = self._endpoints.begin(asked)
        return _answer(call, early.status, early.body, early.headers) if early is not None else None

    def _act(self, route: Route, call: Call, asked: Asked) -> Told:
        if isinstance(asked.body, bytes) and asked.body:
            try:
                asked.body = orjson.loads(asked.body)
            except orjson.JSONDecodeError:
                asked.body = None
        asked.now = call.at + self.ahead_s
        told = self._endpoints.answer(route.name, asked)
        call.acted, call.session_id = told.acted, told.session_id
        return told

    def _throttle(self, call: Call, *, bare: bool) -> web.StreamResponse:
        if bare:
            return _answer(call, 429, None)
        scope = call.scopes[0]
        limit, wait_s = self.config.limits[scope].limit, self.faults.plan.retry_after_s
        headers = {
            "Retry-After": str(wait_s),
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(call.at) + wait_s),
        }
        return _answer(call, 429, {"detail": f"Request was throttled. Expected available in {wait_s} seconds."}, headers)

    async def _fail(self, request: web.Request, call: Call, fault: str) -> web.StreamResponse:
        if fault == "error_500_html":
            call.status = 500
            return web.Response(status=500, body=_HTML_500, content_type="text/html")
        if fault in {"error_502", "error_503"}:
            return _answer(call, int(fault[-3:]), {"detail": "The service is temporarily unavailable."})
        if fault == "hang":
            await asyncio.sleep(self.faults.plan.hang_s)
        return _reset(request, call)

    async def _send(self, request: web.Request, call: Call, told: Told, fault: str | None) -> web.StreamResponse:
        if fault not in {"slow_body", "truncated"}:
            return _answer(call, told.status, told.body, told.headers)
        call.status = told.status
        raw = orjson.dumps(told.body)
        response = web.StreamResponse(status=told.status, headers={"Content-Type": _JSON, "Content-Length": str(len(raw))})
        await response.prepare(request)
        if fault == "truncated":
            await response.write(raw[: len(raw) // 2])
            return _reset(request, call, response)
        size = max(1, len(raw) // _TRICKLE_PARTS)
        for begin in range(0, len(raw), size):
            await response.write(raw[begin : begin + size])
            await asyncio.sleep(0.05)
        await response.write_eof()
        return response


def _answer(call: Call, status: int, body: object, headers: dict[str, str] | None = None) -> web.Response:
    call.status = status
    return _json(status, body, headers)


def _json(status: int, body: object, headers: dict[str, str] | None = None) -> web.Response:
    if body is None:
        return web.Response(status=status, headers=headers)
    return web.Response(status=status, body=orjson.dumps(body), headers=headers, content_type=_JSON)


def _scripted(call: Call, scripted: Scripted) -> web.Response:
    call.status = scripted.status
    response = web.Response(status=scripted.status, body=scripted.body)
    for name, value in scripted.headers:
        response.headers[name] = value
    return response


def _reset(request: web.Request, call: Call, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Close the connection with RST; the returned response never reaches anybody."""
    if response is None:
        call.status = 0
    if request.transport is not None:
        request.transport.abort()
    return response if response is not None else web.Response()


def build_app(simulator: Simulator) -> web.Application:
    """The application; its control routes are in ``control``."""
    from processor.simulator.control import control_routes  # noqa: PLC0415 - control knows this module

    app = web.Application(client_max_size=_BODY_BYTES_MAX)
    app.add_routes(control_routes(simulator))
    app.router.add_route("*", "/{path:.*}", simulator.handle)
    return app
