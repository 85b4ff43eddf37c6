"""Database validation: personal data against government databases. Pure; words in the data choose the result (docs/simulator.md).

Source: Didit, "Database Validation" among the standalone APIs: JSON, or a form for services that need a selfie. A check that
could not run is not billed: the input was rejected (400, not retryable), or no service gave a usable response (502, retryable).
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from processor.simulator.checks.model import REQUIRED, CheckDefinition, CheckInputs, file_error
from processor.simulator.features import warning

_SELFIE_MB, _SELFIES = 2, ("jpg", "jpeg", "png", "webp")
_ALPHA3 = re.compile(r"[A-Z]{3}")
_IDS = ("identification_number", "id_number", "personal_number", "document_number", "tax_number")


def _services(inputs: CheckInputs) -> Any:
    """The requested services; in a form they are JSON text."""
    services = inputs.fields.get("services", [])
    if isinstance(services, str) and inputs.form:
        try:
            return orjson.loads(services)
        except orjson.JSONDecodeError:
            return services
    return services


def _validate(inputs: CheckInputs) -> Any:
    fields, services = inputs.fields, _services(inputs)
    if "issuing_state" not in fields:
        return {"issuing_state": REQUIRED}
    if not isinstance(fields["issuing_state"], str) or not _ALPHA3.fullmatch(fields["issuing_state"]):
        return {"issuing_state": ["Enter an ISO 3166-1 alpha-3 code."]}
    if not isinstance(services, list) or not all(isinstance(service, str) for service in services):
        return {"services": ["Expected a list of items."]}
    if not any(isinstance(fields.get(name), str) and fields[name] for name in _IDS):
        return {"identification_number": ["This field is required for the selected services."]}
    if any("consent" in service for service in services) and str(fields.get("consent", "")).lower() != "true":
        return {"consent": ["The selected services need the consent of the user."]}
    return file_error(inputs, "selfie", _SELFIE_MB, _SELFIES, required=False)


def _fail(inputs: CheckInputs) -> tuple[int, Any] | None:
    """``REJECTED`` in any text: the provider rejects the input. ``PROVIDERDOWN``: no provider gives a usable response."""
    if inputs.has_word("REJECTED"):
        return 400, _failure_body(inputs, "provider_rejected_input", retryable=False)
    return (502, _failure_body(inputs, "empty_provider_response", retryable=True)) if inputs.has_word("PROVIDERDOWN") else None


def _failure_body(inputs: CheckInputs, code: str, *, retryable: bool) -> dict[str, Any]:
    errors = [_service_error(service, code, retryable=retryable) for service in _services(inputs) or ["default"]]
    return {"detail": "No service returned a usable result.", "code": code, "retryable": retryable, "validation_errors": errors}


def _service_error(service: str, code: str, *, retryable: bool) -> dict[str, Any]:
    return {"service_id": service, "code": code, "retryable": retryable, "message": code.replace("_", " ")}


def _evaluate(inputs: CheckInputs) -> dict[str, Any]:
    """No match with ``NOMATCH`` in any text, a partial one with ``PARTIAL``, else a full one. Services with ``down`` in their name fail."""
    match = "no_match" if inputs.has_word("NOMATCH") else "partial_match" if inputs.has_word("PARTIAL") else "full_match"
    status = {"no_match": "Declined", "partial_match": "In Review"}.get(match, "Approved")
    services = _services(inputs) or ["default"]
    risk = f"DATABASE_VALIDATION_{match.upper()}"
    result = {
        "status": status,
        "issuing_state": inputs.fields["issuing_state"],
        "validation_type": "one_by_one",
        "screened_data": {name: value for name, value in inputs.fields.items() if isinstance(value, str) and name != "issuing_state"},
        "validations": [{"service_id": service, "validation": match} for service in services if "down" not in service],
        "match_type": match,
        "warnings": []
        if status == "Approved"
        else [warning("DATABASE_VALIDATION", risk, "error" if status == "Declined" else "warning", None)],
    }
    errors = [_service_error(service, "empty_provider_response", retryable=True) for service in services if "down" in service]
    return {**result, "errors": errors} if errors else result


CHECKS = (
    CheckDefinition(
        "database_validation", "database_validation", "DATABASE_VALIDATION", "database_validations", _validate, _evaluate, fail=_fail
    ),
)
