"""Every kind of bad input has its code and its path; good input comes through unchanged; outputs fulfil their schemas."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import jsonschema_rs
import orjson
import pytest

from processor.contract import schemas, strict_json
from processor.contract.codes import ErrorCode, ErrorType, http_code
from processor.contract.decode import Accepted, Rejected, decode, parse_deadline, peek_due_ms
from processor.contract.encode import dead_letter_output, result_output, retry_output
from processor.contract.headers import hop_headers, parked_until_ms
from processor.contract.records import (
    ID_NAMESPACE,
    ErrorInfo,
    Headers,
    Hop,
    OnDoubt,
    Priority,
    Record,
    Result,
    Source,
    Status,
    Unread,
    call_reference,
    result_id,
)
from processor.contract.strict_json import JsonError

SOURCE = Source("v.requests", 2, 77)
WORKFLOW = "9f9b1234-0000-4000-8000-1234567890ab"
INPUT: dict[str, Any] = {"workflow_id": WORKFLOW}


def rec(value: bytes | None, headers: Headers = (), key: bytes | None = b"k") -> Record:
    return Record(SOURCE, key, value, headers, 1_764_000_000_123)


def body(**fields: Any) -> bytes:
    return orjson.dumps({"request_id": "r-1", "operation": "session.create", "input": INPUT, **fields})


def rejected(value: bytes | None, headers: Headers = (), key: bytes | None = b"k") -> Rejected:
    found = decode(rec(value, headers, key))
    assert isinstance(found, Rejected), found
    return found


def test_a_full_request_is_taken_as_it_is() -> None:
    value = body(schema_version=1, deadline="2027-10-31T02:30:00+02:00", priority="bulk", on_doubt="repeat")
    found = decode(rec(value, (("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"), ("other", b"\xff"))))
    assert isinstance(found, Accepted)
    assert found.request.input == INPUT
    assert (found.request.priority, found.request.on_doubt) == (Priority.BULK, OnDoubt.REPEAT)
    assert found.request.deadline_ms == 1_824_942_600_000
    assert found.hop == Hop(SOURCE, 1_764_000_000_123, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")


@pytest.mark.parametrize(
    ("fields", "code", "path"),
    [
        ({"input": {**INPUT, "metadata": {"vp_request_id": "x"}}}, "not_allowed", "input.metadata"),
        ({"input": {"workflow_id": "nope"}}, "wrong_form", "input.workflow_id"),
        ({"input": {**INPUT, "expected_details": {"country": "es"}}}, "wrong_form", "input.expected_details.country"),
        (
            {"input": {**INPUT, "expected_details": {"expected_document_types": ["P", "X"]}}},
            "not_allowed",
            "input.expected_details.expected_document_types[1]",
        ),
        ({"input": {**INPUT, "expected_details": {"date_of_birth": "2001-02-30"}}}, "wrong_form", "input.expected_details.date_of_birth"),
        ({"input": {**INPUT, "callback_method": "all"}}, "not_allowed", "input.callback_method"),
        ({"operation": "session.destroy"}, "not_allowed", "operation"),
        ({"operation": "session.decision"}, "missing_field", "input.session_id"),
        ({"priority": "high"}, "not_allowed", "priority"),
        ({"tenant": "Ada Lovelace"}, "wrong_form", "tenant"),
        ({"tenant": "t" * 65}, "too_long", "tenant"),
        ({"request_id": "a\x00b"}, "wrong_form", "request_id"),
        ({"request_id": 7}, "wrong_type", "request_id"),
        ({"schema_version": "1"}, "not_allowed", "schema_version"),
        ({"Ada Example <ada@example.org>": 1}, "unknown_field", "(unprintable)"),
    ],
)
def test_faults_of_the_schema_have_a_code_and_a_path(fields: dict[str, Any], code: str, path: str) -> None:
    found = rejected(body(**fields))
    assert (found.error.code, found.error.field) == (code, path)
    assert "Ada" not in found.error.message


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("amll", "did you mean aml?"),
        ("session_create", "did you mean session.create?"),
        ("Ada Lovelace", "docs/contract.md lists them"),
        ("aml" * 100_000, "docs/contract.md lists them"),
        (7, "docs/contract.md lists them"),
    ],
    ids=["typo", "underscore", "nothing near", "long", "number"],
)
def test_an_unknown_operation_is_told_with_the_nearest_one(operation: Any, said: str) -> None:
    found = rejected(body(operation=operation))
    assert (found.error.code, found.error.field) == ("not_allowed", "operation")
    assert found.error.message.startswith(f"there is no such operation; {said}")


def test_the_request_id_is_given_wherever_it_is_beyond_doubt() -> None:
    assert rejected(body(more=1)).request_id == "r-1"
    assert rejected(b'{"request_id":"r-1","operation":"session.create","input":{"a":1,"a":2}}').request_id == "r-1"
    assert rejected(b'{"request_id":"r-1","input":{"a":"\\ud800"}}').request_id == "r-1"
    assert rejected(b'{"request_id":"r-1","input":NaN}').request_id == "r-1"
    assert rejected(b'{"request_id":"r-1","request_id":"r-2"}').request_id is None
    assert rejected(b'{"request_id":"r-\\ud800","input":{}}').request_id is None
    assert rejected(b'{"request_id":4711,"input":{"a":1,"a":2}}').request_id is None
    assert rejected(b'{"request_id":NaN}').request_id is None
    assert rejected(body(request_id="x" * 129)).request_id is None
    assert rejected(b"{").request_id is None


@pytest.mark.parametrize(
    ("text", "epoch_ms"),
    [
        ("2027-10-31T02:30:00+01:00", 1_824_946_200_000),
        ("2027-01-01t00:00:00z", 1_798_761_600_000),
        ("2027-01-01T00:00:00.123456789Z", None),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2027-10-31T02:30:00", None),
        ("2027-10-31", None),
        ("2027-13-31T02:30:00Z", None),
        ("2027-10-31T02:60:00Z", None),
        ("2027-10-31T02:30:00+01:60", None),
        ("tomorrow", None),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000),
    ],
)
def test_deadlines_are_rfc_3339_with_an_offset(text: str, epoch_ms: int | None) -> None:
    if epoch_ms is not None:
        assert parse_deadline(text) == epoch_ms
    elif "." not in text:
        assert parse_deadline(text) is None


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ((("vp-attempt", b"1.5"),), "header_invalid"),
        ((("vp-attempt", None),), "header_invalid"),
        ((("vp-attempt", b"\xc2\xb9"),), "header_invalid"),
        ((("vp-attempt", b"00"),), "header_invalid"),
        ((("vp-attempt", b"9" * 19),), "header_invalid"),
        ((("vp-last-error", b"Bad Words"),), "header_invalid"),
        ((("vp-due-ms", b"9007199254740992"),), "header_invalid"),
        ((("vp-nonsense", b"1"),), "header_unknown"),
        ((("vp-\xf1 name", b"1"),), "header_unknown"),
        ((("vp-hop", b"1"), ("vp-hop", b"1")), "header_repeated"),
        ((("vp-first-offset", b"1"),), "header_incomplete"),
    ],
)
def test_hop_headers_are_not_trusted(headers: Headers, code: str) -> None:
    found = rejected(body(), headers)
    assert found.error.code == code
    assert (found.error.field or "").startswith("headers.vp-")
    assert found.request_id == "r-1"
    assert found.hop.first == SOURCE


def test_a_thousand_foreign_headers_change_nothing() -> None:
    assert isinstance(decode(rec(body(), tuple((f"h{n}", b"x" * 100) for n in range(1000)))), Accepted)


def test_the_due_time_is_read_without_decoding() -> None:
    assert peek_due_ms(rec(b"", (("vp-due-ms", b"123"),))) == 123
    for raw in (b"-1", b"x", b"", b"1" * 400, None, b"\xd9\xa1"):
        assert peek_due_ms(rec(b"", (("vp-due-ms", raw),))) is None


YEAR_MS = 366 * 86_400_000


@pytest.mark.parametrize(
    ("headers", "ahead_ms"),
    [
        ({}, YEAR_MS),
        ({}, None),
        ({"vp-due-ms": b"253402300800000"}, None),  # the year 10000
        ({"vp-due-ms": b"253402300799999"}, None),
        ({"vp-first-ms": b"253402300799999", "vp-due-ms": b"253402300799999"}, None),  # a year ahead of its own past, it says
        ({"vp-attempt": b"-1"}, None),
        ({"vp-more": b"1"}, None),
    ],
    ids=["a year", "more than a year", "year 10000", "year 9999", "forged past", "bad header", "unknown header"],
)
def test_nothing_waits_for_longer_than_a_year_or_with_headers_that_are_refused(headers: dict[str, bytes], ahead_ms: int | None) -> None:
    now_ms = 1_764_000_000_123
    due_ms = now_ms + YEAR_MS + (ahead_ms is None and not headers)
    if headers and "vp-due-ms" not in headers:
        due_ms = now_ms + 60_000
    fine = dict(hop_headers(Hop(SOURCE, now_ms, due_ms=due_ms)))
    found = rec(body(), tuple((fine | headers).items()))
    assert parked_until_ms(found, now_ms) == (None if ahead_ms is None else due_ms)
    assert parked_until_ms(found, due_ms) is None, "it is due"
    assert isinstance(decode(found), Rejected if ahead_ms is None else Accepted)


def test_a_due_time_of_the_year_10000_is_not_parked_whatever_the_record_was_stamped() -> None:
    """Its headers are fine beside its own timestamp; only the clock can tell."""
    far_ms = 253_402_300_000_000
    found = Record(SOURCE, b"k", body(), hop_headers(Hop(SOURCE, far_ms, due_ms=far_ms + 99)), far_ms)
    assert isinstance(decode(found), Accepted)
    assert parked_until_ms(found, 1_764_000_000_123) is None
    stamped = Record(SOURCE, b"k", body(), (), 2**62)
    again = Record(SOURCE, b"k", body(), hop_headers(decode(stamped).hop), 2**62)
    assert isinstance(decode(again), Accepted), "what was stamped so can be put off like anything else"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"12345678901234567890123", 12345678901234567890123),
        (b"1.10", 1.1),
        (b"0.1", 0.1),
        (b"1e308", 1e308),
        (b"123456789.123456789012345678901", Decimal("123456789.123456789012345678901")),
        (b"-0.0", 0.0),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b' [1, {"a": null}] ', [1, {"a": None}]),
    ],
)
def test_numbers_and_text_keep_their_value(text: bytes, value: Any) -> None:
    read = strict_json.loads(text)
    assert read == value
    assert strict_json.loads(strict_json.dumps(read)) == read


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        (b'{"a":{"b":[1,{"c":1,"c":2}]}}', "duplicate_key", "a.b[1].c"),
        (b'{"a":[0,NaN]}', "not_finite", "a[1]"),
        (b'{"a":-Infinity}', "not_finite", "a"),
        (b'{"a":' + b"1" * 1001 + b"}", "number_too_long", "a"),
        (b'{"a":1.' + b"1" * 1001 + b"}", "number_too_long", "a"),
        (b'{"a":[1e9999999999999999999]}', "number_too_large", "a[0]"),
        (b'{"a":-0e-9999999999999999999}', "number_too_large", "a"),
        (b'{"a":[1e400]}', "not_finite", "a[0]"),
        (b'{"a":-1e309}', "not_finite", "a"),
        (b'{"a":' + b"9" * 400 + b"}", "not_finite", "a"),
        (b"[" + b"1," * 50_000 + b"1]", "too_many_values", None),
        (b"[" + b'"a,:[{",' * 60_000 + b'""]', "too_many_values", None),
        (b"[" + b"{}," * 5000 + b'{"b":1,"b":1}]', "duplicate_key", None),  # too many values to name the place
        (b'{"a":{"b":1,"b":2},"c"}', "not_json", None),
        (b'{"a":{"b":1,"b":2}} x', "not_json", None),
        (b"[NaN,", "not_json", None),
        (b'{"a":"x\\udc00"}', "lone_surrogate", "a"),
        (b'{"\\udc00":1}', "lone_surrogate", None),
        (b"\xef\xbb\xbf{}", "byte_order_mark", None),
        (b'{"a":"\x01"}', "not_json", None),
        (b"[1,]", "not_json", None),
        (b"{} x", "not_json", None),
        (b"", "not_json", None),
        (b"[" * 33 + b"]" * 33, "too_deep", None),
        (b"\xed\xa0\x80", "not_utf8", None),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(text: bytes, code: str, path: str | None) -> None:
    with pytest.raises(JsonError) as raised:
        strict_json.loads(text)
    assert (raised.value.code, raised.value.path) == (code, path)


@pytest.mark.parametrize("number", [b"0." + b"1" * 30, b"1" * 30])
def test_numbers_that_no_double_holds_are_kept_and_counted(number: bytes) -> None:
    def judged(count: int) -> Accepted | Rejected:
        metadata = b",".join([number] * count)
        head = b'{"request_id":"r","operation":"session.create","input":{"workflow_id":"%s","metadata":{"x":[' % WORKFLOW.encode()
        return decode(rec(head + metadata + b"]}}}"))

    assert isinstance(judged(50), Accepted)
    refused = judged(51)
    assert isinstance(refused, Rejected)
    assert refused.error.code == "too_many_values"


def test_brackets_inside_strings_are_not_depth() -> None:
    assert strict_json.loads(orjson.dumps(["[" * 100, '\\"' + "{" * 100]))


def test_separators_inside_strings_are_not_values() -> None:
    assert strict_json.loads(orjson.dumps({"a": ",:[{" * 20_000}))


@pytest.mark.parametrize("last", [b'"270f":1', b'"request_id":1,' * 9000 + b'"request_id":1'], ids=["one key", "all keys"])
def test_a_repeated_key_among_very_many_is_found(last: bytes) -> None:
    text = b"{" + b",".join(b'"%x":1' % n for n in range(12_000)) + b"," + last + b"}"
    with pytest.raises(JsonError, match="twice"):
        strict_json.loads(text)
    assert strict_json.salvage_members(text, ("request_id",)) == {}


def document(result: Result) -> dict[str, Any]:
    output = result_output(result)
    assert output.key == result.key.encode()
    found: dict[str, Any] = orjson.loads(output.value or b"")
    assert schemas.faults("result.v1", found) == []
    jsonschema_rs.validate(orjson.loads((schemas.schema_folder() / "result.v1.json").read_bytes()), found)
    return found


def test_results_fulfil_their_schema_in_every_status() -> None:
    error = ErrorInfo(ErrorType.EXHAUSTED, http_code(503), "text", 503, "input.x")
    for status in Status:
        failed = status not in {Status.SUCCEEDED, Status.WAITING}
        found = document(
            Result("r", "session.create", status, SOURCE, 2, 1_764_000_000_123, 1_764_000_000_999, {"a": 1}, error if failed else None)
        )
        assert found["received_at"] == "2025-11-24T16:00:00.123Z"
        assert found["finished_at"] == "2025-11-24T16:00:00.999Z"
    nameless = document(Result(None, None, Status.REJECTED, SOURCE, 0, 10**18, 0, None, error))
    assert nameless["request_id"] is None
    assert nameless["received_at"].startswith("1970")


def test_ids_are_the_same_for_every_copy_for_ever() -> None:
    assert result_id("r-1", "final") == "c33e79a4-56b1-5068-a449-4c791c9d4269"  # for ever
    assert result_id("r-1", "final") != result_id("r-1", "progress")
    assert call_reference("r-1", 3) == f"{uuid.uuid5(ID_NAMESPACE, 'r-1')}.3"
    assert result_id("r-1", "final") == str(uuid.uuid5(ID_NAMESPACE, "final\nr-1"))


def test_a_retry_carries_the_callers_own_bytes() -> None:
    hop = Hop(
        SOURCE,
        5,
        hop=2,
        attempt=1,
        due_ms=99,
        first_failure_ms=7,
        last_error="http_503",
        replay=1,
        doubt_ms=6,
        session_id="11111111-2222-4333-8444-555555555555",
        polls=3,
        settled="approved",
        settled_ms=8,
    )
    output = retry_output(rec(b" {weird} ", key=None), hop, 60)
    assert (output.key, output.value, output.delay_s) == (None, b" {weird} ", 60)
    headers = {name: (value or b"").decode() for name, value in output.headers}
    assert schemas.faults("hop-headers.v1", headers) == []


def test_a_dead_letter_of_a_record_without_key_and_value_has_its_position_as_key() -> None:
    """aiokafka's producer sends no record without both: the lane would stop at it for ever."""
    error = ErrorInfo(ErrorType.INVALID_REQUEST, ErrorCode.TOMBSTONE, "no value")
    output = dead_letter_output(rec(None, key=None), Hop(SOURCE, 5), error, attempts=1, failed_ms=9, value_bytes_max=100)
    assert (output.key, output.value) == (str(SOURCE).encode(), None)


