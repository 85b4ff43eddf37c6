"""The budget of all replicas: asks through the log, and starts a call when the log as read says so.

``acquire`` waits in a queue for a turn, sends the ask, and waits until it is read back and may start (``ask_states``). This is the
driver: ``log_reader`` tells it what the log says, ``state`` and ``reservations`` decide, it waits, wakes and logs.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import structlog

from processor.budget.alerts import AlertTracker
from processor.budget.claims import Claims
from processor.budget.earliest_timer import EarliestTimer
from processor.budget.endpoint_queue import AS_PROBE, FREELY, EndpointQueue, Turn
from processor.budget.heartbeat import Heartbeat
from processor.budget.history import DONE_EVERY_S, LaneHistory
from processor.budget.lines import Lines
from processor.budget.log import BudgetLog
from processor.budget.log_name import NAMING_S
from processor.budget.log_reader import LogReader
from processor.budget.log_records import Alive, Asked, Begun, Claimed, LogRecord, Paused, UsualAsk
from processor.budget.log_writer import LogWriter
from processor.budget.permits import (
    Acquired,
    Ask,
    BudgetClosedError,
    CallIdentity,
    Conflict,
    Duplicate,
    Ending,
    InDoubt,
    Parked,
    ParkedWait,
    Permit,
    Place,
)
from processor.budget.replica_facts import ReplicaFacts
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.reservations import Reservations
from processor.budget.state import ALIVE_EVERY_S, BudgetState, Rules
from processor.budget.watched_tasks import WatchedTasks
from processor.clock import boot_clock
from processor.contract.pauses import Pauses

log = structlog.get_logger(__name__)

_CLOSE_S, _DISPATCH_S, _START_S_MAX = 1.0, 1.0, 1.0


class SharedBudget:
    """Keeps the limits of an API key together with every other process that reads and writes the same log.

    It is ``permits.Budget`` for the engine, and its ``history`` is ``stream.handler.CallHistory`` for the lanes. What it promises,
    under which assumptions: docs/pacing.md and docs/guarantees.md. Nothing starts before the log is read to its end (``is_joined``)
    nor while it cannot be read; ``acquire`` waits meanwhile. Errors of the log are logged and survived, in ``run``.

    To be made inside a running loop, and to be used in it only. Memory is bounded by ``rules.memory_s`` and ``memory_calls``.

    Args:
        budget_log: the log that all processes of the API key share; it is opened by ``run`` and closed by ``close``.
        rules: what all of them agree on: limits, windows, times in seconds.
        replica_limits: the name of this process and its own bounds.
        draw: a random number, 0 <= draw() < 1, that spreads the replicas after a pause.
        facts: what each sign of life tells people of this replica.
        clock: seconds; never set back, and counting while the machine is suspended.

    Example::

        budget = SharedBudget(KafkaBudgetLog(settings), budget_rules(settings), replica_limits, draw=random.random)
        task = asyncio.create_task(budget.run())
        try:
            answer = await budget.acquire(ask)  # see ``permits.Budget.acquire``
        finally:
            task.cancel()
            await budget.close()
    """

    def __init__(
        self,
        budget_log: BudgetLog,
        rules: Rules,
        replica_limits: ReplicaLimits,
        *,
        draw: Callable[[], float],
        facts: Callable[[], ReplicaFacts | None] = lambda: None,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._log, self._rules, self._replica_limits, self._draw, self._clock = budget_log, rules, replica_limits, draw, clock
        self._writer = LogWriter(budget_log, clock, lambda record: self._reservations.lost(record), self._fail)  # noqa: PLW0108 - they are made below
        self._reader = LogReader(budget_log, rules, self, clock)
        self._reservations = Reservations(rules, self._writer, replica_limits.calls_max, clock)
        self._claims, self._alerts = Claims(self._writer), AlertTracker()
        self._writer.on_post, self._writer.on_send = self._reader.hurry, self._reader.expect
        self._writer.may_group = lambda: self._joined.is_set() and self.state.may_group(clock())
        self._lines = Lines(rules, replica_limits, lambda: self.state, clock, lambda q: self._tasks.spawn(self._dispatch(q), q.endpoint))
        self._heartbeat = Heartbeat(rules, replica_limits, budget_log, lambda: self.waiting, draw, facts, lambda: self._lines.tenants)
        self._reading = self._closed = False  # the past is read; nobody is served any more
        self._joined = asyncio.Event()  # and the log has a name
        self.namesake_heard = asyncio.Event()  # ``has_senior`` may have become true; for who waits for that, to be cleared
        self._client = ""  # our name in the log, a new one each time that we join it
        self._timer = EarliestTimer(self._start_ready, _START_S_MAX)
        self._tasks = WatchedTasks(self._fail)
        self.history = LaneHistory(budget_log, self._reader, self._writer, self._joined, lambda: self.state, self._hold_new, clock)
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # a task of ours has raised

    @property
    def state(self) -> BudgetState:
        """What the log says."""
        return self._reservations.state

    @property
    def is_joined(self) -> bool:
        """Whether the log is read and followed, so that calls may be asked for."""
        return self._joined.is_set()

    @property
    def has_senior(self) -> bool:
        """Whether another process works under our instance name, and came first."""
        return self.state.replicas.has_senior(self._client, self._clock())

    @property
    def group(self) -> str:
        """In which our instance name is unique."""
        return self._replica_limits.group

    @property
    def silence_s(self) -> float:
        """Since the log last gave something; we write to it every ten seconds ourselves."""
        return self._clock() - self._reader.heard_at

    @property
    def malformed_count(self) -> int:
        """Records of the log that were skipped, because they could not be read."""
        return self._reader.malformed_count

    @property
    def waiting(self) -> dict[str, int]:
        """Requests of this process that wait to start, by endpoint."""
        return self._lines.waiting

    # ---- for those who call

    async def acquire(self, ask: Ask) -> Acquired:
        """See ``permits.Budget.acquire``."""
        queue = self._lines.of(ask)
        queue.note_return(ask)
        while True:
            if self._closed:
                raise BudgetClosedError
            if (parked := self._lines.admit(queue, ask)) is not None:
                return parked
            turn = await self._turn(queue, ask)
            if isinstance(turn, Parked):
                return turn
            if turn is None:
                continue  # the budget has closed
            try:
                answer = await self._reserve(ask, turn)
            finally:
                queue.give_back(turn)
            if answer is not None:
                return answer

    async def claim(self, identity: CallIdentity) -> Duplicate | Conflict | InDoubt | None:
        """See ``permits.Budget.claim``."""
        return await self._claims.claim(identity)

    def park(self, place: Place, start: Callable[[], None]) -> ParkedWait:
        """See ``permits.Budget.park``."""
        return self._lines.park(place, start)

    def turn_away(self, place: Place, *, aside: bool) -> Parked | None:
        """See ``permits.Budget.turn_away``."""
        return None if self._closed else self._lines.turn_away(place, aside=aside)

    def release(self, permit: Permit, ending: Ending) -> None:
        """See ``permits.Budget.release``."""
        self._reservations.release(permit, ending)
        self._start_soon(0.0)

    def pause(self, scope: str, wait_s: float, limit: int | None = None) -> None:
        """See ``permits.Budget.pause``."""
        self.state.windows[scope].hold_back(wait_s, self._clock())
        self._writer.post(Paused(scope, wait_s, limit=limit), for_s=wait_s)

    def is_down(self, endpoint: str) -> bool:
        """See ``permits.Budget.is_down``."""
        return self.state.breaker(endpoint).open

    def is_paused(self, endpoint: str) -> bool:
        """See ``permits.Budget.is_paused``."""
        return self.state.pauses.stops(endpoint)

    def obey(self, pauses: Pauses) -> None:
        """These are the operators' pauses from now on. What waits is withdrawn or begins; all replicas are told that this one knows."""
        self.state.pauses = pauses
        self._start_ready()
        if self._joined.is_set():
            self._writer.post(self._alive(lost=False))

    # ---- start and end

    async def run(self) -> None:
        """Follow the log until cancelled.

        Raises:
            Exception: a fault of this program, not of the log; the budget is closed then.
        """
        reader = self._tasks.spawn(self._reader.run(), "budget log reader")
        self._tasks.spawn(self._send_heartbeats(), "budget heartbeat")
        self._tasks.spawn(self._tell_done(), "finished records")
        try:
            await self._failed
        finally:
            self._refuse()
            reader.cancel()
            await asyncio.wait({reader}, timeout=_CLOSE_S)

    async def close(self) -> None:
        """End everything; whoever waits gets ``BudgetClosedError``. May be called twice."""
        self._refuse()
        await self._tasks.end(_CLOSE_S)
        await self._writer.close()
        await self._log.close()

    # ---- what the log says, see ``log_reader.LogListener``

    @property
    def awaits_records(self) -> bool:
        """See ``log_reader.LogListener.awaits_records``."""
        return bool(self._reservations or self._claims) or not self._joined.is_set()

    def joining(self, *, lost: bool) -> Alive:
        """See ``log_reader.LogListener.joining``."""
        state = BudgetState(self._rules, self._draw())
        state.follow_on(self.state, self._client, self._clock())
        if lost:
            state.journal.outlive_log()
        self._client = uuid.uuid4().hex[:10]
        self._reservations.follow(state, self._client)
        self._claims.follow(self._client)
        return self._alive(lost=lost)

    def apply_record(self, record: LogRecord, place: int, at: float, stamp_ms: int) -> None:
        """See ``log_reader.LogListener.apply_record``."""
        news = self._reservations.state.apply(
            record, place, at, stamp_ms, mine=isinstance(record, Asked) and record.id in self._reservations
        )
        match record:
            case Asked() if news:
                self._reservations.ask_read(record, place)
            case Begun():
                self._reservations.begin_read(record, may_call=news)
            case Claimed():
                self._claims.read(record, place, self.state.journal)
            case Alive() if (record.group, record.instance) == (self._replica_limits.group, self._replica_limits.instance):
                self.namesake_heard.set()
                if news and self._joined.is_set():
                    self._writer.post(self._alive(lost=False))  # a newcomer under our name shall know at once that it is taken

    def apply_usual(self, ask: UsualAsk, place: int, at: float, stamp_ms: int) -> bool:
        """See ``log_reader.LogListener.apply_usual``."""
        return not self._reservations.is_ours(ask[0]) and self._reservations.state.apply_usual(ask, place, at, stamp_ms)

    def apply_answered(self, ask_id: str, at: float, stamp_ms: int, *, acted: bool) -> bool:
        """See ``log_reader.LogListener.apply_answered``."""
        return self._reservations.state.apply_answered(ask_id, at, stamp_ms, acted=acted)

    def missing(self, offset: int, at: float) -> None:
        """See ``log_reader.LogListener.missing``."""
        self.state.miss(offset, at)

    def joined(self, start: int, open_at: float) -> None:
        """See ``log_reader.LogListener.joined``."""
        self.state.read_back_from(start)
        self._reservations.open_at, self._reading = open_at, True
        self.history.joined()
        self._writer.send_again_now()  # that calls were not made, before they are asked for again
        if not self.state.log_name:  # a new log; of several names that are given it at once the first one counts
            self._writer.post(self._alive(lost=False, log_name=uuid.uuid4().hex[:8]), for_s=NAMING_S)
        self.caught_up()

    def caught_up(self) -> None:
        """See ``log_reader.LogListener.caught_up``."""
        self.state.naming.check()
        if self._reading and self.state.log_name:
            self._joined.set()
        self._start_ready()
        for alert in self._alerts.changes(self.state, self._clock()):
            getattr(log, alert.level)(alert.event, **alert.fields)

    def left(self) -> None:
        """See ``log_reader.LogListener.left``."""
        self.history.left()
        self._joined.clear()
        self._reading, self._reservations.open_at = False, float("inf")
        self._reservations.withdraw_all()
        self._claims.withdraw_all()

    def _hold_new(self) -> None:
        """A lane, or we, come from another log: what was called under that one is not in ours, and may count until all of it is over."""
        until = self._reader.begun_at + self._rules.horizon_s
        if until > max(self._clock(), self._reservations.open_at, self.state.blocked_until):
            log.critical("budget_log_replaced", wait_s=round(until - self._clock(), 1), hint="no call starts until older ones are over")
            self._reservations.open_at = until
            self._writer.post(self._alive(lost=True))

    # ---- from the queue to the log

    async def _turn(self, queue: EndpointQueue, ask: Ask) -> Turn | Parked | None:
        if queue.waiters or not self._askable(queue) or self.state.shut(queue.endpoint) or not queue.paced():
            return await queue.wait_turn(ask)
        await queue.pace()  # does not wait
        return queue.open_turn(FREELY)

    async def _reserve(self, ask: Ask, turn: Turn) -> Acquired | None:
        """Send an ask and wait for its answer; None if it was withdrawn, and is to be asked for again."""
        if self._closed:
            return None
        reservation = self._reservations.request(ask, probe=turn.probe)
        self._start_soon(self._rules.wait_s)
        try:
            return await reservation.answer
        except asyncio.CancelledError:
            self._reservations.cancel(reservation)
            raise

    def _askable(self, queue: EndpointQueue) -> bool:
        now = self._clock()
        return (
            now >= self._reservations.open_at
            and not queue.full(self._reservations.useful_asks)
            and self._lines.held_s(queue, self._client) <= 0
            and self.state.passable(queue.endpoint, now)
            and not (self.state.shut(queue.endpoint) and any(other.probing for other in self._lines))
            and self.state.paused_for_s(queue.scopes, now) <= 0
        )

    async def _dispatch(self, queue: EndpointQueue) -> None:
        """Give turns to those who wait, while asking is of use, and call in who waits for room."""
        while not self._closed:
            queue.changed.clear()
            queue.parked.call_in()
            if not queue.waiters or not self._askable(queue):
                await queue.wait_change(min(_DISPATCH_S, self._lines.held_s(queue, self._client) or _DISPATCH_S))
                continue
            if not await queue.pace() or self._askable(queue):
                queue.give_turn(AS_PROBE if self.state.shut(queue.endpoint) else FREELY)

    # ---- from the log to the call

    def _start_ready(self) -> None:
        """Start what may start: after each batch of records, and when a time has come."""
        next_at = self._reservations.start_ready()
        self._lines.wake(self._reservations.withdraw_all)
        self._start_soon(next_at - self._clock())

    def _start_soon(self, delay_s: float) -> None:
        """Start what may start when so much time has passed, or before."""
        if self._reservations and not self._closed:
            self._timer.set(delay_s)

    async def _tell_done(self) -> None:
        """Say what lanes have finished since they said so last, and nothing has followed."""
        while not self._closed:
            await asyncio.sleep(DONE_EVERY_S)
            if self._joined.is_set():
                self.history.tell_done()

    async def _send_heartbeats(self) -> None:
        """Say that we are here, and say pauses again for those who join later."""
        while not self._closed:
            await asyncio.sleep(ALIVE_EVERY_S)
            if not self._joined.is_set():
                continue
            self._writer.post(self._alive(lost=False))
            self._lines.share_out()
            for paused in self._heartbeat.told_again(self.state, self._clock()):
                self._writer.post(paused)

    def _alive(self, *, lost: bool, log_name: str = "") -> Alive:
        return self._heartbeat.alive(self._client, self.state.log_name or log_name, lost=lost)

    def _refuse(self) -> None:
        self._closed = True
        self._reservations.withdraw_all()
        self._claims.close()
        self._timer.stop()
        self._lines.end_waits()

    def _fail(self, error: BaseException) -> None:
        """``run`` raises it, and nobody waits any more for a task that is gone."""
        self._refuse()
        if not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # if nobody runs us, it is not reported as lost
