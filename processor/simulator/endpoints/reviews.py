"""What operators change on sessions: the status, notes, corrected data. Pure but for the state given.

Sources: Didit, "Update status", "Create review", "Update session data".
"""

from __future__ import annotations

import math
import uuid
from typing import Any

from processor.simulator.config import Switches
from processor.simulator.decisions import decision
from processor.simulator.features import FEATURES, decision_arrays
from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.session import Session
from processor.simulator.sessions import Sessions
from processor.simulator.statuses import SETTLED, UPDATABLE
from processor.simulator.timestamps import iso
from processor.simulator.validation import update_error

_COOLDOWN_S = 30.0
_EDITABLE = {  # what a correction answers with
    "id_verifications": (
        *("document_type", "document_subtype", "document_number", "personal_number", "date_of_birth", "date_of_issue", "expiration_date"),
        *("issuing_state", "first_name", "last_name", "gender", "address", "place_of_birth", "nationality", "marital_status"),
        *("extra_fields", "parsed_address"),
    ),
    "poa_verifications": (
        *("issuing_state", "document_type", "document_language", "issuer", "issue_date", "poa_address", "name_on_document"),
        *("extra_fields", "poa_parsed_address", "poa_formatted_address"),
    ),
}
_CODES = {"Passport": "P", "Identity Card": "ID"}
_ADDRESS = ("address_type", "city", "region", "street_1", "street_2", "postal_code", "country", "formatted_address")
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
            "session.update_data": self._update_data,
            "session.update_poa": self._update_poa,
            "session.reviews": self._reviews,
            "session.review": self._review,
        }

    def _update_status(self, request: ApiRequest) -> ApiResponse:
        """The current status is checked before the body."""
        session = request.target_session
        if session.status not in UPDATABLE:
            allowed = "Approved, Declined, In Review, Kyc Expired, Abandoned, Resubmitted"
            return ApiResponse(400, {"detail": f"Only sessions with status {allowed} can be updated. Current status: {session.status}"})
        error = update_error(request.body)
        if error is not None:
            return ApiResponse(400, error)
        status = request.body["new_status"]
        if status == "Resubmitted" and (rejection := _reject_resubmission(session, request.body, request.now)) is not None:
            return rejection
        if status == session.status:
            if self._switches.same_status_update == 400:  # noqa: PLR2004 - a switch
                return ApiResponse(400, ["The new status is the same as the current status."])
            return ApiResponse(200, {"session_id": session.session_id}, session.session_id)
        session.reviews.append(_note("api", status, request.body.get("comment"), request.now))
        if status == "Resubmitted":
            session.resubmit_info = {"nodes_to_resubmit": _nodes(session, request.body), "reasons": {}}
        self._sessions.review(session, status, request.now)
        return ApiResponse(200, {"session_id": session.session_id}, session.session_id, acted=True)

    def _update_data(self, request: ApiRequest) -> ApiResponse:
        """Correct the data of the document; sends a ``data.updated`` webhook."""
        return self._correct(request, "id_verifications")

    def _update_poa(self, request: ApiRequest) -> ApiResponse:
        return self._correct(request, "poa_verifications")

    def _correct(self, request: ApiRequest, array: str) -> ApiResponse:
        session = request.target_session
        if not isinstance(request.body, dict) or not request.body:
            return ApiResponse(400, {"detail": "No data to update."})
        if not decision(session, "v3").get(array):
            return ApiResponse(400, {"detail": "The session has no such data to update."})
        session.corrections |= request.body
        self._sessions.listener(session, "data.updated", request.now)
        return ApiResponse(200, _corrected(decision(session, "v3")[array][0], array), session.session_id, acted=True)

    def _reviews(self, request: ApiRequest) -> ApiResponse:
        session = request.target_session
        rows = [_activity(session, number, note) for number, note in enumerate(session.reviews)][::-1]
        body = {"count": len(rows), "next": None, "previous": None, "results": rows}
        return ApiResponse(200, body, session.session_id)

    def _review(self, request: ApiRequest) -> ApiResponse:
        """Add a note; it does not change the status."""
        note = _note("api", None, request.json_body.get("comment"), request.now)
        request.target_session.reviews.append(note)
        return ApiResponse(201, note, request.target_session.session_id, acted=True)


def _note(user: str, status: str | None, comment: Any, now: float) -> dict[str, Any]:
    return {"user": user, "new_status": status, "comment": comment, "created_at": iso(now)}


def _corrected(item: dict[str, Any], array: str) -> dict[str, Any]:
    """What a correction answers with: the members that can be corrected, the document's type by its code."""
    shown = {name: item.get(name) for name in _EDITABLE[array]}
    if array == "id_verifications":
        shown["document_type"] = _CODES.get(str(shown["document_type"]), shown["document_type"])
        shown["parsed_address"] = {name: (shown["parsed_address"] or {}).get(name) for name in _ADDRESS}
    return shown


def _activity(session: Session, number: int, note: dict[str, Any]) -> dict[str, Any]:
    """A note as a row of the trail, the newest first."""
    status = note["new_status"]
    return {
        "uuid": str(uuid.uuid5(uuid.UUID(session.session_id), str(number))),
        "activity_type": "STATUS_UPDATED" if status is not None else "COMMENT",
        "actor_display": "API Client",
        "actor_email": None,
        "actor_type": "API_KEY",
        "new_status": status,
        "previous_status": None,
        "comment": note["comment"],
        "mentioned_emails": [],
        "previous_value": None,
        "new_value": {"status": status} if status is not None else None,
        "changed_fields": ["status"] if status is not None else [],
        "metadata": None,
        "created_at": note["created_at"],
    }


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
