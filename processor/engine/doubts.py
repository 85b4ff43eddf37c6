"""Settles what Didit's answers leave open: whether a call of unknown fate was made, and whether what is missing is only new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from processor.budget.permits import Parked
from processor.contract.codes import ErrorCode
from processor.contract.records import call_reference
from processor.didit.calls import HttpCall
from processor.didit.catalog import Operation
from processor.didit.check_traces import Inconclusive
from processor.didit.lookups import LOOKUPS, step
from processor.didit.verdicts import Deferred, Forbidden, OurFault, Refused, Success, Transient, Unpaid, Verdict, is_not_found
from processor.engine.calls import DeadlinePassed, DiditCaller, Judged
from processor.engine.outputs import Job
from processor.settings import Settings
from processor.stream.handler import Work

log = structlog.get_logger(__name__)

_LOOK_AGAIN_MS = 10_000  # a check that has left no trace is looked for again after so long, then twice as long
_READS_SESSION = frozenset({"session.decision", "session.pdf"})
_MISSING_MS = 5_000  # a session that is not shown is looked at again after so long, then twice as long


@dataclass(frozen=True, slots=True)
class Unknowable:
    """A billed call may have been made, and there is no way to know."""


class DoubtSettler:
    """Looks up what became of a call; keeps nothing of one for the next."""

    def __init__(self, settings: Settings, caller: DiditCaller, clock_ms: Callable[[], int]) -> None:
        self._caller, self._clock_ms = caller, clock_ms
        self._promise_ms = int(1000 * settings.promise_s_max)
        self._read_lag_ms = int(1000 * settings.didit.read_lag_s)

    async def settle(
        self, job: Job, operation: Operation, work: Work, over_ms: int
    ) -> Judged | DeadlinePassed | Parked | Unknowable | None:
        """What settles the doubt, or None if the call was not made and is to be made again."""
        looked_ms, doubt_ms = self._clock_ms(), job.hop.called_since_ms
        found = await self._look_up(job, operation, work)
        if isinstance(found, DeadlinePassed | Parked):
            return found
        if found is not None and not isinstance(found, Inconclusive):
            return Judged(doubt_ms, found)
        wait_ms = over_ms - looked_ms
        if operation.trace is not None:
            settles_ms = max(over_ms, doubt_ms + self._promise_ms) + self._read_lag_ms
            wait_ms = min(settles_ms - looked_ms, max(_LOOK_AGAIN_MS, looked_ms - doubt_ms))
        if wait_ms > 0:  # it may still come about, or be listed
            return Judged(doubt_ms, Deferred(ErrorCode.DOUBT_SETTLING, wait_ms / 1000))
        if isinstance(found, Inconclusive) and (found.took_place or not job.decided):
            return Unknowable()
        return None

    async def _look_up(self, job: Job, operation: Operation, work: Work) -> Verdict | DeadlinePassed | Parked | Inconclusive | None:
        """A verdict that settles the doubt, None if the call has left no trace, or that this cannot be told."""
        lookup = LOOKUPS[operation.name](job.request, job.hop)
        found = step(lookup, None)
        while isinstance(found, HttpCall):
            looked = await self._caller.look_up(found, job, work)
            if not isinstance(looked, Judged):
                return looked
            verdict = looked.verdict
            gone = is_not_found(verdict) and found.operation.path_fields
            if not gone and not isinstance(verdict, Success):
                return _of_lookup(verdict)
            found = step(lookup, verdict.output if isinstance(verdict, Success) else None)
        if found.output is None or isinstance(found.output, Inconclusive):
            return found.output
        log.info("adopted", reference=call_reference(job.request.request_id, job.hop.hop))
        return Success(found.output)

    def unless_new(self, job: Job, operation: Operation, verdict: Verdict) -> Verdict:
        """A 404 of a session that may be too new to be shown is looked at again, for as long as that may take from the request on."""
        if not is_not_found(verdict) or operation.name not in _READS_SESSION:
            return verdict
        waited_ms = self._clock_ms() - job.hop.first_ms
        left_ms = self._read_lag_ms - waited_ms
        return verdict if left_ms <= 0 else Deferred(ErrorCode.SESSION_MISSING, min(left_ms, max(_MISSING_MS, waited_ms)) / 1000)


def _of_lookup(verdict: Verdict) -> Verdict:
    """A lookup that is refused says nothing of the create: the doubt stays, and is looked into again."""
    if isinstance(verdict, Refused | OurFault | Forbidden | Unpaid):
        return Transient(ErrorCode.LOOKUP_REFUSED, verdict.http_status, None)
    return verdict
