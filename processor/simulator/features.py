"""Results of the features of a session, as the arrays of a decision. Pure (Didit, "Data models")."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from processor.simulator.companies import ARRAYS as BUSINESS_ARRAYS
from processor.simulator.companies import business_item
from processor.simulator.feature_items import item
from processor.simulator.scenarios import Scenario, cause_of
from processor.simulator.session import Session

FEATURES = {
    "id_verifications": "ID_VERIFICATION",
    "liveness_checks": "LIVENESS",
    "face_matches": "FACE_MATCH",
    "nfc_verifications": "NFC",
    "poa_verifications": "POA",
    "aml_screenings": "AML",
    "ip_analyses": "IP_ANALYSIS",
    "database_validations": "DATABASE_VALIDATION",
    "phone_verifications": "PHONE",
    "email_verifications": "EMAIL_VERIFICATION",
    "document_ai_documents": "DOCUMENT_AI",
    **dict(zip(BUSINESS_ARRAYS, ("KYB_REGISTRY", "KYB_DOCUMENTS", "KYB_KEY_PEOPLE"), strict=True)),
}
"""Array of a decision -> the name of its feature in a workflow."""
_V1 = {"NFC": ("NFC",), "FACE": ("LIVENESS", "FACE_MATCH"), "AML": ("AML",)}
V1_FEATURES = {
    " + ".join(("OCR", *chosen)): ("ID_VERIFICATION", *(name for each in chosen for name in _V1[each]))
    for number in range(len(_V1) + 1)
    for chosen in combinations(_V1, number)
}
"""A choice of features as API v1 names it -> their names in a workflow."""
V1_DEFAULT = "OCR + FACE"
_OF_PERSON = (
    *("id_verifications", "nfc_verifications", "liveness_checks", "face_matches", "poa_verifications", "phone_verifications"),
    *("email_verifications", "aml_screenings", "ip_analyses", "database_validations", "document_ai_documents", "questionnaire_responses"),
)
_OF_BUSINESS = (*BUSINESS_ARRAYS, "aml_screenings", "phone_verifications", "email_verifications", "ip_analyses", "questionnaire_responses")
_ARRAYS = {feature: array for array, feature in FEATURES.items()} | {"AGE_ESTIMATION": "liveness_checks"}


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


def arrays_of(session: Session) -> tuple[str, ...]:
    """Every array of the decision of such a session: of a person, or of a business."""
    return _OF_BUSINESS if session.kind == "business" else _OF_PERSON


def feature_names(session: Session) -> list[str]:
    """The features of a session's workflow."""
    if session.service is not None:
        return [session.service]
    cause = _cause(session)
    return [*session.features, *([FEATURES[cause.array]] if cause.array and cause.array not in _arrays(session) else [])]


def decision_arrays(session: Session) -> dict[str, list[dict[str, Any]]]:
    """The arrays of a settled session: array name -> results."""
    if session.check_arrays is not None:
        if session.kind == "business":
            return session.check_arrays  # its own members, whole already
        checked = {array: [_of_check(array, session, found) for found in results] for array, results in session.check_arrays.items()}
        return _reviewed(session, checked)
    cause = _cause(session)
    arrays: dict[str, list[dict[str, Any]]] = {}
    for array, node in (_arrays(session) | ({cause.array: _node(session, cause.array)} if cause.array else {})).items():
        bad = array == cause.array
        status = cause.outcome if bad else "Approved"
        if array == "id_verifications" and session.status == "Kyc Expired":
            status = "Expired"
        arrays[array] = [
            {
                **(business_item(array, session) if array in BUSINESS_ARRAYS else item(array, session, bad=bad)),
                "status": session.feature_statuses.get(node, status),
                "node_id": node,
                "warnings": _warnings(cause, array, node),
            }
        ]
    return _reviewed(session, arrays)


def _arrays(session: Session) -> dict[str, str]:
    """The arrays of the features of a session's workflow, each with its node."""
    found: dict[str, str] = {}
    for number, name in enumerate(session.features):
        if name in _ARRAYS:
            found.setdefault(_ARRAYS[name], f"node-{number}")
    return found


def _node(session: Session, array: str) -> str:
    """Also of a feature that is not in the workflow, but in the scenario."""
    return _arrays(session).get(array, f"node-{len(session.features)}")


def _cause(session: Session) -> Scenario:
    """Why the session is not approved; a scenario of a business names no feature of a person."""
    cause = cause_of(session.scenario, session.status, session.features)
    return cause if cause.array in arrays_of(session) else Scenario(cause.outcome)


def _reviewed(session: Session, arrays: dict[str, Any]) -> dict[str, Any]:
    """The same, with the hits of AML as an operator has judged them."""
    if not session.hit_statuses or "aml_screenings" not in arrays:
        return arrays
    judged = [
        {**found, "hits": [{**hit, "review_status": session.hit_statuses.get(hit["id"], hit["review_status"])} for hit in found["hits"]]}
        for found in arrays["aml_screenings"]
    ]
    return {**arrays, "aml_screenings": judged}


def _warnings(cause: Scenario, array: str, node: str) -> list[dict[str, Any]]:
    if array != cause.array:
        return []
    return [warning(cause.feature, cause.risk, "error" if cause.outcome == "Declined" else "warning", node)]


def _of_check(array: str, session: Session, found: dict[str, Any]) -> dict[str, Any]:
    """The result of a standalone check as an item of a decision: its members are those of the array."""
    shown = item(array, session, bad=False)
    shown |= {name: value for name, value in found.items() if name in shown and value is not None}
    warnings = [{**one, "node_id": "node-0"} for one in found.get("warnings", ())]
    return {**shown, "status": found["status"], "node_id": "node-0", "warnings": warnings}
