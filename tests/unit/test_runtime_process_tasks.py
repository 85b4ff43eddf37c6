"""The tasks of a process: whichever ends unasked is seen, and the stop goes backwards within its deadlines. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from metric_values import metric_value
from structlog.testing import capture_logs
from virtual_time import run_virtual

from processor.observe.health import ready
from processor.runtime.process_status import ProcessStatus
from processor.runtime.process_tasks import EXIT_FAILED, EXIT_STOPPED, EXIT_UNUSABLE, ProcessTasks, restart_wait_s


def status() -> ProcessStatus:
    return ProcessStatus(30.0, 120.0, worker=False)


def value(name: str, task: str) -> float:
    return metric_value(name, task=task) or 0.0


async def forever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    raise RuntimeError("Zoë Müller")


async def returns() -> None:
    return


async def waits(term: asyncio.Event) -> None:
    await term.wait()


async def gives_up() -> int:
    return EXIT_UNUSABLE


async def cancels_itself() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("end", "error"),
    [(fails, "RuntimeError"), (returns, "it returned"), (cancels_itself, "CancelledError")],
    ids=["raises", "returns", "cancelled"],
)
def test_a_task_that_ends_unasked_ends_the_process_and_is_named(end: object, error: str) -> None:
    term, seen, before = asyncio.Event(), status(), value("vp_task_failures_total", "part")

    async def process() -> int:
        async with ProcessTasks(term, seen) as tasks:
            tasks.start("other", forever())
            tasks.start("part", end())  # type: ignore[operator]
            assert value("vp_task_up", "part") == 1
            await term.wait()
            assert not ready(seen.vitals()["default"]).ok
            assert "'part' failed" in ready(seen.vitals()["default"]).reasons[0]
        return tasks.exit_status

    with capture_logs() as logs:
        assert run_virtual(process()) == EXIT_FAILED
    (failed,) = logs
    assert (failed["event"], failed["log_level"], failed["task"], failed["error"]) == ("task_failed", "critical", "part", error)
    assert "Zoë" not in str(logs)
    assert value("vp_task_failures_total", "part") == before + 1
    assert value("vp_task_up", "part") == 0


def test_a_task_that_has_said_why_ends_the_process_with_its_status() -> None:
    term = asyncio.Event()

    async def process() -> int:
        async with ProcessTasks(term, status()) as tasks:
            tasks.start("part", gives_up())
            await term.wait()
        return tasks.exit_status

    with capture_logs() as logs:
        assert run_virtual(process()) == EXIT_UNUSABLE
    assert logs == []


def test_a_stop_that_was_asked_for_is_no_failure() -> None:
    async def process() -> int:
        term = asyncio.Event()
        async with ProcessTasks(term, status()) as tasks:
            tasks.start("waits for the stop", waits(term))
            tasks.start("is cancelled", forever())
            tasks.start_restarting("optional", forever)
            await asyncio.sleep(1)
            term.set()
        return tasks.exit_status

    with capture_logs() as logs:
        assert run_virtual(process()) == EXIT_STOPPED
    assert logs == []


def test_an_error_during_the_stop_is_told_all_the_same() -> None:
    async def process() -> int:
        term = asyncio.Event()

        async def breaks_at_the_stop() -> None:
            await term.wait()
            raise RuntimeError

        async with ProcessTasks(term, status()) as tasks:
            tasks.start("part", breaks_at_the_stop(), drain_s=5.0)
            await asyncio.sleep(1)
        return tasks.exit_status

    with capture_logs() as logs:
        assert run_virtual(process()) == EXIT_FAILED
    assert [(entry["event"], entry["task"]) for entry in logs] == [("task_failed", "part")]


def test_the_stop_goes_backwards_and_each_step_has_its_deadline() -> None:
    ended: list[tuple[str, float]] = []

    async def process() -> None:
        loop, term = asyncio.get_running_loop(), asyncio.Event()
        begun = 0.0

        def note(name: str) -> None:
            ended.append((name, round(loop.time() - begun)))

        @asynccontextmanager
        async def context() -> AsyncIterator[str]:
            yield "port"
            note("context")
            await forever()

        async def drains() -> None:
            await term.wait()
            await asyncio.sleep(2)
            note("drains")

        async def hangs() -> None:
            try:
                await forever()
            except asyncio.CancelledError:
                note("hangs")
                await forever()

        async def close() -> None:
            note("first")
            raise RuntimeError("Zoë Müller")

        async with ProcessTasks(term, status()) as tasks:
            tasks.close_later("first", close, within_s=1.0)
            assert await tasks.open("context", context(), close_s=3.0) == "port"
            tasks.start("hangs", hangs())
            tasks.start("drains", drains(), drain_s=10.0)
            await asyncio.sleep(1)
            begun = loop.time()
        note("end")

    with capture_logs() as logs:
        run_virtual(process())
    assert ended[:5] == [("drains", 2), ("hangs", 2), ("context", 3), ("first", 6), ("end", 6)]
    assert [(entry["event"], entry["step"], entry["error"]) for entry in logs] == [
        ("stop_step_failed", "hangs", "not done within 1 s"),
        ("stop_step_failed", "context", "not done within 3 s"),
        ("stop_step_failed", "first", "RuntimeError"),
    ]


def test_a_task_that_may_fail_is_started_again_with_a_growing_wait() -> None:
    starts: list[float] = []
    seen = status()
    noted: list[tuple[float, tuple[str, ...]]] = []

    async def process() -> int:
        loop, term = asyncio.get_running_loop(), asyncio.Event()
        begun = loop.time()

        async def may_fail() -> None:
            starts.append(round(loop.time() - begun))
            if len(starts) == 5:
                await asyncio.sleep(400)  # long enough to be trusted again
            if len(starts) == 7:
                return
            raise ValueError

        async with ProcessTasks(term, seen) as tasks:
            tasks.start_restarting("survey", may_fail)
            await asyncio.sleep(0.5)
            noted.append((value("vp_task_up", "survey"), ready(seen.vitals()["default"]).notes))
            await asyncio.sleep(100)
            noted.append((value("vp_task_up", "survey"), ready(seen.vitals()["default"]).notes))
            await asyncio.sleep(325)
        return tasks.exit_status

    with capture_logs() as logs:
        assert run_virtual(process()) == EXIT_STOPPED
    assert starts == [0, 1, 3, 7, 15, 416, 418, 422]
    assert noted == [(0.0, ("the task 'survey' failed and is started again",)), (1.0, ())]
    assert {(entry["event"], entry["log_level"], entry["task"]) for entry in logs} == {("task_failed", "error", "survey")}
    assert [entry["error"] for entry in logs] == ["ValueError"] * 6 + ["it returned", "ValueError"]
    assert logs[0]["at"].startswith("test_runtime_process_tasks.py:")


def test_waits_between_restarts_are_bounded() -> None:
    assert [restart_wait_s(n) for n in (1, 2, 3, 7, 8, 10**9)] == [1.0, 2.0, 4.0, 60.0, 60.0, 60.0]
