"""What callers publish: a checked request as a record. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from processor.client.errors import InvalidRequestError
from processor.client.topics import record_key
from processor.contract.codes import ErrorCode
from processor.contract.decode import DEPTH_MAX, Rejected, decode
from processor.contract.digests import content_digest
from processor.contract.records import OnDoubt, Priority, Record, Source
from processor.contract.strict_json import dumps, plain_name

_NOT_PUBLISHED = Source("requests", 0, 0)  # a record has a position; this one has none yet, and nothing looks at it


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A request that fulfils the contract.

    Attributes:
        request_id: stands for one content.
        content: digest of operation and input: equal for copies.
        key: of the record.
        value: of the record.
    """

    request_id: str
    content: str
    key: bytes
    value: bytes


def build_request(
    operation: str,
    request_input: Mapping[str, Any],
    *,
    request_id: str,
    key: str | None = None,
    priority: Priority | None = None,
    deadline: datetime | None = None,
    on_doubt: OnDoubt | None = None,
    tenant: str | None = None,
) -> OutgoingRequest:
    """A request, judged as a processor will judge it.

    Raises:
        InvalidRequestError: if it breaks the contract.
    """
    if not isinstance(request_input, Mapping):
        raise InvalidRequestError(ErrorCode.WRONG_TYPE, "input", 'the value is not of type "object"')
    if (path := _not_finite(request_input, "input")) is not None:  # it would be written as null
        raise InvalidRequestError(ErrorCode.NOT_FINITE, path, "NaN and Infinity are not JSON; send a number, a string or null")
    document = {
        "request_id": request_id,
        "operation": operation,
        "input": dict(request_input),
        "priority": priority,
        "deadline": deadline.isoformat() if deadline is not None else None,
        "on_doubt": on_doubt,
        "tenant": tenant,
    }
    try:
        value = dumps({name: member for name, member in document.items() if member is not None})
        chosen_key = key.encode() if key is not None else None
    except (TypeError, UnicodeEncodeError) as exc:
        raise InvalidRequestError(ErrorCode.NOT_JSON, None, f"it holds what cannot be written as JSON in UTF-8: {_told(exc)}") from None
    decoded = decode(Record(_NOT_PUBLISHED, chosen_key, value))
    if isinstance(decoded, Rejected):
        raise InvalidRequestError(decoded.error.code, decoded.error.field, decoded.error.message)
    return OutgoingRequest(
        request_id, content_digest(decoded.request), record_key(decoded.request) if chosen_key is None else chosen_key, value
    )


def _not_finite(value: Any, path: str, depth: int = 0) -> str | None:
    """The path of the first number that JSON has not; None if there is none, or it is deeper than a request may be."""
    if depth > DEPTH_MAX:
        return None
    if isinstance(value, Mapping):
        children = [(f"{path}.{plain_name(str(name))}", child) for name, child in value.items()]
    elif isinstance(value, list | tuple):
        children = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    else:
        return path if isinstance(value, float) and not isfinite(value) else None
    return next((found for where, child in children if (found := _not_finite(child, where, depth + 1)) is not None), None)


def _told(exc: TypeError | UnicodeEncodeError) -> str:
    """What the writer says; it names types, and no value. The text of an encoding error would quote the input."""
    return "half of a surrogate pair" if isinstance(exc, UnicodeEncodeError) else str(exc)
