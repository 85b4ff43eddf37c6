"""Lives of several applications in one process: one that gives up is started again, and only when all have given up the process ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs
from virtual_time import run_virtual, wait_minutes

from processor.observe.application import current_application
from processor.observe.health import Phase
from processor.runtime.application_status import ApplicationStatus
from processor.runtime.process_tasks import EXIT_FAILED, EXIT_STOPPED, EXIT_UNUSABLE, ProcessTasks
from processor.settings import Settings, load_settings
from processor.stream.topics_admin import TopicsReport
from processor.worker import applications
from processor.worker.applications import ApplicationLives, ApplicationTopics

COMMON = load_settings(applications={"shop": {}, "bank": {}})


class Lives:
    """Parts that end with a status after some seconds; 0: they work for ever."""

    def __init__(self, plan: Mapping[str, tuple[float, int]]) -> None:
        self.plan, self.starts, self.names = plan, dict.fromkeys(plan, 0), set[str]()
        self.statuses = {name: ApplicationStatus(name, 120.0) for name in plan}

    async def start(self, tasks: ProcessTasks, settings: Settings, status: ApplicationStatus) -> None:
        self.starts[settings.application] += 1
        self.names.add(current_application())
        after_s, exit_status = self.plan[settings.application]

        async def lanes() -> int:
            stop = asyncio.create_task(tasks.term.wait())
            await asyncio.wait({stop}, timeout=after_s or None)
            stop.cancel()
            return EXIT_STOPPED if tasks.term.is_set() else exit_status

        tasks.start("lanes", lanes(), drain_s=5.0)
        status.enter(Phase.WORKING)

    async def run(self, minutes: float) -> int:
        term = asyncio.Event()
        async with ProcessTasks(term, self.statuses["default"]) as tasks:
            lives = ApplicationLives(tasks, self.plan, self.start)
            for settings in COMMON.installations:
                if settings.application in self.plan:
                    lives.begin(settings, self.statuses[settings.application])
            await wait_minutes(term, minutes)
        return tasks.exit_status


def test_one_that_gives_up_is_started_again_and_touches_no_other() -> None:
    lives = Lives({"default": (0, 0), "shop": (5.0, EXIT_UNUSABLE), "bank": (0, 0)})
    with capture_logs() as logs:
        assert run_virtual(lives.run(10)) == EXIT_STOPPED
    assert (lives.starts["default"], lives.starts["bank"]) == (1, 1)
    assert 10 <= lives.starts["shop"] <= 15, "after a wait that grows to a minute"
    assert {(entry["event"], entry["of"]) for entry in logs} == {("application_gave_up", "shop")}
    assert lives.names == {"default", "shop", "bank"}, "each works under its name"


def test_a_failed_default_application_does_not_end_the_others() -> None:
    lives = Lives({"default": (5.0, EXIT_FAILED), "shop": (0, 0)})
    with capture_logs():
        assert run_virtual(lives.run(10)) == EXIT_STOPPED
    assert lives.starts["shop"] == 1


def test_when_all_have_given_up_the_process_ends_with_the_status_of_the_last() -> None:
    lives = Lives({"default": (5.0, EXIT_UNUSABLE), "shop": (5.2, EXIT_FAILED)})
    with capture_logs():
        assert run_virtual(lives.run(10)) == EXIT_FAILED
    assert lives.starts == {"default": 1, "shop": 1}


def test_a_single_application_ends_the_process_as_before() -> None:
    lives = Lives({"default": (5.0, EXIT_UNUSABLE)})
    with capture_logs() as logs:
        assert run_virtual(lives.run(10)) == EXIT_UNUSABLE
    assert logs == []


def test_a_stop_does_not_wait_for_a_start_that_waits_for_brokers() -> None:
    """Brokers that take connections and say nothing kept a process up to the limit of its stop: it ended with status 3."""
    ended: list[str] = []

    async def start(_tasks: ProcessTasks, settings: Settings, _status: ApplicationStatus) -> None:
        try:
            async with asyncio.timeout(60):  # as each question for the topics
                await asyncio.Event().wait()
        finally:
            ended.append(settings.application)

    async def main() -> float:
        lives, term, loop = Lives({"default": (0, 0)}), asyncio.Event(), asyncio.get_running_loop()
        async with ProcessTasks(term, lives.statuses["default"]) as tasks:
            ApplicationLives(tasks, lives.plan, start).begin(COMMON, lives.statuses["default"])
            await asyncio.sleep(5)
            began = loop.time()
        assert tasks.exit_status == EXIT_STOPPED
        return loop.time() - began

    with capture_logs() as logs:
        assert run_virtual(main()) < 1
    assert (ended, logs) == (["default"], [])


def test_what_waits_to_be_started_again_says_so() -> None:
    status = ApplicationStatus("default", 120.0)
    status.enter(Phase.STOPPING)
    status.begin_again("it gave up")
    assert (status.vitals(0.0, 30.0).phase, status.vitals(0.0, 30.0).detail) == (Phase.STARTING, "it gave up")


def test_a_life_that_ends_has_the_topics_of_others_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was changed since refused what was handed on in each life, until the process gave up."""
    faults: dict[str, list[str]] = {"shop": [], "bank": []}

    async def check(settings: Settings, *, only: str) -> TopicsReport:
        await asyncio.sleep(0.1)
        assert only.endswith(".requests")
        return TopicsReport(faults[settings.application], [], [])

    async def main() -> None:
        topics = ApplicationTopics(COMMON)
        await topics.look()
        topics.begin_life()
        assert topics.takes("shop"), "it was looked at just now"
        looking = asyncio.ensure_future(topics.run())
        await asyncio.sleep(600)
        faults["shop"] = ["max.message.bytes is 1000"]
        topics.begin_life()
        await asyncio.sleep(10)
        assert (topics.takes("shop"), topics.takes("bank")) == (False, True)
        faults["shop"] = []
        await asyncio.sleep(10)
        assert topics.takes("shop")
        looking.cancel()
        await asyncio.wait({looking})

    monkeypatch.setattr(applications, "check_topics", check)
    with capture_logs() as logs:
        run_virtual(main())
    assert [(entry["event"], entry["of"]) for entry in logs] == [("application_topic_unusable", "shop")]
