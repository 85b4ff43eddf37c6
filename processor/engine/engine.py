"""Record in, outputs out: the only place where contract, budget, Didit and retry meet. Holds no Kafka and no HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import assert_never

import structlog

from processor.budget.permits import Budget, BudgetClosedError, Conflict, Duplicate, InDoubt, Parked, ParkedWait, Place
from processor.contract.codes import SENT_AWAY, Code, ErrorCode
from processor.contract.decode import Accepted, Rejected, decode
from processor.contract.encode import forward_output
from processor.contract.records import OnDoubt, Record, Status, call_reference
from processor.contract.times import is_past
from processor.contract.trace_context import carry_span
from processor.didit.calls import build_call, key_proof_call
from processor.didit.catalog import CANCEL, COMPOSITES, WITHOUT_CALL, Idempotency, Operation, first_call, is_polled
from processor.didit.check_traces import idempotency_of
from processor.didit.verdicts import (
    AccountFault,
    Ambiguous,
    Deferred,
    Forbidden,
    OurFault,
    Refused,
    Success,
    Throttled,
    Transient,
    Unfit,
    Unpaid,
    Verdict,
)
from processor.engine.calls import CallsDidit, DeadlinePassed, DiditCaller, Judged, NotCalled, ReadsFiles
from processor.engine.doubts import DoubtSettler, Unknowable
from processor.engine.known_answers import FindsKnownResults, KnownAnswers
from processor.engine.log_events import VendorDataHint, log_account_fault, log_conflict, log_ended, log_retry, reference
from processor.engine.outputs import Job, OutputBuilder
from processor.engine.placement import Elsewhere, NotAdmitted, Placement
from processor.engine.places import class_of, is_looked_up, place_of
from processor.engine.scope_pauses import ScopePauses
from processor.engine.session_media import SessionMedia, StoresMedia
from processor.engine.session_polling import SessionOver, SessionPolling
from processor.observe.tracing import hop_span
from processor.settings import Settings
from processor.stream.handler import NothingToPublish, Outcome, Outputs, Work, WorkAbandonedError

log = structlog.get_logger(__name__)

_PollFailure = Throttled | Deferred | Transient | Ambiguous | Forbidden | Unpaid | Refused | Unfit | OurFault
_PROOF_MS = 10_000  # a key that works so long after a refusal may be another one
_DOUBT_AWAY_S = 300.0  # no line calls in what is looked up first, however soon it has room
_HARMLESS = frozenset({Idempotency.SAFE, Idempotency.KEYED})  # calling once more does no harm, whatever became of an earlier call


class Engine:
    """Handles one record at a time, many at once; keeps nothing of one for the next."""

    def __init__(
        self,
        settings: Settings,
        client: CallsDidit,
        files: ReadsFiles,
        budget: Budget,
        *,
        clock_ms: Callable[[], int],
        draw: Callable[[], float],
        media: StoresMedia | None = None,
        known_results: FindsKnownResults | None = None,
        takes: Callable[[str], bool] = lambda _application: True,
    ) -> None:
        self._client, self._budget, self._clock_ms, self._draw = client, budget, clock_ms, draw
        self._placement, self._takes, self._copied = Placement(settings), takes, settings.lanes.copy_headers
        self._answers = KnownAnswers(known_results, settings.lanes)
        self._caller = DiditCaller(client, files, budget, clock_ms, settings.kafka.topic_prefix)
        self._media = None if media is None else SessionMedia(media, self._caller, clock_ms)
        self._probe_s = settings.budget.account_probe_s
        self._held_s = 2 * self._probe_s  # what was refused comes back behind the next probe, which is another request's then
        self._promise_ms = int(1000 * settings.promise_s_max)
        limits = {scope: limit.limit for scope, limit in settings.rate_limits.items()}
        self._scope_pauses = ScopePauses(budget, limits, settings.retry.retry_after_max_s)
        self._vendor_data_hint = VendorDataHint()
        self._key_doubts = 0  # times that the key was seen not to work, or another one was read
        self._doubts = DoubtSettler(settings, self._caller, clock_ms, self._refresh_key)
        self._outputs = OutputBuilder(settings.lanes, settings.retry)
        self._polling = SessionPolling(settings.follow, self._caller, self._outputs, clock_ms, draw)

    async def handle(self, record: Record, work: Work) -> Outcome:
        """What completes a record: a final result (with a dead letter if it failed), a retry record, or nothing for a duplicate.

        Raises:
            WorkAbandonedError: if the budget is closed.
        """
        decoded = decode(record, self._copied)
        with hop_span(record, decoded) as span:
            if (ids := span.ids) is not None:
                decoded = replace(decoded, hop=carry_span(decoded.hop, ids))
            outcome = await self._complete(record, decoded, work)
            match outcome:
                case Outputs(outputs):
                    span.ended_with(outputs)
                case NothingToPublish(reason):
                    span.ended_without(reason)
                case _:
                    assert_never(outcome)
        return outcome

    async def _complete(self, record: Record, decoded: Accepted | Rejected, work: Work) -> Outcome:
        try:
            decoded = self._placement.believed(record, decoded)
            if isinstance(decoded, Rejected):
                return await self._reject(record, decoded, work)
            return await self._complete_request(Job(record, decoded.request, decoded.hop), work)
        except BudgetClosedError as exc:
            raise WorkAbandonedError("the budget is closed") from exc

    async def _complete_request(self, job: Job, work: Work) -> Outcome:
        work.request_id = job.request.request_id
        if work.finished_before and await self._is_finished(job, work):
            return await self._answers.again(Duplicate(), job.request.request_id, job.record, job.hop, work)
        if work.ended:
            return await self._end(job, ErrorCode.ENDED_BY_HAND, work)
        if (elsewhere := await self._elsewhere(job, work)) is not None:
            # ids are of one application: a request of another one may have the id of one that was taken back here
            return await self._claim_if_expired(job, elsewhere, work)
        if work.is_cancelled(job.request.request_id):
            work.ended = True
            return await self._end(job, ErrorCode.CANCELLED, work)
        if job.request.operation == CANCEL:
            return await self._cancel(job, work)
        return await self._claim_if_expired(job, await self._work_on(job, work), work)

    async def _claim_if_expired(self, job: Job, outcome: Outcome, work: Work) -> Outcome:
        """One that has expired may have asked for no call: it says in the log that it was there, so that its id stays its own."""
        called = job.hop.session_id is not None or job.hop.doubt_ms is not None
        if called or not isinstance(outcome, Outputs) or outcome.records[0].about.status != Status.EXPIRED:
            return outcome
        return await self._end(job, ErrorCode.DEADLINE_PASSED, work)

    async def _work_on(self, job: Job, work: Work) -> Outcome:
        self._vendor_data_hint.note(job)
        if job.hop.session_id is not None and is_polled(job.request.operation):
            return await self._poll(job, job.hop.session_id, work)
        operation = first_call(job.request.operation)
        if operation.keeps_media and self._media is None:
            return await self._end(job, ErrorCode.MEDIA_DISABLED, work)
        if not work.history_truncated and (parked := self._turned_away(job, operation, work)) is not None:
            return await self._without_call(job, parked, work)
        return await self._serve(job, operation, work)

    async def _elsewhere(self, job: Job, work: Work) -> Outcome | None:
        """What completes a request that is not ours; None for one that is. The topic of another application delays no other request."""
        match self._placement.of(job.record, job.request, job.hop):
            case Elsewhere(application):
                if not self._takes(application):
                    return self._defer(job, ErrorCode.APPLICATION_UNREADY, None)
                return Outputs([forward_output(job.record, job.hop, application, job.request.operation)])
            case NotAdmitted(error):
                return await self._reject(job.record, Rejected(error, job.request.request_id, job.request.operation, job.hop), work)
            case None:
                return None
            case never:
                assert_never(never)

    async def _reject(self, record: Record, bad: Rejected, work: Work) -> Outcome:
        """Answer a record that breaks the contract, if its request id is not another record's."""
        if bad.request_id is not None:
            work.before_wait()
            prior = await self._caller.claim_rejected(record, bad, bad.request_id)
            if isinstance(prior, Duplicate | Conflict):
                return await self._not_first(record, bad, bad.request_id, prior, work)
            # a later version has called, or this one under other settings, and a redrive must know
            if isinstance(prior, InDoubt) and bad.hop.doubt_ms is None and not _only_reads(bad.operation):
                bad = replace(bad, hop=replace(bad.hop, doubt_ms=prior.since_ms))
        log.warning("rejected", source=str(record.source), code=bad.error.code)
        return Outputs(self._outputs.rejected(record, bad, self._clock_ms()))

    async def _not_first(self, record: Record, bad: Rejected, request_id: str, prior: Duplicate | Conflict, work: Work) -> Outcome:
        if isinstance(prior, Duplicate):
            return await self._answers.again(prior, request_id, record, bad.hop, work)
        log_conflict(call_reference(request_id, bad.hop.hop), record)
        return Outputs(self._outputs.rejected_conflict(record, bad, self._clock_ms()))

    async def _is_finished(self, job: Job, work: Work) -> bool:
        """Whether a former owner has finished this record, as far as the offsets do not say so. A lookup would not tell."""
        work.before_wait()
        return isinstance(await self._caller.claim(job), Duplicate)

    async def _cancel(self, job: Job, work: Work) -> Outcome:
        """Tell all replicas that a request is taken back; if it still waits, the one that holds it ends it."""
        work.before_wait()
        prior = await self._caller.claim(job)
        if isinstance(prior, Duplicate | Conflict):
            return await self._without_call(job, prior, work)
        if is_past(job.request.deadline_ms, self._clock_ms()):
            return Outputs(self._outputs.expired(job, self._clock_ms()))
        return Outputs(self._outputs.cancel_told(job, self._clock_ms()))

    async def _end(self, job: Job, code: ErrorCode, work: Work) -> Outcome:
        """End a request without a call, if its id is not another record's. What a former owner has called is not known to be undone."""
        if job.hop.settled is not None:
            return NothingToPublish("published_before")  # only later finals are looked for
        claimed = await self._claimed(job, work)
        if isinstance(claimed, Duplicate | Conflict):
            return await self._without_call(job, claimed, work)
        if code is ErrorCode.DEADLINE_PASSED:
            return Outputs(self._outputs.expired(claimed, self._clock_ms()))
        if code is ErrorCode.MEDIA_DISABLED:
            return Outputs(self._outputs.not_offered(claimed, code, self._clock_ms()))
        log_ended(claimed, code)
        build = self._outputs.cancelled if code is ErrorCode.CANCELLED else self._outputs.ended_by_hand
        return Outputs(build(claimed, self._clock_ms()))

    async def _claimed(self, job: Job, work: Work) -> Job | Duplicate | Conflict:
        """A request that ends without another call, with what earlier ones may have done; or whose id it is instead."""
        if job.hop.session_id is not None:  # its call has an answer
            return job
        reads = _only_reads(job.request.operation)
        work.before_wait()
        match await self._caller.claim(job):
            case Duplicate() | Conflict() as prior:
                return prior
            case InDoubt(since_ms) if not reads:
                return job.doubting(since_ms)
            case None if work.history_truncated and not reads and job.hop.doubt_ms is None:
                return job.doubting_since_written(self._clock_ms())
            case _:
                return job

    def park(self, record: Record, start: Callable[[], None]) -> ParkedWait | None:
        """See ``stream.handler.Handler``."""
        place = place_of(record, self._clock_ms())
        return None if place is None else self._budget.park(place, start)

    def broken(self, record: Record, reason: str) -> Outputs:
        """See ``stream.handler.Handler``."""
        return Outputs(self._outputs.broken(record, reason, self._clock_ms()))

    async def _serve(self, job: Job, operation: Operation, work: Work) -> Outcome:
        """Make the request's own call, until there is something to publish."""
        over_ms = 0  # a call of unknown fate may go on until then
        if work.history_truncated and operation.idempotency not in _HARMLESS:
            job = job.doubting_since_written(self._clock_ms())  # a former owner may have called, and nobody knows
            over_ms = self._clock_ms() + self._promise_ms
        while True:
            key_doubts = self._key_doubts
            job, answer = await self._attempt(job, operation, work, over_ms)
            match answer:
                case Judged(_, AccountFault() as fault):
                    self._account_fault(fault)  # nothing was done; the request waits with all others until a probe succeeds
                case Judged(_, Unpaid(code)):
                    return self._defer(job, code, self._held_s)
                case Judged(called_ms, Forbidden() as refusal):
                    works = refusal.key_works or (await self._key_works(job, called_ms, work) and key_doubts == self._key_doubts)
                    return self._conclude_forbidden(job, operation, refusal, called_ms, key_works=works)
                case Judged(called_ms, verdict):
                    return self._conclude(job, operation, self._doubts.unless_new(job, operation, verdict), called_ms)
                case InDoubt(since_ms, doubt_over_ms):
                    log.info("doubt", reference=reference(job), since_ms=since_ms)
                    job, over_ms = job.doubting(since_ms), max(over_ms, doubt_over_ms)
                case Unknowable():
                    return Outputs(self._outputs.unknowable(job, self._clock_ms()))
                case DeadlinePassed() | Parked() | Duplicate() | Conflict():
                    return await self._without_call(job, answer, work)
                case _:
                    assert_never(answer)

    def _turned_away(self, job: Job, operation: Operation, work: Work) -> Parked | None:
        """Of a flood nearly all meet a full line: these end here, before a call is built for them and named in the log."""
        deadline_ms, now_ms = job.request.deadline_ms, self._clock_ms()
        if job.hop.doubt_ms is not None or job.hop.last_error in SENT_AWAY:
            return None
        if deadline_ms is not None and is_past(deadline_ms, now_ms):
            return None
        call_class = class_of(job.hop, job.request.priority)
        place = Place(operation.name, operation.scopes, call_class, job.hop.came_ms(now_ms), deadline_ms, job.request.tenant)
        return self._budget.turn_away(place, aside=work.aside)

    async def _poll(self, job: Job, session_id: str, work: Work) -> Outcome:
        """Poll a verification's session. A poll that fails costs nothing and is made again, for as long as the person may take."""
        if job.hop.settled is not None:
            job = job.lasting
        while True:
            answer = await self._polling.poll(job, session_id, work)
            match answer:
                case Outputs() | NothingToPublish():
                    return answer
                case DeadlinePassed() | Parked():
                    return await self._without_call(job, answer, work)
                case SessionOver():
                    log.info("session_over", reference=reference(job))
                    return await self._serve(job.starting_over, first_call(job.request.operation), work)
                case AccountFault():
                    self._account_fault(answer)
                case _:
                    return self._poll_failed(job, answer)

    def _poll_failed(self, job: Job, verdict: _PollFailure) -> Outcome:
        """What a verification comes to whose poll did not tell the state of its session."""
        match verdict:
            case Throttled(_, wait_s):
                self._scope_pauses.note(verdict)
                return self._defer(job, ErrorCode.THROTTLED, wait_s)
            case Deferred(code, wait_s) | Transient(code, _, wait_s) | Ambiguous(code, _, wait_s):
                return self._defer(job, code, wait_s)
            case Forbidden(code) | Unpaid(code):
                if isinstance(verdict, Forbidden) and not verdict.key_works:
                    self._refresh_key()
                return self._defer(job, code, self._held_s)
            case Refused() | Unfit() | OurFault():  # the session is gone, or we call wrongly
                if job.hop.settled is not None:
                    return NothingToPublish("published_before")  # it was deleted since
                return self._conclude(job, COMPOSITES[job.request.operation].poll_call, verdict, self._clock_ms())
            case _:
                assert_never(verdict)

    async def _key_works(self, job: Job, called_ms: int, work: Work) -> bool:
        """Whether the key that was refused at ``called_ms`` may read a session; if not, it is read again."""
        proof = await self._caller.look_up(key_proof_call(job.request, job.hop), job, work)
        if isinstance(proof, Judged) and isinstance(proof.verdict, Success) and proof.called_ms - called_ms <= _PROOF_MS:
            return True
        self._key_doubts += 1  # who was refused with it, and sees it work later, was refused for the key
        self._refresh_key()
        return False

    def _conclude_forbidden(self, job: Job, operation: Operation, refusal: Forbidden, called_ms: int, *, key_works: bool) -> Outputs:
        """A 403 ends the request if the key is seen to work and the operation is not held; else the request waits."""
        if not key_works or self._budget.is_down(operation.name):
            return self._defer(job, refusal.code, self._held_s)
        return self._conclude(job, operation, Refused(refusal.code, refusal.http_status, refusal.output, None), called_ms)

    def _account_fault(self, fault: AccountFault) -> None:
        log_account_fault(fault, self._probe_s)
        self._key_doubts += 1
        self._refresh_key()

    def _refresh_key(self) -> None:
        self._key_doubts += self._client.refresh_key()

    def _conclude(self, job: Job, operation: Operation, verdict: Verdict, called_ms: int) -> Outputs:
        """What an answer comes to; not for an account fault, which is not the request's."""
        if isinstance(verdict, Throttled):
            self._scope_pauses.note(verdict)
        if isinstance(verdict, Success) and is_polled(job.request.operation):
            return self._polling.begin(job, verdict)
        now_ms, down = self._clock_ms(), self._budget.is_down(operation.name)
        outputs, again = self._outputs.judged(job, operation, verdict, called_ms=called_ms, now_ms=now_ms, draw=self._draw(), down=down)
        log_retry(job, again)
        return Outputs(outputs)

    async def _without_call(self, job: Job, answer: DeadlinePassed | Parked | Duplicate | Conflict, work: Work) -> Outcome:
        """What a request comes to that gets no permit."""
        match answer:
            case DeadlinePassed():
                return Outputs(self._outputs.expired(job, self._clock_ms()))
            case Parked(code, wait_s) if code in SENT_AWAY and is_looked_up(job.request.operation, job.hop):
                return self._defer(job, code, min(wait_s, _DOUBT_AWAY_S))
            case Parked(code, wait_s):
                return self._defer(job, code, wait_s)
            case Duplicate():
                newest = is_polled(job.request.operation)
                return await self._answers.again(answer, job.request.request_id, job.record, job.hop, work, newest=newest)
            case Conflict():
                log_conflict(reference(job), job.record)
                return Outputs(self._outputs.conflict(job, self._clock_ms()))
            case _:
                assert_never(answer)

    def _defer(self, job: Job, code: Code, wait_s: float | None) -> Outputs:
        """Put off without counting an attempt."""
        outputs, again = self._outputs.deferred(job, code, wait_s, self._clock_ms(), self._draw())
        log_retry(job, again)
        return Outputs(outputs)

    async def _attempt(self, job: Job, operation: Operation, work: Work, over_ms: int) -> tuple[Job, Judged | NotCalled | Unknowable]:
        """One attempt, and the job as it is then. An unsettled doubt is settled first, where the API gives a way."""
        settled_ms = inf if operation.idempotency in _HARMLESS else 0.0
        doubt_ms, idempotency = job.hop.doubt_ms, idempotency_of(operation, job.request)
        if doubt_ms is not None and idempotency is Idempotency.RECONCILABLE:
            looked_ms = self._clock_ms()
            found = await self._doubts.settle(job, operation, work, over_ms)
            if not isinstance(found, Job):
                return job, found
            job, settled_ms = found, self._doubts.shown_ms(found, operation, looked_ms)
        elif doubt_ms is not None and idempotency is Idempotency.SINGLE:
            repeats = job.request.on_doubt is OnDoubt.REPEAT
            if not repeats and (over_ms or not job.decided):  # an operator has insisted on one call, which ``over_ms`` tells of
                return job, Judged(doubt_ms, Ambiguous(ErrorCode.CALL_UNANSWERED, None, None))
            settled_ms = inf if repeats else 0.0
        called = await self._caller.call(build_call(operation, job.request, job.hop), job, work, settled_ms=settled_ms)
        if operation.keeps_media and self._media is not None:
            called = await self._media.kept(job, operation, called, work)
        return job, called


def _only_reads(name: str | None) -> bool:
    """Whether an operation leaves no doubt, whatever became of its calls."""
    return name is not None and (name in WITHOUT_CALL or first_call(name).idempotency is Idempotency.SAFE)
