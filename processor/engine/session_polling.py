"""Follows a verification from its session's creation to the person's last step: by events where they come, else by looking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from processor.budget.permits import Parked
from processor.contract.codes import ErrorCode
from processor.contract.records import Hint
from processor.contract.times import is_past
from processor.didit.calls import detail_call
from processor.didit.follow import (
    Settled,
    environment_of,
    environments_of,
    expires_in_s,
    judge_decision,
    judge_hint,
    named_environment,
    next_poll_s,
)
from processor.didit.verdicts import Failure, Refused, Success, is_not_found
from processor.engine.calls import DeadlinePassed, DiditCaller, Judged
from processor.engine.outputs import Job, OutputBuilder
from processor.engine.places import poll_order
from processor.observe import metrics
from processor.settings import FollowSettings
from processor.stream.handler import NothingToPublish, Outcome, Outputs, Work

log = structlog.get_logger(__name__)

_OVER = (ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_ABANDONED)
_FOREIGN_HINT = "a webhook destination of another application writes to this events topic; give each application its own prefix"


@dataclass(frozen=True, slots=True)
class SessionOver:
    """The session of a redriven request is over without a decision: nobody can use it any more."""


class SessionPolling:
    """Decides what follows a creation, and each look."""

    def __init__(
        self, settings: FollowSettings, caller: DiditCaller, outputs: OutputBuilder, clock_ms: Callable[[], int], draw: Callable[[], float]
    ) -> None:
        self._settings, self._caller, self._outputs, self._clock_ms, self._draw = settings, caller, outputs, clock_ms, draw
        self._environment: str | None = None  # of the API key, as the last answer that it got told it

    def begin(self, job: Job, created: Success) -> Outputs:
        """A session was created (or found)."""
        wait_s = next_poll_s(0, self._settings.polls_s, None, self._draw())
        return Outputs(self._outputs.begun(job, created.output, wait_s, self._clock_ms()))

    async def poll(self, job: Job, session_id: str, work: Work) -> Outcome | SessionOver | Failure | DeadlinePassed | Parked:
        """Ask for the session's state, unless an event has brought it.

        Returns:
            What completes the record; a verdict that says why the state is not known; or what there was instead of a permit.

        Raises:
            BudgetClosedError: no call was made.
        """
        hinted = self._judge_hint(work.hint, session_id, job.hop.first_ms) if work.hint is not None else None
        if hinted is not None:
            return self._settle(job, hinted)
        call_class, since_ms = poll_order(job.hop, self._clock_ms(), woken=work.hint is not None)
        call = detail_call(session_id, job.request, job.hop)
        found = await self._caller.look_up(call, job, work, call_class=call_class, since_ms=since_ms)
        if not isinstance(found, Judged):
            return found
        if not isinstance(found.verdict, Success):
            return self._not_told(job, found.verdict)
        now_ms, decision, learned = self._clock_ms(), found.verdict.output, self._environment is None
        self._environment = environment_of(decision) or self._environment
        if work.hint is not None and learned:  # the event waited only for the environment to be known
            hinted = self._judge_hint(work.hint, session_id, job.hop.first_ms)
        settled = judge_decision(decision) or hinted or self._out_of_time(job, decision, now_ms)
        if settled is not None:
            return self._settle(job, settled)
        if job.hop.settled is not None and not self._goes_on(job, now_ms):
            return NothingToPublish("published_before")
        return Outputs(self._outputs.polled(job, self._wait_s(job, decision, now_ms), now_ms))

    def _not_told(self, job: Job, verdict: Failure) -> Outcome | SessionOver | Failure:
        if not is_not_found(verdict):
            return verdict
        return SessionOver() if job.newly_redriven else self._not_shown(job, verdict)

    def _not_shown(self, job: Job, refused: Refused) -> Outcome | SessionOver | Refused:
        """A 404: the session is new, hidden from the key for now, or deleted (Didit, "Get decision"). One look does not tell."""
        now_ms, hop = self._clock_ms(), job.hop
        if hop.settled is not None and not self._goes_on(job, now_ms):
            return NothingToPublish("published_before")
        if (settled := self._out_of_time(job, None, now_ms)) is not None:
            return self._settle(job, settled)
        since_ms = hop.first_failure_ms if hop.last_error == ErrorCode.SESSION_MISSING else None
        missing_s = 0.0 if since_ms is None else (now_ms - since_ms) / 1000
        if (hop.polls or hop.settled is not None) and missing_s >= self._settings.missing_s:
            return refused  # it was seen, and is gone
        wait_s = next_poll_s(0, (max(self._settings.polls_s[0], min(int(missing_s), self._settings.polls_s[-1])),), None, self._draw())
        return Outputs(self._outputs.missing(job, now_ms if since_ms is None else since_ms, wait_s, now_ms))

    def _judge_hint(self, hint: Hint, session_id: str, since_ms: int) -> Settled | None:
        """The decision of an event, if it is of the environment of our key. Until that is known, and for any other, we look."""
        told = environments_of(hint)
        if not told <= {self._environment}:
            if self._environment is not None:
                metrics.FOREIGN_EVENTS.inc()
                log.warning("event_of_other_environment", environment=named_environment(self._environment), hint=_FOREIGN_HINT)
            return None
        return judge_hint(hint, session_id, since_ms)

    def _out_of_time(self, job: Job, decision: object, now_ms: int) -> Settled | None:
        if job.hop.settled is not None:
            return None  # it was settled in time, and is open again
        if now_ms >= job.hop.first_ms + int(1000 * self._settings.longest_s):
            return Settled(decision, ErrorCode.NOT_SETTLED_IN_TIME)
        if is_past(job.request.deadline_ms, now_ms):
            return Settled(decision, ErrorCode.DEADLINE_PASSED)
        return None

    def _settle(self, job: Job, settled: Settled) -> Outcome | SessionOver:
        """The final result; where later ones are enabled, only if it is another one, and a further poll."""
        if job.newly_redriven and settled.code in _OVER:
            return SessionOver()
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
