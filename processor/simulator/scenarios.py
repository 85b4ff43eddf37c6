"""Sandbox scenarios: the outcome of a flow once it is completed. Pure (Didit, "Sandbox testing").

The outcomes of the newer ``lookup_`` and ``wallet_`` scenarios are not documented; here a failed wallet leaves the session in progress.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Scenario:
    """The final status, and the feature and risk that cause it; ``array`` is where a decision shows them."""

    outcome: str
    array: str = ""
    feature: str = ""
    risk: str = ""


_ID, _FACE, _AML, _POA = "id_verifications", "face_matches", "aml_screenings", "poa_verifications"
SCENARIOS = {
    "approve": Scenario("Approved"),
    "decline_aml_hit": Scenario("Declined", _AML, "AML", "POSSIBLE_MATCH_FOUND"),
    "decline_could_not_recognize_document": Scenario("Declined", _ID, "ID_VERIFICATION", "COULD_NOT_RECOGNIZE_DOCUMENT"),
    "decline_database_no_match": Scenario("Declined", "database_validations", "DATABASE_VALIDATION", "DATABASE_VALIDATION_NO_MATCH"),
    "decline_document_expired": Scenario("Declined", _ID, "ID_VERIFICATION", "DOCUMENT_EXPIRED"),
    "decline_face_match_low_similarity": Scenario("Declined", _FACE, "FACE_MATCH", "LOW_FACE_MATCH_SIMILARITY"),
    "decline_ip_blocklist": Scenario("Declined", "ip_analyses", "IP_ANALYSIS", "IP_ADDRESS_IN_BLOCKLIST"),
    "decline_kyb_registry_mismatch": Scenario("Declined", "registry_checks", "KYB_REGISTRY", "REGISTRY_DATA_MISMATCH"),
    "decline_liveness_attack": Scenario("Declined", "liveness_checks", "LIVENESS", "LIVENESS_FACE_ATTACK"),
    "decline_minimum_age": Scenario("Declined", _ID, "ID_VERIFICATION", "AGE_BELOW_MINIMUM"),
    "decline_mrz_validation": Scenario("Declined", _ID, "ID_VERIFICATION", "MRZ_VALIDATION_FAILED"),
    "decline_nfc_chip_not_verified": Scenario("Declined", "nfc_verifications", "NFC", "NFC_CHIP_NOT_VERIFIED"),
    "decline_poa_address_mismatch": Scenario("Declined", _POA, "POA", "ADDRESS_MISMATCH_WITH_PROVIDED"),
    "review_aml_possible_match": Scenario("In Review", _AML, "AML", "POSSIBLE_MATCH_FOUND"),
    "review_face_match_borderline": Scenario("In Review", _FACE, "FACE_MATCH", "LOW_FACE_MATCH_SIMILARITY"),
    "review_poa_partial_match": Scenario("In Review", _POA, "POA", "ADDRESS_MISMATCH_WITH_PROVIDED"),
    "lookup_partial_match": Scenario("In Review", _ID, "ID_VERIFICATION", "LOOKUP_PARTIAL_MATCH"),
    "lookup_no_match": Scenario("Declined", _ID, "ID_VERIFICATION", "LOOKUP_NO_MATCH"),
    "lookup_provider_error": Scenario("In Review", _ID, "ID_VERIFICATION", "LOOKUP_PROVIDER_ERROR"),
    "wallet_cancelled": Scenario("In Progress"),
    "wallet_timeout": Scenario("In Progress"),
    "wallet_provider_error": Scenario("In Progress"),
}
_APPROVED = Scenario("Approved")
_DEFAULT_CAUSES = {
    "Declined": Scenario("Declined", _FACE, "FACE_MATCH", "LOW_FACE_MATCH_SIMILARITY"),
    "In Review": Scenario("In Review", _FACE, "FACE_MATCH", "LOW_FACE_MATCH_SIMILARITY"),
}


def outcome_of(slug: str | None) -> str | None:
    """The final status of a scenario; None without a scenario."""
    return SCENARIOS[slug].outcome if slug is not None else None


def cause_of(slug: str | None, status: str, features: Collection[str]) -> Scenario:
    """The cause of the status of a settled session: its scenario if that has this outcome, else a face match, or another feature."""
    armed = SCENARIOS.get(slug or "")
    if armed is not None and armed.outcome == status:
        return armed
    causes = (_DEFAULT_CAUSES.get(status, _APPROVED), *SCENARIOS.values())
    return next((cause for cause in causes if cause.outcome == status and cause.feature in features), _APPROVED)


def catalogue() -> dict[str, Any]:
    """The response body of the list of scenarios."""
    rows = [
        {"slug": slug, "expected_status": scenario.outcome, "feature": scenario.feature or None, "risk": scenario.risk or None}
        for slug, scenario in SCENARIOS.items()
    ]
    return {"count": len(rows), "scenarios": rows}


def scenario_error(slug: Any) -> list[str] | None:
    """The error messages for an unknown scenario; None if it exists."""
    return None if isinstance(slug, str) and slug in SCENARIOS else [f"Unknown sandbox scenario: '{slug}'."]
