"""Sandbox scenarios: the catalogue, and arming a session. Pure but for the state given (Didit, "Sandbox testing")."""

from __future__ import annotations

from typing import Any

from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.scenarios import catalogue, scenario_error
from processor.simulator.sessions import Sessions
from processor.simulator.validation import NO_PERMISSION, REQUIRED, choice_error

_SIMULATED = frozenset({"Approved", "Declined", "In Review", "Expired"})


class SandboxEndpoints:
    """The routes of sandbox scenarios."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {"sandbox.scenarios": lambda _: ApiResponse(200, catalogue()), "session.arm": self._arm, "sandbox.simulate": self._simulate}

    def _simulate(self, request: ApiRequest) -> ApiResponse:
        """The outcome of a sandbox session without its user. One source: a public smoke test against the real sandbox."""
        session = request.target_session
        status: Any = request.json_body.get("new_status")
        if not session.application.sandbox:
            return ApiResponse(403, NO_PERMISSION)
        if (wrong := choice_error(status, _SIMULATED)) is not None:
            return ApiResponse(400, {"new_status": wrong})
        self._sessions.review(session, status, request.now)
        return ApiResponse(200, {"session_id": session.session_id, "status": session.status}, session.session_id, acted=True)

    def _arm(self, request: ApiRequest) -> ApiResponse:
        """Authenticated by the token of the session; only before the user begins."""
        session = request.target_session
        if not session.application.sandbox:
            return ApiResponse(403, NO_PERMISSION)
        if "scenario" not in request.json_body:
            return ApiResponse(400, {"scenario": REQUIRED})
        slug = request.json_body["scenario"]
        if (error := scenario_error(slug)) is not None:
            return ApiResponse(400, {"scenario": error})
        if session.status != "Not Started":
            return ApiResponse(400, ["Scenario can only be armed before the verification starts."])
        self._sessions.arm(session, slug, request.now)
        document = {"session_id": session.session_id, "scenario": slug, "status": session.status}
        return ApiResponse(200, document, session.session_id, acted=True)
