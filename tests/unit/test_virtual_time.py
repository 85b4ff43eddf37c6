from __future__ import annotations

import asyncio
import time

import pytest
from virtual_time import DeadlockError, run_virtual


def test_hours_pass_at_once_and_timers_keep_their_order() -> None:
    seen: list[tuple[str, int]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()

        async def sleeper(name: str, delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            seen.append((name, round(loop.time() - start)))

        await asyncio.gather(sleeper("day", 86_400), sleeper("second", 1), sleeper("hour", 3600))

    before = time.perf_counter()
    run_virtual(main())
    assert time.perf_counter() - before < 5
    assert seen == [("second", 1), ("hour", 3600), ("day", 86_400)]


def test_a_wait_that_nothing_can_end_is_an_error() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError):
        run_virtual(main())


def test_a_timer_never_fires_early() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delay_s in (1e-7, 0.1, 0.333333, 1 / 3, 59.999999):
            before = loop.time()
            await asyncio.sleep(delay_s)
            assert loop.time() >= before + delay_s - 1e-6

    run_virtual(main())
