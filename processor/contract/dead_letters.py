"""What a record of the dead-letter topic says. Untrusted: whatever is malformed is skipped, and nothing raises. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

from processor.contract.codes import CODE_FORM
from processor.contract.decode import Accepted, decode
from processor.contract.headers import salvage_hop
from processor.contract.records import Hop, Record, Source

_NUMBER = re.compile(r"[0-9]{1,18}")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PARTITION_MAX = 2**31 - 1
_TIME_MS_MAX = 2**53
_RAW_BYTES_MAX = 2000
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a record became a dead letter, and where it stood. What could not be read is None, ``unknown`` or empty."""

    type: str
    code: str
    message: str
    field: str | None
    http_status: int | None
    failed_ms: int  # the record's own time where the header is not there
    came_from: Source  # the dead letter itself where that cannot be read
    key_digest: str  # SHA-256 of its key in hex; empty without a key
    size_bytes: int  # of the value, before it was cut
    cut: bool  # its value or key was too long and is not whole
    attempts: int | None = None  # as its result has them; versions before 0.2.0 did not say


@dataclass(frozen=True, slots=True)
class Identity:
    """What its value says of itself."""

    request_id: str | None
    operation: str | None
    deadline_ms: int | None = None


def key_digest(key: bytes | None) -> str:
    """To compare keys without showing them; empty without a key."""
    return hashlib.sha256(key).hexdigest() if key is not None else ""


def read_reason(record: Record) -> Reason:
    """The reason, from the headers."""
    texts = _texts(record)
    partition, offset = _number(texts.get("vp-from-partition")), _number(texts.get("vp-from-offset"))
    topic, failed_ms = texts.get("vp-from-topic", ""), _number(texts.get("vp-failed-ms"))
    came_from = record.source
    if partition is not None and partition <= _PARTITION_MAX and offset is not None and _TOPIC.fullmatch(topic):
        came_from = Source(topic, partition, offset)
    size_bytes, cut_key = _number(texts.get("vp-value-size-bytes")), texts.get("vp-key-sha256", "")
    return Reason(
        type=_word(texts.get("vp-reason-type")),
        code=_word(texts.get("vp-reason-code")),
        message=texts.get("vp-reason-message", ""),
        field=texts.get("vp-reason-field"),
        http_status=_number(texts.get("vp-http-status")),
        failed_ms=max(0, record.timestamp_ms) if failed_ms is None or failed_ms > _TIME_MS_MAX else failed_ms,
        came_from=came_from,
        key_digest=cut_key if _DIGEST.fullmatch(cut_key) else key_digest(record.key),
        size_bytes=len(record.value or b"") if size_bytes is None else size_bytes,
        cut="vp-value-size-bytes" in texts or "vp-key-size-bytes" in texts,
        attempts=_number(texts.get("vp-attempts")),
    )


def read_hop_left(record: Record) -> Hop:
    """The hop under which it failed. A dead letter that does not name its first position counts from its own."""
    return salvage_hop(record)


def read_identity(record: Record) -> Identity:
    """Request id, operation and deadline, from the value alone."""
    decoded = decode(replace(record, headers=(), key=None))
    if isinstance(decoded, Accepted):
        return Identity(decoded.request.request_id, decoded.request.operation, decoded.request.deadline_ms)
    return Identity(decoded.request_id, decoded.operation)


def _texts(record: Record) -> dict[str, str]:
    """The headers that are plain text; the first one of each name."""
    found: dict[str, str] = {}
    for name, raw in record.headers:
        if name not in found and raw is not None and len(raw) <= _RAW_BYTES_MAX:
            found[name] = "".join(char if " " <= char <= "~" else "?" for char in raw.decode("ascii", errors="replace"))
    return found


def _word(text: str | None) -> str:
    return text if text is not None and CODE_FORM.fullmatch(text) else UNKNOWN


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None
