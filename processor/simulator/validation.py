"""Validation of bodies and queries: the documented 400 bodies, each in its own format. Pure."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

from processor.simulator.applications import Application
from processor.simulator.scenarios import scenario_error
from processor.simulator.statuses import ALL_STATUSES
from processor.simulator.workflows import Workflows

_IMAGE_BYTES_MAX = 2 * 1024 * 1024
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)  # Python takes other forms of ISO 8601 too
_ALPHA3 = re.compile(r"[A-Z]{3}")
NO_CREDITS = "You don't have enough credits to perform this request. Please top up at https://business.didit.me"
_DOCUMENT_TYPES = frozenset({"P", "ID", "DL", "RP", "HIC", "TC", "SSC"})
REQUIRED = ["This field is required."]
NO_PERMISSION = {"detail": "You do not have permission to perform this action."}
SUSPENDED = {"detail": "Billing of your contract is suspended. Please contact support.", "code": "contract_billing_suspended"}
APPLICATION_DELETED = {"detail": "This application has been deleted.", "code": "application_deleted"}
STATUSES = ("Approved", "Declined", "Resubmitted")
# of the hosted flow: two letters each, and four longer ones
LANGUAGES = frozenset(
    {
        *re.findall("..", "enarbgbnbscacsdadeelesetfafifrhehihrhuhyiditjakakkkokyltlvmkmnmsnlnoplptroruskslsosqsrsvthtrukuzvizh"),
        "cnr",
        "pt-BR",
    }
) | {"zh-CN", "zh-TW"}
_SERVICES = frozenset(
    {
        *("ID_VERIFICATION", "FACE_MATCH", "AGE_ESTIMATION", "FACE_SEARCH", "POA", "AML", "KYB_REGISTRY", "PASSIVE_LIVENESS"),
        *("DATABASE_VALIDATION", "PHONE_VERIFICATION", "EMAIL_VERIFICATION"),
    }
)
# features that can be done once more, as a body of update-status names them
_RESUBMITTED = (
    "OCR, OCR_BACK, NFC, AML, FACE, LIVENESS, FACE_MATCH, IP_ANALYSIS, AGE_ESTIMATION, PROOF_OF_ADDRESS, PHONE_VERIFICATION, "
    "EMAIL_VERIFICATION, FACE_SEARCH, DATABASE_VALIDATION, QUESTIONNAIRE, KYB_REGISTRY, KYB_DOCUMENTS, KYB_KEY_PEOPLE, ID_VERIFICATION, "
    "POA, PHONE, EMAIL, KYB"
)
ERASURES = ("operational_session_delete", "privacy_erasure")


def create_error(body: Any, caller: Application, blocked: set[str], workflows: Workflows) -> Any:  # noqa: PLR0911 - one return for each documented error
    """The 400 body for an invalid session create; None if it is valid."""
    if not isinstance(body, dict):
        return {"detail": "JSON parse error"}
    if "workflow_id" not in body:
        return {"workflow_id": REQUIRED}
    if not is_uuid(body["workflow_id"]) or not workflows.may_use(body["workflow_id"], caller):
        return {"workflow_id": "Invalid workflow_id."}
    vendor = body.get("vendor_data")
    if vendor is not None and not isinstance(vendor, str):
        return {"vendor_data": ["Not a valid string."]}
    if vendor in blocked:
        return {"vendor_data": "This user or business has been blocked and cannot create new verification sessions."}
    if (error := _choices_error(body)) is not None:
        return error
    details = body.get("expected_details") or {}
    if isinstance(details, dict) and (error := _details_error(details)):
        return error
    if (error := _image_error(body.get("portrait_image"))) is not None:
        return error
    if (error := _scenario_error(body.get("sandbox_scenario"), caller)) is not None:
        return error
    return None if caller.can_pay else {"detail": NO_CREDITS}


def _choices_error(body: dict[str, Any]) -> Any:
    for name, choices in (("callback_method", {"initiator", "completer", "both"}), ("language", LANGUAGES)):
        if body.get(name) is not None and body[name] not in choices:
            return {name: [f'"{body[name]}" is not a valid choice.']}
    return None


def update_error(body: Any) -> Any:
    """The 400 body for an invalid update-status; None if it is valid."""
    if not isinstance(body, dict) or "new_status" not in body:
        return {"new_status": REQUIRED}
    if body["new_status"] not in ALL_STATUSES:
        return {"new_status": [f'"{body["new_status"]}" is not a valid choice.']}
    if body["new_status"] not in STATUSES:
        return {"new_status": ["You can only update the status to 'Approved', 'Declined', or 'Resubmitted'."]}
    if body.get("send_email") is True and not isinstance(body.get("email_address"), str):
        return {"email_address": ["Email address is required when send_email is true."]}
    nodes = body.get("nodes_to_resubmit") or []
    if not isinstance(nodes, list) or not all(isinstance(node, dict) and {"node_id", "feature"} <= set(node) for node in nodes):
        return {"nodes_to_resubmit": ["Each node needs node_id and feature."]}
    known = _RESUBMITTED.split(", ")
    unknown = [
        {"feature": [f'"{node["feature"]}" is not a valid choice. Valid choices are: {_RESUBMITTED}']}
        for node in nodes
        if node["feature"] not in known
    ]
    return {"nodes_to_resubmit": unknown} if unknown else None


def delete_error(body: Any) -> Any:
    """The 400 body for an invalid delete of a session; None if it is valid. A body is not needed."""
    fields = body if isinstance(body, dict) else {}
    instruction, retain = fields.get("deletion_instruction", ERASURES[0]), fields.get("retain_face_embeddings") is True
    if instruction not in ERASURES:
        return {"deletion_instruction": [f'"{instruction}" is not a valid choice.']}
    if (error := _erasure_error(fields)) is not None:
        return error
    if retain and not isinstance(fields.get("face_retention_days"), int):
        return {"detail": "A finite biometric-template retention duration is required."}
    return None


def delete_many_error(body: dict[str, Any]) -> Any:
    """The 400 body for an invalid delete of many sessions; None if it is valid."""
    numbers = body.get("session_numbers")
    if body.get("delete_all") is not True:
        if not isinstance(numbers, list):
            return {"session_numbers": ["This field is required unless delete_all is true."]}
        if not numbers:
            return {"session_numbers": ["This list may not be empty."]}
        if not all(str(number).isdigit() for number in numbers):
            return {"session_numbers": ["All session_numbers must be numeric."]}
    return _erasure_error(body)


def _erasure_error(fields: dict[str, Any]) -> Any:
    if fields.get("deletion_instruction") == "privacy_erasure" and fields.get("retain_face_embeddings") is True:
        return {"retain_face_embeddings": ["Privacy erasure cannot retain biometric templates."]}
    return None


def list_error(query: Mapping[str, str]) -> Any:
    """The 400 body for an invalid query of a list; None if it is valid."""
    if query.get("session_kind", "user").lower() not in {"user", "business", "all"}:
        return {"session_kind": 'Must be "user", "business", or "all".'}
    for name in ("date_from", "date_to"):
        if name in query and date_error(query[name]) is not None:
            return {name: ["Enter a valid date."]}
    for name in ("didit_internal_id", "euuid"):
        if name in query and not is_uuid(query[name]):
            return {name: ["Enter a valid UUID."]}
    service = query.get("api_service")
    if service is not None and service not in _SERVICES:
        return {"api_service": [f"Select a valid choice. {service} is not one of the available choices."]}
    return None


def choice_error(value: Any, choices: Collection[str]) -> list[str] | None:
    """What is wrong with a value that must be given and be one of ``choices``; None if nothing."""
    if value in choices:
        return None
    return [f'"{value}" is not a valid choice.'] if value is not None else REQUIRED


def date_error(value: Any) -> list[str] | None:
    """What is wrong with a date as text; None if nothing."""
    try:
        if _DATE.fullmatch(value) is not None and date.fromisoformat(value):
            return None
    except (TypeError, ValueError):
        pass
    return ["Date has wrong format. Use one of these formats instead: YYYY-MM-DD."]


def is_uuid(value: Any) -> bool:
    """Whether a value is a UUID in its canonical text form."""
    try:
        return isinstance(value, str) and len(value) == 36 and bool(uuid.UUID(value))  # noqa: PLR2004 - the canonical form
    except ValueError:
        return False


def _scenario_error(slug: Any, caller: Application) -> Any:
    if slug is None:
        return None
    if not caller.sandbox:
        return {"sandbox_scenario": ["Scenarios are for sandbox applications only."]}
    unknown = scenario_error(slug)
    return {"sandbox_scenario": unknown} if unknown is not None else None


def _details_error(details: dict[str, Any]) -> Any:
    if "address" in details and not (details.get("country") or details.get("poa_country")):
        return {"expected_details": ["address needs country or poa_country."]}
    for name in ("nationality", "country", "id_country", "poa_country"):
        if details.get(name) is not None and not _ALPHA3.fullmatch(str(details[name])):
            return {"expected_details": {name: ["Enter an ISO 3166-1 alpha-3 code."]}}
    if details.get("gender") not in {None, "M", "F"}:
        return {"expected_details": {"gender": [f'"{details["gender"]}" is not a valid choice.']}}
    types = details.get("expected_document_types") or []
    if not isinstance(types, list) or not set(map(str, types)) <= _DOCUMENT_TYPES:
        return {"expected_details": {"expected_document_types": ["Not a valid choice."]}}
    return None


def _image_error(image: Any) -> Any:
    if image is None:
        return None
    try:
        raw = base64.b64decode(image, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return {"portrait_image": ["Invalid base64."]}
    return {"portrait_image": ["Image size exceeds 2MB."]} if len(raw) > _IMAGE_BYTES_MAX else None
