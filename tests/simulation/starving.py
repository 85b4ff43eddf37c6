"""Whether a class of requests got no turn for long while others did. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from processor.contract.records import call_reference


class Published(NamedTuple):
    """When the brokers had a request, epoch s, and its priority."""

    at_s: float
    priority: str


def starved(published: Mapping[str, Published], calls: Iterable[Mapping[str, Any]], turns_max: int) -> list[str]:
    """Priorities of which some request waited for its first call while others got more than ``turns_max`` calls in a row.

    Args:
        published: by request id.
        calls: of the ledger, in order of time.
        turns_max: of others, between two calls of a priority of which somebody waits.
    """
    first_s: dict[str, float] = {}  # by the part of the reference that names the request
    for call in calls:
        if call["reference"]:
            first_s.setdefault(call["reference"].rpartition(".")[0], call["at"])
    events = []
    for request_id, (at_s, priority) in published.items():
        called_s = first_s.get(call_reference(request_id, 0).rpartition(".")[0])
        if called_s is not None:  # who was never called has not waited for a turn
            events += [(at_s, 1, priority), (max(at_s, called_s), -1, priority)]
    waiting, passed, most = dict[str, int](), dict[str, int](), dict[str, int]()
    for _, step, priority in sorted(events):
        if step < 0:
            passed = {other: turns + 1 for other, turns in passed.items() if waiting[other]}
            most |= {other: max(turns, most.get(other, 0)) for other, turns in passed.items() if other != priority}
            passed[priority] = 0
        waiting[priority] = waiting.get(priority, 0) + step
        passed.setdefault(priority, 0)
    return [f"{priority}: {turns} calls of others in a row" for priority, turns in sorted(most.items()) if turns > turns_max]
