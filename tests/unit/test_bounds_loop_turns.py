"""Records that begin at once share the turns of the event loop with everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from processor.bounds.loop_turns import LoopTurns


class Scene:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.turns = LoopTurns(lambda: self.now_s)
        self.order: list[int] = []
        self.worst_s = 0.0

    async def judge(self, number: int, cost_s: float) -> None:
        await self.turns.turn()
        self.now_s += cost_s
        self.order.append(number)

    async def watch(self) -> None:
        """A heartbeat: how long it is kept waiting at most."""
        while True:
            before_s = self.now_s
            await asyncio.sleep(0)
            self.worst_s = max(self.worst_s, self.now_s - before_s)

    async def run(self, *costs_s: float) -> None:
        heartbeat = asyncio.create_task(self.watch())
        await asyncio.gather(*(self.judge(number, cost_s) for number, cost_s in enumerate(costs_s)))
        heartbeat.cancel()


async def test_two_hundred_costly_records_keep_nobody_waiting_longer_than_a_turn_and_one_record() -> None:
    scene = Scene()
    await scene.run(*[0.015] * 200)
    assert scene.worst_s < 0.036
    assert scene.order == list(range(200))


async def test_cheap_records_all_begin_in_one_turn() -> None:
    scene = Scene()
    await scene.run(*[0.0001] * 150)
    assert abs(scene.worst_s - 0.015) < 0.001


async def test_one_that_is_beyond_the_bound_keeps_the_others_for_the_next_turn() -> None:
    scene = Scene()
    await scene.run(0.5, 0.001, 0.5, 0.001)
    assert scene.worst_s < 0.502
    assert scene.order == [0, 1, 2, 3]


async def test_cancelling_those_that_wait_leaves_the_turns_usable() -> None:
    scene = Scene()
    waiting = [asyncio.create_task(scene.judge(number, 0.03)) for number in range(5)]
    await asyncio.sleep(0)
    for task in waiting[1:]:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await scene.run(0.001)
    assert scene.order == [0, 0]


async def test_cancelling_who_was_just_woken_wakes_the_next_one() -> None:
    scene = Scene()
    judging = [asyncio.create_task(scene.judge(number, 0.03)) for number in range(3)]
    while len(scene.order) < 1:
        await asyncio.sleep(0)
    await asyncio.sleep(0)  # the second one is woken, and has not gone on
    judging[1].cancel()
    async with asyncio.timeout(10):
        await asyncio.gather(*judging, return_exceptions=True)
    assert scene.order == [0, 2]


async def test_those_that_wait_are_not_woken_each_turn() -> None:
    scene, steps = Scene(), 0

    class Counted:
        """Counts how often its task goes on."""

        def __init__(self, number: int) -> None:
            self.judging = scene.judge(number, 0.015).__await__()

        def __await__(self) -> Generator[Any, None, None]:
            nonlocal steps
            while True:
                steps += 1
                try:
                    waits_for = next(self.judging)
                except StopIteration:
                    return
                yield waits_for

    async def judge(number: int) -> None:
        await Counted(number)

    await asyncio.gather(*(judge(number) for number in range(200)))
    assert scene.order == list(range(200))
    assert steps <= 200 * 4
