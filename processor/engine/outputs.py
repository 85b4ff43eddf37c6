"""What becomes of a request: outputs from verdicts. Pure: no clock, no draw, no I/O of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from processor.contract.codes import Code, ErrorCode, ErrorType, http_code
from processor.contract.decode import Accepted, Rejected, decode
from processor.contract.encode import dead_letter_output, result_output, retry_output
from processor.contract.records import (
    ErrorInfo,
    Hop,
    OnDoubt,
    Output,
    OutputKind,
    Record,
    Request,
    Result,
    ResultKind,
    Status,
    call_reference,
)
from processor.contract.times import written_since_ms
from processor.contract.trace_context import result_trace
from processor.contract.values import value
from processor.didit.catalog import Idempotency, Operation
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
    is_not_found,
)
from processor.retry.policy import Again, delay_topic_s, next_attempt
from processor.settings import LaneSettings, RetrySettings
from processor.stream.cancels import encode_cancel
from processor.stream.handler import OUTPUT_TOO_LARGE

_KEY_AND_HEADERS_BYTES = 98_304
# what Didit has answered to a call that is put off, where that is no 429; None: nothing, or not to the request's own call
_DEFERRED_AT: Mapping[Code, int | None] = {ErrorCode.DOUBT_SETTLING: None, ErrorCode.KEY_IN_USE: 409, ErrorCode.SESSION_MISSING: 404}


@value(frozen=True, slots=True)
class Job:
    """A decoded record."""

    record: Record
    request: Request
    hop: Hop

    def doubting(self, since_ms: int) -> Job:
        """The same, with a call of unknown fate made at or after a moment (epoch ms); an earlier doubt stays."""
        doubt_ms = since_ms if self.hop.doubt_ms is None else min(since_ms, self.hop.doubt_ms)
        return replace(self, hop=replace(self.hop, doubt_ms=doubt_ms))

    def doubting_since_written(self, now_ms: int) -> Job:
        """The same, with a call of unknown fate made at any time since its record was written; ``now_ms``: it is there by then."""
        return self.doubting(written_since_ms(self.record.timestamp_ms, now_ms))

    @property
    def settled(self) -> Job:
        """The same without a doubt: the call was looked for when it could be under way no more, and was not made."""
        return replace(self, hop=replace(self.hop, doubt_ms=None))

    @property
    def decided(self) -> bool:
        """Whether a call that may have been made is made again: its caller says so, or an operator by this round."""
        return self.request.on_doubt is OnDoubt.REPEAT or (self.hop.replay > 0 and not self.hop.attempt)

    @property
    def newly_redriven(self) -> bool:
        """Whether this is the first step of a round that an operator gave it."""
        return self.hop.last_error == ErrorCode.REDRIVEN

    @property
    def starting_over(self) -> Job:
        """The same, without the session that it had."""
        return replace(self, hop=replace(self.hop, session_id=None, polls=0, settled=None, settled_ms=None))

    @property
    def lasting(self) -> Job:
        """The same without its deadline, which was kept when its first final result was published."""
        return replace(self, request=replace(self.request, deadline_ms=None))


class OutputBuilder:
    """Builds outputs under the limits and the retry policy of one configuration."""

    def __init__(self, lanes: LaneSettings, policy: RetrySettings) -> None:
        self._lanes, self._policy = lanes, policy

    def rejected(self, record: Record, bad: Rejected, now_ms: int) -> list[Output]:
        """A record that breaks the contract: final result and dead letter, no call; unless an earlier one may have acted."""
        if bad.hop.doubt_ms is not None and bad.hop.session_id is None:
            return self._refused(record, bad, Status.IN_DOUBT, _error(ErrorType.IN_DOUBT, ErrorCode.CALL_UNANSWERED), now_ms)
        return self._refused(record, bad, Status.REJECTED, bad.error, now_ms)

    def rejected_conflict(self, record: Record, bad: Rejected, now_ms: int) -> list[Output]:
        """The same for one whose request id is another record's: said under its own position, as ``conflict``."""
        return self._refused(record, bad, Status.CONFLICT, _REUSED, now_ms)

    def _refused(self, record: Record, bad: Rejected, status: Status, error: ErrorInfo, now_ms: int) -> list[Output]:
        hop = bad.hop
        result = Result(bad.request_id, bad.operation, status, hop.first, hop.attempt, hop.first_ms, now_ms, error=error, replay=hop.replay)
        return [self._result(result, hop), self._dead_letter(record, hop, error, now_ms, hop.attempt)]

    def not_offered(self, job: Job, code: ErrorCode, now_ms: int) -> list[Output]:
        """This installation is not set up for the operation: final result and dead letter, no call."""
        return self._ended(job, Status.REJECTED, ErrorInfo(ErrorType.INVALID_REQUEST, code, code.message, field="operation"), now_ms)

    def expired(self, job: Job, now_ms: int) -> list[Output]:
        """The caller's deadline passed: a final result, and nothing to redrive; unless an earlier call may have acted."""
        if job.hop.doubt_ms is not None:
            return self._ended(job, Status.IN_DOUBT, _error(ErrorType.IN_DOUBT, ErrorCode.DEADLINE_PASSED), now_ms)
        return [self._final(job, Status.EXPIRED, _expired(ErrorCode.DEADLINE_PASSED), now_ms)]

    def ended_by_hand(self, job: Job, now_ms: int) -> list[Output]:
        """An operator ends a waiting request: a final result and a dead letter, in doubt if an earlier call may have acted."""
        if job.hop.doubt_ms is not None:
            return self._ended(job, Status.IN_DOUBT, _error(ErrorType.IN_DOUBT, ErrorCode.ENDED_BY_HAND), now_ms)
        return self._ended(job, Status.FAILED, _error(ErrorType.EXHAUSTED, ErrorCode.ENDED_BY_HAND), now_ms)

    def cancelled(self, job: Job, now_ms: int) -> list[Output]:
        """A waiting request was taken back: a final result, in doubt if an earlier call may have acted. Nothing of it is to be redriven."""
        doubt = job.hop.doubt_ms is not None
        error = _error(ErrorType.IN_DOUBT if doubt else ErrorType.CANCELLED, ErrorCode.CANCELLED)
        return self._ended(job, Status.IN_DOUBT if doubt else Status.FAILED, error, now_ms, dead_letter=False)

    def cancel_told(self, job: Job, now_ms: int) -> list[Output]:
        """A request of operation ``cancel``: what every replica reads, and its own final result, in one transaction."""
        target = str(job.request.input["request_id"])
        run_id = call_reference(job.request.request_id, 0).partition(".")[0]
        told = Output(OutputKind.REPAIR, None, encode_cancel([target], run_id=run_id, at_ms=now_ms, by="caller"))
        return [told, self._final(job, Status.SUCCEEDED, None, now_ms, output={"request_id": target})]

    def unknowable(self, job: Job, now_ms: int, later: Refused | OurFault | Unfit | None = None) -> list[Output]:
        """A billed call may have been made, and cannot be looked up. ``later``: why another one came to nothing, if so."""
        status, output = None if later is None or isinstance(later, Unfit) else later.http_status, None
        if isinstance(later, Refused):
            output = later.output
        error = _error(ErrorType.IN_DOUBT, ErrorCode.CALL_UNANSWERED, status)
        return self._ended(job, Status.IN_DOUBT, error, now_ms, called=int(status is not None), output=output)

    def conflict(self, job: Job, now_ms: int) -> list[Output]:
        """Another record has asked for the same request id with another content: said under this record's own position."""
        return self._ended(job, Status.CONFLICT, _REUSED, now_ms)

    def deferred(self, job: Job, code: Code, floor_s: float | None, now_ms: int, draw: float) -> tuple[list[Output], Again | None]:
        """Put off without counting an attempt; also says how, for the log."""
        return self._again(job, code, now_ms, draw, counted=False, floor_s=floor_s, doubt_ms=None, http_status=None)

    def judged(
        self, job: Job, operation: Operation, verdict: Verdict, *, called_ms: int, now_ms: int, draw: float, down: bool = False
    ) -> tuple[list[Output], Again | None]:
        """The outputs of a verdict, and the retry among them, if any.

        Args:
            job: what was called.
            operation: its row in the catalogue.
            verdict: what the answer means; an ``AccountFault`` or ``Unpaid`` is not the request's and has no outcome, and a
                ``Forbidden`` has none until it is known whose it is.
            called_ms: a moment before the call left, epoch ms.
            now_ms: epoch ms.
            draw: 0 <= draw < 1, for the jitter.
            down: the endpoint is known not to work; no attempt is counted for that.

        Raises:
            ValueError: for one of those.
        """
        verdict = _of_this_request(job, operation, verdict)
        if isinstance(verdict, Refused | Unfit | OurFault):
            return self._not_taken(job, operation, verdict, now_ms), None
        match verdict:
            case Success(output):
                return self._succeeded(job, output, now_ms), None
            case Deferred(code, wait_s):
                answered = _DEFERRED_AT.get(code, 429)
                return self._again(job, code, now_ms, draw, counted=False, floor_s=wait_s, doubt_ms=None, http_status=answered)
            case Transient(code, status, wait_s, sent):
                return self._again(job, code, now_ms, draw, counted=sent and not down, floor_s=wait_s, doubt_ms=None, http_status=status)
            case Ambiguous(code, status, wait_s):
                if idempotency_of(operation, job.request) is Idempotency.SINGLE and job.request.on_doubt is OnDoubt.FAIL:
                    doubtful = job.doubting(called_ms)
                    return self._ended(doubtful, Status.IN_DOUBT, _error(ErrorType.IN_DOUBT, code, status), now_ms, called=1), None
                return self._again(job, code, now_ms, draw, counted=not down, floor_s=wait_s, doubt_ms=called_ms, http_status=status)
            case AccountFault() | Unpaid() | Forbidden() | Throttled():
                raise ValueError(f"{type(verdict).__name__} is not the request's")
            case _:
                assert_never(verdict)

    def _not_taken(self, job: Job, operation: Operation, verdict: Refused | Unfit | OurFault, now_ms: int) -> list[Output]:
        kept = operation.trace is not None or idempotency_of(operation, job.request) is Idempotency.SINGLE  # else a lookup has settled it
        if job.hop.doubt_ms is not None and kept:
            return self.unknowable(job, now_ms, verdict)  # it was wanted again, and this says nothing of the earlier call
        match verdict:
            case Refused(code, status, output, field, dead_letter):
                error = _error(ErrorType.REQUEST_REFUSED, code, status, field)
                return self._ended(job, Status.FAILED, error, now_ms, called=1, output=output, dead_letter=dead_letter)
            case Unfit(code, field, hint):
                return self._ended(job, Status.REJECTED, ErrorInfo(ErrorType.INVALID_REQUEST, code, hint, None, field), now_ms)
            case OurFault(code, status):
                return self._ended(job, Status.FAILED, _error(ErrorType.OUR_FAULT, code, status), now_ms, called=1)
            case _:
                assert_never(verdict)

    def begun(self, job: Job, output: dict[str, Any], wait_s: float, now_ms: int) -> list[Output]:
        """A session was created: its link for the caller at once, and a record that waits for the person."""
        hop = replace(job.hop, attempt=job.hop.attempt + 1, session_id=str(output["session_id"]), doubt_ms=None, first_failure_ms=None)
        hop = replace(hop, first_ms=job.hop.came_ms(now_ms))  # from here on the session's time counts, which ends some day
        progress = self._final(replace(job, hop=hop), Status.WAITING, None, now_ms, output=output, kind=ResultKind.PROGRESS)
        if progress.size_bytes > self._lanes.output_bytes_max:
            return self._ended(job, Status.FAILED, _TOO_LARGE, now_ms, called=1)
        return [progress, self._poll_later(replace(job, hop=hop), wait_s, now_ms)]

    def polled(self, job: Job, wait_s: float, now_ms: int) -> list[Output]:
        """The person is not done; look again later."""
        return [self._poll_later(replace(job, hop=replace(job.hop, polls=job.hop.polls + 1, first_failure_ms=None)), wait_s, now_ms)]

    def missing(self, job: Job, since_ms: int, wait_s: float, now_ms: int) -> list[Output]:
        """Didit has not shown the session since ``since_ms`` (epoch ms); look again later."""
        hop = replace(job.hop, first_failure_ms=since_ms)
        return [self._poll_later(replace(job, hop=hop), wait_s, now_ms, ErrorCode.SESSION_MISSING)]

    def settled(self, job: Job, output: Any, code: ErrorCode | None, now_ms: int) -> list[Output]:
        """The person is done, or out of time: the final result of a verification. ``code`` is None for a decision."""
        version = job.hop.polls if job.hop.settled is not None else 0
        if code is None:
            return self._succeeded(job, output, now_ms, called=0, version=version)
        return [self._final(job, Status.EXPIRED, _expired(code), now_ms, output=output, version=version)]

    def poll_again(self, job: Job, settled: str, wait_s: float, now_ms: int) -> Output:
        """It is settled, and may change: look again later."""
        since_ms = now_ms if job.hop.settled_ms is None else job.hop.settled_ms
        hop = replace(job.hop, polls=job.hop.polls + 1, settled=settled, settled_ms=since_ms, first_failure_ms=None)
        return self._poll_later(replace(job, hop=hop), wait_s, now_ms)

    def _poll_later(self, job: Job, wait_s: float, now_ms: int, code: ErrorCode | None = None) -> Output:
        due_ms = now_ms + math.ceil(wait_s * 1000)
        if job.request.deadline_ms is not None:
            due_ms = max(now_ms, min(due_ms, job.request.deadline_ms))  # one last look
        hop = replace(job.hop, hop=job.hop.hop + 1, due_ms=due_ms, last_error=code)
        return retry_output(job.record, hop, delay_topic_s((due_ms - now_ms) / 1000, self._policy.delays_s))

    def broken(self, record: Record, reason: str, now_ms: int) -> list[Output]:
        """A record on which the processor itself failed: still one final result and a dead letter."""
        error = _TOO_LARGE if reason == OUTPUT_TOO_LARGE else _error(ErrorType.INTERNAL, ErrorCode.INTERNAL_ERROR)
        decoded = decode(record, self._lanes.copy_headers)
        if isinstance(decoded, Accepted):
            return self._ended(Job(record, decoded.request, decoded.hop), Status.FAILED, error, now_ms)
        return self.rejected(record, replace(decoded, error=error), now_ms)

    def _succeeded(self, job: Job, output: object, now_ms: int, called: int = 1, version: int = 0) -> list[Output]:
        out = self._final(job, Status.SUCCEEDED, None, now_ms, called=called, output=output, version=version)
        if out.size_bytes > self._lanes.output_bytes_max:
            return self._ended(job, Status.FAILED, _TOO_LARGE, now_ms, called=called)
        return [out]

    def _again(
        self,
        job: Job,
        code: Code,
        now_ms: int,
        draw: float,
        *,
        counted: bool,
        floor_s: float | None,
        doubt_ms: int | None,
        http_status: int | None,
    ) -> tuple[list[Output], Again | None]:
        step = next_attempt(
            job.hop,
            error_code=code,
            counted=counted,
            floor_s=floor_s,
            doubt_ms=doubt_ms,
            now_ms=now_ms,
            draw=draw,
            deadline_ms=job.request.deadline_ms,
            policy=self._policy,
        )
        if isinstance(step, Again):
            return [retry_output(job.record, step.hop, step.delay_s, counted=counted)], step
        called = 1 if counted else 0
        if doubt_ms is not None:
            job = job.doubting(doubt_ms)  # the dead letter says so too: who redrives it looks the call up first
        if job.hop.doubt_ms is not None:
            return self._ended(job, Status.IN_DOUBT, _error(ErrorType.IN_DOUBT, code, http_status), now_ms, called=called), None
        if step.deadline_passed:
            return self.expired(job, now_ms), None
        return self._ended(job, Status.FAILED, _error(ErrorType.EXHAUSTED, code, http_status), now_ms, called=called), None

    def _ended(
        self,
        job: Job,
        status: Status,
        error: ErrorInfo,
        now_ms: int,
        *,
        called: int = 0,
        output: object = None,
        dead_letter: bool = True,
    ) -> list[Output]:
        outputs = [self._final(job, status, error, now_ms, called=called, output=output)]
        if dead_letter:
            outputs.append(self._dead_letter(job.record, job.hop, error, now_ms, job.hop.attempt + called))
        return outputs

    def _final(
        self,
        job: Job,
        status: Status,
        error: ErrorInfo | None,
        now_ms: int,
        *,
        called: int = 0,
        output: object = None,
        kind: ResultKind = ResultKind.FINAL,
        version: int = 0,
    ) -> Output:
        hop, request = job.hop, job.request
        result = Result(
            request.request_id,
            request.operation,
            status,
            hop.first,
            hop.attempt + called,
            hop.first_ms,
            now_ms,
            output=output,
            error=error,
            kind=kind,
            version=version,
            replay=hop.replay,
        )
        return self._result(result, hop)

    def _result(self, result: Result, hop: Hop) -> Output:
        return result_output(result, (*result_trace(hop), *hop.copied), cloudevents_source=self._lanes.cloudevents_source)

    def _dead_letter(self, record: Record, hop: Hop, error: ErrorInfo, now_ms: int, attempts: int) -> Output:
        room, dialects = self._lanes.output_bytes_max - _KEY_AND_HEADERS_BYTES, self._lanes.dead_letter_headers
        return dead_letter_output(record, hop, error, attempts=attempts, failed_ms=now_ms, value_bytes_max=room, dialects=dialects)


