"""One row for each operation: everything about an endpoint stands here.

Paths, bodies and statuses are those of Didit's API reference (v3); scopes those of its page "Rate limiting".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from processor.didit.operation import NO_FILES, CheckTrace, FileRule, Idempotency, Operation
from processor.didit.operations_business import BUSINESS
from processor.didit.operations_management import MANAGEMENT
from processor.didit.operations_transactions import TRANSACTIONS

__all__ = [
    "CANCEL",
    "COMPOSITES",
    "OPERATIONS",
    "REQUESTABLE",
    "SCOPES_OF",
    "WITHOUT_CALL",
    "CheckTrace",
    "Composite",
    "FileRule",
    "Idempotency",
    "Operation",
    "first_call",
    "is_polled",
    "next_call",
]

_MB = 1024 * 1024
_PHOTO = frozenset({"image/jpeg", "image/png", "image/webp", "image/tiff"})
_DOCUMENT = _PHOTO | {"application/pdf"}
_ARCHIVE = _DOCUMENT | {"application/zip"}
_IN_DECISION = ("session-decision", "generic-get")
_UNBILLED = frozenset({502, 503})


def _photo(megabytes: int) -> FileRule:
    return FileRule(megabytes * _MB, _PHOTO)


def _check(
    name: str,
    path: str,
    answer: str,
    *,
    timeout_s: float = 30.0,
    files: Mapping[str, FileRule] = NO_FILES,
    trace: CheckTrace | None = None,
) -> Operation:
    """A standalone check whose answer is ``{request_id, <answer>: {status, ...}, ...}``.

    ``trace`` is None where the decision does not have what the answer has (``face_search``), or Didit documents no ``api_service``.
    """
    return Operation(
        name,
        "POST",
        path,
        ("generic-write",),
        Idempotency.SINGLE if trace is None else Idempotency.RECONCILABLE,
        timeout_s,
        required_output=MappingProxyType({"request_id": str, answer: dict}),
        files=MappingProxyType(dict(files)),
        carries_id=True,
        trace=trace,
    )


def _message(name: str, path: str, *, carries_id: bool = True) -> Operation:
    """A code that is sent or checked, or a risk lookup: the answer is flat."""
    return Operation(
        name,
        "POST",
        path,
        ("generic-write",),
        Idempotency.SINGLE,
        required_output=MappingProxyType({"status": str}),
        carries_id=carries_id,
        unbilled=_UNBILLED,
    )


_FILTERS = (
    *("vendor_data", "workflow_id", "status", "session_kind", "date_from", "date_to", "search", "country", "limit", "offset"),
    *("document_type", "document_name", "region", "didit_internal_id", "session_type", "api_service", "screened_full_name", "warning"),
    *("status_initialized_as_in_review", "is_kyc_to_be_reviewed", "euuid", "organization_name"),
)
_SESSIONS = (
    Operation(
        "session.create",
        "POST",
        "/v3/session/",
        ("session-create", "generic-write"),
        Idempotency.RECONCILABLE,
        success_statuses=frozenset({200, 201}),
        required_output=MappingProxyType({"session_id": str, "url": str, "status": str}),
        carries_id=True,
        versioned=True,
    ),
    Operation(
        "session.decision",
        "GET",
        "/v3/session/{session_id}/decision/",
        _IN_DECISION,
        Idempotency.SAFE,
        required_output=MappingProxyType({"session_id": str, "status": str}),
        query=("include",),
        versioned=True,
    ),
    Operation(
        "session.media",
        "GET",
        "/v3/session/{session_id}/decision/",  # of v3 alone: there the reports are lists, each with its links
        _IN_DECISION,
        Idempotency.SAFE,
        required_output=MappingProxyType({"session_id": str, "status": str}),
        keeps_media=True,
    ),
    Operation(
        "session.list",
        "GET",
        "/v3/sessions/",
        ("generic-get",),
        Idempotency.SAFE,
        required_output=MappingProxyType({"results": list}),
        query=_FILTERS,
    ),
    Operation(
        "session.update_status",
        "PATCH",
        "/v3/session/{session_id}/update-status/",
        ("generic-write",),
        Idempotency.SAFE,  # the same status once more changes nothing
        required_output=MappingProxyType({"session_id": str}),
    ),
    Operation(
        "session.delete",
        "DELETE",
        "/v3/session/{session_id}/delete/",
        ("generic-write",),
        Idempotency.SAFE,  # a second time it is a 404
        success_statuses=frozenset({200, 204}),
    ),
    Operation(
        "session.pdf",
        "GET",
        "/v3/session/{session_id}/generate-pdf/",
        ("session-generate-pdf", "generic-get"),
        Idempotency.SAFE,
        timeout_s=60.0,
        content_type="application/pdf",
    ),
    Operation(
        "session.share",
        "POST",
        "/v3/session/{session_id}/share/",
        ("generic-write",),
        Idempotency.SAFE,  # one more token
        required_output=MappingProxyType({"share_token": str}),
    ),
    Operation(
        "session.import_shared",
        "POST",
        "/v3/session/import-shared/",
        ("generic-write",),
        Idempotency.SAFE,  # a second time it is refused
        success_statuses=frozenset({200, 201}),
        required_output=MappingProxyType({"session_id": str, "status": str}),
    ),
    Operation(
        "sandbox.simulate",  # on no page of Didit's: as a public test against the real sandbox calls it
        "POST",
        "/v3/session/{session_id}/simulate/",
        ("generic-write",),
        Idempotency.SAFE,  # the same outcome once more changes nothing, and nothing of a sandbox is billed
        success_statuses=frozenset({200, 201}),
    ),
    Operation("sandbox.scenarios", "GET", "/v1/sandbox/scenarios/", ("generic-get",), Idempotency.SAFE),
)

_CHECKS = (
    _check(
        "id_verification",
        "/v3/id-verification/",
        "id_verification",
        timeout_s=120.0,
        files={"front_image": FileRule(10 * _MB, _DOCUMENT), "back_image": FileRule(10 * _MB, _DOCUMENT, required=False)},
        trace=CheckTrace("ID_VERIFICATION", "id_verifications"),
    ),
    _check(
        "passive_liveness",
        "/v3/passive-liveness/",
        "liveness",
        files={"user_image": _photo(5)},
        trace=CheckTrace("PASSIVE_LIVENESS", "liveness_checks"),
    ),
    _check(
        "face_match",
        "/v3/face-match/",
        "face_match",
        files={"user_image": _photo(5), "ref_image": _photo(5)},
        trace=CheckTrace("FACE_MATCH", "face_matches"),
    ),
    _check("face_search", "/v3/face-search/", "face_search", files={"user_image": _photo(5)}),
    _check(
        "age_estimation",
        "/v3/age-estimation/",
        "age_estimation",
        files={"user_image": _photo(5)},
        trace=CheckTrace("AGE_ESTIMATION", "liveness_checks"),
    ),
    _check(
        "poa",
        "/v3/poa/",
        "poa",
        timeout_s=60.0,
        files={"document": FileRule(15 * _MB, _DOCUMENT)},
        trace=CheckTrace("POA", "poa_verifications"),
    ),
    _check("document_ai", "/v3/document-ai/", "document_ai", timeout_s=60.0, files={"document": FileRule(30 * _MB, _ARCHIVE)}),
    _check(
        "database_validation",
        "/v3/database-validation/",
        "database_validation",
        files={"selfie": FileRule(2 * _MB, _PHOTO - {"image/tiff"}, required=False)},  # JSON without it, a form with it
        trace=CheckTrace("DATABASE_VALIDATION", "database_validations"),
    ),
    Operation(
        "aml",
        "POST",
        "/v3/aml/",
        ("generic-write",),
        Idempotency.KEYED,
        timeout_s=60.0,  # adverse media take up to 30 s more
        required_output=MappingProxyType({"request_id": str, "aml": dict}),
        carries_id=True,
    ),
    _message("email.send", "/v3/email/send/"),
    _message("email.check", "/v3/email/check/", carries_id=False),
    _message("phone.send", "/v3/phone/send/"),
    _message("phone.check", "/v3/phone/check/", carries_id=False),
    _message("email.risk", "/v3/email/risk/"),
    _message("phone.risk", "/v3/phone/risk/"),
    _message("ip.risk", "/v3/ip/risk/"),
)

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {row.name: row for row in (*_SESSIONS, *_CHECKS, *TRANSACTIONS, *BUSINESS, *MANAGEMENT)}
)


@dataclass(frozen=True, slots=True)
class Composite:
    """An operation that is more than one call: one begins it, another one polls what that has begun until it is settled."""

    name: str
    first_call: Operation
    poll_call: Operation


_COMPOSITES = (Composite("verification", OPERATIONS["session.create"], OPERATIONS["session.decision"]),)
COMPOSITES: Mapping[str, Composite] = MappingProxyType({row.name: row for row in _COMPOSITES})

CANCEL = "cancel"
WITHOUT_CALL = frozenset({CANCEL})
"""Operations that the processor does by itself."""

REQUESTABLE = frozenset({*OPERATIONS, *COMPOSITES, *WITHOUT_CALL})
"""What a request may name as its operation."""


def first_call(name: str) -> Operation:
    """The call that a request of this operation begins with.

    Raises:
        KeyError: if there is no such operation, or it makes no call.
    """
    return COMPOSITES[name].first_call if name in COMPOSITES else OPERATIONS[name]


def is_polled(name: str) -> bool:
    """Whether the operation goes on after its first call, and is polled."""
    return name in COMPOSITES


def next_call(name: str | None, *, polled: bool) -> Operation | None:
    """The call that a request makes next; None if the operation is not known, so that no call is made.

    Args:
        name: its operation, if that could be read.
        polled: the first call was made: its session is there.
    """
    if name not in REQUESTABLE or name in WITHOUT_CALL:
        return None
    return COMPOSITES[name].poll_call if polled and name in COMPOSITES else first_call(name)


SCOPES_OF: Mapping[str, tuple[str, ...]] = MappingProxyType({name: row.scopes for name, row in OPERATIONS.items()})
"""The scopes that a call of each operation counts in."""
