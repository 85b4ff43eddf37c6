"""The documents that a session is read as. Pure (Didit, "Retrieve session", "List sessions")."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from processor.simulator.sessions import SETTLED, Session

_ARRAYS = (
    "id_verifications",
    "nfc_verifications",
    "liveness_checks",
    "face_matches",
    "poa_verifications",
    "phone_verifications",
    "email_verifications",
    "aml_screenings",
    "ip_analyses",
    "database_validations",
    "document_ai_documents",
    "questionnaire_responses",
)
_SINGULAR = {
    "id_verifications": "id_verification",
    "nfc_verifications": "nfc",
    "liveness_checks": "liveness",
    "face_matches": "face_match",
    "poa_verifications": "poa",
    "phone_verifications": "phone",
    "email_verifications": "email",
    "aml_screenings": "aml",
    "ip_analyses": "ip_analysis",
    "database_validations": "database_validation",
}


def iso(epoch_s: float) -> str:
    """ISO 8601 in UTC with microseconds, as Didit writes times."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat().replace("+00:00", "Z")


def decision(session: Session, version: str, *, events: bool) -> dict[str, Any]:
    """The decision document of API ``version`` (``v1``, ``v2``, ``v3``)."""
    arrays: dict[str, Any] = dict.fromkeys(_ARRAYS)
    if session.status in SETTLED:
        arrays |= _features(session)
    document = {
        "session_id": session.session_id,
        "session_kind": "user",
        "session_number": session.session_number,
        "session_url": session.url,
        "status": session.status,
        "environment": "live",
        "workflow_id": session.workflow_id,
        "features": ["ID_VERIFICATION", "LIVENESS", "FACE_MATCH"],
        "vendor_data": session.vendor_data,
        "metadata": session.metadata,
        "expected_details": session.expected_details,
        "contact_details": session.contact_details,
        "callback": session.callback,
        "reviews": session.reviews,
        "created_at": iso(session.created_at),
        "expires_at": iso(session.expires_at),
    }
    if version != "v3":
        return document | {_SINGULAR[name]: items[0] if items else None for name, items in arrays.items() if name in _SINGULAR}
    if events:
        del document["session_kind"]
        document |= {"events": [], "activity_reviews": [], "session_type": "API", "api_service": None, "blocklisted": False}
        document["features"] = [{"feature": f, "node_id": f"node-{n}"} for n, f in enumerate(["ID_VERIFICATION", "LIVENESS", "FACE_MATCH"])]
    return document | arrays


def list_row(session: Session) -> dict[str, Any]:
    """A row of the list: no workflow, no metadata; the token only inside the url."""
    return {
        "session_id": session.session_id,
        "session_kind": "user",
        "session_number": session.session_number,
        "session_url": session.url,
        "portrait_image": None,
        "document_type": None,
        "full_name": None,
        "country": None,
        "status": session.status,
        "vendor_data": session.vendor_data,
        "didit_internal_id": None,
        "created_at": iso(session.created_at),
        "features": [{"feature": "ID_VERIFICATION", "status": "Not Finished"}],
        "phone_number": None,
        "email_address": None,
        "additional_details": None,
    }


def _features(session: Session) -> dict[str, Any]:
    status = {"Kyc Expired": "Expired"}.get(session.status, session.status)
    declined = session.status == "Declined"
    warning = {
        "feature": "FACE_MATCH",
        "risk": "LOW_FACE_MATCH_SIMILARITY",
        "additional_data": None,
        "log_type": "error",
        "short_description": "Low face match similarity",
        "long_description": "The face does not match the document.",
        "node_id": "node-2",
    }
    return {
        "id_verifications": [
            {
                "node_id": "node-0",
                "status": "Approved" if declined else status,
                "warnings": [],
                "document_type": "Passport",
                "document_number": f"P{session.session_number:08d}",
                "first_name": "Simulated",
                "last_name": f"Person {session.session_number}",
                "date_of_birth": "1990-01-01",
                "issuing_state": "ESP",
                "nationality": "ESP",
            }
        ],
        "liveness_checks": [{"node_id": "node-1", "status": "Approved", "warnings": [], "method": "PASSIVE", "score": 97.5}],
        "face_matches": [
            {"node_id": "node-2", "status": status, "warnings": [warning] if declined else [], "score": 12.5 if declined else 96.25}
        ],
    }
