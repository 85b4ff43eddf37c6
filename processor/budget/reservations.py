"""This replica's own asks, from their sending to the start of their calls.

All decisions are taken in ``start_ready``, after each batch of records and when a time has come; ``state`` decides, this module acts.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from processor.budget.call_journal import CLEAR, PriorCalls
from processor.budget.log_records import Asked, Begun, Ended, Failed
from processor.budget.log_writer import LogWriter
from processor.budget.permits import Acquired, Ask, Conflict, Duplicate, Ending, Fate, HealthSignal, InDoubt, NoPermit, Parked, Permit
from processor.budget.state import BudgetState, Rules

_LOOK_S_MAX = 1.0  # the loop's clock stands still while the machine sleeps: look again, whatever it says


@dataclass(eq=False, slots=True)
class _Waiting:
    """An ask that has not started. ``answer`` becomes True once it may, or False for: ask again."""

    ask: Ask
    asked: Asked
    deadline: float
    answer: asyncio.Future[bool | NoPermit]
    placed: bool = False  # read back
    begins: bool = False  # its turn has come and its slot is taken; the beginning is said, and to be read back
    begun: bool = False


class Reservations:
    """Asks on their way, and the call slots of the process."""

    def __init__(self, rules: Rules, outbox: LogWriter, slots: int, clock: Callable[[], float], on_checked: Callable[[], None]) -> None:
        self._rules, self._outbox, self._clock, self._on_checked = rules, outbox, clock, on_checked
        self.state = BudgetState(rules, 0.0)
        self.open_at = float("inf")  # no start before; infinite while the log is not followed
        self.closed = False
        self.slots = slots
        self._client, self._numbers = "", itertools.count()
        self._waiting: dict[str, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_ready = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, state: BudgetState, client: str) -> None:
        """A new life: the asks of an earlier one are not ours to end, they may be in flight."""
        self.state, self._client = state, client

    async def ask(self, ask: Ask, *, probe: bool) -> Acquired | None:
        """Ask and wait; None if it was given up and is to be asked again, unless the budget has closed."""
        if self.closed:
            return None
        ask_id, promise_s = f"{self._client}-{next(self._numbers)}", self._rules.promise_of(ask.timeout_s)
        announced = ask.announced and ask.identity is not None
        asked = Asked(ask_id, ask.scopes, promise_s, ask.endpoint, probe=probe, identity=ask.identity, announced=announced)
        # the deadline counts from before the sending: the record cannot be older than that
        waiting = _Waiting(ask, asked, self._clock() + self._rules.wait_s, asyncio.get_running_loop().create_future())
        self._waiting[asked.id] = waiting
        self._outbox.post(asked, on_lost=lambda: self._settle(waiting))
        self.start_soon(self._rules.wait_s)
        try:
            answer = await waiting.answer
        except asyncio.CancelledError:
            if waiting.answer.done() and not waiting.answer.cancelled() and waiting.answer.result() is True:
                self.slots += 1  # it came in the very turn of the loop in which the wait was cancelled
                self._post_end(Ended(asked.id, used=False))
            else:
                self._settle(waiting)
            raise
        if isinstance(answer, bool):
            return Permit(asked.id, ask, probe=probe) if answer else None
        return answer

    def release(self, permit: Permit, ending: Ending) -> None:
        """See ``permits.Budget.release``."""
        self.slots += 1
        if ending.fate is not Fate.UNKNOWN:
            self._post_end(Ended(permit.id, used=ending.fate is Fate.ANSWERED, acted=ending.acted, health=ending.health))
        elif ending.health is not HealthSignal.NEUTRAL:
            self._post_end(Failed(permit.id, ending.health))  # the hold stays until the call can be counted no more
        if self._waiting:
            self.start_soon(0.0)

    def take(self, record: Asked, offset: int, at: float, stamp_ms: int) -> None:
        """An ask of anybody was read."""
        waiting = self._waiting.get(record.id)
        if not self.state.apply(record, offset, at, stamp_ms, mine=waiting is not None):
            return
        if waiting is not None:
            waiting.placed = True
            prior_calls = CLEAR if record.identity is None else self.state.journal.prior_calls(record.identity, offset)
            if (obstacle := _obstacle(prior_calls, waiting.ask)) is not None:
                self._settle(waiting, obstacle)
        elif record.id.startswith(f"{self._client}-"):  # given up before it showed up
            self._post_end(Ended(record.id, used=False))

    def begun(self, record: Begun, *, may_call: bool) -> None:
        """A beginning was read, of anybody."""
        waiting = self._waiting.get(record.id)
        if waiting is not None and may_call:
            waiting.begun = True
        elif waiting is not None:
            self._settle(waiting)  # a later owner of the request has asked; to be asked again, which shows its call

    def start_ready(self) -> None:
        """Start or give up what can be, and look again when a time has come."""
        now = self._clock()
        next_at = now + _LOOK_S_MAX
        for waiting in list(self._waiting.values()):
            if now >= waiting.deadline or (waiting.placed and self.state.is_obsolete(waiting.asked)):
                self._settle(waiting)
                continue
            next_at = min(next_at, waiting.deadline)
            if waiting.placed and (self.slots > 0 or waiting.begins):
                at = max(self.open_at, self.state.start_at(waiting.asked, now))
                if at <= now:
                    self._start(waiting)
                else:
                    next_at = min(next_at, at)
        self._on_checked()
        if self._waiting:
            self.start_soon(next_at - now)

    def start_soon(self, delay_s: float) -> None:
        """Look when so much time has passed, or before."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, min(delay_s, _LOOK_S_MAX))
        if self._timer is not None:
            if self._is_ready <= when:
                return
            self._timer.cancel()
        self._is_ready = when
        self._timer = loop.call_at(when, self._timed_start)

    def give_up(self, endpoint: str | None = None, answer: Parked | None = None) -> None:
        """End the wait of all asks, or of those for one endpoint; without an answer they are made again."""
        for waiting in list(self._waiting.values()):
            if endpoint is None or waiting.ask.endpoint == endpoint:
                self._settle(waiting, answer or False)

    def close(self) -> None:
        """Nothing is asked any more."""
        self.closed = True
        self.give_up()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timed_start(self) -> None:
        self._timer = None
        self.start_ready()

    def _start(self, waiting: _Waiting) -> None:
        if not waiting.asked.announced or waiting.begun:
            self._settle(waiting, answer=True)
        elif not waiting.begins:
            waiting.begins = True
            self.slots -= 1
            self._outbox.post(Begun(waiting.asked.id), on_lost=lambda: self._settle(waiting))

    def _settle(self, waiting: _Waiting, answer: bool | NoPermit = False) -> None:
        """End the wait of an ask, and its hold unless its call starts."""
        if self._waiting.pop(waiting.asked.id, None) is None:
            return
        self.state.forget(waiting.asked.id)
        if answer is True and not waiting.answer.done():  # else the wait was cancelled a moment ago, and its task does not know yet
            self.slots -= not waiting.begins
        else:  # also when it was not read back yet: its end comes behind it
            self.slots += waiting.begins
            self._post_end(Ended(waiting.asked.id, used=False))
        if not waiting.answer.done():
            waiting.answer.set_result(answer)

    def _post_end(self, record: Ended | Failed) -> None:
        self._outbox.post(record, for_s=self._rules.horizon_s)


def _obstacle(prior_calls: PriorCalls, ask: Ask) -> NoPermit | None:
    if prior_calls.conflict:
        return Conflict()
    if prior_calls.duplicate:
        return Duplicate()
    if prior_calls.doubt_ms is not None and prior_calls.over_ms > ask.settled_ms:
        return InDoubt(prior_calls.doubt_ms, prior_calls.over_ms)
    return None
