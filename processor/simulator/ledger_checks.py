"""What a ledger proves of a client, in plain words: empty lists are good. Pure.

Two calls are the same if method, path, query and parsed body are; what differs in one member (an attempt's number, say) is another call.
A create whose session expired unopened counts as nothing: another one may follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Call = Mapping[str, Any]  # one of the ledger's ``calls``


def judgement(ledger: Mapping[str, Any]) -> dict[str, list[str]]:
    """All that follows, as ``GET /_sim/judgement`` says it."""
    return {"done_twice": done_twice(ledger), "billed_twice": billed_twice(ledger), "over_limits": over_limits(ledger)}


def done_twice(ledger: Mapping[str, Any]) -> list[str]:
    """Same calls of a key that took effect more than once. A create that was answered with an unfinished session took none."""
    return [_told(calls, "took effect") for calls in _repeated(_effective(_lasting(ledger)), lambda call: bool(call["acted"]))]


def billed_twice(ledger: Mapping[str, Any]) -> list[str]:
    """Same calls of a key that cost credits more than once."""
    return [_told(calls, "was billed") for calls in _repeated(_lasting(ledger), lambda call: call["credits"] > 0)]


def over_limits(ledger: Mapping[str, Any]) -> list[str]:
    """Windows that held more calls than their limit, by key and scope."""
    return [
        f"{scope}: {use['max_in_window']} calls within {use['window_s']:g} s, and {use['limit']} are allowed (key {key})"
        for key, scopes in ledger["scopes"].items()
        for scope, use in scopes.items()
        if use["max_in_window"] > use["limit"]
    ]


def _lasting(ledger: Mapping[str, Any]) -> list[Call]:
    unopened = {session["session_id"] for session in ledger["sessions"] if session.get("expired_at") is not None}
    return [call for call in ledger["calls"] if call["session_id"] is None or call["session_id"] not in unopened]


def _effective(calls: Iterable[Call]) -> Iterator[Call]:
    created: set[str] = set()
    for call in calls:
        if call["route"] != "session.create" or call["session_id"] not in created:
            yield call
        if call["session_id"] is not None:
            created.add(call["session_id"])


def _repeated(calls: Iterable[Call], counts: Callable[[Call], bool]) -> list[list[Call]]:
    by_content: dict[tuple[str, str, str], list[Call]] = {}
    for call in calls:
        if call["content"] is not None and counts(call):
            by_content.setdefault((call["key"], call["method"], call["content"]), []).append(call)
    return [same for same in by_content.values() if len(same) > 1]


def _told(calls: list[Call], what: str) -> str:
    each = ", ".join(f"at {call['at']:.3f} {_answer(call)}" for call in calls)
    return f"{calls[0]['method']} {calls[0]['path']} {what} {len(calls)} times: {each}"


def _answer(call: Call) -> str:
    fault = f" ({call['fault']})" if call["fault"] else ""
    return (f"answered {call['status']}" if call["status"] else "not answered") + fault
