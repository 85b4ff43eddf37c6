"""One call under a permit: the seam between the budget and Didit."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache
from math import inf
from typing import Protocol

from processor.bounds.byte_budget import ByteReservation
from processor.budget.permits import (
    NOT_SENT,
    Acquired,
    Ask,
    Budget,
    CallClass,
    CallIdentity,
    Conflict,
    Duplicate,
    Ending,
    Fate,
    HealthSignal,
    InDoubt,
    NoPermit,
    Parked,
    Permit,
)
from processor.clock import boot_clock
from processor.contract.codes import SENT_AWAY, ErrorCode
from processor.contract.decode import Rejected
from processor.contract.digests import content_digest, rejected_digest, request_digest, source_digest
from processor.contract.records import Hop, Record
from processor.contract.values import value
from processor.didit import retry_after
from processor.didit.answers import Answer, NoReply, Reply
from processor.didit.calls import FileContent, FilePart, HttpCall
from processor.didit.catalog import Idempotency
from processor.didit.verdicts import (
    AccountFault,
    Ambiguous,
    Deferred,
    Forbidden,
    Success,
    Throttled,
    Transient,
    Unfit,
    Unpaid,
    Verdict,
    classify,
)
from processor.engine.outputs import Job
from processor.engine.places import class_of
from processor.files.rules import FileError
from processor.observe import metrics
from processor.observe.tracing import CallSpan, call_span
from processor.stream.handler import Work

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SERVER_FAULT = 500  # RFC 9110, 15.6
_SERVER_TIMEOUTS = frozenset({408, 425})
_BARE_THROTTLE_S = 5.0
_CUT_SHORT = Ending(Fate.UNKNOWN)  # as long as nothing has come back
_CLASS_NAMES = {call_class: call_class.name.lower() for call_class in CallClass}  # of metrics


class CallsDidit(Protocol):
    """The HTTP edge, as it is needed here."""

    async def send(self, call: HttpCall, files: Sequence[FileContent] = ()) -> Answer:
        """Make one call. Never raises except CancelledError."""
        ...

    def refresh_key(self) -> bool:
        """Read the API key again; whether it is another one."""
        ...


class ReadsFiles(Protocol):
    """Reads the files that a call names."""

    @property
    def longest_s(self) -> float:
        """Reading one file takes no longer."""
        ...

    def reservation(self) -> AbstractContextManager[ByteReservation]:
        """What the files of one call hold; to be left when they are sent."""
        ...

    async def fetch(self, parts: Sequence[FilePart], held: ByteReservation) -> list[FileContent]:
        """The files of a call.

        Raises:
            FileError: if one cannot be sent.
        """
        ...


@value(frozen=True, slots=True)
class DeadlinePassed:
    """The caller's deadline came while the request waited for a permit."""


@value(frozen=True, slots=True)
class Judged:
    """What a call came to."""

    called_ms: int  # a moment before it left, epoch ms
    verdict: Verdict


NotCalled = DeadlinePassed | NoPermit


