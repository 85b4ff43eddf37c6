"""The parts of a processor, each a small fake that raises in its turn: none ends unseen, and the lanes always drain first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from metric_values import metric_value
from structlog.testing import capture_logs
from virtual_time import run_virtual, wait_minutes

from processor.observe.health import Phase, live, ready
from processor.runtime.process_status import ProcessStatus
from processor.runtime.process_tasks import EXIT_FAILED, EXIT_STOPPED, ProcessTasks
from processor.runtime.shutdown import limit_stop
from processor.worker.service import WorkerParts, start_worker

ESSENTIAL = ("budget", "webhook topic", "lanes")
RESTARTED = ("survey", "budget history", "dead-letter count", "wake-up feed", "topic checks", "balance")


@dataclass
class Worker:
    """Parts that note what they do; ``broken`` names the one that raises after a minute."""

    broken: str = ""
    started: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def task(self, name: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def run() -> None:
            self.started.append(name)
            try:
                await asyncio.sleep(60)
                if name == self.broken:
                    raise ZeroDivisionError("Zoë Müller")
                await asyncio.Event().wait()
            finally:
                self.ended.append(name)

        return run

    def closing(self, name: str) -> Callable[[], Awaitable[None]]:
        async def close() -> None:
            self.ended.append(name)

        return close

    async def lanes(self, client: object, term: asyncio.Event) -> int:
        assert client == "client"
        run = asyncio.create_task(self.task("lanes")())
        stop = asyncio.create_task(term.wait())
        await asyncio.wait({run, stop}, return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            await run
        await asyncio.sleep(2)  # the drain
        run.cancel()
        await asyncio.wait({run})
        return EXIT_STOPPED

    async def receiver(self, tasks: ProcessTasks) -> None:
        tasks.start("webhook topic", self.task("webhook topic")())

    @asynccontextmanager
    async def client(self) -> AsyncIterator[str]:
        yield "client"
        self.ended.append("client")

    def parts(self) -> WorkerParts:
        return WorkerParts(
            budget=self.task("budget"),
            close_budget=self.closing("budget log"),
            close_known_results=self.closing("known results"),
            close_monitor=self.closing("monitor"),
            survey=self.task("survey"),
            history=self.task("budget history"),
            dead_letters=self.task("dead-letter count"),
            feed=self.task("wake-up feed"),
            topic_checks=self.task("topic checks"),
            receiver=self.receiver,
            client=cast("Any", self.client()),
            balance=lambda _: self.task("balance")(),
            lanes=self.lanes,
        )


async def work(worker: Worker, status: ProcessStatus, minutes: float) -> int:
    term = asyncio.Event()
    async with ProcessTasks(term, status) as tasks:
        await start_worker(tasks, worker.parts(), drain_s=10.0)
        status.enter(Phase.WORKING)
        await wait_minutes(term, minutes)
    return tasks.exit_status


def test_the_stop_is_the_start_backwards() -> None:
    worker = Worker()
    with capture_logs() as logs:
        assert run_virtual(work(worker, ProcessStatus(30.0, 120.0), 3)) == EXIT_STOPPED
    assert logs == []
    assert worker.started == [
        "budget",
        "survey",
        "budget history",
        "dead-letter count",
        "wake-up feed",
        "topic checks",
        "webhook topic",
        "balance",
        "lanes",
    ]
    assert worker.ended == [
        "lanes",
        "balance",
        "client",
        "webhook topic",
        "topic checks",
        "wake-up feed",
        "dead-letter count",
        "budget history",
        "survey",
        "monitor",
        "known results",
        "budget",
        "budget log",
    ]


@pytest.mark.parametrize("name", ESSENTIAL)
def test_a_part_without_which_the_process_is_of_no_use_ends_it(name: str) -> None:
    worker, status = Worker(name), ProcessStatus(30.0, 120.0)
    before = metric_value("vp_task_failures_total", task=name) or 0.0
    with capture_logs() as logs:
        assert run_virtual(work(worker, status, 3)) == EXIT_FAILED
    assert [(entry["event"], entry["task"], entry["error"]) for entry in logs] == [("task_failed", name, "ZeroDivisionError")]
    assert logs[0]["at"].startswith("test_worker_service.py:")
    assert metric_value("vp_task_failures_total", task=name) == before + 1
    health = ready(status.vitals()["default"])
    assert not health.ok
    assert f"the task {name!r} failed" in health.reasons[0]
    assert live(status.vitals()["default"]).ok
    rest = [part for part in ("lanes", "client", "webhook topic", "wake-up feed", "monitor", "budget", "budget log") if part != name]
    assert [part for part in worker.ended if part in rest] == rest, "the others drain and close in their order"


@pytest.mark.parametrize("name", RESTARTED)
def test_a_part_that_requests_do_not_depend_on_is_started_again(name: str) -> None:
    worker, status = Worker(name), ProcessStatus(30.0, 120.0)
    with capture_logs() as logs:
        assert run_virtual(work(worker, status, 3)) == EXIT_STOPPED
    assert worker.started.count(name) == 3
    assert {(entry["event"], entry["task"]) for entry in logs} == {("task_failed", name)}
    assert worker.started.count("lanes") == 1


async def test_the_hard_limit_counts_from_whatever_begins_the_stop() -> None:
    begun: list[float] = []
    term = asyncio.Event()
    limiting = asyncio.create_task(limit_stop(term, 31.0, exit_after=begun.append))
    await asyncio.sleep(0)
    assert begun == []
    term.set()
    await limiting
    assert begun == [31.0]
