"""What was paid for, from outside: the simulator's ledger, or a CSV export of Didit's sessions. Pure."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

_EPOCH_S_MAX = 253_402_300_799  # of the year 9999; NaN is no moment either
_ID_COLUMNS = ("vp_request_id", "request_id", "metadata.vp_request_id")


class BillsFormatError(ValueError):
    """The text is neither a ledger nor an export. It says what is missing."""


@dataclass(slots=True)
class Bills:
    """Sessions by request id, checks by the reference of their call without its hop, and when each call arrived.

    Attributes:
        sessions: request id and moment (epoch ms) of each session that is billed.
        checks: moments (epoch ms) by the UUID of ``contract.records.call_reference``; whoever takes one removes it.
        first_call_ms: by the whole reference.
        scopes: by scope ``limit``, ``window_s``, ``calls`` and ``max_in_window``, by the clock of whoever counts.
    """

    sessions: list[tuple[str, int]] = field(default_factory=list)
    checks: dict[str, list[int]] = field(default_factory=dict)
    first_call_ms: dict[str, float] = field(default_factory=dict)
    scopes: dict[str, Mapping[str, float]] = field(default_factory=dict)


def read_bills(text: bytes) -> Bills:
    """A ledger (``GET /_sim/ledger``) or a CSV with a line of names, told apart by the first character.

    Raises:
        BillsFormatError: if it is neither.
    """
    if text.lstrip()[:1] != b"{":
        try:
            return bills_of_export(text.decode("utf-8-sig", errors="replace").splitlines())  # a spreadsheet writes its mark
        except csv.Error as exc:
            raise BillsFormatError(f"it is no CSV: {exc}") from None
    try:
        return bills_of_ledger(orjson.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as exc:
        raise BillsFormatError(f"it begins like a ledger and is none ({type(exc).__name__}); take it from GET /_sim/ledger") from None


def bills_of_ledger(ledger: Mapping[str, Any]) -> Bills:
    """Of the simulator's ledger."""
    found = Bills(list(_billed(ledger["sessions"])), scopes=_scopes(ledger["scopes"]))
    for check in ledger["checks"]:
        if check["reference"] and check["credits"]:
            found.checks.setdefault(check["reference"].rpartition(".")[0], []).append(int(check.get("at", 0) * 1000))
    for call in ledger["calls"]:
        if call["reference"]:
            at_ms = call["at"] * 1000
            found.first_call_ms[call["reference"]] = min(at_ms, found.first_call_ms.get(call["reference"], at_ms))
    return found


def bills_of_export(lines: Iterable[str]) -> Bills:
    """Of rows that name our request id, in ``vp_request_id``, ``request_id``, or a JSON object in ``metadata``.

    Raises:
        BillsFormatError: if no column can hold it.
    """
    reader = csv.DictReader(lines)
    names = set(reader.fieldnames or ())
    if not names & {*_ID_COLUMNS, "metadata"} or "created_at" not in names:
        raise BillsFormatError(f"a CSV needs the column created_at, and metadata or one of {', '.join(_ID_COLUMNS)}")
    sessions = ({"request_id": _id_of(row), "created_at": _epoch_s(row["created_at"]), "expired_at": _expired(row)} for row in reader)
    return Bills(list(_billed(sorted(sessions, key=lambda s: s["created_at"]))))


def _billed(sessions: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int]]:
    """In order of their creation; one that had expired unopened before the next was made is not billed beside it."""
    expired_at: dict[str, float | None] = {}
    for session in sessions:
        request_id = session["request_id"]
        if not request_id:
            continue
        before = expired_at.get(request_id)
        if before is None or before > session["created_at"]:
            yield request_id, int(session["created_at"] * 1000)
        expired_at[request_id] = session.get("expired_at")


def _id_of(row: Mapping[str, str | None]) -> str | None:
    if (plain := next((row[name] for name in _ID_COLUMNS if row.get(name)), None)) is not None:
        return plain
    try:
        metadata = orjson.loads(row.get("metadata") or b"null")
    except ValueError:
        return None
    found = metadata.get("vp_request_id") if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else None


def _expired(row: Mapping[str, str | None]) -> float | None:
    return _epoch_s(row.get("expired_at")) if row.get("expired_at") else None


def _epoch_s(text: str | None) -> float:
    """Seconds since the epoch, or an ISO 8601 time; 0 for anything else."""
    try:
        seconds = float(text or "")
    except ValueError:
        return _iso_epoch_s(text or "")
    return seconds if 0 <= seconds <= _EPOCH_S_MAX else 0.0


def _iso_epoch_s(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _scopes(by_key: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Mapping[str, float]]:
    """Of each scope the key whose window was fullest."""
    worst: dict[str, Mapping[str, float]] = {}
    for scopes in by_key.values():
        for name, figures in scopes.items():
            if name not in worst or figures["max_in_window"] > worst[name]["max_in_window"]:
                worst[name] = {part: figures[part] for part in ("limit", "window_s", "max_in_window", "calls")}
    return worst
