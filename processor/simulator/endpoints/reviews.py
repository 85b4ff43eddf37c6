"""What operators change on sessions: the status, and notes. Pure but for the state given.

Sources: Didit, "Update status", "Create review", "List session reviews".
"""

from __future__ import annotations

import math
from typing import Any

from processor.simulator.config import Switches
from processor.simulator.features import FEATURES, decision_arrays
from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.pages import page_response
from processor.simulator.request_members import OF_STATE, member_faults
from processor.simulator.session import Session
from processor.simulator.sessions import Sessions
from processor.simulator.statuses import SETTLED, TRANSITIONS, UPDATABLE
from processor.simulator.timestamps import iso
from processor.simulator.validation import update_error

_COOLDOWN_S = 30.0
_NOTHING_TO_RESUBMIT = "No features found that need resubmission. All features are already approved."
_BACKEND = frozenset({"AML", "IP_ANALYSIS", "DATABASE_VALIDATION"})  # checks that need no user


class ReviewEndpoints:
    """The routes for operators."""

    def __init__(self, sessions: Sessions, switches: Switches) -> None:
        self._sessions = sessions
        self._switches = switches

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "session.update_status": self._update_status,
            "session.reviews": self._reviews,
            "session.add_review": self._review,
        }

    def _update_status(self, request: ApiRequest) -> ApiResponse:
        """The current status is checked before the body."""
        session = request.target_session
        if session.status not in UPDATABLE:
            allowed = "Approved, Declined, In Review, Kyc Expired, Abandoned, Resubmitted"
            return ApiResponse(400, {"detail": f"Only sessions with status {allowed} can be updated. Current status: {session.status}"})
        error = member_faults(OF_STATE["session.update_status"], request.body) or update_error(request.body)
        if error is not None:
            return ApiResponse(400, error)
        status = request.body["new_status"]
        if status == "Resubmitted" and (rejection := _reject_resubmission(session, request.body, request.now)) is not None:
            return rejection
        if status == session.status:
            if self._switches.same_status_update == 400:  # noqa: PLR2004 - a switch
                return ApiResponse(400, ["The new status is the same as the current status."])
            return ApiResponse(200, {"session_id": session.session_id}, session.session_id)
        comment = request.body.get("comment")
        session.reviews.append(_note("api", status, comment, request.now))
        changed: dict[str, Any] = {
            "previous_value": {"status": session.status},
            "new_value": {"status": status},
            "changed_fields": ["status"],
        }
        session.add_activity("STATUS_UPDATED", request.now, previous_status=session.status, new_status=status, comment=comment, **changed)
        if status == "Resubmitted":
            session.resubmit_info = {"nodes_to_resubmit": _nodes(session, request.body), "reasons": {}}
        self._sessions.review(session, status, request.now)
        return ApiResponse(200, {"session_id": session.session_id}, session.session_id, acted=True)

    def _reviews(self, request: ApiRequest) -> ApiResponse:
        feed = request.target_session.activity
        return page_response(request, feed if request.query.get("ordering") == "created_at" else feed[::-1], lambda entry: entry)

    def _review(self, request: ApiRequest) -> ApiResponse:
        """Add a note; it does not change the status."""
        session, body = request.target_session, request.json_body
        label, comment = body.get("new_status"), body.get("comment")
        if label is not None and label not in TRANSITIONS:
            return ApiResponse(400, {"new_status": [f'"{label}" is not a valid choice.']})
        session.add_activity("STATUS_UPDATED", request.now, actor="CONSOLE_USER", new_status=label, comment=comment)
        return ApiResponse(201, _note("Unknown", label, comment, request.now), session.session_id, acted=True)


def _note(user: str, status: str | None, comment: Any, now: float) -> dict[str, Any]:
    return {"user": user, "new_status": status, "comment": comment, "created_at": iso(now)}


def _reject_resubmission(session: Session, body: dict[str, Any], now: float) -> ApiResponse | None:
    nodes = _nodes(session, body)
    if not nodes:
        return ApiResponse(400, {"nodes_to_resubmit": _NOTHING_TO_RESUBMIT})
    if all(node.get("feature") in _BACKEND for node in nodes):
        last, session.backend_resubmit_at = session.backend_resubmit_at, now
        if last is not None and now < last + _COOLDOWN_S:
            session.backend_resubmit_at = last
            wait_s = math.ceil(last + _COOLDOWN_S - now)
            return ApiResponse(429, {"detail": f"Resubmission was already requested. Please wait {wait_s} seconds."})
    return None


def _nodes(session: Session, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes to resubmit: those in the body, else those of features that were not approved."""
    if body.get("nodes_to_resubmit"):
        return list(body["nodes_to_resubmit"])
    if session.status == "Abandoned":
        return [{"node_id": "node-0", "feature": "ID_VERIFICATION"}]
    arrays = decision_arrays(session) if session.status in SETTLED else {}
    failed = [(array, item) for array, items in arrays.items() for item in items if item["status"] != "Approved"]
    return [{"node_id": item["node_id"], "feature": FEATURES.get(array, "ID_VERIFICATION")} for array, item in failed]