def _of_this_request(job: Job, operation: Operation, verdict: Verdict) -> Verdict:
    """What a verdict means for this request alone."""
    if isinstance(verdict, Throttled):
        return Deferred(ErrorCode.THROTTLED, verdict.wait_s)
    gone = operation.name == "session.delete" and is_not_found(verdict)
    if gone and job.hop.attempt:  # an earlier attempt has deleted it, and its answer was lost
        return Success(None)
    if isinstance(verdict, Refused) and verdict.code == ErrorCode.ALREADY_EXISTS and job.hop.doubt_ms is not None:
        return Ambiguous(http_code(verdict.http_status), verdict.http_status, None)  # perhaps by the earlier call: looked up again
    return verdict


def _error(kind: ErrorType, code: Code, http_status: int | None = None, field: str | None = None) -> ErrorInfo:
    # to correct the request and ask again is wrong for what is there already, or for a person who is blocked: such a code says what to do
    told = code.message if kind is ErrorType.REQUEST_REFUSED and isinstance(code, ErrorCode) else kind.message
    return ErrorInfo(kind, code, told, http_status, field)


def _expired(code: ErrorCode) -> ErrorInfo:
    return ErrorInfo(ErrorType.EXPIRED, code, code.message)


_REUSED = _error(ErrorType.CONFLICT, ErrorCode.REQUEST_ID_REUSED, field="request_id")
_TOO_LARGE = _error(ErrorType.OUTPUT_TOO_LARGE, ErrorCode.OUTPUT_TOO_LARGE)
