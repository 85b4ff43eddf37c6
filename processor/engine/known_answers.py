"""What a request comes to that is asked for again: its known result once more, or nothing."""

from __future__ import annotations

from typing import Protocol

import structlog

from processor.budget.permits import Duplicate, EarlierRecord
from processor.contract.records import Hop, Record, call_reference
from processor.contract.result_copies import result_copy
from processor.contract.trace_context import result_trace
from processor.observe import metrics
from processor.settings import LaneSettings
from processor.stream.handler import NothingToPublish, Outcome, Outputs, Work
from processor.stream.known_results import KnownResult, Unanswered

log = structlog.get_logger(__name__)


class FindsKnownResults(Protocol):
    """Where results stand that are known."""

    async def find(self, request_id: str, earlier: EarlierRecord, *, near: int, newest: bool) -> KnownResult | Unanswered:
        """A final result where it stands; see ``stream.known_results``. Never raises except CancelledError."""
        ...


class KnownAnswers:
    """Answers duplicates.

    Args:
        finds: None: they are not answered.
        lanes: how long a copy that is published may be, and with which headers.
    """

    def __init__(self, finds: FindsKnownResults | None, lanes: LaneSettings) -> None:
        self._finds, self._lanes = finds, lanes

    async def again(self, prior: Duplicate, request_id: str, record: Record, hop: Hop, work: Work, *, newest: bool = False) -> Outcome:
        """What completes a duplicate: a copy of the known result in the transaction of its offset, or nothing.

        Args:
            prior: what the journal knows.
            request_id: of both records.
            record: the one that asks again.
            hop: of it.
            work: told before the wait for the result.
            newest: later finals may have followed the first one.
        """
        why = "published_before"
        if prior.earlier is not None and self._finds is not None:
            work.before_wait()
            found = await self._finds.find(request_id, prior.earlier, near=hop.first.partition, newest=newest)
            if isinstance(found, KnownResult):
                source = self._lanes.cloudevents_source
                headers = (*result_trace(hop), *hop.copied)
                copy = result_copy(request_id, found.value, found.partition, hop.first, headers, cloudevents_source=source)
                if copy.size_bytes <= self._lanes.output_bytes_max:
                    self._note("answered", request_id, record, hop, "copied")
                    return Outputs([copy])
                found = Unanswered.OVERSIZED
            why = found.value
        elif prior.earlier is not None:
            why = "off"
        self._note("duplicate", request_id, record, hop, why)
        return NothingToPublish("duplicate")

    @staticmethod
    def _note(kind: str, request_id: str, record: Record, hop: Hop, result: str) -> None:
        metrics.DUPLICATES.labels(kind).inc()
        reference = call_reference(request_id, hop.hop)
        log.info("duplicate", reference=reference, source=str(record.source), first=str(hop.first), result=result)
