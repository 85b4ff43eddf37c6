"""Results of the features of a session, as the arrays of a decision. Pure (Didit, "Data models")."""

from __future__ import annotations

from typing import Any

from processor.simulator.feature_items import item
from processor.simulator.scenarios import Scenario, cause_of
from processor.simulator.session import Session

_BASE = ("id_verifications", "liveness_checks", "face_matches")
FEATURES = {
    "id_verifications": "ID_VERIFICATION",
    "liveness_checks": "LIVENESS",
    "face_matches": "FACE_MATCH",
    "nfc_verifications": "NFC",
    "poa_verifications": "POA",
    "aml_screenings": "AML",
    "ip_analyses": "IP_ANALYSIS",
    "database_validations": "DATABASE_VALIDATION",
}
"""Array of a decision -> the name of its feature in a workflow."""
_NODES = {"id_verifications": "node-0", "liveness_checks": "node-1", "face_matches": "node-2"}


# features whose warnings have another name than the workflow gives them
_WARNED = {
    "FACE_MATCH": "FACEMATCH",
    "FACE_SEARCH": "LIVENESS",
    "POA": "PROOF_OF_ADDRESS",
    "IP_ANALYSIS": "LOCATION",
    "EMAIL_VERIFICATION": "EMAIL",
}


def warning(feature: str, risk: str, log_type: str, node_id: str | None = None) -> dict[str, Any]:
    """A warning; the ``log_type`` ``error`` means that the feature is declined. In a decision it names the node of the workflow."""
    words = risk.replace("_", " ").capitalize()
    found = {
        "feature": _WARNED.get(feature, feature),
        "risk": risk,
        "additional_data": None,
        "log_type": log_type,
        "short_description": words,
        "long_description": f"{words}.",
    }
    return found if node_id is None else {**found, "node_id": node_id}


def feature_names(session: Session) -> list[str]:
    """The features of a session's workflow."""
    if session.service is not None:
        return [session.service]
    cause = cause_of(session.scenario, session.status)
    extra = [cause.feature] if cause.array and cause.array not in _BASE else []
    return [*(FEATURES[array] for array in _BASE), *extra]


def decision_arrays(session: Session) -> dict[str, list[dict[str, Any]]]:
    """The arrays of a settled session: array name -> results."""
    if session.check_arrays is not None:
        if session.kind == "business":
            return session.check_arrays  # its own members, whole already
        checked = {array: [_of_check(array, session, found) for found in results] for array, results in session.check_arrays.items()}
        return _reviewed(session, checked)
    cause = cause_of(session.scenario, session.status)
    arrays: dict[str, list[dict[str, Any]]] = {}
    for array in dict.fromkeys((*_BASE, *([cause.array] if cause.array else []))):
        bad = array == cause.array
        status = cause.outcome if bad else "Approved"
        if array == "id_verifications" and session.status == "Kyc Expired":
            status = "Expired"
        arrays[array] = [
            {
                **item(array, session, bad=bad),
                "status": session.feature_statuses.get(_NODES.get(array, "node-3"), status),
                "node_id": _NODES.get(array, "node-3"),
                "warnings": _warnings(cause, array),
            }
        ]
    return _reviewed(session, arrays)


def _reviewed(session: Session, arrays: dict[str, Any]) -> dict[str, Any]:
    """The same, with the hits of AML as an operator has judged them."""
    if not session.hit_statuses or "aml_screenings" not in arrays:
        return arrays
    judged = [
        {**found, "hits": [{**hit, "review_status": session.hit_statuses.get(hit["id"], hit["review_status"])} for hit in found["hits"]]}
        for found in arrays["aml_screenings"]
    ]
    return {**arrays, "aml_screenings": judged}


def _warnings(cause: Scenario, array: str) -> list[dict[str, Any]]:
    if array != cause.array:
        return []
    return [warning(cause.feature, cause.risk, "error" if cause.outcome == "Declined" else "warning", _NODES.get(array, "node-3"))]


def _of_check(array: str, session: Session, found: dict[str, Any]) -> dict[str, Any]:
    """The result of a standalone check as an item of a decision: its members are those of the array."""
    shown = item(array, session, bad=False)
    shown |= {name: value for name, value in found.items() if name in shown and value is not None}
    warnings = [{**one, "node_id": "node-0"} for one in found.get("warnings", ())]
    return {**shown, "status": found["status"], "node_id": "node-0", "warnings": warnings}
