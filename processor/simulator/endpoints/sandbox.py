"""Sandbox scenarios: the catalogue, and arming a session. Pure but for the state given (Didit, "Sandbox testing")."""

from __future__ import annotations

from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.scenarios import catalogue, scenario_error
from processor.simulator.sessions import Sessions


class SandboxEndpoints:
    """The routes of sandbox scenarios."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {"sandbox.scenarios": lambda _: ApiResponse(200, catalogue()), "session.arm": self._arm}

    def _arm(self, request: ApiRequest) -> ApiResponse:
        """Authenticated by the token of the session; only before the user begins."""
        session = request.target_session
        if not session.application.sandbox:
            return ApiResponse(403, {"detail": "You do not have permission to perform this action."})
        if "scenario" not in request.json_body:
            return ApiResponse(400, {"scenario": ["This field is required."]})
        slug = request.json_body["scenario"]
        if (error := scenario_error(slug)) is not None:
            return ApiResponse(400, {"scenario": error})
        if session.status != "Not Started":
            return ApiResponse(400, ["Scenario can only be armed before the verification starts."])
        self._sessions.arm(session, slug, request.now)
        document = {"session_id": session.session_id, "scenario": slug, "status": session.status}
        return ApiResponse(200, document, session.session_id, acted=True)
