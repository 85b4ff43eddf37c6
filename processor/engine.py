"""Record in, outputs out: the only place where contract, budget, Didit and retry meet. Holds no Kafka and no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol

import structlog

from processor.budget.permits import Budget, BudgetClosedError, CallClass, Fate, Permit, ScopePausedError
from processor.contract.decode import Rejected, decode
from processor.contract.records import Output, Priority, Record, call_reference
from processor.didit.answers import Answer, NoReply
from processor.didit.calls import HttpCall, build_call, detail_call, list_call
from processor.didit.catalog import OPERATIONS, Idempotency, Operation
from processor.didit.reconcile import Adopt, Inspect, adopt_inspected, review_list
from processor.didit.verdicts import AccountFault, OurFault, Refused, Success, Throttled, Transient, Verdict, classify
from processor.outcomes import Job, Outcomes
from processor.retry.policy import Again
from processor.settings import Settings
from processor.stream.work import Work, WorkAbandonedError

log = structlog.get_logger(__name__)

_CLASSES = {Priority.URGENT: CallClass.URGENT, Priority.NORMAL: CallClass.NORMAL, Priority.BULK: CallClass.BULK}
_BARE_THROTTLE_S = 5.0  # a rate-limit 429 that names no time still holds its scope up


class CallsDidit(Protocol):
    """The HTTP edge, as the engine needs it."""

    async def send(self, call: HttpCall) -> Answer:
        """Make one call. Never raises except CancelledError."""
        ...

    def refresh_key(self) -> None:
        """Read the API key anew."""
        ...


class DeadlinePassedError(Exception):
    """The caller's deadline came while the request waited for a permit."""


