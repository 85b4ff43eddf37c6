"""The HTTP application. A call passes admission in Didit's order, then its endpoint; a fault may replace or break any part of it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from processor.simulator import media, responses
from processor.simulator.config import Switches
from processor.simulator.control import control_routes
from processor.simulator.json_numbers import dumps, loads
from processor.simulator.ledger import RecordedCall, content_digest, key_digest
from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse
from processor.simulator.multipart import MultipartError, boundary_of, read_form
from processor.simulator.request_members import MEMBERS, member_faults
from processor.simulator.routes import Route, find_route, methods_of, needs_slash, scopes_of, uuid_of
from processor.simulator.simulator import Simulator
from processor.simulator.timestamps import iso
from processor.simulator.validation import APPLICATION_DELETED, NO_PERMISSION, is_uuid

_BODY_BYTES_MAX = 40 * 1024 * 1024  # two images of an identity document, with a margin
_FAULTS_INSTEAD_OF_ENDPOINT = frozenset({"reset", "hang", "error_403_html", "error_500_html", "error_502", "error_503"})
_PHONE_FAULTS = {
    "phone_provider_unavailable": ApiResponse(
        502, {"detail": "The phone verification provider is temporarily unavailable.", "code": "phone_provider_unavailable"}
    ),
    "phone_error_500": ApiResponse(500, {"detail": "Error creating phone verification"}),
}


def build_app(simulator: Simulator) -> web.Application:
    """The application: Didit's routes, and the control routes under ``/_sim/``."""
    app = web.Application(client_max_size=_BODY_BYTES_MAX)
    app.add_routes(control_routes(simulator))
    app.router.add_route("*", "/{path:.*}", _ApiRoutes(simulator).handle)
    return app


