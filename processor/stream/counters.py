"""Counts what was published, after the transaction, so that the metrics agree with the topics; and what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from processor.contract.codes import ErrorCode, counted_as
from processor.contract.records import About, Output, OutputKind, Record, Source, Status, Unread
from processor.observe import metrics

log = structlog.get_logger(__name__)


def count_published(topic: str, batch: Sequence[tuple[Record, Sequence[Output]]], took_s: float) -> None:
    """A transaction was committed."""
    metrics.TRANSACTIONS.labels("committed").inc()
    metrics.TRANSACTION_TIME.observe(took_s)
    metrics.FINISHED.labels(topic).inc(len(batch))
    results: list[About] = []
    for _, outputs in batch:
        for output in outputs:
            if output.kind is not OutputKind.RESULT:
                _count(output)
            elif not output.about.copy:  # a copy is none of the request's ends
                results.append(output.about)
    _count_results(results)


def count_unpublished() -> None:
    """A transaction failed or was given up."""
    metrics.TRANSACTIONS.labels("failed").inc()


def note_unread(source: Source, unread: Unread) -> None:
    """Something cannot be read, and is answered as such."""
    metrics.UNREAD.labels(unread.code).inc()
    log.error("batch_unread", source=str(source), code=unread.code, first=unread.first, last=unread.last, size_bytes=unread.size_bytes)


def _count(output: Output) -> None:
    about = output.about
    match output.kind:
        case OutputKind.RETRY:
            metrics.RETRIES.labels(counted_as(about.code or ErrorCode.FOLLOWING) or metrics.OTHER, "yes" if about.counted else "no").inc()
        case OutputKind.FORWARD:
            metrics.FORWARDED.labels(output.application or metrics.OTHER).inc()
        case OutputKind.DEAD_LETTER:
            metrics.DEAD_LETTERS.labels(about.reason).inc()


def _count_results(results: Sequence[About]) -> None:
    """Those of one transaction are mostly alike, and each series is counted in once."""
    for (operation, status), count in Counter((about.operation, about.status) for about in results).items():
        metrics.RESULTS.labels(operation, status).inc(count)
    final = [about for about in results if about.status != Status.WAITING]
    for attempts, count in Counter(about.attempts for about in final).items():
        metrics.ATTEMPTS.observe(attempts, count)
    for about in final:
        metrics.REQUEST_TIME.labels(about.operation).observe(about.took_ms / 1000)
