"""After a transaction of unknown fate: has Didit taken it? Pure.

Didit reads one transaction by its own id alone, and its list has no filter: newest ``txn_date`` first (Didit, "List transactions"). So
the list is read from its beginning to where the transaction must stand. If it is not there, creating it again does no harm: Didit takes a
``transaction_id`` once, and refuses it then.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

from processor.contract.records import Hop, Request
from processor.contract.times import moment_of
from processor.didit.calls import HttpCall, look_up_call
from processor.didit.reconcile import CLOCKS_MS, made_since

_PAGE = 100
_PAGES_MAX = 20


def transaction_lookup(request: Request, hop: Hop) -> Generator[HttpCall, Any, Any]:
    """The transaction that a create of this request has made; see ``lookups.Lookup``."""
    oldest = _oldest(request, hop)
    for page in range(_PAGES_MAX):
        listed = yield look_up_call("transaction.list", {"limit": _PAGE, "offset": page * _PAGE}, request, hop)
        rows = [row for row in listed["results"] if isinstance(row, dict)]
        mine = next((row for row in rows if row.get("txn_id") == request.input["transaction_id"]), None)
        if mine is not None and isinstance(mine.get("uuid"), str) and made_since(mine, hop):
            return (yield look_up_call("transaction.get", {"transaction_uuid": mine["uuid"]}, request, hop))
        if mine is not None or len(rows) < _PAGE or _is_before(rows[-1].get("txn_date"), oldest):
            break  # another request's, or it would have come by now
    return None


def _oldest(request: Request, hop: Hop) -> datetime:
    """It stands nowhere behind this moment."""
    doubt = datetime.fromtimestamp(hop.called_since_ms / 1000, UTC)
    return min(doubt, moment_of(request.input.get("transaction_at")) or doubt) - timedelta(milliseconds=CLOCKS_MS)


def _is_before(text: Any, moment: datetime) -> bool:
    at = moment_of(text)
    return at is not None and at < moment
