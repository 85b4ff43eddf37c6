"""A dead letter from its record, and the hop under which it is redriven. Pure."""

from __future__ import annotations

from dataclasses import replace

from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.dead_letters import UNKNOWN, Reason, read_hop_left, read_identity, read_reason
from processor.contract.records import Hop, Record
from processor.contract.times import written_since_ms
from processor.didit.catalog import Idempotency, Operation, next_call
from processor.repair.model import DeadLetter

_BY_AN_ATTEMPT = frozenset({ErrorType.REQUEST_REFUSED, ErrorType.OUR_FAULT, ErrorType.EXHAUSTED})  # and not before it
_AFTER_A_CALL = frozenset({ErrorType.IN_DOUBT, ErrorType.OUTPUT_TOO_LARGE, ErrorType.INTERNAL, UNKNOWN})  # the answer had come, or may have


def dead_letter_of(record: Record) -> DeadLetter:
    """What is known of a record of the dead-letter topic. Never raises, whatever the bytes."""
    reason, identity, hop = read_reason(record), read_identity(record), read_hop_left(record)
    return DeadLetter(
        partition=record.source.partition,
        offset=record.source.offset,
        failed_ms=reason.failed_ms,
        request_id=identity.request_id,
        operation=identity.operation,
        reason_type=reason.type,
        reason_code=reason.code,
        reason_message=reason.message,
        reason_field=reason.field,
        http_status=reason.http_status,
        hop=hop,
        attempts=_attempts_before_0_2_0(reason, hop) if reason.attempts is None else reason.attempts,
        came_from=reason.came_from,
        key_digest=reason.key_digest,
        size_bytes=reason.size_bytes,
        cut=reason.cut,
        deadline_ms=identity.deadline_ms,
    )


def _attempts_before_0_2_0(reason: Reason, hop: Hop) -> int:
    """Of a dead letter that has only those before the one that ended it: whether there was one is seen by the reason."""
    answered = reason.http_status is not None or reason.type in _BY_AN_ATTEMPT
    return hop.attempt + (answered and reason.code != ErrorCode.ENDED_BY_HAND)


def call_of(dead_letter: DeadLetter) -> Operation | None:
    """The call that a redrive of this dead letter begins with, if any."""
    return next_call(dead_letter.operation, polled=dead_letter.hop.session_id is not None)


def may_be_billed_again(dead_letter: DeadLetter) -> bool:
    """Whether an earlier call may have acted and a redrive cannot find out, so that a second one may be paid for.

    Reading costs nothing, a call with an Idempotency-Key is answered from the first one, and a creation is looked up before it is
    made again: those are redriven as safely as a processor tries them again by itself. A check is looked up too, and made again if
    that does not tell.
    """
    operation = call_of(dead_letter)
    return operation is not None and operation.bills_each_call and _may_have_acted(dead_letter)


def redriven_hop(dead_letter: DeadLetter, due_ms: int) -> Hop:
    """The hop of a new round: what led here is kept, attempts begin again.

    A doubt is kept where it can be looked up, so that the call of the earlier round is found; where there is no way to know, the
    operator has decided to call again.
    """
    hop, operation = dead_letter.hop, call_of(dead_letter)
    doubt_ms = hop.doubt_ms
    if operation is not None and operation.idempotency is Idempotency.SINGLE:
        doubt_ms = None
    elif operation is not None and operation.idempotency is Idempotency.RECONCILABLE and doubt_ms is None and _may_have_acted(dead_letter):
        doubt_ms = written_since_ms(hop.first_ms, dead_letter.failed_ms)
    return replace(hop, hop=hop.hop + 1, attempt=0, replay=hop.replay + 1, due_ms=due_ms, last_error=ErrorCode.REDRIVEN, doubt_ms=doubt_ms)


def call_over_ms(dead_letter: DeadLetter, now_ms: int, promise_ms: int) -> int:
    """Until then an earlier creation may still come about, so that it could not be looked up: a redrive starts no sooner. Epoch ms."""
    operation = call_of(dead_letter)
    if operation is None or operation.idempotency is not Idempotency.RECONCILABLE or not _may_have_acted(dead_letter):
        return 0
    return min(dead_letter.failed_ms, now_ms) + promise_ms


def _may_have_acted(dead_letter: DeadLetter) -> bool:
    return dead_letter.hop.doubt_ms is not None or dead_letter.reason_type in _AFTER_A_CALL
