"""A final result as the page lists it, without what the caller sent; how many a minute and how they ended, and how long they took. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from processor.contract.records import Record, ResultKind, Status
from processor.contract.times import moment_of
from processor.contract.trace_context import read_trace, sampled_trace_id
from processor.didit.catalog import COMPOSITES

DIGEST_CHARS = 16
FOLLOWED = frozenset(COMPOSITES)  # people take their time in these
FAILED = (Status.FAILED, Status.IN_DOUBT, Status.EXPIRED)  # who has asked got nothing
REFUSED = (Status.REJECTED, Status.CONFLICT)  # the caller's own mistakes
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class RecentResult:
    """One final result. ``vendor_data`` is known by its digest only, and only where Didit has given it back."""

    finished_ms: int
    request_id: str | None  # None where none could be read
    operation: str | None
    status: Status
    code: str | None  # of the error
    attempts: int
    took_ms: int  # from the caller's record on
    person: str = ""  # digest of ``vendor_data``; empty where there is none
    trace_id: str = ""  # 32 hex digits; empty where no trace is recorded


@dataclass(frozen=True, slots=True)
class ResultSelection:
    """Which results; what is empty or None does not narrow."""

    operation: str = ""
    status: str = ""
    person: str = ""  # the beginning of the SHA-256 of ``vendor_data``
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class MinuteOfResults:
    """How the final results of one minute ended."""

    begin_ms: int
    counts: Mapping[Status, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Speed:
    """How long the requests of one operation took, of those that succeeded."""

    operation: str
    count: int
    median_s: float
    p95_s: float


def person_digest(vendor_data: str) -> str:
    """What stands for ``vendor_data`` here: the beginning of the SHA-256 of its UTF-8, in hex."""
    return hashlib.sha256(vendor_data.encode(errors="surrogatepass")).hexdigest()[:DIGEST_CHARS]


def read_result(record: Record) -> RecentResult | None:
    """What is kept of a record of the results topic; None for a progress result, and for what is none of ours. Never raises."""
    try:
        document = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or document.get("kind") != ResultKind.FINAL:
        return None
    status = next((status for status in Status if status == document.get("status")), None)
    if status is None:
        return None
    finished_ms = _epoch_ms(document.get("finished_at"), record.timestamp_ms)
    error, output, attempts = document.get("error"), document.get("output"), document.get("attempts")
    vendor_data = output.get("vendor_data") if isinstance(output, dict) else None
    return RecentResult(
        finished_ms,
        _text(document.get("request_id")),
        _text(document.get("operation")),
        status,
        _text(error.get("code")) if isinstance(error, dict) else None,
        attempts if isinstance(attempts, int) else 0,
        max(0, finished_ms - _epoch_ms(document.get("received_at"), finished_ms)),
        person_digest(vendor_data) if isinstance(vendor_data, str) and vendor_data else "",
        sampled_trace_id(read_trace(record.headers, fresh=True)[0]) if record.headers else "",
    )


def select_results(results: Iterable[RecentResult], wanted: ResultSelection) -> list[RecentResult]:
    """Those that a filter names, in their order."""
    return [
        result
        for result in results
        if (not wanted.operation or result.operation == wanted.operation)
        and (not wanted.status or result.status == wanted.status)
        and (not wanted.person or (result.person != "" and _same_digest(result.person, wanted.person)))
        and (wanted.since_ms is None or result.finished_ms >= wanted.since_ms)
    ]


def by_minute(results: Iterable[RecentResult], now_ms: int, minutes: int) -> tuple[MinuteOfResults, ...]:
    """The last whole minutes and the one that has begun, the oldest first; also those without a result."""
    last = now_ms // _MINUTE_MS
    counts: dict[int, Counter[Status]] = {minute: Counter() for minute in range(last - minutes + 1, last + 1)}
    for result in results:
        if (minute := result.finished_ms // _MINUTE_MS) in counts:
            counts[minute][result.status] += 1
    return tuple(MinuteOfResults(minute * _MINUTE_MS, dict(found)) for minute, found in counts.items())


def speeds(results: Iterable[RecentResult]) -> tuple[Speed, ...]:
    """By operation, those with the most results first; of results that succeeded, since what is refused takes no time."""
    took: dict[str, list[int]] = {}
    for result in results:
        if result.status is Status.SUCCEEDED and result.operation is not None:
            took.setdefault(result.operation, []).append(result.took_ms)
    found = [Speed(name, len(ms), _quantile(sorted(ms), 0.5) / 1000, _quantile(sorted(ms), 0.95) / 1000) for name, ms in took.items()]
    return tuple(sorted(found, key=lambda speed: (-speed.count, speed.operation)))


def _same_digest(known: str, asked: str) -> bool:
    length = min(len(known), len(asked))
    return known[:length] == asked[:length].lower()


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _epoch_ms(value: Any, otherwise_ms: int) -> int:
    moment = moment_of(value)
    return otherwise_ms if moment is None else round(moment.timestamp() * 1000)
