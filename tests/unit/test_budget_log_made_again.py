"""The topic of the budget log is deleted and made again while a replica looks away, and its offsets fit by chance."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from memory_log import MemoryLog, MemoryTopic
from test_budget_shared import ANSWERED, RULES, Scene, ask, scene, virtual

from processor.budget.log import Entry
from processor.budget.log_records import Alive, encode
from processor.budget.permits import Permit
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.shared import SharedBudget

_, WINDOW_S = RULES.limits["few"]  # two calls a window


class MadeAgainAtFirst(MemoryLog):
    """When a joining replica knows from where to read back, the topic is made again."""

    made_again = False

    def seek(self, offset: int) -> None:
        super().seek(offset)
        if not self.made_again:
            self.made_again = True
            self.topic.recreate()


@contextmanager
def hears_nothing(s: Scene) -> Iterator[None]:
    """Its connection stands, its own records do not get out, and nothing comes."""
    again, real = asyncio.Event(), s.log.read

    async def read() -> list[Entry]:
        await again.wait()
        return await real()

    s.log.read, s.log.cut = read, True  # type: ignore[method-assign]
    try:
        yield
    finally:
        s.log.read, s.log.cut = real, False  # type: ignore[method-assign]
        again.set()


async def use_up(s: Scene) -> float:
    """When the first of the calls was made that the window allows."""
    used_at = []
    for _ in range(2):
        permit = await s.permit(ask(scopes=("few",)))
        used_at.append(asyncio.get_running_loop().time())
        s.budget.release(permit, ANSWERED)
    return used_at[0]


@virtual
async def test_a_log_made_again_under_a_joining_replica_is_not_taken_for_its_own() -> None:
    """Found by 1 300 worlds, seed 2000573: what came to stand at its offset dated every call before it to the time of its joining."""
    topic, loop = MemoryTopic(), asyncio.get_running_loop()
    for _ in range(40):
        topic.put(b"filler")
    async with scene(topic, instance="other") as other:
        await other.permit(ask())
        place = ReplicaLimits("joins", calls_max=50, queue_max=100, park_s=60.0)
        joins = SharedBudget(MadeAgainAtFirst(topic), RULES, place, draw=lambda: 0.0, clock=loop.time)
        task = asyncio.create_task(joins.run())
        try:
            await asyncio.sleep(1)
            used_at = await use_up(other)
            assert topic.end < 40, "it still reads what it takes for its own past"
            for _ in range(60):
                topic.put(b"filler")
            assert isinstance(await joins.acquire(ask(scopes=("few",))), Permit)
            assert loop.time() - used_at >= WINDOW_S
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await joins.close()


@virtual
async def test_a_log_made_again_under_a_replica_that_hears_nothing_is_noticed_by_its_name() -> None:
    topic, loop = MemoryTopic(), asyncio.get_running_loop()
    async with scene(topic, instance="follows") as follows:
        await follows.permit(ask())
        for _ in range(40):
            topic.put(b"filler")
        await asyncio.sleep(10)
        with hears_nothing(follows):
            await asyncio.sleep(2)
            topic.recreate()
            async with scene(topic, instance="newcomer") as newcomer:
                used_at = await use_up(newcomer)
                while topic.end <= follows.log.position:
                    topic.put(b"filler")
        async with scene(topic, instance="newcomer"):
            await asyncio.sleep(12)  # it has heard the other one's sign of life
            await follows.permit(ask(scopes=("few",)))
            assert loop.time() - used_at >= WINDOW_S


@virtual
async def test_a_new_log_that_is_given_several_names_at_once_is_read_once() -> None:
    topic = MemoryTopic(delay_s=lambda: 0.5)
    async with scene(topic, instance="one") as one, scene(topic, instance="two") as two:
        await asyncio.sleep(60)
        assert (one.log.opened, two.log.opened) == (1, 1)


@virtual
async def test_another_name_is_looked_into_once() -> None:
    """A producer may have held it back since an earlier log, and say it again."""
    topic = MemoryTopic()
    async with scene(topic) as s:
        await asyncio.sleep(60)
        for _ in range(50):
            topic.put(encode(Alive("gone", "gone", {}, log_name="of-a-former-log")))
            await asyncio.sleep(5)
        assert s.log.opened == 2
        await s.permit(ask())
