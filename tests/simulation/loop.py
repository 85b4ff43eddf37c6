"""One event loop for all hosts of a simulated world: virtual time, asyncio's own order, and hosts that can be killed or frozen.

asyncio promises that callbacks run in the order in which they were scheduled, so that order is kept: what differs from seed to seed is
when messages arrive (``network``) and what is disturbed. A turn of the loop takes some virtual microseconds, so that time never stands
still and rounding cannot arm a timer for ever.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import socket
from asyncio import format_helpers
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_TURN_S = 20e-6
_TURNS_MAX = 45_000  # in one virtual second: more than nine tenths of it are turns that wait for nothing
_NOTED = 500  # of them, the last: what ran in them is told
_HEAP_SWEEP = 500
START_S = 1_000.0


class DeadlockError(Exception):
    """Every task waits and no timer is set."""


class SpinError(Exception):
    """Somebody computes without end: the text names the callbacks that ran most."""


class State(enum.Enum):
    """What a host does."""

    UP = "up"
    FROZEN = "frozen"  # it stands: its connections stay, whatever it should do is done when it thaws
    DEAD = "dead"


class Host:
    """A machine with one process on it.

    Attributes:
        wall_offset_s: how far its wall clock is ahead of true time now, s; setting it is a step, and ends a drift.
        lives: how often it was started.
        on_exit: called with the status when its process ends by itself.
        signals: what its process does on a signal, by number.
    """

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.name, self.lives = name, 0
        self._wall = (0.0, 0.0, 0.0)  # offset, drift per second, since when
        self.state = State.UP
        self.on_exit: Callable[[int], None] = lambda _status: None  # its process has ended by itself
        self.signals: dict[int, Callable[[], object]] = {}  # what its process does on a signal
        self._loop = loop
        self._held: list[asyncio.Handle] = []  # what waits for the thaw
        self._graves: list[list[asyncio.Task[Any]]] = []  # a task that is killed must not be collected: its ``finally`` would run
        self._tasks: list[asyncio.Task[Any]] = []
        self._sweep_at = 200
        self.context = copy_context()
        self.context.run(HOST.set, self)

    @property
    def wall_offset_s(self) -> float:
        offset_s, drift, since_s = self._wall
        return offset_s + drift * (self._loop.time() - since_s)

    @wall_offset_s.setter
    def wall_offset_s(self, offset_s: float) -> None:
        self._wall = (offset_s, 0.0, self._loop.time())

    def drift(self, per_s: float) -> None:
        """From now on its wall clock gains so much in each second."""
        self._wall = (self.wall_offset_s, per_s, self._loop.time())

    def spawn(self, run: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task in this host's process."""
        return self._loop.create_task(run, name=name, context=self.context.copy())

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Keep a task alive for as long as it runs."""
        self._tasks.append(task)
        if len(self._tasks) > self._sweep_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._sweep_at = 200 + 2 * len(self._tasks)

    @property
    def tasks(self) -> Sequence[asyncio.Task[Any]]:
        """Of its process; some are done."""
        return self._tasks

    def hold(self, handle: asyncio.Handle) -> None:
        """A callback of a frozen host: it runs when the host thaws."""
        self._held.append(handle)

    def freeze(self) -> None:
        """Stop running anything."""
        self.state = State.FROZEN

    def thaw(self) -> None:
        """Run what was held."""
        self.state = State.UP
        self._loop.resume(self._held)
        self._held = []

    def kill(self) -> None:
        """Nothing of it runs any more, no ``finally`` either. Its connections are the network's affair."""
        self.state = State.DEAD
        self._graves.append(self._tasks)
        self._tasks, self._held = [], []

    def revive(self) -> Host:
        """The host with a new, empty process: another object, so that nothing of the former life can run in it."""
        heir = Host(self._loop, self.name)
        heir.on_exit = self.on_exit
        heir._wall, heir.lives, heir._graves = self._wall, self.lives + 1, self._graves
        return heir


_UP = State.UP
HOST: ContextVar[Host | None] = ContextVar("simulated_host", default=None)


class _Numbered:
    """Hashed by its number and not by its address: sets of tasks are walked in the same order in each run."""

    _number = 0

    def __hash__(self) -> int:
        return self._number


class _Task(_Numbered, asyncio.Task[T]):
    def __init__(self, number: int, run: Coroutine[Any, Any, T], **options: Any) -> None:
        self._number = number  # first: asyncio puts a task into a set while it is made
        super().__init__(run, **options)


class _Future(_Numbered, asyncio.Future[Any]):
    pass


