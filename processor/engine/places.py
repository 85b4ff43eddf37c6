"""Where a request stands in the line from which it was sent away. Pure."""

from __future__ import annotations

import re

import orjson

from processor.budget.permits import CallClass, Place
from processor.contract.decode import parse_deadline
from processor.contract.headers import HeaderError, read_hop
from processor.contract.records import TENANT_FORM, Hop, Priority, Record
from processor.didit.catalog import Idempotency, first_call, is_polled, next_call

_TENANT = re.compile(TENANT_FORM)
_CLASSES = {Priority.URGENT: CallClass.URGENT, Priority.NORMAL: CallClass.NORMAL, Priority.BULK: CallClass.BULK}


def class_of(hop: Hop, priority: Priority) -> CallClass:
    """The class of a request's own call."""
    if hop.replay:
        return CallClass.BULK  # a redrive, however large, lets live requests go first
    return CallClass.RETRY if hop.attempt else _CLASSES[priority]


def poll_order(hop: Hop, now_ms: int, *, woken: bool) -> tuple[CallClass, int]:
    """Class of a look, and since when it waits (epoch ms): the one that waits longest goes first, however old its request is.

    Args:
        hop: of the record. ``first_failure_ms`` is set while looks fail or step aside, so that none loses its place by that.
        now_ms: epoch ms.
        woken: an event says that there is something to see.
    """
    due_ms = hop.due_ms if hop.first_failure_ms is None else hop.first_failure_ms
    since_ms = now_ms if due_ms is None else min(due_ms, now_ms)
    if woken or (not hop.polls and hop.settled is None):
        return CallClass.FIRST_POLL, since_ms
    return (CallClass.POLL if hop.settled is None else CallClass.LATE_POLL), since_ms


def place_of(record: Record, now_ms: int) -> Place | None:
    """Where a record of a delay topic stands in the line of its next call; None if that cannot be told without judging it.

    What is looked up first (``is_looked_up``) asks in other lines, and a record that is malformed is refused.
    """
    try:
        hop, value = read_hop(record), orjson.loads(record.value or b"")
    except (HeaderError, orjson.JSONDecodeError):
        return None
    name = value.get("operation") if isinstance(value, dict) else None
    if not isinstance(name, str):
        return None
    polled = _polls(name, hop)
    operation = next_call(name, polled=polled)
    if operation is None or is_looked_up(name, hop):
        return None
    if polled:
        call_class, since_ms = poll_order(hop, now_ms, woken=False)
    else:
        call_class, since_ms = class_of(hop, _priority(value.get("priority"))), hop.came_ms(now_ms)
    deadline = value.get("deadline") if hop.settled is None else None  # kept when the first final result was published
    deadline_ms = parse_deadline(deadline) if isinstance(deadline, str) else None
    return Place(operation.name, operation.scopes, call_class, since_ms, deadline_ms, _tenant(value.get("tenant")))


def is_looked_up(name: str, hop: Hop) -> bool:
    """Whether a request of this operation is in doubt in a way that it is looked up before its next call, by calls of other operations.

    Which of them has sent it away nobody notes, so no line calls it in: one that has room would do so at once, again and again.
    """
    return hop.doubt_ms is not None and not _polls(name, hop) and first_call(name).idempotency is Idempotency.RECONCILABLE


def _polls(name: str, hop: Hop) -> bool:
    """Whether the next call asks how a session stands."""
    return hop.session_id is not None and is_polled(name)


def _tenant(value: object) -> str:
    return value if isinstance(value, str) and _TENANT.fullmatch(value) else ""


def _priority(value: object) -> Priority:
    return Priority(value) if isinstance(value, str) and value in set(Priority) else Priority.NORMAL
