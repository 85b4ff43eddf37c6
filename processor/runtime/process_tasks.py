"""The tasks of a process: none ends unseen, and what was started first is stopped last, each step within its deadline.

``asyncio.TaskGroup`` watches as strictly, but on the first error it cancels all tasks at once. Here the others get the time to drain: a
task that fails begins the same orderly stop as SIGTERM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, TypeVar

import structlog

from processor.contract.times import duration
from processor.observe import metrics
from processor.observe.health import Phase
from processor.runtime.application_status import ApplicationStatus
from processor.runtime.process_status import ProcessStatus
from processor.stream.errors import describe, origin

EXIT_STOPPED = 0  # asked to stop, everything at hand is published
EXIT_FAILED = 1  # a task failed, or gave up
EXIT_UNUSABLE = 2  # configuration, addresses or topics must be corrected first

_CANCEL_S = 1.0  # a task that was cancelled ends within this time
_RESTART_S, _RESTART_S_MAX = 1.0, 60.0
_STEADY_S = 300.0  # a task that ran for so long begins again with the shortest wait

log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class ProcessTasks:
    """An async context: on leaving it, everything is stopped in the reverse order of its start.

    Attributes:
        term: set when the process is to stop, by a signal or by a task that ended unasked.
        exit_status: of the process; the first reason counts.
    """

    def __init__(self, term: asyncio.Event, status: ProcessStatus | ApplicationStatus) -> None:
        self.term = term
        self.exit_status = EXIT_STOPPED
        self._status = status
        self._steps: list[Callable[[], Awaitable[None]]] = []  # of the stop, in the order of the start

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.term.set()
        while self._steps:
            await self._steps.pop()()

    def start(self, name: str, run: Coroutine[Any, Any, int | None], *, drain_s: float = 0.0) -> None:
        """Run a task without which the process is of no use: if it raises, or returns before the stop, the process stops.

        Args:
            name: for log, metrics and probes.
            run: may return the exit status with which the process is to stop, if it has logged why.
            drain_s: at the stop it gets so long to return by itself, because it sees ``term``; then it is cancelled.
        """
        task = asyncio.get_running_loop().create_task(run, name=name)
        task.add_done_callback(self._ended)
        metrics.TASK_UP.labels(name).set(1)
        metrics.TASK_FAILURES.labels(name)  # so that the first failure is an increase
        self._steps.append(lambda: _stop_task(task, drain_s))

    def start_restarting(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task that requests do not depend on: when it ends it is started again, after a wait that grows to a minute."""
        self.start(name, self._keep_running(name, run))

    async def open(self, name: str, context: AbstractAsyncContextManager[_T], *, close_s: float) -> _T:
        """Enter a context; it is left at the stop, within ``close_s``."""
        entered = await context.__aenter__()
        self.close_later(name, lambda: context.__aexit__(None, None, None), within_s=close_s)
        return entered

    def close_later(self, name: str, close: Callable[[], Awaitable[object]], *, within_s: float) -> None:
        """Call ``close`` at the stop."""
        self._steps.append(lambda: _close(name, close, within_s))

    def end(self, exit_status: int) -> None:
        """Stop the process with this status, unless it has one."""
        self.exit_status = self.exit_status or exit_status
        self.term.set()

    def _ended(self, task: asyncio.Task[int | None]) -> None:
        name = task.get_name()
        metrics.TASK_UP.labels(name).set(0)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        exit_status = None if error is not None else task.result()
        if exit_status:
            self.end(exit_status)
        elif not self.term.is_set() or (error is not None and not task.cancelled()):
            log.critical("task_failed", task=name, **_failure(name, error), hint="the process stops; report it")
            self._status.enter(Phase.STOPPING, f"the task {name!r} failed, its log says task_failed")
            self.end(EXIT_FAILED)

    async def _keep_running(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            metrics.TASK_UP.labels(name).set(1)
            began = loop.time()
            error: BaseException | None = None
            try:
                await run()
            except Exception as exc:  # noqa: BLE001 - whatever ended it, it is noted and started again
                error = exc
            metrics.TASK_UP.labels(name).set(0)
            failures = 1 if loop.time() - began > _STEADY_S else failures + 1
            wait_s = restart_wait_s(failures)
            hint = f"it is started again in {duration(wait_s)}, and requests go on without it; report it"
            log.error("task_failed", task=name, **_failure(name, error), hint=hint)
            self._status.restarting.add(name)
            await asyncio.sleep(wait_s)
            self._status.restarting.discard(name)


def restart_wait_s(failures: int) -> float:
    """How long a task that has failed so many times in a row waits before it is started again."""
    return min(_RESTART_S * 2.0 ** min(failures - 1, 10), _RESTART_S_MAX)


def _failure(name: str, error: BaseException | None) -> dict[str, str]:
    """Count that a task ended unasked, and give how, for the log."""
    metrics.TASK_FAILURES.labels(name).inc()
    return {"error": "it returned"} if error is None else {"error": describe(error), "at": origin(error)}


async def _stop_task(task: asyncio.Task[int | None], drain_s: float) -> None:
    if not task.done() and drain_s:
        await asyncio.wait({task}, timeout=drain_s)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_S)
    if not task.done():
        log.error("stop_step_failed", step=task.get_name(), error=f"not done within {duration(drain_s + _CANCEL_S)}")


async def _close(name: str, close: Callable[[], Awaitable[object]], within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await close()
    except TimeoutError:
        log.error("stop_step_failed", step=name, error=f"not done within {duration(within_s)}")
    except Exception as exc:  # noqa: BLE001 - the steps after this one must be made all the same
        log.error("stop_step_failed", step=name, error=describe(exc))
