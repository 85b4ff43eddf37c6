"""Checks of a document: identity, proof of address, any other. Pure; markers in the bytes choose the result (docs/simulator.md).

Sources: Didit, "ID Verification", "Proof of Address", "Document AI" among the standalone APIs.
"""

from __future__ import annotations

from typing import Any

import orjson

from processor.simulator.checks.model import (
    IMAGES,
    REQUIRED,
    CheckDefinition,
    CheckInputs,
    action_error,
    file_error,
    first_error,
    number_error,
)
from processor.simulator.features import warning

_ID_MB, _POA_MB, _AI_MB = 10, 15, 30
_ID_FILES = (*IMAGES, "pdf")
_POA_FILES = ("tiff", "jpg", "jpeg", "png", "pdf", "webp")


def _unreadable(inputs: CheckInputs) -> tuple[int, Any] | None:
    return (400, {"error": "COULD_NOT_RECOGNIZE_DOCUMENT"}) if inputs.has_marker(b"UNREADABLE") else None


def _id_error(inputs: CheckInputs) -> Any:
    return first_error(
        file_error(inputs, "front_image", _ID_MB, _ID_FILES),
        file_error(inputs, "back_image", _ID_MB, _ID_FILES, required=False),
        number_error(inputs.fields, "minimum_age", 1, 120),
        action_error(inputs.fields),
    )


def _id(inputs: CheckInputs) -> dict[str, Any]:
    age = inputs.age("front_image")
    warnings = [warning("ID_VERIFICATION", "DOCUMENT_EXPIRED", "error", None)] if inputs.has_marker(b"DECLINE") else []
    if age < inputs.number("minimum_age", 0):
        warnings.append(warning("ID_VERIFICATION", "MINIMUM_AGE_NOT_MET", "error", None))
    if str(inputs.fields.get("perform_document_liveness", "")).lower() == "true" and inputs.has_marker(b"SCREEN"):
        warnings.append(warning("ID_VERIFICATION", "SCREEN_CAPTURE_DETECTED", "error", None))
    for risk in inputs.risks():
        declines = inputs.fields.get(f"{risk}_action") == "DECLINE"
        warnings.append(warning("ID_VERIFICATION", risk.upper(), "error" if declines else "information", None))
    return {
        "status": "Declined" if any(entry["log_type"] == "error" for entry in warnings) else "Approved",
        "document_type": "Identity Card",
        "document_number": "SIM123456",
        "first_name": "Simulated",
        "last_name": "Pérson",
        "full_name": "Simulated Pérson",
        "date_of_birth": "1990-01-01",
        "age": int(age),
        "expiration_date": "2030-08-21",
        "issuing_state": "ESP",
        "issuing_state_name": "Spain",
        "nationality": "ESP",
        "gender": "F",
        "mrz": {},
        "warnings": warnings,
    }


def _poa_error(inputs: CheckInputs) -> Any:
    return first_error(file_error(inputs, "document", _POA_MB, _POA_FILES), action_error(inputs.fields))


def _poa(inputs: CheckInputs) -> dict[str, Any]:
    """``MISMATCH`` in the bytes has an effect only with an ``expected_...`` field to compare with."""
    expected = any(name.startswith("expected_") for name in inputs.fields)
    risk, log_type = "", "information"
    if inputs.has_marker(b"DECLINE"):
        risk, log_type = "ISSUE_DATE_TOO_OLD", "error"
    elif inputs.has_marker(b"MISMATCH") and expected:
        risk, log_type = "ADDRESS_MISMATCH_WITH_PROVIDED", "error"
    elif inputs.has_marker(b"REVIEW"):
        risk, log_type = "NAME_MISMATCH_ID_VERIFICATION", "warning"
    return {
        "status": _status(log_type),
        "document_type": "UTILITY_BILL",
        "issuing_state": "ESP",
        "issuer": "Simulated Power",
        "issue_date": "2026-09-01",
        "document_language": "es",
        "name_on_document": "Simulated Pérson",
        "poa_address": "Calle Mayor 10, 28013 Madrid",
        "poa_formatted_address": "Calle Mayor 10, 28013 Madrid, Spain",
        "poa_parsed_address": {"street_1": "Calle Mayor 10", "city": "Madrid", "postal_code": "28013"},
        "document_file": None,
        "warnings": [warning("POA", risk, log_type, None)] if risk else [],
    }


def _ai_error(inputs: CheckInputs) -> Any:
    return first_error(file_error(inputs, "document", _AI_MB, (*_POA_FILES, "zip")), _fields_error(inputs.fields.get("fields")))


def _fields_error(text: str | None) -> Any:
    if text is None:
        return {"fields": REQUIRED}
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"fields": ["Value must be valid JSON."]}
    return None if isinstance(fields, list | dict) else {"fields": ["Expected a list of fields."]}


def _requested_fields(inputs: CheckInputs) -> dict[str, str]:
    """Field name -> type. The input is a list of objects with a ``key``, or an object by field name."""
    fields = orjson.loads(inputs.fields["fields"])
    if isinstance(fields, dict):
        fields = [{"key": name, **(options if isinstance(options, dict) else {})} for name, options in fields.items()]
    return {str(entry["key"]): str(entry.get("type", "text")) for entry in fields if isinstance(entry, dict) and "key" in entry}


def _ai(inputs: CheckInputs) -> dict[str, Any]:
    log_type = "error" if inputs.has_marker(b"DECLINE") else "warning" if inputs.has_marker(b"REVIEW") else "information"
    examples = {"number": 7, "date": "2026-09-01"}
    extracted = {name: examples.get(kind, "simulated") for name, kind in _requested_fields(inputs).items()}
    warnings = [warning("DOCUMENT_AI", "DOCUMENT_NOT_AUTHENTIC", log_type, None)] if log_type != "information" else []
    return {"status": _status(log_type), "extracted_fields": extracted, "document_metadata": {}, "warnings": warnings}


def _status(log_type: str) -> str:
    return {"error": "Declined", "warning": "In Review"}.get(log_type, "Approved")


CHECKS = (
    CheckDefinition("id_verification", "id_verification", "ID_VERIFICATION", "id_verifications", _id_error, _id, fail=_unreadable),
    CheckDefinition("poa", "poa", "POA", "poa_verifications", _poa_error, _poa, fail=_unreadable),
    CheckDefinition("document_ai", "document_ai", "DOCUMENT_AI", "document_ai_documents", _ai_error, _ai, fail=_unreadable),
)
