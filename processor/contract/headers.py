"""Hop data to Kafka headers and back. On read they are untrusted: length, form and range are checked, each at most once.

All names of ours begin with ``vp-``; an unknown one is refused, because a later version may give it a meaning. Foreign
headers are skipped, whatever they are, except those of ``trace_context`` where they are well formed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from processor.contract.codes import CODE_FORM, SENT_AWAY, ErrorCode
from processor.contract.records import Headers, Hop, Record, Source
from processor.contract.trace_context import read_trace

PREFIX = "vp-"
APPLICATION_HEADER = "vp-application"
_COUNT_MAX = 1_000_000
_TIME_MS_MAX = 253_402_300_799_999  # the last moment of the year 9999: no text has a place for a later one
_OFFSET_MAX = 2**63 - 1
_VALUE_BYTES_MAX = 300
_DIGITS_MAX = 19
_SENT_AWAY = frozenset(code.encode() for code in SENT_AWAY)
DUE_AHEAD_MS_MAX = 366 * 86_400_000  # nothing waits for longer
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_APPLICATION = re.compile(r"[a-z0-9-]{1,40}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


class HeaderError(ValueError):
    """A ``vp-`` header is not as it must be. ``name`` is safe to show."""

    def __init__(self, code: ErrorCode, name: str, message: str) -> None:
        super().__init__(message)
        self.code, self.name, self.message = code, name, message


@dataclass(frozen=True, slots=True)
class _Field:
    attribute: str
    parse: Callable[[str], int | str | None]


def _number(limit: int) -> Callable[[str], int | None]:
    def parse(text: str) -> int | None:  # of ASCII alone; without a regular expression, as each record of a flood has six
        if not text.isdigit() or len(text) > _DIGITS_MAX or (text[0] == "0" and len(text) > 1):
            return None
        return number if (number := int(text)) <= limit else None

    return parse


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    return lambda text: text if pattern.fullmatch(text) else None


_FIELDS = {
    "vp-hop": _Field("hop", _number(_COUNT_MAX)),
    "vp-attempt": _Field("attempt", _number(_COUNT_MAX)),
    "vp-due-ms": _Field("due_ms", _number(_TIME_MS_MAX)),
    "vp-first-topic": _Field("topic", _matching(_TOPIC)),
    "vp-first-partition": _Field("partition", _number(2**31 - 1)),
    "vp-first-offset": _Field("offset", _number(_OFFSET_MAX)),
    "vp-first-ms": _Field("first_ms", _number(_TIME_MS_MAX)),
    "vp-first-failure-ms": _Field("first_failure_ms", _number(_TIME_MS_MAX)),
    "vp-last-error": _Field("last_error", _matching(CODE_FORM)),
    "vp-replay": _Field("replay", _number(_COUNT_MAX)),
    "vp-doubt-ms": _Field("doubt_ms", _number(_TIME_MS_MAX)),
    "vp-session-id": _Field("session_id", _matching(_UUID)),
    "vp-polls": _Field("polls", _number(_COUNT_MAX)),
    "vp-settled": _Field("settled", _matching(CODE_FORM)),
    "vp-settled-ms": _Field("settled_ms", _number(_TIME_MS_MAX)),
    APPLICATION_HEADER: _Field("application", _matching(_APPLICATION)),
}
_FIRST = ("topic", "partition", "offset", "first_ms")


def fresh_hop(record: Record) -> Hop:
    """The hop of a record that comes from its caller."""
    traceparent, tracestate = read_trace(record.headers, fresh=True) if record.headers else (None, None)
    return Hop(first=record.source, first_ms=_stamp_ms(record), traceparent=traceparent, tracestate=tracestate)


def read_hop(record: Record) -> Hop:
    """The hop of a record, from its headers.

    Raises:
        HeaderError: if a header of ours is unknown, repeated, malformed, out of range, or lacks its companions.
    """
    if not record.headers:
        return fresh_hop(record)
    found: dict[str, int | str] = {}
    for name, raw in record.headers:
        if name.startswith(PREFIX):
            attribute, value = _read(name, raw)
            if attribute in found:
                raise HeaderError(ErrorCode.HEADER_REPEATED, name, f"{name} is there more than once")
            found[attribute] = value
    if found.keys() <= {"application"}:  # which a caller may give
        return replace(fresh_hop(record), **found)  # type: ignore[arg-type]
    return _build(record, found)


def salvage_hop(record: Record) -> Hop:
    """What can be read of the hop of a record that nothing is refused for, such as a dead letter: each header that is as it must be."""
    found: dict[str, int | str] = {}
    for name, raw in record.headers:
        field = _FIELDS.get(name)
        if field is not None and field.attribute not in found and raw is not None and len(raw) <= _VALUE_BYTES_MAX and raw.isascii():
            value = field.parse(raw.decode())
            if value is not None:
                found[field.attribute] = value
    if not found.keys() >= set(_FIRST):
        found = {attribute: value for attribute, value in found.items() if attribute not in _FIRST}
    found.pop("due_ms", None)
    return _build(record, found)


def peek_due_ms(record: Record) -> int | None:
    """The due time alone, cheaply; None where it is absent or not valid (decoding then refuses the record)."""
    for name, raw in record.headers:
        if name == "vp-due-ms" and raw is not None and len(raw) <= _VALUE_BYTES_MAX:
            try:
                return int(raw) if raw.isdigit() and int(raw) <= _TIME_MS_MAX else None
            except ValueError:
                return None
    return None


def parked_until_ms(record: Record, now_ms: int) -> int | None:
    """Until when a record of a delay topic waits, epoch ms; None if it is to start now.

    So is one whose headers are not as they must be: it is refused at once, not when a due time comes that nobody can trust. And one
    that would wait for longer than ``DUE_AHEAD_MS_MAX`` from now, whatever its own timestamp says.
    """
    due_ms = peek_due_ms(record)
    if due_ms is None or not now_ms < due_ms <= now_ms + DUE_AHEAD_MS_MAX:
        return None
    try:
        return read_hop(record).due_ms
    except HeaderError:
        return None


def was_sent_away(record: Record) -> bool:
    """Whether a record waits because its line was full or paused, cheaply."""
    return any(name == "vp-last-error" and raw in _SENT_AWAY for name, raw in record.headers)


def peek_session(record: Record) -> str | None:
    """The session that a waiting record follows, cheaply; None if it follows none."""
    for name, raw in record.headers:
        if name == "vp-session-id" and raw is not None and len(raw) <= _VALUE_BYTES_MAX:
            text = raw.decode("ascii", errors="replace")
            return text if _UUID.fullmatch(text) else None
    return None


def is_session_id(text: str) -> bool:
    """Whether a text can be the id of a session."""
    return _UUID.fullmatch(text) is not None


def hop_headers(hop: Hop) -> Headers:
    """A hop as headers; what is absent or zero is left out."""
    values: dict[str, int | str | None] = {
        "vp-hop": hop.hop or None,
        "vp-attempt": hop.attempt or None,
        "vp-due-ms": hop.due_ms,
        "vp-first-topic": hop.first.topic,
        "vp-first-partition": hop.first.partition,
        "vp-first-offset": hop.first.offset,
        "vp-first-ms": hop.first_ms,
        "vp-first-failure-ms": hop.first_failure_ms,
        "vp-last-error": hop.last_error,
        "vp-replay": hop.replay or None,
        "vp-doubt-ms": hop.doubt_ms,
        "vp-session-id": hop.session_id,
        "vp-polls": hop.polls or None,
        "vp-settled": hop.settled,
        "vp-settled-ms": hop.settled_ms,
        APPLICATION_HEADER: hop.application,
        "traceparent": hop.traceparent,
        "tracestate": hop.tracestate,
    }
    return (*((name, str(value).encode()) for name, value in values.items() if value is not None), *hop.copied)


def _read(name: str, raw: bytes | None) -> tuple[str, int | str]:
    field = _FIELDS.get(name)
    if field is None:
        shown = name if name.isascii() and name.isprintable() and len(name) <= 64 else PREFIX + "..."  # noqa: PLR2004 - a sane length
        raise HeaderError(ErrorCode.HEADER_UNKNOWN, shown, f"{PREFIX}... headers belong to the processor; this one is not known; remove it")
    if raw is None or len(raw) > _VALUE_BYTES_MAX or not raw.isascii():
        raise HeaderError(ErrorCode.HEADER_INVALID, name, f"{name} is empty, too long or not ASCII")
    value = field.parse(raw.decode())
    if value is None:
        raise HeaderError(ErrorCode.HEADER_INVALID, name, f"{name} does not have its form or is out of range")
    return field.attribute, value


def _stamp_ms(record: Record) -> int:
    return min(max(0, record.timestamp_ms), _TIME_MS_MAX)  # a producer may have stamped anything


def _build(record: Record, found: dict[str, int | str]) -> Hop:
    given = [name for name in _FIRST if name in found]
    if given and len(given) != len(_FIRST):
        missing = next(name for name in _FIRST if name not in found)
        header = next(h for h, field in _FIELDS.items() if field.attribute == missing)
        raise HeaderError(ErrorCode.HEADER_INCOMPLETE, header, f"{header} is missing beside its companions")
    first, first_ms = record.source, _stamp_ms(record)
    if given:
        first = Source(str(found.pop("topic")), int(found.pop("partition")), int(found.pop("offset")))
        first_ms = int(found.pop("first_ms"))
    due_ms = found.get("due_ms")
    if isinstance(due_ms, int) and due_ms > _stamp_ms(record) + DUE_AHEAD_MS_MAX:
        raise HeaderError(ErrorCode.HEADER_INVALID, "vp-due-ms", "vp-due-ms is more than a year ahead")
    traceparent, tracestate = read_trace(record.headers, fresh=False)
    return Hop(first=first, first_ms=first_ms, traceparent=traceparent, tracestate=tracestate, **found)  # type: ignore[arg-type]
