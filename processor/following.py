"""Follows a verification from its session's creation to the person's last step: by events where they come, else by looking."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from processor.budget.permits import CallClass
from processor.caller import Caller
from processor.contract.records import Output
from processor.didit.calls import detail_call
from processor.didit.follow import expires_in_s, judge_decision, judge_hint, next_look_s
from processor.didit.verdicts import Success, Verdict
from processor.outcomes import Job, Outcomes
from processor.setting_groups import FollowSettings
from processor.stream.work import Work


class Following:
    """Decides what follows a creation, and each look."""

    def __init__(
        self, settings: FollowSettings, caller: Caller, outcomes: Outcomes, clock_ms: Callable[[], int], draw: Callable[[], float]
    ) -> None:
        self._settings, self._caller, self._outcomes, self._clock_ms, self._draw = settings, caller, outcomes, clock_ms, draw

    def begin(self, job: Job, created: Success) -> Sequence[Output]:
        """A session was created (or found)."""
        wait_s = next_look_s(0, self._settings.polls_s, None, self._draw())
        return self._outcomes.begun(job, created.output, wait_s, self._clock_ms())

    async def look(self, job: Job, session_id: str, work: Work) -> tuple[Verdict | None, Sequence[Output]]:
        """Look at the session: outputs, or a verdict that says why it could not be looked at.

        Raises:
            DeadlinePassedError, NotNowError, BudgetClosedError: no call was made.
        """
        hinted = judge_hint(work.hint, session_id, job.hop.first_ms) if work.hint is not None else None
        if hinted is not None:
            return None, self._outcomes.settled(job, hinted.output, hinted.code, self._clock_ms())
        call = detail_call(session_id, job.request, job.hop)
        _, verdict = await self._caller.call(call, job, work, own=False, call_class=CallClass.POLL)
        if not isinstance(verdict, Success):
            return verdict, ()
        now_ms = self._clock_ms()
        settled = judge_decision(verdict.output)
        if settled is not None:
            return None, self._outcomes.settled(job, settled.output, settled.code, now_ms)
        if now_ms >= job.hop.first_ms + int(1000 * self._settings.longest_s):
            return None, self._outcomes.settled(job, verdict.output, "not_settled_in_time", now_ms)
        if job.request.deadline_ms is not None and now_ms >= job.request.deadline_ms:
            return None, self._outcomes.settled(job, verdict.output, "deadline_passed", now_ms)
        wait_s = next_look_s(job.hop.looks + 1, self._settings.polls_s, expires_in_s(verdict.output, now_ms), self._draw())
        return None, self._outcomes.looked(job, wait_s, now_ms)
