"""What operators correct in a finished session: extracted data, one feature's status, AML hits. Pure but for the state given.

Source: Didit's OpenAPI 3.0.0, the PATCH routes below ``/v3/session/{sessionId}/``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from processor.simulator.decisions import decision
from processor.simulator.member_rules import text
from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.session import Session
from processor.simulator.sessions import Sessions
from processor.simulator.statuses import SETTLED
from processor.simulator.validation import REQUIRED, choice_error, date_error

_ALPHA2, _ALPHA3 = re.compile(r"[A-Za-z]{2}"), re.compile(r"[A-Za-z]{3}")
_LONG_TYPES = {
    "Passport": "P",
    "Identity Card": "ID",
    "Driver's License": "DL",
    "Residence Permit": "RP",
    "Health Insurance Card": "HIC",
    "Tax Card": "TC",
}
_ADDRESS = ("address_type", "city", "region", "street_1", "street_2", "postal_code", "country")
_FEATURE_STATUSES = ("Approved", "Declined", "In Review")
_FEATURE_TYPES = {"id_verifications": "KYC", "liveness_checks": "LIVENESS", "face_matches": "FACE_MATCH", "poa_verifications": "POA"}
_HIT_STATUSES = ("Unreviewed", "Confirmed Match", "False Positive", "Inconclusive")

_Check = Callable[[str, Any], list[str] | None]  # what is wrong with a member that is not null


def _text(most: int) -> _Check:
    rule = text(most)
    return lambda _, value: rule(value, False)  # noqa: FBT003 - of no form


def _choice(*words: str) -> _Check:
    return lambda _, value: None if value in words else [f'"{value}" is not a valid choice.']


def _date(_: str, value: Any) -> list[str] | None:
    return date_error(value)


def _country(name: str, value: Any) -> list[str] | None:
    valid = isinstance(value, str) and _ALPHA3.fullmatch(value) is not None
    return None if valid else [f"Invalid ISO 3166-1 alpha-3 country code for {name}."]


@dataclass(frozen=True, slots=True)
class _Form:
    """One kind of extracted data: where a decision has it, and its members."""

    label: str  # as the answers call it
    array: str
    address: str
    members: Mapping[str, _Check]


_KYC = _Form(
    "KYC",
    "id_verifications",
    "parsed_address",
    {
        "document_type": _choice("P", "DL", "ID", "RP", "SSC", "HIC", "WP", "TC", "VISA", "PSC", "BC", "OTHER", *_LONG_TYPES),
        "document_subtype": _text(128),
        **dict.fromkeys(("document_number", "personal_number", "first_name", "last_name", "address", "place_of_birth"), _text(255)),
        **dict.fromkeys(("date_of_birth", "date_of_issue", "expiration_date"), _date),
        "issuing_state": _country,
        "gender": _choice("M", "F", "U"),
        "nationality": _text(32),
        "marital_status": _choice("SINGLE", "MARRIED", "DIVORCED", "WIDOWED", "UNKNOWN"),
    },
)
_POA = _Form(
    "POA",
    "poa_verifications",
    "poa_parsed_address",
    {
        "issuing_state": _country,
        "document_type": _choice("UTILITY_BILL", "BANK_STATEMENT", "GOVERNMENT_ISSUED_DOCUMENT", "OTHER_POA_DOCUMENT", "UNKNOWN"),
        "document_language": _text(50),
        **dict.fromkeys(("issuer", "name_on_document"), _text(255)),
        "issue_date": _date,
        "poa_address": _text(1000),
    },
)


class CorrectionEndpoints:
    """The routes that change what a finished session holds."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "session.update_data": lambda request: self._correct(request, _KYC),
            "session.update_poa_data": lambda request: self._correct(request, _POA),
            "session.update_feature": self._update_feature,
            "session.update_aml_hit": self._update_hit,
            "session.update_aml_hits": self._update_hits,
        }

    def _correct(self, request: ApiRequest, form: _Form) -> ApiResponse:
        """Only what is sent is written; a webhook is sent, of proof of address only if something has changed."""
        session, body = request.target_session, request.json_body
        if session.status not in SETTLED:
            return ApiResponse(404, {"detail": "No Session matches the given query."})
        node = request.query.get("node_id") or body.get("node_id")
        items = decision(session, "v3")[form.array]
        if not items:
            return ApiResponse(404, {"detail": f"The session does not have a {form.label}."})
        if node is not None and node not in {item["node_id"] for item in items}:
            return ApiResponse(404, {"detail": f"The session does not have a {form.label} for node '{node}'."})
        if (error := _form_error(form, body)) is not None:
            return ApiResponse(400, error)
        given = {name: value for name, value in body.items() if name in form.members or name in {form.address, "extra_fields"}}
        stored = session.corrections if form is _KYC else session.poa_corrections
        before = dict(stored)
        stored |= _merged(form, items[-1], given)
        if given and (form is _KYC or stored != before):
            self._sessions.listener(session, "data.updated", request.now)
        if stored != before:
            session.add_activity(f"{form.label}_DATA_UPDATED", request.now, changed_fields=sorted(given))
        return ApiResponse(200, _record(form, session), session.session_id, acted=stored != before)

    def _update_feature(self, request: ApiRequest) -> ApiResponse:
        session, body, node = request.target_session, request.json_body, request.match["name"]
        if session.service is not None:
            return ApiResponse(400, {"detail": "Cannot change feature status for API sessions."})
        status: Any = body.get("new_status")
        if (wrong := choice_error(status, _FEATURE_STATUSES)) is not None:
            return ApiResponse(400, {"new_status": wrong})
        arrays = {name: items for name, items in decision(session, "v3").items() if isinstance(items, list)}
        found = [(name, item) for name, items in arrays.items() for item in items if isinstance(item, dict) and item.get("node_id") == node]
        if not found:
            return ApiResponse(404, {"detail": f"No feature found with node_id '{node}' in this session."})
        array, item = found[0]
        if item["status"] == status:
            return ApiResponse(400, {"new_status": "The new status is the same as the current status."})
        session.feature_statuses[node] = status
        session.add_activity("STATUS_UPDATED", request.now, comment=body.get("comment"), metadata={"node_id": node, "new_status": status})
        self._sessions.listener(session, "data.updated", request.now)
        kind = _FEATURE_TYPES.get(array, array.removesuffix("s").upper())
        answer = {"session_id": session.session_id, "node_id": node, "feature_type": kind, "new_status": status}
        return ApiResponse(200, answer, session.session_id, acted=True)

    def _update_hit(self, request: ApiRequest) -> ApiResponse:
        body = request.json_body
        if (error := _hit_error(body)) is not None:
            return ApiResponse(400, error)
        missing = "Hit with ID '{}' not found in the AML check."
        answer = {"message": "Hit status updated successfully", "hit_id": body["hit_id"], "review_status": body["review_status"]}
        return self._review_hits(request, [body], missing, answer)

    def _update_hits(self, request: ApiRequest) -> ApiResponse:
        """All of them, or none."""
        updates = request.json_body.get("hit_updates")
        if not isinstance(updates, list) or not updates:
            return ApiResponse(400, {"hit_updates": ["hit_updates cannot be empty"]})
        if errors := [error for update in updates if (error := _hit_error(update)) is not None]:
            return ApiResponse(400, {"hit_updates": errors})
        ids = [update["hit_id"] for update in updates]
        answer = {"message": f"Updated {len(ids)} hit(s) successfully", "updated_hits": ids}
        return self._review_hits(request, updates, "Hits not found: {}", answer)

    def _review_hits(self, request: ApiRequest, updates: list[dict[str, Any]], missing: str, answer: dict[str, Any]) -> ApiResponse:
        session = request.target_session
        node = request.query.get("node_id") or request.json_body.get("node_id")
        screenings = [item for item in decision(session, "v3")["aml_screenings"] or () if node in {None, item.get("node_id")}]
        if not screenings:
            return ApiResponse(404, {"detail": "The session does not have an AML check."})
        known = {hit["id"] for item in screenings for hit in item["hits"]}
        if unknown := [update["hit_id"] for update in updates if update["hit_id"] not in known]:
            return ApiResponse(404, {"detail": missing.format(", ".join(map(str, unknown)))})
        session.hit_statuses |= {update["hit_id"]: update["review_status"] for update in updates}
        session.add_activity("AML_HIT_STATUS_UPDATED", request.now, changed_fields=["review_status"])
        self._sessions.listener(session, "data.updated", request.now)
        return ApiResponse(200, answer, session.session_id, acted=True)


