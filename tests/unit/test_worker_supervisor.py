"""Two processes with one instance id, on a log in memory and in virtual time: the later one ends its life as soon as it hears the other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from memory_log import MemoryLog, MemoryTopic
from virtual_time import run_virtual

from processor.budget.replica_limits import ReplicaLimits
from processor.budget.shared import SharedBudget
from processor.budget.state import Rules
from processor.runtime.application_status import ApplicationStatus
from processor.stream.connect_faults import ConnectFaultCode
from processor.stream.errors import AuthenticationError
from processor.worker.supervisor import Supervisor

_RULES = Rules({"a": (600, 60.0)}, 30.0, 60.0, 30.0, 0.1, 10.0, 3600.0, 86_400.0, 3, 15.0, 30.0)
_DELAY_S = 0.01  # of the log


class Life:
    """As much of a group member as a supervisor needs."""

    published = 0

    def __init__(self) -> None:
        self.stop = asyncio.Event()

    async def run(self) -> None:
        await self.stop.wait()


class Process:
    def __init__(self, topic: MemoryTopic) -> None:
        clock = asyncio.get_running_loop().time
        self.budget = SharedBudget(MemoryLog(topic), _RULES, ReplicaLimits("pod", 50, 100, 60.0), draw=lambda: 0.0, clock=clock)
        self.lives: list[Life] = []
        self.life: type[Life] = Life
        make: Any = self._make
        self.supervisor = Supervisor(make, self.budget, ApplicationStatus("default", 120.0), "pod")
        self.tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self.budget.run())]

    def supervise(self, term: asyncio.Event) -> None:
        self.tasks.append(asyncio.create_task(self.supervisor.run(term)))

    def _make(self) -> Life:
        self.lives.append(self.life())
        return self.lives[-1]


async def _until(what: Any, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.001)


def test_a_life_ends_as_soon_as_another_process_of_its_name_is_heard() -> None:
    async def main() -> None:
        topic, term = MemoryTopic(delay_s=lambda: _DELAY_S), asyncio.Event()
        first = Process(topic)
        first.supervise(term)
        await asyncio.sleep(20.0)
        second = Process(topic)
        second.supervise(term)  # it does not know yet
        await _until(lambda: second.budget.has_senior, 60.0)
        await _until(second.lives[0].stop.is_set, 0.005)
        assert not first.lives[0].stop.is_set()
        assert not first.budget.has_senior
        term.set()
        await _until(lambda: first.lives[0].stop.is_set() and first.tasks[1].done() and second.tasks[1].done(), 1.0)
        for process in (first, second):
            process.tasks[0].cancel()
            await asyncio.wait(process.tasks)
            await process.budget.close()

    run_virtual(main())


def test_a_life_ends_with_the_process() -> None:
    async def main() -> None:
        process, term = Process(MemoryTopic()), asyncio.Event()
        process.supervise(term)
        await asyncio.sleep(30.0)
        assert not process.lives[0].stop.is_set()
        term.set()
        assert await process.tasks[1] == 0
        assert len(process.lives) == 1
        process.tasks[0].cancel()
        await asyncio.wait(process.tasks)
        await process.budget.close()

    run_virtual(main())


class RefusedLife(Life):
    """Kafka does not let it in while ``refused`` is set."""

    refused = True

    async def run(self) -> None:
        if RefusedLife.refused:
            raise AuthenticationError("Kafka at k:9092: refuses the login", ConnectFaultCode.CREDENTIALS_REFUSED)
        await super().run()


@pytest.mark.parametrize(("accepted_after_s", "status"), [(500.0, 0), (700.0, 1)])
def test_a_login_may_be_accepted_again_within_ten_minutes(accepted_after_s: float, status: int) -> None:
    async def main() -> None:
        process, term = Process(MemoryTopic()), asyncio.Event()
        process.life, RefusedLife.refused = RefusedLife, True
        process.supervise(term)
        await asyncio.sleep(accepted_after_s)
        RefusedLife.refused = False
        await asyncio.sleep(60.0)
        term.set()
        assert await process.tasks[1] == status
        process.tasks[0].cancel()
        await asyncio.wait(process.tasks)
        await process.budget.close()

    run_virtual(main())


class FailingLife(Life):
    """Fails after ``lasts_s`` without a publication."""

    lasts_s = 0.0

    async def run(self) -> None:
        await asyncio.sleep(self.lasts_s)
        raise RuntimeError("no cure is known")


@pytest.mark.parametrize(("lasts_s", "lives"), [(1.0, 5), (590.0, 5), (610.0, None)])
def test_lives_that_fail_one_after_the_other_end_the_process_and_long_ones_do_not(lasts_s: float, lives: int | None) -> None:
    async def main() -> None:
        process, term = Process(MemoryTopic()), asyncio.Event()
        process.life, FailingLife.lasts_s = FailingLife, lasts_s
        process.supervise(term)
        await asyncio.wait({process.tasks[1]}, timeout=8 * (lasts_s + 20.0))
        assert process.tasks[1].done() == (lives is not None)
        assert len(process.lives) == lives if lives is not None else len(process.lives) > 5
        term.set()
        process.lives[-1].stop.set()
        for task in process.tasks:
            task.cancel()
        await asyncio.wait(process.tasks)
        await process.budget.close()

    run_virtual(main())
