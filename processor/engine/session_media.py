"""``session.media``: the files of a decision are put into the store, and the result names them. Only reads are made at Didit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from processor.budget.permits import Parked
from processor.contract.codes import ErrorCode
from processor.contract.records import call_reference
from processor.didit.calls import build_call
from processor.didit.catalog import Operation
from processor.didit.verdicts import Deferred, Success, Throttled, Transient, Verdict
from processor.engine.calls import DeadlinePassed, DiditCaller, Judged, NotCalled
from processor.engine.outputs import Job
from processor.files.media import LeftMedia, MediaLink, StoredMedia, media_links
from processor.files.rules import FileError
from processor.stream.handler import Work


class StoresMedia(Protocol):
    """The store, as it is needed here."""

    async def fetch(
        self, links: Sequence[MediaLink], session_id: str, reference: str, within_s: float | None
    ) -> dict[str, StoredMedia | LeftMedia]:
        """Files by member.

        Raises:
            FileError: another attempt may help.
        """
        ...


class SessionMedia:
    """Stores what a decision links to. A link that has ended is renewed once, by one more call under a permit."""

    def __init__(self, store: StoresMedia, caller: DiditCaller, clock_ms: Callable[[], int]) -> None:
        self._store, self._caller, self._clock_ms = store, caller, clock_ms

    async def kept(self, job: Job, operation: Operation, called: Judged | NotCalled, work: Work) -> Judged | NotCalled:
        """What a read of a decision comes to once its files are in the store.

        Returns:
            ``Success`` with what the result says; another verdict if another attempt may help; or what came instead of a permit.

        Raises:
            BudgetClosedError: no second call was made.
        """
        if not isinstance(called, Judged) or not isinstance(called.verdict, Success):
            return called
        found = await self._keep(job, operation, called.verdict.output, work)
        return found if isinstance(found, DeadlinePassed | Parked) else Judged(called.called_ms, found)

    async def _keep(self, job: Job, operation: Operation, decision: Any, work: Work) -> Verdict | DeadlinePassed | Parked:
        try:
            return await self._store_all(job, operation, decision, work)
        except FileError as fault:
            return DeadlinePassed() if self._left_s(job) == 0 else Transient(fault.code, None, None)

    async def _store_all(self, job: Job, operation: Operation, decision: Any, work: Work) -> Verdict | DeadlinePassed | Parked:
        found = await self._fetch(job, media_links(decision), work)
        ended = [member for member, one in found.items() if isinstance(one, LeftMedia) and one.code is ErrorCode.MEDIA_MISSING]
        if ended:
            again = await self._caller.look_up(build_call(operation, job.request, job.hop), job, work)
            if not isinstance(again, Judged):
                return again
            if not isinstance(again.verdict, Success):
                return _of_renewal(again.verdict)
            decision = again.verdict.output
            found |= await self._fetch(job, [link for link in media_links(decision) if link.member in ended], work)
        return Success(_output(decision, found))

    async def _fetch(self, job: Job, links: Sequence[MediaLink], work: Work) -> dict[str, StoredMedia | LeftMedia]:
        work.before_wait()
        session_id, reference = str(job.request.input["session_id"]).lower(), call_reference(job.request.request_id, 0)
        return await self._store.fetch(links, session_id, reference, self._left_s(job))

    def _left_s(self, job: Job) -> float | None:
        """Until the deadline of the request, s; None if it has none."""
        deadline_ms = job.request.deadline_ms
        return None if deadline_ms is None else max(0.0, (deadline_ms - self._clock_ms()) / 1000)


def _of_renewal(verdict: Verdict) -> Verdict:
    """A second read that fails ends nothing: the attempt is made again, from the first one on."""
    if isinstance(verdict, Throttled | Deferred | Transient):
        return verdict
    return Transient(ErrorCode.MEDIA_UNAVAILABLE, getattr(verdict, "http_status", None), None)


def _output(decision: Mapping[str, Any], found: Mapping[str, StoredMedia | LeftMedia]) -> dict[str, Any]:
    return {
        "session_id": decision["session_id"],
        "status": decision["status"],
        "files": [asdict(one) for one in found.values() if isinstance(one, StoredMedia)],
        "not_stored": [asdict(one) for one in found.values() if isinstance(one, LeftMedia)],
    }