def _hit_error(update: Any) -> dict[str, Any] | None:
    if not isinstance(update, dict) or not update.get("hit_id"):
        return {"hit_id": REQUIRED}
    if update.get("review_status") not in _HIT_STATUSES:
        return {"review_status": [f'"{update.get("review_status")}" is not a valid choice.']}
    return None


def _form_error(form: _Form, body: dict[str, Any]) -> dict[str, Any] | None:
    for name, check in form.members.items():
        if body.get(name) is not None and (wrong := check(name, body[name])) is not None:
            return {name: wrong}
    if body.get("extra_fields") is not None and not isinstance(body["extra_fields"], dict):
        return {"extra_fields": ["This field must be a JSON object."]}
    names = (body.get("extra_fields") or {}).get("additional_names")
    if form is _POA and not isinstance(names or [], list):
        return {"extra_fields": {"additional_names": "Must be a list or null."}}
    wrong_address = _address_error(body[form.address]) if body.get(form.address) is not None else None
    return {form.address: wrong_address} if wrong_address is not None else None


def _address_error(address: Any) -> Any:
    if not isinstance(address, dict):
        return ["This field must be a JSON object."]
    for key, value in address.items():
        if key not in _ADDRESS:
            return {key: f"Unsupported key. Allowed keys: {', '.join(_ADDRESS)}"}
        if value is not None and not isinstance(value, str):
            return {key: "Not a valid string."}
    if address.get("country") is not None and not _ALPHA2.fullmatch(address["country"]):
        return {"country": "Invalid ISO 3166-1 alpha-2 country code."}
    return None