class Engine:
    """Handles one record at a time, many at once; keeps nothing of one for the next."""

    def __init__(
        self, settings: Settings, client: CallsDidit, budget: Budget, *, clock_ms: Callable[[], int], draw: Callable[[], float]
    ) -> None:
        self._client, self._budget, self._clock_ms, self._draw = client, budget, clock_ms, draw
        self._pause_s_max = settings.retry.retry_after_max_s
        self._probe_s = settings.budget.account_probe_s
        self._warned = False
        self._outcomes = Outcomes(settings.lanes, settings.retry)

    async def handle(self, record: Record, work: Work) -> Sequence[Output]:
        """The outputs that complete a record: a final result, a retry record, or a final result with a dead letter."""
        decoded = decode(record)
        if isinstance(decoded, Rejected):
            log.warning("rejected", source=str(record.source), code=decoded.error.code)
            return self._outcomes.rejected(record, decoded, self._clock_ms())
        job = Job(record, decoded.request, decoded.hop)
        self._warn_once(job)
        try:
            return await self._serve(job, OPERATIONS[job.request.operation], work)
        except BudgetClosedError as exc:
            raise WorkAbandonedError("the budget is closed") from exc
        except DeadlinePassedError:
            return self._outcomes.expired(job, self._clock_ms())
        except ScopePausedError as pause:  # do not stand in the way of other scopes
            outputs, again = self._outcomes.deferred(job, "scope_paused", pause.wait_s, self._clock_ms(), self._draw())
            self._say_again(job, again)
            return outputs

    def broken(self, record: Record, reason: str) -> Sequence[Output]:
        """See ``stream.work.Handler``."""
        return self._outcomes.broken(record, reason, self._clock_ms())

    async def _serve(self, job: Job, operation: Operation, work: Work) -> Sequence[Output]:
        while True:
            called_ms, verdict = await self._attempt(job, operation, work)
            if isinstance(verdict, AccountFault):
                self._suspend(verdict)
                continue  # nothing was done; the request waits with all others until a probe succeeds
            if isinstance(verdict, Throttled) and verdict.scope is not None:
                wait_s = min(verdict.wait_s if verdict.wait_s is not None else _BARE_THROTTLE_S, self._pause_s_max)
                log.warning("throttled", scope=verdict.scope, wait_s=wait_s)
                self._budget.pause(verdict.scope, wait_s)
            outputs, again = self._outcomes.judged(job, operation, verdict, called_ms=called_ms, now_ms=self._clock_ms(), draw=self._draw())
            self._say_again(job, again)
            return outputs

    async def _attempt(self, job: Job, operation: Operation, work: Work) -> tuple[int, Verdict]:
        """One attempt, and a moment before its call. An unsettled doubt is settled first, where the API gives a way."""
        if job.hop.doubt_ms is not None and operation.idempotency is Idempotency.RECONCILABLE:
            settled = await self._reconcile(job, work)
            if settled is not None:
                return job.hop.doubt_ms, settled
        return await self._call(build_call(job.request, job.hop), job, work)

    async def _reconcile(self, job: Job, work: Work) -> Verdict | None:
        """A verdict that settles the doubt, or None if the call has left no trace and may be made again."""
        _, listed = await self._call(list_call(job.request, job.hop), job, work)
        if not isinstance(listed, Success):
            return _of_lookup(listed)
        finding = review_list(listed.output, job.request, job.hop)
        for session_id in finding.session_ids if isinstance(finding, Inspect) else ():
            _, detail = await self._call(detail_call(session_id, job.request, job.hop), job, work)
            if isinstance(detail, Refused) and detail.http_status == HTTPStatus.NOT_FOUND:
                continue  # deleted since it was listed
            if not isinstance(detail, Success):
                return _of_lookup(detail)
            finding = adopt_inspected(detail.output, job.request) or finding
            if isinstance(finding, Adopt):
                break
        if isinstance(finding, Adopt):
            log.info("adopted", reference=_reference(job))
            return Success(finding.output)
        return None

    async def _call(self, call: HttpCall, job: Job, work: Work) -> tuple[int, Verdict]:
        permit = await self._permit(call.operation.scopes, job, work)
        fate = Fate.UNKNOWN
        called_ms = self._clock_ms()
        work.calling = True
        try:
            answer = await self._client.send(call)
            fate = _fate(answer)
        finally:
            work.calling = False
            self._budget.release(permit, fate)
        verdict = classify(call.operation, answer)
        if fate is Fate.ANSWERED and not isinstance(verdict, AccountFault):
            self._budget.resume()
        return called_ms, verdict

    async def _permit(self, scopes: tuple[str, ...], job: Job, work: Work) -> Permit:
        work.before_wait()
        call_class = CallClass.RETRY if job.hop.hop else _CLASSES[job.request.priority]
        if job.request.deadline_ms is None:
            return await self._budget.acquire(scopes, call_class)
        left_s = (job.request.deadline_ms - self._clock_ms()) / 1000
        if left_s <= 0:
            raise DeadlinePassedError
        try:
            async with asyncio.timeout(left_s):
                return await self._budget.acquire(scopes, call_class)
        except TimeoutError:
            raise DeadlinePassedError from None

    def _warn_once(self, job: Job) -> None:
        if not self._warned and job.request.operation == "session.create" and not job.request.input.get("vendor_data"):
            self._warned = True
            log.warning("vendor_data_missing", hint="Didit sees a new user for each such request; give the id of the person")

    def _suspend(self, fault: AccountFault) -> None:
        log.critical(
            "account_fault",
            code=fault.code,
            http_status=fault.http_status,
            probe_after_s=self._probe_s,
            hint="all calls are held; check the API key and the credits; work resumes by itself",
        )
        self._client.refresh_key()
        self._budget.suspend(self._probe_s)

    def _say_again(self, job: Job, again: Again | None) -> None:
        if again is None:
            return
        log.info("retry", reference=_reference(job), code=again.hop.last_error, attempt=again.hop.attempt, due_ms=again.hop.due_ms)
        if again.cut:
            log.error(
                "retry_after_cut",
                reference=_reference(job),
                due_ms=again.hop.due_ms,
                hint="Didit asked for a longer wait than VP_RETRY__RETRY_AFTER_MAX_S",
            )


def _reference(job: Job) -> str:
    return call_reference(job.request.request_id, job.hop.hop)


def _of_lookup(verdict: Verdict) -> Verdict:
    """A lookup that is refused says nothing of the create: the doubt stays, and is looked into again."""
    if isinstance(verdict, Refused | OurFault):
        return Transient("lookup_refused", verdict.http_status, None)
    return verdict


def _fate(answer: Answer) -> Fate:
    if not isinstance(answer, NoReply):
        return Fate.ANSWERED
    if not answer.sent:
        return Fate.NOT_SENT
    return Fate.UNKNOWN if answer.open else Fate.ANSWERED  # who closed the connection has counted the call, or never will
