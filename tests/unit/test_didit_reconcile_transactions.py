"""Transactions of unknown fate are found where they must stand in Didit's list, whatever has come since."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from processor.contract.records import Hop, Request, Source
from processor.didit.calls import HttpCall
from processor.didit.lookups import LOOKUPS, LookedUp, step

DOUBT = datetime(2026, 11, 29, 12, tzinfo=UTC)
UUID = "11111111-2222-4333-8444-555555555555"
HOP = Hop(Source("t", 0, 0), int(DOUBT.timestamp() * 1000), doubt_ms=int(DOUBT.timestamp() * 1000))


def row(txn_id: str, at: datetime = DOUBT, created: datetime = DOUBT) -> dict[str, Any]:
    return {"uuid": UUID, "txn_id": txn_id, "txn_date": at.isoformat(), "created_at": created.isoformat()}


def look_up(rows: list[Any], **given: Any) -> tuple[list[HttpCall], Any]:
    """The calls of a lookup over a list, and what it comes to."""
    calls: list[HttpCall] = []
    lookup = LOOKUPS["transaction.create"](Request("r", "transaction.create", {"transaction_id": "mine", **given}), HOP)
    found = step(lookup, None)
    while isinstance(found, HttpCall):
        calls.append(found)
        query = dict(found.query)
        offset = int(query.get("offset", 0))
        answer = {"results": rows[offset : offset + int(query["limit"])]} if query else {"uuid": UUID, "status": "APPROVED"}
        found = step(lookup, answer)
    assert isinstance(found, LookedUp)
    return calls, found.output


def test_it_is_read_by_its_own_id_where_it_is_found() -> None:
    calls, found = look_up([row("other"), row("mine")])
    assert found == {"uuid": UUID, "status": "APPROVED"}
    assert [call.path for call in calls] == ["/v3/transactions/", f"/v3/transactions/{UUID}/"]


@pytest.mark.parametrize("rows", [[], [row("other")], [None, "x", {}]])
def test_no_trace_means_that_it_is_made_again(rows: list[Any]) -> None:
    calls, found = look_up(rows)
    assert (len(calls), found) == (1, None)


def test_a_page_full_of_newer_ones_is_turned() -> None:
    calls, found = look_up([row(f"n-{n}", DOUBT + timedelta(seconds=9)) for n in range(150)] + [row("mine")])
    assert found is not None
    assert [dict(call.query).get("offset") for call in calls] == ["0", "100", None]


def test_reading_ends_where_it_would_have_stood() -> None:
    calls, found = look_up([row(f"n-{n}", DOUBT - timedelta(hours=1)) for n in range(500)])
    assert (len(calls), found) == (1, None)


def test_one_of_the_past_is_looked_for_in_the_past() -> None:
    past = DOUBT - timedelta(days=9)
    rows = [row(f"n-{n}", DOUBT - timedelta(hours=n)) for n in range(150)] + [row("mine", past)]
    assert look_up(rows, transaction_at=past.isoformat())[1] is not None
    assert look_up(rows)[1] is None


def test_one_that_was_there_before_is_another_requests() -> None:
    assert look_up([row("mine", created=DOUBT - timedelta(minutes=5))])[1] is None
    assert look_up([row("mine", created=DOUBT - timedelta(seconds=50))])[1] is not None, "Didit's clock may be behind"


def test_reading_is_bounded() -> None:
    calls, found = look_up([row(f"n-{n}", DOUBT + timedelta(seconds=9)) for n in range(9000)])
    assert (len(calls), found) == (20, None)