class DiditCaller:
    """Makes calls; keeps nothing of one for the next."""

    def __init__(
        self,
        client: CallsDidit,
        files: ReadsFiles,
        budget: Budget,
        clock_ms: Callable[[], int],
        installation: str,
        steady: Callable[[], float] = boot_clock,
    ) -> None:
        self._client, self._files, self._budget, self._clock_ms, self._steady = client, files, budget, clock_ms, steady
        self._installation = installation  # prefix of its topics

    async def call(self, call: HttpCall, job: Job, work: Work, *, settled_ms: float) -> Judged | NotCalled:
        """Wait for a permit, make the request's own call, and judge the answer. The journal notes it.

        Args:
            call: what to send.
            job: for whom.
            work: told when an interruption would leave the fate of the call unknown.
            settled_ms: earlier calls of unknown fate that were over by then (epoch ms) are no obstacle.

        Raises:
            BudgetClosedError: no call was made.
        """
        return await self._call(
            call, self._ask(call, job, class_of(job.hop, job.request.priority), self._identity(job), settled_ms), job, work
        )

    async def claim(self, job: Job) -> Duplicate | Conflict | InDoubt | None:
        """Note a request that ends without a call; what earlier ones mean for it, see ``permits.Budget.claim``.

        Raises:
            BudgetClosedError: it could not be noted.
        """
        return await self._budget.claim(self._identity(job))

    async def claim_rejected(self, record: Record, bad: Rejected, request_id: str) -> Duplicate | Conflict | InDoubt | None:
        """The same for a request that cannot be read: its bytes stand for its content.

        Raises:
            BudgetClosedError: it could not be noted.
        """
        content = rejected_digest(request_id, record.value, f"{bad.error.code} {bad.error.field}")
        return await self._budget.claim(self._identity_of(record, bad.hop, request_id, content))

    def _identity(self, job: Job) -> CallIdentity:
        return self._identity_of(job.record, job.hop, job.request.request_id, content_digest(job.request))

    def _identity_of(self, record: Record, hop: Hop, request_id: str, content: str) -> CallIdentity:
        at, request = record.source, request_digest(self._installation, request_id)
        return CallIdentity(request, content, source_digest(hop.first), at.lane, at.offset, hop.replay)

    async def look_up(
        self, call: HttpCall, job: Job, work: Work, *, call_class: CallClass | None = None, since_ms: int | None = None
    ) -> Judged | DeadlinePassed | Parked:
        """The same for a call that only reads, so that the journal need not know of it.

        Args:
            call: what to send.
            job: for whom.
            work: told when an interruption would leave the fate of the call unknown.
            call_class: for the order of asks; None for the one of the request.
            since_ms: the same within a class, epoch ms; None for the arrival of the request.

        Raises:
            BudgetClosedError: no call was made.
        """
        ask = self._ask(call, job, class_of(job.hop, job.request.priority) if call_class is None else call_class, None, inf)
        called = await self._call(call, ask if since_ms is None else replace(ask, since_ms=since_ms), job, work)
        if isinstance(called, Judged | DeadlinePassed | Parked):
            return called
        raise TypeError(f"a call without an identity cannot be a {type(called).__name__}")

    def _ask(self, call: HttpCall, job: Job, call_class: CallClass, identity: CallIdentity | None, settled_ms: float) -> Ask:
        operation = call.operation
        return Ask(
            operation.name,
            operation.scopes,
            call_class,
            job.hop.came_ms(self._clock_ms()),
            identity,
            operation.timeout_s + len(call.files) * self._files.longest_s,
            returning=job.hop.last_error in SENT_AWAY,
            announced=operation.bills_each_call,
            waits_announced=operation.idempotency is Idempotency.RECONCILABLE,
            settled_ms=settled_ms,
            tenant=job.request.tenant,
        )

    async def _call(self, call: HttpCall, ask: Ask, job: Job, work: Work) -> Judged | NotCalled:
        operation = call.operation
        with call_span(operation.name, operation.method, operation.path) as span:
            judged = None
            while judged is None:  # an operator has paused the operation before its call left: the next permit waits for that
                permit = await self._permit(ask, job, work)
                if not isinstance(permit, Permit):
                    span.refused(type(permit).__name__)
                    return permit
                span.permitted()
                judged = await self._call_once(call, permit, work, span)
            span.judged(type(judged.verdict).__name__, good=isinstance(judged.verdict, Success))
        count_answer(operation.name, judged.verdict)
        return judged

    async def _call_once(self, call: HttpCall, permit: Permit, work: Work, span: CallSpan) -> Judged | None:
        """None: it did not leave, because the operation is paused."""
        ending, called_ms = NOT_SENT, self._clock_ms()
        verdict: Verdict
        try:
            with self._files.reservation() as held:
                files = await self._files.fetch(call.files, held) if call.files else ()
                work.before_wait()
                if self._budget.is_paused(permit.ask.endpoint):
                    return None
                if self._steady() > permit.start_by + len(call.files) * self._files.longest_s:  # the process stood still meanwhile
                    return Judged(called_ms, Transient(ErrorCode.CALL_NOT_SENT, None, None, sent=False))
                ending, work.calling = _CUT_SHORT, True
                answer = await self._send(call, files, permit.ask)
            span.answered(answer.status if isinstance(answer, Reply) else None)
            if isinstance(answer, Reply) and retry_after.is_unusable(answer.headers):
                metrics.RETRY_AFTER_UNUSABLE.labels(call.operation.name).inc()
            verdict = classify(call.operation, answer)
            ending = ending_of(answer, verdict)
        except FileError as fault:
            verdict = Unfit(fault.code, f"input.{fault.field}", fault.hint) if fault.lasting else Transient(fault.code, None, None)
        finally:
            work.calling = False
            self._budget.release(permit, ending)
        return Judged(called_ms, verdict)

    async def _send(self, call: HttpCall, files: Sequence[FileContent], ask: Ask) -> Answer:
        count_call(ask)
        began = time.monotonic()
        metrics.CALLS_IN_FLIGHT.inc()
        try:
            answer = await self._client.send(call, files)
        finally:
            metrics.CALLS_IN_FLIGHT.dec()
        metrics.CALL_TIME.labels(ask.endpoint).observe(time.monotonic() - began)
        return answer

    async def _permit(self, ask: Ask, job: Job, work: Work) -> Acquired | DeadlinePassed:
        began = time.monotonic()
        try:
            return await self._wait_permit(ask, job, work)
        finally:
            metrics.PERMIT_WAIT.labels(_CLASS_NAMES[ask.call_class]).observe(time.monotonic() - began)

    async def _wait_permit(self, ask: Ask, job: Job, work: Work) -> Acquired | DeadlinePassed:
        work.before_wait()
        if job.request.deadline_ms is None:
            return await self._budget.acquire(ask)
        left_s = (job.request.deadline_ms - self._clock_ms()) / 1000
        if left_s <= 0:
            return DeadlinePassed()
        try:
            async with asyncio.timeout(left_s):
                return await self._budget.acquire(ask)
        except TimeoutError:
            return DeadlinePassed()


