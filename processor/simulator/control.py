"""Control routes under ``/_sim/``: for tests and the demo. They count in no scope and stand in no ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from processor.simulator.app import Simulator
from processor.simulator.config import SimulatorOptionError, faults_from_json
from processor.simulator.sessions import IllegalTransitionError

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def control_routes(simulator: Simulator) -> list[web.RouteDef]:
    """All control routes of a simulator."""
    control = _Control(simulator)
    return [
        web.get("/_sim/ledger", control.ledger),
        web.post("/_sim/faults", _guarded(control.faults)),
        web.post("/_sim/script", _guarded(control.script)),
        web.post("/_sim/sessions/{id}/status", _guarded(control.status)),
        web.post("/_sim/clock", _guarded(control.clock)),
        web.post("/_sim/credits", _guarded(control.credits)),
        web.post("/_sim/api-keys", _guarded(control.api_keys)),
        web.post("/_sim/workflows/{id}/publish", _guarded(control.publish)),
        web.post("/_sim/users/block", _guarded(control.block)),
    ]


def _guarded(handler: Callable[[web.Request, Any], dict[str, Any]]) -> _Handler:
    async def guarded(request: web.Request) -> web.Response:
        try:
            return _reply(200, handler(request, orjson.loads(await request.read() or b"{}")))
        except (SimulatorOptionError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
            return _reply(400, {"detail": f"{type(exc).__name__}: {exc}"})
        except IllegalTransitionError as exc:
            return _reply(409, {"detail": f"no such step: {exc}"})

    return guarded


def _reply(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


class _Control:
    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator

    async def ledger(self, request: web.Request) -> web.Response:
        since = request.query.get("since", "0")
        return _reply(200, self._sim.ledger.document(int(since) if since.isdigit() else 0))

    def faults(self, _request: web.Request, body: Any) -> dict[str, Any]:
        self._sim.faults.plan = faults_from_json(orjson.dumps(body).decode())
        return {"rates": dict(self._sim.faults.plan.rates)}

    def script(self, _request: web.Request, body: Any) -> dict[str, Any]:
        return {"waiting": self._sim.faults.order(body["route"], body["answers"])}

    def status(self, request: web.Request, body: Any) -> dict[str, Any]:
        now = self._sim.now() + self._sim.ahead_s
        session = self._sim.sessions.get(request.match_info["id"], now)
        if session is None:
            raise KeyError("no such session")
        self._sim.sessions.move(session, body["status"], now)
        return {"status": session.status}

    def clock(self, _request: web.Request, body: Any) -> dict[str, Any]:
        self._sim.ahead_s += max(0.0, float(body["advance_s"]))
        return {"ahead_s": self._sim.ahead_s}

    def credits(self, _request: web.Request, body: Any) -> dict[str, Any]:
        self._sim.sessions.credits = int(body["credits"])
        return {"credits": self._sim.sessions.credits}

    def api_keys(self, _request: web.Request, body: Any) -> dict[str, Any]:
        self._sim.api_keys = {str(key) for key in body["keys"]}
        return {"accepted": len(self._sim.api_keys)}

    def publish(self, request: web.Request, _body: Any) -> dict[str, Any]:
        return {"workflow_version": self._sim.sessions.publish_workflow(request.match_info["id"])}

    def block(self, _request: web.Request, body: Any) -> dict[str, Any]:
        self._sim.sessions.blocked.add(str(body["vendor_data"]))
        return {"blocked": len(self._sim.sessions.blocked)}
