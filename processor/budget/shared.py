"""The budget of all replicas: asks through the log, and starts a call when the log as read says so.

``acquire`` waits in a line for a turn, appends the ask, waits until it is read back and may start, and takes a call slot of
the process. Waiting holds no slot and ends at once on cancellation.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from aiolimiter import AsyncLimiter

from processor.budget.alerts import AlertTracker
from processor.budget.endpoint_queue import EndpointQueue, Turn, endpoint_queue
from processor.budget.log import BudgetLog
from processor.budget.log_reader import LogReader
from processor.budget.log_records import Alive, Asked, Begun, LogRecord, Paused
from processor.budget.log_writer import LogWriter
from processor.budget.permits import Acquired, Ask, BudgetClosedError, Ending, LogPosition, Parked, Permit
from processor.budget.replay import replay_lane
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.reservations import Reservations
from processor.budget.state import ALIVE_EVERY_S, BudgetState, Rules
from processor.clock import boot_clock
from processor.contract.codes import ErrorCode

log = structlog.get_logger(__name__)

_CLOSE_S = 1.0
_PACER_BURST = 2  # with 1, all time by which a timer is late is lost
_DISPATCH_S = 1.0
_NAMING_S = 20.0


class SharedBudget:
    """See ``permits.Budget``. To be made inside a running loop; ``run`` follows the log until it is cancelled."""

    def __init__(
        self,
        budget_log: BudgetLog,
        rules: Rules,
        replica_limits: ReplicaLimits,
        *,
        draw: Callable[[], float],
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._log, self._rules, self._replica_limits, self._draw, self._clock = budget_log, rules, replica_limits, draw, clock
        self._outbox = LogWriter(budget_log, clock, self._fail)
        self._asks = Reservations(rules, self._outbox, replica_limits.calls_max, clock, self._wake_lines)
        self._follower = LogReader(budget_log, rules, self, clock)
        self._alerts = AlertTracker()
        self._pacers = {s: AsyncLimiter(_PACER_BURST, _PACER_BURST * window_s / limit) for s, (limit, window_s) in rules.limits.items()}
        self._lines: dict[str, EndpointQueue] = {}
        self._reading = False  # the past is read
        self._joined = asyncio.Event()  # and the log has a name
        self._client = ""  # our name in the log, a new one each time that we join it
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # a task of ours has raised

    @property
    def state(self) -> BudgetState:
        """What the log says."""
        return self._asks.state

    @property
    def is_joined(self) -> bool:
        """Whether the log is read and followed, so that calls may be asked for."""
        return self._joined.is_set()

    @property
    def has_senior(self) -> bool:
        """Whether another process works under our instance name, and came first."""
        return self.state.has_senior(self._client, self._clock())

    @property
    def silence_s(self) -> float:
        """Since the log last gave something; we write to it every ten seconds ourselves."""
        return self._clock() - self._follower.heard_at

    @property
    def waiting(self) -> dict[str, int]:
        """Requests of this process that wait to start, by endpoint."""
        return {line.endpoint: len(line.queue) + line.outstanding for line in self._lines.values()}

    # ---- for those who call

    async def acquire(self, ask: Ask) -> Acquired:
        """See ``permits.Budget.acquire``."""
        line = self._lines.get(ask.endpoint) or self._line(ask)
        line.welcome(ask)
        while True:
            if (parked := self._admit(line, ask)) is not None:
                return parked
            turn = await self._turn(line, ask)
            if isinstance(turn, Parked):
                return turn
            if turn is None:
                continue  # the budget has closed
            try:
                answer = await self._asks.ask(ask, probe=turn.probe)
            finally:
                line.give_back(turn)
            if answer is not None:
                return answer

    def release(self, permit: Permit, ending: Ending) -> None:
        """See ``permits.Budget.release``.

        Raises:
            ValueError: if it was released before.
        """
        if permit.released:
            raise ValueError("a permit was released twice")
        permit.released = True
        self._asks.release(permit, ending)

    def pause(self, scope: str, wait_s: float) -> None:
        """See ``permits.Budget.pause``."""
        self.state.windows[scope].hold_back(wait_s, self._clock())
        self._outbox.post(Paused(scope, wait_s), for_s=wait_s)

    def is_down(self, endpoint: str) -> bool:
        """See ``permits.Budget.is_down``."""
        return self.state.breaker(endpoint).open

    # ---- for lanes, see ``stream.work.CallJournal``

    def position(self) -> LogPosition:
        """See ``stream.work.CallJournal.position``."""
        return LogPosition(self.state.log_name, self._follower.next)

    async def replay_lane(
        self, lane: str, since: LogPosition | None, unfinished: Callable[[int], bool]
    ) -> tuple[bool, dict[int, LogPosition]]:
        """See ``stream.work.CallJournal.replay_lane``."""
        await self._joined.wait()
        name, read_to = self.position()
        known = since is None or since.log == name
        offset = read_to if since is None else since.offset if known else 0
        reaches, first_calls = await replay_lane(self._log, self.state.journal, lane, offset, read_to, unfinished)
        return known and reaches, {record: LogPosition(name, at) for record, at in first_calls.items()}

    def forget(self, lane: str) -> None:
        """See ``stream.work.CallJournal.forget``."""
        self.state.journal.replayed_calls.pop(lane, None)

    # ---- life

    async def run(self) -> None:
        """Follow the log until cancelled.

        Raises:
            Exception: a fault of this program, not of the log; the budget is closed then.
        """
        reader = self._spawn(self._follower.run(), "budget log reader")
        self._spawn(self._send_heartbeats(), "budget heartbeat")
        try:
            await self._failed
        finally:
            self._refuse()
            reader.cancel()
            await asyncio.wait({reader}, timeout=_CLOSE_S)

    async def close(self) -> None:
        """End everything; whoever waits gets ``BudgetClosedError``. May be called twice."""
        self._refuse()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)
        await self._outbox.close()
        await self._log.close()

    # ---- the follower's listener

    def begin(self, *, lost: bool) -> Alive:
        """See ``follower.LogListener.begin``."""
        state = BudgetState(self._rules, self._draw())
        state.follow_on(self.state, self._client)
        if lost:
            for replayed in state.journal.replayed_calls.values():
                replayed.outlive_log()
        self._client = uuid.uuid4().hex[:10]
        self._asks.begin(state, self._client)
        return self._alive(lost=lost)

    def take(self, record: LogRecord, offset: int, at: float, stamp_ms: int) -> None:
        """See ``follower.LogListener.take``."""
        if isinstance(record, Asked):
            self._asks.take(record, offset, at, stamp_ms)
        elif isinstance(record, Begun):
            self._asks.begun(record, may_call=self.state.apply(record, offset, at, stamp_ms))
        elif (
            self.state.apply(record, offset, at, stamp_ms)
            and self._reading
            and getattr(record, "instance", "") == self._replica_limits.instance
        ):
            self._outbox.post(self._alive(lost=False))  # a newcomer under our name shall know at once that it is taken

    def joined(self, start: int, open_at: float) -> None:
        """See ``follower.LogListener.joined``."""
        self.state.journal.floor = max(start, self.state.journal.floor)
        self._asks.open_at = open_at
        self._reading = True
        if not self.state.log_name:  # a new log; of several names that are given it at once the first one counts
            self._outbox.post(self._alive(lost=False, log_name=uuid.uuid4().hex[:8]), for_s=_NAMING_S)
        self.caught_up()

    def caught_up(self) -> None:
        """See ``follower.LogListener.caught_up``."""
        if self._reading and self.state.log_name:
            self._joined.set()
        self._asks.start_ready()
        for notice in self._alerts.changes(self.state, self._clock()):
            getattr(log, notice.level)(notice.event, **notice.fields)

    def left(self) -> None:
        """See ``follower.LogListener.left``."""
        self._joined.clear()
        self._reading = False
        self._asks.open_at = float("inf")
        self._asks.give_up()

    # ---- lines

    def _admit(self, line: EndpointQueue, ask: Ask) -> Parked | None:
        if self._asks.closed:
            raise BudgetClosedError
        now = self._clock()
        paused_s = self.state.paused_for_s(ask.scopes, now)
        if paused_s > self._replica_limits.park_s:
            return Parked(ErrorCode.SCOPE_PAUSED, paused_s)
        if len(line.queue) >= self._replica_limits.queue_max and self.state.others_wanted(line.endpoint, now):
            return line.make_room(ask)
        return None

    async def _turn(self, line: EndpointQueue, ask: Ask) -> Turn | Parked | None:
        if line.queue or not self._askable(line) or self.state.shut(line.endpoint) or not line.paced():
            return await line.turn(ask)
        await line.pace()  # does not wait
        return line.open_turn(Turn())

    def _askable(self, line: EndpointQueue) -> bool:
        now = self._clock()
        return (
            now >= self._asks.open_at
            and not line.full
            and self.state.passable(line.endpoint, now)
            and not (self.state.shut(line.endpoint) and any(other.probing for other in self._lines.values()))
            and self.state.paused_for_s(line.scopes, now) <= 0
        )

    def _wake_lines(self) -> None:
        now = self._clock()
        for line in self._lines.values():
            paused_s = self.state.paused_for_s(line.scopes, now)
            if paused_s > self._replica_limits.park_s:
                line.end_waits(Parked(ErrorCode.SCOPE_PAUSED, paused_s))
                self._asks.give_up(line.endpoint, Parked(ErrorCode.SCOPE_PAUSED, paused_s))
            if line.queue:
                line.changed.set()

    def _line(self, ask: Ask) -> EndpointQueue:
        line = self._lines[ask.endpoint] = endpoint_queue(ask, self._rules.limits, self._pacers, self._replica_limits.calls_max)
        self._spawn(self._dispatch(line), f"budget {ask.endpoint}")
        return line

    async def _dispatch(self, line: EndpointQueue) -> None:
        """Give turns to those who wait, while asking is of use."""
        while not self._asks.closed:
            line.changed.clear()
            if not line.queue or not self._askable(line):
                with suppress(TimeoutError):  # a pause may be over, or a probe due
                    async with asyncio.timeout(_DISPATCH_S if line.queue else None):
                        await line.changed.wait()
                continue
            await line.pace()
            if self._askable(line):
                line.hand_over(Turn(probe=self.state.shut(line.endpoint)))

    # ---- signs of life

    async def _send_heartbeats(self) -> None:
        """Say that we are here, and say long pauses again for those who join later."""
        while not self._asks.closed:
            await asyncio.sleep(ALIVE_EVERY_S)
            if not self._joined.is_set():
                continue
            self._outbox.post(self._alive(lost=False))
            now, again_s = self._clock(), self._rules.memory_s / 4 * (1 + self._draw())
            for line in self._lines.values():
                line.share_with(max(1, self.state.wanting(line.endpoint, now)))
            for scope, window in self.state.windows.items():
                if window.paused_until > now and now - window.pause_sent_at > again_s:
                    self._outbox.post(Paused(scope, window.paused_until - now, counts=False))

    def _alive(self, *, lost: bool, log_name: str = "") -> Alive:
        r, name = self._rules, self.state.log_name or log_name
        return Alive(self._client, self._replica_limits.instance, r.counts, r.windows_s, self.waiting, lost=lost, log_name=name)

    def _refuse(self) -> None:
        self._asks.close()
        for line in self._lines.values():
            line.end_waits(None)
            line.changed.set()

    def _spawn(self, coro: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """``run`` raises it, and nobody waits any more for a task that is gone."""
        self._refuse()
        if not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # if nobody runs us, it is not reported as lost
