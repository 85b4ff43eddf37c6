"""The codec on arbitrary bytes, headers and JSON."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from processor.contract import strict_json
from processor.contract.codes import ErrorType, http_code
from processor.contract.decode import Accepted, Rejected, decode
from processor.contract.encode import dead_letter_output, result_output
from processor.contract.headers import hop_headers, read_hop
from processor.contract.records import ErrorInfo, Hop, Record, Result, Source, Status
from processor.contract.strict_json import JsonError

texts = st.text(max_size=20).filter(lambda s: not any("\ud800" <= c <= "\udfff" for c in s))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
header_names = st.sampled_from(["vp-hop", "vp-attempt", "vp-due-ms", "vp-first-topic", "vp-x", "traceparent", "x"]) | st.text(max_size=12)
any_headers = st.lists(st.tuples(header_names, st.none() | st.binary(max_size=40)), max_size=6).map(tuple)


@given(st.none() | st.binary(max_size=200), any_headers, st.none() | st.binary(max_size=20), st.integers(-(2**40), 2**53))
def test_decoding_never_raises_and_always_says_something(value: bytes | None, headers: Any, key: bytes | None, stamp: int) -> None:
    record = Record(Source("t", 0, 1), key, value, headers, stamp)
    found = decode(record)
    assert isinstance(found, Accepted | Rejected)
    if isinstance(found, Rejected):
        result = Result(found.request_id, found.operation, Status.REJECTED, found.hop.first, 0, found.hop.first_ms, 0, error=found.error)
        assert orjson.loads(result_output(result).value or b"")["status"] == "rejected"
        dead_letter = dead_letter_output(record, found.hop, found.error, attempts=0, failed_ms=0, value_bytes_max=1000)
        assert dead_letter.value == value
        assert all((v or b"").isascii() for _, v in dead_letter.headers)


@given(st.binary(max_size=60).map(lambda tail: b'{"request_id":"r","operation":"session.create","input":{"workflow_id":' + tail))
def test_damaged_requests_never_raise(value: bytes) -> None:
    assert isinstance(decode(Record(Source("t", 0, 1), None, value)), Accepted | Rejected)


@given(values)
def test_the_strict_reader_agrees_with_the_ordinary_one_on_ordinary_json(value: Any) -> None:
    text = json.dumps(value).encode()
    read = strict_json.loads(text, depth_max=100)
    assert _plain(read) == json.loads(text)
    assert strict_json.loads(strict_json.dumps(read), depth_max=100) == read


@given(values, st.booleans())
def test_a_compact_text_is_read_as_the_same_text_with_a_blank_behind_it(value: Any, is_ours: bool) -> None:
    text = strict_json.dumps({"x": value}) if is_ours else json.dumps({"x": value}, separators=(",", ":")).encode()
    assert repr(strict_json.loads(text, depth_max=100)) == repr(strict_json.loads(text + b" ", depth_max=100))


NUMBERS = st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@given(NUMBERS)
def test_a_number_in_a_compact_text_is_read_as_anywhere(number: str) -> None:
    text = b'{"x":' + number.encode() + b"}"
    assert repr(_or_code(text)) == repr(_or_code(text + b" "))


@given(values)
def test_ordered_json_is_that_of_ordered_members(value: Any) -> None:
    assert strict_json.dumps(value, ordered=True) == strict_json.dumps(_in_order(value))


@given(st.binary(max_size=80))
def test_the_strict_reader_takes_nothing_that_the_ordinary_one_refuses(data: bytes) -> None:
    try:
        read = strict_json.loads(data)
    except JsonError:
        return
    assert _plain(read) == json.loads(data)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_of_any_size_come_back_exactly(number: Decimal) -> None:
    text = str(number).encode()
    assert Decimal(str(strict_json.loads(strict_json.dumps(strict_json.loads(text))))) == number


@given(st.integers(-(10**300), 10**300))
def test_integers_of_any_size_come_back_exactly(number: int) -> None:
    assert strict_json.loads(strict_json.dumps({"n": number})) == {"n": number}


YEAR_9999_MS = 253_402_300_799_999
optional_ms = st.none() | st.integers(0, YEAR_9999_MS)
hops = st.builds(
    Hop,
    first=st.builds(Source, st.from_regex(r"[a-zA-Z0-9._-]{1,50}", fullmatch=True), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)),
    first_ms=st.integers(0, YEAR_9999_MS),
    hop=st.integers(0, 10**6),
    attempt=st.integers(0, 10**6),
    first_failure_ms=optional_ms,
    last_error=st.none() | st.from_regex(r"[a-z0-9_]{1,64}", fullmatch=True),
    replay=st.integers(0, 10**6),
    doubt_ms=optional_ms,
)


@given(hops)
def test_hops_survive_their_headers(hop: Hop) -> None:
    assert read_hop(Record(Source("other", 9, 9), None, b"", hop_headers(hop), 5)) == hop


@given(texts, texts)
def test_error_texts_never_break_a_dead_letter(message: str, field: str) -> None:
    error = ErrorInfo(ErrorType.EXHAUSTED, http_code(503), message, None, field)
    output = dead_letter_output(
        Record(Source("t", 0, 0), None, b"v"), Hop(Source("t", 0, 0), 0), error, attempts=0, failed_ms=0, value_bytes_max=9
    )
    assert sum(len(v or b"") for _, v in output.headers) < 2000


def _or_code(text: bytes) -> Any:
    try:
        return strict_json.loads(text)
    except JsonError as fault:
        return fault.code


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value
