"""Companies as documents: the profile of a registry, and what the decision of a business session has. Pure.

Source: Didit's OpenAPI 3.0.0 ("KYB registry", "Retrieve session"). Words in the name of a company choose the result (docs/simulator.md).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from processor.simulator import identity
from processor.simulator.session import Session
from processor.simulator.timestamps import iso

ARRAYS = ("registry_checks", "document_verifications", "key_people_checks")
_IDS = uuid.UUID("3b0e6d1c-61f4-4d0f-8a52-5a1f6c9a7b21")  # ids of what a session has are made from it
_NULLS = (
    *("region", "tax_number", "risk_level", "verification_status", "alternative_names", "nature_of_business", "registered_capital"),
    *("registered_capital_amount", "registered_capital_currency", "website", "email", "phone", "legal_entity_identifier"),
    *("location_of_registration", "vat_number", "vat_validated_name", "vat_validated_address", "vat_checked_at", "industries", "accounts"),
    *("user_provided_data", "confirmed_by_user_at", "last_console_edit_at"),
)
_PERSON_NULLS = ("first_name", "last_name", "nationality", "kyc_status", "kyc_session_url", "date_of_birth", "appointment_date")
_OFFICER_NULLS = (*_PERSON_NULLS, "address", "termination_date", "date_of_birth_year", "date_of_birth_month")
_OWNER_NULLS = (
    *(*_PERSON_NULLS, "company_name", "registration_number", "country_of_birth", "email", "designation"),
    *("voting_min_shares", "voting_max_shares"),
)
_VERIFIED_NULLS = (
    *("aml_status", "kyc_session_id", "verification_workflow_type", "verification_workflow_id", "verification_workflow_label"),
    *("verification_workflow_features", "didit_internal_id", "kyc_document_type", "kyc_nationality", "kyc_liveness_passed"),
    *("kyc_verified_at", "kyc_aml_categories", "kyc_notification_sent_at"),
)
_DOCUMENT_NULLS = ("document_subtype", "cross_check_result", "document_metadata", "description", "ocr_data")
_COUNTS = ("total", "approved", "pending", "declined", "in_review", "other", "missing")


def profile(company: Mapping[str, str], tier: str, *, asked: str, new_id: Callable[[], str]) -> dict[str, Any]:
    """All that a registry tells of a company (``name``, ``registration_number``, ``country_code``); ``tier`` is what is delivered."""
    name = company["name"]
    status = "Declined" if "Struck" in name else "In Review" if "Dissolved" in name else "Approved"
    return {
        **dict.fromkeys(_NULLS),
        "uuid": new_id(),
        "node_id": "feature_kyb_registry",
        "status": status,
        "registry_status": {"Declined": "struck off", "In Review": "dissolved"}.get(status, "active"),
        "data_resolved": True,
        "company_name": name,
        "registration_number": company["registration_number"],
        "country_code": company["country_code"][:2],
        "company_type": "Private Limited Company",
        "incorporation_date": "2001-02-03",
        "registered_address": "1 Simulated Street",
        "is_from_registry": True,
        "fetch_status": "resolved",
        "vat_validation_status": "not_applicable",
        "financial_summary": {},
        "officers": [_officer(new_id)],
        "beneficial_owners": [] if tier == "basic" else [_owner(tier, new_id)],
        "addresses": [{"address": "1 Simulated Street", "type": "registered", "description": "registered office address"}],
        "registry_data": {"name": name},
        "is_editable": True,
        "registry_tier_delivered": tier,
        "registry_ownership_status": "not_requested" if asked == "basic" else "unavailable" if tier == "basic" else "delivered",
    }


def registry_check(full: Mapping[str, Any]) -> dict[str, Any]:
    """A profile as an item of a decision, which has some of its members otherwise."""
    kept = {name: value for name, value in full.items() if not name.startswith("registry_tier") and name != "registry_ownership_status"}
    return {
        "status": full["status"],
        "node_id": full["node_id"],
        "data_resolved": True,
        "company": kept | {"user_provided_data": {}},
        "ownership_structure": {"nodes": [{"id": "company", "name": full["company_name"], "type": "company"}]},
        "warnings": [],
    }


def business_item(array: str, session: Session) -> dict[str, Any]:
    """The result of a feature of a business session, without status, node and warnings: of the company that was expected."""
    numbers = count()

    def new_id() -> str:
        return str(uuid.uuid5(_IDS, f"{session.session_id} {array} {next(numbers)}"))

    if array == "registry_checks":
        return registry_check(profile(_company(session), "ubo", asked="ubo", new_id=new_id))
    return _documents(session, new_id) if array == "document_verifications" else _key_people(new_id)


def _company(session: Session) -> dict[str, str]:
    expected = session.expected_details or {}
    return {
        "name": str(expected.get("company_name") or f"Simulated Company {session.session_number}"),
        "registration_number": str(expected.get("registration_number") or f"{session.session_number:08d}"),
        "country_code": str(expected.get("registry_country") or "GB"),
    }


def _officer(new_id: Callable[[], str]) -> dict[str, Any]:
    officer = dict.fromkeys(_OFFICER_NULLS) | {"uuid": new_id(), "name": "OFFICER, Simulated", "designation": "Director"}
    return officer | {"role": "director", "is_active": True}


def _owner(tier: str, new_id: Callable[[], str]) -> dict[str, Any]:
    owner = dict.fromkeys(_OWNER_NULLS) | {"uuid": new_id(), "name": "OWNER, Simulated", "entity_type": "person", "roles": [tier]}
    return owner | {"is_active": True, "ownership_min_shares": "25%", "ownership_max_shares": "50%", "effective_ownership_percent": 50}


def _documents(session: Session, new_id: Callable[[], str]) -> dict[str, Any]:
    """One document, of a company's legal presence."""
    group = "LEGAL_PRESENCE"
    document = {
        **dict.fromkeys(_DOCUMENT_NULLS),
        "uuid": new_id(),
        "document_type": group,
        "document_group": group,
        "file_url": identity.media_url(session.session_id, "incorporation.pdf"),
        "original_filename": "incorporation.pdf",
        "file_size": 1024,
        "status": "Approved",
        "created_at": iso(session.created_at),
        "is_requested": False,
        "is_console_upload": False,
        "is_confirmed": True,
    }
    counts = dict.fromkeys(_COUNTS, 0) | {"total": 1, "approved": 1}
    return {"items": [document], "groups": {group: counts}, "required_groups": [group]}


def _key_people(new_id: Callable[[], str]) -> dict[str, Any]:
    """An officer and an owner of the registry; the user has named nobody."""
    verified = dict.fromkeys(_VERIFIED_NULLS)
    owner = _owner("ubo", new_id) | verified | {"child_beneficial_owners": []}
    return {
        "registry": {"officers": [_officer(new_id) | verified], "beneficial_owners": [owner]},
        "submitted": {"parties": []},
        "ubo_kyc_summary": {"total": 1, "approved": 0, "flagged": 0, "pending": 1},
    }