class _ApiRoutes:
    """Didit's routes over one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator

    @property
    def _switches(self) -> Switches:
        return self._sim.config.switches

    async def handle(self, http_request: web.Request) -> web.StreamResponse:
        """Respond to any path outside ``/_sim/``."""
        path = http_request.path
        if path == "/system/healthcheck":
            body = orjson.dumps({"status": "ok", "timestamp": iso(self._sim.wall_now(), "milliseconds")})
            return web.Response(body=body, content_type="application/json")
        if path.startswith(media.PATH) and http_request.method == "GET":
            await asyncio.sleep(self._sim.state.media.delay_s)
            return self._sim.state.media.respond(path, http_request.query.get("X-Amz-Date", ""), self._sim.session_now())
        if needs_slash(path):
            url = http_request.rel_url  # as it was sent: an escaped "&" stays one
            query = f"?{url.raw_query_string}" if url.raw_query_string else ""
            return web.Response(status=301, headers={"Location": f"{url.raw_path}/{query}"})
        method = "GET" if http_request.method == "HEAD" else http_request.method  # RFC 9110, 9.3.2
        found = find_route(method, path)
        if found is None:
            return responses.not_allowed(http_request.method, allowed) if (allowed := methods_of(path)) else responses.not_found()
        route, match = found
        if (must_be_uuid := uuid_of(route, match)) is not None and not is_uuid(must_be_uuid):
            return responses.not_found()
        return await self._call(http_request, route, match)

    async def _call(self, http_request: web.Request, route: Route, match: re.Match[str]) -> web.StreamResponse:
        """A call of a route that exists: recorded at its arrival, and once more when it has ended."""
        body = await http_request.read()
        address = http_request.headers.get("X-Forwarded-For", "").split(",")[0].strip() or http_request.remote or ""
        scopes = scopes_of(route, match.groupdict().get("version") or "v3", self._switches)
        call = RecordedCall(
            at=self._sim.wall_now(),
            key=key_digest(self._api_key(http_request) or address),
            method=http_request.method,
            path=http_request.path,
            route=route.name,
            scopes=list(scopes),
            counted=False,
            reference=http_request.headers.get("X-Request-Id"),
        )
        ledger = self._sim.ledger  # a reset puts another in its place
        ledger.add_call(call)
        request = ApiRequest(
            match=match,
            query=http_request.query,
            body=body,
            now=call.at,
            base_url=f"{http_request.scheme}://{http_request.host}",
            key=call.key,
            session=None,
            reference=call.reference,
            idempotency_key=http_request.headers.get("Idempotency-Key") if route.idempotent else None,
            address=address,
            session_token=http_request.headers.get("Session-Token", ""),
            transaction_token=http_request.headers.get("X-Transaction-Token", ""),
            authorization=http_request.headers.get("Authorization", ""),
        )
        try:
            return await self._respond(http_request, route, call, request)
        finally:
            call.answered_at = self._sim.wall_now()
            ledger.finish_call(call)

    def _api_key(self, http_request: web.Request) -> str:
        """The caller's key; by API v1 also that of the application whose token it is."""
        api_key, token = http_request.headers.get("x-api-key", ""), http_request.headers.get("Authorization", "")
        if api_key or not http_request.path.startswith("/v1/") or not token.startswith("Bearer "):
            return api_key
        return self._sim.state.oauth.api_key_of(token.removeprefix("Bearer "), self._sim.session_now())

    async def _respond(self, http_request: web.Request, route: Route, call: RecordedCall, request: ApiRequest) -> web.StreamResponse:
        state = self._sim.state
        script = self._sim.faults.next_scripted(route.name)
        fault = script.fault if script is not None else self._sim.faults.draw(route.name)
        call.fault = fault if fault is not None else ("scripted" if script is not None else None)
        if script is not None and script.fault is None:
            return responses.scripted(call, script)
        if fault in {"throttle_429", "throttle_429_bare"}:
            return responses.to_http(call, self._throttled(call, bare=fault == "throttle_429_bare"))
        rejected = self._admit(http_request, route, call, request)
        if rejected is not None:
            return responses.to_http(call, rejected)
        try:
            await asyncio.sleep(self._sim.faults.latency_s(route.name))
            if state is not self._sim.state:  # the caller belongs to a test that is over
                fault = "reset"
            if fault in _FAULTS_INSTEAD_OF_ENDPOINT:
                return await self._fail(http_request, call, fault)
            phone_fault = _PHONE_FAULTS.get(fault or "") if route.name == "phone.send" else None
            response = phone_fault or self._run_endpoint(http_request, route, call, request)
        finally:
            state.check_endpoints.end(request)
            state.transactions.end(request)
        if fault in {"lost_reply", "gateway_502"}:
            return responses.gave_up(call) if fault == "gateway_502" else responses.reset_connection(http_request, call)
        if fault == "late_reply":
            await asyncio.sleep(self._sim.faults.plan.hang_s)
        if self._switches.headers_on_success:
            quota = self._sim.limiter.quota_headers(call.key, tuple(call.scopes), call.at)
            response = replace(response, headers={**quota, **(response.headers or {})})
        return await responses.send(http_request, call, response, fault)

    def _admit(self, http_request: web.Request, route: Route, call: RecordedCall, request: ApiRequest) -> ApiResponse | None:
        """The rejection of a call; None if it is admitted. In this order: session, API key, rate limits, idempotency key."""
        if route.has_session_id:
            request.session = self._sim.sessions.get(request.match["id"], call.at + self._sim.clock_offset_s)
            if request.session is None:
                return NOT_FOUND
        if route.auth == "key":
            return self._admit_key(http_request, route, call, request)
        if route.auth == "token" and request.session_token != request.target_session.token:
            return ApiResponse(self._switches.auth_status, NO_PERMISSION)
        return None

    def _admit_key(self, http_request: web.Request, route: Route, call: RecordedCall, request: ApiRequest) -> ApiResponse | None:
        request.application = self._sim.state.directory.by_key(self._api_key(http_request))
        if request.application is None:
            return ApiResponse(route.wrong_key_status or self._switches.auth_status, NO_PERMISSION)
        limited = self._sim.limiter.admit(call.key, tuple(call.scopes), call.at)
        call.counted = limited is None or self._switches.rejected_calls_count
        if limited is not None:
            return ApiResponse(429, limited.body, headers=limited.headers)
        if request.application.deleted:
            return ApiResponse(403, APPLICATION_DELETED)
        if route.name in request.application.forbidden_routes:
            return ApiResponse(403, NO_PERMISSION)
        if request.session is not None and request.session.application is not request.application:
            return ApiResponse(403, NO_PERMISSION)
        state = self._sim.state
        return state.transactions.begin(request) if route.name == "transaction.create" else state.check_endpoints.begin(request)

    def _run_endpoint(self, http_request: web.Request, route: Route, call: RecordedCall, request: ApiRequest) -> ApiResponse:
        request.now = call.at + self._sim.clock_offset_s
        organization = request.application.organization if request.application is not None else None
        before = organization.credits if organization is not None else 0
        rejected = _parse_body(http_request, route, request)
        if rejected is None and (faults := member_faults(MEMBERS.get(route.name, {}), request.body)) is not None:
            rejected = ApiResponse(400, faults)
        if request.session is not None and self._sim.sessions.get(request.session.session_id, request.now) is None:
            rejected = NOT_FOUND  # another call has deleted it meanwhile
        call.content = content_digest(http_request.path, http_request.query, request.body)
        response = rejected or self._sim.state.handlers[route.name](request)
        call.credits = max(0, before - organization.credits) if organization is not None else 0
        call.acted, call.session_id = response.acted, response.session_id
        self._sim.reschedule()
        if not isinstance(response.body, dict | list):
            return response
        return replace(response, body=media.linked(dumps(response.body), request.base_url, request.now))

    def _throttled(self, call: RecordedCall, *, bare: bool) -> ApiResponse:
        """A 429 although the limit is not used up; ``bare``: without headers and body."""
        if bare:
            return ApiResponse(429, None)
        wait_s = self._sim.faults.plan.retry_after_s
        headers = {"Retry-After": str(wait_s)}
        if call.scopes:
            headers["X-RateLimit-Limit"] = str(self._sim.limits[call.scopes[0]].limit)
            headers["X-RateLimit-Remaining"] = "0"
            headers["X-RateLimit-Reset"] = str(int(call.at) + wait_s)
        return ApiResponse(429, {"detail": f"Request was throttled. Expected available in {wait_s} seconds."}, headers=headers)

    async def _fail(self, http_request: web.Request, call: RecordedCall, fault: str) -> web.StreamResponse:
        if fault == "error_403_html":
            return responses.blocked(call)
        if fault == "error_500_html":
            return responses.server_error(call)
        if fault in {"error_502", "error_503"}:
            unavailable = ApiResponse(int(fault[-3:]), {"detail": "The service is temporarily unavailable."})
            return responses.to_http(call, unavailable)
        if fault == "hang":
            await asyncio.sleep(self._sim.faults.plan.hang_s)
        return responses.reset_connection(http_request, call)


