"""Which dead letters are redriven, and when each starts. Pure: the time goes in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from math import inf

from processor.contract.codes import ErrorType
from processor.contract.dead_letters import key_digest
from processor.contract.times import is_past
from processor.didit.catalog import next_call
from processor.repair.dead_letter import call_of, may_be_billed_again
from processor.repair.model import DeadLetter, DeadLetterStatus, LeftOut, Plan, Selection

SHARE = 0.5  # of every scope's limit
HORIZON_S = 86_400.0  # what starts later is not redriven yet: the delay topics keep records for a day more than their longest wait

Limits = Mapping[str, tuple[int, float]]  # scope -> calls, seconds


class Pacer:
    """Start times under a share of every scope's limit: in no window do more start than that."""

    def __init__(self, limits: Limits, share: float = SHARE, busy: Mapping[str, int] | None = None) -> None:
        """``busy``: the latest start, by operation, that earlier redrives have been given; these go behind them.

        Raises:
            ValueError: if the share is not above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise ValueError(f"the share of the budget must be above 0 and at most 1, not {share:g}")
        self._interval_ms = {scope: -(-int(window_s * 1000) // max(1, int(limit * share))) for scope, (limit, window_s) in limits.items()}
        self._next_ms: dict[str, int] = {}
        for operation, due_ms in (busy or {}).items():
            called = next_call(operation, polled=False)
            self._take(called.scopes if called is not None else (), due_ms)

    def slot(self, dead_letter: DeadLetter, now_ms: int, until_ms: float = inf) -> int | None:
        """When it starts, epoch ms: the latest of its scopes' next slots; None if that is after ``until_ms``.

        One that makes no call starts at once.
        """
        operation = call_of(dead_letter)
        scopes = operation.scopes if operation is not None else ()
        due_ms = max([now_ms, *(self._next_ms.get(scope, now_ms) for scope in scopes)])
        if due_ms > until_ms:
            return None
        self._take(scopes, due_ms)
        return due_ms

    def _take(self, scopes: Iterable[str], due_ms: int) -> None:
        for scope in scopes:
            if scope in self._interval_ms:
                self._next_ms[scope] = max(self._next_ms.get(scope, 0), due_ms + self._interval_ms[scope])


def select(
    dead_letters: Iterable[DeadLetter], selection: Selection, *, statuses: Collection[DeadLetterStatus] = frozenset(DeadLetterStatus)
) -> list[DeadLetter]:
    """The dead letters that a selection names, the oldest first."""
    found = sorted((x for x in dead_letters if x.status in statuses and _is_named(x, selection)), key=lambda x: x.failed_ms)
    return found if selection.count_max is None else found[: selection.count_max]


def make_plan(
    dead_letters: Iterable[DeadLetter],
    selection: Selection,
    limits: Limits,
    *,
    now_ms: int,
    share: float = SHARE,
    busy: Mapping[str, int] | None = None,
    horizon_s: float = HORIZON_S,
) -> Plan:
    """What a redrive would do: which open ones, which not and why, and how long it takes.

    Raises:
        ValueError: if the share is not above 0 and at most 1.
    """
    pacer = Pacer(limits, share, busy)
    chosen: list[DeadLetter] = []
    left_out: Counter[LeftOut] = Counter()
    last_ms = now_ms
    for dead_letter in select(dead_letters, replace(selection, count_max=None), statuses={DeadLetterStatus.OPEN}):
        why = why_not(dead_letter, selection, now_ms)
        if why is not None:
            left_out[why] += 1
        elif selection.count_max is not None and len(chosen) >= selection.count_max:
            continue
        elif (due_ms := pacer.slot(dead_letter, now_ms, now_ms + horizon_s * 1000)) is None:
            left_out[LeftOut.LATER] += 1
        else:
            chosen.append(dead_letter)
            last_ms = max(last_ms, due_ms)
    return Plan(tuple(chosen), dict(left_out), (last_ms - now_ms) / 1000)


def why_not(dead_letter: DeadLetter, selection: Selection, now_ms: int) -> LeftOut | None:
    """Why an open dead letter is not redriven; None if it may be."""
    if dead_letter.cut:
        return LeftOut.CUT
    if dead_letter.reason_type == ErrorType.CONFLICT:
        return LeftOut.CONFLICT
    if dead_letter.hop.replay >= selection.replays_max:
        return LeftOut.REPLAYED
    if may_be_billed_again(dead_letter) and not selection.in_doubt:
        return LeftOut.IN_DOUBT
    # a session may have been settled in time; whatever else is late ends as expired without a call
    if is_past(dead_letter.deadline_ms, now_ms) and dead_letter.hop.session_id is None:
        return LeftOut.LATE
    return None


def _is_named(dead_letter: DeadLetter, s: Selection) -> bool:
    return (
        (not s.reasons or bool(s.reasons & {dead_letter.reason_type, dead_letter.reason_code}))
        and (not s.operations or dead_letter.operation in s.operations)
        and (not s.request_ids or dead_letter.request_id in s.request_ids)
        and (not s.positions or (dead_letter.partition, dead_letter.offset) in s.positions)
        and (s.since_ms is None or dead_letter.failed_ms >= s.since_ms)
        and (s.until_ms is None or dead_letter.failed_ms < s.until_ms)
        and (s.key is None or dead_letter.key_digest == key_digest(s.key))
    )
