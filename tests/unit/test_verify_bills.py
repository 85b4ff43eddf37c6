"""What was paid for is read from a ledger or an export; anything else is refused with what is missing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processor.contract.records import call_reference
from processor.verify.bills import BillsFormatError, read_bills

EXPORT = b"""session_id,created_at,expired_at,metadata
s-1,2027-01-01T00:00:00Z,,"{""vp_request_id"": ""r-1""}"
s-2,2027-01-01T00:01:00Z,,"{""vp_request_id"": ""r-1""}"
s-3,1798761720,,not json
s-4,2027-01-01T00:03:00Z,2027-01-01T00:04:00Z,"{""vp_request_id"": ""r-2""}"
s-5,2027-01-01T00:05:00Z,,"{""vp_request_id"": ""r-2""}"
"""


def test_an_export_names_sessions_by_the_id_in_their_metadata() -> None:
    assert [request_id for request_id, _ in read_bills(EXPORT).sessions] == ["r-1", "r-1", "r-2"], "the first of r-2 had expired"


def test_a_session_that_expired_before_the_next_one_is_not_billed_beside_it() -> None:
    sessions: list[dict[str, Any]] = [
        {"request_id": "a", "created_at": 1.0, "expired_at": 2.0},
        {"request_id": "a", "created_at": 3.0},
        {"request_id": None, "created_at": 4.0},
    ]
    ledger = {"sessions": sessions, "checks": [], "calls": [], "scopes": {}}
    assert read_bills(orjson.dumps(ledger)).sessions == [("a", 1000)]


def test_a_ledger_names_checks_and_calls_by_their_reference() -> None:
    reference = call_reference("r-1", 2)
    calls = [{"reference": reference, "at": 2.0}, {"reference": reference, "at": 1.5}, {"reference": None, "at": 1.0}]
    checks = [{"reference": reference, "credits": 1, "at": 1.5}, {"reference": reference, "credits": 0, "at": 1.6}]
    scope = {"limit": 1, "window_s": 60, "calls": 2, "max_in_window": 1}
    scopes = {"key-1": {"s": scope}, "key-2": {"s": {**scope, "max_in_window": 2}}}
    found = read_bills(orjson.dumps({"sessions": [], "checks": checks, "calls": calls, "scopes": scopes}))
    assert found.first_call_ms == {reference: 1500.0}
    assert found.checks == {reference.rpartition(".")[0]: [1500]}
    assert found.scopes["s"]["max_in_window"] == 2


def test_an_export_of_a_spreadsheet_with_its_mark_is_read() -> None:
    table = b"\xef\xbb\xbfcreated_at,request_id\n1798761600,r-1\nnan,r-2\ninf,r-3\n1e300,r-4\n-1,r-5\n"
    assert sorted(read_bills(table).sessions) == [("r-1", 1_798_761_600_000), *((f"r-{n}", 0) for n in (2, 3, 4, 5))]


LONG_FIELD = b"created_at,request_id\n1," + b"x" * 200_000
HUGE_TIME = b'{"sessions": [{"request_id": "a", "created_at": 1e306}], "checks": [], "calls": [], "scopes": {}}'


@pytest.mark.parametrize(
    "text", [LONG_FIELD, HUGE_TIME, b"", b"a,b\n1,2\n", b"created_at\n1\n", b"{}", b"{", b'{"sessions": 1}', b"\xff\xfe"]
)
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(BillsFormatError):
        read_bills(text)
