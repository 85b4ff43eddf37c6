"""Results, retries and dead letters to records."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from processor.contract.foreign_headers import DeadLetterDialect, cloudevent_headers, dead_letter_headers
from processor.contract.headers import PREFIX, hop_headers
from processor.contract.records import About, ErrorInfo, Headers, Hop, Output, OutputKind, Record, Result
from processor.contract.strict_json import dumps

UNREAD = "unread"  # an operation that could not be read
_MESSAGE_CHARS_MAX = 500
_FIELD_CHARS_MAX = 200
_KEY_BYTES_MAX = 65_536
FORWARDED_HEADER_BYTES_MAX = 32_768  # of the caller's own, names included
_HEADER_FRAME_BYTES = 10


def result_output(result: Result, headers: Headers = (), *, cloudevents_source: str = "") -> Output:
    """The record of the results topic; ``schemas/result.v1.json`` describes its value.

    Args:
        result: what to say.
        headers: of its trace.
        cloudevents_source: to have it read as a CloudEvent too; empty for no such headers.
    """
    document: dict[str, Any] = {
        "schema_version": 1,
        "result_id": result.result_id,
        "request_id": result.request_id,
        "operation": result.operation,
        "kind": result.kind,
        "status": result.status,
        "output": result.output,
        "error": asdict(result.error) if result.error is not None else None,
        "attempts": result.attempts,
        "received_at": _timestamp(result.received_ms),
        "finished_at": _timestamp(result.finished_ms),
        "source": {"topic": result.source.topic, "partition": result.source.partition, "offset": result.source.offset},
    }
    if result.replay:
        document["replay"] = result.replay
    code = result.error.code if result.error is not None else None
    took_ms = max(0, result.finished_ms - result.received_ms)
    about = About(result.operation or UNREAD, str(result.status), code=code, attempts=result.attempts, took_ms=took_ms)
    headers = (*headers, *cloudevent_headers(document, cloudevents_source))
    return Output(OutputKind.RESULT, result.key.encode(), dumps(document), headers, about=about, partition=result.source.partition)


def retry_output(record: Record, hop: Hop, delay_s: int, *, counted: bool = False) -> Output:
    """The caller's own bytes once more, with the hop in the headers. ``counted``: it has cost an attempt."""
    about = About(code=hop.last_error, counted=counted)
    return Output(OutputKind.RETRY, record.key, record.value, hop_headers(hop), delay_s, about)


def has_room_for(record: Record) -> bool:
    """Whether the topic of another application has room for the headers of a caller's record, besides ours."""
    own = ((name, raw) for name, raw in record.headers if not name.startswith(PREFIX))
    return sum(len(name.encode()) + len(raw or b"") + _HEADER_FRAME_BYTES for name, raw in own) <= FORWARDED_HEADER_BYTES_MAX


def forward_output(record: Record, hop: Hop, application: str, operation: str) -> Output:
    """The caller's own record for another application: key, value and headers, and the hop, so that its first place and time stay known."""
    own = hop_headers(replace(hop, due_ms=None, application=None, copied=()))
    replaced = {name for name, _ in own}
    kept = tuple((name, raw) for name, raw in record.headers if not name.startswith(PREFIX) and name not in replaced)
    return Output(OutputKind.FORWARD, record.key, record.value, (*kept, *own), about=About(operation), application=application)


def dead_letter_output(
    record: Record,
    hop: Hop,
    error: ErrorInfo,
    *,
    attempts: int,
    failed_ms: int,
    value_bytes_max: int,
    dialects: Collection[DeadLetterDialect] = (),
) -> Output:
    """The caller's own bytes, and in the headers why and where from.

    ``attempts`` is what the result says: those of ``hop``, and the one that ended it. A value longer than ``value_bytes_max`` is cut there
    and says so; the whole of it is at its source position for as long as the requests topic keeps it. ``dialects``: whose names the reason
    has beside ours.
    """
    message = _plain(error.message, _MESSAGE_CHARS_MAX)
    reason: list[tuple[str, str | None]] = [
        ("vp-reason-type", error.type),
        ("vp-reason-code", error.code),
        ("vp-reason-message", message),
        ("vp-reason-field", _plain(error.field, _FIELD_CHARS_MAX) if error.field is not None else None),
        ("vp-http-status", str(error.http_status) if error.http_status is not None else None),
        ("vp-attempts", str(attempts)),
        ("vp-failed-ms", str(failed_ms)),
        ("vp-from-topic", record.source.topic),
        ("vp-from-partition", str(record.source.partition)),
        ("vp-from-offset", str(record.source.offset)),
    ]
    value = record.value
    if value is not None and len(value) > value_bytes_max:
        reason += [("vp-value-size-bytes", str(len(value))), ("vp-value-sha256", hashlib.sha256(value).hexdigest())]
        value = value[:value_bytes_max]
    key = record.key
    if key is None and value is None:  # no producer of aiokafka takes a record without either
        key = str(record.source).encode()
    if key is not None and len(key) > _KEY_BYTES_MAX:
        reason += [("vp-key-size-bytes", str(len(key))), ("vp-key-sha256", hashlib.sha256(key).hexdigest())]
        key = key[:_KEY_BYTES_MAX]
    kept: Headers = tuple((name, raw) for name, raw in hop_headers(hop) if name != "vp-due-ms")
    headers = kept + tuple((name, text.encode()) for name, text in reason if text is not None)
    headers += dead_letter_headers(hop, error, message, dialects)
    return Output(OutputKind.DEAD_LETTER, key, value, headers, about=About(reason=error.type, code=error.code))


def _plain(text: str, chars_max: int) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text[:chars_max])


def _timestamp(epoch_ms: int) -> str:
    return f"{_second(epoch_ms // 1000)}.{epoch_ms % 1000:03d}Z"


@lru_cache(maxsize=128)
def _second(epoch_s: int) -> str:
    try:
        moment = datetime.fromtimestamp(epoch_s, UTC)
    except (OverflowError, ValueError, OSError):  # a producer may have stamped anything
        moment = datetime.fromtimestamp(0, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") if moment.year > 999 else "1970-01-01T00:00:00"  # noqa: PLR2004 - strftime does not pad years
