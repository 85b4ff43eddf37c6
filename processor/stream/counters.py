"""Counts what was published, after the transaction: so the metrics agree with the topics, and with what readers see."""

from __future__ import annotations

from collections.abc import Sequence

from processor.contract.records import Output, OutputKind, Record, Status
from processor.observe import metrics
from processor.observe.metrics import bounded

# codes of retries that stand for themselves; http_503 and the like are counted as http_5xx
RETRY_REASONS = frozenset({
    "throttled", "scope_paused", "queue_full", "following", "cooldown", "phone_attempts", "import_running", "key_in_use", "key_conflict",
    "doubt_settling", "lookup_refused", "timeout", "connect_failed", "reset", "unreadable_answer", "server_timeout", "sandbox_quota",
    "file_unavailable", "redriven",
})  # fmt: skip
FOLLOWING = "following"  # a person is waited for; no error
_STATUS_CODE_CHARS = len("http_503")


def count_published(topic: str, batch: Sequence[tuple[Record, Sequence[Output]]], took_s: float) -> None:
    """A transaction was committed."""
    metrics.TRANSACTIONS.labels("committed").inc()
    metrics.TRANSACTION_TIME.observe(took_s)
    metrics.FINISHED.labels(topic).inc(len(batch))
    for _, outputs in batch:
        for output in outputs:
            _count(output)


def count_unpublished() -> None:
    """A transaction failed or was given up."""
    metrics.TRANSACTIONS.labels("failed").inc()


def reason_of(code: str) -> str:
    """The label for an error code of a retry."""
    if code.startswith("http_") and len(code) == _STATUS_CODE_CHARS:
        return f"http_{code[5]}xx" if code[5] in "2345" else metrics.OTHER
    return bounded(code, RETRY_REASONS)


def _count(output: Output) -> None:
    about = output.about
    match output.kind:
        case OutputKind.RETRY:
            metrics.RETRIES.labels(reason_of(about.code or FOLLOWING), "yes" if about.counted else "no").inc()
        case OutputKind.DEAD_LETTER:
            metrics.DEAD_LETTERS.labels(about.reason).inc()
        case OutputKind.RESULT:
            metrics.RESULTS.labels(about.operation, about.status).inc()
            if about.status != Status.WAITING:
                metrics.ATTEMPTS.observe(about.attempts)
                metrics.REQUEST_TIME.labels(about.operation).observe(about.took_ms / 1000)