def _merged(form: _Form, shown: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The members to write: objects are merged key by key, and null removes a key."""
    written = dict(given)
    if "document_type" in given and form is _KYC:
        written["document_type"] = _LONG_TYPES.get(given["document_type"], given["document_type"])
    if isinstance(given.get("issuing_state"), str):
        written["issuing_state"] = given["issuing_state"].upper()
    for name in {form.address, "extra_fields"} & set(given):
        both = {**(shown.get(name) or {}), **given[name]} if given[name] is not None else {}
        written[name] = {key: value or None for key, value in both.items() if name == form.address or value not in (None, "")}
    if written.get(form.address):
        if isinstance(written[form.address].get("country"), str):
            written[form.address]["country"] = written[form.address]["country"].upper()
        parts = ("street_1", "street_2", "city", "region", "postal_code", "country")
        written[form.address]["formatted_address"] = ", ".join(str(written[form.address][k]) for k in parts if written[form.address].get(k))
    return written


def _record(form: _Form, session: Session) -> dict[str, Any]:
    """Every member with its value now."""
    item = decision(session, "v3")[form.array][-1]
    found = {name: item.get(name) for name in form.members}
    if form is _KYC:
        found["document_type"] = _LONG_TYPES.get(str(found["document_type"]), found["document_type"])
        found["marital_status"] = found["marital_status"] or "UNKNOWN"
    else:
        found["document_type"] = found["document_type"] or "UNKNOWN"
        found["poa_formatted_address"] = (item.get(form.address) or {}).get("formatted_address") or item.get("poa_formatted_address")
    address = {name: (item.get(form.address) or {}).get(name) for name in (*_ADDRESS, "formatted_address")}
    return found | {"extra_fields": item.get("extra_fields") or {}, form.address: address}
