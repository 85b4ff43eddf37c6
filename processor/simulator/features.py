"""Results of the features of a hosted flow, as the arrays of a decision. Pure (Didit, "Data models").

Some scores are whole floats on purpose: ``97.0`` on the wire is ``97`` in the canonical form that is signed.
"""

from __future__ import annotations

from typing import Any

from processor.simulator.scenarios import Scenario, cause_of
from processor.simulator.session import Session

_BASE = ("id_verifications", "liveness_checks", "face_matches")
_NAMES = {"id_verifications": "ID_VERIFICATION", "liveness_checks": "LIVENESS", "face_matches": "FACE_MATCH"}
_NODES = {"id_verifications": "node-0", "liveness_checks": "node-1", "face_matches": "node-2"}


def warning(feature: str, risk: str, log_type: str, node_id: str | None) -> dict[str, Any]:
    """A warning of a decision; the ``log_type`` ``error`` means that the feature is declined."""
    words = risk.replace("_", " ").capitalize()
    return {
        "feature": feature,
        "risk": risk,
        "additional_data": None,
        "log_type": log_type,
        "short_description": words,
        "long_description": f"{words}.",
        "node_id": node_id,
    }


def feature_names(session: Session) -> list[str]:
    """The features of a session's workflow."""
    if session.service is not None:
        return [session.service]
    cause = cause_of(session.scenario, session.status)
    extra = [cause.feature] if cause.array and cause.array not in _BASE else []
    return [*_NAMES.values(), *extra]


def decision_arrays(session: Session) -> dict[str, list[dict[str, Any]]]:
    """The arrays of a settled session: array name -> results."""
    if session.check_arrays is not None:
        return session.check_arrays
    cause = cause_of(session.scenario, session.status)
    arrays: dict[str, list[dict[str, Any]]] = {}
    for array in dict.fromkeys((*_BASE, *([cause.array] if cause.array else []))):
        bad = array == cause.array
        status = cause.outcome if bad else "Approved"
        if array == "id_verifications" and session.status == "Kyc Expired":
            status = "Expired"
        arrays[array] = [
            {
                **_item(array, session, bad=bad),
                "status": status,
                "node_id": _NODES.get(array, "node-3"),
                "warnings": _warnings(cause, array),
            }
        ]
    return arrays


def _warnings(cause: Scenario, array: str) -> list[dict[str, Any]]:
    if array != cause.array:
        return []
    return [warning(cause.feature, cause.risk, "error" if cause.outcome == "Declined" else "warning", _NODES.get(array, "node-3"))]


def _item(array: str, session: Session, *, bad: bool) -> dict[str, Any]:
    if array == "id_verifications":
        return {
            "document_type": "Passport",
            "document_number": f"P{session.session_number:08d}",
            "first_name": "Simulated",
            "last_name": f"Pérson {session.session_number}",
            "date_of_birth": "1990-01-01",
            "issuing_state": "ESP",
            "nationality": "ESP",
            **session.corrections,
        }
    if array == "liveness_checks":
        return {"method": "PASSIVE", "score": 12.5 if bad else 97.0, "age_estimation": 34.25}
    if array == "face_matches":
        return {"score": 12.5 if bad else 96.25}
    if array == "aml_screenings":
        return {"total_hits": 1, "entity_type": "person", "hits": [], "score": 90.0}
    if array == "database_validations":
        return {
            "issuing_state": "ESP",
            "validation_type": "one_by_one",
            "match_type": "no_match" if bad else "full_match",
            "validations": [],
        }
    return {}
