"""Bytes that are reserved before they come."""

from __future__ import annotations

import asyncio

import pytest

from processor.bounds.byte_budget import ByteBudget, BytesBusyError


async def test_those_who_wait_get_theirs_in_order() -> None:
    budget, order = ByteBudget(100), list[int]()
    await budget.reserve(90, within_s=1.0)

    async def take(size_bytes: int) -> None:
        await budget.reserve(size_bytes, within_s=5.0)
        order.append(size_bytes)

    waiting = [asyncio.create_task(take(size)) for size in (60, 50, 5)]
    await asyncio.sleep(0)
    assert not budget.try_reserve(5), "others came first"
    budget.release(90)
    await asyncio.sleep(0)
    assert (order, budget.held_bytes) == ([60], 60)
    budget.release(60)
    await asyncio.gather(*waiting)
    assert (order, budget.held_bytes) == ([60, 50, 5], 55)


async def test_nobody_waits_for_longer_than_its_time_and_nothing_is_left_behind() -> None:
    budget = ByteBudget(100)
    await budget.reserve(100, within_s=1.0)
    second = asyncio.create_task(budget.reserve(1, within_s=5.0))
    with pytest.raises(BytesBusyError):
        await budget.reserve(50, within_s=0.01)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    budget.release(100)
    assert budget.held_bytes == 0
    assert budget.try_reserve(100)


async def test_who_gives_up_lets_the_next_one_pass() -> None:
    budget = ByteBudget(100)
    await budget.reserve(50, within_s=1.0)
    large = asyncio.create_task(budget.reserve(80, within_s=5.0))
    small = asyncio.create_task(budget.reserve(20, within_s=5.0))
    await asyncio.sleep(0)
    large.cancel()
    await small
    assert budget.held_bytes == 70


async def test_one_that_is_larger_than_all_is_alone() -> None:
    budget = ByteBudget(100)
    await budget.reserve(500, within_s=1.0)
    assert not budget.try_reserve(1)
    budget.release(500)
    assert budget.try_reserve(1)


async def test_a_grant_in_the_moment_of_giving_up_is_given_back() -> None:
    budget = ByteBudget(100)
    await budget.reserve(100, within_s=1.0)
    waiting = asyncio.create_task(budget.reserve(100, within_s=5.0))
    await asyncio.sleep(0)
    budget.release(100)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert budget.held_bytes == 0


@pytest.mark.parametrize("others", [0, 1])
async def test_a_release_in_the_moment_of_giving_up_disturbs_nobody(others: int) -> None:
    budget = ByteBudget(100)
    await budget.reserve(100, within_s=1.0)
    leaving = asyncio.create_task(budget.reserve(50, within_s=5.0))
    waiting = [asyncio.create_task(budget.reserve(100, within_s=5.0)) for _ in range(others)]
    await asyncio.sleep(0)
    leaving.cancel()
    budget.release(100)
    assert isinstance((await asyncio.gather(leaving, return_exceptions=True))[0], asyncio.CancelledError)
    await asyncio.gather(*waiting)
    assert budget.held_bytes == 100 * others


async def test_a_reservation_grows_and_is_given_back_whole() -> None:
    budget = ByteBudget(100)
    with budget.reservation() as one, budget.reservation() as other:
        await one.grow_to(10, within_s=1.0)
        await one.grow_to(5, within_s=1.0)
        assert other.try_grow_to(90)
        assert not other.try_grow_to(91)
        with pytest.raises(BytesBusyError):
            await one.grow_to(11, within_s=0.01)
        assert budget.held_bytes == 100
    assert budget.held_bytes == 0
