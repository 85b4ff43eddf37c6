"""W3C Trace Context in record headers: ``traceparent`` and ``tracestate``, read, bounded, and written.

Both come from outside: what is malformed counts as absent, nothing raises. Our entry of ``tracestate`` is ``vp=<span id>``: the
last hop of the request that has a span. A caller's own entries are passed on, never looked into.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from processor.contract.records import Headers, Hop

OUR_KEY = "vp"
_ENTRIES_MAX = 32  # W3C Trace Context, 3.3.1.1
_CHARS_MAX = 512  # and 3.3.1.5: what everybody must pass on
_LONG_CHARS = 128  # longer entries are the first to go
_RAW_BYTES_MAX = 2048
_PARENT_BYTES = 55
_SAMPLED = 1
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")
_ENTRY = re.compile(r"([a-z0-9][a-z0-9_\-*/@]{0,255})=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])")


@dataclass(frozen=True, slots=True)
class SpanIds:
    """A span of ours, as later hops refer to it."""

    trace_id: int
    span_id: int
    flags: int
    exported: bool  # recorded and sampled: it is there for others to be linked to


def read_trace(headers: Headers, *, fresh: bool) -> tuple[str | None, str | None]:
    """``traceparent`` and ``tracestate`` of a record; None for what is absent or malformed.

    Args:
        headers: of the record.
        fresh: it comes from its caller; an entry of ours was not made by us then, and is left out.
    """
    parents = [raw for name, raw in headers if name == "traceparent"]
    parent = _ascii(parents[0], _PARENT_BYTES) if len(parents) == 1 else None
    if parent is None or not _PARENT.fullmatch(parent):
        return None, None  # a state without its parent means nothing
    raws = [raw or b"" for name, raw in headers if name == "tracestate"]
    if not raws:
        return parent, None
    entries = _entries(_ascii(b",".join(raws), _RAW_BYTES_MAX) or "")
    if fresh or not _SPAN_ID.fullmatch(entries.get(OUR_KEY, "")):
        entries.pop(OUR_KEY, None)
    return parent, _joined(entries)


def last_span(hop: Hop) -> str | None:
    """The span id of the last hop that has a span, as 16 hex digits."""
    return _entries(hop.tracestate).get(OUR_KEY) if hop.tracestate is not None else None


def carry_span(hop: Hop, span: SpanIds | None) -> Hop:
    """The trace context that the outputs of a hop carry on: under the same parent, with the hop's own span noted.

    Args:
        hop: as it was read from the record.
        span: the hop's own; None if it has none, and the context is passed on unchanged.
    """
    if span is None:
        return hop
    if hop.traceparent is None:  # a trace begins here; also where it is not sampled, for later hops must not decide again
        hop = replace(hop, traceparent=format_traceparent(span.trace_id, span.span_id, span.flags))
    if not span.exported:
        return hop
    entries = _entries(hop.tracestate or "")
    entries.pop(OUR_KEY, None)
    return replace(hop, tracestate=_joined({OUR_KEY: f"{span.span_id:016x}", **entries}))  # a changed entry moves to the front


def format_traceparent(trace_id: int, span_id: int, flags: int) -> str:
    """``traceparent``, version 00."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def parse_traceparent(text: str) -> tuple[int, int, int]:
    """Trace id, span id and flags of a ``traceparent`` that ``read_trace`` or ``format_traceparent`` has given."""
    _, trace_id, span_id, flags = text.split("-")
    return int(trace_id, 16), int(span_id, 16), int(flags, 16)


def sampled_trace_id(traceparent: str | None) -> str:
    """Its trace id as 32 hex digits, where the trace is recorded; else empty: nobody could look at it."""
    if traceparent is None:
        return ""
    trace_id, _, flags = parse_traceparent(traceparent)
    return f"{trace_id:032x}" if flags & _SAMPLED else ""


def result_trace(hop: Hop) -> Headers:
    """The headers of a result: the last span of the request where there is one, else the caller's own context, unchanged."""
    parent, state = hop.traceparent, hop.tracestate
    if parent is None:
        return ()
    if state is not None and (span_id := last_span(hop)) is not None:
        trace_id, _, flags = parse_traceparent(parent)
        parent = format_traceparent(trace_id, int(span_id, 16), flags | _SAMPLED)  # only sampled spans are noted
        entries = _entries(state)
        del entries[OUR_KEY]
        state = _joined(entries)
    found = (("traceparent", parent.encode()), ("tracestate", state.encode() if state is not None else None))
    return tuple((name, raw) for name, raw in found if raw is not None)


def _ascii(raw: bytes | None, bytes_max: int) -> str | None:
    return raw.decode() if raw is not None and len(raw) <= bytes_max and raw.isascii() else None


def _entries(text: str) -> dict[str, str]:
    """The list members in order; none if any is malformed or stands twice."""
    found: dict[str, str] = {}
    for member in filter(None, (part.strip(" \t") for part in text.split(","))):
        match = _ENTRY.fullmatch(member)
        if match is None or match[1] in found:
            return {}
        found[match[1]] = match[2]
    return found


def _joined(entries: dict[str, str]) -> str | None:
    """The header, within its bounds; None if nothing is left."""
    members = [f"{key}={value}" for key, value in entries.items()][:_ENTRIES_MAX]
    while sum(map(len, members)) + len(members) - 1 > _CHARS_MAX:
        long = [n for n, member in enumerate(members) if len(member) > _LONG_CHARS]
        del members[long[-1] if long else -1]
    return ",".join(members) or None
