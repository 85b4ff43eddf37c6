"""The time limit beside asyncio's own: whatever happens to the task, both end alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import pytest
from virtual_time import run_virtual

from processor.bounds.time_limit import TimeLimit


@asynccontextmanager
async def ours(within_s: float) -> Any:
    with TimeLimit(within_s):
        yield


async def _limited(limit: Callable[[float], Any], within_s: float, work_s: float) -> str:
    try:
        async with limit(within_s):
            await asyncio.sleep(work_s)
    except TimeoutError as exc:
        return f"timeout because of {type(exc.__cause__).__name__}"
    return "done"


async def _ends(limit: Callable[[float], Any], within_s: float, work_s: float, cancel_at_s: float | None) -> tuple[str, int, float]:
    loop = asyncio.get_running_loop()
    began, task = loop.time(), loop.create_task(_limited(limit, within_s, work_s))
    if cancel_at_s is not None:
        loop.call_later(cancel_at_s, task.cancel)
    await asyncio.wait({task})
    return "cancelled" if task.cancelled() else task.result(), task.cancelling(), round(loop.time() - began, 6)


CASES = {
    "in time": (2.0, 1.0, None),
    "too late": (1.0, 2.0, None),
    "cancelled before": (2.0, 3.0, 1.0),
    "cancelled at the same time, before it": (1.0, 3.0, 1.0),
    "no time at all": (0.0, 1.0, None),
    "cancelled after its end": (1.0, 0.5, 2.0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_ends_as_that_of_asyncio(case: tuple[float, float, float | None]) -> None:
    assert run_virtual(_ends(ours, *case)) == run_virtual(_ends(asyncio.timeout, *case))


def test_a_cancellation_and_the_end_of_the_time_in_one_turn_are_a_cancellation() -> None:
    async def both() -> bool:
        loop = asyncio.get_running_loop()
        task = loop.create_task(_limited(ours, 1.0, 5.0))
        await asyncio.sleep(0.5)
        loop.call_later(0.5, task.cancel)  # behind the limit's own timer, before the task goes on
        await asyncio.wait({task})
        return task.cancelled()

    assert run_virtual(both())


def test_an_error_of_the_block_is_not_hidden_by_the_end_of_the_time() -> None:
    async def fails(limit: AbstractContextManager[None]) -> None:
        with limit:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                raise ValueError("of the block") from None

    with pytest.raises(ValueError, match="of the block"):
        run_virtual(fails(TimeLimit(1.0)))


def test_it_needs_a_task() -> None:
    with pytest.raises(RuntimeError), TimeLimit(1.0):
        raise AssertionError("never here")
