"""Database validation: personal data against government databases. Pure; words in the data choose the result (docs/simulator.md).

Source: Didit, "Database Validation" among the standalone APIs: JSON, or a form for services that need a selfie. A check that
could not run is not billed: the input was rejected (400, not retryable), or no service gave a usable response (502, retryable).
"""

from __future__ import annotations

from typing import Any

import orjson

from processor.simulator.checks.model import CheckDefinition, CheckInputs, file_error
from processor.simulator.feature_items import validation
from processor.simulator.features import warning
from processor.simulator.validation import REQUIRED

_SELFIE_MB, _SELFIES = 2, ("jpg", "jpeg", "png", "webp")
_STATES = (
    *("ARE", "ARG", "AUS", "AUT", "BEL", "BGD", "BOL", "BRA", "CAN", "CHE", "CHL", "CHN", "CIV", "COL", "CRI", "CZE", "DEU", "DNK", "DOM"),
    *("ECU", "ESP", "FIN", "FRA", "GBR", "GHA", "GLB", "GRC", "GTM", "HKG", "HND", "IDN", "IND", "IRL", "ITA", "KEN", "KHM", "MAR", "MEX"),
    *("MYS", "NGA", "NLD", "NOR", "NZL", "OMN", "PAN", "PER", "PHL", "POL", "PRT", "PRY", "QAT", "SGP", "SLV", "SVK", "SWE", "THA", "UGA"),
    *("URY", "USA", "VEN", "ZAF", "ZMB", "ZWE"),
)
_TEXTS = {
    "provider_rejected_input": "The source refused to run this query with the supplied input.",
    "empty_provider_response": "The provider did not return a database validation result.",
}
_NO_RESULT = "Database validation could not be performed. The external validation service did not return a result. Please try again later."
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
    if fields["issuing_state"] not in _STATES:
        return {"error": [f"Invalid issuing state. Valid options are: {', '.join(_STATES)}"]}
    if not isinstance(services, list) or not all(isinstance(service, str) for service in services):
        return {"services": ["Expected a list of items."]}
    if not any(isinstance(fields.get(name), str) and fields[name] for name in _IDS):
        missing = "Missing required fields: identification_number"
        return {"error": [missing], "fields_required_by": {"identification_number": services or ["default"]}}
    if any("consent" in service for service in services) and str(fields.get("consent", "")).lower() != "true":
        asking = [service for service in services if "consent" in service]
        text = f"Explicit end-user consent is required for these database validation services: {asking}. Send `consent=true`."
        return {"consent": [text], "services_requiring_consent": asking}
    return file_error(inputs, "selfie", _SELFIE_MB, _SELFIES, required=False)


def _fail(inputs: CheckInputs) -> tuple[int, Any] | None:
    """``REJECTED`` in any text: the provider rejects the input. ``PROVIDERDOWN``: no provider gives a usable response."""
    if inputs.has_word("REJECTED"):
        return 400, _failure_body(inputs, "provider_rejected_input", retryable=False)
    return (502, _failure_body(inputs, "empty_provider_response", retryable=True)) if inputs.has_word("PROVIDERDOWN") else None


def _failure_body(inputs: CheckInputs, code: str, *, retryable: bool) -> dict[str, Any]:
    errors = [_service_error(service, code, retryable=retryable) for service in _services(inputs) or ["default"]]
    return {"error": _NO_RESULT if retryable else _TEXTS[code], "validation_errors": errors}


def _service_error(service: str, code: str, *, retryable: bool) -> dict[str, Any]:
    return {"service_id": service, "code": code, "retryable": retryable, "message": _TEXTS[code]}


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
        "validations": _validations([service for service in services if "down" not in service], match, inputs),
        "match_type": match,
        "warnings": [] if status == "Approved" else [warning("DATABASE_VALIDATION", risk, "error" if status == "Declined" else "warning")],
    }
    errors = [_service_error(service, "empty_provider_response", retryable=True) for service in services if "down" in service]
    if _services(inputs):
        score = {"no_match": 0.0, "partial_match": 0.5}.get(match, 1.0)
        result |= {"services_used": [service for service in services if "down" not in service], "match_score": score}
    return {**result, "errors": errors} if errors else result


def _validations(services: list[str], match: str, inputs: CheckInputs) -> Any:
    """Service by service; of a check that is not kept only what matched."""
    found = [validation(service, match) for service in services]
    return found if inputs.is_saved else found[0]["validation"] if found else {}


CHECKS = (
    CheckDefinition(
        "database_validation", "database_validation", "DATABASE_VALIDATION", "database_validations", _validate, _evaluate, fail=_fail
    ),
)
