"""Control routes under ``/_sim/``, for tests and the demo. They count in no rate limit and are not in the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from processor.simulator.config import SimulatorOptionError, faults_from_json
from processor.simulator.ledger_checks import judgement
from processor.simulator.options import changes_from_json, webhook_options_from_json
from processor.simulator.session import Session
from processor.simulator.simulator import Simulator
from processor.simulator.state import DiditState
from processor.simulator.statuses import IllegalTransitionError

_ADVANCE_S_MAX = 1e9  # 31 years: times stay in what calendars and timers hold
_WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def control_routes(simulator: Simulator) -> list[web.RouteDef]:
    """All control routes of a simulator."""
    control = _ControlRoutes(simulator)
    posts = {
        "faults": control.faults,
        "script": control.script,
        "sessions/{id}/status": control.status,
        "sessions/{id}/finish": control.finish,
        "sessions/{id}/hold": control.hold,
        "sessions/{id}/webhook": control.webhook,
        "reset": control.reset,
        "clock": control.clock,
        "credits": control.credits,
        "api-keys": control.api_keys,
        "rights": control.rights,
        "workflows": control.workflows,
        "workflows/{id}/publish": control.publish,
        "users/block": control.block,
        "media": control.media,
        "webhooks": control.webhooks,
        "checkouts/{id}/pay": control.pay,
    }
    return [
        web.get("/_sim/ledger", control.ledger),
        web.get("/_sim/judgement", control.judgement),
        web.get("/_sim/codes", control.codes),
        *(web.post(f"/_sim/{path}", _with_json(handler, simulator)) for path, handler in posts.items()),
    ]


def _with_json(handler: Callable[[web.Request, Any], dict[str, Any]], simulator: Simulator) -> _WebHandler:
    """A POST handler: parses the JSON body, and turns errors into 400 and 409."""

    async def handle(request: web.Request) -> web.Response:
        try:
            document = handler(request, orjson.loads(await request.read() or b"{}"))
        except (SimulatorOptionError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
            return _json(400, {"detail": f"{type(exc).__name__}: {exc}"})
        except IllegalTransitionError as exc:
            return _json(409, {"detail": f"no such step: {exc}"})
        simulator.reschedule()
        return _json(200, document)

    return handle


def _json(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


class _ControlRoutes:
    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator

    @property
    def _state(self) -> DiditState:
        return self._sim.state

    async def ledger(self, request: web.Request) -> web.Response:
        since = request.query.get("since", "0")
        return _json(200, self._sim.ledger.document(int(since) if since.isascii() and since.isdigit() else 0))

    async def judgement(self, _request: web.Request) -> web.Response:
        return _json(200, judgement(self._sim.ledger.document()))

    async def codes(self, _request: web.Request) -> web.Response:
        return _json(200, {"codes": [*self._state.check_endpoints.service.codes.pending(), *self._state.accounts.pending_codes()]})

    def faults(self, _request: web.Request, body: Any) -> dict[str, Any]:
        self._sim.faults.plan = faults_from_json(orjson.dumps(body).decode())
        return {"rates": dict(self._sim.faults.plan.rates)}

    def script(self, _request: web.Request, body: Any) -> dict[str, Any]:
        return {"waiting": self._sim.faults.add_script(body["route"], body["answers"])}

    def status(self, request: web.Request, body: Any) -> dict[str, Any]:
        session = self._session(request)
        self._sim.sessions.change_status(session, body["status"], self._sim.session_now())
        return {"status": session.status}

    def finish(self, request: web.Request, _body: Any) -> dict[str, Any]:
        return {"status": self._sim.sessions.finish(self._session(request), self._sim.session_now())}

    def hold(self, request: web.Request, body: Any) -> dict[str, Any]:
        session = self._session(request)
        session.held = bool(body["held"])
        return {"held": session.held}

    def webhook(self, request: web.Request, body: Any) -> dict[str, Any]:
        session = self._session(request)
        self._sim.webhook_sender.enqueue(session, "status.updated", self._sim.session_now(), test=bool(body.get("test", False)))
        return {"status": session.status}

    def reset(self, _request: web.Request, body: Any) -> dict[str, Any]:
        self._sim.reset(**changes_from_json(body, self._sim.first_config))
        return {"seed": self._sim.config.seed}

    def clock(self, _request: web.Request, body: Any) -> dict[str, Any]:
        by_s = float(body["advance_s"])
        if not 0 <= by_s <= _ADVANCE_S_MAX:
            raise SimulatorOptionError(f"clock: advance_s must be 0 to {_ADVANCE_S_MAX:g}")
        self._sim.advance_clock(by_s)
        return {"ahead_s": self._sim.clock_offset_s}

    def credits(self, _request: web.Request, body: Any) -> dict[str, Any]:
        organization = self._state.directory.organization
        organization.credits = int(body.get("credits", organization.credits))
        organization.topped_up = bool(body.get("topped_up", organization.topped_up))
        organization.suspended = bool(body.get("suspended", organization.suspended))
        return {"credits": organization.credits, "topped_up": organization.topped_up, "suspended": organization.suspended}

    def api_keys(self, _request: web.Request, body: Any) -> dict[str, Any]:
        return {"accepted": self._state.directory.replace_live_keys(body["keys"])}

    def rights(self, _request: web.Request, body: Any) -> dict[str, Any]:
        live = self._state.directory.live
        live.deleted = bool(body.get("deleted", live.deleted))
        live.forbidden_routes = frozenset(body.get("forbidden_routes", live.forbidden_routes))
        live.forbidden_workflows = frozenset(body.get("forbidden_workflows", live.forbidden_workflows))
        live.organization.not_in_contract = frozenset(body.get("not_in_contract", live.organization.not_in_contract))
        return {"deleted": live.deleted, "forbidden_routes": sorted(live.forbidden_routes)}

    def workflows(self, _request: web.Request, body: Any) -> dict[str, Any]:
        workflows = self._state.workflows
        if "known" in body:  # null: every UUID
            workflows.known = frozenset(map(str, body["known"])) if body["known"] is not None else None
        workflows.business = frozenset(map(str, body.get("business", workflows.business)))
        workflows.archived = frozenset(map(str, body.get("archived", workflows.archived)))
        return {"known": sorted(workflows.known) if workflows.known is not None else None, "business": sorted(workflows.business)}

    def publish(self, request: web.Request, _body: Any) -> dict[str, Any]:
        return {"workflow_version": self._state.workflows.publish(request.match_info["id"], self._sim.session_now()).number}

    def block(self, _request: web.Request, body: Any) -> dict[str, Any]:
        blocked = self._sim.sessions.blocked_users(self._state.directory.live)
        blocked.add(str(body["vendor_data"]))
        return {"blocked": len(blocked)}

    def media(self, _request: web.Request, body: Any) -> dict[str, Any]:
        host = self._state.media
        host.ended, host.delay_s = int(body.get("ended", host.ended)), float(body.get("delay_s", host.delay_s))
        return {"ended": host.ended, "given": host.given}

    def webhooks(self, _request: web.Request, body: Any) -> dict[str, Any]:
        sender = self._sim.webhook_sender
        sender.options = webhook_options_from_json(orjson.dumps(body).decode(), sender.options)
        return {"url": sender.options.url}

    def pay(self, request: web.Request, _body: Any) -> dict[str, Any]:
        organization, dollars = self._state.record_endpoints.checkouts.pop(request.match_info["id"])
        organization.credits += dollars
        organization.topped_up = True
        return {"credits": organization.credits}

    def _session(self, request: web.Request) -> Session:
        session = self._sim.sessions.get(request.match_info["id"], self._sim.session_now())
        if session is None:
            raise KeyError("no such session")
        return session
