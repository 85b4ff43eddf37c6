"""Checks of a document: identity, proof of address, any other. Pure; markers in the bytes choose the result (docs/simulator.md).

Sources: Didit, "ID Verification", "Proof of Address", "Document AI" among the standalone APIs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from processor.simulator import identity
from processor.simulator.checks.model import (
    IMAGES,
    CheckDefinition,
    CheckInputs,
    action_error,
    file_error,
    first_error,
    number_error,
)
from processor.simulator.feature_items import proof
from processor.simulator.features import warning
from processor.simulator.validation import REQUIRED

_ID_MB, _POA_MB, _AI_MB = 10, 15, 30
_BAD_MATCH = 40.0
_ID_FILES = (*IMAGES, "pdf")
_POA_FILES = ("tiff", "jpg", "jpeg", "png", "pdf", "webp")


def _unreadable(error: Any) -> Callable[[CheckInputs], tuple[int, Any] | None]:
    return lambda inputs: (400, {"error": error}) if inputs.has_marker(b"UNREADABLE") else None


def _id_error(inputs: CheckInputs) -> Any:
    return first_error(
        file_error(inputs, "front_image", _ID_MB, _ID_FILES),
        file_error(inputs, "back_image", _ID_MB, _ID_FILES, required=False),
        number_error(inputs.fields, "minimum_age", 1, 120),
        action_error(inputs.fields),
    )


def _id(inputs: CheckInputs) -> dict[str, Any]:
    age = inputs.age("front_image")
    warnings = [warning("ID_VERIFICATION", "DOCUMENT_EXPIRED", "error")] if inputs.has_marker(b"DECLINE") else []
    if age < inputs.number("minimum_age", 0):
        warnings.append(warning("ID_VERIFICATION", "MINIMUM_AGE_NOT_MET", "error"))
    if str(inputs.fields.get("perform_document_liveness", "")).lower() == "true" and inputs.has_marker(b"SCREEN"):
        warnings.append(warning("ID_VERIFICATION", "SCREEN_CAPTURE_DETECTED", "error"))
    for risk in inputs.risks():
        declines = inputs.fields.get(f"{risk}_action") == "DECLINE"
        warnings.append(warning("ID_VERIFICATION", risk.upper(), "error" if declines else "information"))
    found = identity.document("SIM123456", "Simulated", "Pérson")
    images = ("portrait_image", "front_image", *(["back_image"] if "back_image" in inputs.files else []))
    return {
        "status": "Declined" if any(entry["log_type"] == "error" for entry in warnings) else "Approved",
        **found,
        "age": int(age),
        **dict.fromkeys(("back_image", "front_image_camera_front", "back_image_camera_front")),
        **{name: identity.media_url("sim-document", f"{name}.jpg") for name in images},
        "back_image_quality_score": found["back_image_quality_score"] if "back_image" in inputs.files else None,
        "parsed_address": identity.parsed_address() | {"raw_results": {}},
        "extra_fields": {},
        "barcodes": [],
        "warnings": warnings,
    }


def _poa_error(inputs: CheckInputs) -> Any:
    return first_error(file_error(inputs, "document", _POA_MB, _POA_FILES), action_error(inputs.fields))


def _poa(inputs: CheckInputs) -> dict[str, Any]:
    """``MISMATCH`` in the bytes has an effect only with an ``expected_...`` field to compare with. It is never in review."""
    expected = any(name.startswith("expected_") for name in inputs.fields)
    risk, log_type = "", "information"
    if inputs.has_marker(b"DECLINE"):
        risk, log_type = "POA_DOCUMENT_EXPIRED", "error"
    elif inputs.has_marker(b"MISMATCH") and expected:
        risk, log_type = "ADDRESS_MISMATCH_WITH_PROVIDED", "error"
    elif inputs.has_marker(b"REVIEW"):
        risk = "NAME_MISMATCH_WITH_PROVIDED"
    address = identity.parsed_address()
    parts = ("street_1", "street_2", "city", "region", "country", "postal_code", "document_location")
    return {
        "status": _status(log_type),
        **proof("Simulated Pérson"),
        "poa_parsed_address": {name: address[name] for name in parts},
        "expected_details_address": inputs.fields.get("expected_address"),
        "expected_details_parsed_address": None,
        "warnings": [warning("POA", risk, log_type)] if risk else [],
    }


def _ai_error(inputs: CheckInputs) -> Any:
    return first_error(file_error(inputs, "document", _AI_MB, (*_POA_FILES, "zip")), _fields_error(inputs.fields.get("fields")))


def _fields_error(text: str | None) -> Any:
    if text is None:
        return {"fields": REQUIRED}
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, list) or not all(isinstance(entry, dict) and "key" in entry for entry in fields):
        return {"fields": ["fields must be a valid JSON array string."]}
    keys = [str(entry["key"]) for entry in fields]
    return {"fields": ["Every fields item must have a unique key."]} if len(set(keys)) < len(keys) else None


def _requested(entry: dict[str, Any]) -> dict[str, Any]:
    """One field that was asked for, as the answer repeats it."""
    key = str(entry["key"])
    return {
        "key": key,
        "name": str(entry.get("name", key)),
        "instruction": str(entry.get("instruction", "")),
        "type": str(entry.get("type", "text")),
        "required": bool(entry.get("required", False)),
        "is_full_name": bool(entry.get("is_full_name", False)),
    }


def _ai(inputs: CheckInputs) -> dict[str, Any]:
    log_type = "error" if inputs.has_marker(b"DECLINE") else "warning" if inputs.has_marker(b"REVIEW") else "information"
    risk = "DOCUMENT_AI_SUSPECTED_MANIPULATION" if log_type == "error" else "DOCUMENT_AI_NAME_MISMATCH"
    fields = [_requested(entry) for entry in orjson.loads(inputs.fields["fields"])]
    examples = {"number": 7, "date": "2026-09-01"}
    named = any(field["is_full_name"] for field in fields)
    compared = "expected_first_name" in inputs.fields or "expected_company_name" in inputs.fields
    return {
        "status": _status(log_type),
        "extracted_data": {field["key"]: examples.get(field["type"], "simulated") for field in fields},
        "detected_codes": [],
        "fields": fields,
        "name_match_score": (_BAD_MATCH if log_type == "warning" else 100.0) if compared and named else None,
        "name_on_document": "Simulated Pérson" if named else None,
        "warnings": [warning("DOCUMENT_AI", risk, log_type)] if log_type != "information" else [],
    }


def _status(log_type: str) -> str:
    return {"error": "Declined", "warning": "In Review"}.get(log_type, "Approved")


CHECKS = (
    CheckDefinition(
        "id_verification",
        "id_verification",
        "ID_VERIFICATION",
        "id_verifications",
        _id_error,
        _id,
        fail=_unreadable("COULD_NOT_RECOGNIZE_DOCUMENT"),
    ),
    CheckDefinition("poa", "poa", "POA", "poa_verifications", _poa_error, _poa, fail=_unreadable(["Error extracting POA information"])),
    CheckDefinition(
        "document_ai",
        "document_ai",
        "DOCUMENT_AI",
        "document_ai_documents",
        _ai_error,
        _ai,
        fail=_unreadable(["Error extracting Document AI information"]),
    ),
)
