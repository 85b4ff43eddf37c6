"""The HTTP application: admission in Didit's order, then the endpoint, then the fault that meets the call."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
from aiohttp import web

from processor.simulator import responses
from processor.simulator.control import control_routes
from processor.simulator.ledger import Call, key_digest
from processor.simulator.limits import Windows
from processor.simulator.messages import Asked, Told
from processor.simulator.multipart import MultipartError, boundary_of, read_form
from processor.simulator.routes import Route, find_route, needs_slash, scopes_of, uuid_of
from processor.simulator.simulator import Simulator
from processor.simulator.timestamps import iso
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


class _Api:
    """Didit's routes over one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator
        self._windows = Windows(simulator.limits, rejected_count=simulator.config.switches.rejected_calls_count)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One call."""
        path = request.path
        if path == "/system/healthcheck":
            body = orjson.dumps({"status": "ok", "timestamp": iso(self._sim.now(), "milliseconds")})
            return web.Response(body=body, content_type="application/json")
        if needs_slash(path):
            query = f"?{request.query_string}" if request.query_string else ""
            return web.Response(status=301, headers={"Location": f"{path}/{query}"})
        found = find_route(request.method, path)
        if found is None:
            return responses.not_found()
        route, match = found
        if (named := uuid_of(route, match)) is not None and not is_uuid(named):
            return responses.not_found()
        body = await request.read()
        address = request.headers.get("X-Forwarded-For", "").split(",")[0].strip() or request.remote or ""
        scopes = scopes_of(route, match.groupdict().get("version") or "v3", self._sim.config.switches)
        call = Call(
            at=self._sim.now(),
            key=key_digest(request.headers.get("x-api-key") or address),
            method=request.method,
            path=path,
            route=route.name,
            scopes=list(scopes),
            counted=False,
            reference=request.headers.get("X-Request-Id"),
        )
        self._sim.ledger.arrived(call)
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
            call.answered_at = self._sim.now()
            self._sim.ledger.answered(call)

    async def _serve(self, request: web.Request, route: Route, call: Call, asked: Asked) -> web.StreamResponse:
        ordered = self._sim.faults.scripted(route.name)
        fault = ordered.fault if ordered is not None else self._sim.faults.drawn(route.name)
        call.fault = fault if fault is not None else ("scripted" if ordered is not None else None)
        if ordered is not None and ordered.fault is None:
            return responses.scripted(call, ordered)
        if fault in {"throttle_429", "throttle_429_bare"}:
            return self._throttle(call, bare=fault == "throttle_429_bare")
        refused = self._admit(request, route, call, asked)
        if refused is not None:
            return responses.told(call, refused)
        try:
            await asyncio.sleep(self._sim.faults.latency_s(route.name))
            if fault in _BEFORE_ACT:
                return await self._fail(request, call, fault)
            of_phone = _OF_PHONE.get(fault or "") if route.name == "phone.send" else None
            told = of_phone or self._act(request, route, call, asked)
        finally:
            self._sim.state.checks.end(asked)
        if fault == "lost_reply":
            return responses.reset(request, call)
        if fault == "late_reply":
            await asyncio.sleep(self._sim.faults.plan.hang_s)
        if self._sim.config.switches.headers_on_success:
            told = replace(told, headers={**self._windows.standing(call.key, tuple(call.scopes), call.at), **(told.headers or {})})
        return await responses.send(request, call, told, fault)

    def _admit(self, request: web.Request, route: Route, call: Call, asked: Asked) -> Told | None:
        """None if the call may act: session, then key, then limits, then what was said before under the same idempotency key."""
        if route.by_session:
            asked.session = self._sim.sessions.get(asked.match["id"], call.at + self._sim.ahead_s)
            if asked.session is None:
                return Told(404, {"detail": "Not found."})
        if route.auth == "key":
            return self._admit_key(request, route, call, asked)
        if route.auth == "token" and asked.session_token != asked.known.token:
            return Told(self._sim.config.switches.auth_status, _REFUSED)
        return None

    def _admit_key(self, request: web.Request, route: Route, call: Call, asked: Asked) -> Told | None:
        asked.application = self._sim.state.directory.of_key(request.headers.get("x-api-key", ""))
        if asked.application is None:
            return Told(route.refusal or self._sim.config.switches.auth_status, _REFUSED)
        limited = self._windows.admit(call.key, tuple(call.scopes), call.at)
        call.counted = limited is None or self._sim.config.switches.rejected_calls_count
        if limited is not None:
            return Told(429, limited.body, headers=limited.headers)
        if asked.session is not None and asked.session.application is not asked.application:
            return Told(403, _REFUSED)
        return self._sim.state.checks.begin(asked)

    def _act(self, request: web.Request, route: Route, call: Call, asked: Asked) -> Told:
        asked.now = call.at + self._sim.ahead_s
        refused = _read(request, route, asked)
        told = refused if refused is not None else self._sim.state.handlers[route.name](asked)
        call.acted, call.session_id = told.acted, told.session_id
        self._sim.touched()
        return told

    def _throttle(self, call: Call, *, bare: bool) -> web.StreamResponse:
        if bare:
            return responses.answer(call, 429, None)
        wait_s = self._sim.faults.plan.retry_after_s
        headers = {"Retry-After": str(wait_s)}
        if call.scopes:
            headers["X-RateLimit-Limit"] = str(self._sim.limits[call.scopes[0]].limit)
            headers["X-RateLimit-Remaining"] = "0"
            headers["X-RateLimit-Reset"] = str(int(call.at) + wait_s)
        return responses.answer(call, 429, {"detail": f"Request was throttled. Expected available in {wait_s} seconds."}, headers)

    async def _fail(self, request: web.Request, call: Call, fault: str) -> web.StreamResponse:
        if fault == "error_500_html":
            return responses.broken(call)
        if fault in {"error_502", "error_503"}:
            return responses.answer(call, int(fault[-3:]), {"detail": "The service is temporarily unavailable."})
        if fault == "hang":
            await asyncio.sleep(self._sim.faults.plan.hang_s)
        return responses.reset(request, call)


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
    """The application: Didit's routes, and the control routes under ``/_sim/``."""
    app = web.Application(client_max_size=_BODY_BYTES_MAX)
    app.add_routes(control_routes(simulator))
    app.router.add_route("*", "/{path:.*}", _Api(simulator).handle)
    return app
