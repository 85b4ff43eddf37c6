"""The JSON documents of a session: decision and list row. Pure (Didit, "Retrieve session", "List sessions")."""

from __future__ import annotations

from typing import Any

from processor.simulator import features
from processor.simulator.session import Session
from processor.simulator.statuses import SETTLED
from processor.simulator.timestamps import iso

# v2 has one object instead of each array, v1 fewer of them and under other names
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
_V1 = {"id_verifications": "kyc", "aml_screenings": "aml", "face_matches": "face", "ip_analyses": "location"}


def decision(session: Session, version: str, *, events: bool = False, empty: bool = False) -> dict[str, Any]:
    """The decision document of API ``version`` (``v1``, ``v2``, ``v3``).

    Arrays of features that have not run are null, or empty lists with ``empty``. ``events`` as with ``include=events``.
    """
    arrays: dict[str, Any] = {name: [] if empty else None for name in features.arrays_of(session)}
    if session.status in SETTLED:
        arrays |= features.decision_arrays(session)
    document = _head(session)
    if version != "v3":
        singular = _V1 if version == "v1" else _SINGULAR
        return document | {name: (arrays.get(array) or [None])[0] for array, name in singular.items()}
    if events:
        del document["session_kind"]
        document |= _events(session)
    return document | arrays


def _head(session: Session) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "session_kind": session.kind,
        "session_number": session.session_number,
        "session_url": session.url,
        "status": session.status,
        "environment": session.application.environment,
        "workflow_id": session.workflow_id,
        "features": features.feature_names(session),
        "vendor_data": session.vendor_data,
        "metadata": session.metadata,
        "expected_details": session.expected_details,
        "contact_details": session.contact_details,
        "callback": session.callback,
        "reviews": [review for review in session.reviews if review["new_status"] is not None],
        "created_at": iso(session.created_at),
        "expires_at": iso(session.expires_at),
    }


def _events(session: Session) -> dict[str, Any]:
    """The members that ``include=events`` adds or replaces."""
    return {
        "events": [],
        "activity_reviews": session.reviews,
        "session_type": session_type(session),
        "api_service": session.service,
        "blocklisted": False,
        "cost_breakdown": None,
        "workflow_version": session.workflow_version,
        "features": [{"feature": name, "node_id": f"node-{number}"} for number, name in enumerate(features.feature_names(session))],
    }


def session_type(session: Session) -> str:
    """``HOSTED``, or ``API`` for a standalone check."""
    return "HOSTED" if session.service is None else "API"


def list_row(session: Session) -> dict[str, Any]:
    """A row of the session list: without workflow and metadata; the token only as part of the url."""
    if session.kind == "business":
        return _business_row(session)
    status = session.status if session.status in SETTLED else "Not Finished"
    document = (features.decision_arrays(session).get("id_verifications") or [{}])[0] if session.status in SETTLED else {}
    return {
        "session_id": session.session_id,
        "session_kind": session.kind,
        "session_number": session.session_number,
        "session_url": session.url,
        "portrait_image": None,
        "document_type": document.get("document_type"),
        "full_name": f"{document['first_name']} {document['last_name']}" if document else None,
        "country": document.get("issuing_state"),
        "status": session.status,
        "vendor_data": session.vendor_data,
        "didit_internal_id": None,
        "created_at": iso(session.created_at),
        "features": [{"feature": name, "status": status} for name in features.feature_names(session)],
        "phone_number": None,
        "email_address": None,
        "additional_details": None,
    }


def _business_row(session: Session) -> dict[str, Any]:
    checks = features.decision_arrays(session).get("registry_checks") if session.status in SETTLED else None
    company = checks[0]["company"] if checks else {}
    return {
        "session_id": session.session_id,
        "session_kind": session.kind,
        "session_number": session.session_number,
        "status": session.status,
        "vendor_data": session.vendor_data,
        "created_at": iso(session.created_at),
        "workflow_id": session.workflow_id,
        "workflow_type": "kyb" if session.is_business else None,
        "workflow_label": session.workflow_label,
        "company_name": company.get("company_name"),
        "registration_number": company.get("registration_number"),
        "country": company.get("country_code"),
    }


def country_of(session: Session) -> str | None:
    """The state that issued the document; None until the session is settled."""
    country: str | None = list_row(session)["country"]
    return country
