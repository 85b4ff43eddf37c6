"""Bytes to a request, or to what its sender is told. Never raises, whatever the bytes."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from processor.contract import schemas, strict_json
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.foreign_headers import copied_headers
from processor.contract.headers import APPLICATION_HEADER, HeaderError, peek_due_ms, read_hop, salvage_hop
from processor.contract.records import ErrorInfo, Hop, OnDoubt, Priority, Record, Request
from processor.contract.strict_json import JsonError
from processor.contract.values import value

VALUE_BYTES_MAX = 1_048_588  # what a record of the requests topic can be
KEY_BYTES_MAX = 16_384
DEPTH_MAX = 32
TOKENS_MAX = 5000  # values of a request; no operation takes a hundredth of it, and reading more would hold the event loop
EXACT_MAX = 50  # numbers of a request that no double holds; a schema takes up to 0.4 ms for each
_MANY_EXACT_BYTES = 1000  # shorter texts cannot hold so many

_REQUEST_SCHEMA = "request.v1"
_INPUT_SCHEMAS = {name: f"input.{name}.v1" for name in schemas.operations()}
_REQUEST_ID = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:[0-5]\d:([0-5]\d|60)(\.\d{1,9})?([Zz]|[+-]\d{2}:[0-5]\d)")
_KNOWN_PREFIXES = (
    (b"\x1f\x8b", ErrorCode.COMPRESSED, "the value is gzip; send plain JSON and let Kafka's producer compress"),
    (b"\xff\xfe", ErrorCode.NOT_UTF8, "the value is UTF-16; send UTF-8"),
    (b"\xfe\xff", ErrorCode.NOT_UTF8, "the value is UTF-16; send UTF-8"),
)
_PRIORITIES = {str(p): p for p in Priority}
_ON_DOUBT = {str(d): d for d in OnDoubt}
_PAST_SALVAGE = frozenset(
    {ErrorCode.TOO_LARGE, ErrorCode.TOO_MANY_VALUES, ErrorCode.NOT_UTF8}
)  # reading on would cost more than it could give
_OPERATION_CHARS_MAX = 64  # a longer name is like none, and looking would take long
_FRAME_BYTES = 5  # a zero byte and a schema id


@value(frozen=True, slots=True)
class Accepted:
    """The record fulfils the contract."""

    request: Request
    hop: Hop


@value(frozen=True, slots=True)
class Rejected:
    """It does not; ``request_id`` and ``operation`` are given where they can be read without doubt."""

    error: ErrorInfo
    request_id: str | None
    operation: str | None
    hop: Hop


def decode(record: Record, copy: Collection[str] = ()) -> Accepted | Rejected:
    """Judge one record: headers, size, form, JSON, schema, in this order of trust.

    Args:
        record: as it was delivered.
        copy: names of the caller's own headers that go with the request, lower case.
    """
    hop, header_error = _read_headers(record)
    if copy and record.headers:
        hop = replace(hop, copied=copied_headers(record.headers, copy))
    try:
        value = _read_value(record)
    except JsonError as fault:
        members = {} if fault.code in _PAST_SALVAGE else strict_json.salvage_members(record.value or b"", ("request_id", "operation"))
        known = _identity(members)
        return Rejected(_error(fault.code, fault.message, fault.path), *known, hop)
    request_id, operation = _identity(value)
    error = header_error or _schema_error(value) or _application_error(hop, value)
    deadline_ms = None
    if error is None and "deadline" in value:
        deadline_ms = parse_deadline(value["deadline"])
        if deadline_ms is None:
            error = _error(ErrorCode.WRONG_FORM, "deadline must be an RFC 3339 time with its offset, e.g. 2027-01-31T12:00:00Z", "deadline")
    if error is not None:
        return Rejected(error, request_id, operation, hop)
    return Accepted(_request(value, deadline_ms, hop.application), hop)


def read_request_id(found: Any) -> str | None:
    """A value of ``request_id`` if it is one that a request may have; else None."""
    return found if isinstance(found, str) and _REQUEST_ID.fullmatch(found) is not None else None


def parse_deadline(text: str) -> int | None:
    """Epoch ms of an RFC 3339 date-time that has its offset; None for anything else."""
    if not _RFC3339.fullmatch(text):
        return None
    try:
        # a leap second (:60) is not known to datetime; like POSIX time, it is the following second
        parsed = datetime.fromisoformat(text.upper().replace(":60", ":59"))
    except ValueError:
        return None
    return int(parsed.timestamp() * 1000) + (1000 if ":60" in text[16:20] else 0)


def _read_headers(record: Record) -> tuple[Hop, ErrorInfo | None]:
    try:
        return read_hop(record), None
    except HeaderError as fault:
        # Of a later version, e.g.: what can be read is kept, else its request would be taken for another one with the same id, and its
        # session, attempts and doubt would be lost. Whoever reads the topic of callers believes none of it (``engine.placement``).
        return salvage_hop(record), _error(fault.code, fault.message, f"headers.{fault.name}")


def _read_value(record: Record) -> dict[str, Any]:
    raw = record.value
    if (unread := record.unread) is not None:
        which = f"offsets {unread.first} to {unread.last} of {record.source.lane}"
        raise JsonError(unread.code, f"their batch ({which}, {unread.size_bytes} bytes) {unread.detail}; publish its records again")
    if raw is None:
        raise JsonError(ErrorCode.TOMBSTONE, "the record has no value; a request is a JSON object")
    if not raw.strip():
        raise JsonError(ErrorCode.EMPTY, "the value is empty; a request is a JSON object")
    if len(raw) > VALUE_BYTES_MAX:
        raise JsonError(ErrorCode.TOO_LARGE, f"the value is {len(raw)} bytes long; at most {VALUE_BYTES_MAX} are read")
    if record.key is not None and len(record.key) > KEY_BYTES_MAX:
        raise JsonError(ErrorCode.KEY_TOO_LARGE, f"the key is {len(record.key)} bytes long; at most {KEY_BYTES_MAX} are read")
    if raw[0] == 0 and len(raw) > _FRAME_BYTES:
        raise JsonError(ErrorCode.FRAMED, "the value is framed by a schema registry's serialiser; send plain JSON without the five bytes")
    for prefix, code, message in _KNOWN_PREFIXES:
        if raw.startswith(prefix):
            raise JsonError(code, message)
    return _read_object(raw)


def _read_object(raw: bytes) -> dict[str, Any]:
    value = strict_json.loads(raw, depth_max=DEPTH_MAX, tokens_max=TOKENS_MAX)
    if len(raw) > _MANY_EXACT_BYTES and strict_json.count_exact(value) > EXACT_MAX:
        raise JsonError(ErrorCode.TOO_MANY_VALUES, f"the value holds more than {EXACT_MAX} numbers that no double holds; send strings")
    if not isinstance(value, dict):
        raise JsonError(ErrorCode.NOT_AN_OBJECT, "the value is JSON but no object; a request is a JSON object")
    return value


def _identity(value: dict[str, Any]) -> tuple[str | None, str | None]:
    request_id, operation = value.get("request_id"), value.get("operation")
    known = isinstance(operation, str) and operation in _INPUT_SCHEMAS
    return read_request_id(request_id), (operation if known else None)


def _schema_error(value: dict[str, Any]) -> ErrorInfo | None:
    found = schemas.faults(_REQUEST_SCHEMA, value)
    if not found:
        found = [(code, f"input.{path}" if path else "input", text) for code, path, text in _input_faults(value)]
    if not found:
        return None
    code, path, message = found[0]
    if path == "operation" and code is ErrorCode.NOT_ALLOWED:
        message = _no_operation(value[path])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return _error(code, f"{message}{more}", path or None)


def _no_operation(name: Any) -> str:
    """What is said of an operation that there is not: the nearest one there is, and nothing of what was sent."""
    short = isinstance(name, str) and len(name) <= _OPERATION_CHARS_MAX
    near = get_close_matches(name, schemas.operations(), n=1) if short else []
    return f"there is no such operation; {f'did you mean {near[0]}?' if near else 'docs/contract.md lists them'}"


def _input_faults(value: dict[str, Any]) -> list[schemas.Fault]:
    return schemas.faults(_INPUT_SCHEMAS[value["operation"]], value["input"])


def _application_error(hop: Hop, value: dict[str, Any]) -> ErrorInfo | None:
    if hop.application is None or value.get("application", hop.application) == hop.application:
        return None
    return _error(ErrorCode.NOT_ALLOWED, f"{APPLICATION_HEADER} names another application than the value", f"headers.{APPLICATION_HEADER}")


def _request(value: dict[str, Any], deadline_ms: int | None, application: str | None) -> Request:
    return Request(
        request_id=value["request_id"],
        operation=value["operation"],
        input=value["input"],
        deadline_ms=deadline_ms,
        priority=_PRIORITIES[value.get("priority", "normal")],
        on_doubt=_ON_DOUBT[value.get("on_doubt", "fail")],
        application=value.get("application", application),
        tenant=value.get("tenant", ""),
    )


def _error(code: ErrorCode, message: str, field: str | None) -> ErrorInfo:
    return ErrorInfo(ErrorType.INVALID_REQUEST, code, message, field=field)


__all__ = ["Accepted", "Rejected", "decode", "parse_deadline", "peek_due_ms", "read_request_id"]
