"""Requests to HTTP calls. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from processor.contract.records import Hop, Request, call_reference, idempotency_key
from processor.contract.strict_json import dumps
from processor.didit.catalog import OPERATIONS, Idempotency, Operation

REQUEST_ID_KEY = "vp_request_id"  # our member of Didit's ``metadata``
_LIST_LIMIT = 50
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One call, ready to be made. ``body`` is JSON or None; ``reference`` goes out as ``X-Request-Id``.

    ``idempotency_key`` is the same for every call of a request, so that Didit answers a repetition from the first one.
    """

    operation: Operation
    path: str
    query: tuple[tuple[str, str], ...]
    body: bytes | None
    reference: str
    idempotency_key: str | None = None


def build_call(request: Request, hop: Hop) -> HttpCall:
    """The call that a request asks for."""
    operation = OPERATIONS[request.operation]
    reference = call_reference(request.request_id, hop.hop)
    if operation.method == "POST":
        body = _create_body(request) if operation.name == "session.create" else _check_body(request)
        key = idempotency_key(request.request_id) if operation.idempotency is Idempotency.KEYED else None
        return HttpCall(operation, operation.path, (), dumps(body), reference, key)
    query = (("include", ",".join(request.input["include"])),) if request.input.get("include") else ()
    return HttpCall(operation, _path(operation, str(request.input["session_id"])), query, None, reference)


def vendor_data(request: Request) -> str:
    """The caller's id of the person, or the request id where there is none (Didit then sees a new user each time)."""
    return str(request.input.get("vendor_data") or request.request_id)


def list_call(request: Request, hop: Hop) -> HttpCall:
    """Look for sessions that a create of this request may have made (Didit, "API errors": list by vendor_data first)."""
    since = datetime.fromtimestamp((hop.doubt_ms or hop.first_ms) / 1000, UTC) - _DAY  # a whole UTC day; clocks may differ
    query = (
        ("vendor_data", vendor_data(request)),
        ("workflow_id", str(request.input["workflow_id"])),
        ("date_from", since.date().isoformat()),
        ("limit", str(_LIST_LIMIT)),
    )
    operation = OPERATIONS["session.list"]
    return HttpCall(operation, operation.path, query, None, call_reference(request.request_id, hop.hop))


def detail_call(session_id: str, request: Request, hop: Hop) -> HttpCall:
    """Read one session that a lookup has found; its metadata says whose it is."""
    operation = OPERATIONS["session.decision"]
    return HttpCall(operation, _path(operation, session_id), (), None, call_reference(request.request_id, hop.hop))


def _create_body(request: Request) -> dict[str, object]:
    return {**_check_body(request), "vendor_data": vendor_data(request)}


def _check_body(request: Request) -> dict[str, object]:
    return {**request.input, "metadata": {**request.input.get("metadata", {}), REQUEST_ID_KEY: request.request_id}}


def _path(operation: Operation, session_id: str) -> str:
    return operation.path.format(session_id=quote(session_id, safe=""))