class _Handle(asyncio.Handle):
    """asyncio's own, which asks its loop each time whether it is debugged."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., object], args: Any, loop: SimulatedLoop, context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]  # as asyncio does: nobody calls it any more


class _TimerHandle(asyncio.TimerHandle):
    """The same. Two of one time are not compared any further: the heap takes them as they come."""

    __slots__ = ()

    def __init__(self, when: float, callback: Callable[..., object], args: Any, loop: SimulatedLoop, context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None
        self._when, self._scheduled = when, False

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]  # as asyncio does: nobody calls it any more


class Connects(Protocol):
    """What the loop asks a network for; see ``network.Network``."""

    async def connect(self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int) -> Any:
        """A connection from the host that runs now: transport and protocol."""

    def listen(self, factory: Callable[[], asyncio.BaseProtocol], host: str | None, port: int) -> Any:
        """A server of the host that runs now."""

    def resolve(self, name: str) -> str:
        """The address of a host, by name."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop. ``network`` is to be set before anything connects.

    Raises:
        DeadlockError: out of ``run_until_complete``, if nothing could ever happen again.
        SpinError: out of ``run_until_complete``.
    """

    _ready: deque[asyncio.Handle]  # asyncio's own
    get_debug = bool  # never; it is asked for each task and each future, and a type is called without a frame

    def __init__(self) -> None:
        super().__init__()
        self.network: Connects | None = None
        self.turns = self.steps = 0
        self.digest = 0  # of which host ran how many callbacks when
        self._now, self._numbers = START_S, 0
        self._second, self._turns_before = int(START_S), 0
        self._connecting: dict[int, tuple[str, int]] = {}
        self._fault: BaseException | None = None
        self._often: Counter[str] = Counter()
        self._timers: list[tuple[float, asyncio.TimerHandle]] = []  # a heap

    def time(self) -> float:
        return self._now

    def resume(self, handles: list[asyncio.Handle]) -> None:
        """Run callbacks that were held, in their order."""
        self._ready.extend(handles)

    def fail(self, fault: BaseException) -> None:
        """The model itself is wrong: end the world with this error."""
        self._fault = self._fault or fault

    def _run_once(self) -> None:
        if self._fault is not None:
            raise self._fault
        timers, ready = self._timers, self._ready
        while timers and timers[0][1]._cancelled:  # noqa: SLF001 - asyncio's loops do so
            heapq.heappop(timers)
        if self.turns % _HEAP_SWEEP == 0:
            timers[:] = [timer for timer in timers if not timer[1].cancelled()]
            heapq.heapify(timers)
        if not ready:
            if not timers:
                raise DeadlockError
            self._now = max(self._now, timers[0][0])
        now = self._now = self._now + _TURN_S
        while timers and timers[0][0] <= now:
            ready.append(heapq.heappop(timers)[1])
        self._run_ready(len(ready), noted=self.turns - self._turns_before > _TURNS_MAX - _NOTED)
        self.turns += 1
        if self.turns - self._turns_before > _TURNS_MAX or int(now) != self._second:
            self._watch_for_spin()

    def _run_ready(self, count: int, *, noted: bool) -> None:
        """So many callbacks. All of it in one function, because a world runs hundreds of thousands of them."""
        popleft, host_of = self._ready.popleft, HOST
        for _ in range(count):
            handle: Any = popleft()
            if handle._cancelled:  # noqa: SLF001 - asyncio's loops do so
                continue
            context = handle._context  # noqa: SLF001 - whose callback this is stands nowhere else
            host = context.get(host_of)
            if host is None or host.state is _UP:
                self.steps += 1
                if noted:
                    self._note_step(handle, host)
                try:
                    context.run(handle._callback, *handle._args)  # noqa: SLF001 - as ``Handle._run`` does
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:  # noqa: BLE001 - told as asyncio tells it
                    self._tell_fault(handle, exc)
            elif host.state is State.FROZEN:
                host.hold(handle)

    def _tell_fault(self, handle: Any, exc: BaseException) -> None:
        source = format_helpers._format_callback_source(handle._callback, handle._args)  # noqa: SLF001 - asyncio's text
        self.call_exception_handler({"message": f"Exception in callback {source}", "exception": exc, "handle": handle})

    # asyncio's own, without what is of no use here: checks for threads and debugging, and timers that are compared by a method of theirs

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _TimerHandle(self._now + delay, callback, args, self, context)
        heapq.heappush(self._timers, (timer._when, timer))  # noqa: SLF001 - as in ``call_at``
        return timer

    def _watch_for_spin(self) -> None:
        spent = self.turns - self._turns_before
        if spent > _TURNS_MAX:
            often = ", ".join(f"{count} times {who}" for who, count in self._often.most_common(8))
            raise SpinError(f"{spent} turns of the loop in one second; of the last steps {often}")
        if int(self._now) != self._second:
            self.digest = hash((self.digest, self.steps, round(self._now * 1e6)))
            self._second, self._turns_before = int(self._now), self.turns
            self._often.clear()

    def _note_step(self, handle: asyncio.Handle, host: Host | None) -> None:
        owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # noqa: SLF001 - for a person to read
        what = owner.get_coro() if isinstance(owner, asyncio.Task) else handle._callback  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        self._often[f"{host.name if host is not None else 'nobody'}: {getattr(what, '__qualname__', what)}"] += 1

    def create_task(self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        """As asyncio's; a task belongs to the host that makes it."""
        self._numbers += 1
        name = options.pop("name", None) or f"task-{self._numbers}"
        task = _Task(self._numbers, coro, loop=self, name=name, **options)  # type: ignore[arg-type]
        context: Context | None = options.get("context")
        host = HOST.get() if context is None else context.get(HOST)
        if host is not None:
            host.adopt(task)
        return task

    def create_future(self) -> asyncio.Future[Any]:
        future = _Future(loop=self)
        future._number = self._numbers = self._numbers + 1  # noqa: SLF001 - of a class of this module
        return future

    def run_in_executor(self, _executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """No threads: it runs in the next turn."""
        future = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as exc:  # noqa: BLE001 - as an executor does
                future.set_exception(exc)

        self.call_soon(run)
        return future

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Over the simulated network; ``sock`` is one that ``sock_connect`` has seen."""
        assert self.network is not None
        sock: socket.socket | None = options.get("sock")
        if sock is not None:
            host, port = self._connecting.pop(sock.fileno())
            sock.close()
        return await self.network.connect(protocol_factory, host, port)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """Of the host that runs now."""
        assert self.network is not None
        return self.network.listen(protocol_factory, host, port or 0)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Only notes where to: ``create_connection`` connects."""
        self._connecting[sock.fileno()] = (address[0], address[1])

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        """One address for each name."""
        assert self.network is not None
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (self.network.resolve(host), port))]

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        """Of the host that runs now."""
        host = HOST.get()
        assert host is not None, "only hosts get signals"
        host.signals[sig] = lambda: self.call_soon(callback, *args, context=host.context)

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""
