"""Which headers of ours are believed in the topic that callers write to; by the processor and by whoever judges it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.decode import Accepted, Rejected
from processor.contract.headers import PREFIX, fresh_hop
from processor.contract.records import ErrorInfo, Hop, Record

_OURS = ErrorInfo(
    ErrorType.INVALID_REQUEST,
    ErrorCode.HEADER_INVALID,
    "vp-... headers belong to the processors; of them a caller may send vp-application alone",
    field="headers",
)


def believed(record: Record, decoded: Accepted | Rejected, inputs: Collection[str], *, takes_handed_on: bool) -> Accepted | Rejected:
    """A record of the topic of callers, rejected if its headers say what only processors know.

    One that was handed on to its application has its first place, which lies in no topic of the application, and its round with it, but
    has made no call.

    Args:
        record: as it was delivered.
        decoded: what ``decode`` made of it.
        inputs: topics that the installation works on.
        takes_handed_on: it is that of a named application.
    """
    if not record.headers or not any(name.startswith(PREFIX) for name, _ in record.headers):
        return decoded
    hop = decoded.hop
    expected = replace(fresh_hop(record), application=hop.application, copied=hop.copied)
    if takes_handed_on and hop.first.topic not in inputs:
        expected = _handed_on(expected, hop)
    if replace(hop, traceparent=expected.traceparent, tracestate=expected.tracestate) == expected:
        return decoded
    if isinstance(decoded, Accepted):
        return Rejected(_OURS, decoded.request.request_id, decoded.request.operation, fresh_hop(record))
    error = decoded.error if (decoded.error.field or "").startswith("headers.") else _OURS
    return Rejected(error, decoded.request_id, decoded.operation, fresh_hop(record))


def _handed_on(fresh: Hop, hop: Hop) -> Hop:
    return replace(
        fresh,
        first=hop.first,
        first_ms=hop.first_ms,
        hop=hop.hop,
        replay=hop.replay,
        first_failure_ms=hop.first_failure_ms,
        last_error=hop.last_error,
    )
