"""Sandbox scenarios: the catalogue, and arming a session. Pure but for the state it is given (Didit, "Sandbox testing")."""

from __future__ import annotations

from processor.simulator.messages import Asked, Handler, Told
from processor.simulator.scenarios import catalogue, scenario_fault
from processor.simulator.sessions import Sessions


class SandboxEndpoints:
    """The routes of sandboxes."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def handlers(self) -> dict[str, Handler]:
        """By route."""
        return {"sandbox.scenarios": lambda _: Told(200, catalogue()), "session.arm": self._arm}

    def _arm(self, asked: Asked) -> Told:
        """By the session's own token, before the user begins."""
        session = asked.known
        if not session.application.sandbox:
            return Told(403, {"detail": "You do not have permission to perform this action."})
        if "scenario" not in asked.document:
            return Told(400, {"scenario": ["This field is required."]})
        slug = asked.document["scenario"]
        if (fault := scenario_fault(slug)) is not None:
            return Told(400, {"scenario": fault})
        if session.status != "Not Started":
            return Told(400, {"scenario": ["Scenario can only be armed before the verification starts."]})
        self._sessions.arm(session, slug, asked.now)
        answer = {"session_id": session.session_id, "scenario": slug, "status": session.status}
        return Told(200, answer, session.session_id, acted=True)
