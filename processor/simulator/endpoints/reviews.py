"""What operators do to sessions by the API: a new status, a note, corrected data. Pure but for the state it is given.

Sources: Didit, "Update status", "Create review", "Update session data".
"""

from __future__ import annotations

import math
from typing import Any

from processor.simulator.config import Switches
from processor.simulator.decisions import decision
from processor.simulator.messages import Asked, Handler, Told
from processor.simulator.session import Session
from processor.simulator.sessions import Sessions
from processor.simulator.statuses import UPDATABLE
from processor.simulator.timestamps import iso
from processor.simulator.validation import update_fault

_COOLDOWN_S = 30.0
_BACKEND = frozenset({"AML", "IP_ANALYSIS", "DATABASE_VALIDATION"})  # checks that need no user


class ReviewEndpoints:
    """The routes of operators."""

    def __init__(self, sessions: Sessions, switches: Switches) -> None:
        self._sessions, self._switches = sessions, switches

    def handlers(self) -> dict[str, Handler]:
        """By route."""
        return {
            "session.update_status": self._update_status,
            "session.update_data": self._update_data,
            "session.update_poa": self._update_poa,
            "session.reviews": self._reviews,
            "session.review": self._review,
        }

    def _update_status(self, asked: Asked) -> Told:
        """The present status is looked at before the body."""
        session = asked.known
        if session.status not in UPDATABLE:
            allowed = "Approved, Declined, In Review, Kyc Expired, Abandoned or Resubmitted"
            return Told(400, {"detail": f"Only sessions with status {allowed} can be updated. Current status: {session.status}"})
        fault = update_fault(asked.body)
        if fault is not None:
            return Told(400, fault)
        status = asked.body["new_status"]
        if status == "Resubmitted" and (refused := _resubmit_refusal(session, asked.body, asked.now)) is not None:
            return refused
        if status == session.status:
            if self._switches.same_status_update == 400:  # noqa: PLR2004 - a switch
                return Told(400, ["The new status is the same as the current status."])
            return Told(200, {"session_id": session.session_id}, session.session_id)
        session.reviews.append(_note("api", status, asked.body.get("comment"), asked.now))
        if status == "Resubmitted":
            session.resubmit_info = {"nodes_to_resubmit": _nodes(session, asked.body), "reasons": {}}
        self._sessions.review(session, status, asked.now)
        return Told(200, {"session_id": session.session_id}, session.session_id, acted=True)

    def _update_data(self, asked: Asked) -> Told:
        """Corrected data of the document; told by ``data.updated``."""
        return self._correct(asked, "id_verifications")

    def _update_poa(self, asked: Asked) -> Told:
        return self._correct(asked, "poa_verifications")

    def _correct(self, asked: Asked, array: str) -> Told:
        session = asked.known
        if not isinstance(asked.body, dict) or not asked.body:
            return Told(400, {"detail": "No data to update."})
        if not decision(session, "v3").get(array):
            return Told(400, {"detail": "The session has no such data to update."})
        session.corrections |= asked.body
        self._sessions.listener(session, "data.updated", asked.now)
        return Told(200, {"session_id": session.session_id}, session.session_id, acted=True)

    def _reviews(self, asked: Asked) -> Told:
        return Told(200, asked.known.reviews, asked.known.session_id)

    def _review(self, asked: Asked) -> Told:
        """A note; it never changes the status."""
        note = _note("api", None, asked.document.get("comment"), asked.now)
        asked.known.reviews.append(note)
        return Told(201, note, asked.known.session_id, acted=True)


def _note(user: str, status: str | None, comment: Any, now: float) -> dict[str, Any]:
    return {"user": user, "new_status": status, "comment": comment, "created_at": iso(now)}


def _resubmit_refusal(session: Session, body: dict[str, Any], now: float) -> Told | None:
    nodes = _nodes(session, body)
    if not nodes:
        return Told(400, {"detail": "No features found that need resubmission"})
    if all(node.get("feature") in _BACKEND for node in nodes):
        last, session.backend_resubmit_at = session.backend_resubmit_at, now
        if last is not None and now < last + _COOLDOWN_S:
            session.backend_resubmit_at = last
            wait_s = math.ceil(last + _COOLDOWN_S - now)
            return Told(429, {"detail": f"Resubmission was already requested. Please wait {wait_s} seconds."})
    return None


def _nodes(session: Session, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes to do again: those named, else those of features that were not approved."""
    if body.get("nodes_to_resubmit"):
        return list(body["nodes_to_resubmit"])
    arrays = [items for items in decision(session, "v3").values() if isinstance(items, list)]
    items = [
        item for array in arrays for item in array if isinstance(item, dict) and "node_id" in item and item.get("status") != "Approved"
    ]
    if session.status == "Abandoned":
        return [{"node_id": "node-0", "feature": "ID_VERIFICATION"}]
    return [{"node_id": item["node_id"], "feature": (item["warnings"] or [{"feature": "ID_VERIFICATION"}])[0]["feature"]} for item in items]
