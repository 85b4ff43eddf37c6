"""Trace headers from anywhere: nothing raises, what is ours survives, what is foreign is kept or dropped by W3C's bounds."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from processor.contract.headers import hop_headers, read_hop
from processor.contract.records import Headers, Hop, Record, Source
from processor.contract.trace_context import (
    SpanIds,
    carry_span,
    format_traceparent,
    last_span,
    parse_traceparent,
    read_trace,
    result_trace,
)

trace_ids, span_ids, flags = st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255)
parents = st.builds(format_traceparent, trace_ids, span_ids, flags)
spans = span_ids.map(lambda n: f"{n:016x}")
keys = st.from_regex(r"[a-z0-9][a-z0-9_\-*/@]{0,40}", fullmatch=True).filter(lambda key: key != "vp")
texts = st.from_regex(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,60}[\x21-\x2b\x2d-\x3c\x3e-\x7e]", fullmatch=True).map(str.lstrip)
entries = st.dictionaries(keys, texts, max_size=40)
FORM = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def written(found: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in found.items())


def members(state: str | None) -> list[str]:
    return state.split(",") if state else []


def headers(parent: str, state: str | None) -> Headers:
    return (("traceparent", parent.encode()), *((("tracestate", state.encode()),) if state is not None else ()))


def hop_of(found: Headers, **fields: int) -> Hop:
    parent, state = read_trace(found, fresh=False)
    return Hop(Source("t", 0, 1), 5, traceparent=parent, tracestate=state, **fields)  # type: ignore[arg-type]


def with_span(state: str | None, span: str) -> str:
    """``tracestate`` after a hop whose span is ``span``."""
    hop = Hop(Source("t", 0, 1), 5, traceparent=format_traceparent(1, 2, 1), tracestate=state)
    return carry_span(hop, SpanIds(1, int(span, 16), 1, exported=True)).tracestate or ""


@given(parents | st.none(), st.builds(SpanIds, trace_ids, span_ids, flags, st.booleans()))
def test_a_hop_keeps_its_parent_and_only_a_span_that_is_exported_is_noted(parent: str | None, span: SpanIds) -> None:
    hop = Hop(Source("t", 0, 1), 5, traceparent=parent, tracestate="a=1" if parent else None)
    carried = carry_span(hop, span)
    assert carried.traceparent == (parent or format_traceparent(span.trace_id, span.span_id, span.flags)), "a trace begins here"
    assert last_span(carried) == (f"{span.span_id:016x}" if span.exported else None)
    assert carry_span(hop, None) == hop


@given(trace_ids, span_ids, flags)
def test_a_traceparent_comes_back_as_it_was(trace_id: int, span_id: int, bits: int) -> None:
    text = format_traceparent(trace_id, span_id, bits)
    assert read_trace((("traceparent", text.encode()),), fresh=True) == (text, None)
    assert parse_traceparent(text) == (trace_id, span_id, bits)


names = st.sampled_from(["traceparent", "tracestate", "vp-hop", "x"])
raws = st.none() | st.binary(max_size=80) | parents.map(str.encode) | entries.map(written).map(str.encode)


@given(st.lists(st.tuples(names, raws), max_size=5).map(tuple), st.booleans())
def test_headers_from_anywhere_never_raise_and_what_is_taken_is_well_formed(found: Headers, fresh: bool) -> None:
    parent, state = read_trace(found, fresh=fresh)
    assert parent is None or FORM.fullmatch(parent)
    assert state is None or (len(state) <= 512 and 1 <= len(members(state)) <= 32)
    assert parent is not None or state is None
    hop = hop_of(found)
    assert all(raw is not None and raw.isascii() for _, raw in result_trace(hop))
    assert with_span(hop.tracestate, "00000000000000aa").startswith("vp=00000000000000aa")


@given(st.text(alphabet="0123456789abcdefABCDEF-", max_size=60) | st.text(max_size=60))
def test_a_malformed_traceparent_counts_as_none(text: str) -> None:
    parent, _ = read_trace((("traceparent", text.encode(errors="replace")), ("tracestate", b"a=1")), fresh=True)
    assert parent is None or (parent == text and parse_traceparent(parent)[0] > 0 and parse_traceparent(parent)[1] > 0)


@given(parents, spans, entries)
def test_our_entry_goes_in_front_and_the_others_stay_in_order_within_the_bounds(parent: str, span: str, foreign: dict[str, str]) -> None:
    _, state = read_trace(headers(parent, written(foreign)), fresh=True)
    marked = with_span(state, span)
    assert marked.split(",")[0] == f"vp={span}"
    assert len(marked) <= 512
    assert len(members(marked)) <= 32
    assert [m for m in members(state) if m in members(marked)] == members(marked)[1:]
    if len(written(foreign)) + 20 <= 512 and len(foreign) < 32:
        assert members(marked)[1:] == members(written(foreign)), "nothing is dropped that fits"
    assert members(with_span(marked, "00000000000000aa"))[1:] == members(marked)[1:], "an older entry of ours makes room"


@given(parents, spans, entries)
def test_a_hop_survives_its_headers_with_its_trace(parent: str, span: str, foreign: dict[str, str]) -> None:
    _, state = read_trace(headers(parent, written(foreign)), fresh=True)
    hop = Hop(Source("t", 0, 1), 5, hop=1, traceparent=parent, tracestate=with_span(state, span))
    again = read_hop(Record(Source("other", 9, 9), None, b"", hop_headers(hop), 5))
    assert again == hop
    assert last_span(again) == span


@given(parents, spans, entries)
def test_a_result_names_the_last_span_and_keeps_the_rest(parent: str, span: str, foreign: dict[str, str]) -> None:
    _, state = read_trace(headers(parent, written(foreign)), fresh=True)
    hop = Hop(Source("t", 0, 1), 5, traceparent=parent, tracestate=with_span(state, span))
    told = {name: (raw or b"").decode() for name, raw in result_trace(hop)}
    trace_id, _, bits = parse_traceparent(parent)
    assert parse_traceparent(told["traceparent"]) == (trace_id, int(span, 16), bits | 1)
    assert members(told.get("tracestate")) == members(hop.tracestate)[1:]
    untraced = Hop(Source("t", 0, 1), 5, traceparent=parent, tracestate=state)
    assert result_trace(untraced) == headers(parent, state), "without a span it is the caller's own, unchanged"


@given(parents, entries)
def test_an_entry_of_ours_that_a_caller_sends_is_left_out(parent: str, foreign: dict[str, str]) -> None:
    sent = headers(parent, written({"vp": "00000000000000aa", **foreign}))
    assert not any(m.startswith("vp=") for m in members(read_trace(sent, fresh=True)[1]))
    assert last_span(hop_of(sent)) == "00000000000000aa" or len(written(foreign)) > 400
    assert last_span(hop_of(headers(parent, written({"vp": "no span id", **foreign})))) is None


def test_states_that_break_the_rules_are_dropped_as_a_whole() -> None:
    parent = format_traceparent(1, 2, 1)
    for bad in ("a", "a=", "=1", "A=1", "a=1,a=2", "a=1;b=2,c", "a=b=c", "ä=1", "a=\x01", "a=1 ,b", "x" * 3000, "a=" + "1" * 257):
        assert read_trace(headers(parent, bad), fresh=True) == (parent, None), bad
    for empty in ("", ",", " , "):
        assert read_trace(headers(parent, empty), fresh=True) == (parent, None)
    two = (("traceparent", parent.encode()), ("tracestate", b"a=1"), ("tracestate", b" b=2"))
    assert read_trace(two, fresh=True) == (parent, "a=1,b=2"), "a list may come in parts"
    long = ",".join([f"l{n}=" + "x" * 200 for n in range(2)] + [f"s{n}=" + "y" * 60 for n in range(4)])
    assert [m[:2] for m in members(read_trace(headers(parent, long), fresh=True)[1])] == ["l0", "s0", "s1", "s2", "s3"], (
        "long ones go first"
    )
    for broken in (
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
    ):
        assert read_trace(headers(broken, "a=1"), fresh=True) == (None, None)
