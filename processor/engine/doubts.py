"""Settles what Didit's answers leave open: whether a call of unknown fate was made, and whether what is missing is only new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from processor.budget.permits import Parked
from processor.budget.rules import budget_rules
from processor.contract.codes import ErrorCode
from processor.contract.records import OnDoubt, call_reference
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

_CHECK_AGAIN_MS = 10_000  # a check that has left no trace is looked for again after so long, then twice as long
_CREATE_AGAIN_MS = 2_000  # the same of a create, whose session is shown sooner; then each time half as long again
_READS_SESSION = frozenset({"session.decision", "session.media", "session.pdf"})
_MISSING_MS = 5_000  # a session that is not shown is looked at again after so long, then twice as long


@dataclass(frozen=True, slots=True)
class Unknowable:
    """A billed call may have been made, and there is no way to know."""


class DoubtSettler:
    """Looks up what became of a call; keeps nothing of one for the next."""

    def __init__(self, settings: Settings, caller: DiditCaller, clock_ms: Callable[[], int], refresh_key: Callable[[], None]) -> None:
        self._caller, self._clock_ms, self._refresh_key = caller, clock_ms, refresh_key
        self._held_s = 2 * settings.budget.account_probe_s
        self._rules = budget_rules(settings)
        self._read_lag_ms = int(1000 * settings.didit.read_lag_s)

    async def settle(self, job: Job, operation: Operation, work: Work, over_ms: int) -> Judged | DeadlinePassed | Parked | Unknowable | Job:
        """What settles the doubt, or the job whose call is to be made again: it was not made, or nobody can know and that is wanted.

        Args:
            job: whose call it is; it knows since when it is in doubt.
            operation: the call.
            work: see ``DiditCaller.call``.
            over_ms: it may be under way until then, as far as that is known; epoch ms.
        """
        looked_ms, doubt_ms = self._clock_ms(), job.hop.called_since_ms
        found = await self._look_up(job, operation, work)
        if isinstance(found, DeadlinePassed | Parked):
            return found
        if found is not None and not isinstance(found, Inconclusive):
            return Judged(doubt_ms, found)
        if (wait_ms := self._wait_ms(job, operation, over_ms, looked_ms)) > 0:  # it may still come about, or be listed
            return Judged(doubt_ms, Deferred(ErrorCode.DOUBT_SETTLING, wait_ms / 1000))
        if isinstance(found, Inconclusive):  # the doubt stays: the call that is made again may be in doubt beside it
            wanted = job.decided and (not over_ms or job.request.on_doubt is OnDoubt.REPEAT)  # an operator insists on one call of a round
            return job if wanted and not found.took_place else Unknowable()
        return job if operation.trace is None else job.settled  # if the next call is in doubt too, it alone is

    def shown_ms(self, job: Job, operation: Operation, looked_ms: int) -> int:
        """What a look at ``looked_ms`` does not show of calls that were over by this moment was not made; both in epoch ms.

        A create that is made again hands out the session of the one before, so nobody waits until that is listed. Where the look told
        nothing and an operator has insisted, no call of this round may have been made.
        """
        if operation.trace is not None and job.hop.doubt_ms is not None and job.request.on_doubt is OnDoubt.FAIL:
            return 0
        return looked_ms if operation.trace is None else looked_ms - self._read_lag_ms

    def _wait_ms(self, job: Job, operation: Operation, over_ms: int, looked_ms: int) -> int:
        """Until the next look at a call that has left no trace at ``looked_ms``; 0 or less if it cannot come any more."""
        doubt_ms = job.hop.called_since_ms
        if operation.trace is None and over_ms <= doubt_ms and job.hop.last_error != ErrorCode.DOUBT_SETTLING:
            return 0  # whoever closed its connection has made a session of it, or never will
        promised_ms = doubt_ms + int(1000 * (self._rules.promise_s if operation.files else self._rules.promise_of(operation.timeout_s)))
        left_ms = max(over_ms, promised_ms) + self._read_lag_ms - looked_ms
        if over_ms > promised_ms:
            return left_ms  # the next look would not know that it takes so long
        age_ms = looked_ms - doubt_ms
        return min(left_ms, max(_CREATE_AGAIN_MS, age_ms // 2) if operation.trace is None else max(_CHECK_AGAIN_MS, age_ms))

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
                return self._of_lookup(verdict)
            found = step(lookup, verdict.output if isinstance(verdict, Success) else None)
        if found.output is None or isinstance(found.output, Inconclusive):
            return found.output
        log.info("adopted", reference=call_reference(job.request.request_id, job.hop.hop))
        return Success(found.output)

    def unless_new(self, job: Job, operation: Operation, verdict: Verdict) -> Verdict:
        """A 404 of a session that may be too new to be shown is looked at again, for as long as that may take from the request on."""
        if not is_not_found(verdict) or operation.name not in _READS_SESSION:
            return verdict
        now_ms = self._clock_ms()
        waited_ms = now_ms - job.hop.came_ms(now_ms)
        left_ms = self._read_lag_ms - waited_ms
        return verdict if left_ms <= 0 else Deferred(ErrorCode.SESSION_MISSING, min(left_ms, max(_MISSING_MS, waited_ms)) / 1000)

    def _of_lookup(self, verdict: Verdict) -> Verdict:
        """A lookup that is refused says nothing of the create: the doubt stays, and is looked into again, with the key of then."""
        match verdict:
            case Forbidden(key_works=False):  # nothing but lookups may be called for now, so nobody else reads the key again
                self._refresh_key()
                return Transient(ErrorCode.LOOKUP_REFUSED, verdict.http_status, self._held_s)
            case Refused() | OurFault() | Forbidden() | Unpaid():
                return Transient(ErrorCode.LOOKUP_REFUSED, verdict.http_status, None)
            case _:
                return verdict
