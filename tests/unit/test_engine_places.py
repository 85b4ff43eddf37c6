"""Where a record that was sent away from a full line stands in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from processor.budget.permits import CallClass, Place
from processor.contract.codes import ErrorCode
from processor.contract.headers import hop_headers
from processor.contract.records import Hop, Record, Source
from processor.didit.catalog import OPERATIONS
from processor.engine.places import place_of

NOW = 1_764_000_000_000
HOP = Hop(Source("v.requests", 0, 0), NOW - 60_000, hop=1, due_ms=NOW + 500, last_error=ErrorCode.QUEUE_FULL)
SESSION = replace(HOP, session_id="11111111-2222-4333-8444-555555555555", first_failure_ms=NOW - 9000)
CREATE, LOOK = OPERATIONS["session.create"], OPERATIONS["session.decision"]


def record(hop: Hop, **members: Any) -> Record:
    value = {"request_id": "r", "operation": "verification", "input": {}} | members
    return Record(Source("v.retry.1m", 0, 7), b"k", orjson.dumps(value), hop_headers(hop), NOW)


@pytest.mark.parametrize(
    ("hop", "members", "expected"),
    [
        (HOP, {}, Place(CREATE.name, CREATE.scopes, CallClass.NORMAL, NOW - 60_000)),
        (HOP, {"priority": "urgent"}, Place(CREATE.name, CREATE.scopes, CallClass.URGENT, NOW - 60_000)),
        (HOP, {"tenant": "shop-7"}, Place(CREATE.name, CREATE.scopes, CallClass.NORMAL, NOW - 60_000, tenant="shop-7")),
        (HOP, {"tenant": "no tenant"}, Place(CREATE.name, CREATE.scopes, CallClass.NORMAL, NOW - 60_000)),
        (HOP, {"priority": "no priority"}, Place(CREATE.name, CREATE.scopes, CallClass.NORMAL, NOW - 60_000)),
        (HOP, {"operation": "aml"}, Place("aml", OPERATIONS["aml"].scopes, CallClass.NORMAL, NOW - 60_000)),
        (replace(HOP, attempt=1), {}, Place(CREATE.name, CREATE.scopes, CallClass.RETRY, NOW - 60_000)),
        (replace(HOP, replay=1), {"priority": "urgent"}, Place(CREATE.name, CREATE.scopes, CallClass.BULK, NOW - 60_000)),
        (SESSION, {}, Place(LOOK.name, LOOK.scopes, CallClass.FIRST_POLL, NOW - 9000)),
        (replace(SESSION, polls=2), {}, Place(LOOK.name, LOOK.scopes, CallClass.POLL, NOW - 9000)),
        (HOP, {"deadline": "2026-01-01T00:00:00Z"}, Place(CREATE.name, CREATE.scopes, CallClass.NORMAL, NOW - 60_000, 1_767_225_600_000)),
        (
            replace(SESSION, settled="approved", settled_ms=NOW),
            {"deadline": "2026-01-01T00:00:00Z"},
            Place(LOOK.name, LOOK.scopes, CallClass.LATE_POLL, NOW - 9000),
        ),
        (replace(HOP, doubt_ms=NOW), {}, None),  # it is looked up first
        (replace(HOP, doubt_ms=NOW), {"operation": "poa"}, None),  # the same
        (replace(SESSION, doubt_ms=NOW), {}, Place(LOOK.name, LOOK.scopes, CallClass.FIRST_POLL, NOW - 9000)),
        *(
            (replace(HOP, doubt_ms=NOW), {"operation": name}, Place(name, OPERATIONS[name].scopes, CallClass.NORMAL, NOW - 60_000))
            for name in ("aml", "email.send", "session.list")  # called again, if at all
        ),
        (HOP, {"operation": "unknown"}, None),
        (HOP, {"operation": ["aml"]}, None),
    ],
)
def test_a_record_stands_in_the_line_of_its_next_call(hop: Hop, members: dict[str, Any], expected: Place | None) -> None:
    assert place_of(record(hop, **members), NOW) == expected


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"1", b"\xff"])
def test_what_is_no_request_waits_for_no_line(value: bytes | None) -> None:
    assert place_of(replace(record(HOP), value=value), NOW) is None
    malformed = record(HOP)
    assert place_of(replace(malformed, headers=(*malformed.headers, ("vp-attempt", b"x"))), NOW) is None
