"""Checks of text data: AML lists, and the risk of an email address, phone number or IP address. Pure.

Sources: Didit, "AML Screening", "Email Risk", "Phone Risk", "IP Risk" among the standalone APIs.
Words in the data choose the result (docs/simulator.md).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Literal

from processor.simulator import watchlist
from processor.simulator.checks.model import CheckDefinition, CheckInputs, choice_error, first_error, number_error
from processor.simulator.feature_items import located
from processor.simulator.features import warning
from processor.simulator.member_rules import EMAIL
from processor.simulator.validation import REQUIRED

PHONE = re.compile(r"\+[1-9]\d{6,14}")
_ALPHA2 = re.compile(r"[A-Z]{2}")
_WEIGHTS = {"aml_name_weight": ("name", 60), "aml_dob_weight": ("dob", 25), "aml_country_weight": ("country", 15)}
_DATACENTER = ipaddress.ip_network("198.51.100.0/24")  # RFC 5737: addresses for documentation


def _aml_error(inputs: CheckInputs) -> Any:
    fields = inputs.fields
    name = fields.get("full_name")
    if not isinstance(name, str) or len(name) < 2:  # noqa: PLR2004 - as documented
        return {"full_name": REQUIRED if "full_name" not in fields else ["Ensure this field has at least 2 characters."]}
    if (
        error := first_error(choice_error(fields, "entity_type", ("person", "company")), _nationality_error(fields.get("nationality")))
    ) is not None:
        return error
    thresholds = ("aml_score_approve_threshold", "aml_score_review_threshold", "aml_match_score_threshold", *_WEIGHTS)
    if (error := first_error(*(number_error(fields, threshold, 0, 100) for threshold in thresholds))) is not None:
        return error
    weights = {short: round(inputs.number(long, default)) for long, (short, default) in _WEIGHTS.items()}
    if sum(weights.values()) != 100:  # noqa: PLR2004 - as documented
        parts = ", ".join(f"{short}: {weight}" for short, weight in weights.items())
        return {"error": [f"AML weights must sum to 100. Current sum: {sum(weights.values())} ({parts})"]}
    approve, review = inputs.number("aml_score_approve_threshold", 80), inputs.number("aml_score_review_threshold", 100)
    if approve > review:
        return {"error": [f"Approve threshold ({approve}) cannot be greater than review threshold ({review})"]}
    return _monitoring_error(fields)


def _nationality_error(nationality: Any) -> Any:
    valid = nationality is None or (isinstance(nationality, str) and _ALPHA2.fullmatch(nationality))
    return None if valid else {"nationality": ["Invalid ISO 3166-1 alpha-2 country code."]}


def _monitoring_error(fields: Mapping[str, Any]) -> Any:
    if fields.get("include_ongoing_monitoring") is True and fields.get("save_api_request") is False:
        return {"error": ["Ongoing monitoring can only be enabled when the API request is saved."]}
    return None


def _aml(inputs: CheckInputs) -> dict[str, Any]:
    """A name that contains ``Hit`` has one hit with a risk score of 90. In a sandbox the scenario decides."""
    fields = inputs.fields
    scenario = fields.get("sandbox_scenario") if inputs.sandbox else None
    hit = scenario in {"decline_aml_hit", "review_aml_possible_match"} or (not inputs.sandbox and "Hit" in fields["full_name"])
    score = watchlist.HIT_SCORE if hit else 0
    status = "Approved"
    if score > inputs.number("aml_score_approve_threshold", 80):
        status = "Declined" if score > inputs.number("aml_score_review_threshold", 100) else "In Review"
    if scenario == "decline_aml_hit":
        status = "Declined"
    return {
        "status": status,
        "total_hits": int(hit),
        "entity_type": fields.get("entity_type", "person"),
        "hits": [watchlist.hit(fields["full_name"])] if hit else [],
        "score": score,
        "screened_data": {name: fields.get(name) for name in ("full_name", "date_of_birth", "nationality", "document_number")},
        "warnings": []
        if status == "Approved"
        else [warning("AML", "POSSIBLE_MATCH_FOUND", "error" if status == "Declined" else "warning")],
    }


def _email_error(inputs: CheckInputs) -> Any:
    return email_error(inputs.fields)


def email_error(fields: Mapping[str, Any]) -> Any:
    """The 400 body for a missing or invalid address; None if it is valid."""
    if "email" not in fields:
        return {"email": REQUIRED}
    valid = isinstance(fields["email"], str) and EMAIL.fullmatch(fields["email"])
    return None if valid else {"email": ["Enter a valid email address."]}


def email_facts(email: str) -> dict[str, Any]:
    """Facts about an email address: by ``breached`` or ``disposable`` in it, or the domain ``.invalid``."""
    return {
        "email": email,
        "is_breached": "breached" in email,
        "breaches": [_breach(email.rpartition("@")[2])] if "breached" in email else [],
        "is_disposable": "disposable" in email,
        "is_undeliverable": email.endswith(".invalid"),  # RFC 2606: no such domain exists
    }


def _breach(domain: str) -> dict[str, Any]:
    return {
        "name": "SimulatedBreach",
        "domain": domain,
        "breach_date": "2023-06-01",
        "breach_emails_count": 1_200_000,
        "description": "A breach that the simulator has made up.",
        "logo_path": "https://logos.example.com/logo.png",
        "data_classes": ["email_addresses", "passwords"],
        "is_verified": True,
    }


def _email(inputs: CheckInputs) -> dict[str, Any]:
    facts = email_facts(inputs.fields["email"])
    known = {
        "deliverable": "low" if facts["is_undeliverable"] else "high",
        "breach_risk_level": "High" if facts["is_breached"] else "Low",
        "breach_risk_index": 72 if facts["is_breached"] else 4,
        "is_recent_breach": facts["is_breached"],
        "is_frequent_breached": False,
        "is_disposable": facts["is_disposable"],
        "is_free_domain": False,
        "is_breached": facts["is_breached"],
        "no_of_breaches": len(facts["breaches"]),
    }
    return _risk(inputs, facts, known, bad=facts["is_disposable"], doubtful=facts["is_breached"], kind="email")


def _phone_error(inputs: CheckInputs) -> Any:
    return phone_error(inputs.fields)


def phone_error(fields: Any) -> Any:
    """The 400 body for a missing number, or one that is not E.164; None if it is valid."""
    if "phone_number" not in fields:
        return {"phone_number": REQUIRED}
    valid = isinstance(fields["phone_number"], str) and PHONE.fullmatch(fields["phone_number"])
    return None if valid else {"phone_number": ["Enter a valid phone number in E.164 format."]}


def phone_facts(number: str) -> dict[str, Any]:
    """Facts about a phone number: disposable if it ends with 0001, VoIP if it ends with 0002."""
    prefix = number[:2] if number.startswith("+1") else number[:3]
    return {
        "phone_number_prefix": prefix,
        "phone_number": number.removeprefix(prefix),
        "full_number": number,
        "country_code": {"+1": "US", "+34": "ES"}.get(prefix),
        "country_name": {"+1": "United States", "+34": "Spain"}.get(prefix),
        "carrier": {"name": "Simulated Mobile", "type": "voip" if number.endswith("0002") else "mobile"},
        "is_disposable": number.endswith("0001"),
        "is_virtual": number.endswith("0002"),
    }


def _phone(inputs: CheckInputs) -> dict[str, Any]:
    facts = phone_facts(inputs.fields["phone_number"]) | {"verification_method": None}
    doubtful = facts["is_disposable"] or facts["is_virtual"]
    known = {
        "phone_type_risk": "High" if doubtful else "Low",
        "phone_trust_index": 28 if doubtful else 97,
        "network_stability_index": 40 if doubtful else 95,
        "is_disposable": facts["is_disposable"],
        "is_ported": False,
        "is_recently_ported": False,
        "carrier_type": facts["carrier"]["type"],
    }
    return _risk(inputs, facts, known, bad=facts["is_disposable"], doubtful=facts["is_virtual"], kind="phone")


def _ip_error(inputs: CheckInputs) -> Any:
    if "ip_address" not in inputs.fields:
        return {"ip_address": REQUIRED}
    try:
        ipaddress.ip_address(inputs.fields["ip_address"] if isinstance(inputs.fields["ip_address"], str) else "")
    except ValueError:
        return {"ip_address": ["Enter a valid IPv4 or IPv6 address."]}
    return None


def _ip(inputs: CheckInputs) -> dict[str, Any]:
    """Every address is in Spain; 198.51.100.0/24 is a data centre."""
    claimed = inputs.fields.get("claimed_country")
    datacenter = not inputs.sandbox and ipaddress.ip_address(inputs.fields["ip_address"]) in _DATACENTER
    mismatch = claimed not in {None, "ESP", "ES"} and not inputs.sandbox
    return {
        "status": "In Review" if datacenter or mismatch else "Approved",
        "ip_address": inputs.fields["ip_address"],
        **located(),
        "asn_number": 64_500,  # RFC 5398: for documentation
        "asn_organization": "SIMULATED-TELECOM",
        "connection_type": "hosting" if datacenter else "broadband",
        "carrier": None if datacenter else "Simulated Telecom",
        "proxy_type": "VPN" if datacenter else None,
        "is_vpn_or_tor": datacenter,
        "is_data_center": datacenter,
        "claimed_country": claimed,
        "country_mismatch": mismatch if claimed is not None else None,
        "threat": {"is_data_center": True} if datacenter else {},
    }


def _risk(
    inputs: CheckInputs, facts: dict[str, Any], known: dict[str, Any], *, bad: bool, doubtful: bool, kind: Literal["email", "phone"]
) -> dict[str, Any]:
    status = "Approved"
    if not inputs.sandbox and (bad or doubtful):
        status = "Declined" if bad else "In Review"
    score = {"Approved": 4.0, "In Review": 58.0}.get(status, 91.0)
    warnings = [] if status == "Approved" else [warning(kind.upper(), "HIGH_RISK", "error" if status == "Declined" else "warning")]
    intelligence = {"score": score, **known, "reason_codes": []}
    counters: dict[str, Any] = {"verification_attempts": 0, "verified_at": None, "lifecycle": [], "matches": []}
    return {"status": status, **facts, **counters, "warnings": warnings, f"{kind}_intelligence": intelligence, "enrichment": intelligence}


CHECKS = (
    CheckDefinition("aml", "aml", "AML", "aml_screenings", _aml_error, _aml),
    CheckDefinition("email.risk", "email", "EMAIL_RISK", "email_verifications", _email_error, _email, risk=True),
    CheckDefinition("phone.risk", "phone", "PHONE_RISK", "phone_verifications", _phone_error, _phone, risk=True),
    CheckDefinition("ip.risk", "ip", "IP_RISK", "ip_analyses", _ip_error, _ip, risk=True),
)
