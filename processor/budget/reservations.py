"""This replica's own asks, from their sending to their end (``ask_states``), and the call slots of the process.

``state`` says what may start, the driver (``shared``) when to look; what this module decides it sends to the log.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from processor.budget.ask_states import HOLDS_SLOT, AskState, checked
from processor.budget.call_journal import CLEAR, PriorCalls
from processor.budget.log_records import Asked, Begun, Ended, Failed, LogRecord
from processor.budget.log_writer import LogWriter
from processor.budget.permits import (
    NOT_SENT,
    Acquired,
    Ask,
    Ending,
    Fate,
    HealthSignal,
    InDoubt,
    NoPermit,
    Parked,
    Permit,
)
from processor.budget.state import BudgetState, Rules

_ROUND_TRIP_S = 0.01  # from the sending of a record to the reading of it, about: to wait for no longer is to start at once
_SLOW_CALL_S = 1.0  # while calls take no longer, a slot is free soon enough
_NEWEST_PART = 0.1  # of a moving average
_AHEAD_PART = 0.1  # of all call slots, so many asks at least wait for one that becomes free
_AHEAD_TRIPS = 2.0  # and as many as become free in so many round trips of the log
_AHEAD_MAX = 300  # of these, or all slots if they are more: asks that wait make the log's round trip longer


@dataclass(eq=False, slots=True)
class Reservation:
    """An own ask. ``answer`` becomes what ``acquire`` returns, or None: it was withdrawn, and is to be asked for again."""

    ask: Ask
    asked: Asked
    deadline: float
    answer: asyncio.Future[Acquired | None]
    state: AskState = AskState.REQUESTED
    started_at: float = 0.0


class Reservations:
    """Asks on their way and calls in flight, by id.

    Args:
        rules: limits and times.
        writer: sends records to the log.
        slots: calls of this process that may be in flight at once.
        clock: seconds, the clock by which records are dated.
    """

    def __init__(self, rules: Rules, writer: LogWriter, slots: int, clock: Callable[[], float]) -> None:
        self._rules, self._writer, self._clock = rules, writer, clock
        self._end_told_s = rules.horizon_s  # an end that comes later is of no use
        self.state = BudgetState(rules, 0.0)
        self.open_at = float("inf")  # no start before; infinite while the log is not followed
        self.slots = self._slots_max = slots
        self._client, self._own_prefix, self._numbers = "", "-", itertools.count()
        self._waiting: dict[str, Reservation] = {}
        self._unread: Counter[str] = Counter()  # asks that are not read back yet, by scope
        self._call_s = self._trip_s = 0.0  # how long calls have taken lately; and asks, until they were read back
        self._started: dict[str, Reservation] = {}

    def __len__(self) -> int:
        """Asks that wait to start."""
        return len(self._waiting)

    def __contains__(self, ask_id: str) -> bool:
        """Whether an ask waits to start."""
        return ask_id in self._waiting

    @property
    def useful_asks(self) -> int:
        """Asks that may wait to start at once: for the slots that are free, and ahead for those that will be.

        With less than becomes free while an ask is read back, slots would stay empty for a round trip of the log.
        """
        freed = _AHEAD_TRIPS * self._trip_s / self._call_s if self._call_s else 0.0
        ahead = min(max(_AHEAD_MAX, self._slots_max), self._slots_max * max(_AHEAD_PART, freed))
        return self.slots + max(1, int(ahead))

    def is_ours(self, ask_id: str) -> bool:
        """Whether reading an ask is news for this replica, apart from its weight."""
        return ask_id in self._waiting or ask_id.startswith(self._own_prefix)

    def follow(self, state: BudgetState, client: str) -> None:
        """The log is read again, under another name: the asks of the earlier one are not ours to end, they may be in flight."""
        self.state, self._client, self._own_prefix = state, client, f"{client}-"

    def request(self, ask: Ask, *, probe: bool) -> Reservation:
        """Send an ask to the log."""
        ask_id, promise_s = f"{self._client}-{next(self._numbers)}", self._rules.promise_of(ask.timeout_s)
        announced = ask.identity is not None and (ask.announced or (ask.waits_announced and self._would_wait(ask)))
        asked = Asked(ask_id, ask.scopes, promise_s, ask.endpoint, probe=probe, identity=ask.identity, announced=announced)
        # the deadline counts from before the sending: the record cannot be older than that
        deadline = self._clock() + self._rules.wait_s
        reservation = self._waiting[ask_id] = Reservation(ask, asked, deadline, asyncio.get_running_loop().create_future())
        for scope in ask.scopes:  # Counter.update() would look what it was given
            self._unread[scope] += 1
        self._writer.post(asked)
        return reservation

    def ask_read(self, record: Asked, offset: int) -> None:
        """An ask of anybody was read, for the first time."""
        reservation = self._waiting.get(record.id)
        if reservation is None:
            if record.id.startswith(self._own_prefix) and record.id not in self._started:  # withdrawn before it showed up
                self._post_end(Ended(record.id, used=False))
        elif reservation.state is AskState.REQUESTED:
            self._trip_s += _NEWEST_PART * (self._clock() - (reservation.deadline - self._rules.wait_s) - self._trip_s)
            self._enter(reservation, AskState.PLACED)
            prior_calls = CLEAR if record.identity is None else self.state.journal.prior_calls(record.identity, offset)
            if (obstacle := _obstacle(prior_calls, reservation.ask)) is not None:
                self._withdraw(reservation, obstacle)

    def begin_read(self, record: Begun, *, may_call: bool) -> None:
        """A beginning of anybody was read."""
        reservation = self._waiting.get(record.id)
        if reservation is None or reservation.state is not AskState.ANNOUNCED:
            return  # not ours, or appended twice
        if may_call:
            self._enter(reservation, AskState.BEGUN)
        else:  # a later owner of the request has asked; to be asked for again, which shows its call
            self._withdraw(reservation)

    def start_ready(self) -> float:
        """Start what may start, withdraw what never will; the time (own clock) to do so again if no record comes before."""
        now, next_at = self._clock(), float("inf")
        any_obsolete = self.state.any_obsolete()
        for reservation in list(self._waiting.values()):  # up to some hundreds, at each end of a call
            state = reservation.state
            is_obsolete = any_obsolete and state is not AskState.REQUESTED and self.state.is_obsolete(reservation.asked)
            if now >= reservation.deadline or is_obsolete:
                self._withdraw(reservation)
                continue
            next_at = min(next_at, reservation.deadline)
            if state is AskState.BEGUN or (state is AskState.PLACED and self.slots > 0):  # else not before a call ends
                next_at = min(next_at, self._advance(reservation, now))
        return next_at

    def _advance(self, reservation: Reservation, now: float) -> float:
        """Start an ask, announce it, or withdraw one that leaves a doubt while it waits; the time to look again."""
        announces = reservation.asked.announced and reservation.state is AskState.PLACED
        start_at = max(self.open_at, self.state.start_at(reservation.asked, now))
        soon = start_at <= now + _ROUND_TRIP_S
        if start_at <= now or (announces and soon and self.state.has_room(reservation.asked)):
            self._proceed(reservation, now)  # the last of the wait is the time in which a beginning is read back
            return float("inf")
        if not soon and not announces and (reservation.asked.announced or reservation.ask.waits_announced):
            self._withdraw(reservation)
            return float("inf")
        return start_at - _ROUND_TRIP_S if announces and not soon else start_at

    def _would_wait(self, ask: Ask) -> bool:
        """Whether an ask that is sent now will wait for its place, or for a slot; by the log as it is read."""
        now = self._clock()
        start_at = max(self.open_at, self.state.foreseen_start_at(ask.scopes, self._unread, now))
        waits_long_for_slot = len(self._waiting) >= self.slots and self._call_s > _SLOW_CALL_S
        return waits_long_for_slot or start_at > now + _ROUND_TRIP_S

    def release(self, permit: Permit, ending: Ending) -> None:
        """A permit is given back.

        Raises:
            ValueError: if it was given back before.
        """
        reservation = self._started.get(permit.id)
        if reservation is None:
            raise ValueError("a permit was released twice")
        self._end(reservation, ending)

    def cancel(self, reservation: Reservation) -> None:
        """Whoever waited for an ask does no more."""
        if reservation.state is AskState.STARTED:  # it came in the very turn of the loop in which the wait was cancelled
            self._end(reservation, NOT_SENT)
        else:
            self._withdraw(reservation)

    def lost(self, record: LogRecord) -> None:
        """A record could not be appended: an ask of which it tells waits for nothing."""
        if isinstance(record, Asked | Begun) and (reservation := self._waiting.get(record.id)) is not None:
            self._withdraw(reservation)

    def withdraw_all(self, endpoint: str | None = None, answer: Parked | None = None) -> None:
        """End the wait of all asks, or of those for one endpoint; without an answer they are made again."""
        for reservation in list(self._waiting.values()):
            if endpoint is None or reservation.ask.endpoint == endpoint:
                self._withdraw(reservation, answer)

    def _proceed(self, reservation: Reservation, now: float) -> None:
        if reservation.answer.done():  # the wait was cancelled a moment ago, and its task does not know yet
            self._withdraw(reservation)
        elif reservation.asked.announced and reservation.state is AskState.PLACED:
            self._enter(reservation, AskState.ANNOUNCED)
            self._writer.post(Begun(reservation.asked.id))
        else:
            self._leave_wait(reservation, AskState.STARTED)
            self._started[reservation.asked.id], reservation.started_at = reservation, now
            probe, start_by = reservation.asked.probe, reservation.deadline
            reservation.answer.set_result(Permit(reservation.asked.id, reservation.ask, probe=probe, start_by=start_by))

    def _withdraw(self, reservation: Reservation, answer: NoPermit | None = None) -> None:
        if reservation.asked.id not in self._waiting:
            return
        self._leave_wait(reservation, AskState.WITHDRAWN)
        self._post_end(Ended(reservation.asked.id, used=False))  # also if it was not read back yet: its end comes behind it
        if not reservation.answer.done():
            reservation.answer.set_result(answer)

    def _end(self, reservation: Reservation, ending: Ending) -> None:
        ask_id = reservation.asked.id
        del self._started[ask_id]
        self._call_s += _NEWEST_PART * (self._clock() - reservation.started_at - self._call_s)
        self._enter(reservation, AskState.ENDED)
        if ending.fate is not Fate.UNKNOWN:
            self._post_end(Ended(ask_id, used=ending.fate is Fate.ANSWERED, acted=ending.acted, health=ending.health))
        elif ending.health is not HealthSignal.NEUTRAL:
            self._post_end(Failed(ask_id, ending.health))  # the hold stays until the call can be counted no more

    def _leave_wait(self, reservation: Reservation, state: AskState) -> None:
        del self._waiting[reservation.asked.id]
        self.state.forget(reservation.asked)
        self._enter(reservation, state)

    def _enter(self, reservation: Reservation, state: AskState) -> None:
        before, reservation.state = reservation.state, checked(reservation.state, state)
        if before is AskState.REQUESTED:
            for scope in reservation.ask.scopes:
                self._unread[scope] -= 1
        self.slots += (before in HOLDS_SLOT) - (state in HOLDS_SLOT)

    def _post_end(self, record: Ended | Failed) -> None:
        self._writer.post(record, for_s=self._end_told_s)


def _obstacle(prior_calls: PriorCalls, ask: Ask) -> NoPermit | None:
    obstacle = prior_calls.obstacle
    return None if isinstance(obstacle, InDoubt) and obstacle.over_ms <= ask.settled_ms else obstacle