def test_a_dead_letter_keeps_the_bytes_and_says_why_without_them() -> None:
    error = ErrorInfo(ErrorType.INVALID_REQUEST, ErrorCode.UNKNOWN_FIELD, "Mitteilung für Ada", None, "input.ñ")
    output = dead_letter_output(rec(b"x" * 100), Hop(SOURCE, 5), error, attempts=1, failed_ms=9, value_bytes_max=100)
    headers = {name: (value or b"").decode("ascii") for name, value in output.headers}
    assert output.value == b"x" * 100
    assert schemas.faults("dead-letter-headers.v1", headers) == []
    assert headers["vp-reason-field"] == "input.?"
    cut = dead_letter_output(rec(b"x" * 101, key=b"k" * 70_000), Hop(SOURCE, 5), error, attempts=1, failed_ms=9, value_bytes_max=100)
    headers = {name: (value or b"").decode("ascii") for name, value in cut.headers}
    assert (cut.value, headers["vp-value-size-bytes"], headers["vp-key-size-bytes"]) == (b"x" * 100, "101", "70000")
    assert schemas.faults("dead-letter-headers.v1", headers) == []


def test_an_absent_value_stays_absent() -> None:
    output = dead_letter_output(
        rec(None),
        Hop(SOURCE, 5),
        ErrorInfo(ErrorType.INTERNAL, ErrorCode.INTERNAL_ERROR, "m"),
        attempts=0,
        failed_ms=9,
        value_bytes_max=100,
    )
    assert output.value is None


def test_hop_headers_leave_out_what_is_nothing() -> None:
    assert [name for name, _ in hop_headers(Hop(SOURCE, 5))] == ["vp-first-topic", "vp-first-partition", "vp-first-offset", "vp-first-ms"]


def test_the_answer_to_a_batch_that_cannot_be_read_names_its_offsets_and_its_size() -> None:
    unread = Unread(ErrorCode.BATCH_TOO_LARGE, 70, 77, 486_001, "unpacks to more than 16 MiB")
    rejected = decode(Record(SOURCE, None, None, (), 1_764_000_000_123, unread))
    assert isinstance(rejected, Rejected)
    assert rejected.error.code == ErrorCode.BATCH_TOO_LARGE
    assert "(offsets 70 to 77 of v.requests[2], 486001 bytes) unpacks to more than 16 MiB" in rejected.error.message
