"""Whether what results say of a request is what was done for it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from processor.contract.codes import ErrorCode
from processor.contract.records import Status, call_reference

if TYPE_CHECKING:
    from processor.repair.person_erase import EraseSummary
    from simulation.asked import Asked
    from simulation.clients import Heard
    from simulation.observed import Answer

_MAY_BE_DONE = frozenset({Status.SUCCEEDED, Status.IN_DOUBT})
_NO_CALL = frozenset({"cancel"})  # succeeds without one
_HEARD_S = 45.0  # after a result, at the latest: brokers may be away for half a minute


def _reference(request_id: str) -> str:
    return call_reference(request_id, 0).rpartition(".")[0]


def leaving_out(ledger: Mapping[str, Any], request_ids: Collection[str]) -> Mapping[str, Any]:
    """A ledger in which what was asked for under these ids does not act and costs nothing; it stays in the windows."""
    if not request_ids:
        return ledger
    left_out = {_reference(request_id) for request_id in request_ids}

    def of_others(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [entry for entry in entries if (entry["reference"] or "").rpartition(".")[0] not in left_out]

    sessions = [session for session in ledger["sessions"] if session["request_id"] not in request_ids]
    return {**ledger, "calls": of_others(ledger["calls"]), "checks": of_others(ledger["checks"]), "sessions": sessions}


def untrue(answers: Sequence[Answer], asked: Asked, ledger: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Rules and details: what was paid for and told as not done, or told as done and never asked for, and what was answered wrongly.

    Args:
        answers: all final results, and copies.
        asked: what callers have asked for.
        ledger: of the simulated API.
    """
    told: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.copy_for is None:
            told[answer.request_id].append(answer)
    yield from _done_and_told(told, ledger)
    taken_back = {*asked.cancels.values(), *asked.erased}
    for request_id, found in told.items():
        for answer in found:
            if answer.code == ErrorCode.CANCELLED and request_id not in taken_back:
                yield "taken back though nobody has asked", request_id
            ended = request_id in asked.expiring or request_id in taken_back or answer.code == ErrorCode.ENDED_BY_HAND
            ended |= answer.attempts >= asked.attempts_max or request_id in asked.conflicts  # the other content may count
            if answer.status == Status.IN_DOUBT and request_id in asked.repeated and not ended:
                yield "in doubt though it was to be repeated", f"{request_id}: {answer.code}"
    for request_id in asked.conflicts:
        if not any(answer.status == Status.CONFLICT for answer in told[request_id]):
            yield "another content under one id has no result", request_id
    yield from _misplaced(answers, asked.places)
    yield from _copies(answers, told)


def _done_and_told(told: Mapping[str, Sequence[Answer]], ledger: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    paid = Counter((check["reference"] or "").rpartition(".")[0] for check in ledger["checks"] if check["credits"])
    called = {(call["reference"] or "").rpartition(".")[0] for call in ledger["calls"]}
    for request_id, found in told.items():
        statuses = {answer.status for answer in found}
        if paid[_reference(request_id)] and not statuses & _MAY_BE_DONE:
            texts = ", ".join(f"{answer.status} ({answer.code})" for answer in found)
            yield "paid for and told as not done", f"{request_id}: {texts}"
        done = [answer for answer in found if answer.status == Status.SUCCEEDED and answer.operation not in _NO_CALL]
        if done and called and _reference(request_id) not in called:
            yield "told as done though nobody was asked", request_id


def _misplaced(answers: Sequence[Answer], places: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    for answer in answers:
        if answer.source.partition("[")[0] not in places.get(answer.request_id, (answer.source.partition("[")[0],)):
            yield "a result names a record that nobody wrote", f"{answer.request_id}: {answer.source}"


def _copies(answers: Sequence[Answer], told: Mapping[str, Sequence[Answer]]) -> Iterator[tuple[str, str]]:
    counts = Counter(answer.copy_for for answer in answers if answer.copy_for is not None)
    yield from (("two copies for one record", f"{place}: {count}") for place, count in counts.items() if place is not None and count > 1)
    for answer in answers:
        if answer.copy_for is not None and answer.result_id not in {one.result_id for one in told.get(answer.request_id, ())}:
            yield "a copy of nothing", f"{answer.request_id} for {answer.copy_for}"


def misheard(answers: Sequence[Answer], heard: Sequence[Heard]) -> Iterator[tuple[str, str]]:
    """Rules and details: what a caller was told by its client and no topic holds, or was not told though it was there for long."""
    told = {(answer.request_id, answer.result_id) for answer in answers}
    first_ms: dict[str, int] = {}
    for answer in answers:
        first_ms.setdefault(answer.request_id, answer.stamp_ms)
    late: dict[str, float] = {}
    for request_id, result_id, at_s in heard:
        if result_id is not None and (request_id, result_id) not in told:
            yield "a caller was told what no topic holds", request_id
        if result_id is None:
            late[request_id] = at_s - first_ms.get(request_id, inf) / 1000
    yield from (("a caller was not told", f"{request_id}: for {late_s:.1f} s") for request_id, late_s in late.items() if late_s > _HEARD_S)


def misread(answers: Sequence[Answer], requested: Sequence[str], rows: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Rules and details: where the results of `processor batch` are not one row for each request, with what its topic holds."""
    told = {(answer.request_id, answer.status) for answer in answers}
    counts = Counter(request_id for request_id, _ in rows)
    yield from (("a batch has not each request once", f"{one}: {counts[one]}") for one in {*requested, *counts} if counts[one] != 1)
    yield from (("a batch tells what no topic holds", f"{one}: {status}") for one, status in rows if (one, status) not in told)


def not_erased(
    answers: Sequence[Answer], request_id: str, there: Collection[str | None], erasures: Sequence[EraseSummary], attempts_max: int
) -> Iterator[tuple[str, str]]:
    """Rules and details: what is left of a person who was erased.

    Args:
        answers: all final results.
        request_id: of the person's request.
        there: ids of the sessions that Didit has.
        erasures: what the runs have told, the last one last.
        attempts_max: so many of one deletion may fail.
    """
    exhausted = {answer.request_id for answer in answers if answer.attempts >= attempts_max}
    for done in erasures[-1:]:
        if done.left or not exhausted.issuperset(done.failed):
            yield "a person is not erased", f"left {done.left}, failed {done.failed}"
        elif not done.failed and (left := {answer.session_id for answer in answers if answer.request_id == request_id} & set(there)):
            yield "a session of an erased person is there", f"{request_id}: {left}"
