"""Log lines of the engine that several of its decisions share."""

from __future__ import annotations

import structlog

from processor.contract.codes import ErrorCode
from processor.contract.records import Record, call_reference
from processor.didit.catalog import OPERATIONS, first_call
from processor.didit.verdicts import AccountFault
from processor.engine.outputs import Job
from processor.observe import metrics
from processor.retry.policy import Again

log = structlog.get_logger(__name__)


def reference(job: Job) -> str:
    """What stands for a request in logs."""
    return call_reference(job.request.request_id, job.hop.hop)


def log_account_fault(fault: AccountFault, probe_s: float) -> None:
    """Didit refuses the key, its application or the contract."""
    log.critical(
        "account_fault",
        code=fault.code,
        http_status=fault.http_status,
        probe_after_s=probe_s,
        hint="all calls are held; check the API key, its application and the contract; work resumes by itself",
    )


def log_retry(job: Job, again: Again | None) -> None:
    """A request waits for its next attempt; None: it does not. Of a flood that meets a full line nobody wants a line each."""
    if again is None or again.hop.last_error == ErrorCode.QUEUE_FULL:
        return
    log.info("retry", reference=reference(job), code=again.hop.last_error, attempt=again.hop.attempt, due_ms=again.hop.due_ms)
    if again.cut:
        log.error(
            "retry_after_cut",
            reference=reference(job),
            due_ms=again.hop.due_ms,
            hint="Didit asked for a longer wait than VP_RETRY__RETRY_AFTER_MAX_S",
        )


def log_conflict(of: str, record: Record) -> None:
    """A second record with a known request id and other content, by its reference."""
    metrics.DUPLICATES.labels("conflict").inc()
    log.warning("conflict", reference=of, source=str(record.source))


def log_ended(job: Job, code: ErrorCode) -> None:
    """A waiting request is ended, by an operator or by whoever has asked for it."""
    if code is ErrorCode.CANCELLED:
        log.info("cancelled", reference=reference(job), code=job.hop.last_error)
    else:
        log.warning("ended_by_hand", reference=reference(job), code=job.hop.last_error)


class VendorDataHint:
    """Says once that sessions are asked for without the id of a person."""

    def __init__(self) -> None:
        self._told = False

    def note(self, job: Job) -> None:
        """A request is worked on."""
        without = first_call(job.request.operation) is OPERATIONS["session.create"] and not job.request.input.get("vendor_data")
        if without and not self._told:
            self._told = True
            log.warning("vendor_data_missing", hint="Didit sees a new user for each such request; give the id of the person")
