"""Requests to HTTP calls. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from processor.contract.records import Hop, Request, call_reference, idempotency_key
from processor.contract.strict_json import dumps
from processor.contract.values import value
from processor.didit.catalog import OPERATIONS, CheckTrace, FileRule, Idempotency, Operation

REQUEST_ID_KEY = "vp_request_id"  # our member of Didit's ``metadata``
_LIST_LIMIT = 50
_DAY = timedelta(days=1)
_REPORTS = replace(OPERATIONS["session.decision"], versioned=False)  # v3 alone has the reports as lists


@value(frozen=True, slots=True)
class FilePart:
    """A file of a multipart body, by reference: it is fetched just before the call."""

    name: str
    reference: str
    rule: FileRule


EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {
        "image/jpeg": "jpg",
        "image/png": "png",
        "image/webp": "webp",
        "image/tiff": "tiff",
        "application/pdf": "pdf",
        "application/zip": "zip",
    }
)


@value(frozen=True, slots=True)
class FileContent:
    """A file as it goes out."""

    name: str
    content: bytes
    content_type: str

    @property
    def file_name(self) -> str:
        """The field, with the extension by which Didit judges a file (OpenAPI: "File extension ... is not allowed").

        The caller's own name may be personal.
        """
        return f"{self.name}.{EXTENSIONS[self.content_type]}"


@value(frozen=True, slots=True)
class HttpCall:
    """One call, ready to be made but for its files.

    ``body`` is JSON, or None; with ``files`` the body is multipart, and ``fields`` are its other parts. ``reference`` goes out
    as ``X-Request-Id``. ``idempotency_key`` is the same for every call of a request, so that Didit answers a repetition from
    the first one.
    """

    operation: Operation
    path: str
    query: tuple[tuple[str, str], ...]
    body: bytes | None
    reference: str
    idempotency_key: str | None = None
    files: tuple[FilePart, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()


def build_call(operation: Operation, request: Request, hop: Hop) -> HttpCall:
    """The call of an operation for a request, whose input has the members that the operation names."""
    given, taken = request.input, (*operation.path_fields, *operation.query, *operation.files)
    rest = {name: value for name, value in given.items() if name not in taken}
    if operation.name == "session.create":
        rest["vendor_data"] = vendor_data(request)
    if operation.carries_id:
        rest["metadata"] = {**given.get("metadata", {}), REQUEST_ID_KEY: request.request_id}
    files: tuple[FilePart, ...] = ()
    if operation.files:
        files = tuple(FilePart(name, str(given[name]), rule) for name, rule in operation.files.items() if name in given)
    has_body = operation.method != "GET" and bool(rest or operation.method != "DELETE")
    return HttpCall(
        operation,
        _path(operation, given),
        tuple((name, _query_text(given[name])) for name in operation.query if name in given) if operation.query else (),
        dumps(rest) if has_body and not files else None,
        call_reference(request.request_id, hop.hop),
        idempotency_key(request.request_id) if operation.idempotency is Idempotency.KEYED else None,
        files,
        tuple((name, _field_text(value)) for name, value in rest.items()) if files else (),
    )


def _path(operation: Operation, given: Mapping[str, Any]) -> str:
    if not operation.path_fields:
        return operation.path
    return operation.path.format(**{name: quote(str(given[name]), safe="") for name in operation.path_fields})


def vendor_data(request: Request) -> str:
    """The caller's id of the person, or the request id where there is none (Didit then sees a new user each time)."""
    return str(request.input.get("vendor_data") or request.request_id)


def list_call(request: Request, hop: Hop) -> HttpCall:
    """Look for sessions that a create of this request may have made (Didit, "API errors": list by vendor_data first)."""
    query = {
        "vendor_data": vendor_data(request),
        "workflow_id": str(request.input["workflow_id"]),
        "session_kind": "all",  # a workflow may be of businesses
        "date_from": _listed_since(hop),
        "limit": _LIST_LIMIT,
    }
    return look_up_call("session.list", query, request, hop)


def check_list_call(trace: CheckTrace, request: Request, hop: Hop) -> HttpCall:
    """Look for sessions that Didit may keep a check of this request as; without ``vendor_data`` among those of everybody."""
    query = {**_kept_as(trace), "date_from": _listed_since(hop), "limit": _LIST_LIMIT}
    if "vendor_data" in request.input:
        query["vendor_data"] = str(request.input["vendor_data"])
    return look_up_call("session.list", query, request, hop)


def check_proof_call(trace: CheckTrace, request: Request, hop: Hop) -> HttpCall:
    """Read one check of this kind, whosever it is: whether the list shows them to our key at all."""
    return look_up_call("session.list", {**_kept_as(trace), "limit": 1}, request, hop)


def _kept_as(trace: CheckTrace) -> dict[str, Any]:
    """The filters of the list that show such sessions."""
    return {"session_kind": "business"} if trace.of_company else {"session_type": "API", "api_service": trace.service}


def check_detail_call(session_id: str, request: Request, hop: Hop) -> HttpCall:
    """Read the session that a check is kept as, always by API v3."""
    return build_call(_REPORTS, Request(request.request_id, _REPORTS.name, {"session_id": session_id}), hop)


def _listed_since(hop: Hop) -> str:
    """The ``date_from`` of a lookup: a whole UTC day before the doubt, for clocks may differ."""
    return (datetime.fromtimestamp(hop.called_since_ms / 1000, UTC) - _DAY).date().isoformat()


def detail_call(session_id: str, request: Request, hop: Hop) -> HttpCall:
    """Read one session, for this request."""
    return look_up_call("session.decision", {"session_id": session_id}, request, hop)


def key_proof_call(request: Request, hop: Hop) -> HttpCall:
    """Read one session of the application, whichever it is: whether the API key works at all."""
    return look_up_call("session.list", {"limit": 1}, request, hop)


def look_up_call(name: str, given: Mapping[str, Any], request: Request, hop: Hop) -> HttpCall:
    """A call of another operation, that reads, for this request."""
    return build_call(OPERATIONS[name], Request(request.request_id, name, dict(given)), hop)


def _query_text(value: Any) -> str:
    """Lists as Didit takes them: separated by commas; truth in lower case."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _field_text(value: Any) -> str:
    """A part of a multipart body: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else dumps(value).decode()
