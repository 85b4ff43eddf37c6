"""What a run has proven, from the topics and the simulator's ledger alone. Pure; our own counters have no say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from processor.contract.records import call_reference

_CLOCK_MS = 1.0  # the ledger's stamps are floats of the same clock; a due time is in whole milliseconds


@dataclass(frozen=True, slots=True)
class FinalSeen:
    """A final result as a read_committed reader sees it."""

    request_id: str
    status: str
    replay: int = 0  # each redrive has one of its own


@dataclass(frozen=True, slots=True)
class RetrySeen:
    """A record of a delay topic."""

    request_id: str
    hop: int
    due_ms: int
    may_be_early: bool = False  # what it waits for may come before its due time: an event of its session, room in its line


@dataclass(frozen=True, slots=True)
class Judgement:
    """The proof of a run. ``ok`` is what the exit status says."""

    requests: int
    finals: int
    missing: tuple[str, ...]
    duplicated: tuple[str, ...]
    by_status: Mapping[str, int]
    retries: int
    early_retries: int
    late_retry_p99_ms: float
    scopes: Mapping[str, Mapping[str, float]]
    billed_twice: int

    @property
    def ok(self) -> bool:
        """One final result for each request, no early retry, no window over its limit, nothing billed twice."""
        within = all(s["max_in_window"] <= s["limit"] for s in self.scopes.values())
        return not self.missing and not self.duplicated and not self.early_retries and not self.billed_twice and within


def judge(requested: Iterable[str], finals: Iterable[FinalSeen], retries: Iterable[RetrySeen], ledger: Mapping[str, Any]) -> Judgement:
    """Compare what was asked for with what came out.

    Args:
        requested: request ids that were published, each once.
        finals: all final results of the results topic.
        retries: all records of the delay topics.
        ledger: the simulator's, as of ``GET /_sim/ledger``.
    """
    wanted = set(requested)
    seen = list(finals)
    counts = Counter((f.request_id, f.replay) for f in seen)
    first_call_ms: dict[str, float] = {}
    for call in ledger["calls"]:
        if call["reference"]:
            at_ms = call["at"] * 1000
            first_call_ms[call["reference"]] = min(at_ms, first_call_ms.get(call["reference"], at_ms))
    lateness = []
    retried = 0
    for retry in retries:
        retried += 1
        at = first_call_ms.get(call_reference(retry.request_id, retry.hop))
        if at is not None and not retry.may_be_early:
            lateness.append(at - retry.due_ms)
    billed = _sessions_of(ledger["sessions"])
    # a check is known by the reference of its call, which is the request's but for the hop at its end
    billed.update(c["reference"].rpartition(".")[0] for c in ledger["checks"] if c["reference"] and c["credits"])
    return Judgement(
        requests=len(wanted),
        finals=len(seen),
        missing=tuple(sorted(wanted - {request_id for request_id, _ in counts})),
        duplicated=tuple(sorted({request_id for (request_id, _), n in counts.items() if n > 1})),
        by_status=dict(Counter(f.status for f in seen)),
        retries=retried,
        early_retries=sum(1 for late_ms in lateness if late_ms < -_CLOCK_MS),
        late_retry_p99_ms=round(percentile(lateness, 0.99), 1),
        scopes=_scopes(ledger["scopes"]),
        billed_twice=sum(1 for n in billed.values() if n > 1),
    )


def percentile(values: Iterable[float], part: float) -> float:
    """The value below which ``part`` of all lie (nearest rank); 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def _sessions_of(sessions: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Sessions by request; one that had expired unopened before the next was made is not billed beside it."""
    made: Counter[str] = Counter()
    before: dict[str, Mapping[str, Any]] = {}
    for session in sessions:  # in order of their creation
        request_id = session["request_id"]
        if not request_id:
            continue
        expired_at = before.get(request_id, {}).get("expired_at")
        made[request_id] += expired_at is None or expired_at > session["created_at"]
        before[request_id] = session
    return made


def _scopes(by_key: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    worst: dict[str, dict[str, float]] = {}
    for scopes in by_key.values():
        for name, figures in scopes.items():
            if name not in worst or figures["max_in_window"] > worst[name]["max_in_window"]:
                worst[name] = {field: figures[field] for field in ("limit", "window_s", "max_in_window", "calls")}
    return worst
