"""Every answer of the simulator is judged by Didit's OpenAPI 3.0.0: its status, its schema, and the members of a success."""

from __future__ import annotations

import re
from typing import Any

import openapi

# The one table of what is not as the document has it, on purpose: "METHOD path status fault", and why.
OTHERWISE: tuple[tuple[str, str], ...] = (
    (
        r"GET \S+/decision/ 200 \.(registry_checks|key_people_checks|document_verifications|nfc_skip_reason): missing",
        "of a business, or of a chip that was skipped; the document's own example of a person has none of them",
    ),
    (
        r"GET \S+/decision/ 200 business \.((id|nfc|poa|database|document_ai)_\w+|liveness_checks|face_matches): missing",
        "of a person; the document's own example of a business has none of them",
    ),
    (
        r"GET /v3/session/\{sessionId\}/decision/\?include=events 200 .*",
        "the page 'Retrieve session' has what it adds, the document has not",
    ),
    (r".* \S*\.(expected_details|contact_details|device)\.\w+: missing", "as the caller has sent it"),
    (r".* \.(email|phone)\.(email|phone)_social: missing", "with `enable_social` alone, which is not simulated"),
    (r"POST /v3/database-validation/ 200 .*\.(errors|services_used|match_score): missing", "with failed or explicit services alone"),
    (r"POST /v3/transactions/ 409 .*", "the page 'Transaction Monitoring: Troubleshooting': two same calls at a time"),
    (r"POST /v3/wallet-screening/ 422 .*", "the page 'API errors': an address that belongs to several networks"),
    (r"POST /v3/aml/ 409 .*", "the page 'API errors' has the Idempotency-Key, the document has not"),
    (r"POST /v3/session/\{sessionId\}/sandbox/arm/ 403 .*", "the page 'Sandbox testing': a live session, or another session's token"),
    (r"POST /v3/[a-z-]+/ 415 .*", "Django REST framework's own answer to JSON where a form is wanted"),
    (r".* 429 429 is not documented", "the page 'Rate limiting': every call with a key counts"),
    (r".* (401|403) .*not documented", "by the switch auth_status"),
    (r"DELETE /v3/session/\{sessionId\}/delete/ 204 .*", "by the switch delete_status"),
    (r"POST /v3/session/ 500 .*", "the simulator is full"),
    (
        r"\w+ /v3/(session/\{sessionId\}/[a-z/-]+|transactions/\{transaction_id\})/ 404 404 has another type of body",
        "an id that is no UUID is no path of Django's: a page",
    ),
    (r"\w+ /v3/users/.*", "the members of users are not whole yet"),
    (r"\w+ /v3/travel-rule/settings/ 200 \.compliance_email: .*", "empty until it is set, as in the document's own example"),
    (
        r"\w+ \S+/(inbound|ownership|travel-rule)/ 20[01] \S*\.(beneficiary|originator)_data: missing",
        "personal data of an inbound transfer, until its wallet is confirmed, as the document's text says",
    ),
    (
        r"\w+ /v3/(travel-rule/\S+|transactions/\{transaction_id\}/travel-rule/\S*) (400|404) .*not documented",
        "the document has no answer to a member that it requires, nor to an unknown id",
    ),
)


def judged_faults(method: str, path: str, status: int, document: Any) -> list[str]:
    """What Didit's OpenAPI has against an answer, without what is otherwise on purpose."""
    plain, _, query = path.partition("?")
    found = openapi.endpoint(method, plain) if openapi.available() else None
    if found is None:
        return []
    of_business = isinstance(document, dict) and document.get("session_kind") == "business"
    events = "?include=events" if "include=events" in query else ""
    asked = f"{method} {found.path}{events} {status}{' business' if of_business else ''}"
    faults = (f"{asked} {fault}" for fault in found.faults(status, document))
    return [fault for fault in faults if not any(re.fullmatch(pattern, fault) for pattern, _ in OTHERWISE)]
