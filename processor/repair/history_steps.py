"""What each record tells of a request's journey. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from processor.contract.codes import ErrorCode
from processor.contract.decode import Accepted, decode
from processor.contract.records import Hop, Record, Source
from processor.contract.repairs import Repair
from processor.contract.result_copies import copy_for
from processor.contract.times import utc
from processor.repair.model import DeadLetter, DeadLetterStatus, HistoryEntry

_TOPIC_CHARS_MAX = 249


def may_be_of(record: Record, request_id: str) -> bool:
    """Whether a record's value can name a request, cheaply: without an escape its id stands there as it is."""
    value = record.value or b""
    return request_id.encode() in value or b"\\" in value


def hop_of(record: Record, request_id: str) -> Hop | None:
    """The hop of a record of an input topic, if it is of this request."""
    decoded = decode(record)
    named = decoded.request.request_id if isinstance(decoded, Accepted) else decoded.request_id
    return decoded.hop if named == request_id else None


def input_step(record: Record, hop: Hop, *, waits: bool) -> HistoryEntry:
    """A record of an input topic that is not done."""
    detail: dict[str, str | int | None] = {"attempt": hop.attempt, "replay": hop.replay, "due_ms": hop.due_ms, "reason": hop.last_error}
    if not waits:
        return HistoryEntry(record.timestamp_ms, "queued", str(record.source), "it is not done: in line for its turn", detail)
    start = f"until {utc(hop.due_ms)}" if hop.due_ms is not None else "for its turn"
    after = ", redriven" if hop.last_error == ErrorCode.REDRIVEN else f" after {hop.last_error}"
    why = after if hop.last_error else " for the person" if hop.session_id else ""
    return HistoryEntry(record.timestamp_ms, "waiting", str(record.source), f"waits {start}{why}", detail)


def result_step(record: Record) -> tuple[HistoryEntry, Source | None] | None:
    """A record of the results topic, and where the caller's record stood; None for anything that is no result."""
    try:
        found = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("status"), str):
        return None
    error = found["error"] if isinstance(found.get("error"), dict) else {}
    detail: dict[str, str | int | None] = {
        "kind": _plain(found.get("kind")),
        "status": _plain(found["status"]),
        "attempts": _plain(found.get("attempts")),
        "replay": _plain(found.get("replay", 0)),
        "error_type": _plain(error.get("type")),
        "error_code": _plain(error.get("code")),
        "http_status": _plain(error.get("http_status")),
        "result_id": _plain(found.get("result_id")),
    }
    why = f": {detail['error_code']}" if detail["error_code"] else ""
    text = f"{detail['kind']} result, {detail['status']}{why}"
    if (asked_again := copy_for(record.headers)) is not None:
        text, detail["copy_for"] = f"copy of the {text}; it was asked for again", asked_again[:_TOPIC_CHARS_MAX]
    step = HistoryEntry(record.timestamp_ms, "result", str(record.source), text, detail)
    return step, _source(found.get("source"))


def dead_letter_entry(dead_letter: DeadLetter, topic: str, status: DeadLetterStatus) -> HistoryEntry:
    """A dead letter."""
    detail: dict[str, str | int | None] = {
        "reason_type": dead_letter.reason_type,
        "reason_code": dead_letter.reason_code,
        "field": dead_letter.reason_field,
        "http_status": dead_letter.http_status,
        "attempts": dead_letter.attempts,
        "replay": dead_letter.hop.replay,
        "standing": status.value,
    }
    where = str(Source(topic, dead_letter.partition, dead_letter.offset))
    return HistoryEntry(dead_letter.failed_ms, "dead-letter", where, f"{dead_letter.reason_type}: {dead_letter.reason_code}", detail)


def repair_step(repair: Repair) -> HistoryEntry:
    """What was done to a dead letter."""
    at = repair.target
    start = f", starts {utc(repair.due_ms)}" if repair.due_ms is not None else ""
    detail: dict[str, str | int | None] = {
        "run_id": repair.run_id,
        "by": repair.by,
        "replay": repair.replay,
        "due_ms": repair.due_ms,
        "note": repair.note,
    }
    where = str(Source(at.topic, at.partition, at.offset))
    return HistoryEntry(repair.at_ms, repair.kind.value, where, f"{repair.kind.value} by {repair.by}{start}", detail)


def _source(found: Any) -> Source | None:
    if not isinstance(found, dict):
        return None
    topic, partition, offset = found.get("topic"), found.get("partition"), found.get("offset")
    if isinstance(topic, str) and len(topic) <= _TOPIC_CHARS_MAX and isinstance(partition, int) and isinstance(offset, int):
        return Source(topic, partition, offset)
    return None


def _plain(found: Any) -> str | int | None:
    return found if isinstance(found, str | int) else None
