"""One timer for many wishes: it rings once, at the earliest, and no later than it may."""

from __future__ import annotations

import asyncio

from virtual_time import run_virtual

from processor.budget.earliest_timer import EarliestTimer


async def rings(*wishes_s: float, stop: bool = False) -> list[float]:
    loop, found = asyncio.get_running_loop(), list[float]()
    began = loop.time()
    timer = EarliestTimer(lambda: found.append(round(loop.time() - began, 3)), 1.0)
    for wish_s in wishes_s:
        timer.set(wish_s)
    if stop:
        timer.stop()
    await asyncio.sleep(5)
    return found


def test_the_earliest_of_all_wishes_counts() -> None:
    assert run_virtual(rings(0.5, 0.2, 0.4)) == [0.2]
    assert run_virtual(rings(0.2, 0.2)) == [0.2]


def test_it_rings_at_once_for_what_is_past_and_no_later_than_it_may() -> None:
    assert run_virtual(rings(0.5, -3.0)) == [0.0]
    assert run_virtual(rings(float("inf"))) == [1.0]


def test_one_that_is_stopped_rings_no_more() -> None:
    assert run_virtual(rings(0.5, stop=True)) == []


def test_it_may_be_set_again_once_it_has_rung() -> None:
    async def twice() -> int:
        count = 0

        def ring() -> None:
            nonlocal count
            count += 1
            if count < 2:
                timer.set(0.1)

        timer = EarliestTimer(ring, 1.0)
        timer.set(0.1)
        await asyncio.sleep(5)
        return count

    assert run_virtual(twice()) == 2