def _parse_body(http_request: web.Request, route: Route, request: ApiRequest) -> ApiResponse | None:
    """Replace the bytes of ``request.body`` by a form or parsed JSON; the rejection of a body in another format.

    In the order and the words of Django REST framework; a call without a body needs no type.
    """
    content_type = http_request.headers.get("Content-Type", "")
    boundary = boundary_of(content_type)
    if boundary is not None and route.form != "no":
        try:
            request.body = read_form(boundary, request.body)
        except MultipartError as exc:
            return ApiResponse(400, {"detail": f"Multipart form parse error - {exc}"})
        return None
    if route.form == "url":
        request.body = dict(parse_qsl(request.body.decode(errors="replace")))
        return None
    is_json = content_type.split(";", 1)[0].strip().lower() == "application/json"
    if route.form == "only" or (request.body and not is_json):
        return ApiResponse(415, {"detail": f'Unsupported media type "{content_type}" in request.'})
    return _parse_json(route, request)


def _parse_json(route: Route, request: ApiRequest) -> ApiResponse | None:
    try:
        request.body = loads(request.body) if request.body else {}
    except orjson.JSONDecodeError as exc:
        return ApiResponse(400, {"detail": f"JSON parse error - {exc}"})
    if isinstance(request.body, dict) or (route.name == "event.create_batch" and isinstance(request.body, list)):
        return None
    kind = "No data provided" if request.body is None else f"Invalid data. Expected a dictionary, but got {type(request.body).__name__}."
    return ApiResponse(400, {"non_field_errors": [kind]})
