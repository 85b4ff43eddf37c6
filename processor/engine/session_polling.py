"""Follows a verification from its session's creation to the person's last step: by events where they come, else by looking."""

from __future__ import annotations

from collections.abc import Callable

from processor.budget.permits import CallClass, Parked
from processor.contract.codes import ErrorCode
from processor.didit.calls import detail_call
from processor.didit.follow import Settled, expires_in_s, judge_decision, judge_hint, next_poll_s
from processor.didit.verdicts import Failure, Success
from processor.engine.calls import DeadlinePassed, DiditCaller, Judged
from processor.engine.outputs import Job, OutputBuilder
from processor.settings import FollowSettings
from processor.stream.handler import NothingToPublish, Outcome, Outputs, Work


class SessionPolling:
    """Decides what follows a creation, and each look."""

    def __init__(
        self, settings: FollowSettings, caller: DiditCaller, outputs: OutputBuilder, clock_ms: Callable[[], int], draw: Callable[[], float]
    ) -> None:
        self._settings, self._caller, self._outputs, self._clock_ms, self._draw = settings, caller, outputs, clock_ms, draw

    def begin(self, job: Job, created: Success) -> Outputs:
        """A session was created (or found)."""
        wait_s = next_poll_s(0, self._settings.polls_s, None, self._draw())
        return Outputs(self._outputs.begun(job, created.output, wait_s, self._clock_ms()))

    async def poll(self, job: Job, session_id: str, work: Work) -> Outcome | Failure | DeadlinePassed | Parked:
        """Ask for the session's state, unless an event has brought it.

        Returns:
            What completes the record; a verdict that says why the state is not known; or what there was instead of a permit.

        Raises:
            BudgetClosedError: no call was made.
        """
        hinted = judge_hint(work.hint, session_id, job.hop.first_ms) if work.hint is not None else None
        if hinted is not None:
            return self._settle(job, hinted)
        found = await self._caller.look_up(detail_call(session_id, job.request, job.hop), job, work, call_class=CallClass.POLL)
        if not isinstance(found, Judged):
            return found
        if not isinstance(found.verdict, Success):
            return found.verdict
        now_ms, decision = self._clock_ms(), found.verdict.output
        settled = judge_decision(decision) or self._out_of_time(job, decision, now_ms)
        if settled is not None:
            return self._settle(job, settled)
        if job.hop.settled is not None and not self._goes_on(job, now_ms):
            return NothingToPublish("published_before")
        return Outputs(self._outputs.polled(job, self._wait_s(job, decision, now_ms), now_ms))

    def _out_of_time(self, job: Job, decision: object, now_ms: int) -> Settled | None:
        if job.hop.settled is not None:
            return None  # it was settled in time, and is open again
        if now_ms >= job.hop.first_ms + int(1000 * self._settings.longest_s):
            return Settled(decision, ErrorCode.NOT_SETTLED_IN_TIME)
        if job.request.deadline_ms is not None and now_ms >= job.request.deadline_ms:
            return Settled(decision, ErrorCode.DEADLINE_PASSED)
        return None

    def _settle(self, job: Job, settled: Settled) -> Outcome:
        """The final result; where later ones are enabled, only if it is another one, and a further poll."""
        now_ms, hop = self._clock_ms(), job.hop
        name = settled.name
        outputs = [] if name == hop.settled else self._outputs.settled(job, settled.output, settled.code, now_ms)
        if self._goes_on(job, now_ms):
            outputs = [*outputs, self._outputs.poll_again(job, name, self._wait_s(job, settled.output, now_ms), now_ms)]
        return Outputs(outputs) if outputs else NothingToPublish("published_before")

    def _goes_on(self, job: Job, now_ms: int) -> bool:
        """Whether later final results are enabled, and still."""
        since_ms = now_ms if job.hop.settled_ms is None else job.hop.settled_ms
        return now_ms < since_ms + int(1000 * self._settings.later_finals_s)

    def _wait_s(self, job: Job, decision: object, now_ms: int) -> float:
        return next_poll_s(job.hop.polls + 1, self._settings.polls_s, expires_in_s(decision, now_ms), self._draw())
