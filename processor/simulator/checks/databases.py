"""Database validation: personal data against registers of states. Pure; words in the data decide (docs/simulator.md).

Source: Didit, "Database Validation" among the standalone APIs: JSON, or a form where a service wants a selfie. A check that
could not be run is not billed: the input was refused (400, final), or no service gave a usable answer (502, worth another try).
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from processor.simulator.checks.model import REQUIRED, Check, Inputs
from processor.simulator.features import warning

_ALPHA3 = re.compile(r"[A-Z]{3}")
_IDS = ("identification_number", "id_number", "personal_number", "document_number", "tax_number")


def _services(inputs: Inputs) -> Any:
    """The services asked for; in a form they are JSON text."""
    told = inputs.fields.get("services", [])
    if isinstance(told, str) and inputs.form:
        try:
            return orjson.loads(told)
        except orjson.JSONDecodeError:
            return told
    return told


def _fault(inputs: Inputs) -> Any:
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
    return None


def _failure(inputs: Inputs) -> tuple[int, Any] | None:
    """``REJECTED`` in any text: the register refuses the input; ``PROVIDERDOWN``: none gave a usable answer."""
    if inputs.says("REJECTED"):
        return 400, _failed(inputs, "provider_rejected_input", retryable=False)
    return (502, _failed(inputs, "empty_provider_response", retryable=True)) if inputs.says("PROVIDERDOWN") else None


def _failed(inputs: Inputs, code: str, *, retryable: bool) -> dict[str, Any]:
    errors = [_error(service, code, retryable=retryable) for service in _services(inputs) or ["default"]]
    return {"detail": "No service returned a usable result.", "code": code, "retryable": retryable, "validation_errors": errors}


def _error(service: str, code: str, *, retryable: bool) -> dict[str, Any]:
    return {"service_id": service, "code": code, "retryable": retryable, "message": code.replace("_", " ")}


def _find(inputs: Inputs) -> dict[str, Any]:
    """``NOMATCH`` and ``PARTIAL`` in any text, else a full match. Services with ``down`` in their name do not answer."""
    match = "no_match" if inputs.says("NOMATCH") else "partial_match" if inputs.says("PARTIAL") else "full_match"
    status = {"no_match": "Declined", "partial_match": "In Review"}.get(match, "Approved")
    services = _services(inputs) or ["default"]
    risk = f"DATABASE_VALIDATION_{match.upper()}"
    found = {
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
    errors = [_error(service, "empty_provider_response", retryable=True) for service in services if "down" in service]
    return {**found, "errors": errors} if errors else found


CHECKS = (
    Check("database_validation", "database_validation", "DATABASE_VALIDATION", "database_validations", _fault, _find, failure=_failure),
)