def count_answer(operation: str, verdict: Verdict) -> None:
    """What an answer meant."""
    metrics.ANSWERS.labels(operation, _snake(type(verdict).__name__)).inc()
    if isinstance(verdict, Throttled):
        for scope in verdict.scopes:
            metrics.THROTTLED.labels("rate_limit", scope).inc()
    elif isinstance(verdict, Deferred):
        metrics.THROTTLED.labels("request", "").inc()


@cache
def _snake(name: str) -> str:
    return _WORD.sub("_", name).lower()


def count_call(ask: Ask) -> None:
    """A call that leaves, or may leave, in every scope that it counts in."""
    for scope in ask.scopes:
        metrics.CALLS.labels(scope, _CLASS_NAMES[ask.call_class]).inc()


def throttle_s(throttled: Throttled, longest_s: float) -> float:
    """For how long a rate-limit 429 holds its scopes up, also one that names no time; ``longest_s`` at most."""
    return min(_BARE_THROTTLE_S if throttled.wait_s is None else throttled.wait_s, longest_s)


def ending_of(answer: Answer, verdict: Verdict) -> Ending:
    """What the end of a call tells the budget."""
    if isinstance(answer, NoReply):
        if not answer.sent:
            return Ending(NOT_SENT.fate, HealthSignal.BAD)
        # who closed the connection has counted the call, or never will
        return Ending(Fate.UNKNOWN if answer.open else Fate.ANSWERED, HealthSignal.BAD, acted=isinstance(verdict, Ambiguous))
    return Ending(Fate.ANSWERED, _health(answer, verdict), acted=isinstance(verdict, Success | Ambiguous))


def _health(reply: Reply, verdict: Verdict) -> HealthSignal:
    match verdict:
        case AccountFault():
            return HealthSignal.ACCOUNT
        case Unpaid():
            return HealthSignal.UNPAID
        case Forbidden(key_works=key_works):
            return HealthSignal.FORBIDDEN if key_works else HealthSignal.DENIED
        case _:
            firewall = isinstance(verdict, Transient) and verdict.code == ErrorCode.FIREWALL_REFUSED
            bad = firewall or reply.status >= _SERVER_FAULT or reply.status in _SERVER_TIMEOUTS
            return HealthSignal.BAD if bad else HealthSignal.GOOD
